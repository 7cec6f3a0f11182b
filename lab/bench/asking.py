"""Benches of a query: retrieve.py from the shell to the saved picture."""

import compileall
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.language.word_pieces import INSIDE, SPECIAL
from data.language.words import Vocabulary, bag_words
from lab.bench.building import make_embeddings
from lab.bench.timing import Line, bench, peak_memory, take_lines, temporary_folder
from lab.scripts import ROOT, run_apart
from lab.settings import settings_of
from run import files
from run.folder import Run
from settings.training import Facts
from systems import config

QUERY = "a small blue triangle above an orange star"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIM = 256


def make_run(folder, num_images, words, text_size=""):
    """A run folder such as train.py and test.py leave, with fresh weights and random rows.

    Args:
      words: size of the vocabulary; text_size: of DistilBERT; "": a bag of words.
    """
    run = Run(folder)
    config.save(run, settings_of(), Facts())
    image, text, owner = make_embeddings(num_images, DIM)
    arrays = {"image": image, "text": text, "caption_image": owner}
    for name, values in (
        ("image_names", [f"image-{row:06d}" for row in range(num_images)]),
        ("captions", [f"{QUERY} number {row}" for row in range(len(owner))]),
        ("pictures", [f"scenes:0:test:{row % 1000}" for row in range(num_images)]),
    ):
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = files.pack_strings(values)
    files.write_arrays(run.projections, arrays)
    (write_transformer if text_size else write_bag)(run, words, text_size)


def write_bag(run, words, _):
    """Vocabulary and text tower of System 1."""
    from systems.projection import towers

    more = (f"word{number}" for number in range(words))
    vocabulary = Vocabulary([*dict.fromkeys(bag_words(QUERY)), *more])
    vocabulary.save(run.vocabulary)
    tower = towers.text_projection(settings_of(f"--embed_dim={DIM}"), len(vocabulary))
    tower(np.ones((2, 3), np.int32))  # Keras exports only what was called once
    with files.atomic_path(run.query_tower) as path:
        tower.export(path, format="onnx", verbose=False)


def write_transformer(run, words, text_size):
    """Vocabulary and text tower of System 4: DistilBERT with fresh weights, BERT's many pieces."""
    from systems.engine import hub
    from systems.transformer import towers

    pieces = [*SPECIAL[1:], *LETTERS, *(INSIDE + letter for letter in LETTERS)]
    pieces += [f"word{number}" for number in range(words - len(pieces))]
    Vocabulary(pieces, "pieces").save(run.vocabulary)
    chosen = settings_of("--recipe=transformer_scenes", text_size=text_size, embed_dim=DIM)
    with files.atomic_path(run.query_tower) as path:
        hub.export_text(towers.piece_tower(chosen, len(pieces)), path)


FLOOR = 'python -c "import tensorflow"'
COMMON: Any = {"bounds": "ratio <= 0.12", "tensorflow": False, "images": (31_000, 20)}


@bench("query", FLOOR, unasked=1, words=10_000, **COMMON)
def ask_bag(at):
    """retrieve.py from start to saved picture, gallery of {images} images x 256."""
    yield from ask_cold(at, "")


@bench("query_pieces", FLOOR, words=(30_521, 64), **COMMON)
def ask_transformer(at):
    """The same with DistilBERT of {words} pieces."""
    yield from ask_cold(at, "base" if at.scale == 1 else "tiny")


def ask_cold(at, text_size):
    """Lines of retrieve.py in a fresh process, beside `import tensorflow` in a fresh process.

    Our modules are compiled before, as a first question leaves them and pip leaves TensorFlow's.
    """
    for package in ROOT.glob("*/__init__.py"):
        compileall.compile_dir(package.parent, quiet=1)
    with temporary_folder() as folder:
        given = folder, at.images, at.words, text_size
        # In a process of its own, which takes TensorFlow with it.
        code = f"from lab.bench import asking; asking.make_run{given}"
        run_apart("-c", code)
        picture, peaks = Path(folder) / "answer.png", []

        def ours():
            picture.unlink(missing_ok=True)
            usage = run_apart("retrieve.py", "--exp", folder, QUERY)
            peaks.append(usage and peak_memory(usage))
            if not picture.is_file():
                raise ValueError("retrieve.py has saved no picture")

        floor = partial(run_apart, "-c", "import tensorflow")
        what = f"retrieve.py, {at.images:,} images{', DistilBERT' if text_size else ''}"
        found = take_lines(at, [ours, floor], Line(what, at.bounds), turns=5)
        yield found[0] | {"peak": peaks[-1]}  # the child's
