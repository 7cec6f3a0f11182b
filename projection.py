"""System 1: two projection MLPs; the text is a bag of words.

Shape letters: B batch, D embedding, F feature, H hidden, T tokens, V vocabulary.

Reference: [IRSE] M. Sijmkens, IRSE project report, 2021, section 1.
"""

import keras
from keras import ops

import distribution
from layers import Standardize, UnitNorm

SCALES = ("count", "mean", "sqrt")


@keras.saving.register_keras_serializable("matchbox")
class BagOfWords(keras.layers.Layer):
    """A dense layer on word counts, at the cost of the words present.

    counts @ W + bias, with counts (B, V), is the sum of the rows of W of the words present, each as
    often as it occurs. The (B, V) matrix is never made: V may be 90,000.

    Args:
      vocabulary_size: V; ids run from 1 to V, 0 pads.
      units: H.
      scale: "count" as in the paper; "mean" divides by the number of words, "sqrt" by its root.
      word_dropout: share of words left out in training, in [0, 1).
    """

    def __init__(self, vocabulary_size, units, scale="count", word_dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if scale not in SCALES:
            raise ValueError(f"scale is {scale!r}: choose from {', '.join(SCALES)}")
        self.vocabulary_size, self.units = vocabulary_size, units
        self.scale, self.word_dropout = scale, word_dropout
        self.dropout = keras.layers.Dropout(word_dropout)

    def build(self, input_shape):
        shape = (self.vocabulary_size, self.units)  # as the dense layer's
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
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

    def get_config(self):
        own = {"vocabulary_size": self.vocabulary_size, "units": self.units}
        return {
            **super().get_config(),
            **own,
            "scale": self.scale,
            "word_dropout": self.word_dropout,
        }


def projection_head(embed_dim, dropout):
    """What follows the first linear layer: BatchNorm, ReLU, Dropout, Linear, L2 norm.

    Reference: [IRSE] section 1.
    Differs from the paper: its PyTorch layers start uniform(+-1 / sqrt(fan in)) and average batch
      statistics at 0.9 with epsilon 1e-5; here Keras' Glorot uniform, 0.99 and 1e-3.
    """
    return [
        # synchronized: the statistics are those of the global batch, as on one device.
        keras.layers.BatchNormalization(synchronized=distribution.num_replicas() > 1),
        keras.layers.ReLU(),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(embed_dim),
        UnitNorm(),
    ]


def image_projection(
    feature_dim, hidden_dim, embed_dim, dropout=0.5, input_dropout=0.0, standardize=False
):
    """(B, F) image vectors -> (B, D) unit rows."""
    first = [keras.Input((feature_dim,), name="image")]
    if standardize:
        first += [Standardize(name="standardize")]
    if input_dropout:
        first += [keras.layers.Dropout(input_dropout)]
    first += [keras.layers.Dense(hidden_dim)]
    return keras.Sequential(first + projection_head(embed_dim, dropout), name="image_tower")


def text_projection(vocabulary_size, hidden_dim, embed_dim, dropout=0.5, **bag):
    """(B, T) word ids, 0 pads -> (B, D) unit rows. `bag` goes to `BagOfWords`."""
    layers = [
        keras.Input((None,), dtype="int32", name="tokens"),
        BagOfWords(vocabulary_size, hidden_dim, **bag),
    ]
    return keras.Sequential(layers + projection_head(embed_dim, dropout), name="text_tower")


def projection_model(settings, sizes):
    """System 1: two projection MLPs; the text is a bag of words.

    Args:
      settings: the run's configuration (`embed_dim`, `hidden_dim`, `dropout`, ...).
      sizes: {"feature_dim": F, "vocabulary_size": V}.

    Returns:
      (image tower, text tower).

    Reference: [IRSE] section 1.
    """
    image = image_projection(
        sizes["feature_dim"],
        settings.hidden_dim,
        settings.embed_dim,
        settings.dropout,
        settings.image_dropout,
        settings.standardize,
    )
    text = text_projection(
        sizes["vocabulary_size"],
        settings.hidden_dim,
        settings.embed_dim,
        settings.dropout,
        scale=settings.bag_scale,
        word_dropout=settings.word_dropout,
    )
    return image, text
