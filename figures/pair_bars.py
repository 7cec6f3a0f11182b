"""The picture of recalls by pair and by n: bars beside each other, one colour a model or method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from figures import charts, palette

ACROSS = 3  # pairs in a row of the picture


def interval_lengths(hits: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(2, n) how far below and above hits / images Wilson's 95 % interval reaches."""
    from scipy import stats

    spans = []
    for hit, count in zip(hits.tolist(), images.tolist(), strict=True):
        one = stats.binomtest(hit, count).proportion_ci(method="wilson")
        spans.append((hit / count - one.low, one.high - hit / count))
    return np.maximum(0, np.array(spans).reshape(-1, 2).T)


def draw_pair_bars(
    names: Sequence[str],
    found: Mapping[str, Any],
    path: Path,
    order: Sequence[str] = (),
    about: str = "",
) -> None:
    """One panel a pair, a group of bars with 95 % intervals for each exact n, a colour for each of
    `found`.

    Below each n stands its number of images; where there is none, no bar.

    Args:
        names: of the P pairs.
        found: title -> `pair_recall.Cells` of these pairs.
        path: where the PNG goes.
        order: titles by which colours go round, so that pictures of some of them agree; those of
            `found` if it is empty.
        about: a line above: the run.

    Reference: recall_comparison.png of the paper.
    """
    down = -(-len(names) // ACROSS)
    figure = charts.new_figure(10, 0.8 + 2.2 * down)
    charts.headline(figure, about)
    panels = np.ravel(figure.subplots(down, ACROSS, sharey=True, squeeze=False))
    width, handles = 0.8 / max(1, len(found)), []
    titles = list(order or found)
    colours = [palette.COLOURS[titles.index(title) % len(palette.COLOURS)] for title in found]
    for row, (name, panel) in enumerate(zip(names, panels, strict=False)):
        handles = []
        for place, (colour, cells) in enumerate(zip(colours, found.values(), strict=True)):
            images, hits = cells.images[row], cells.hits[row]
            n = np.flatnonzero(images)
            x = n + 1 + width * (place - (len(found) - 1) / 2)
            share = hits[n] / images[n]
            handles.append(panel.bar(x, share, width, color=colour))
            spans = interval_lengths(hits[n], images[n])
            panel.errorbar(x, share, spans, fmt="none", ecolor=palette.INK, elinewidth=0.8)
        charts.style(panel, name)
        images = next(iter(found.values())).images[row]
        panel.set_xticks(np.arange(1, len(images) + 1))
        panel.set_xticklabels([f"{n}\n({count:,})" for n, count in enumerate(images, 1)])
        panel.set_xlim(0.4, len(images) + 0.6)
        panel.set_ylim(0, 1)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.legend(
        handles, list(found), loc="outside upper center", ncols=3, frameon=False, fontsize=9
    )
    figure.supylabel("recall", fontsize=9, color=palette.INK)
    figure.supxlabel("captions of the image that say the pair (images)", fontsize=9)
    charts.save(figure, path)
