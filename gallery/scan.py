"""All scores of a gallery, looked at once, block by block: ranks, and the ten best of every query.

    pairs = Pairs(image, text, caption_image, "cosine")
    text_to_image, image_to_text = rank_all(pairs)    # 1-based, ties against the model

The (M, N) matrix of scores is never held. A block of it serves both directions: along its rows a
caption is compared with images, along its columns an image with captions. `metrics` turns what is
found here into figures; `Relevance` says how much a candidate that is not the right one is worth.

Shape letters: B rows of a block, C candidates, D embedding, G images with captions, K concepts,
M captions, N images, P pairs, Q queries.
"""

from collections.abc import Iterator, Sequence
from math import isqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gallery.similarity import choose

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DIRECTIONS = ("text_to_image", "image_to_text")
TOP = 10  # the depth of AP and nDCG
RELEVANT = 0.3  # AP counts a candidate as relevant above this relevance (the IRSE authors' code)
DISCOUNTS = 1 / np.log2(np.arange(2, TOP + 2))  # (10,) of nDCG, by place
TIE = 1e-12  # of the largest possible score: closer ones differ by rounding alone
BLOCK_BYTES = 32 << 20  # of scores: large enough for BLAS, small enough for the cache
LARGE = 1 << 32  # products of numbers from which on float32 scores are looked at first
GROUPS = 64  # of candidates, whose highest scores tell what the ten best have at least
CHUNK = 128  # rows at a time of what is reckoned row by row: they fit in a core's cache


def slices(total: int, size: int = CHUNK) -> Iterator[slice]:
    """Cut ``total`` rows into slices of ``size``; the last may be shorter."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


# What a candidate is worth.


class Relevance:
    """Relevance between images in 0..1: 1 for the same image, else the cosine of their concepts.

    Concept vectors are rounded to a grid on which dot products are whole numbers below 2^53, exact
    in whichever order they are added. Whole numbers stay as they are, others lose about 1e-6.

    Args:
        num_images: N.
        owner: (M,) the image of each caption.
        concepts: (N, K) non-negative numbers, or None: then other images have relevance 0.
    """

    def __init__(self, num_images: int, owner: Integers, concepts: ArrayLike | None = None):
        self.num_images = num_images
        self.captions = np.bincount(owner, minlength=num_images)  # (N,)
        self.concepts = None
        if concepts is None:
            return
        given = np.asarray(concepts, np.float64)
        if given.ndim != 2 or len(given) != num_images or given.shape[1] == 0:
            raise ValueError(
                f"concepts have shape {given.shape}, expected ({num_images}, K): a row per image"
            )
        if not np.isfinite(given).all() or (given < 0).any():
            raise ValueError("concepts hold negative or non-finite numbers; expected 0 or more")
        bits = (53 - given.shape[1].bit_length()) // 2
        _, exponent = np.frexp(given.max(axis=1, keepdims=True))
        self.concepts = np.rint(np.ldexp(given, bits - exponent))
        self.squared = (self.concepts**2).sum(axis=1)  # (N,)

    def rows(self, first: NDArray) -> Floats:
        """Give the (B, N) relevance of ``first`` (B,) images to all images."""
        if self.concepts is None:
            result = np.zeros((len(first), self.num_images))
        else:
            dot = self.concepts[first] @ self.concepts.T
            result = _cosine(dot, np.multiply.outer(self.squared[first], self.squared))
        result[np.arange(len(first)), first] = 1
        return result

    def pairs(self, first: NDArray, second: NDArray) -> Floats:
        """Give the (P,) relevance of image ``first[p]`` to image ``second[p]``."""
        same = (first == second).astype(np.float64)
        if self.concepts is None:
            return same
        for part in slices(len(first)):
            a, b = first[part], second[part]
            dot = (self.concepts[a] * self.concepts[b]).sum(axis=1)
            cosine = _cosine(dot, self.squared[a] * self.squared[b])
            same[part] = np.maximum(same[part], cosine)
        return same

    def totals(self) -> tuple[Floats, Floats, Floats]:
        """Count what each image could find: row 0 in a gallery of images, row 1 of captions.

        Returns:
            Three (2, N) float64 arrays: the number of candidates with relevance above 0.3, the sum
            of all relevances, and the DCG@10 of the best order.
        """
        sizes = np.stack([np.ones_like(self.captions), self.captions])  # (2, N) per image
        counts = sizes.astype(np.float64)
        if self.concepts is None:
            places = np.minimum(sizes, TOP)[..., None] > np.arange(TOP)  # (2, N, 10)
            return counts, counts, dcg(places.astype(np.float64))
        relevant, gain, ideal = np.empty((3, 2, self.num_images))
        at_once = max(1, BLOCK_BYTES // 32 // self.num_images)  # images, by four numbers for each
        for part in slices(self.num_images, at_once):
            rows = self.rows(np.arange(part.start, part.stop))
            relevant[:, part] = counts @ (rows > RELEVANT).astype(np.float64).T  # exact
            highest = np.empty(0)
            for side, size in enumerate(sizes):
                gain[side, part] = (rows * size).sum(axis=1)
                if side == 0 or not size.all():
                    highest = _highest(rows, np.flatnonzero(size))
                ideal[side, part] = dcg(_fill(rows, highest, size))
        return relevant, gain, ideal


def _cosine(dot: Floats, squares: Floats) -> Floats:
    """Divide so that equal vectors give exactly 1, and a zero vector 0; overwrites both."""
    squares[squares == 0] = 1  # the dot product is 0 as well
    np.divide(dot, np.sqrt(squares, out=squares), out=dot)
    return np.minimum(dot, 1.0, out=dot)


def _highest(rows: Floats, among: NDArray) -> NDArray:
    """Give the (B, 10) images of highest relevance in ``rows`` (B, N), or all where fewer."""
    if len(among) <= TOP:
        return np.tile(among, (len(rows), 1))
    present = -rows if len(among) == rows.shape[1] else -rows[:, among]
    return among[np.argpartition(present, TOP - 1, axis=1)[:, :TOP]]


def _fill(rows: Floats, highest: NDArray, size: Integers) -> Floats:
    """Give the relevances of the ten best places (B, 10); image n takes ``size[n]`` of them."""
    values = np.take_along_axis(rows, highest, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    filled = np.cumsum(size[np.take_along_axis(highest, order, axis=1)], axis=1)
    holder = (filled[:, None, :] <= np.arange(TOP)[:, None]).sum(axis=2)  # (B, 10)
    values = np.pad(values, ((0, 0), (0, 1)))  # 0 where a gallery of fewer than ten has ended
    return np.take_along_axis(values, holder, axis=1)


def dcg(relevance: Floats) -> Floats:
    """Add up (..., 10) relevances, discounted by place, always from the first to the tenth."""
    return np.cumsum(relevance * DISCOUNTS, axis=-1)[..., -1]


# Ranks.


class Pairs:
    """Checked embeddings and the scores of own pairs, the bars that ranks are counted against.

    Args:
        image: (N, D), text: (M, D) floats; either may be memory-mapped.
        caption_image: (M,) row of each caption's image.
        similarity: A name of ``similarity.SIMILARITIES``.

    Attributes:
        own: (M,) score of each caption with its image; best: (N,) the highest of an image's own.
        tie: Scores that are closer than this tie.
        norms: The largest L2 norm of an image, and of a caption.

    Raises:
        ValueError: They do not fit together, or hold values that are not finite.
    """

    def __init__(
        self, image: ArrayLike, text: ArrayLike, caption_image: ArrayLike, similarity: str
    ):
        self.similarity = choose(similarity)
        self.image, self.text = np.asarray(image), np.asarray(text)
        self.norms = _largest_norm(self.image, "image"), _largest_norm(self.text, "text")
        largest = self.similarity.bound(*self.norms[::-1])
        self.tie = TIE * (largest or 1.0)
        if self.image.shape[1] != self.text.shape[1]:
            raise ValueError(
                f"image and text embeddings have {self.image.shape[1]} and {self.text.shape[1]} "
                "columns: both must come from one model"
            )
        self.num_images = len(self.image)
        self.owner = check_owner(caption_image, self.num_images)
        if len(self.owner) != len(self.text):
            raise ValueError(
                f"caption_image has {len(self.owner)} entries for {len(self.text)} text embeddings"
            )
        self.own = np.empty(len(self.owner))  # (M,)
        for part in slices(len(self.owner)):
            self.own[part] = self.similarity.pairs(self.text[part], self.image[self.owner[part]])
        self.best = np.full(self.num_images, -np.inf)  # (N,)
        np.maximum.at(self.best, self.owner, self.own)


def check_owner(caption_image: ArrayLike, num_images: int) -> Integers:
    """Give the (M,) int64 image row of each caption, or raise ValueError where it cannot be one."""
    owner = np.asarray(caption_image)
    if owner.ndim != 1 or owner.size == 0 or owner.dtype.kind not in "iu":
        raise ValueError(
            f"caption_image has shape {owner.shape} and type {owner.dtype}, expected (M,) integers"
        )
    wrong = np.flatnonzero((owner < 0) | (owner >= num_images))
    if wrong.size:
        raise ValueError(
            f"caption_image[{wrong[0]}] is {owner[wrong[0]]}, expected 0 to {num_images - 1}"
        )
    return owner.astype(np.int64)


def _largest_norm(rows: NDArray, side: str) -> float:
    """Give the largest L2 norm of ``rows`` (n, D), or raise ValueError where there is none."""
    if rows.ndim != 2 or rows.size == 0 or rows.dtype.kind not in "fiu":
        kind = f"shape {rows.shape} and type {rows.dtype}"
        raise ValueError(f"{side} embeddings have {kind}, expected (rows, D) real numbers")
    largest = 0.0
    for part in slices(len(rows)):
        chunk = rows[part].astype(np.float64)
        squared = np.square(chunk, out=chunk).sum(axis=1)
        wrong = np.flatnonzero(~np.isfinite(squared))
        if wrong.size:
            raise ValueError(
                f"row {part.start + wrong[0]} of the {side} embeddings is not finite: "
                "the run has diverged or the file is damaged"
            )
        largest = max(largest, float(squared.max()))
    return largest**0.5


def rank_all(
    pairs: Pairs, block_bytes: int = BLOCK_BYTES, tops: Sequence["TopTen"] = ()
) -> tuple[Integers, Integers]:
    """Rank the whole gallery both ways: `rank_exactly`, or faster, with the very same ranks."""
    if len(pairs.image) * pairs.text.size * pairs.similarity.cost < LARGE:
        return rank_exactly(pairs, block_bytes, tops)
    from gallery import screening  # not worth its threads for a small gallery

    return screening.rank_screened(pairs, block_bytes, tops)


def rank_exactly(
    pairs: Pairs, block_bytes: int = BLOCK_BYTES, tops: Sequence["TopTen"] = ()
) -> tuple[Integers, Integers]:
    """Rank the whole gallery both ways by float64 scores; every score is computed once.

    Args:
        pairs: the embeddings.
        block_bytes: Size of a block of scores: speed and memory only.
        tops: What else looks at each block, in the order of ``DIRECTIONS``.

    Returns:
        (M,) int64 rank of each caption's image, and (G,) int64 best rank of the own captions of
        each image that has any, in the order of images.
    """
    edge = max(1, isqrt(block_bytes // 8))
    text_bar, image_bar = pairs.own - pairs.tie, pairs.best - pairs.tie
    above_text, above_image = (np.zeros(len(bar), np.int64) for bar in (text_bar, image_bar))
    for images in slices(pairs.num_images, edge):
        gallery = pairs.image[images].astype(np.float64)
        for captions in slices(len(pairs.owner), edge):
            texts = pairs.text[captions].astype(np.float64)
            scores = pairs.similarity.scores(texts, gallery)  # (captions, images)
            above_text[captions] += count_along(scores > text_bar[captions, None], axis=1)
            above_image[images] += count_along(scores > image_bar[images], axis=0)
            for axis, top in zip((1, 0), tops, strict=False):
                top.look(scores, captions, images, axis)
    # The bar lies below the own score, so a caption has counted itself, an image its best captions.
    own_above = pairs.owner[pairs.own > image_bar[pairs.owner]]
    above_image += 1 - np.bincount(own_above, minlength=pairs.num_images)
    return above_text, above_image[np.unique(pairs.owner)]


def count_along(mask: NDArray[np.bool_], axis: int) -> Integers:
    """Count along an axis in bytes, at most 255 at a time: ten times as fast as count_nonzero."""
    total = np.zeros(mask.shape[1 - axis], np.int64)
    if axis == 1 and mask.shape[1] % 8 == 0:  # eight bytes of a row are added as one number
        words = mask.view(np.uint64)
        for part in slices(words.shape[1], 255):
            total += (
                words[:, part].sum(axis=1).view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.int64)
            )
        return total
    for part in slices(mask.shape[axis], 255):
        piece = mask[part] if axis == 0 else mask[:, part]
        total += piece.view(np.uint8).sum(axis=axis, dtype=np.uint8)
    return total


# The best of every query.


def ten_reach(scores: NDArray, axis: int) -> NDArray:
    """Give, for each query, a score that ten of its candidates, along ``axis``, reach or exceed.

    Candidates are dealt into groups. Where ten groups have one of some score, ten have.
    """
    size = scores.shape[axis]
    groups = min(GROUPS, size)
    each = size // groups
    if axis == 1:
        highest = scores[:, : each * groups].reshape(-1, each, groups).max(axis=1)
    else:
        highest = scores[: each * groups].reshape(each, groups, -1).max(axis=0).T
    return np.partition(highest, -TOP, axis=1)[:, -TOP]


def by_query(query: NDArray, score: NDArray, touched: NDArray) -> tuple[NDArray, NDArray]:
    """Sort (P,) entries by query, then falling score.

    Args:
        touched: (T,) the queries that occur, ascending.

    Returns:
        (P,) the order, and (T,) where each query begins in it.
    """
    order = np.argsort(-score)
    narrow = np.min_scalar_type(touched[-1] - touched[0])  # 16 bits sort many times as fast
    local = (query[order] - touched[0]).astype(narrow)
    order = order[np.argsort(local, kind="stable")]
    return order, np.flatnonzero(np.diff(query[order], prepend=-1) > 0)


class TopTen:
    """The ten best candidates of every query, kept while blocks of scores pass by.

    Only scores above the tenth best so far (few, after the first block) are looked at. Candidates
    that tie stand against the model: the less relevant first.
    """

    def __init__(self, images: Integers, candidates: Integers, relevance: Relevance, tie: float):
        self.query_image, self.candidate_image = images, candidates  # (Q,), (C,) image of each
        self.of_images, self.tie = relevance, tie
        self.score = np.full((len(images), TOP), -np.inf)  # (Q, 10) falling
        self.candidate = np.full((len(images), TOP), -1)
        self.bar = np.full(len(images), -np.inf)  # (Q,) what a newcomer must exceed

    def relevance(self) -> Floats:
        """Give the (Q, 10) relevance of what was found; 0 where the gallery has ended."""
        query = np.repeat(np.arange(len(self.candidate)), TOP)
        found = self._pairs(query, self.candidate.ravel()).reshape(-1, TOP)
        return np.where(self.candidate >= 0, found, 0.0)

    def _pairs(self, query: NDArray, candidate: NDArray) -> Floats:
        """Give the relevance of candidates to queries, pair by pair."""
        return self.of_images.pairs(self.query_image[query], self.candidate_image[candidate])

    def look(self, scores: Floats, captions: slice, images: slice, axis: int) -> None:
        """Look at a block of scores whose candidates lie along ``axis``."""
        queries, candidates = (captions, images) if axis == 1 else (images, captions)
        self.look_at(scores, np.arange(queries.start, queries.stop), candidates.start, axis)

    def look_at(self, scores: Floats, queries: NDArray, first: int, axis: int) -> None:
        """Look at scores of any ``queries`` with candidates from ``first`` on, along ``axis``."""
        bar = self.bar[queries]
        if bar[0] == -np.inf and scores.shape[axis] >= TOP:
            bar = ten_reach(scores, axis) - self.tie
        place = np.flatnonzero(scores > np.expand_dims(bar, axis))
        if place.size == 0:
            return
        row, column = np.divmod(place, scores.shape[1])
        query, candidate = (row, column) if axis == 1 else (column, row)
        self.merge(queries[query], candidate + first, scores.ravel()[place])

    def merge(self, query: NDArray, candidate: NDArray, score: Floats) -> None:
        """Put newcomers, (P,) each, among what is kept, and raise the bars of their queries."""
        touched = np.flatnonzero(np.bincount(query))
        known = self.candidate[touched] >= 0  # (touched, 10)
        query = np.concatenate([np.repeat(touched, known.sum(axis=1)), query])
        candidate = np.concatenate([self.candidate[touched][known], candidate])
        score = np.concatenate([self.score[touched][known], score])
        order, start = by_query(query, score, touched)
        query, candidate, score = query[order], candidate[order], score[order]
        begins = np.zeros(len(query), bool)
        begins[start] = True
        tied = ~begins & (-np.diff(score, prepend=score[:1]) <= self.tie)  # with the one before
        settled = self._order_ties(query, candidate, tied) if tied.any() else None
        place = np.arange(len(query)) - np.repeat(start, np.diff(start, append=len(query)))
        kept = place < TOP
        self.score[query[kept], place[kept]] = score[kept]
        self.candidate[query[kept], place[kept]] = candidate[kept]
        self.bar[touched] = self.score[touched, -1] - self.tie
        if settled is not None:  # no tie can be less relevant than 0: only a better score enters
            full = settled & (place == TOP - 1)
            self.bar[query[full]] = score[full] + self.tie

    def _order_ties(self, query: NDArray, candidate: NDArray, tied: NDArray) -> NDArray:
        """Put the less relevant of tied candidates first, in place; say which ties have none."""
        member = np.flatnonzero(tied | np.append(tied[1:], False))
        relevance = self._pairs(query[member], candidate[member])
        order = np.lexsort((relevance, np.cumsum(~tied)[member]))
        candidate[member] = candidate[member][order]
        settled = np.zeros(len(query), bool)
        settled[member] = relevance[order] == 0
        return settled
