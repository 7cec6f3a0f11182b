"""Whether one run is ahead of another: paired differences on the same queries.

    first, second = read_ranks(a), read_ranks(b)
    compare_pair(first, second)["rsum"]      # {"value", "low", "high", "p"}

A query's figures are subtracted first, so that what is hard for both runs adds no noise. Images are
drawn with all their queries (`intervals`). The p-value is that of a permutation test: under the
hypothesis of no difference, the two runs may be exchanged image by image.

Shape letters: G images with captions, P permutations, Q queries, R resamples.

References:
  Smucker, Allan, Carterette, A comparison of statistical significance tests for information
    retrieval evaluation, CIKM 2007 (the randomisation test).
  Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics
    6, 1979.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import metrics
from gallery.scan import DIRECTIONS
from grading import intervals
from run import manifest
from run.folder import Run

RESAMPLES, PERMUTATIONS = 1000, 9999
EXACT = 13  # up to so many images all exchanges are tried
AT_ONCE = 500  # permutations held in memory together
SMALL_IS_GOOD = ("median_rank", "mean_rank")
RSUM = ("", "rsum")  # a key of `image_shares`
POWER = 1.959964 + 0.841621  # quantiles: level 5 %, two-sided, and power 80 %


class Ranks(NamedTuple):
    """A run's ranks by query.

    Attributes:
      queries: {direction: [(image, caption or None)]}; found: {direction: `metrics.Retrieval`}.
    """

    queries: dict[str, list[tuple[str, str | None]]]
    found: dict[str, metrics.Retrieval]


def read_ranks(run: Run, places: dict[str, int] | None = None) -> Ranks:
    """The ranks that test.py wrote.

    Args:
      run: its folder, or one of results alone, which has no manifest to be compared with.
      places: {image name: its number}, filled by the first run that is read.

    Raises:
      ValueError: a file is missing, damaged, or no such table.
    """
    places, queries, found = {} if places is None else places, {}, {}
    for direction in DIRECTIONS:
        path = require_whole(run, run / f"ranks_{direction}.csv")
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            ranks = np.array([int(row["rank"]) for row in rows], np.int64)
            queries[direction] = [(row["image"], row.get("caption")) for row in rows]
        except (KeyError, TypeError, ValueError, OverflowError, csv.Error) as error:
            raise ValueError(f"{path} is no table of ranks: run python test.py anew") from error
        if not rows or ranks.min() < 1:
            raise ValueError(f"{path} holds no ranks from 1 on: run python test.py anew")
        owner = [places.setdefault(image, len(places)) for image, _ in queries[direction]]
        found[direction] = metrics.Retrieval(ranks, np.array(owner), int(ranks.max()))
    return Ranks(queries, found)


def require_whole(run: Run, path: Path) -> Path:
    """A file of results, which is as it was written, unless its folder is no run's.

    Raises:
      ValueError: it is missing or damaged.
    """
    why = "python test.py writes it"
    if run.config.is_file() or (run / manifest.NAME).is_file():
        return run.require(path, why)
    if not path.is_file():
        raise ValueError(f"{run} has no {path.name}: {why}")
    return path


class Apart(NamedTuple):
    """What two runs differ by in each query, as `intervals.bootstrap` takes it."""

    first: metrics.Retrieval
    second: metrics.Retrieval

    @property
    def query_image(self) -> np.ndarray:
        return self.first.query_image

    def values(self) -> dict[str, np.ndarray]:
        second = self.second.values()
        return {name: of - second[name] for name, of in self.first.values().items()}

    def median(self, weights: np.ndarray, cluster: np.ndarray) -> np.ndarray:
        """Of no use: it is no mean of queries."""
        return np.zeros(len(weights))


def check_same_queries(first: Ranks, second: Ranks) -> None:
    """Refuses ranks of other queries. Raises ValueError."""
    if first.queries != second.queries:
        raise ValueError("the runs were graded on different queries: grade all on one split")


def compare_pair(first: Ranks, second: Ranks, seed: int = 0) -> dict[str, Any]:
    """The differences first - second of all metrics that are means of queries, and of rsum.

    Returns:
      {"rsum": one, direction: {metric: one}}; one is {"value", "low", "high": of the 95 % interval,
      "p": of the permutation test, "needed": images that would tell it apart with a power of 80 %,
      "images": those that there are}.

    Raises:
      ValueError: they are of different queries.
    """
    check_same_queries(first, second)
    both = {side: Apart(first.found[side], second.found[side]) for side in DIRECTIONS}
    drawn = intervals.bootstrap(both, RESAMPLES, (seed, 0))
    shares, others = image_shares(first), image_shares(second)
    apart = {(s, n): drawn[s][n] for s, n in shares if s}
    apart[RSUM] = np.sum([of for (_, name), of in apart.items() if "recall" in name], axis=0)
    differences = np.stack([own - others[key] for key, own in shares.items()])  # (metrics, G)
    p, images = permutation_p(differences, seed), differences.shape[1]
    report: dict[str, Any] = {side: {} for side in DIRECTIONS}
    for (side, name), value in zip(shares, p, strict=True):
        one = intervals.interval(apart[side, name])
        needed = needed_images(one["value"], float(apart[side, name][1:].std()), images)
        one |= {"p": float(value), "needed": needed, "images": images}
        (report[side] if side else report)[name] = one
    return report


def image_shares(run: Ranks) -> dict[tuple[str, str], np.ndarray]:
    """What each image adds to a metric: {(direction, metric), of rsum `RSUM`: (G,) float64}."""
    width = 1 + max(int(one.query_image.max()) for one in run.found.values())
    shares = {
        (side, name): np.bincount(one.query_image, of, width) / len(of)
        for side, one in run.found.items()
        for name, of in one.values().items()
    }
    recalls = [share for (_, name), share in shares.items() if "recall" in name]
    return shares | {RSUM: np.sum(recalls, axis=0)}


def permutation_p(shares: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-sided p-values of sums, where the sign of each column may be exchanged.

    Args:
      shares: (metrics, G): what each image adds to a difference.

    Returns:
      (metrics,) exact for at most `EXACT` images, else of `PERMUTATIONS` drawn exchanges, the
      observed one counted among them.
    """
    told = np.abs(shares.sum(axis=1))
    bound = told - 1e-9 * np.maximum(np.abs(shares).sum(axis=1), 1e-300)  # equal but for rounding
    count = shares.shape[1]
    if count <= EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return (np.abs(signs @ shares.T) >= bound).mean(axis=0)
    draw, hits = np.random.default_rng(seed), np.zeros(len(shares), np.int64)
    for start in range(0, PERMUTATIONS, AT_ONCE):
        rows = min(AT_ONCE, PERMUTATIONS - start)
        signs = 1 - 2 * draw.integers(0, 2, (rows, count), dtype=np.int8)
        hits += (np.abs(signs.astype(np.float64) @ shares.T) >= bound).sum(axis=0)
    return (hits + 1) / (PERMUTATIONS + 1)


def needed_images(value: float, deviation: float, images: int) -> int | None:
    """How many images would tell this difference from 0 (5 %, power 80 %); None: no number would.

    Args:
      deviation: of the difference over resamples of so many images.
    """
    return None if value == 0 else int(np.ceil(images * (POWER * deviation / abs(value)) ** 2))


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for being one of several, in their own order [Holm]."""
    order, adjusted, largest = np.argsort(p, kind="stable"), np.zeros(len(p)), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = largest
    return adjusted.tolist()


def verdict(names: tuple[str, str], one: Mapping[str, Any], p: float, metric: str) -> str:
    """Which of two runs is ahead, in a sentence.

    Args:
      one: of `compare_pair`; p: its p-value, adjusted where there are several pairs.
    """
    span = f"{one['value']:+.4g} {metric} ({one['low']:+.4g} to {one['high']:+.4g}), p {p:.2g}"
    if p < 0.05:
        better = (one["value"] > 0) != (metric in SMALL_IS_GOOD)
        ahead, behind = names if better else names[::-1]
        return f"{ahead} is ahead of {behind}: {span}"
    told = f"on these {one['images']:,} images"
    wanted, what = one.get("needed"), ""
    if "seeds" in one:
        told += f" and {one['seeds'][0]} against {one['seeds'][1]} seeds"
        wanted, what = one["needed_seeds"], " seeds of each"
    told = f"{names[0]} and {names[1]} cannot be told apart {told}: {span}"
    return told + (f"; about {float(f'{wanted:.2g}'):,.0f}{what} would be needed" if wanted else "")
