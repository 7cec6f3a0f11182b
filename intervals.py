"""How sure a figure is, and what it could be: bootstrap intervals, folds, chance and the oracle.

    report = with_intervals(metrics.evaluate(image, text, caption_image))
    report["text_to_image"]["mrr"]                       # {"value": ..., "low": ..., "high": ...}
    with_intervals(chance(len(image), caption_image))    # the floor: random orders
    with_intervals(oracle(fits, caption_image))          # the ceiling: captions are ambiguous

Captions of one image are alike, so an image is drawn with all its captions; drawing captions would
give intervals that are too narrow. The gallery stays whole: only the queries are drawn.

Chance and the oracle know which candidates *fit* a query and no more: the fitting ones come first
in random order, then the others. Figures are exact expectations over these orders.

Shape letters: B rows of a block, G images with captions, K concepts, M captions, N images,
Q queries, R resamples, T kinds of query.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from metrics import (
    BLOCK_BYTES,
    CUTOFFS,
    DIRECTIONS,
    DISCOUNTS,
    RELEVANT,
    TOP,
    Floats,
    Integers,
    Relevance,
    Retrieval,
    check_owner,
)

LEVEL = (0.025, 0.975)
AT_ONCE = 32  # resamples held in memory together
Interval = dict[str, float]


@dataclass(frozen=True, eq=False)
class Expectation:
    """What to expect in one direction, query by query; the counterpart of ``metrics.Retrieval``.

    Attributes:
        own: (Q,) int64, candidates that belong to the query (a = 1 image, or a captions).
        fitting: (Q,) int64, candidates that fit it, own ones included (n).
        query_image: (Q,) int64, the image that a query belongs to.
        gallery_size: Number of candidates.
        ap: (Q,) float64, expected AP@10.
        ndcg: (Q,) float64, expected nDCG@10.
    """

    own: Integers
    fitting: Integers
    query_image: Integers
    gallery_size: int
    ap: Floats
    ndcg: Floats

    @cached_property
    def _kinds(self) -> tuple[Integers, Integers]:
        """The (T, 2) different pairs (n, a), and (Q,) which of them a query is."""
        pairs = np.stack([self.fitting, self.own], axis=1)
        kinds, kind = np.unique(pairs, axis=0, return_inverse=True)
        return kinds, kind.ravel()

    def values(self) -> dict[str, Floats]:
        """Give ``{metric: (Q,) float64}``, the expected part of each query in every mean.

        The rank of the best of a own among n fitting candidates in random order:

            P(rank > k) = prod_{t<a} (n - k - t) / (n - t)
            P(rank = k) = P(rank > k - 1) * a / (n - k + 1)
        """
        kinds, kind = self._kinds
        names = ("mrr", "mrr@10", *(f"recall@{cutoff}" for cutoff in CUTOFFS), "mean_rank")
        table = np.empty((len(names), len(kinds)))
        for column, (fitting, own) in enumerate(kinds):
            k = np.arange(1, fitting - own + 2)
            chance_of = _survival(k - 1, fitting, own) * own / (fitting - k + 1)
            inverse = chance_of / k
            recalls = [100 * chance_of[:cutoff].sum() for cutoff in CUTOFFS]
            mean_rank = (fitting + 1) / (own + 1)
            table[:, column] = [inverse.sum(), inverse[:TOP].sum(), *recalls, mean_rank]
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
        kinds, kind = self._kinds
        share = np.stack([np.bincount(kind, row[cluster], len(kinds)) for row in weights])
        share /= share.sum(axis=1, keepdims=True)  # (R, T)
        low = np.ones(len(weights), np.int64)
        high = np.full(len(weights), kinds[:, 0].max())
        while (low < high).any():
            middle = (low + high) // 2
            missed = (share * _survival(middle[:, None], kinds[:, 0], kinds[:, 1])).sum(axis=1)
            enough = missed <= 0.5 + 1e-12  # exactly half is enough, whatever the rounding
            low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
        return low.astype(np.float64)


def with_intervals(
    found: Mapping[str, Retrieval | Expectation] | Sequence[Mapping[str, Retrieval | Expectation]],
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict]:
    """Give every metric with its 95 % percentile interval, bootstrapped over images.

    Both directions share their resamples, so that rsum has an interval too. An interval always
    includes its value. Several folds are averaged; each is resampled on its own.

    Args:
        found: ``{direction: queries}`` as from ``metrics.evaluate``, or a list of them, one a fold.
        num_resamples: R.
        seed: The same seed gives the same intervals.

    Returns:
        ``{direction: {metric: {"value", "low", "high"}}}``, and the same three for ``"rsum"`` where
        both directions are there.

    Raises:
        ValueError: There is nothing to resample.

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    folds = [found] if isinstance(found, Mapping) else list(found)
    if not folds or num_resamples < 1:
        raise ValueError(
            f"{len(folds)} folds and {num_resamples} resamples: at least one of each is needed"
        )
    drawn = [_bootstrap(fold, num_resamples, (seed, place)) for place, fold in enumerate(folds)]
    samples = {
        direction: {name: np.mean([fold[direction][name] for fold in drawn], axis=0) for name in of}
        for direction, of in drawn[0].items()
    }
    report: dict[str, dict] = {
        direction: {name: _interval(sample) for name, sample in of.items()}
        for direction, of in samples.items()
    }
    if set(samples) == set(DIRECTIONS):
        recalls = [of[name] for of in samples.values() for name in of if "recall" in name]
        report["rsum"] = _interval(np.sum(recalls, axis=0))
    return report


def paired_difference(
    a: Retrieval | Expectation,
    b: Retrieval | Expectation,
    metric: str = "mrr",
    num_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Compare two runs on the same queries: the interval of metric(a) - metric(b).

    Most of what makes a query hard is the same for both runs and drops out, so this interval is far
    narrower than those of the runs. Where it leaves out 0, the runs differ.

    Args:
        a: One run in one direction.
        b: The other run, with the same queries in the same order.
        metric: Any metric that both have.
        num_resamples: R.
        seed: The same seed gives the same interval.

    Returns:
        ``{"value", "low", "high"}`` in the unit of the metric.

    Raises:
        ValueError: Other queries, or a metric that is not there.
    """
    if not np.array_equal(a.query_image, b.query_image):
        raise ValueError("the two runs have different queries: compare them on the same split")
    drawn = _bootstrap({"a": a, "b": b}, num_resamples, (seed, 0))
    if metric not in drawn["a"] or metric not in drawn["b"]:
        raise ValueError(f"no metric {metric!r} in both runs, choose from {', '.join(drawn['a'])}")
    return _interval(drawn["a"][metric] - drawn["b"][metric])


def fold_slices(num_images: int, folds: int) -> list[slice]:
    """Cut a split into disjoint galleries of consecutive images, all of one size.

    Args:
        num_images: N.
        folds: Number of galleries, e.g. 5 for the "1K" figures on 5,000 COCO images.

    Returns:
        Slices of image rows. The captions of a fold are those whose image lies in its slice.

    Raises:
        ValueError: The images cannot be shared out evenly (figures depend on the gallery's size).
    """
    if folds < 1 or num_images < 1 or num_images % folds:
        raise ValueError(
            f"{num_images} images cannot be cut into {folds} folds of one size: choose a divisor"
        )
    size = num_images // folds
    return [slice(start, start + size) for start in range(0, num_images, size)]


def _interval(sample: Floats) -> Interval:
    """Read an interval from (1 + R,) figures, of which the first is the value on all queries."""
    value = float(sample[0])
    low, high = (float(bound) for bound in np.quantile(sample[1:], LEVEL))
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def _bootstrap(
    found: Mapping[str, Retrieval | Expectation], num_resamples: int, seed: tuple[int, int]
) -> dict[str, dict[str, Floats]]:
    """Give (1 + R,) figures of every metric: on all queries, then on each resample of images."""
    images = np.unique(np.concatenate([queries.query_image for queries in found.values()]))
    figures = {}
    for direction, queries in found.items():
        cluster = np.searchsorted(images, queries.query_image)  # (Q,)
        values = queries.values()
        mean = np.array([value.mean() for value in values.values()])  # (metrics,)
        # Sums of what departs from the mean: queries that are all equal get no width by rounding.
        apart = [value - of for value, of in zip(values.values(), mean, strict=True)]
        sums = [np.bincount(cluster, value, len(images)) for value in apart]
        parts = np.stack([*sums, np.bincount(cluster, minlength=len(images))])  # (metrics + 1, G)
        means = [mean[None]]
        medians = [queries.median(np.ones((1, len(images)), np.int64), cluster)]
        for weights in _resamples(len(images), num_resamples, seed):
            # einsum adds up in one order; a product by BLAS would depend on the threads.
            totals = np.einsum("rg,mg->rm", weights.astype(np.float64), parts)
            means.append(mean + totals[:, :-1] / totals[:, -1:])
            medians.append(queries.median(weights, cluster))
        columns = np.concatenate(means).T  # (metrics, 1 + R)
        figures[direction] = dict(zip(values, columns, strict=True))
        figures[direction]["median_rank"] = np.concatenate(medians)
    return figures


def _resamples(num_images: int, num_resamples: int, seed: tuple[int, int]) -> Iterator[Integers]:
    """Draw G of G images with replacement, R times; yield counts of each, a few rows at a time."""
    generator = np.random.default_rng(seed)
    for start in range(0, num_resamples, AT_ONCE):
        rows = range(start, min(start + AT_ONCE, num_resamples))
        draws = (generator.integers(0, num_images, num_images) for _ in rows)
        yield np.stack([np.bincount(draw, minlength=num_images) for draw in draws])


def oracle(
    fits: ArrayLike, caption_image: ArrayLike, concepts: ArrayLike | None = None
) -> dict[str, Expectation]:
    """Score a reader who knows exactly which pictures a caption fits: the ceiling of a data set.

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
    relevance = Relevance(num_images, owner, concepts)
    by_text, by_image = np.zeros((3, num_captions)), np.zeros((3, num_images))
    step = max(1, BLOCK_BYTES // 16 // num_images)
    for start in range(0, num_captions, step):
        part = slice(start, start + step)
        fitting = fits[part]
        rows = relevance.rows(owner[part]) * fitting  # (B, N); 0 where it does not fit
        for measure, block in enumerate((fitting, rows > RELEVANT, rows)):
            by_text[measure, part] = block.sum(axis=1)
            by_image[measure] += block.sum(axis=0)
    return _expect(owner, relevance.totals(), by_text, by_image)


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
    relevant, gain, ideal = Relevance(num_images, owner, concepts).totals()
    sizes = np.repeat([[num_images], [len(owner)]], num_images, axis=1)  # (2, N)
    by_text, by_image = np.stack([sizes, relevant, gain], axis=1)  # (3, N) each: everything fits
    return _expect(owner, (relevant, gain, ideal), by_text[:, owner], by_image)


def _survival(k: ArrayLike, fitting: ArrayLike, own: ArrayLike) -> Floats:
    """P(rank > k) for the best of ``own`` among ``fitting`` candidates; all three broadcast."""
    k, fitting, own = np.broadcast_arrays(k, fitting, own)
    left = np.ones(k.shape)
    for step in range(own.max(initial=0)):
        factor = np.maximum(fitting - k - step, 0) / np.maximum(fitting - step, 1)
        left *= np.where(step < own, factor, 1.0)
    return left


def _expect(
    owner: Integers, totals: tuple[Floats, Floats, Floats], by_text: Floats, by_image: Floats
) -> dict[str, Expectation]:
    """Build both directions from what fits, (3, M) and (3, N): number, number relevant, gain."""
    relevant, gain, ideal = totals
    captions = np.bincount(owner, minlength=by_image.shape[1])  # (N,)
    found = {}
    for side, direction in enumerate(DIRECTIONS):
        query_image = owner if side == 0 else np.unique(owner)
        fit = by_text if side == 0 else by_image[:, query_image]
        gallery_size = len(captions) if side == 0 else len(owner)
        all_relevant = relevant[side, query_image]
        ap = _expected_ap(fit[0], fit[1], gallery_size, all_relevant)
        dcg = _expected_dcg(fit[0], fit[2], gallery_size, gain[side, query_image])
        found[direction] = Expectation(
            np.ones_like(owner) if side == 0 else captions[query_image],
            fit[0].astype(np.int64),
            query_image,
            gallery_size,
            ap=ap / np.minimum(TOP, all_relevant),
            ndcg=dcg / ideal[side, query_image],
        )
    return found


def _expected_ap(fitting: Floats, hits: Floats, gallery_size: int, all_hits: Floats) -> Floats:
    """Expect sum_{k<=10} rel_k * precision_k = sum_k 1/k sum_{j<=k} P(rel_k and rel_j), per query.

    Args:
        fitting: (Q,) candidates that fit and come first; ``hits`` (Q,) of them are relevant.
        gallery_size: All candidates; ``all_hits`` (Q,) of them are relevant.
    """
    others, misses = gallery_size - fitting, all_hits - hits
    first, second = _share(hits, fitting), _share(misses, others)  # P(rel_k) among each
    both_first = first * _share(hits - 1, fitting - 1)
    both_second = second * _share(misses - 1, others - 1)
    total = np.zeros(len(fitting))
    for k in range(1, min(TOP, gallery_size) + 1):
        among_first = first + (k - 1) * both_first
        among_second = second * (1 + fitting * first) + (k - 1 - fitting) * both_second
        total += np.where(k <= fitting, among_first, among_second) / k
    return total


def _expected_dcg(fitting: Floats, gain: Floats, gallery_size: int, all_gain: Floats) -> Floats:
    """Expect DCG@10 per query: a place holds the mean relevance of those that may stand there."""
    first, second = _share(gain, fitting), _share(all_gain - gain, gallery_size - fitting)
    total = np.zeros(len(fitting))
    for k in range(1, min(TOP, gallery_size) + 1):
        total += np.where(k <= fitting, first, second) * DISCOUNTS[k - 1]
    return total


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide, with 0 for nothing of nothing."""
    return np.maximum(part, 0) / np.maximum(whole, 1)
