"""Our own image network, for small pictures and no weights: it begins by comparing colours.

Which colours are alike, and where, is computed and not learned, so that from a few thousand
captions layers learn shapes, textures and sizes that convolutions would need far more of.

Shape letters: B batch, S side, P places (one in every 4 x 4 pixels), F channels.

Reference:
  [Shechtman] Shechtman and Irani, Matching local self-similarities across images and videos, CVPR
              2007.
  [Hu]        Hu, Visual pattern recognition by moment invariants, 1962.
"""

import keras
from keras import ops

from layers import he_normal, norm

FEATURES = 128  # F
CELL, WINDOW = 4, 12  # side of a place in pixels; points in a row of the window round it
THING = 3.0  # cells of 4 pixels within which one colour makes one thing
LIKENESS = 0.35  # colours of [-1, 1] that are so far apart count as little alike


def small_network(x):
    """(B, S, S, 3) in [-1, 1] -> (B, S / 8, S / 8, 128).

    What a place is like, 305 numbers (its colours, `SelfSimilarity`, `Silhouette`), through two
    layers; then the maximum over 2 x 2 places.
    """
    pixels = WholeCells(2 * CELL)(x)
    colours = [
        keras.layers.AveragePooling2D(2, CELL)(pixels[:, 1:-1, 1:-1]),  # the middle of each place
        keras.layers.AveragePooling2D(CELL)(pixels),
        keras.layers.MaxPooling2D(CELL)(pixels),
        keras.layers.MaxPooling2D(CELL)(-pixels),
    ]
    x = keras.layers.Concatenate()([*colours, SelfSimilarity()(pixels), Silhouette()(pixels)])
    for number in (1, 2):
        x = keras.layers.Conv2D(
            FEATURES, 1, use_bias=False, kernel_initializer=he_normal(), name=f"small_{number}"
        )(x)
        x = keras.layers.ReLU()(norm(f"small_{number}_norm")(x))
    return keras.layers.MaxPooling2D(2)(x)


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

    Reference: [Hu] section III (position and size from the moments of order 0 to 2).
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
