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


def draw_run_bars(
    names: Sequence[str], found: Mapping[str, Mapping[str, Any]], kinds: Sequence[str], path: Path
) -> None:
    """One panel a pair, a line for each run, on it a bar with a 95 % interval for each kind.

    A bar is the recall over all images that say the pair, whatever their n.

    Args:
        names: of the P pairs.
        found: title of a run -> kind of recall -> `pair_recall.Cells` of these pairs.
        kinds: of recall, each of one colour; a run that lacks one has no such bar.
        path: where the PNG goes.

    Reference: recall_comparison.png of the paper, of ranking, writing, and captioning alone.
    """
    down, thick = -(-len(names) // ACROSS), 0.8 / max(1, len(kinds))
    figure = charts.new_figure(10, 0.9 + down * (0.5 + 0.3 * len(found)))
    panels = np.ravel(figure.subplots(down, ACROSS, sharey=True, squeeze=False))
    handles: dict[str, Any] = {}
    for row, (name, panel) in enumerate(zip(names, panels, strict=False)):
        for place, kind in enumerate(kinds):
            runs = [r for r, cells in enumerate(found.values()) if kind in cells]
            cells = [own[kind] for own in found.values() if kind in own]
            hits = np.array([one.hits[row].sum() for one in cells], int)
            images = np.array([one.images[row].sum() for one in cells], int)
            kept = np.flatnonzero(images)
            y = np.array(runs)[kept] + thick * (place - (len(kinds) - 1) / 2)
            share, colour = hits[kept] / images[kept], palette.COLOURS[place % len(palette.COLOURS)]
            handles[kind] = panel.barh(y, share, thick, color=colour)
            spans = interval_lengths(hits[kept], images[kept])
            panel.errorbar(share, y, None, spans, fmt="none", ecolor=palette.INK, elinewidth=0.8)
        charts.style(panel, name)
        panel.set_yticks(range(len(found)), list(found))
        panel.set_ylim(len(found) - 0.4, -0.6)
        panel.set_xlim(0, 1)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.legend(
        handles.values(), list(handles), loc="outside upper center", ncols=3, frameon=False,
        fontsize=9,
    )  # fmt: skip
    figure.supxlabel("recall over the images whose captions say the pair", fontsize=9)
    charts.save(figure, path)
