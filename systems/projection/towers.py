"""System 1: two projection MLPs; the text is a bag of words, or the mean of its words' vectors.

Shape letters: B batch, D embedding, F feature, T tokens.

Reference: [IRSE] M. Sijmkens, IRSE project report, 2021, section 1.
"""

import keras

from run import replicas
from systems.engine import bag
from systems.engine.layers import Standardize, UnitNorm
from systems.engine.parts import Parts


def projection_head(settings):
    """The layers after the first linear one: BatchNorm, ReLU, Dropout, Linear, L2 norm.

    Differs from the paper: its PyTorch layers start uniform(+-1 / sqrt(fan in)) and average batch
      statistics at 0.9 with epsilon 1e-5; here Keras' Glorot uniform, 0.99 and 1e-3.
    """
    return [
        # synchronized: statistics of the batch over all replicas, as on one device.
        keras.layers.BatchNormalization(synchronized=replicas.num_replicas() > 1),
        keras.layers.ReLU(),
        keras.layers.Dropout(settings.dropout),
        keras.layers.Dense(settings.embed_dim),
        UnitNorm(),
    ]


def image_projection(settings, feature_dim):
    """(B, F) float32 image vectors -> (B, D) float32 embeddings of norm 1."""
    first = [keras.Input((feature_dim,), name="image")]
    if settings.standardize:
        first += [Standardize(name="standardize")]
    if settings.image_dropout:
        first += [keras.layers.Dropout(settings.image_dropout)]
    first += [keras.layers.Dense(settings.hidden_dim)]
    return keras.Sequential([*first, *projection_head(settings)], name="image_tower")


def text_projection(settings, vocabulary_size):
    """(B, T) int32 word ids, padded with 0 -> (B, D) float32 embeddings of norm 1."""
    first = [keras.Input((None,), dtype="int32", name="tokens")]
    first += bag.first_layers(settings, vocabulary_size)
    return keras.Sequential([*first, *projection_head(settings)], name="text_tower")


def build(settings, facts, loss):
    """The two towers, from a run's settings and the sizes of its data."""
    image = image_projection(settings, facts.feature_dim)
    text = text_projection(settings, facts.vocabulary_size)
    return Parts(image, text, words=bag.word_table(text))
