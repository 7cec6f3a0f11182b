"""The image CNN of a tower that reads pictures: of keras.applications, KerasHub, or our small one.

Shape letters: B batch, S side, h and w sides of a map, F channels, C features of a place.

Reference:
  [He]        He et al., Deep residual learning for image recognition, CVPR 2016 (blocks of the
              small one).
  [Shechtman] Shechtman and Irani, Matching local self-similarities across images and videos, CVPR
              2007.
"""

import keras
from keras import ops

import cnn
import distribution
import hub
from layers import NORM_MOMENTUM, he_normal, norm

SMALL = "small"  # the name of our own
SMALL_CHANNELS = (32, 64, 128)  # each convolution halves the map
SMALL_OUTLINES = 96  # channels of the layers that read self-similarities
CELL, WINDOW = 4, 12  # side of a place in pixels; squares in a row round its middle
SQUARES = (1, 2)  # pixels: one for textures, one for shapes
LINES = 6  # that tell places apart, each way
LIKENESS = 0.35  # colours of [-1, 1] that are so far apart count as little alike


class Backbone(keras.Model):
    """A network that can be made to run as after training at all times.

    `training=False` where a functional model calls it would not do: Keras 3 overrides that with how
    the whole model is called.

    Attributes:
      still: whether it does.
    """

    still = False

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False if self.still else training, mask=mask)


def make_backbone(name):
    """A network without weights of its own yet: (B, h, w, 3) uint8 RGB of any size -> last map.

    Its own preprocessing is its first step.

    Args:
      name: "small", or a network of `cnn.NETWORKS` or `hub.RESNETS`.

    Raises:
      ValueError: there is no such network.
    """
    check_name(name)
    if name in hub.RESNETS:
        return Backbone(*hub.resnet_graph(name), name="backbone")
    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    x = keras.ops.cast(pixels, keras.config.floatx())
    if name == SMALL:
        maps = small_network(x / 127.5 - 1.0)
    else:
        make = getattr(keras.applications, name)
        prepared = keras.applications.__dict__[cnn.module_of(name)].preprocess_input(x)
        maps = make(weights=None, include_top=False, input_tensor=prepared).output
    return Backbone(pixels, maps, name="backbone")


def check_name(name):
    """Refuses an unknown network. Raises ValueError."""
    if name != SMALL and name not in (*cnn.NETWORKS, *hub.RESNETS):
        known = ", ".join((SMALL, *hub.RESNETS, *cnn.NETWORKS))
        raise ValueError(f"unknown --cnn {name!r}; there are {known}")


def load_backbone(backbone, settings):
    """Sets a backbone to the weights that --image_weights names; none leaves them as they are.

    Raises:
      ValueError: they cannot be had, or are of another network.
    """
    if settings.image_weights in cnn.RANDOM:
        return
    if settings.cnn in hub.RESNETS:
        hub.load_resnet_weights(backbone, settings.cnn, settings.image_weights)
        return
    source, _ = cnn.build(cnn.describe_network(settings))
    values = [layer for layer in source.layers if layer.weights]
    own = [layer for layer in backbone.layers if layer.weights]
    for layer, given in zip(own, values, strict=False):  # dense layers may follow in the source
        if [w.shape for w in layer.weights] != [w.shape for w in given.weights]:
            raise ValueError(
                f"--image_weights {settings.image_weights}: {given.name} does not fit {layer.name} "
                f"of {settings.cnn}"
            )
        layer.set_weights(given.get_weights())


def image_backbone(settings):
    """The image CNN of a run: of `make_backbone`, its batch norm over the batch of all replicas.

    Args:
      settings: with cnn, freeze_backbone and freeze_norm.

    Raises:
      ValueError: there is no such network.
    """
    made = make_backbone(settings.cnn)
    made.trainable = not settings.freeze_backbone
    # A frozen one runs as after training, its batch norm too.
    made.still = settings.freeze_backbone or settings.freeze_norm
    for layer in made.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = distribution.num_replicas() > 1
            layer.momentum = NORM_MOMENTUM
    return made


def find_backbone(model):
    """The image CNN in a model that reads pictures; None in one that reads vectors."""
    tower = model.image_tower
    return next((layer for layer in tower.layers if layer.name == "backbone"), None)


@keras.saving.register_keras_serializable("matchbox")
class WholeCells(keras.layers.Layer):
    """(B, h, w, C) -> the same, up to sides that `cell` divides: grey at the right and below."""

    def __init__(self, cell, **kwargs):
        super().__init__(**kwargs)
        self.cell = cell

    def call(self, pixels):
        most = self.cell - 1
        height, width = ((side + most) // self.cell * self.cell for side in ops.shape(pixels)[1:3])
        return ops.pad(pixels, ((0, 0), (0, most), (0, most), (0, 0)))[:, :height, :width]

    def compute_output_shape(self, input_shape):
        sides = (side and -(-side // self.cell) * self.cell for side in input_shape[1:3])
        return (input_shape[0], *sides, input_shape[3])

    def get_config(self):
        return {**super().get_config(), "cell": self.cell}


@keras.saving.register_keras_serializable("matchbox")
class SelfSimilarity(keras.layers.Layer):
    """(B, S, S, 3) -> (B, S / 4, S / 4, 144): how alike the colours round a place are to its own.

    exp(-|x_q - x_p|^2 / (2 s^2)) of the 12 x 12 squares q round a place, p the mean of the 2 x 2 in
    their middle; there is a place in every 4 x 4 pixels. A thing of one colour shows as its shape,
    or its texture, whatever the colour. Layers learn to read that from far fewer pictures than they
    need to find shapes in colours.

    Args:
      square: side of a square in pixels, 1 or 2.

    Reference: [Shechtman] Eq. 1 and 2, before their binning.
    Differs from the paper: colours are compared, not patches; s is fixed.
    """

    def __init__(self, square, **kwargs):
        super().__init__(**kwargs)
        self.square = square

    def call(self, pixels):
        squares = ops.average_pool(pixels, self.square, self.square)
        step = CELL // self.square
        first = step // 2 - 1  # of the two in the middle of a place
        own = ops.average_pool(squares[:, first:, first:], 2, step)  # (B, S / 4, S / 4, 3)
        batch, height, width = ops.shape(own)[:3]
        high, wide = ops.shape(squares)[1:3]

        def window(places, size):  # (places, 12); what is beyond the rim mirrors what is within
            start = first + 1 - WINDOW // 2 + step * ops.arange(places)
            last = size - 1
            return last - ops.absolute(last - ops.absolute(start[:, None] + ops.arange(WINDOW)))

        rows, columns = window(height, high), window(width, wide)
        round_it = rows[:, None, :, None] * wide + columns[None, :, None, :]
        round_it = ops.reshape(round_it, (-1, WINDOW**2))  # (P, 144)
        # Colours apart and the batch last: so whole rows are copied.
        colours = ops.reshape(ops.transpose(squares, (3, 1, 2, 0)), (3, -1, batch))
        own = ops.reshape(ops.transpose(own, (3, 1, 2, 0)), (3, -1, 1, batch))  # (3, P, 1, B)
        apart = 0.0
        for colour in range(3):
            seen = ops.take(colours[colour], round_it, axis=0)  # (P, 144, B)
            apart += ops.square(seen - own[colour])
        alike = ops.transpose(ops.exp(apart / (-2.0 * LIKENESS**2)), (2, 0, 1))
        return ops.reshape(alike, (batch, height, width, WINDOW**2))

    def compute_output_shape(self, input_shape):
        sides = (side and side // CELL for side in input_shape[1:3])
        return (input_shape[0], *sides, WINDOW**2)

    def get_config(self):
        return {**super().get_config(), "square": self.square}


def small_network(x):
    """(B, S, S, 3) in [-1, 1] -> (B, S / 8, S / 8, 224), for small pictures and no weights.

    Two paths: three strided convolutions and a residual one ([He]) that begins as nothing, 128
    channels; and two layers that read `SelfSimilarity` on two scales, 96.
    """
    stride = 2 ** len(SMALL_CHANNELS)
    pixels = WholeCells(stride)(x)
    x = _conv(pixels, SMALL_CHANNELS[0], 5, 2, "small_1")
    for number, channels in enumerate(SMALL_CHANNELS[1:], start=2):
        x = _conv(x, channels, 3, 2, f"small_{number}")
    more = _conv(x, SMALL_CHANNELS[-1], 3, 1, "small_more", start="zeros")
    x = keras.layers.ReLU()(keras.layers.Add()([x, more]))
    y = keras.layers.Concatenate()([SelfSimilarity(square)(pixels) for square in SQUARES])
    for number in (1, 2):
        y = _conv(y, SMALL_OUTLINES, 1, 1, f"small_outlines_{number}")
    y = keras.layers.MaxPooling2D(stride // CELL)(y)
    return keras.layers.Concatenate()([x, y])


def _conv(x, channels, size, stride, name, start="ones"):
    """Convolution, batch norm and, unless the norm starts at zero, a ReLU."""
    x = keras.layers.Conv2D(
        channels, size, stride, "same", use_bias=False, kernel_initializer=he_normal(), name=name
    )(x)
    x = norm(f"{name}_norm", start)(x)
    return keras.layers.ReLU()(x) if start == "ones" else x


# ---- Places -------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("matchbox")
class Places(keras.layers.Layer):
    """(B, h, w, F) -> (B, h, w, F + 12): behind it, how near each position is to six lines across
    the picture and to six down it, from 2 on the line to 0 on the next.
    """

    def call(self, x):
        batch, height, width = ops.shape(x)[:3]

        def near(count):
            middles = (ops.arange(count, dtype=x.dtype) + 0.5) / ops.cast(count, x.dtype)
            lines = ops.arange(LINES, dtype=x.dtype) / (LINES - 1)
            apart = ops.absolute(middles[:, None] - lines) * (LINES - 1)
            return 2.0 * ops.relu(1.0 - apart)  # (count, LINES)

        shape = (batch, height, width, LINES)
        across = ops.broadcast_to(near(height)[None, :, None], shape)
        down = ops.broadcast_to(near(width)[None, None], shape)
        return ops.concatenate([x, across, down], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 2 * LINES)


def strongest_places(maps, channels):
    """(B, h, w, F) -> (B, 1, 1, C): how strongly each of C features of a place, its position among
    them, shows anywhere in the picture. Not in the papers.
    """
    x = keras.layers.Conv2D(
        channels, 1, use_bias=False, kernel_initializer=he_normal(), name="image_places"
    )(Places()(maps))
    x = keras.layers.ReLU()(norm("image_places_norm")(x))
    return keras.layers.GlobalMaxPooling2D(keepdims=True)(x)
