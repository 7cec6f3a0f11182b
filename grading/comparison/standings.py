"""Many runs side by side: what each is, how it differs from the others, and its score.

entries = join_seeds(rows)                     # seeds of one setting become one entry
for data, group in by_data(entries):     # only runs of the same queries are ranked together
    print(tables.as_text(table_rows(group, "rsum")))
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import Any, NamedTuple

import numpy as np

from grading.comparison.paired import SMALL_IS_GOOD
from grading.comparison.sources import SHOWN, Standing, figure_of
from systems import config

UNTOLD = ("recipe", "data_dir", "cache_dir", "seed", "data", "model", "loss")


class Entry(NamedTuple):
    """A line of the table: one run, or a run of each seed of one setting.

    Attributes:
      name: another one for each entry; runs: by seed.
    """

    name: str
    runs: list[Standing]

    @property
    def first(self) -> Standing:
        return self.runs[0]

    @property
    def data(self) -> str:
        return self.first.data


def join_seeds(rows: Sequence[Standing], seeds: bool = True) -> list[Entry]:
    """Entries, in the order of their first runs.

    Args:
      seeds: runs of the same data and of equal `sources.setting_of` become one entry. A second run
        of a seed stands alone.
    """
    groups: list[list[Standing]] = []
    for row in rows:
        alike = [
            group for group in groups
            if seeds and row.setting is not None and group[0].setting == row.setting
            and group[0].data == row.data and row.seed not in [one.seed for one in group]
        ]  # fmt: skip
        if alike:
            alike[0].append(row)
        else:
            groups.append([row])
    groups = [sorted(group, key=lambda row: (row.seed or 0, row.name)) for group in groups]
    names = [_shared_name([row.name for row in group]) for group in groups]
    known = Counter(names)
    full = [", ".join(str(row.run) for row in group) for group in groups]
    names = [n if known[n] == 1 else path for n, path in zip(names, full, strict=True)]
    return [Entry(name, group) for name, group in zip(names, groups, strict=True)]


def _shared_name(names: Sequence[str]) -> str:
    """`simclr_* (3 seeds)` of simclr_0, simclr_1 and simclr_2."""
    if len(names) == 1:
        return names[0]
    start = _common_start(names)
    end = _common_start([name[len(start) :][::-1] for name in names])[::-1]
    shared = f"{start}*{end}" if start + end else f"{names[0]} and others"
    return f"{shared} ({len(names)} seeds)"


def _common_start(names: Sequence[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def keep(rows: Iterable[Standing], wanted: str | None) -> list[Standing]:
    """Those runs whose settings are as `wanted`: loss=simclr,seed=1.

    Raises:
      ValueError: it is no list of name=value, or no run has such a setting or such a value.
    """
    kept = list(rows)
    for pair in filter(None, (wanted or "").split(",")):
        name, found, value = pair.partition("=")
        if not found:
            raise ValueError(f"--filter {pair!r}: expected name=value, such as loss=simclr")
        known = [(row, own) for row in kept for own in _setting(row, name)]
        if kept and not known:
            raise ValueError(f"--filter {name}: no run has a setting of that name")
        kept = [row for row, own in known if _means(value, own)]
        if known and not kept:
            theirs = ", ".join(dict.fromkeys(str(own) for _, own in known))
            raise ValueError(f"--filter {pair}: no run has it; theirs are {theirs}")
    return kept


def _means(text: str, own: Any) -> bool:
    """Whether a text says a setting's value: numbers as numbers, such as 2e-3 for 0.002."""
    if isinstance(own, int | float) and not isinstance(own, bool):
        with contextlib.suppress(ValueError):
            return float(text) == own
    return str(own).lower() == text.lower()


def _setting(row: Standing, name: str) -> list[Any]:
    """A run's setting, the default too, as the only one of a list; empty: it has none."""
    if row.setting is None:
        return [getattr(row, name)] if name in ("model", "loss") else []
    defaults = config.sheet(row.model).settings()
    own = {**row.settings, "seed": row.seed}
    return [own.get(name, getattr(defaults, name))] if hasattr(defaults, name) else []


def by_data(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """The entries of each data and protocol."""
    for data, group in groupby(sorted(entries, key=lambda one: one.data), key=lambda one: one.data):
        yield data, list(group)


def value_of(entry: Entry, metric: str) -> dict[str, float]:
    """A metric of a score, text to image where it has directions. Raises ValueError: it has none.

    Returns:
      {"value", "low", "high"} of one run; {"value", "spread"}: mean and standard deviation over
      seeds.
    """
    found = [figure_of(row, metric) for row in entry.runs]
    if len(found) == 1:
        return found[0]
    values = [one["value"] for one in found]
    return {"value": float(np.mean(values)), "spread": float(np.std(values, ddof=1))}


def ranked(entries: Sequence[Entry], by: str) -> list[Entry]:
    """The best first."""
    sign = 1 if by in SMALL_IS_GOOD else -1
    return sorted(entries, key=lambda one: (sign * value_of(one, by)["value"], one.name))


def what_differs(entries: Sequence[Entry]) -> dict[str, str]:
    """{entry: its flags that not all have}."""
    told = {entry.name: dict(entry.first.settings) for entry in entries}
    for own in told.values():
        if own.get("first_phase"):  # which made that run
            own.pop("init_from", None)
    flags = {name for own in told.values() for name in own if name not in UNTOLD}
    apart = [n for n in sorted(flags) if len({repr(own.get(n)) for own in told.values()}) > 1]
    return {
        entry: " ".join(f"--{n}={own[n]}" for n in apart if n in own) for entry, own in told.items()
    }


def table_rows(entries: Sequence[Entry], by: str) -> list[dict[str, Any]]:
    """The table's rows: {title: cell}, figures as of `value_of`."""
    differ, found = what_differs(entries), []
    names = dict.fromkeys([*SHOWN, by])
    for entry in ranked(entries, by):
        logs, seeds = [row.log for row in entry.runs], [row.seed for row in entry.runs]
        one = {"run": entry.name, "system": entry.first.model, "loss": entry.first.loss}
        one |= {"seed": _by_seed(seeds)} | {name: value_of(entry, name) for name in names}
        one |= {"best epoch": _by_seed([log["best_epoch"] for log in logs])}
        one |= {"minutes": round(float(np.mean([log["minutes"] for log in logs])), 1)}
        found.append(one | {"differs": differ[entry.name]})
    return found


def _by_seed(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else " ".join(map(str, values))
