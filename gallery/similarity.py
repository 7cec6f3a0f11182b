"""How near a caption and an image are: the cosine and the order similarity, by NumPy alone.

    SIMILARITIES["order"].scores(text, image)   # (C, I): every caption with every image
    SIMILARITIES["order"].pairs(text, image)    # (P,): row by row

A similarity takes the caption first and the image second, always: the order similarity is not
symmetric. Higher is nearer. Nothing is normalised here.

Shape letters: C captions, I images, D embedding, P pairs.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TILE_BYTES = 1 << 18  # rows at a time: they and what is reckoned from them fit in a core's cache
TILES = 8  # that one row is compared with before the next
SMALL = 1 << 24  # numbers to compare below which threads cost more than they save


class Similarity(NamedTuple):
    """One way to compare captions with images.

    Attributes:
        scores: (C, D) captions, (I, D) images -> (C, I), in their own precision.
        pairs: (P, D) captions, (P, D) images -> (P,) float64, each row summed by itself, so that a
            pair has the same score in whatever company. One side may have a single row.
        bound: largest norm of a caption, of an image -> the largest size that a score can have.
        told: what the scores are called in a protocol.
        sums_squares: whether a float32 score errs in proportion to itself, as a sum of squares
            does, and not to its bound, as a dot product does: see `screening`.
        cost: of a score, roughly, beside a dot product's.
    """

    scores: Callable[[NDArray, NDArray], NDArray]
    pairs: Callable[[NDArray, NDArray], NDArray[np.float64]]
    bound: Callable[[float, float], float]
    told: str
    sums_squares: bool = False
    cost: int = 1

    def swapped(self) -> "Similarity":
        """Give the same with images as the first argument and captions as the second."""
        if self.scores is score_by_cosine:
            return self  # symmetric; and a transposed block is slow to search
        return Similarity(
            lambda images, captions: self.scores(captions, images).T,
            lambda images, captions: self.pairs(captions, images),
            lambda image, caption: self.bound(caption, image),
            self.told,
            self.sums_squares,
            self.cost,
        )


def score_by_cosine(captions: NDArray, images: NDArray) -> NDArray:
    """Dot products, the cosines of unit rows: (C, D), (I, D) -> (C, I)."""
    return captions @ images.T


def pair_by_cosine(captions: NDArray, images: NDArray) -> NDArray[np.float64]:
    """Dot products row by row: (P, D), (P, D) -> (P,) float64."""
    return (np.asarray(captions, np.float64) * images).sum(axis=1)


def score_by_order(captions: NDArray, images: NDArray, threads: int | None = None) -> NDArray:
    """Order similarities of all captions with all images.

        S(c, i) = -sum_k max(0, c_k - i_k)^2

    0 where no number of the caption exceeds the image's: an image says all that its caption says,
    and more. Every sum runs over one whole row, so neither block nor threads change a bit of it.

    Args:
        captions: (C, D) floats; images: (I, D) floats.
        threads: how many, by default one a core. NumPy lets others run while it reckons.

    Returns:
        (C, I), at most 0, in the precision of the arguments, at least float32. For unit rows -4 or
        more; -1 or more where the rows are absolute values. NaN or infinite, without a warning, for
        rows that hold such numbers.

    Reference:
        Vilalta et al., Studying the impact of the full-network embedding on multimodal pipelines,
        Eq. 3; after Vendrov et al., Order-embeddings of images and language.
    """
    kind = np.result_type(captions, images, np.float32)
    captions, images = np.asarray(captions, kind), np.asarray(images, kind)
    scores = np.empty((len(captions), len(images)), kind)
    along_images = len(images) >= len(captions)  # the longer side goes by in tiles
    few, many = (captions, images) if along_images else (images, captions)
    out = scores if along_images else scores.T  # (few, many)
    # p = max(0, c - i) is max(c, i) - i and c - min(c, i), to the last bit. Both take whole tiles,
    # where NumPy is twice as fast as with one row, and four times as fast as with the number 0.
    outer = np.maximum if along_images else np.minimum
    step = max(1, TILE_BYTES // (kind.itemsize * max(1, many.shape[1])))

    def fill(start: int) -> None:
        stop = min(start + TILES * step, len(many))
        tiles = [many[first : min(first + step, stop)] for first in range(start, stop, step)]
        repeated, p = np.empty((2, *tiles[0].shape), kind)
        with np.errstate(invalid="ignore"):  # NaN and infinity show in the scores
            for row, one in enumerate(few):
                repeated[:] = one
                for place, tile in enumerate(tiles):
                    first, part = start + place * step, p[: len(tile)]
                    outer(tile, repeated[: len(tile)], out=part)
                    np.subtract(*((part, tile) if along_images else (tile, part)), out=part)
                    np.vecdot(part, part, out=out[row, first : first + len(tile)])

    starts = range(0, len(many), TILES * step)
    if threads is None:
        threads = 1 if scores.size * many.shape[1] < SMALL else os.cpu_count() or 1
    if threads == 1:
        for start in starts:
            fill(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(fill, starts):  # raises what went wrong
                pass
    out[~np.isfinite(few).all(axis=1)] = np.nan  # a tile's own rows have shown it by themselves
    return np.subtract(0, scores, out=scores)  # 0 - 0 is 0, where the negative would be -0


def pair_by_order(captions: NDArray, images: NDArray) -> NDArray[np.float64]:
    """Order similarities row by row: (P, D), (P, D) -> (P,) float64; see `score_by_order`."""
    captions, images = np.asarray(captions, np.float64), np.asarray(images, np.float64)
    with np.errstate(invalid="ignore"):
        p = np.maximum(captions, images) - images
    return 0 - np.vecdot(p, p)


SIMILARITIES = {
    "cosine": Similarity(
        score_by_cosine,
        pair_by_cosine,
        lambda caption, image: caption * image,
        "float64 dot products",
    ),
    "order": Similarity(
        score_by_order,
        pair_by_order,
        lambda caption, image: (caption + image) ** 2,
        "float64 order similarities, caption first",
        sums_squares=True,
        cost=16,
    ),
}


def choose(name: str) -> Similarity:
    """Give the similarity of this name.

    Raises:
        ValueError: There is none.
    """
    if name not in SIMILARITIES:
        raise ValueError(f"similarity is {name!r}, expected one of {', '.join(SIMILARITIES)}")
    return SIMILARITIES[name]


def pack_similarity(name: str) -> NDArray[np.uint8]:
    """Pack a name for an `.npz`, where it stands under the key `similarity`."""
    return np.frombuffer(name.encode(), np.uint8)


def of_arrays(arrays: Mapping[str, NDArray], path: object) -> str:
    """Read which similarity the embeddings of an `.npz` are made for: "cosine" where it is silent.

    Args:
        arrays: what the file holds; `similarity` is UTF-8 bytes (`pack_similarity`) or a string.
        path: of the file, for the message.

    Raises:
        ValueError: The file names a similarity that there is not.
    """
    if "similarity" not in arrays:
        return "cosine"
    found = np.asarray(arrays["similarity"])
    packed = found.dtype == np.uint8 or found.dtype.kind == "S"
    name = found.tobytes().decode(errors="replace").rstrip("\0") if packed else str(found)
    if name not in SIMILARITIES:
        raise ValueError(
            f"{path} is made for the similarity {name!r}, expected one of {', '.join(SIMILARITIES)}"
        )
    return name
