"""Layers that the towers of several systems share.

Shape letters: B batch, N images, F feature.
"""

import keras
import numpy as np
from keras import ops

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
