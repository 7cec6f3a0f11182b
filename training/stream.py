"""Batches as a tf.data stream, shared out to the replicas.

Shape letters: b rows of one replica.
"""

import numpy as np

from run import replicas
from training import waiting


def stream_batches(batches, strategy=None, first_epoch: int = 0):
    """What `keras.Model.fit` reads: endless, with `steps_per_epoch` steps to an epoch.

    Args:
      batches: `TrainingBatches`.
      strategy: of tf.distribute, or None; first_epoch: where the stream begins.

    Raises:
      ValueError: a replica would get an empty share.
    """
    import tensorflow as tf

    first, here, total = replicas.replicas_here(strategy)
    batches.check_replicas(total)
    example = batches.share(0, 0, total)
    types = [tf.as_dtype(value.dtype) for value in example.values()]
    shapes = {key: (None, *value.shape[1:]) for key, value in example.items()}
    shapes["tokens"] = shapes["similarity"] = (None, None)
    if batches.classes is not None:
        shapes["tokens"] = (None, example["tokens"].shape[1])

    def read(count):
        step, replica = divmod(int(count), here)
        return list(batches.share(step, first + replica, total).values())

    def to_batch(count):
        values = tf.numpy_function(read, [count], types, stateful=False)
        batch = dict(zip(example, values, strict=True))
        return {key: tf.ensure_shape(value, shapes[key]) for key, value in batch.items()}

    def make():
        # Numbers are mapped to batches; from_tensor_slices would copy the arrays into the graph
        # and die at 2 GiB, while rows of a memory map are read where they are needed.
        start = first_epoch * batches.steps_per_epoch * here
        numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
        made = numbers.map(to_batch)  # one after the other: the order of an epoch is kept
        if batches.reads_pictures:
            made = made.map(with_pictures, tf.data.AUTOTUNE, deterministic=True)
            made = waiting.timed(made, batches.clock, here)
        # A batch that is trained on in parts may be larger than all that a step holds, and takes
        # far longer than drawing one: none is held beside it.
        if not batches.micro_batch:
            return made.prefetch(2 * here)
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False  # tf.data would add one itself
        return made.with_options(options)

    def with_pictures(batch):
        """A batch of tensors with its pictures in the place of their rows and windows."""
        rows, found = batch["image"], {}
        for end in ("", "_view"):
            if f"window{end}" in batch:
                window = (batch.pop(f"window{end}"), batch.pop(f"mirrored{end}"))
                found[f"image{end}"] = batches.vectors.read(rows, *window)
        return batch | found

    return replicas.distribute(strategy, make)
