"""Pictures to vectors that the towers read, without any download; cached on disk.

The built-in descriptor is a bag of regions. A picture's colours are replaced by words of a learned
palette; pixels of one colour that hang together are a region; each region has a colour, an outline,
a texture, a size and a place. What the towers need is which of these go TOGETHER (a red circle, a
small striped thing), so a picture is described by sums of products of two such codes over its
regions. Palette and words are learned without labels from training pictures. `RESULTS.md` says what
else was measured.

Imports no TensorFlow, so that `retrieve.py --image FILE` reads a picture as training did.

Shape letters: N images, n images of a chunk, F feature, R regions of a chunk, P pixels, K words.

References:
  Carson, Belongie, Greenspan, Malik, Blobworld, TPAMI 2002: pictures as regions with a colour, a
    texture, a size and a place.
  van Gemert, Veenman, Smeulders, Geusebroek, Visual word ambiguity, TPAMI 2010: soft words.
  Carreira, Caseiro, Batista, Sminchisescu, Semantic segmentation with second-order pooling, ECCV
    2012: products of codes, summed over regions. Perronnin, Sanchez, Mensink, Improving the Fisher
    kernel, ECCV 2010: the square root of the sums.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import datasets
import experiment

SIDE = 64  # pixels: pictures are brought to SIDE x SIDE
CHUNK = 64  # pictures described at once
COLOURS, OUTLINES, TEXTURES = 24, 32, 16  # words of each kind
LIGHTNESS = 0.12  # weight of lightness beside hue: shadows, rims and mixtures keep their hue
CHROMA = 25.0  # chroma (0 to 200) from which on it is mostly hue that counts
LEAST_AREA = 10  # pixels of a region
FULL_AREA = 30.0  # pixels from which on a region counts fully
OVERLAP = 0.5  # of two regions whose boxes overlap more (intersection / union) the larger counts
SECTORS = 24  # directions in which an outline's radius is measured
HALF_SIZES = np.array([2, 4, 6, 8, 10, 12, 14, 18, 32], np.float32)  # pixels
PLACES = np.array([12, 24, 40, 52], np.float32)  # pixels, across and down
RARE = 0.15  # added to standard deviations, so that what is rare does not shout
# Pixels of one colour are joined along these steps (down, across); the last two leap over thin lines.
JOINS = ((1, 0), (1, 1), (1, -1), (2, 2), (2, -2))
# Steps at which a region is compared with itself: its texture.
STEPS = tuple((d * y, d * x) for d in (1, 2, 3) for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)))
# The codes whose products are summed.
PAIRS = (
    ("colour", "outline"),
    ("colour", "size"),
    ("colour", "texture"),
    ("colour", "place"),
    ("outline", "size"),
    ("outline", "texture"),
    ("outline", "place"),
    ("texture", "size"),
)


def to_array(picture: Image.Image) -> np.ndarray:
    """An RGB picture squeezed to (SIDE, SIDE, 3) uint8."""
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture)


# ---- From pixels to regions ---------------------------------------------------------------------


@dataclass(frozen=True)
class Regions:
    """The regions of some pictures, those of one picture together.

    Attributes:
      picture, colour, area: (R,) row of the picture, word of the palette, pixels.
      box: (R, 4) left, top, right, bottom in pixels.
      outline: (R, SECTORS + 9) float32, see `outlines`.
      texture: (R, len(STEPS) + 1) float32, see `textures`.
    """

    picture: np.ndarray
    colour: np.ndarray
    area: np.ndarray
    box: np.ndarray
    outline: np.ndarray
    texture: np.ndarray

    def take(self, rows: np.ndarray) -> "Regions":
        return Regions(**{name: values[rows] for name, values in vars(self).items()})


def opponent(rgb: np.ndarray) -> np.ndarray:
    """Colours (..., 3) in 0 to 255 as lightness and two opponent axes, hue before all else.

    With chroma C, the opponent axes are scaled by 100 / (C + CHROMA): a vivid and a dull red are
    near each other, red and orange are not.
    """
    red, green, blue = np.moveaxis(np.asarray(rgb, np.float32), -1, 0)
    first, second = (red - green) / 2**0.5, (red + green - 2 * blue) / 6**0.5
    scale = 100 / (np.hypot(first, second) + CHROMA)
    return np.stack([LIGHTNESS * (red + green + blue) / 3, first * scale, second * scale], axis=-1)


def colour_table(palette: np.ndarray) -> np.ndarray:
    """Nearest of the palette (K, 3) for each colour at 5 bits a channel: (32 * 32 * 32,) int16."""
    levels = np.arange(4, 256, 8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    apart = opponent(cube)[:, None] - palette  # (32768, K, 3)
    return np.square(apart).sum(axis=-1).argmin(axis=1).astype(np.int16)


def shifted(step: tuple[int, int]) -> tuple[tuple, tuple]:
    """Slices of (n, SIDE, SIDE) for pixels p and p + step, both in the picture."""
    down, across = step
    left, right = max(0, -across), SIDE - max(0, across)
    here = np.s_[:, : SIDE - down, left:right]
    return here, np.s_[:, down:, left + across : right + across]


def label(words: np.ndarray) -> np.ndarray:
    """Numbers the regions: pixels of one colour word that are linked by JOINS.

    Args:
      words: (n, SIDE, SIDE) colour words.

    Returns:
      (n, SIDE, SIDE) int32, counted through the chunk in the order of the regions' first pixels.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # Nodes are runs of one colour along a row, which are far fewer than pixels.
    start = np.ones(words.shape, bool)
    start[:, :, 1:] = words[:, :, 1:] != words[:, :, :-1]
    run = (np.cumsum(start, dtype=np.int32) - 1).reshape(words.shape)
    ends = []
    for step in JOINS:
        here, there = shifted(step)
        first = start[here] | start[there]  # the same two runs meet at many pixels: once will do
        first[:, :, 0] = True
        linked = first & (words[here] == words[there])
        ends.append(np.stack([run[here][linked], run[there][linked]]))
    rows, columns = np.concatenate(ends, axis=1)
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), (run.max() + 1,) * 2)
    return connected_components(graph, directed=False)[1][run]


def find_regions(pictures: np.ndarray, table: np.ndarray) -> Regions:
    """The regions of some pictures, (n, SIDE, SIDE, 3) uint8; `table` is a `colour_table`."""
    level = (pictures >> 3).astype(np.int32)
    words = table[(level[..., 0] * 32 + level[..., 1]) * 32 + level[..., 2]]  # (n, SIDE, SIDE)
    labels = label(words)
    area = np.bincount(labels.ravel())
    large = area >= LEAST_AREA
    region = np.where(large, np.cumsum(large) - 1, -1)[labels]  # (n, SIDE, SIDE), -1 is none
    count, area = int(large.sum()), area[large].astype(np.float32)
    pixel = np.flatnonzero(region >= 0)
    pixel = pixel[np.argsort(region.ravel()[pixel], kind="stable")]  # region by region
    owner = region.ravel()[pixel]  # (P,)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    x, y = pixel % SIDE, pixel // SIDE % SIDE
    box = np.zeros((count, 4), np.int64)
    if count:  # reduceat knows no empty
        lows = [np.minimum.reduceat(v, first) for v in (x, y)]
        box = np.stack([*lows, *(np.maximum.reduceat(v, first) + 1 for v in (x, y))], axis=1)
    outline, cover = outlines(owner, x, y, box, area)
    found = Regions(
        picture=pixel[first] // SIDE**2,
        colour=words.ravel()[pixel[first]],
        area=area,
        box=box,
        outline=outline,
        texture=textures(region, area, cover),
    )
    return found.take(without_doubles(found, len(pictures)))


def outlines(owner, x, y, box, area) -> tuple[np.ndarray, np.ndarray]:
    """How far regions reach in each direction from the middle of their box, and how they fill it.

    Stripes, dots, and things that lie on a region leave its outer reach as it is.

    Args:
      owner, x, y: (P,) region and place of each pixel.
      box: (R, 4); area: (R,).

    Returns:
      (R, SECTORS + 9) float32: reach by direction as part of the longer half side, with gaps closed
      from both sides; shares of the area by distance from the middle (7, times 1.5); log of width
      over height; cover. And cover (R,), the area as a part of what the reach encloses.

    Reference: the centroid distance in Zhang, Lu, Review of shape representation and description
      techniques, Pattern Recognition 37, 2004, section 3.
    """
    count = len(box)
    middle = (box[:, :2] + box[:, 2:]) / 2
    sides = (box[:, 2:] - box[:, :2]).astype(np.float32)
    half = sides.max(axis=1, initial=1) / 2
    right = (x + 0.5 - middle[owner, 0]).astype(np.float32)
    down = (y + 0.5 - middle[owner, 1]).astype(np.float32)
    radius = np.hypot(right, down)
    turn = np.arctan2(down, right) / np.float32(2 * np.pi) + np.float32(0.5 / SECTORS)
    sector = (turn % 1 * SECTORS).astype(np.int64) % SECTORS
    reach = np.zeros((count, SECTORS), np.float32)
    np.maximum.at(reach.ravel(), owner * SECTORS + sector, radius)
    sides_of_gap = np.minimum(np.roll(reach, 1, axis=1), np.roll(reach, -1, axis=1))
    reach = np.where(reach == 0, sides_of_gap, reach)
    zone = np.minimum((radius / half[owner] * 5).astype(np.int64), 6)
    zones = np.bincount(owner * 7 + zone, minlength=7 * count).reshape(count, 7) / area[:, None]
    enclosed = np.square(reach).sum(axis=1) * np.float32(np.pi / SECTORS)
    cover = area / np.maximum(enclosed, 1)
    ratio = np.log(sides[:, 0] / np.maximum(sides[:, 1], 1))
    columns = (reach / half[:, None], 1.5 * zones, ratio[:, None], cover[:, None])
    return np.concatenate(columns, axis=1, dtype=np.float32), cover


def textures(region: np.ndarray, area: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """How much of a region is found again one of STEPS further, and its cover.

    Args:
      region: (n, SIDE, SIDE) with -1 for none; area, cover: (R,).

    Returns:
      (R, len(STEPS) + 1) float32, shares in [0, 1] but for the cover.

    Reference: Huang, Kumar, Mitra, Zhu, Zabih, Image indexing using color correlograms, CVPR 1997.
    Differs from the paper: single steps instead of distances, and one region instead of a colour.
    """
    again = []
    for step in STEPS:
        here, there = shifted(step)
        same = region[here][(region[here] == region[there]) & (region[here] >= 0)]
        again.append(np.bincount(same, minlength=len(area)) / area)
    return np.stack([*again, cover], axis=1).astype(np.float32)


def without_doubles(found: Regions, count: int) -> np.ndarray:
    """Rows of the regions that do not share their box with a larger one, as stripes do."""
    rows = np.argsort(found.picture, kind="stable")
    sizes = np.bincount(found.picture, minlength=count)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    box = np.zeros((count, max(sizes.max(initial=0), 1), 4), np.float32)
    area = np.zeros(box.shape[:2], np.float32)
    box[found.picture, within], area[found.picture, within] = found.box, found.area
    low = np.maximum(box[:, :, None, :2], box[:, None, :, :2])
    high = np.minimum(box[:, :, None, 2:], box[:, None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)  # (n, regions, regions)
    alone = (box[..., 2:] - box[..., :2]).prod(axis=-1)
    union = np.maximum(alone[:, :, None] + alone[:, None] - shared, 1)
    larger = area[:, None] > area[:, :, None]
    earlier = np.tri(box.shape[1], k=-1, dtype=bool) & (area[:, None] == area[:, :, None])
    double = ((shared / union > OVERLAP) & (larger | earlier)).any(axis=2)
    return np.flatnonzero(~double[found.picture, within])
