"""The ranks of `scan` at the price of float32 scores: only close calls are decided in float64.

    text_to_image, image_to_text = rank_screened(pairs)      # those of `scan.rank_exactly`

With g(k) = k u / (1 - k u), u = 2^-24, in whatever order the sums add, with fused products or not:

A float32 product of rows c and i differs from c . i by less than E = g(D + 4) |c| |i|; two
roundings of each factor are among the D + 4.

A float32 order similarity is a sum of squares, where nothing cancels. With k = D + 4 it differs
from S by at most g(k) |S|, which is g(k) / (1 - g(k)) = g(2 k) / 2 of what was found. Rounding the
rows, where float32 does not hold them, moves sqrt |S| by w = u (|c| + |i|) at most, and S by
2 w sqrt |S| + w^2.

A score further than E from a bar is on its side of it; a closer one is computed again in float64.
So every comparison is that of float64 scores, and every rank the same.

Shape letters: B rows of a block, C candidates, D embedding, M captions, N images, Q queries.

Reference: Higham, Accuracy and stability of numerical algorithms, 2002, section 3.1 (the bound).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf, isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery import scan
from gallery.scan import BLOCK_BYTES, CHUNK, TOP, Floats, Integers, Pairs, TopTen, slices

HALF = 2.0**-24  # u, half a unit in the last place of float32
LARGEST = 1e18  # of a norm: its square, and all sums, are far below float32's largest number
CROWD = 64  # more than a 64th of a block's cells to be decided in float64, and all of it is
FEW = 32  # where at most a 32nd of a block's cells are above the bars, all these are listed
FOUR = 4  # rows of a block whose highest scores are looked at before each of them
PLACES = TOP + 6  # kept of each query by float32 scores; ten and what may stand before them
Single = NDArray[np.float32]


class Rounding(NamedTuple):
    """How far float32 scores may be from float64 ones: E = absolute + relative |score|."""

    absolute: float
    relative: float

    def at(self, scores: NDArray) -> Floats:
        """Give E for scores, float32 or float64 ones; for places that are empty, too."""
        size = np.abs(scores, dtype=np.float64)
        return self.absolute + self.relative * np.where(size < inf, size, 0)


def bound(pairs: Pairs) -> Rounding | None:
    """Give E for all pairs of rows, or None where float32 cannot hold them."""
    dim, norms = pairs.image.shape[1], pairs.norms
    if max(norms) > LARGEST or (2 * dim + 8) * HALF > 0.5:
        return None
    # Numbers and products below float32's least may be lost whole, each times the other side's.
    tiny = dim * 2.0**-126 * (1 + 8 * sum(norms)) + pairs.tie
    if not pairs.similarity.sums_squares:
        return Rounding(gamma(dim + 4) * norms[0] * norms[1] + tiny, 0.0)
    held = all(np.can_cast(rows.dtype, np.float32) for rows in (pairs.image, pairs.text))
    rows = 0.0 if held else 3 * HALF * sum(norms) ** 2  # 2 w L + w^2, as sqrt |S| is at most L
    relative = gamma(2 * dim + 8) / 2
    return Rounding((rows + tiny) * (1 + relative), relative)


def gamma(steps: int) -> float:
    """Give g(k), what k roundings may add up to, of each number."""
    return steps * HALF / (1 - steps * HALF)


def rank_screened(
    pairs: Pairs, block_bytes: int = BLOCK_BYTES, tops: Sequence[TopTen] = ()
) -> tuple[Integers, Integers]:
    """Rank the whole gallery both ways, with the arguments and results of `scan.rank_exactly`."""
    error = bound(pairs)
    if error is None:
        return scan.rank_exactly(pairs, block_bytes, tops)
    return Screen(pairs, error, block_bytes).rank(tops)


def outward(bar: Floats, by: Floats) -> Single:
    """Give `bar` + `by`, all of one sign, in float32, rounded outwards."""
    moved = (bar + by).astype(np.float32)
    return np.nextafter(moved, np.copysign(np.float32(inf), by.astype(np.float32)))


class Screen:
    """One look at all float32 scores, block by block.

    Args:
        pairs: the embeddings; error: of `bound`; block_bytes: of a block of scores.

    Attributes:
        rechecked: cells that were decided in float64, alone or with their block.
    """

    def __init__(self, pairs: Pairs, error: Rounding, block_bytes: int):
        self.pairs, self.error, self.rechecked = pairs, error, 0
        self.block_bytes, self.edge = block_bytes, max(1, isqrt(block_bytes // 4))
        self.bars = pairs.own - pairs.tie, pairs.best - pairs.tie  # of captions, of images
        self.low = [outward(bar, -error.at(bar)) for bar in self.bars]
        self.high = [outward(bar, error.at(bar)) for bar in self.bars]
        self.above = [np.zeros(len(bar), np.int64) for bar in self.bars]

    def rank(self, tops: Sequence[TopTen] = ()) -> tuple[Integers, Integers]:
        """Rank both ways, and fill `tops`."""
        pairs = self.pairs
        shortlists, seen = [Shortlist(top, self.error) for top in tops], 0  # two, or none
        for scores, captions, images in self.blocks():
            for side in (0, 1):
                self.tally(scores, captions, images, side)
            seen += scores.size
            if self.rechecked > seen / 2:  # rows too much alike, as those of an untrained model
                return scan.rank_exactly(pairs, self.block_bytes, tops)
            if shortlists:
                find_newcomers(shortlists, scores, captions, images)
        for axis, shortlist in zip((1, 0), shortlists, strict=False):
            self.rechecked += shortlist.settle(pairs, axis)
        # A caption has counted itself, an image its own captions above its bar.
        own_above = pairs.owner[pairs.own > self.bars[1][pairs.owner]]
        self.above[1] += 1 - np.bincount(own_above, minlength=pairs.num_images)
        return self.above[0], self.above[1][np.unique(pairs.owner)]

    def blocks(self) -> Iterator[tuple[Single, slice, slice]]:
        """Give the blocks of (captions, images) scores; the next is computed while one is read."""
        previous, compare = None, self.pairs.similarity.scores
        with ThreadPoolExecutor(1) as pool:
            for images in slices(self.pairs.num_images, self.edge):
                gallery = self.pairs.image[images].astype(np.float32, copy=False)
                for captions in slices(len(self.pairs.owner), self.edge):
                    texts = self.pairs.text[captions].astype(np.float32, copy=False)
                    begun = pool.submit(compare, texts, gallery), captions, images
                    if previous:
                        yield previous[0].result(), *previous[1:]
                    previous = begun
            if previous:
                yield previous[0].result(), *previous[1:]

    def tally(self, scores: Single, captions: slice, images: slice, side: int) -> None:
        """Count scores above the bars of a block's captions (0) or images (1)."""
        queries, axis = ((captions, 1), (images, 0))[side]
        low, high = (of[side][queries] for of in (self.low, self.high))
        above = scores > np.expand_dims(low, axis)
        number = scan.count_along(above, axis)
        if number.sum() * FEW > scores.size:  # too many to list: only those between the bars are
            above ^= scores > np.expand_dims(high, axis)
        place = np.flatnonzero(above)
        row, column = np.divmod(place, scores.shape[1])
        query = (row, column)[side]
        doubtful = scores.ravel()[place] <= high[query]
        row, column, query = row[doubtful], column[doubtful], query[doubtful]
        if len(query):
            exact = self.exact(row, column, captions, images)
            below = query[exact <= self.bars[side][queries][query]]
            number -= np.bincount(below, minlength=len(number))
        self.above[side][queries] += number

    def exact(self, row: NDArray, column: NDArray, captions: slice, images: slice) -> Floats:
        """Give the float64 scores of (P,) cells of a block."""
        pairs = self.pairs
        caption, image = row + captions.start, column + images.start
        found, others = pairs.own[caption], np.flatnonzero(pairs.owner[caption] != image)
        size = (captions.stop - captions.start) * (images.stop - images.start)
        if len(others) > size // CROWD:
            sides = pairs.text[captions].astype(np.float64), pairs.image[images].astype(np.float64)
            self.rechecked += size
            found[others] = pairs.similarity.scores(*sides)[row[others], column[others]]
        else:
            self.rechecked += len(others)
            found[others] = exact_scores(pairs, caption[others], image[others])
        return found


def exact_scores(pairs: Pairs, caption: NDArray, image: NDArray) -> Floats:
    """Give (P,) float64 scores, each summed by itself."""
    found = np.empty(len(caption))
    for part in slices(len(caption)):
        found[part] = pairs.similarity.pairs(pairs.text[caption[part]], pairs.image[image[part]])
    return found


def find_newcomers(
    shortlists: Sequence["Shortlist"], scores: Single, captions: slice, images: slice
) -> None:
    """Look at a block of scores for newcomers in the shortlists of captions and of images.

    Few are. So the highest of every four scores is looked at first, of four rows far apart.
    """
    starts, done = np.array([captions.start, images.start]), 0
    row_bar, column_bar = (
        one.newcomers_exceed(queries, scores, axis)
        for one, queries, axis in zip(shortlists, (captions, images), (1, 0), strict=True)
    )
    for four, height in ((FOUR, len(scores) // FOUR), (1, len(scores) % FOUR)):
        part = slice(done, done + four * height)
        fours = scores[part].reshape(four, height, scores.shape[1])
        bars, highest = row_bar[part].reshape(four, height), fours.max(axis=0)
        found = highest > bars.min(axis=0)[:, None]
        found |= highest > column_bar
        place = np.flatnonzero(found)
        row, column = np.divmod(place, scores.shape[1])
        score = np.take(fours.reshape(four, -1), place, axis=1)  # (4, P)
        for side, bar in enumerate((bars[:, row], column_bar[column])):
            which, new = np.nonzero(score > bar)
            if len(new):
                ends = row[new] + height * which + (done + starts[0]), column[new] + starts[1]
                shortlists[side].merge(ends[side], ends[1 - side], score[which, new])
        done = part.stop


def to_keys(score: Single, candidate: NDArray) -> NDArray[np.uint64]:
    """Give numbers that rise as scores fall: the score's bits, turned over, then the candidate.

    (P,) scores, not NaN, and (P,) candidates, -1 to 2^31 - 1, give (P,) keys. Of floats above 0
    the bits rise with the number, of those below they fall. So entries are sorted as plain numbers,
    equal scores by candidate.
    """
    bits = turn(score.view(np.uint32)).astype(np.uint64)
    return bits << np.uint64(32) | candidate.astype(np.int32).view(np.uint32)


def from_keys(keys: NDArray[np.uint64]) -> tuple[Single, NDArray[np.int32]]:
    """Give the scores and candidates of `to_keys`, of keys of any shape."""
    bits = turn((keys >> np.uint64(32)).astype(np.uint32))
    return bits.view(np.float32), keys.astype(np.uint32).view(np.int32)


def turn(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Turn over the order of float32 numbers' bits; turned twice they are as they were."""
    return bits ^ np.where(bits >> 31, np.uint32(0), np.uint32(0x7FFFFFFF))


EMPTY = to_keys(np.array([-inf], np.float32), np.array([-1]))[0]  # stands behind all scores


class Shortlist:
    """What may be among the ten best of every query, by float32 scores; then the ten, exactly.

    Args:
        top: of the queries; it is filled by `settle`.
        error: E, of `bound`. A candidate more than 2 E below the tenth is not among the ten.
    """

    def __init__(self, top: TopTen, error: Rounding):
        self.top, self.error = top, error
        self.kept = np.full((len(top.candidate), PLACES), EMPTY)  # of `to_keys`, rising
        self.bar = np.full(len(top.candidate), -np.inf, np.float32)

    def newcomers_exceed(self, queries: slice, scores: Single, axis: int) -> Single:
        """Give the bars of a block's queries, whose candidates lie along ``axis``."""
        bar = self.bar[queries]
        if bar[0] == -inf and scores.shape[axis] >= TOP:  # no block has been seen
            return self.below(scan.ten_reach(scores, axis))
        return bar

    def merge(self, query: NDArray, candidate: NDArray, score: Single) -> None:
        """Put newcomers, (P,) each, among what is kept, and raise the bars of their queries."""
        first = query.min()
        local = query - first
        number = np.bincount(local)  # of newcomers, by query
        order = np.argsort(local.astype(np.min_scalar_type(len(number))), kind="stable")
        touched = np.flatnonzero(number)
        number = number[touched]
        row = np.repeat(np.arange(len(touched)), number)
        place = np.arange(len(query)) - np.repeat(np.cumsum(number) - number, number)
        keys = np.full((len(touched), PLACES + number.max()), EMPTY)
        touched += first
        keys[:, :PLACES] = self.kept[touched]
        keys[row, PLACES + place] = to_keys(score, candidate)[order]
        keys.sort(axis=1)
        self.kept[touched] = keys[:, :PLACES]
        # A newcomer no better than the last kept changes nothing: either that one is out in the
        # end, or so many are close that the query is read again.
        tenth, last = (from_keys(keys[:, column])[0] for column in (TOP - 1, PLACES - 1))
        self.bar[touched] = np.maximum(self.below(tenth), last)

    def slack(self, score: Single) -> Floats:
        """Give how far above a float32 score one may be whose float64 score is below its."""
        return 2 * self.error.at(score) + self.top.tie

    def below(self, score: Single) -> Single:
        """Give bars, below which no score is the better one."""
        return outward(score.astype(np.float64), -self.slack(score))

    def settle(self, pairs: Pairs, axis: int) -> int:
        """Fill the top ten; give how many cells were computed in float64."""
        parts = slices(len(self.kept), 64 * CHUNK)
        return sum(self._settle(pairs, axis, part.start, self.kept[part]) for part in parts)

    def _settle(self, pairs: Pairs, axis: int, first: int, keys: NDArray[np.uint64]) -> int:
        """The same of the queries from ``first`` on, by their (Q, PLACES) keys."""
        single, candidate = from_keys(keys)
        near = self.below(single[:, TOP - 1])  # what is below is out
        crowded = (single[:, -1] >= near) & (candidate[:, -1] >= 0)
        kept = (candidate >= 0) & (single >= near[:, None]) & ~crowded[:, None]
        score = single.astype(np.float64)
        # Where neighbours may stand in either order, both are computed again.
        with np.errstate(invalid="ignore"):  # of places that are empty
            close = kept[:, 1:] & (score[:, :-1] - score[:, 1:] <= self.slack(single[:, 1:]))
        doubtful = np.pad(close, ((0, 0), (1, 0))) | np.pad(close, ((0, 0), (0, 1)))
        query, place = np.nonzero(doubtful)
        ends = query + first, candidate[query, place]
        score[query, place] = exact_scores(pairs, *(ends if axis == 1 else ends[::-1]))
        query, place = np.nonzero(kept)
        if len(query):
            self.top.merge(query + first, candidate[query, place], score[query, place])
        again = np.flatnonzero(crowded) + first
        for part in slices(len(again), 8 * CHUNK):
            self._read_again(pairs, again[part], axis)
        computed = int(doubtful.sum())
        return computed + len(again) * len(pairs.image if axis == 1 else pairs.text)

    def _read_again(self, pairs: Pairs, queries: NDArray, axis: int) -> None:
        """Find the ten of some queries by float64 scores."""
        sides = (pairs.text, pairs.image) if axis == 1 else (pairs.image, pairs.text)
        similarity = pairs.similarity if axis == 1 else pairs.similarity.swapped()
        own = sides[0][queries].astype(np.float64)
        for candidates in slices(len(sides[1]), 8 * CHUNK):
            scores = similarity.scores(own, sides[1][candidates].astype(np.float64))
            self.top.look_at(scores, queries, candidates.start, 1)
