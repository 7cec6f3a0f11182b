"""What lab.bench measures of gradient caching: time and memory of a batch of 8,192, in parts of 512.

Beside the same captions in ordinary batches of 512, of captions of similar length, whose loss has a
sixteenth of the work; and beside the same batch by Keras' own step, where it fits. Vectors of 3,328
numbers and a GRU of 1,024, as in Flickr8k's precomputed set.

Takes the factor of its sizes and the number of threads (0: all cores) and gives lines of the table
(`timing.summarise`). It sets TensorFlow up, so that it wants a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from lab.bench import system2
from lab.bench.timing import peak_memory, scaled, summarise, take_turns
from run import replicas

BATCH, MICRO = 8192, 512
LOSSES = ("max_hinge", "cross_entropy")
WAYS = ("parts", "small", "whole")  # one batch by parts, 16 batches, one batch at once


def make_training(scale, threads, loss, way):
    """A function that trains on 8,192 captions in one of `WAYS`."""
    replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    import models
    from systems.engine import optimization
    from training.batches import TrainingBatches

    settings, sizes = system2.make_settings(scale)
    count, part = scaled(BATCH, scale, 64), scaled(MICRO, scale, 4)
    settings.loss, settings.batch_size = loss, part if way == "small" else count
    settings.bucket = -(-count // part) if way == "small" else 0  # parts are sorted by themselves
    settings.micro_batch = part if way == "parts" else 0
    vectors = np.random.default_rng(0).standard_normal((count, sizes.feature_dim), np.float32)
    tokens = system2.make_tokens(5 * count, sizes.vocabulary_size)
    owner = np.repeat(np.arange(count, dtype=np.int32), 5)
    batches = TrainingBatches(vectors, tokens, owner, settings)
    model = models.build_model(settings, sizes)
    optimizer = optimization.build_optimizer(settings, batches.steps_per_epoch)
    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)

    def epochs(number=1):
        # One stream: its first batch is not drawn beside a step.
        model.fit(
            batches.dataset(), shuffle=False, steps_per_epoch=batches.steps_per_epoch,
            epochs=number, verbose=0,
        )  # fmt: skip

    return epochs


def tell_peak(scale, threads, loss, way):
    """Prints by how many gigabytes three epochs raise the peak of memory."""
    epochs = make_training(scale, threads, loss, way)
    before = peak_memory() or 0.0
    epochs(3)
    print(json.dumps((peak_memory() or 0.0) - before))


def raised_peak(*arguments):
    """`tell_peak` from a process of its own."""
    code = f"from lab.bench import gradient_caching as bench; bench.tell_peak{arguments!r}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def gradient_caching(scale, threads):
    """A batch of 8,192 by parts of 512, beside 16 batches of 512: captions/s, and memory."""
    lines, count = [], scaled(BATCH, scale, 64)
    work = (count, count)
    for loss in LOSSES:
        functions = [make_training(scale, threads, loss, way) for way in WAYS]
        for function in functions:
            function()
        seconds = take_turns(functions, 3)
        peaks = np.array([[raised_peak(scale, threads, loss, way)] * 2 for way in WAYS])
        for floor, bound, most in ((1, "ratio >= 0.67", "ratio <= 1.5"), (2, "ratio >= 0.67", "")):
            pair = [0, floor]
            what = f"{loss}, batch {count:,} in parts (floor: {WAYS[floor]})"
            lines.append(summarise(what, seconds[:, pair], bound, None, work, "captions/s"))
            lines.append(summarise("its memory", peaks[None, pair], most, unit="GB"))
    return lines


BENCHES = (gradient_caching,)
