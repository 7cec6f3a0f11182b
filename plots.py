"""Every picture that the scripts make; the only importer of matplotlib.

Figures are drawn without pyplot and without a screen, and written atomically as PNG.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import experiment

INK, SOFT = "#1f2933", "#9aa5b1"
COLOURS = ("#2667ff", "#d1495b", "#2a9d8f", "#e9a23b", "#7b5ea7", "#5c6b73")
BACKGROUND = "white"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches."""
    figure = Figure(figsize=(width, height), facecolor=BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Writes a figure as PNG, atomically; the same figure gives the same bytes."""
    with experiment.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata={"Software": None})


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


def learning_curves(
    rows: Sequence[Mapping[str, float]], best_epoch: int, key: str, path: Path
) -> None:
    """Training loss by term above, validation below; the best epoch is marked.

    Args:
      rows: one per epoch: "epoch", "loss", its terms, "val_mrr", "val_rsum", ...
      best_epoch: 1-based.
      key: the column that chose it.
      path: where the PNG goes.
    """
    epochs = [row["epoch"] for row in rows]
    figure = new_figure(7, 6)
    above, below = figure.subplots(2, 1, sharex=True)
    terms = [n for n in rows[0] if not n.startswith("val_") and n not in ("epoch", "learning_rate")]
    for colour, name in zip(COLOURS, terms, strict=False):
        values = [row[name] for row in rows]
        above.plot(epochs, values, color=colour, label=name, marker="." if len(rows) < 3 else "")
    if len(terms) > 1:
        above.legend(frameon=False, fontsize=9)
    style(above, "training loss")
    above.set_ylim(bottom=0)
    shown = key if key in rows[0] and key.startswith("val_") else "val_mrr"
    values = [row[shown] for row in rows]
    below.plot(epochs, values, color=COLOURS[2], marker="." if len(rows) < 3 else "")
    below.scatter([best_epoch], [values[best_epoch - 1]], color=COLOURS[1], zorder=3, s=36)
    below.annotate(
        f"best: {values[best_epoch - 1]:.4g} (epoch {best_epoch})",
        (best_epoch, values[best_epoch - 1]),
        xytext=(0, -16),
        textcoords="offset points",
        ha="right" if best_epoch > len(rows) / 2 else "left",
        fontsize=9,
        color=COLOURS[1],
    )
    label = shown.removeprefix("val_").replace("_", " ")
    style(below, f"validation {label}, text to image" if "rsum" not in label else "validation rsum")
    below.set_xlabel("epoch", fontsize=9, color=INK)
    below.set_ylim(bottom=0)
    below.xaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


def wrap(text: str, width: int, lines: int) -> str:
    """At most `lines` lines of about `width` characters, an ellipsis where text is left out.

    Dollar signs would start matplotlib's formulas, so they are escaped.
    """
    parts = textwrap.wrap(text, width) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 1] + "…"]
    return "\n".join(parts).replace("$", r"\$")
