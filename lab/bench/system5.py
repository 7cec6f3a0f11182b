"""What lab.bench measures of System 5: ranking the captions of all of COCO's validation images, and
writing captions of many images at once.

    python -m lab.bench ranking_gallery --scale 0.1      # a hundredth of the work
    python -m lab.bench beam

Each takes the factor of its sizes and the number of threads (which NumPy has by then) and gives
lines of the table (`timing.summarise`).
"""

from functools import partial

import numpy as np

from data.language.words import Vocabulary
from gallery import nearest
from grading import pair_recall
from lab.bench.dual_path import make_settings
from lab.bench.timing import peak_memory, scaled, summarise, take_turns
from run import replicas
from run.facts import Facts

IMAGES, CAPTIONS, DIM = 40_504, 202_520, 1024  # val2014, five captions an image
WRITTEN, BOXES, FEATURE, WORDS = 1000, 16, 1854, 118  # of scenes


def unit_rows(number: int, seed: int) -> np.ndarray:
    """(number, DIM) float32 random unit rows, made in place."""
    rows = np.random.default_rng(seed).standard_normal((number, DIM), np.float32)
    for start in range(0, number, 4096):
        part = rows[start : start + 4096]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def bare_product(image: np.ndarray, text: np.ndarray) -> None:
    """All dot products in the blocks that the search takes, and nothing else."""
    for first in range(0, len(image), nearest.QUERIES_AT_ONCE):
        queries = image[first : first + nearest.QUERIES_AT_ONCE]
        for start in range(0, len(text), pair_recall.BLOCK_ROWS):
            _ = queries @ text[start : start + pair_recall.BLOCK_ROWS].T


def ranking_gallery(scale, threads):
    """The five nearest captions of every image, beside the dot products alone."""
    image, text = unit_rows(scaled(IMAGES, scale), 0), unit_rows(scaled(CAPTIONS, scale), 1)
    ours = partial(pair_recall.top_captions, image, text)
    turns, floor = [], partial(bare_product, image, text)
    turns.append(take_turns([ours], 1))
    peak = peak_memory()  # before the floor has run
    turns.append(take_turns([floor], 1))
    seconds = np.concatenate(turns, axis=1)  # (1, 2, 2)
    if scale < 1:
        seconds = np.concatenate([seconds, take_turns([ours, floor], 2)])
    what = f"top 5 of {len(text):,} captions, {len(image):,} images"
    return [summarise(what, seconds, "ratio <= 1.5, peak <= 2", peak)]


def beam(scale, threads):
    """Captions by a beam of 5, fresh weights: many images at once beside one after the other."""
    replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    import models
    from systems.joint import beam as joint_beam

    vocabulary = Vocabulary([f"w{number}" for number in range(WORDS)], "plain_words")
    sizes = Facts(FEATURE, vocabulary.num_ids)
    model = models.build_model(make_settings("joint_scenes"), sizes)
    rng, count = np.random.default_rng(0), scaled(WRITTEN, scale)
    boxes = rng.standard_normal((count, BOXES, FEATURE), np.float32)
    speaker = joint_beam.Speaker(*model.parts.writer.compiled)
    write = partial(joint_beam.write_beam, speaker, vocabulary=vocabulary, width=5, most=20)

    def alone():
        for row in range(count):
            write(boxes[row : row + 1])

    write(boxes[:2])
    seconds = take_turns([partial(write, boxes), alone], 3)
    what = f"beam of 5, {count:,} images (floor: each alone)"
    return [summarise(what, seconds, "ratio <= 0.125", peak_memory())]


BENCHES = (ranking_gallery, beam)
