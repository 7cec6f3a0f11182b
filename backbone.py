"""The image CNN of a tower that reads pictures: of keras.applications, KerasHub, or our small one.

Shape letters: B batch, S side, h and w sides of a map, F channels.

Reference:
  [He]        He et al., Deep residual learning for image recognition, CVPR 2016 (blocks of the
              small one).
  [Shechtman] Shechtman and Irani, Matching local self-similarities across images and videos, CVPR
              2007.
"""

import keras
from keras import ops

import cnn
import hub
from layers import he_normal, norm

SMALL = "small"  # the name of our own
SMALL_CHANNELS = (32, 64, 128)  # each convolution halves the map
SMALL_OUTLINES = 96  # channels of the layers that read self-similarities
CELL, WINDOW = 4, 12  # side of a place in pixels; points in a row of the window round it
THING = 3.0  # cells of 4 pixels within which one colour makes one thing
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

    exp(-|x_q - x_p|^2 / (2 s^2)) of the 12 x 12 pixels q round a place, p the mean of the 2 x 2 in
    their middle; there is a place in every 4 x 4 pixels. What has one colour shows as its texture,
    whatever the colour. Layers learn to read that from far fewer pictures than they need to find
    textures in colours.

    Reference: [Shechtman] Eq. 1 and 2, before their binning.
    Differs from the paper: colours are compared, not patches; s is fixed.
    """

    def call(self, pixels):
        own = ops.average_pool(pixels[:, 1:, 1:], 2, CELL)  # (B, S / 4, S / 4, 3)
        batch, height, width = ops.shape(own)[:3]
        high, wide = ops.shape(pixels)[1:3]

        def window(places, size):  # (places, 12); what is beyond the rim mirrors what is within
            start = (CELL - WINDOW) // 2 + CELL * ops.arange(places)
            last = size - 1
            return last - ops.absolute(last - ops.absolute(start[:, None] + ops.arange(WINDOW)))

        rows, columns = window(height, high), window(width, wide)
        round_it = rows[:, None, :, None] * wide + columns[None, :, None, :]
        round_it = ops.reshape(round_it, (-1, WINDOW**2))  # (P, 144)
        # Colours apart and the batch last: so whole rows are copied.
        colours = ops.reshape(ops.transpose(pixels, (3, 1, 2, 0)), (3, -1, batch))
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


@keras.saving.register_keras_serializable("matchbox")
class Silhouette(keras.layers.Layer):
    """(B, S, S, 3) -> (B, S / 4, S / 4, 149): the shape of the thing that a place belongs to.

    Cells of 4 x 4 pixels around a place belong to its thing as far as they have its colour and are
    near. Their moments give the thing's area, middle and extents: five numbers. A window of 12 x 12
    points round that middle, twice the larger extent to each side, then shows how alike its colours
    are to the place's: a shape, or a texture, looks the same wherever and however large it is.

    Reference: Hu, Visual pattern recognition by moment invariants, 1962, section III (position and
      size from the moments of order 0 to 2).
    """

    def call(self, pixels):
        # Differences of squares need more than 16 bits.
        kind = "float64" if self.compute_dtype == "float64" else "float32"
        pixels = ops.cast(pixels, kind)
        cells = ops.average_pool(pixels, CELL, CELL)
        batch, height, width = ops.shape(cells)[:3]
        cells = ops.reshape(cells, (batch, -1, 3))  # (B, P, 3)
        own = ops.average_pool(pixels[:, 1:-1, 1:-1], 2, CELL)  # the 2 x 2 in a cell's middle
        own = ops.reshape(own, (batch, -1, 3))
        area, middle, extent = thing_moments(own, cells, height, width)
        alike = self.window(pixels, own, middle, extent)
        size = ops.cast(ops.stack([width, height]), kind)
        numbers = [area / THING**2, 2.0 * (middle + 0.5) / size - 1.0, extent / THING]
        found = ops.concatenate([alike, *numbers], axis=-1)
        return ops.reshape(found, (batch, height, width, WINDOW**2 + 5))

    def window(self, pixels, own, middle, extent):
        """(B, P, 144): likeness to `own` (B, P, 3) of the points round a middle, by rows."""
        batch, high, wide = ops.shape(pixels)[:3]
        reach = 2.0 * ops.max(extent, axis=-1, keepdims=True)  # the same both ways
        points = (ops.arange(WINDOW, dtype=reach.dtype) + 0.5) * (2.0 / WINDOW) - 1.0
        at = CELL * ((middle + 0.5)[..., None] + reach[..., None] * points)  # (B, P, 2, 12)
        at = ops.cast(ops.floor(at), "int32")
        columns, rows = ops.clip(at[:, :, 0], 0, wide - 1), ops.clip(at[:, :, 1], 0, high - 1)
        place = rows[..., :, None] * wide + columns[..., None, :]  # (B, P, 12, 12)
        place = ops.reshape(place, (batch, -1)) + ops.arange(batch)[:, None] * (high * wide)
        seen = ops.take(ops.reshape(pixels, (-1, 3)), place, axis=0)
        seen = ops.reshape(seen, (batch, -1, WINDOW**2, 3))
        apart = ops.sum(ops.square(seen - own[:, :, None]), axis=-1)
        return ops.exp(apart / (-2.0 * LIKENESS**2))

    def compute_output_shape(self, input_shape):
        sides = (side and side // CELL for side in input_shape[1:3])
        return (input_shape[0], *sides, WINDOW**2 + 5)


def thing_moments(own, cells, height, width):
    """Area, middle and extents of the thing that each place belongs to, in cells.

    Args:
      own: (B, P, 3) colours of the places; cells: (B, P, 3) of all cells, by rows of `width`.

    Returns:
      area (B, P, 1); middle (B, P, 2), x and y from the middle of the first cell; extent (B, P, 2),
      standard deviations, at least that of one cell.
    """
    apart = ops.sum(ops.square(own), -1)[..., None] + ops.sum(ops.square(cells), -1)[:, None]
    apart -= 2.0 * ops.matmul(own, ops.transpose(cells, (0, 2, 1)))  # (B, P, P)
    number = ops.arange(height * width)
    x, y = ops.cast(number % width, own.dtype), ops.cast(number // width, own.dtype)  # (P,)
    steps = ops.square(x[:, None] - x) + ops.square(y[:, None] - y)  # (P, P)
    belongs = ops.exp(apart / (-2.0 * LIKENESS**2) - steps / (2.0 * THING**2))
    powers = ops.stack([ops.ones_like(x), x, y, x**2, y**2], axis=1)  # (P, 5)
    moments = ops.matmul(belongs, powers)  # (B, P, 5)
    area = ops.maximum(moments[..., :1], 1e-6)
    middle = moments[..., 1:3] / area
    variance = ops.maximum(moments[..., 3:] / area - ops.square(middle), 0.0)
    return area, middle, ops.sqrt(variance + 1.0 / 12.0)


def small_network(x):
    """(B, S, S, 3) in [-1, 1] -> (B, S / 8, S / 8, 224), for small pictures and no weights.

    Two paths: three strided convolutions and a residual one ([He]) that begins as nothing, 128
    channels; and two layers that read `SelfSimilarity` and `Silhouette`, 96.
    """
    stride = 2 ** len(SMALL_CHANNELS)
    pixels = WholeCells(stride)(x)
    x = _conv(pixels, SMALL_CHANNELS[0], 5, 2, "small_1")
    for number, channels in enumerate(SMALL_CHANNELS[1:], start=2):
        x = _conv(x, channels, 3, 2, f"small_{number}")
    more = _conv(x, SMALL_CHANNELS[-1], 3, 1, "small_more", start="zeros")
    x = keras.layers.ReLU()(keras.layers.Add()([x, more]))
    y = keras.layers.Concatenate()([SelfSimilarity()(pixels), Silhouette()(pixels)])
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
