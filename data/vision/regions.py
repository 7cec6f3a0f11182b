"""A picture as a bag of regions: a descriptor that is learned without labels and without downloads.

A picture's colours are replaced by words of a learned palette; pixels of one colour that hang
together are a region; each region has a colour, an outline, a texture, a size and a place. What a
reader needs is which of these go TOGETHER (a red circle, a small striped thing), so a picture is
described by sums of products of two such codes over its regions.

Shape letters: n images of a chunk, F feature, R regions of a chunk, P pixels, K words, d numbers of
a point.

References:
  Carson, Belongie, Greenspan, Malik, Blobworld, TPAMI 2002: pictures as regions with a colour, a
    texture, a size and a place.
  van Gemert, Veenman, Smeulders, Geusebroek, Visual word ambiguity, TPAMI 2010: soft words.
  Carreira, Caseiro, Batista, Sminchisescu, Semantic segmentation with second-order pooling, ECCV
    2012: products of codes, pooled over regions.
  Perronnin, Sanchez, Mensink, Improving the Fisher kernel, ECCV 2010: the root of the sums.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from data.vision.rows import SIDE, SqueezedDescriptor, in_chunks

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
# Pixels of one colour are joined along these steps (down, across); the last leap over thin lines.
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


# ---- From regions to vectors --------------------------------------------------------------------


def cluster(points: np.ndarray, weights: np.ndarray, num_words: int, seed: int) -> np.ndarray:
    """Centres (K, d) float32 of weighted points (P, d); fewer where fewer points differ."""
    from sklearn.cluster import MiniBatchKMeans

    num_words = min(num_words, len(np.unique(points, axis=0)))
    # MiniBatchKMeans gives the same centres at any number of threads; KMeans does not.
    kmeans = MiniBatchKMeans(num_words, batch_size=4096, n_init=3, max_iter=100, random_state=seed)
    return kmeans.fit(points, sample_weight=weights).cluster_centers_.astype(np.float32)


def distances_to(points: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Squared distances (R, K) of (R, d) to (K, d)."""
    # Not by a matrix product: how that rounds depends on R, and one picture alone would be
    # described otherwise than among others.
    return np.square(points[:, None] - words).sum(axis=-1)


def soft_words(points: np.ndarray, words: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Shares of each word, exp(-d^2 / width) made to sum 1: (R, K).

    Reference: van Gemert et al., Eq. 7 ("codeword uncertainty").
    """
    squared = distances_to(points, words)
    share = np.exp((squared.min(axis=1, keepdims=True) - squared) / width)
    return share / share.sum(axis=1, keepdims=True)


def soft_bins(values: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Each value shared between the two marks around it, linearly: (R,) -> (R, len(marks))."""
    values = np.clip(values, marks[0], marks[-1])
    below = np.clip(np.searchsorted(marks, values, side="right") - 1, 0, len(marks) - 2)
    part = (values - marks[below]) / (marks[below + 1] - marks[below])
    shares = np.zeros((len(values), len(marks)), np.float32)
    rows = np.arange(len(values))
    shares[rows, below], shares[rows, below + 1] = 1 - part, part
    return shares


def products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(R, a) and (R, b) -> (R, a b): all products of a row's two codes."""
    rows, columns = len(first), first.shape[1] * second.shape[1]
    return (first[:, :, None] * second[:, None, :]).reshape(rows, columns)


@dataclass(eq=False)
class RegionDescriptor(SqueezedDescriptor):
    """A palette and words for outlines and textures, learned from pictures.

    Attributes (all float32, but for `palette` made from the training regions):
      palette: (K, 3) colours as `opponent` gives them.
      outlines: (K, SECTORS + 9) words; outline_width: () width of their soft shares.
      textures: (K, len(STEPS) + 1) words, of textures divided by texture_scale;
        texture_width: ().
      centre, scale: (F,) mean and standard deviation (plus RARE) of the training vectors.
    """

    kind = "regions"
    palette: np.ndarray
    outlines: np.ndarray
    outline_width: np.ndarray
    textures: np.ndarray
    texture_width: np.ndarray
    texture_scale: np.ndarray
    centre: np.ndarray | float = 0.0
    scale: np.ndarray | float = 1.0

    def __post_init__(self):
        self.table = colour_table(self.palette)

    @classmethod
    def learn(cls, pictures: np.ndarray, seed: int = 0) -> "RegionDescriptor":
        """Learns from some TRAINING pictures, (n, SIDE, SIDE, 3) uint8."""
        rng = np.random.default_rng(seed)
        pixels = pictures.reshape(-1, 3)
        pixels = pixels[np.sort(rng.permutation(len(pixels))[:50_000])].astype(np.float32)
        vivid = np.ptp(pixels, axis=1) + 16  # few pixels are vivid, and they tell things apart
        palette = cluster(opponent(pixels), vivid, COLOURS, seed)
        table = colour_table(palette)
        with ThreadPoolExecutor() as pool:
            parts = list(pool.map(lambda part: find_regions(part, table), in_chunks(pictures)))
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("area", "outline", "texture")
        }
        if not len(joined["area"]):  # nothing but noise: one word for what will never be seen
            joined = {name: np.ones((1, *v.shape[1:]), np.float32) for name, v in joined.items()}
        weight = np.minimum(joined["area"] / FULL_AREA, 1)
        texture_scale = joined["texture"].std(axis=0) + np.float32(1e-3)
        words, width = {}, {}
        for name, points, number in (
            ("outline", joined["outline"], OUTLINES),
            ("texture", joined["texture"] / texture_scale, TEXTURES),
        ):
            words[name] = cluster(points, weight, number, seed)
            nearest = np.concatenate(
                [distances_to(part, words[name]).min(axis=1) for part in in_chunks(points)]
            )
            width[name] = np.float32(nearest.mean() / 2 + 1e-6)
        learned = (words["outline"], width["outline"], words["texture"], width["texture"])
        plain = cls(palette, *learned, texture_scale)
        with ThreadPoolExecutor() as pool:
            vectors = np.concatenate(list(pool.map(plain.embed, in_chunks(pictures))))
        scale = vectors.std(axis=0) + np.float32(RARE)
        return cls(palette, *learned, texture_scale, vectors.mean(axis=0), scale)

    def arrays(self):
        """What is learned, by name."""
        return {n: np.asarray(a, np.float32) for n, a in vars(self).items() if n != "table"}

    @classmethod
    def from_arrays(cls, arrays, kind):
        """Of what `arrays` gave."""
        return cls(**{name: np.array(array) for name, array in arrays.items()})

    def fingerprint(self) -> str:
        """SHA-256 of what is learned and of the settings above."""
        settings = (SIDE, LIGHTNESS, CHROMA, LEAST_AREA, FULL_AREA, OVERLAP, SECTORS, JOINS, STEPS)
        bins = (PAIRS, HALF_SIZES.tolist(), PLACES.tolist())
        digest = hashlib.sha256(repr((settings, bins)).encode())
        for name, array in self.arrays().items():
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()

    @property
    def row_shape(self) -> tuple[int]:
        """(F,)."""
        sizes = {"colour": len(self.palette), "outline": len(self.outlines)}
        sizes |= {"texture": len(self.textures), "size": len(HALF_SIZES), "place": len(PLACES) ** 2}
        return (sum(sizes[first] * sizes[second] for first, second in PAIRS),)

    def codes(self, found: Regions) -> dict[str, np.ndarray]:
        """Each region's colour, outline, texture, size and place: (R, words), rows of sum 1."""
        half = (found.box[:, 2:] - found.box[:, :2]).max(axis=1, initial=0) / 2
        across, down = ((found.box[:, :2] + found.box[:, 2:]) / 2).T
        texture = found.texture / self.texture_scale
        return {
            "colour": np.eye(len(self.palette), dtype=np.float32)[found.colour],
            "outline": soft_words(found.outline, self.outlines, self.outline_width),
            "texture": soft_words(texture, self.textures, self.texture_width),
            "size": soft_bins(half, HALF_SIZES),
            "place": products(soft_bins(across, PLACES), soft_bins(down, PLACES)),
        }

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """(n, SIDE, SIDE, 3) uint8 -> (n, F) float32, standardised.

        A block for each of PAIRS: the square root of the sum over regions of the products of the
        two codes, small regions counting less.
        """
        if not len(pictures):
            return np.zeros((0, self.feature_dim), np.float32)
        found = find_regions(pictures, self.table)
        codes = self.codes(found)
        weight = np.minimum(found.area / np.float32(FULL_AREA), 1)[:, None]
        vectors = np.zeros((len(pictures), self.feature_dim), np.float32)
        blocks = [products(codes[a], codes[b] * weight) for a, b in PAIRS]
        seen, first = np.unique(found.picture, return_index=True)
        vectors[seen] = np.sqrt(np.add.reduceat(np.concatenate(blocks, axis=1), first))
        return (vectors - self.centre) / self.scale
