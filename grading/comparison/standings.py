"""Many runs side by side: what each is, how it differs from the others, and its score.

rows, left = read_runs(folder.list_runs("exp"))
for data, group in by_data(rows):        # only runs of the same queries are ranked together
    print(table(group, "rsum"))
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import metrics
from grading.verify import read_score
from run.folder import Run
from run.log import read_log
from systems import config

SHOWN = ("mrr", *(f"recall@{cutoff}" for cutoff in metrics.CUTOFFS))  # text to image, beside rsum
SMALL_IS_GOOD = ("median_rank", "mean_rank")
UNTOLD = ("recipe", "data_dir", "cache_dir", "init_from", "seed", "data", "model", "loss")


class Standing(NamedTuple):
    """A graded run.

    Attributes:
      run: its folder; model, loss, seed: its settings'.
      settings: {flag: value} of those that are not the defaults.
      score: its score.json; log: of `run.log.read_log`.
    """

    run: Run
    model: str
    loss: str
    seed: int
    settings: dict[str, Any]
    score: dict[str, Any]
    log: dict[str, Any]

    @property
    def name(self) -> str:
        return self.run.folder.name

    @property
    def data(self) -> str:
        """What the score is of, as a line; runs of other lines are not comparable."""
        facts, found = self.score["protocol"], str(self.score["hashes"].get("data", ""))
        parts = [facts.get("data"), facts.get("split"), f"{facts.get('images')} images"]
        if facts.get("folds", 1) > 1:
            parts.append(f"{facts['folds']} folds")
        return f"{', '.join(map(str, parts))} (fingerprint {found[:12]})"


def read_standing(folder: Path) -> Standing:
    """A run with its score.

    Raises:
      ValueError: it is not graded, or a file is damaged.
    """
    run = Run(folder)
    settings, _ = config.load(run)
    score = read_score(run)
    told = config.differences(settings)
    return Standing(run, settings.model, settings.loss, settings.seed, told, score, read_log(run))


def read_runs(folders: Iterable[Path]) -> tuple[list[Standing], list[str]]:
    """The graded runs, and a line about each of the others; none stops the rest."""
    rows, left = [], []
    for folder in folders:
        try:
            rows.append(read_standing(folder))
        except ValueError as error:
            left.append(f"{Path(folder).name}: {error}")
    return rows, left


def keep(rows: Iterable[Standing], wanted: str | None) -> list[Standing]:
    """Those runs whose settings are as `wanted`: loss=simclr,seed=1.

    Raises:
      ValueError: it is no list of name=value, or no run has such a setting.
    """
    kept = list(rows)
    for pair in filter(None, (wanted or "").split(",")):
        name, found, value = pair.partition("=")
        if not found:
            raise ValueError(f"--filter {pair!r}: expected name=value, such as loss=simclr")
        known = [(row, setting_of(row, name)) for row in kept]
        kept = [row for row, own in known if str(own).lower() == value.lower()]
    return kept


def setting_of(row: Standing, name: str) -> Any:
    """A run's setting, the default too. Raises ValueError: there is no such flag."""
    defaults = config.sheet(row.model).settings()
    if not hasattr(defaults, name):
        raise ValueError(f"--filter {name}: no run has a setting of that name")
    return row.settings.get(name, getattr(defaults, name))


def by_data(rows: Iterable[Standing]) -> Iterator[tuple[str, list[Standing]]]:
    """The runs of each data and protocol."""
    for data, group in groupby(sorted(rows, key=lambda row: row.data), key=lambda row: row.data):
        yield data, list(group)


def value_of(row: Standing, metric: str) -> dict[str, float]:
    """A metric of a score, text to image where it has directions. Raises ValueError: it has none.

    Returns:
      {"value", "low", "high"}.
    """
    found = row.score.get("rsum") if metric == "rsum" else row.score["text_to_image"].get(metric)
    if not isinstance(found, dict):
        known = ", ".join(("rsum", *metrics.METRICS))
        raise ValueError(f"{row.name} has no {metric}: choose one of {known}")
    return found


def ranked(rows: Sequence[Standing], by: str) -> list[Standing]:
    """The best first."""
    sign = 1 if by in SMALL_IS_GOOD else -1
    return sorted(rows, key=lambda row: (sign * value_of(row, by)["value"], row.name))


def what_differs(rows: Sequence[Standing]) -> dict[str, str]:
    """{run: its flags that not all runs have}."""
    flags = {name for row in rows for name in row.settings if name not in UNTOLD}
    apart = [n for n in sorted(flags) if len({repr(row.settings.get(n)) for row in rows}) > 1]
    return {
        row.name: " ".join(f"--{n}={row.settings[n]}" for n in apart if n in row.settings)
        for row in rows
    }


def table_rows(rows: Sequence[Standing], by: str) -> list[dict[str, Any]]:
    """The table's rows: {title: cell}, figures as {"value", "low", "high"}."""
    differ, found = what_differs(rows), []
    names = ["rsum", *SHOWN, *([] if by in ("rsum", *SHOWN) else [by])]
    for row in ranked(rows, by):
        one = {"run": row.name, "system": row.model, "loss": row.loss, "seed": row.seed}
        one |= {name: value_of(row, name) for name in names}
        one |= {"best epoch": row.log["best_epoch"], "minutes": round(row.log["minutes"], 1)}
        found.append(one | {"differs": differ[row.name]})
    return found


def cell_text(name: str, cell: Any) -> str:
    """A cell as text; a figure with its interval: ranks and percent to a tenth."""
    if isinstance(cell, dict):
        digits = 3 if name.startswith(("mrr", "map", "ndcg")) else 1
        return "{value:.{d}f} ({low:.{d}f} to {high:.{d}f})".format(d=digits, **cell)
    return "" if cell is None else str(cell)


def table(cells: Sequence[dict[str, Any]], markdown: bool = False) -> str:
    """Rows of cells as a table in Markdown, or aligned for a terminal."""
    lines = [list(cells[0]), *([cell_text(*one) for one in row.items()] for row in cells)]
    if markdown:
        head, *rest = [f"| {' | '.join(line)} |" for line in lines]
        return "\n".join([head, "|---" * len(lines[0]) + "|", *rest])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
