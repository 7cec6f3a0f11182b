"""What a figure could be: chance and the oracle of ambiguous captions, as exact expectations.

    with_intervals(chance(len(image), caption_image))    # the floor: random orders
    with_intervals(oracle(fits, caption_image))          # a perfect reader of ambiguous captions

Both put candidates in *tiers*, each in random order: chance in one tier, the oracle by how well
they fit (`oracle`). Figures are exact expectations over these orders; nothing is drawn.

Shape letters: B captions of a block, G images with captions, K concepts, L tiers, M captions,
N images, Q queries, R resamples, T kinds of query.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gallery.scan import (
    BLOCK_BYTES,
    DIRECTIONS,
    DISCOUNTS,
    RELEVANT,
    TOP,
    Floats,
    Integers,
    Relevance,
    check_owner,
    slices,
)
from metrics import CUTOFFS, rank_values


@dataclass(frozen=True, eq=False)
class Expectation:
    """What to expect in one direction, query by query; the counterpart of ``metrics.Retrieval``.

    Attributes:
        before: (Q,) int64, candidates of the tiers above that of the best own one (b).
        tied: (Q,) int64, candidates of its tier, own ones included (n).
        own: (Q,) int64, those of its tier that belong to the query (a).
        query_image: (Q,) int64, the image that a query belongs to.
        gallery_size: Number of candidates.
        ap: (Q,) float64, expected AP@10.
        ndcg: (Q,) float64, expected nDCG@10.
    """

    before: Integers
    tied: Integers
    own: Integers
    query_image: Integers
    gallery_size: int
    ap: Floats
    ndcg: Floats

    @cached_property
    def _kinds(self) -> tuple[Integers, Integers]:
        """The (3, T) different triples (b, n, a), and (Q,) which of them a query is."""
        triples = np.stack([self.before, self.tied, self.own])
        kinds, kind = np.unique(triples, axis=1, return_inverse=True)
        return kinds, kind.ravel()

    def values(self) -> dict[str, Floats]:
        """Give ``{metric: (Q,) float64}``, the expected part of each query in every mean.

        The rank is b + k, with k that of the best of a own among n candidates in random order:

            P(k > j) = prod_{t<a} (n - j - t) / (n - t)
            P(k = j) = P(k > j - 1) * a / (n - j + 1)
        """
        kinds, kind = self._kinds
        names = list(rank_values([1]))
        table = np.empty((len(names), kinds.shape[1]))
        for column, (before, tied, own) in enumerate(kinds.T):
            k = np.arange(1, tied - own + 2)
            rank = before + k
            chance_of = _survival(k - 1, tied, own) * own / (tied - k + 1)
            inverse = chance_of / rank
            recalls = [100 * chance_of[rank <= cutoff].sum() for cutoff in CUTOFFS]
            mean_rank = before + (tied + 1) / (own + 1)
            table[:, column] = [inverse.sum(), inverse[rank <= TOP].sum(), *recalls, mean_rank]
        means = dict(zip(names, table[:, kind], strict=True))
        return means | {"map@10": self.ap, "ndcg@10": self.ndcg}

    def median(self, weights: Integers, cluster: Integers) -> Floats:
        """Find the smallest k with mean P(rank <= k) >= 1/2 over the drawn queries, by bisection.

        Args:
            weights: (R, G) integers, how often a resample drew an image.
            cluster: (Q,) column of ``weights`` for each query.

        Returns:
            (R,) expected median rank (whole number, from 1).
        """
        (before, tied, own), kind = self._kinds
        share = np.stack([np.bincount(kind, row[cluster], len(own)) for row in weights])
        share /= share.sum(axis=1, keepdims=True)  # (R, T)
        low = np.ones(len(weights), np.int64)
        high = np.full(len(weights), (before + tied).max())
        while (low < high).any():
            middle = (low + high) // 2
            left = np.maximum(middle[:, None] - before, 0)  # (R, T) places in the own tier
            missed = (share * _survival(left, tied, own)).sum(axis=1)
            enough = missed <= 0.5 + 1e-12  # exactly half is enough, whatever the rounding
            low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
        return low.astype(np.float64)


def oracle(
    fits: ArrayLike, caption_image: ArrayLike, concepts: ArrayLike | None = None
) -> dict[str, Expectation]:
    """Score a reader who knows exactly which pictures a caption fits, and how much it says.

    Pictures that fit a caption stand first, in random order. Captions that fit a picture stand
    first, those that fit the fewest pictures of the gallery before the others, because

        P(picture | caption) = 1 / m, with m the number of pictures that the caption fits;

    equal m in random order. That is no strict bound: the reader does not know the writer's habits
    (what is mentioned, and how often), and a model that has learned those may do better.

    Args:
        fits: (M, N) bool, whether a caption is true of an image; it is of its own. Any array that
            gives rows, memory-mapped too.
        caption_image: (M,) integers in 0..N-1, the row of each caption's image.
        concepts: (N, K) non-negative numbers or None, as for ``metrics.evaluate``.

    Returns:
        ``{"text_to_image": Expectation, "image_to_text": Expectation}``.

    Raises:
        ValueError: Shapes that do not match, or a caption that does not fit its own image.
    """
    fits, owner = _check_fits(fits, caption_image)
    num_captions, num_images = fits.shape
    relevance = Relevance(num_images, owner, concepts)
    reach = fits.sum(axis=1, dtype=np.int64)  # (M,) the m of each caption
    by_text, by_image = np.empty((3, num_captions)), _Tiers(owner, reach, num_images)
    order = np.argsort(reach, kind="stable")
    at_once = max(1, BLOCK_BYTES // 32 // num_images)  # captions
    for part in slices(num_captions, at_once):
        captions = order[part]
        fitting = fits[captions]
        rows = relevance.rows(owner[captions]) * fitting  # (B, N); 0 where it does not fit
        blocks = fitting, rows > RELEVANT, rows
        by_text[:, captions] = [block.sum(axis=1) for block in blocks]
        levels, first = np.unique(reach[captions], return_index=True)
        for level, begin, end in zip(levels, first, [*first[1:], len(captions)], strict=True):
            by_image.add(level, np.stack([block[begin:end].sum(axis=0) for block in blocks]))
    place = np.stack([np.zeros_like(reach), reach, np.ones_like(reach)])
    texts, images = (place, by_text[None]), (by_image.place, by_image.tiers)
    return _expect(owner, relevance.totals(), texts, images)


def chance(
    num_images: int, caption_image: ArrayLike, concepts: ArrayLike | None = None
) -> dict[str, Expectation]:
    """Score random orders of the whole gallery: the floor. MRR of one in n is H_n / n.

    Args:
        num_images: N, images without captions included.
        caption_image: (M,) integers in 0..N-1, the row of each caption's image.
        concepts: (N, K) non-negative numbers or None, as for ``metrics.evaluate``.

    Returns:
        ``{"text_to_image": Expectation, "image_to_text": Expectation}``.

    Raises:
        ValueError: There are no captions, or one whose image is not there.
    """
    owner = check_owner(caption_image, num_images)
    totals = Relevance(num_images, owner, concepts).totals()
    captions = np.bincount(owner, minlength=num_images)  # (N,)
    sides = []
    for own, gallery_size in ((np.ones_like(owner), num_images), (captions, len(owner))):
        place = np.stack([np.zeros_like(own), np.full_like(own, gallery_size), own])
        sides.append((place, np.empty((0, 3, len(own)))))  # no tier of its own: all are others
    return _expect(owner, totals, *sides)


def _check_fits(fits: ArrayLike, caption_image: ArrayLike) -> tuple[NDArray[np.bool_], Integers]:
    """Give ``fits`` as an array and the (M,) image of each caption, or raise ValueError."""
    fits = np.asarray(fits)
    if fits.ndim != 2 or fits.dtype != np.bool_:
        raise ValueError(
            f"fits has shape {fits.shape} and type {fits.dtype}, expected (M, N) booleans"
        )
    num_captions, num_images = fits.shape
    owner = check_owner(caption_image, num_images)
    if len(owner) != num_captions:
        raise ValueError(f"fits has {num_captions} rows for {len(owner)} captions in caption_image")
    stray = np.flatnonzero(~fits[np.arange(num_captions), owner])
    if stray.size:
        raise ValueError(f"caption {stray[0]} does not fit its own image {owner[stray[0]]} in fits")
    return fits, owner


class _Tiers:
    """The order in which the oracle sees the captions for each image, told from the lowest m.

    Attributes:
        place: (3, N) int64, rows as the first three attributes of ``Expectation``.
        tiers: (10, 3, N) float64, the tiers that reach into the first ten places, each with its
            number of captions, how many of those are relevant, and the sum of their relevances.
    """

    def __init__(self, owner: Integers, reach: Integers, num_images: int):
        self.least = np.full(num_images, num_images + 1)  # (N,) lowest m of the own captions
        np.minimum.at(self.least, owner, reach)
        best = owner[reach == self.least[owner]]
        self.place = np.zeros((3, num_images), np.int64)
        self.place[2] = np.bincount(best, minlength=num_images)
        self.tiers = np.zeros((TOP, 3, num_images))
        self.reach = 0  # that of the tier being told; then (N,) tiers and captions above it
        self.depth, self.above, self.placed = np.zeros((3, num_images), np.int64)

    def add(self, reach: int, part: Floats) -> None:
        """Add captions that fit ``reach`` images each; ``part`` is (3, N) as in ``tiers``."""
        if reach > self.reach:  # a new tier begins wherever the last one held anything
            self.depth += self.placed > self.above
            self.above, self.reach = self.placed.copy(), reach
        size = part[0].astype(np.int64)
        here = self.least == reach
        self.place[0, here] = self.above[here]
        self.place[1, here] += size[here]
        shown = np.flatnonzero((self.above < TOP) & (size > 0))
        self.tiers[self.depth[shown], :, shown] += part[:, shown].T
        self.placed += size


def _survival(k: ArrayLike, tied: ArrayLike, own: ArrayLike) -> Floats:
    """P(rank > k) for the best of ``own`` among ``tied`` candidates; all three broadcast."""
    k, tied, own = np.broadcast_arrays(k, tied, own)
    left = np.ones(k.shape)
    for step in range(own.max(initial=0)):
        factor = np.maximum(tied - k - step, 0) / np.maximum(tied - step, 1)
        left *= np.where(step < own, factor, 1.0)
    return left


def _expect(
    owner: Integers, totals: tuple[Floats, Floats, Floats], *sides: tuple[Integers, Floats]
) -> dict[str, Expectation]:
    """Build both directions from ``place`` and ``tiers`` (as in ``_Tiers``) of captions, images."""
    found = {}
    for side, direction in enumerate(DIRECTIONS):
        query_image = owner if side == 0 else np.unique(owner)
        place, tiers = (of if side == 0 else of[..., query_image] for of in sides[side])
        gallery_size = totals[0].shape[1] if side == 0 else len(owner)
        relevant, gain, ideal = (total[side, query_image] for total in totals)
        # What no tier holds comes last. Where tiers were left out, that is below the tenth place.
        others = [np.full(len(query_image), gallery_size), relevant, gain] - tiers.sum(axis=0)
        size, hits, gains = np.concatenate([tiers, others[None]]).swapaxes(0, 1)  # (L, Q) each
        ap = _expected_ap(size, hits) / np.minimum(TOP, relevant)
        ndcg = _expected_dcg(size, gains) / ideal
        before, tied, own = place
        found[direction] = Expectation(before, tied, own, query_image, gallery_size, ap, ndcg)
    return found


def _expected_ap(size: Floats, hits: Floats) -> Floats:
    """Expect sum_{k<=10} rel_k * precision_k = sum_k 1/k sum_{j<=k} P(rel_k and rel_j), per query.

    A tier above is complete at k: its hits are certain. Within a tier of n with r hits,
    P(rel_k) = r / n and P(rel_k and rel_j) = r (r - 1) / (n (n - 1)).

    Args:
        size: (L, Q) candidates of each tier, from the first; ``hits`` (L, Q) of them are relevant.
    """
    start, above = np.cumsum(size, axis=0) - size, np.cumsum(hits, axis=0) - hits
    one = _share(hits, size)
    both = one * _share(hits - 1, size - 1)
    total = np.zeros(size.shape[1])
    for k in range(1, TOP + 1):
        here = (start < k) & (k <= start + size)  # (L, Q) the tier that holds place k
        total += (here * (one * (1 + above) + (k - 1 - start) * both)).sum(axis=0) / k
    return total


def _expected_dcg(size: Floats, gains: Floats) -> Floats:
    """Expect DCG@10 per query: a place holds the mean relevance of its tier; (L, Q) each."""
    start, mean = np.cumsum(size, axis=0) - size, _share(gains, size)
    total = np.zeros(size.shape[1])
    for k in range(1, TOP + 1):
        here = (start < k) & (k <= start + size)
        total += (here * mean).sum(axis=0) * DISCOUNTS[k - 1]
    return total


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide, with 0 for nothing of nothing."""
    return np.maximum(part, 0) / np.maximum(whole, 1)
