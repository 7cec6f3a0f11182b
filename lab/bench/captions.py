"""Benches of captions: training a GRU, also in parts, encoding by it or by convolutions, a beam.

Shape letters: B batch, F feature, H units of the GRU, M captions, T tokens, W word.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from data.language.words import Vocabulary
from lab.bench.building import LONGEST, build_compiled, compile_model, make_tokens
from lab.bench.timing import BENCHES, Line, bench, line_of, peak_memory, take_lines
from lab.scripts import ROOT
from lab.settings import settings_of
from run import replicas

PADDED = 32  # tokens
ROWS = 128  # of a batch of captions in their own order
WIDTHS = (1.0, 0.25, 0.125)  # of the convolutional tower
FLICKR8K: Any = {"embed": 1024, "word": 300, "feature": 3328, "vocabulary": 7000}
LOSSES = ("max_hinge", "cross_entropy")
WAYS = ("parts", "small", "whole")  # one batch by parts, 16 batches, one batch at once


def baseline(at, **changes):
    """Settings of the published GRU in the sizes of `FLICKR8K`."""
    return settings_of("--recipe=mh_bl", embed_dim=at.embed, word_dim=at.word, **changes)


def facts(at):
    """What a model must know of the data."""
    return {"feature_dim": at.feature, "vocabulary_size": at.vocabulary, "num_classes": 8}


def draw_batches(at, settings, count):
    """Training batches of random vectors and their captions."""
    from training.batches import TrainingBatches

    vectors = np.random.default_rng(0).standard_normal((count, at.feature), np.float32)
    owner = np.repeat(np.arange(count, dtype=np.int32), 5)
    return TrainingBatches(vectors, make_tokens(5 * count, at.vocabulary), owner, settings)


def train_epochs(model, batches, epochs=1, change=None):
    """Trains some epochs, of one stream: its first batch is not drawn beside a step."""
    stream, steps = batches.dataset(), batches.steps_per_epoch
    stream = stream.map(change) if change else stream
    model.fit(stream, shuffle=False, steps_per_epoch=steps, epochs=epochs, verbose=0)


def keras_reader(settings, num_ids):
    """The text tower with Keras' own layer: (B, T) -> (B, H)."""
    import keras

    from systems.gru import towers

    tokens = keras.Input((None,), dtype="int32")
    words = keras.layers.Embedding(num_ids + 1, settings.word_dim)(tokens)
    row = keras.layers.GRU(settings.embed_dim)(words, mask=keras.ops.not_equal(tokens, 0))
    for layer in towers.last_steps(settings.absolute):
        row = layer(row)
    return keras.Model(tokens, row)


@bench(
    "sentences", "the same, all padded to 32 tokens; Keras' layer; a TensorFlow product",
    bounds="ratio >= 2", batch=128, product=2048, **FLICKR8K,
)  # fmt: skip
def train_gru(at):
    """Training a GRU of {embed} on captions of lengths as in Flickr8k (minutes)."""
    import tensorflow as tf

    import models
    from systems.engine.parts import Parts
    from systems.gru import towers

    settings = baseline(at, batch_size=at.batch)
    count = settings.bucket * settings.batch_size
    batches = draw_batches(at, settings, count)
    steps = batches.steps_per_epoch
    ours = build_compiled(settings, steps, **facts(at))
    image, text = towers.image_map(settings, at.feature), keras_reader(settings, at.vocabulary)
    theirs = compile_model(models.DualEncoder(Parts(image, text), ours.pair_loss), settings, steps)

    def pad(batch):
        rows = tf.pad(batch["tokens"], [[0, 0], [0, PADDED]])[:, :PADDED]
        return batch | {"tokens": rows}

    left, right = tf.random.normal((at.product, 1024)), tf.random.normal((1024, 3072))
    product = tf.function(lambda: tf.matmul(left, right))

    def products():
        for _ in range(16):
            product().numpy()

    ways = (ours, batches), (ours, batches, 1, pad), (theirs, batches)
    line = partial(Line, work=(count, count), unit="captions/s")
    gflop = epoch_gflop(batches, settings, at.feature), 16 * 2e-9 * len(left) * 1024 * 3072
    yield from take_lines(
        at,
        [*(partial(train_epochs, *way) for way in ways), products],
        line("GRU training (floor: all padded to 32)", at.bounds),
        line("GRU training (floor: Keras' GRU layer)", floor=2),
        Line("GRU training (floor: a product)", floor=3, work=gflop),
        turns=3,
    )


def epoch_gflop(batches, settings, feature):
    """What the matrix products of an epoch's training steps take, padding included, in GFLOP."""
    units, words = settings.embed_dim, settings.word_dim
    shapes = [batches.share(step, 0, 1)["tokens"].shape for step in range(batches.steps_per_epoch)]
    # Forward, weight gradient, input gradient; there is none of the image vectors.
    reading = 6 * sum(rows * length for rows, length in shapes) * 3 * units * (units + words)
    return 1e-9 * (reading + 4 * batches.items * feature * units)


@bench(
    "encode", "the same tower, all padded, in their own order; Keras' layer likewise",
    bounds="ratio >= 3", tensorflow=False, captions=25_000, **FLICKR8K,
)  # fmt: skip
def encode_captions(at):
    """{captions} such captions as test.py encodes them: sorted, in threads (minutes).

    Both run as many chunks at a time as there are cores, each with one thread. What is padded to
    one length takes the same time chunk by chunk: a part of it is measured.
    """
    replicas.set_devices(threads=1, cpu_only=True)
    from systems.engine import encoding

    settings, workers = baseline(at), at.threads or os.cpu_count() or 1
    tokens = make_tokens(at.captions, at.vocabulary)
    model, theirs = build_compiled(settings, **facts(at)), keras_reader(settings, at.vocabulary)
    vectors = np.zeros((1, at.feature), np.float32)  # test.py encodes images besides
    part = min(at.captions, max(workers * ROWS, at.captions // 10))

    def chunk(compute, start):
        rows = tokens.pad(np.arange(start, min(start + ROWS, part)))
        compute(np.pad(rows, ((0, 0), (0, LONGEST - rows.shape[1])))).numpy()

    def in_order(compute):
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(partial(chunk, compute), range(0, part, ROWS)))

    what, unit = f"encode {at.captions:,} captions (floor: %s)", "captions/s"
    line, times = partial(Line, work=(at.captions,) * 2, unit=unit), at.captions / part
    yield from take_lines(
        at,
        [
            partial(encoding.encode_split, model, vectors, tokens, workers),
            partial(in_order, model.encoders.text),
            partial(in_order, replicas.compiled(theirs)),
        ],
        line(what % "padded, unsorted", at.bounds),
        line(what % "so by Keras' GRU", floor=2),
        turns=3,
        factors=(1, times, times),
    )


@bench(
    "text_towers", "the GRU of the same embedding size, {embed}",
    embed=1024, word=(300, 300), captions=2048, vocabulary=20_074, feature=(8, 8),
)  # fmt: skip
def encode_by_convolutions(at):
    """{captions} captions through the convolutional tower, in its widths, as in validation."""
    from systems.engine import encoding

    tokens, vectors = make_tokens(at.captions, at.vocabulary), np.zeros((1, 8), np.float32)
    flags = "--recipe=dual_path_stage1", "--features=last", "--lambdas=1:0:0", "--word_dim=300"
    gru = build_compiled(baseline(at), **facts(at))
    for width in WIDTHS:
        chosen = settings_of(*flags, embed_dim=at.embed, text_width=width * min(1.0, at.scale))
        models = build_compiled(chosen, **facts(at)), gru
        functions = [partial(encoding.encode_split, model, vectors, tokens) for model in models]
        what = f"captions/s: conv, width {width:g}, beside GRU of {at.embed}"
        line = Line(what, work=(at.captions,) * 2, unit="captions/s")
        yield from take_lines(at, functions, line, turns=3)


def make_training(at, loss, way):
    """A function that trains on the captions of a batch in one of `WAYS`."""
    settings = baseline(
        at, loss=loss, batch_size=at.micro if way == "small" else at.batch,
        bucket=-(-at.batch // at.micro) if way == "small" else 0,  # parts are sorted by themselves
        micro_batch=at.micro if way == "parts" else 0,
    )  # fmt: skip
    batches = draw_batches(at, settings, at.batch)
    model = build_compiled(settings, batches.steps_per_epoch, **facts(at))
    model.micro_batch = settings.micro_batch
    return partial(train_epochs, model, batches)


def tell_peak(scale, threads, loss, way):
    """Prints by how many gigabytes three epochs raise the peak of memory."""
    replicas.set_devices(threads=threads)
    train = make_training(BENCHES["gradient_caching"].at(scale, threads), loss, way)
    before = peak_memory() or 0.0
    train(epochs=3)
    print(max((peak_memory() or 0.0) - before, 1e-6))  # of 0 there is no ratio


def raised_peak(*given):
    """`tell_peak` from a process of its own."""
    code = f"from lab.bench import captions; captions.tell_peak{given!r}"
    told = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    return float(told.split()[-1])


@bench(
    "gradient_caching", "16 batches of {micro}, of like lengths, and the whole batch at once",
    bounds="ratio >= 0.67", batch=(8192, 64), micro=(512, 4), **FLICKR8K,
)  # fmt: skip
def train_in_parts(at):
    """A batch of {batch} pairs in parts of {micro}, by a GRU of {embed}; its memory (minutes)."""
    work = {"work": (at.batch, at.batch), "unit": "captions/s"}
    for loss in LOSSES:
        peaks = np.array([[raised_peak(at.scale, at.threads, loss, way)] * 2 for way in WAYS])
        whats = [f"{loss}, batch {at.batch:,} in parts (floor: {way})" for way in WAYS]
        functions = [make_training(at, loss, way) for way in WAYS]
        lines = [Line(whats[floor], at.bounds, 0, floor, **work) for floor in (1, 2)]
        speed = take_lines(at, functions, *lines, turns=3)
        for floor, bounds in ((1, "ratio <= 1.5"), (2, "")):
            yield speed[floor - 1]
            yield line_of("its memory", peaks[None, [0, floor]], bounds, unit="GB")


@bench("beam", "each image alone", bounds="ratio <= 0.125", images=1000)
def write_by_beam(at):
    """Captions by a beam of 5 of {images} images at once (minutes)."""
    from systems.joint import beam

    vocabulary = Vocabulary([f"w{number}" for number in range(118)], "plain_words")  # of scenes
    recipe = settings_of("--recipe=joint_scenes")
    model = build_compiled(recipe, feature_dim=1854, vocabulary_size=vocabulary.num_ids)
    boxes = np.random.default_rng(0).standard_normal((at.images, 16, 1854), np.float32)
    speaker = beam.Speaker(*model.parts.writer.compiled)
    write = partial(beam.write_beam, speaker, vocabulary=vocabulary, width=5, most=20)

    def alone():
        for row in range(at.images):
            write(boxes[row : row + 1])

    line = Line(f"beam of 5, {at.images:,} images (floor: each alone)", at.bounds)
    yield from take_lines(at, [partial(write, boxes), alone], line, turns=3)
