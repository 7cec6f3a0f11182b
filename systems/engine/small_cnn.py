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

from systems.engine.convolution import LINES, he_normal, near_lines, norm

FEATURES = 128  # F
CELL, WINDOW = 4, 12  # side of a place in pixels; points in a row of the window round it
THING = 3.0  # cells of 4 pixels within which one colour makes one thing
LIKENESS = 0.35  # colours of [-1, 1] that are so far apart count as little alike
GROUND = 0.15  # share of the rim whose colours make a colour half ground
ROOM = 1.15  # of the window round a figure, relative to its larger side
ROUNDS = 32  # of pixels that a figure's box spreads over it
FIGURE = 2 * WINDOW**2 + 3 + 3 * LINES  # numbers of a `Figure`


def small_network(x):
    """(B, S, S, 3) in [-1, 1] -> (B, S / 8, S / 8, 128).

    What a place is like, 614 numbers (its colours, `SelfSimilarity`, `Silhouette`, `Figure`),
    through two layers; then the maximum over 2 x 2 places.
    """
    pixels = WholeCells(2 * CELL)(x)
    colours = [
        keras.layers.AveragePooling2D(2, CELL)(pixels[:, 1:-1, 1:-1]),  # the middle of each place
        keras.layers.AveragePooling2D(CELL)(pixels),
        keras.layers.MaxPooling2D(CELL)(pixels),
        keras.layers.MaxPooling2D(CELL)(-pixels),
    ]
    x = keras.layers.Concatenate()(
        [*colours, SelfSimilarity()(pixels), Silhouette()(pixels), Figure()(pixels)]
    )
    for number in (1, 2):
        x = keras.layers.Conv2D(
            FEATURES, 1, use_bias=False, kernel_initializer=he_normal(), name=f"small_{number}"
        )(x)
        x = keras.layers.ReLU()(norm(f"small_{number}_norm")(x))
    return keras.layers.MaxPooling2D(2)(x)


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
        colours = ops.reshape(ops.transpose(pixels, (3, 1, 2, 0)), (3, high * wide, batch))
        own = ops.transpose(own, (3, 1, 2, 0))
        own = ops.reshape(own, (3, height * width, 1, batch))  # (3, P, 1, B)
        apart = 0.0
        for colour in range(3):
            seen = ops.take(colours[colour], round_it, axis=0)  # (P, 144, B)
            apart += ops.square(seen - own[colour])
        alike = ops.transpose(ops.exp(apart / (-2.0 * LIKENESS**2)), (2, 0, 1))
        return ops.reshape(alike, (batch, height, width, WINDOW**2))

    def compute_output_shape(self, input_shape):
        sides = (side and side // CELL for side in input_shape[1:3])
        return (input_shape[0], *sides, WINDOW**2)


class Silhouette(keras.layers.Layer):
    """(B, S, S, 3) -> (B, S / 4, S / 4, 149): the shape of the thing that a place belongs to.

    Cells of 4 x 4 pixels around a place belong to its thing as far as they have its colour and are
    near. Their moments give the thing's area, middle and extents: five numbers. A window of 12 x 12
    points round that middle, twice the larger extent to each side, then shows how alike its colours
    are to the place's: a shape, or a texture, looks the same wherever and however large it is.

    Reference: [Hu] section III (position and size from the moments of order 0 to 2).
    """

    def call(self, pixels):
        pixels = in_full(pixels, self.compute_dtype)
        cells = ops.average_pool(pixels, CELL, CELL)
        batch, height, width = ops.shape(cells)[:3]
        cells = ops.reshape(cells, (batch, -1, 3))  # (B, P, 3)
        own = own_colours(pixels)
        area, middle, extent = thing_moments(own, cells, height, width)
        reach = 2.0 * CELL * ops.max(extent, axis=-1)  # the same both ways
        seen = look(pixels, CELL * (middle + 0.5), reach)
        size = ops.cast(ops.stack([width, height]), pixels.dtype)
        numbers = [area / THING**2, 2.0 * (middle + 0.5) / size - 1.0, extent / THING]
        found = ops.concatenate([likeness(own, seen), *numbers], axis=-1)
        return ops.reshape(found, (batch, height, width, WINDOW**2 + 5))

    def compute_output_shape(self, input_shape):
        sides = (side and side // CELL for side in input_shape[1:3])
        return (input_shape[0], *sides, WINDOW**2 + 5)


class Figure(keras.layers.Layer):
    """(B, S, S, 3) -> (B, S / 4, S / 4, 309): the figure that a place belongs to; 0 on the ground.

    A figure is what holds together and is no `ground`. A window of 12 x 12 points over its box, a
    square, shows where it is and how alike its colours are to the place's: a shape looks the same
    wherever and however large it is, whatever its colours. Then come half of the box's sides, and
    how near its size and its middle are to six lines each, as in `backbone.Places`.
    """

    def call(self, pixels):
        pixels = in_full(pixels, self.compute_dtype)
        batch, height, width = ops.shape(pixels)[:3]
        figure = 1.0 - ground(pixels)  # (B, H, W)
        boxes = ops.cast(boxes_of(figure > 0.5), pixels.dtype)  # (B, H, W, 4)
        middles = boxes[:, 1:-1, 1:-1]  # the 2 x 2 in a place's middle
        boxes = ops.reshape(ops.max_pool(middles, 2, CELL), (batch, -1, 4))  # (B, P, 4)
        own = own_colours(pixels)
        size = ops.cast(ops.stack([width, height]), pixels.dtype)
        far, near = boxes[..., :2], size - boxes[..., 2:]  # right and bottom, left and top
        middle, half = (far + near) / 2.0, (far - near) / 2.0
        larger = ops.max(half, axis=-1)  # (B, P)
        seen = look(ops.concatenate([pixels, figure[..., None]], -1), middle, ROOM * larger)
        places = near_lines(middle / size)  # (B, P, 2, 6)
        found = ops.concatenate(
            [
                seen[3],
                likeness(own, seen[:3]),
                8.0 * half / size,
                ops.ones_like(half[..., :1]),
                near_lines(4.0 * larger / size[0]),
                places[:, :, 0],
                places[:, :, 1],
            ],
            axis=-1,
        )
        found = ops.where(boxes[..., :1] > 0, found, 0.0)
        return ops.reshape(found, (batch, height // CELL, width // CELL, FIGURE))

    def compute_output_shape(self, input_shape):
        sides = (side and side // CELL for side in input_shape[1:3])
        return (input_shape[0], *sides, FIGURE)


def in_full(pixels, dtype):
    """Pixels in 32 bits, or the 64 of `dtype`: differences of squares need more than 16."""
    return ops.cast(pixels, "float64" if dtype == "float64" else "float32")


def own_colours(pixels):
    """(B, S, S, 3) -> (B, P, 3): of each place the mean of the 2 x 2 pixels in its middle."""
    own = ops.average_pool(pixels[:, 1:-1, 1:-1], 2, CELL)
    return ops.reshape(own, (ops.shape(own)[0], -1, 3))


def log_likeness(one, other):
    """-|x - y|^2 / (2 s^2) of each of (B, P, 3) and each of (B, K, 3) colours -> (B, P, K)."""
    one, other = one / LIKENESS, other / LIKENESS
    half, other_half = (ops.sum(ops.square(x), -1, keepdims=True) / -2.0 for x in (one, other))
    # x y - |x|^2 / 2 - |y|^2 / 2 as one product: each pass over (B, P, K) numbers takes as long.
    one = ops.concatenate([one, half, ops.ones_like(half)], -1)
    other = ops.concatenate([other, ops.ones_like(other_half), other_half], -1)
    return ops.matmul(one, ops.transpose(other, (0, 2, 1)))


def likeness(own, seen):
    """exp(-|x - y|^2 / (2 s^2)) of (B, P, 3) colours and those seen from there, (3, B, P, K)."""
    # Colours first: a sum over a last axis of 3 takes five times as long.
    own = ops.transpose(own, (2, 0, 1))[..., None]
    return ops.exp(ops.sum(ops.square(seen - own), axis=0) / (-2.0 * LIKENESS**2))


def look(maps, middle, reach):
    """The 12 x 12 points, by rows, of a square window of each place: nearest pixels.

    Args:
      maps: (B, H, W, C). middle: (B, P, 2), x and y in pixels. reach: (B, P), half its side.

    Returns:
      (C, B, P, 144). What is beyond the rim is as the rim.
    """
    batch, high, wide, channels = ops.shape(maps)
    places = ops.shape(middle)[1]
    points = (ops.arange(WINDOW, dtype=reach.dtype) + 0.5) * (2.0 / WINDOW) - 1.0
    at = middle[..., None] + reach[..., None, None] * points  # (B, P, 2, 12)
    at = ops.cast(ops.floor(at), "int32")
    columns, rows = ops.clip(at[:, :, 0], 0, wide - 1), ops.clip(at[:, :, 1], 0, high - 1)
    place = rows[..., :, None] * wide + columns[..., None, :]  # (B, P, 12, 12)
    place = ops.reshape(place, (batch, -1)) + ops.arange(batch)[:, None] * (high * wide)
    seen = ops.take(ops.reshape(maps, (-1, channels)), ops.reshape(place, (-1,)), axis=0)
    return ops.reshape(ops.transpose(seen), (channels, batch, places, WINDOW**2))


def ground(pixels):
    """How much each pixel is ground: (B, H, W) in [0, 1), near 1 where the rim has its colour.

    Reference: Wei et al., Geodesic saliency using background priors, ECCV 2012 (what is at the rim
      is mostly background).
    """
    cells = ops.average_pool(pixels, CELL, CELL)
    batch, height, width = ops.shape(pixels)[:3]
    sides = [cells[:, :1, ::2], cells[:, -1:, 1::2], cells[:, 1::2, :1], cells[:, ::2, -1:]]
    rim = ops.concatenate([ops.reshape(side, (batch, -1, 3)) for side in sides], axis=1)
    flat = ops.reshape(pixels, (batch, -1, 3))
    share = ops.square(ops.mean(ops.exp(log_likeness(flat, rim)), axis=-1))
    return ops.reshape(share / (share + GROUND**2), (batch, height, width))


def boxes_of(figure):
    """(B, H, W) bool -> (B, H, W, 4): of the figure of each pixel, how far its box reaches from the
    left, from above, from the right and from below, in pixels; 0 on the ground.

    Figures hold together over sides and corners of pixels. The numbers spread by a pixel a round.
    """
    batch, height, width = ops.shape(figure)
    mask = ops.cast(ops.transpose(figure, (1, 2, 0))[:, :, None], "float32")  # (H, W, 1, B)
    x, y = ops.arange(width, dtype="float32")[None], ops.arange(height, dtype="float32")[:, None]
    full = ops.zeros((height, width))
    wide, high = ops.cast(width, "float32"), ops.cast(height, "float32")
    reach = [full + x + 1.0, full + y + 1.0, full + wide - x, full + high - y]
    reach = mask * ops.stack(reach, axis=-1)[..., None]  # (H, W, 4, B)
    # The batch last and the four beside it: so the maximum is of whole rows.
    mask = ops.reshape(mask + ops.zeros((1, 1, 4, 1)), (1, height, width, 4 * batch))
    reach = ops.reshape(reach, (1, height, width, 4 * batch))
    for _ in range(ROUNDS):
        reach = ops.max_pool(reach, 3, 1, "same") * mask
    reach = ops.reshape(reach, (height, width, 4, batch))
    return ops.transpose(reach, (3, 0, 1, 2))


def thing_moments(own, cells, height, width):
    """Area, middle and extents of the thing that each place belongs to, in cells.

    Args:
      own: (B, P, 3) colours of the places; cells: (B, P, 3) of all cells, by rows of `width`.

    Returns:
      area (B, P, 1); middle (B, P, 2), x and y from the middle of the first cell; extent (B, P, 2),
      standard deviations, at least that of one cell.
    """
    number = ops.arange(height * width)
    x, y = ops.cast(number % width, own.dtype), ops.cast(number // width, own.dtype)  # (P,)
    steps = ops.square(x[:, None] - x) + ops.square(y[:, None] - y)  # (P, P)
    belongs = ops.exp(log_likeness(own, cells) - steps / (2.0 * THING**2))  # (B, P, P)
    powers = ops.stack([ops.ones_like(x), x, y, x**2, y**2], axis=1)  # (P, 5)
    moments = ops.matmul(belongs, powers)  # (B, P, 5)
    area = ops.maximum(moments[..., :1], 1e-6)
    middle = moments[..., 1:3] / area
    variance = ops.maximum(moments[..., 3:] / area - ops.square(middle), 0.0)
    return area, middle, ops.sqrt(variance + 1.0 / 12.0)
