"""Charts of a run: its learning curves, its errors, recall at every K.

Figures are drawn without pyplot and without a screen, and written atomically as PNG. Who has
something to draw does it with `new_figure`, `style` and `save`. Only this room imports matplotlib.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures.palette import BACKGROUND, COLOURS, DPI, INK, SIDES, SOFT
from run import files

LEARNED = ("temperature", "margin", "bias")  # columns of the history on scales of their own
ERRORS = {"visual_error": "image path", "textual_error": "text path"}  # columns of the history
CUTS = (1, 5, 10)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches."""
    figure = Figure(figsize=(width, height), facecolor=BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def headline(figure: Figure, about: str) -> None:
    """A line above all panels: what is drawn."""
    if about:
        figure.suptitle(about, x=0.01, ha="left", fontsize=9, color=SOFT)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically; the same figure gives the same bytes."""
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})


def style(axes, title: str = "", x: str = "", y: str = "") -> None:
    """The house's look: no box, light grid, left-aligned title."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(SOFT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)


# Charts.


def learning_curves(
    rows: Sequence[Mapping[str, float]], best_epoch: int, key: str, path: Path, about: str = ""
) -> None:
    """Training loss by term above, validation below; the best epoch is marked.

    Args:
      rows: one per epoch, ascending: "epoch", "loss", its terms, "val_mrr", "val_rsum", ...
      best_epoch: its "epoch".
      key: the column that chose it.
      path: where the PNG goes.
      about: a line above: the run, its loss, what it is validated on.
    """
    epochs = [row["epoch"] for row in rows]
    figure = new_figure(7, 6)
    headline(figure, about)
    above, below = figure.subplots(2, 1, sharex=True)
    last = rows[-1]  # the first may be a second phase's start: epoch 0, without a loss
    left_out = ("epoch", "learning_rate", *ERRORS, *LEARNED)
    terms = [n for n in last if not n.startswith("val_") and n not in left_out]
    for colour, name in zip(COLOURS, terms, strict=False):
        values = [row.get(name, np.nan) for row in rows]
        above.plot(epochs, values, color=colour, label=name, marker="." if len(rows) < 3 else "")
    if len(terms) > 1:
        above.legend(frameon=False, fontsize=9)
    style(above, "training loss")
    above.margins(y=0.12)
    if all(row.get(name, 0) >= 0 for row in rows for name in terms):
        above.set_ylim(bottom=0)
    shown = key if key in last and key.startswith("val_") else "val_mrr"
    values = [row[shown] for row in rows]
    best = values[epochs.index(best_epoch)]
    below.plot(epochs, values, color=COLOURS[2], marker="." if len(rows) < 3 else "")
    below.scatter([best_epoch], [best], color=INK, zorder=3, s=36)
    below.annotate(
        f"best: {best:.4g} (epoch {best_epoch})",
        (best_epoch, best),
        xytext=(0, 7 if best == max(values) else -16),  # off the curve
        textcoords="offset points",
        ha="right" if best_epoch > len(rows) / 2 else "left",
        fontsize=9,
        color=INK,
    )
    label = shown.removeprefix("val_").replace("_", " ")
    both = "rsum" in label or label == "bleu4"  # no direction of its own, or named with it
    style(below, f"validation {label}" if both else f"validation {label}, text to image", "epoch")
    below.set_ylim(0, 1.12 * max(values) or None)  # room for the mark where all are nearly equal
    below.xaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


def error_curves(rows: Sequence[Mapping[str, float]], path: Path, about: str = "") -> None:
    """Errors of both paths as classifiers, of images or of what is said of them, by epoch.

    Args:
      rows: as `learning_curves`; with "visual_error", "textual_error" in [0, 1] where there are.
      path: where the PNG goes; about: a line above.

    Reference: Zheng et al. 2017, Fig. 8.
    """
    shown = [row for row in rows if any(name in row for name in ERRORS)]
    figure = new_figure(7, 4)
    headline(figure, about)
    axes: Any = figure.subplots()
    epochs = [row["epoch"] for row in shown]
    for colour, (name, label) in zip(COLOURS, ERRORS.items(), strict=False):
        values = [row.get(name, np.nan) for row in shown]
        if not np.isnan(values).all():
            marker = "." if len(shown) < 3 else ""
            last = f"{label}: {100 * values[-1]:.1f} % in the end"
            axes.plot(epochs, values, color=colour, label=last, marker=marker)
    style(axes, "training classification error of both paths", "epoch")
    axes.set_ylim(0, 1.02)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=9)
    save(figure, path)


def recall_curves(found: Sequence[Mapping], score: Mapping, path: Path, about: str = "") -> None:
    """Recall at every K up to the gallery's size, both directions, beside chance.

    Args:
      found: the folds of `score.grade_embeddings`.
      score: the dict of score.json.
      path: where the PNG goes; about: a line above.
    """
    figure = new_figure(7, 4.4)
    headline(figure, about)
    axes: Any = figure.subplots()
    titles = {"text_to_image": "text to image", "image_to_text": "image to text"}
    kinds = {"chance": "x", "oracle": "_"}
    # Two directions side by side, or one would lie upon the other.
    for colour, shift, (direction, title) in zip(SIDES, (0.93, 1.07), titles.items(), strict=True):
        ranks = np.sort(np.concatenate([fold[direction].ranks for fold in found]))
        size = found[0][direction].gallery_size
        k = np.unique(np.geomspace(1, size, 200).round().astype(int))
        recall = 100 * np.searchsorted(ranks, k, side="right") / len(ranks)
        axes.plot(k, recall, color=colour, label=f"{title} (of {size:,})")
        suffix = "" if direction == "text_to_image" else "_image_to_text"
        for name, marker in kinds.items():
            if values := score.get(f"{name}{suffix}"):
                cuts = [cut for cut in CUTS if cut <= size]
                points = [values[f"recall@{cut}"]["value"] for cut in cuts]
                places = [shift * cut for cut in cuts]
                axes.scatter(places, points, color=colour, marker=marker, s=50, zorder=3)
    for name, marker in kinds.items():
        if name in score:
            axes.scatter([], [], color=SOFT, marker=marker, s=50, label=f"{name}, at 1, 5 and 10")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda k, _: f"{k:,.0f}")
    axes.set_ylim(0, 103)
    style(axes, "recall at K, in percent: right answer among the first K", "K", "")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    save(figure, path)
