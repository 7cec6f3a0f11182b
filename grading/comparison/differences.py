"""Which of several entries is ahead of which: each pair tested, with a sentence about it.

for one in compare_all(entries, "rsum"):
    print(one.verdict)
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from grading.comparison import paired, seeds
from grading.comparison.paired import Ranks
from grading.comparison.standings import Entry


class Difference(NamedTuple):
    """What two entries differ by.

    Attributes:
      names: of the entries; ranks: of each, seed by seed.
      found: of `seeds.compare_means`, first - second; one: of it, the metric that was asked for.
      p: that of `one`, with Holm's correction over all pairs.
      verdict: a sentence.
    """

    names: tuple[str, str]
    ranks: tuple[list[Ranks], list[Ranks]]
    found: dict[str, Any]
    one: dict[str, Any]
    p: float
    verdict: str


def compare_all(entries: Sequence[Entry], by: str) -> list[Difference]:
    """Tests each two entries.

    Args:
      by: metric that decides, text to image where it has directions.

    Raises:
      ValueError: they are of different data or queries, or the metric is no mean over queries.
    """
    if len({entry.data for entry in entries}) > 1:
        groups = "; ".join(f"{entry.name}: {entry.data}" for entry in entries)
        raise ValueError(f"these runs are of different data, so no test compares them: {groups}")
    ranks = {entry.name: [row.read_ranks() for row in entry.runs] for entry in entries}
    pairs = list(itertools.combinations(ranks, 2))
    found = [seeds.compare_means(ranks[first], ranks[second]) for first, second in pairs]
    ones = [one["rsum"] if by == "rsum" else one["text_to_image"].get(by) for one in found]
    if None in ones:
        raise ValueError(f"--by {by} is no mean over queries, which a paired test needs")
    adjusted = paired.holm([one["p"] for one in ones])
    return [
        Difference(
            pair, (ranks[pair[0]], ranks[pair[1]]), of, one, p, paired.verdict(pair, one, p, by)
        )
        for pair, of, one, p in zip(pairs, found, ones, adjusted, strict=True)
    ]


def metric_rows(difference: Difference) -> list[dict[str, Any]]:
    """A table of one pair: every metric of ranks, both ways."""
    return [
        {"direction": side.replace("_", " "), "metric": name, "difference": f"{one['value']:+.4g}",
         "95 % interval": f"{one['low']:+.4g} to {one['high']:+.4g}", "p": f"{one['p']:.2g}"}
        for side, name, one in _each(difference)
    ]  # fmt: skip


def pair_rows(differences: Sequence[Difference], by: str) -> list[dict[str, Any]]:
    """A table of all pairs in one metric, to be read."""
    return [
        {"first": one.names[0], "second": one.names[1],
         f"difference in {by}": "{value:+.4g} ({low:+.4g} to {high:+.4g})".format(**one.one),
         "p": f"{one.one['p']:.2g}", "p (Holm)": f"{one.p:.2g}"}
        for one in differences
    ]  # fmt: skip


def all_rows(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """All pairs in all metrics of ranks, in full; p without Holm's correction."""
    kept = {"difference": "value", "low": "low", "high": "high", "p": "p"}
    return [
        {"first": one.names[0], "second": one.names[1], "direction": side, "metric": name}
        | {title: own[key] for title, key in kept.items()}
        for one in differences
        for side, name, own in _each(one)
    ]


def _each(difference: Difference) -> list[tuple[str, str, dict[str, Any]]]:
    """(direction, metric, what was found) of all metrics, rsum first."""
    sides = {side: of for side, of in difference.found.items() if side != "rsum"}
    flat = [(side, name, one) for side, of in sides.items() for name, one in of.items()]
    return [("both", "rsum", difference.found["rsum"]), *flat]
