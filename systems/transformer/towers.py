"""System 4: a residual network reads the picture, DistilBERT the caption.

A linear map brings what either has read into one space; all is trained together.

Shape letters: B batch, T pieces, D embedding, F feature, V word pieces; h and w sides of a picture.

Reference:
  [Smooth] Timofeev et al., Multi-modal retrieval with smooth weighting of negatives, project of
           EE-608, EPFL, 2021, and the authors' code.
"""

import keras
from keras import ops

from systems.engine import hub
from systems.engine.backbone import find_backbone, image_backbone, load_backbone, strongest_places
from systems.engine.bag import BagOfWords
from systems.engine.layers import Standardize, UnitNorm, by_length
from systems.engine.parts import FrozenText, Parts, Sides, rates_of, reader
from systems.transformer.sizes import parse_size

CHUNKS = Sides(image=32, text=128)  # the published networks take 45 MB of a picture


def picture_tower(settings, feature_dim):
    """(B, h, w, 3) uint8 pictures, or (B, F) vectors -> (B, D) unit rows.

    The mean of the network's last map, or with `image_pooling` "places" what `strongest_places`
    finds in it, through a dense layer without activation. Vectors go through that layer alone.

    Args:
      settings: the run's configuration.
      feature_dim: F of vectors.

    Reference: [Smooth], slide "Image network": 512 -> 128 behind ResNet-34.
    Differs from the paper: after training, the whole picture is read (its short side 256 for crops
      of 224), there the square of 224 in its middle.
    """
    if settings.features == "pixels":
        image = keras.Input((None, None, 3), dtype="uint8", name="image")
        maps = image_backbone(settings)(image)
        if settings.image_pooling == "places":
            maps = strongest_places(maps, settings.hidden_dim or maps.shape[-1])
        rows = keras.layers.GlobalAveragePooling2D(name="pool")(maps)  # (B, F)
    else:
        rows = image = keras.Input((feature_dim,), name="image")
    if settings.standardize:
        rows = Standardize(name="standardize")(rows)
    if settings.image_dropout:
        rows = keras.layers.Dropout(settings.image_dropout)(rows)
    rows = keras.layers.Dense(settings.embed_dim, name="image_head")(rows)
    return keras.Model(image, UnitNorm(name="unit")(rows), name="image_tower")


def piece_tower(settings, num_pieces):
    """(B, T) ids of word pieces, 0 pads -> (B, D) unit rows.

    With `bag`, a sum of the pieces' own rows of size D is added to what the transformer has read.

    Args:
      settings: the run's configuration.
      num_pieces: V.

    Reference: [Smooth], slide "DistilBERT": [CLS] of the last layer, 768 -> 128.
    """
    size = parse_size(settings.text_size)
    bare = hub.transformer_tower(
        num_pieces, settings.embed_dim, size, settings.dropout, settings.text_pooling,
        frozen=is_frozen(settings),
    )  # fmt: skip
    row = bare.output
    if settings.bag:
        bag = BagOfWords(num_pieces, settings.embed_dim, word_dropout=settings.word_dropout)
        row = keras.layers.Add()([row, bag(bare.input)])
    return keras.Model(bare.input, UnitNorm(name="unit")(row), name="text_tower")


def is_frozen(settings):
    """Whether no training changes the text transformer; it then reads each caption once."""
    return settings.text_rate == 0 or settings.train in ("heads", "image")


def in_two(tower):
    """A text tower as `FrozenText`: its pooled rows, and what is made of them and of the ids."""
    rows = tower.get_layer(hub.FROZEN_ROWS).input
    network = keras.Model(tower.input, rows, name="frozen_text")
    return FrozenText(network, keras.Model([rows, tower.input], tower.output, name="text_end"))


def build(settings, facts, loss):
    """System 4, from a run's settings.

    The image CNN and the transformer may have learning rates of their own; captions that are
    trained on are read `by_length`.

    Differs from the paper, with the recipes simclr to max_triplet: the best epoch is that of the
      highest rsum on all of validation, there that of the lowest loss on each image's first
      caption; crops are drawn anew in every epoch, there once for the whole run.
    """
    image = picture_tower(settings, facts.feature_dim)
    text = piece_tower(settings, facts.vocabulary_size)
    network, raw = find_backbone(image), getattr(loss, "raw", False)
    read = reader(text, raw)

    def read_text(tokens, training=False):
        if not training:
            return read(tokens)

        def read_part(places, longest):
            return read(ops.take(tokens, places, 0)[:, :longest], training)["rows"]

        return {"rows": by_length(read_part, tokens)}

    def load_published(settings):
        load_backbone(network, settings)
        if not settings.init_from:
            hub.load_text_weights(text, settings.text_weights)

    trained = network.trainable_variables if network else []
    pretrained = text.get_layer("backbone").trainable_variables
    return Parts(
        image,
        text,
        readers=Sides(reader(image, raw), read_text),
        rates=rates_of((settings.backbone_rate, trained), (settings.text_rate, pretrained)),
        chunks=CHUNKS,
        frozen_text=in_two(text) if is_frozen(settings) else None,
        load_published=load_published,
        export_text=hub.export_text,
    )
