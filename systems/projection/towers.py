"""System 1: two projection MLPs; the text is a bag of words.

Shape letters: B batch, D embedding, F feature, H hidden, T tokens, V vocabulary.

Reference: [IRSE] M. Sijmkens, IRSE project report, 2021, section 1.
"""

import keras

from run import replicas
from systems.engine.bag import BagOfWords
from systems.engine.layers import Standardize, UnitNorm
from systems.engine.parts import Parts


def projection_head(embed_dim, dropout):
    """What follows the first linear layer: BatchNorm, ReLU, Dropout, Linear, L2 norm.

    Reference: [IRSE] section 1.
    Differs from the paper: its PyTorch layers start uniform(+-1 / sqrt(fan in)) and average batch
      statistics at 0.9 with epsilon 1e-5; here Keras' Glorot uniform, 0.99 and 1e-3.
    """
    return [
        # synchronized: the statistics are those of the global batch, as on one device.
        keras.layers.BatchNormalization(synchronized=replicas.num_replicas() > 1),
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


def build(settings, facts, loss):
    """System 1, from a run's settings (`embed_dim`, `hidden_dim`, `dropout`, ...).

    Reference: [IRSE] section 1.
    """
    image = image_projection(
        facts.feature_dim,
        settings.hidden_dim,
        settings.embed_dim,
        settings.dropout,
        settings.image_dropout,
        settings.standardize,
    )
    text = text_projection(
        facts.vocabulary_size,
        settings.hidden_dim,
        settings.embed_dim,
        settings.dropout,
        scale=settings.bag_scale,
        word_dropout=settings.word_dropout,
    )
    return Parts(image, text)
