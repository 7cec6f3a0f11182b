"""Learning curves of several runs on one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from figures import charts, palette

STYLES = ("-", "--", ":", "-.")  # for each round of the colours


class Curve(NamedTuple):
    """A run's validation by epoch.

    Attributes:
      name: of its setting, shared by its seeds, which have one colour; label: for the legend.
      epochs, values: ascending epochs, and the metric after each.
      best: the epoch that was kept and its value, or None.
    """

    name: str
    label: str
    epochs: Sequence[float]
    values: Sequence[float]
    best: tuple[float, float] | None


def draw_several(curves: Sequence[Curve], title: str, path: Path) -> None:
    """Each run's curve, its best epoch marked; the legend stands below.

    Args:
      title: what is shown, and of how many images.
      path: where the PNG goes.
    """
    names = list(dict.fromkeys(curve.name for curve in curves))
    columns = 1 if len(curves) < 9 else 2
    figure = charts.new_figure(8, 4.2 + 0.22 * -(-len(curves) // columns))
    axes: Any = figure.subplots()
    for curve in curves:
        turn, place = divmod(names.index(curve.name), len(palette.COLOURS))
        look: Mapping[str, Any] = {"color": palette.COLOURS[place], "linewidth": 1.4}
        style = STYLES[turn % len(STYLES)]
        marker = "." if len(curve.epochs) < 3 else ""
        axes.plot(curve.epochs, curve.values, style, label=curve.label, marker=marker, **look)
        if curve.best:
            axes.scatter(*curve.best, s=30, zorder=3, color=look["color"])
    charts.style(axes, title, "epoch (dot: the one that was kept, by --select)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside lower left", frameon=False, fontsize=9, ncols=columns)
    charts.save(figure, path)
