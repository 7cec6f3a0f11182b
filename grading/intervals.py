"""How sure a figure is: bootstrap intervals over images, and disjoint folds of a gallery.

    report = with_intervals(metrics.evaluate(image, text, caption_image))
    report["text_to_image"]["mrr"]                       # {"value": ..., "low": ..., "high": ...}

Captions of one image are alike, so an image is drawn with all its captions; drawing captions would
give intervals that are too narrow. The gallery stays whole: only the queries are drawn.

Shape letters: G images with captions, N images, Q queries, R resamples.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gallery.scan import DIRECTIONS, Floats, Integers

LEVEL = (0.025, 0.975)
AT_ONCE = 32  # resamples held in memory together


class Queries(Protocol):
    """What is resampled: `metrics.Retrieval`, and what has its shape."""

    @property
    def query_image(self) -> Integers: ...

    def values(self) -> dict[str, Floats]: ...

    def median(self, weights: NDArray, cluster: Integers) -> Floats: ...


Found = Mapping[str, Queries]  # by direction
Interval = dict[str, float]  # value, low, high


def with_intervals(
    found: Found | Sequence[Found], num_resamples: int = 1000, seed: int = 0
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
    drawn = [bootstrap(fold, num_resamples, (seed, place)) for place, fold in enumerate(folds)]
    samples = {
        direction: {name: np.mean([fold[direction][name] for fold in drawn], axis=0) for name in of}
        for direction, of in drawn[0].items()
    }
    report: dict[str, dict] = {
        direction: {name: interval(sample) for name, sample in of.items()}
        for direction, of in samples.items()
    }
    if set(samples) == set(DIRECTIONS):
        recalls = [of[name] for of in samples.values() for name in of if "recall" in name]
        report["rsum"] = interval(np.sum(recalls, axis=0))
    return report


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


def interval(sample: Floats) -> Interval:
    """Read an interval from (1 + R,) figures, of which the first is the value on all queries."""
    value = float(sample[0]) + 0.0  # no -0.0, which a difference of equals may be
    low, high = (float(bound) + 0.0 for bound in np.quantile(sample[1:], LEVEL))
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def bootstrap(
    found: Found, num_resamples: int, seed: tuple[int, int]
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
