"""Layers that the towers of several systems share.

Shape letters: B batch, b rows of one replica, N images, F feature, T tokens.
"""

import keras
import numpy as np
from keras import ops

PARTS = 4  # of a batch's captions
NORM_FLOOR = 1e-8  # of the squared norm: bounds the gradient (1e4) where a row is all zeros


class UnitNorm(keras.layers.Layer):
    """x / |x| by rows, in float32 whatever the precision policy; a zero row stays zero.

    keras.layers.UnitNormalization has a gradient of 1e12 at a zero row.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, x):
        squared = ops.sum(ops.square(x), axis=-1, keepdims=True)  # (B, 1)
        return x * ops.rsqrt(ops.maximum(squared, NORM_FLOOR))


def before_norm(tower):
    """The same tower, weights and all, without its L2 norm; a tower that has none as it is."""
    norms = [layer for layer in tower.layers if isinstance(layer, UnitNorm)]
    return keras.Model(tower.inputs, norms[-1].input) if norms else tower


class Standardize(keras.layers.Layer):
    """(x - mean) / deviation by columns of the training vectors; kept among the weights."""

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, trainable=False, initializer="zeros", name="mean")
        self.deviation = self.add_weight(
            shape=shape, trainable=False, initializer="ones", name="deviation"
        )

    def call(self, x):
        return (x - self.mean) / self.deviation

    def adapt(self, vectors):
        """Takes mean and standard deviation from (N, F) vectors, read block by block."""
        total = squares = np.zeros(vectors.shape[1])
        for start in range(0, len(vectors), 1024):
            block = np.asarray(vectors[start : start + 1024], np.float64)
            total, squares = total + block.sum(axis=0), squares + np.square(block).sum(axis=0)
        mean = total / len(vectors)
        variance = np.maximum(squares / len(vectors) - np.square(mean), 0.0)
        self.mean.assign(mean)
        self.deviation.assign(np.where(variance > 1e-12, np.sqrt(variance), 1.0))


def lengths(tokens):
    """(b, T) ids, 0 pads -> (b,) how many until the last one that is not padding."""
    places = ops.arange(1, ops.shape(tokens)[1] + 1)
    return ops.max(ops.where(tokens > 0, places, 0), axis=1, initial=0)


def by_length(read, tokens, parts=PARTS):
    """What `read` makes of captions, without most of the padding.

    The captions are read in parts of equal size from the shortest to the longest, each part cut to
    its longest.

    Args:
      read: (places (p,) of captions in the batch, how many ids the longest has) -> (p, ...), rows
        that depend neither on each other nor on padding.
      tokens: (b, T) ids, 0 pads on the right; each has an id.

    Returns:
      (b, ...), in the order of the tokens.
    """
    found = lengths(tokens)
    order, size = ops.argsort(found), ops.shape(tokens)[0]
    found, rows, kept, done = ops.take(found, order), [], [], 0
    for part in range(parts):
        start, end = part * size // parts, (part + 1) * size // parts
        # Of fewer captions than parts, some parts are empty: they read a row that is not kept.
        stop = ops.maximum(end, start + 1)
        rows.append(read(order[start:stop], ops.max(found[start:stop], initial=1)))
        kept.append(ops.arange(done, done + end - start))
        done += stop - start
    places = ops.take(ops.concatenate(kept), ops.argsort(order))
    return ops.take(ops.concatenate(rows), places, axis=0)
