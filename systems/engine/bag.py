"""A bag of words as a layer, at the cost of the words present."""

import keras
from keras import ops

from systems.engine.parts import WordTable

SCALES = ("count", "mean", "sqrt")


class BagOfWords(keras.layers.Layer):
    """A dense layer on word counts, at the cost of the words present.

    counts @ W + bias, with counts (B, V), is the sum of the rows of W of the words present, each as
    often as it occurs. The (B, V) matrix is never made: V may be 90,000.

    Args:
      vocabulary_size: V; ids run from 1 to V, 0 pads.
      units: H.
      scale: "count" as in the paper; "mean" divides by the number of words, "sqrt" by its root.
      word_dropout: share of words left out in training, in [0, 1).
      initializer: of the rows of W.
    """

    def __init__(
        self, vocabulary_size, units, scale="count", word_dropout=0.0,
        initializer="glorot_uniform", **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if scale not in SCALES:
            raise ValueError(f"scale is {scale!r}: choose from {', '.join(SCALES)}")
        self.vocabulary_size, self.units = vocabulary_size, units
        self.scale, self.word_dropout, self.initializer = scale, word_dropout, initializer
        self.dropout = keras.layers.Dropout(word_dropout)

    def build(self, input_shape):
        shape = (self.vocabulary_size, self.units)  # as the dense layer's
        self.kernel = self.add_weight(shape=shape, initializer=self.initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, tokens, training=False):
        present = ops.cast(ops.not_equal(tokens, 0), self.compute_dtype)  # (B, T)
        present = self.dropout(present, training=training)
        rows = ops.take(self.kernel, ops.maximum(tokens - 1, 0), axis=0)  # (B, T, H)
        total = ops.matmul(present[:, None, :], rows)[:, 0]  # (B, 1, T) (B, T, H) -> (B, H)
        if self.scale != "count":
            number = ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0)
            total = total * (1.0 / number if self.scale == "mean" else ops.rsqrt(number))
        return total + self.bias

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)


def first_layers(settings, vocabulary_size):
    """From token ids (B, T) to the first layer's (B, H): a bag of words, or means of word vectors.

    The vectors are those of --word_vectors, zeros for words that the file lacks; none is trained.

    Reference: Sijmkens, IRSE project report, 2021, section 1; the assignment's second part.
    """
    if not settings.word_means:
        bag = {"scale": settings.bag_scale, "word_dropout": settings.word_dropout}
        return [BagOfWords(vocabulary_size, settings.hidden_dim, **bag)]
    fixed = {"initializer": "zeros", "trainable": False, "name": "words"}
    means = BagOfWords(vocabulary_size, settings.word_dim, "mean", settings.word_dropout, **fixed)
    return [means, keras.layers.Dense(settings.hidden_dim)]


def word_table(tower):
    """The fixed word vectors of a tower of `first_layers`, or None."""
    found = [layer for layer in tower.layers if layer.name == "words"]
    return WordTable(found[0].kernel, padding=0) if found else None
