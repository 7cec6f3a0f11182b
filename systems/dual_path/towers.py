"""System 3: an image CNN and a text CNN under one classifier that knows every training image.

The instance loss takes each training image, with its captions, for a class of its own; both paths
end in the same weights W, so a picture and its sentence learn to lie where W has their row.

Shape letters: B batch, b rows of one replica, D embedding, F channels of the backbone, K classes,
P candidates for hard texts.

Reference:
  [Dual] Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017, and
         the authors' code.
"""

from functools import partial

import keras
from keras import ops

from systems.dual_path.head import PATHS, InstanceHead, exchange
from systems.dual_path.text_cnn import ShiftSum, text_cnn
from systems.engine.backbone import find_backbone, image_backbone, load_backbone, strongest_places
from systems.engine.convolution import he_normal, norm
from systems.engine.layers import Standardize, UnitNorm
from systems.engine.parts import Parts, Sides, WordTable, rates_of

CHUNKS = Sides(image=32, text=64)  # a caption goes through its tower once for each shift
NORM_SCALE_RATE, BIAS_RATE = 2.0, 20.0  # of learning_rate, with sgd


class SumPositions(keras.layers.Layer):
    """(B, h, w, D) -> (B, D); of one position, that row."""

    def call(self, x):
        return ops.sum(x, axis=(1, 2))


def image_head(channels, settings):
    """(B, h, w, F) maps, or vectors as maps of one position -> (B, D), before the last ReLU.

    Two 1x1 convolutions, each with batch norm, a ReLU between them, summed over the positions.

    Args:
      channels: F.
      settings: with embed_dim, hidden_dim and image_dropout (of what the head reads; none in the
        paper).

    Reference: [Dual] section 3.1: 2048 -> 2048 -> 2048 for ResNet-50.
    """
    maps = keras.Input((None, None, channels), name="map")
    hidden = settings.hidden_dim or channels
    read = keras.layers.Dropout(settings.image_dropout)(maps) if settings.image_dropout else maps
    x = keras.layers.Conv2D(
        hidden, 1, use_bias=False, kernel_initializer=he_normal(), name="image_hidden"
    )(read)
    x = keras.layers.ReLU()(norm("image_hidden_norm")(x))
    x = keras.layers.Conv2D(
        settings.embed_dim, 1, use_bias=False, kernel_initializer=he_normal(), name="image_head"
    )(x)
    return keras.Model(maps, SumPositions()(norm("image_head_norm")(x)), name="image_path")


def cnn_tower(settings):
    """(B, h, w, 3) uint8 pictures -> (B, D), before the last ReLU.

    A picture of the training size gives one position; a larger one gives several, which are summed.

    Reference: [Dual] section 3.1 and the authors' code: ResNet-50 up to its last pooling.
    Differs from the paper: for VGG19 it takes fc7 before its ReLU, here the last map's mean.
    """
    pixels = keras.Input((None, None, 3), dtype="uint8", name="image")
    backbone = image_backbone(settings)
    maps = backbone(pixels)
    side = settings.image_size
    window = backbone.compute_output_shape((1, side, side, 3))[1]
    if settings.image_pooling == "mean":
        maps = keras.layers.AveragePooling2D(window, 1, name="pool")(maps)
    else:
        maps = strongest_places(maps, settings.hidden_dim or maps.shape[-1])
    if settings.standardize:  # as the first phase's vectors were
        maps = Standardize(name="standardize")(maps)
    head = image_head(maps.shape[-1], settings)
    return keras.Model(pixels, head(maps), name="image_tower")


def vector_tower(settings, feature_dim):
    """(B, F) cached vectors of the backbone -> (B, D), before the last ReLU."""
    vectors = keras.Input((feature_dim,), name="image")
    rows = Standardize(name="standardize")(vectors) if settings.standardize else vectors
    maps = keras.layers.Reshape((1, 1, feature_dim))(rows)
    head = image_head(feature_dim, settings)
    return keras.Model(vectors, head(maps), name="image_tower")


def image_rows(tower, mirror):
    """Pictures or vectors -> (B, D) unit rows, for use: the mirrored picture added if `mirror`.

    Reference: [Dual], the authors' code for testing.
    """
    image = keras.Input(tower.input_shape[1:], dtype=tower.inputs[0].dtype, name="image")
    rows = tower(image, training=False)
    if mirror:
        rows = keras.layers.Add()([rows, tower(ops.flip(image, axis=2), training=False)])
    return keras.Model(image, UnitNorm()(rows))


def text_rows(tower, shifts):
    """(B, T) ids of captions, 0 pads on the right -> (B, D) unit rows, for use."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    return keras.Model(tokens, UnitNorm()(ShiftSum(tower, shifts)(tokens)))


def parse_lambdas(text):
    """(lambda1, lambda2, lambda3) of "1:1:1".

    Raises:
      ValueError: these are not three numbers >= 0, one of them above 0.
    """
    try:
        found = tuple(float(part) for part in text.split(":"))
    except ValueError:
        found = ()
    if len(found) != 3 or not max(found) > 0 or not all(0 <= value < 1e6 for value in found):
        raise ValueError(
            f"--lambdas {text!r}: expected three weights, of the ranking, the visual and the "
            "textual loss, such as 1:1:1 or 2:1:0.1"
        )
    return found


def path_reader(tower, raw, compare_relu):
    """The reader of one side: "end", where the tower ends, and "rows" as the ranking loss compares.

    Args:
      tower: (inputs) -> (b, D), before the last ReLU.
      raw: rows before their L2 norm; compare_relu: rows behind the ReLU.
    """
    unit = UnitNorm()

    def read(inputs, training=False):
        end = tower(inputs, training=training)
        rows = ops.cast(ops.relu(end) if compare_relu else end, "float32")
        return {"end": end, "rows": rows if raw else unit(rows)}

    return read


def learning_rates(settings, image, text, head):
    """{path of a weight: factor of the learning rate} of those that differ from 1.

    Reference: [Dual], the authors' code: effective 0.01 for new layers, 1e-3 for the classifier,
      1e-4 for the words and the image CNN; with sgd scales of batch norm twice, the word layer's
      bias 20 times the rate of new layers.
    """
    words, network = text.get_layer("words"), find_backbone(image)
    of_sgd = []
    if settings.optimizer == "sgd":
        towers = [*image.trainable_variables, *text.trainable_variables]
        scales = [variable for variable in towers if variable.name == "gamma"]
        of_sgd = [(NORM_SCALE_RATE, scales), (BIAS_RATE, [words.bias])]
    return rates_of(
        *of_sgd,
        (settings.word_rate, [words.embeddings]),
        (settings.classifier_rate, head.trainable_variables),
        (settings.backbone_rate, network.trainable_variables if network else []),
    )


def build(settings, facts, loss):
    """System 3, from a run's settings."""
    if settings.features == "pixels":
        image = cnn_tower(settings)
    else:
        image = vector_tower(settings, facts.feature_dim)
    text = text_cnn(settings, facts.vocabulary_size)
    return two_paths(image, text, facts.num_classes, settings, loss)


def two_paths(image, text, classes, settings, loss):
    """Two towers under one classifier: L = lambda1 L_rank + lambda2 L_visual + lambda3 L_textual.

    The towers end before the last ReLU. Training compares what is behind it; the classifier reads
    the same; use reads the towers' own rows, divided by their norm. The final measurement adds
    mirrored pictures and sums captions over `test_shifts`; validation does not.

    Args:
      image: pictures or vectors -> (b, D); text: (b, 32) ids -> (b, D), with a layer "words".
      classes: K.

    Reference: [Dual] section 3.3 and the authors' code.
    """
    ranking, *lambdas = parse_lambdas(settings.lambdas)
    terms = {name: weight for name, weight in zip(PATHS, lambdas, strict=True) if weight}
    head = InstanceHead(terms, classes, image.output_shape[-1], settings)
    raw = getattr(loss, "raw", False)
    read, read_text = (path_reader(side, raw, settings.compare_relu) for side in (image, text))
    shifts = 0 if settings.test_shifts == "all" else int(settings.test_shifts)

    def for_test():
        mirror = settings.mirror and len(image.input_shape) == 4
        return Sides(image_rows(image, mirror), text_rows(text, shifts))

    return Parts(
        image,
        text,
        readers=Sides(read, read_text),
        heads=(head,),
        ranking=ranking,
        rates=learning_rates(settings, image, text, head),
        prepare=partial(exchange, read_text),
        encoders=Sides(image_rows(image, False), text_rows(text, 1)),
        for_test=for_test,
        chunks=CHUNKS,
        words=WordTable(text.get_layer("words").embeddings, padding=0),
        protocol={"shifts": settings.test_shifts},
        load_published=partial(load_backbone, find_backbone(image)),
    )
