"""Learning curves of compared runs: their history.csv, side by side."""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data import record
from figures.several import Curve, draw_several
from grading.comparison.standings import Entry
from run.files import reason
from run.folder import Run


def draw_curves(entries: Sequence[Entry], by: str, path: Path) -> str:
    """Draws the validation of all runs by epoch; returns what the picture shows, in words.

    Args:
      by: the metric of compare.py; rsum where the histories have no such column.
      path: where the PNG goes.

    Raises:
      ValueError: there is no run among them, or a history is damaged.
    """
    runs = [(entry, row) for entry in entries for row in entry.runs if row.run.history.is_file()]
    if not runs:
        raise ValueError("--curves: none of these is a run with a history.csv")
    histories = [read_history(row.run) for _, row in runs]
    column = f"val_{by}" if all(f"val_{by}" in one for one in histories) else "val_rsum"
    curves, told = [], []
    for (entry, row), history in zip(runs, histories, strict=True):
        epochs, values, best = history["epoch"], history[column], row.log["best_epoch"]
        label, mark = f"{row.name}: no epoch was kept", None
        if best in epochs:
            mark = best, values[epochs.index(best)]
            label = f"{row.name}: {mark[1]:.4g} at epoch {best} of {epochs[-1]:g}"
        told.append(label)
        curves.append(Curve(entry.name, label, epochs, values, mark))
    sizes = sorted({len(record.read_record(row.run)["splits"]["validation"]["images"])
                    for _, row in runs})  # fmt: skip
    images = " or ".join(f"{size:,}" for size in sizes)
    metric = column.removeprefix("val_").replace("_", " ")
    title = f"validation {metric} by epoch, n = {images} images"
    draw_several(curves, title, path)
    return f"{title}. {'; '.join(told)}"


def picture_of(entries: Sequence[Entry], by: str) -> tuple[bytes, str] | None:
    """The PNG and its words, where there is a run with a history."""
    if not any(row.run.history.is_file() for entry in entries for row in entry.runs):
        return None
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "curves.png"
        told = draw_curves(entries, by, path)
        return path.read_bytes(), told


def read_history(run: Run) -> dict[str, list[float]]:
    """{column: values by epoch} of history.csv. Raises ValueError: it is missing or damaged."""
    path = run.require(run.history, "python train.py writes it")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = ("epoch", *(name for name in rows[0] if name.startswith("val_")))
        return {name: [float(row[name]) for row in rows] for name in columns}
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no history of a training ({reason(error)})") from None
