"""How often pairs of words that an image's captions say are found: by ranking, and by writing.

    cells = count(ranking_hits(image, text, said, counts), counts)
    cells = count(writing_hits(written, chosen), counts)      # written: lists of captions by image
    print(markdown("Ranking", names, cells))

The images of a pair are those with a caption that says it; bin n holds those of which exactly n
captions do. Ranking: all captions of all images are ranked for an image, and it is a hit where any
of the best five says the pair, whosever caption it is. Writing: a hit where any of the captions
that a model wrote for the image says it.

Shape letters: N images, M captions, P pairs, L largest number of captions of an image.

Reference: the paper "Bottom-up ranking generation" and its authors' code, eval_ranking.py and
  metrics.py. Differs from the paper: its ranking table says n >= k, but holds exact n.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.pairs import finding
from figures.pair_bars import draw_pair_bars, draw_run_bars
from gallery import nearest
from run.files import read_json, write_json, write_text

TOP = 5  # captions that may hold the pair
BLOCK_ROWS = 1 << 15  # captions compared at once


class Cells(NamedTuple):
    """Hits and images of each pair and each exact n.

    Attributes:
        hits: (P, L) int64; column n - 1 is bin n.
        images: (P, L) int64.
    """

    hits: np.ndarray
    images: np.ndarray


def top_captions(
    image: np.ndarray, text: np.ndarray, k: int = TOP, similarity: str = "cosine"
) -> np.ndarray:
    """(N, k) int64, the captions of the whole gallery nearest to each image, nearest first.

    Args:
        image: (N, D) unit rows; text: (M, D) unit rows; either may be memory-mapped.
        k: how many; more than M gives all.
        similarity: a name of `similarity.SIMILARITIES`.
    """
    found = nearest.top_k(
        image, text, k, block_rows=BLOCK_ROWS, similarity=similarity, among="captions"
    )
    return found[1]


def ranking_hits(
    image: np.ndarray,
    text: np.ndarray,
    said: np.ndarray,
    counts: np.ndarray,
    similarity: str = "cosine",
) -> np.ndarray:
    """(N, P) bool: any of the five captions nearest to the image says the pair.

    Args:
        image: (N, D), text: (M, D) unit rows.
        said: (M, P) bool, which captions say which pairs.
        counts: (N, P), how many of an image's captions do; images of none are not ranked.
        similarity: a name of `similarity.SIMILARITIES`.
    """
    hits = np.zeros(counts.shape, bool)
    asked = np.flatnonzero(np.asarray(counts).any(axis=1))
    if len(asked):
        hits[asked] = said[top_captions(image[asked], text, TOP, similarity)].any(axis=1)
    return hits


def writing_hits(
    written: Sequence[Sequence[str]], chosen: Sequence[finding.Pair], finder: str = "rules"
) -> np.ndarray:
    """(N, P) bool: any of the captions that a model wrote for an image says the pair.

    Args:
        written: N lists, the captions of each image, best first: one of a beam of 1, five of 5.
        chosen: P pairs; finder: as of `pairs.contained`.
    """
    sizes = [len(own) for own in written]
    said = finding.contained([text for own in written for text in own], chosen, finder)
    hits = np.zeros((len(written), len(chosen)), bool)
    np.logical_or.at(hits, np.repeat(np.arange(len(written)), sizes), said)
    return hits


def chance_of_pairs(said: np.ndarray, k: int = TOP) -> np.ndarray:
    """(P,) chance that any of k captions, drawn at random from the gallery, says the pair.

    1 - C(M - m, k) / C(M, k), where m of M captions say it.

    Args:
        said: (M, P) bool.
    """
    k = min(k, len(said))
    silent = len(said) - said.sum(axis=0)  # (P,)
    left = np.arange(k)
    return 1 - np.prod(np.maximum(silent[:, None] - left, 0) / (len(said) - left), axis=1)


def count(hits: np.ndarray, counts: np.ndarray, most: int | None = None) -> Cells:
    """Hits and images in the bins of exact n.

    Args:
        hits: (N, P) bool.
        counts: (N, P) integers, how many captions of an image say the pair.
        most: L; by default the largest of `counts`, at least 5.
    """
    counts = np.asarray(counts)
    if hits.shape != counts.shape:
        raise ValueError(f"hits have shape {hits.shape}, counts {counts.shape}: expected the same")
    most = most or max(5, int(counts.max(initial=0)))
    bins = counts[:, :, None] == np.arange(1, most + 1)  # (N, P, L)
    return Cells((bins & hits[:, :, None]).sum(axis=0), bins.sum(axis=0))


def cumulative(cells: Cells) -> Cells:
    """Bins of n or more captions, from those of exact n."""
    return Cells(*(np.cumsum(part[:, ::-1], axis=1)[:, ::-1] for part in cells))


def recalls(cells: Cells) -> np.ndarray:
    """(P, L) shares, NaN where a bin is empty."""
    return np.divide(
        cells.hits, cells.images, out=np.full(cells.hits.shape, np.nan), where=cells.images > 0
    )


def macro(cells: Cells, least: int = 1) -> float:
    """The mean over pairs of all their hits over all their images, of bins n >= least.

    Pairs without such images are left out; NaN where there is none.

    Reference: the authors' code, its later version (min_importance).
    """
    hits, images = (part[:, least - 1 :].sum(axis=1) for part in cells)
    return _mean(hits[images > 0] / images[images > 0])


def mean_of_cells(cells: Cells) -> float:
    """The mean of all cells that are not empty: small bins weigh as much as large ones."""
    shares = recalls(cells)
    return _mean(shares[~np.isnan(shares)])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


# Tables.


def markdown(title: str, names: Sequence[str], cells: Cells, more: bool = False) -> str:
    """A table laid out like the paper's, with the number of images in each cell.

    Args:
        title: what was measured.
        names: of the P pairs; cells: of exact n.
        more: bins of n or more, in place of exact n.
    """
    shown = cumulative(cells) if more else cells
    shares, columns = recalls(shown), range(cells.hits.shape[1])
    sign = ">=" if more else "="
    lines = [f"{title}:", ""]
    lines += ["Pair | " + " | ".join(f"Recall (n{sign}{n + 1})" for n in columns)]
    lines += [" | ".join(["---"] * (len(columns) + 1))]
    for row, name in enumerate(names):
        told = [
            f"{shares[row, n]:.2f} ({shown.images[row, n]:,})" if shown.images[row, n] else "N/A"
            for n in columns
        ]
        lines.append(f"{name} | " + " | ".join(told))
    lines += ["", f"In parentheses: images with {'n or more' if more else 'exactly n'} captions "
              "that say the pair."]  # fmt: skip
    others = [f"{macro(cells, n):.3f} for n >= {n}" for n in (2, 3) if cells.images[:, n - 1].any()]
    lines += [f"Macro average over pairs, all n pooled: {_told(macro(cells))}"
              + "".join(f"; {other}" for other in others)
              + f". Mean of the cells: {_told(mean_of_cells(cells))}."]  # fmt: skip
    return "\n".join(lines)


def _told(value: float) -> str:
    return "N/A" if np.isnan(value) else f"{value:.3f}"


def as_json(cells: Cells) -> dict[str, Any]:
    """Cells and averages for a JSON file; None stands for what is not defined."""
    averages = {f"n>={n}": _or_none(macro(cells, n)) for n in range(1, cells.hits.shape[1] + 1)}
    return {
        "hits": cells.hits.tolist(),
        "images": cells.images.tolist(),
        "macro": averages,
        "mean_of_cells": _or_none(mean_of_cells(cells)),
    }


def from_json(stored: Mapping[str, Any]) -> Cells:
    """The cells that `as_json` wrote."""
    return Cells(*(np.array(stored[name], np.int64) for name in Cells._fields))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


# A run.


class Question(NamedTuple):
    """Which pairs of a split are looked for.

    Attributes:
        chosen: P pairs.
        said: (M, P) bool, which captions of the split say which.
        counts: (N, P) int64, how many captions of an image do.
        finder: what finds pairs in captions.
    """

    chosen: list[finding.Pair]
    said: np.ndarray
    counts: np.ndarray
    finder: str

    @property
    def names(self) -> list[str]:
        return [pair.name for pair in self.chosen]


def ask(split: Any, settings: Any, names: str | None = None) -> Question:
    """The pairs that a run is asked for: those named, or those that it was trained without.

    Args:
        split: a `datasets.Split`.
        settings: of the run: data, heldout, heldout_file, pair_finder.
        names: as of `pairs.parse`, or None.

    Raises:
        ValueError: as `pairs.gather`; or nothing was named and nothing held out.
    """
    if not names and not settings.heldout and not settings.heldout_file:
        raise ValueError("no pair was held out of this run: name some, --pairs brown_dog,sit_cat")
    files = None if names else settings.heldout_file
    sought = finding.gather_pairs(names or settings.heldout, files, settings.data)
    chosen = [one.pair for one in sought]
    said = finding.contained(split.captions, chosen, settings.pair_finder)
    return Question(chosen, said, finding.count_images(split, said, sought), settings.pair_finder)


def count_ranked(question: Question, image: np.ndarray, text: np.ndarray, similarity: str) -> Cells:
    """Ranking recall@5 over the split's whole gallery of captions."""
    hits = ranking_hits(image, text, question.said, question.counts, similarity)
    return count(hits, question.counts)


def count_written(question: Question, written: Sequence[Sequence[str]]) -> Cells:
    """Recall of written captions: N lists, in the order of the split's images."""
    if len(written) != len(question.counts):
        raise ValueError(
            f"captions were written for {len(written)} images, the split has {len(question.counts)}"
        )
    hits = writing_hits(written, question.chosen, question.finder)
    return count(hits, question.counts)


def report_pairs(
    folder: str | Path,
    question: Question,
    found: Mapping[str, Cells],
    facts: Mapping[str, Any],
    more: bool = False,
) -> str:
    """Writes `pairs.json`, `pairs.md` and `pairs.png` into a run's folder.

    Args:
        folder: of the run.
        question: the pairs.
        found: title ("ranking recall@5", "written captions, beam 5", ...) -> cells of exact n.
        facts: what was measured: data, split, ...
        more: tables of n or more.

    Returns:
        The tables.
    """
    folder = Path(folder)
    tables = "\n\n".join(
        markdown(title[:1].upper() + title[1:], question.names, cells, more)
        for title, cells in found.items()
    )
    floor = chance_of_pairs(question.said)
    tables += f"\n\nFive captions drawn at random: {_told(_mean(floor))} over all pairs."
    score = {
        "protocol": {
            **facts,
            "pairs": question.names,
            "finder": question.finder if question.chosen[0].nouns else "grammar",
            "images": len(question.counts),
            "gallery": len(question.said),
            "bins": "exactly n captions of the image say the pair, n = 1, 2, ...",
            "captions_that_say": question.said.sum(axis=0).tolist(),
            "chance_of_five_captions": floor.tolist(),
        },
        **{title: as_json(cells) for title, cells in found.items()},
    }
    write_json(folder / "pairs.json", score)
    write_text(folder / "pairs.md", tables + "\n")
    draw_pair_bars(question.names, found, folder / "pairs.png", about=folder.name)
    return tables


def grade_pairs(
    encoded: Any, question: Question, written: Mapping[str, list[list[str]]], place: Any, more: bool
) -> None:
    """Recall of pairs of words: pairs.json, pairs.md, pairs.png, a table.

    Args:
      encoded: of `encoding.encode_finished`; place: the folder that is written to, a `Run`.
      written: {title: N lists} of captions that the model wrote for the images.
      more: see `report_pairs`.
    """
    settings, rows = encoded.finished.settings, (encoded.image, encoded.text)
    found = {"ranking recall@5": count_ranked(question, *rows, settings.similarity)}
    found |= {title: count_written(question, lists) for title, lists in written.items()}
    facts = {"data": settings.data, "split": encoded.split.name, "model": settings.model}
    facts |= {"heldout": settings.heldout, "heldout_file": settings.heldout_file}
    print(report_pairs(place.folder, question, found, facts, more))
    print("written: pairs.md, pairs.json, pairs.png\n")


def compare(
    reports: Mapping[str, str | Path], what: str, path: str | Path, order: Sequence[str] = ()
) -> None:
    """Draws the bars of several runs beside each other.

    Args:
        reports: title of a run -> its `pairs.json`.
        what: the title of the cells in all of them, such as "written captions, beam 5".
        path: where the PNG goes.
        order: titles that decide the colours, as of `draw_pair_bars`.

    Raises:
        ValueError: a report lacks them, or is about other pairs.
    """
    found, names = read_reports(reports)
    for title, cells in found.items():
        if what not in cells:
            raise ValueError(f"{reports[title]} has no {what!r}; it holds {', '.join(cells)}")
    draw_pair_bars(names, {title: own[what] for title, own in found.items()}, Path(path), order)


def compare_runs(reports: Mapping[str, str | Path], whats: Sequence[str], path: str | Path) -> None:
    """Draws recalls of several kinds of several runs into one picture, a panel for each pair.

    Args:
        reports: title of a run -> its `pairs.json`; one that lacks a kind has no bar of it.
        whats: titles of the cells, such as "ranking recall@5".
        path: where the PNG goes.

    Raises:
        ValueError: a report is about other pairs than the others.
    """
    found, names = read_reports(reports)
    draw_run_bars(names, found, whats, Path(path))


def read_reports(
    reports: Mapping[str, str | Path],
) -> tuple[dict[str, dict[str, Cells]], list[str]]:
    """{title of a run: {title of cells: `Cells`}} of `pairs.json` files, and the pairs of all.

    Raises:
        ValueError: a report is about other pairs than the ones before it.
    """
    found, names = {}, None
    for title, place in reports.items():
        stored = read_json(place)
        own = stored.pop("protocol")["pairs"]
        if names not in (None, own):
            raise ValueError(f"{place} is about other pairs than the reports before it")
        names, found[title] = own, {what: from_json(cells) for what, cells in stored.items()}
    return found, names or []
