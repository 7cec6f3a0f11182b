"""Every picture that the scripts make; the only importer of matplotlib.

Figures are drawn without pyplot and without a screen, and written atomically as PNG.
"""

import functools
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import LoadFlags
from PIL import Image, ImageDraw

from run import files, heat

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
    with files.atomic_path(path) as temporary:
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


LEARNED = ("temperature", "margin", "bias")  # columns of the history on scales of their own


def learning_curves(
    rows: Sequence[Mapping[str, float]], best_epoch: int, key: str, path: Path
) -> None:
    """Training loss by term above, validation below; the best epoch is marked.

    Args:
      rows: one per epoch, ascending: "epoch", "loss", its terms, "val_mrr", "val_rsum", ...
      best_epoch: its "epoch".
      key: the column that chose it.
      path: where the PNG goes.
    """
    epochs = [row["epoch"] for row in rows]
    figure = new_figure(7, 6)
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
    below.scatter([best_epoch], [best], color=COLOURS[1], zorder=3, s=36)
    below.annotate(
        f"best: {best:.4g} (epoch {best_epoch})",
        (best_epoch, best),
        xytext=(0, 7 if best == max(values) else -16),  # off the curve
        textcoords="offset points",
        ha="right" if best_epoch > len(rows) / 2 else "left",
        fontsize=9,
        color=COLOURS[1],
    )
    below.margins(y=0.15)
    label = shown.removeprefix("val_").replace("_", " ")
    both = "rsum" in label or label == "bleu4"  # no direction of its own, or named with it
    style(below, f"validation {label}" if both else f"validation {label}, text to image")
    below.set_xlabel("epoch", fontsize=9, color=INK)
    below.margins(y=0.12)
    below.set_ylim(bottom=0)
    below.xaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


ERRORS = {"visual_error": "image path", "textual_error": "text path"}  # columns of the history


def error_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Errors of both paths as classifiers, of images or of what is said of them, by epoch.

    Args:
      rows: as `learning_curves`; with "visual_error", "textual_error" in [0, 1] where there are.
      path: where the PNG goes.

    Reference: Zheng et al. 2017, Fig. 8.
    """
    shown = [row for row in rows if any(name in row for name in ERRORS)]
    figure = new_figure(7, 4)
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


def recall_curves(found: Sequence[Mapping], score: Mapping, path: Path) -> None:
    """Recall at every K up to the gallery's size, both directions, beside chance.

    Args:
      found: the folds of `grading.grade`.
      score: the dict of score.json.
      path: where the PNG goes.
    """
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    titles = {"text_to_image": "text to image", "image_to_text": "image to text"}
    for colour, (direction, title) in zip(COLOURS, titles.items(), strict=False):
        ranks = np.sort(np.concatenate([fold[direction].ranks for fold in found]))
        size = found[0][direction].gallery_size
        k = np.unique(np.geomspace(1, size, 200).round().astype(int))
        recall = 100 * np.searchsorted(ranks, k, side="right") / len(ranks)
        axes.plot(k, recall, color=colour, label=f"{title} (of {size:,})")
        suffix = "" if direction == "text_to_image" else "_image_to_text"
        for name, marker in (("chance", "x"), ("oracle", "_")):
            values = score.get(f"{name}{suffix}")
            if values:
                points = [values[f"recall@{cut}"]["value"] for cut in (1, 5, 10)]
                label = name if direction == "image_to_text" else None
                axes.scatter((1, 5, 10), points, color=colour, marker=marker, s=50, label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda k, _: f"{k:,.0f}")
    axes.set_ylim(0, 101)
    style(axes, "recall at K, in percent: right answer among the first K", "K", "")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    save(figure, path)


def wrap(text: str, width: int, lines: int) -> str:
    """At most `lines` lines of about `width` characters, an ellipsis where text is left out.

    Dollar signs would start matplotlib's formulas, so they are escaped.
    """
    parts = textwrap.wrap(text, width) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 1] + "…"]
    return "\n".join(parts).replace("$", r"\$")


# The answers of retrieve.py. Laid out in pixels from the top left: pictures are pasted into one
# canvas as they are, so that nothing is resampled twice, and the text is drawn over it.

PAGE_DPI = 110
EDGE, GAP, RADIUS = 28, 20, 8  # pixels: round the page, between tiles, of corners
PANEL, HAIRLINE = "#f4f6f8", "#e4e7eb"
MOST_ANSWERS = 50  # on one page
MOST_BARS = 40


class Card(NamedTuple):
    """One answer: its score, its caption, and its picture (None where there is none)."""

    score: float
    caption: str
    picture: Image.Image | None = None
    own: bool = False  # the caption was written for the picture that was asked with


def picture_grid(
    title: str, note: str, cards: Sequence[Card], path: Path, ranked: bool = True
) -> None:
    """Pictures that answer a sentence, best first, with rank, score and caption under each.

    Args:
      title: the sentence; note: a line below it.
      cards: at least one, at most `MOST_ANSWERS` are drawn.
      path: where the PNG goes.
      ranked: the first is the best, and stands out.
    """
    cards = cards[:MOST_ANSWERS]
    side = {1: 448, 2: 256, 3: 256}.get(len(cards), 192)
    num_rows = -(-len(cards) // 5)
    columns = -(-len(cards) // num_rows)
    width = 2 * EDGE + columns * (side + GAP) - GAP
    texts, top = heading(title, note, width)
    captions = [fit(card.caption, side, 8, 3) if card.picture else [] for card in cards]
    pitch = side + 48 + 15 * max(map(len, captions))
    canvas = Image.new("RGB", (width, top + num_rows * pitch + EDGE - GAP), BACKGROUND)
    for place, (card, caption) in enumerate(zip(cards, captions, strict=True)):
        x, y = EDGE + place % columns * (side + GAP), top + place // columns * pitch
        best = ranked and place == 0
        if best:
            panel(canvas, (x - 5, y - 5), side + 10, COLOURS[0], RADIUS + 5)
            panel(canvas, (x - 2, y - 2), side + 4, BACKGROUND, RADIUS + 2)
        tile(canvas, (x, y), side, card.picture)
        ink = COLOURS[0] if best else INK
        below = y + side + 21
        texts += text_lines(x, below, [str(place + 1)], 9, color=ink, weight="bold")
        texts += text_lines(x + side, below, [f"{card.score:.3f}"], 8, color=SOFT, ha="right")
        texts += text_lines(x, below + 18, caption, 8)
        if card.picture is None:
            texts += centred(x, y, side, card.caption)
    write_page(canvas, texts, path)


def caption_list(
    title: str, note: str, picture: Image.Image | None, cards: Sequence[Card], path: Path
) -> None:
    """Captions that answer a picture, best first; those written for it stand out.

    Args:
      title: the picture's name; note: a line below it.
      picture: what was asked with, or None where it cannot be shown.
      cards: at least one, at most `MOST_ANSWERS` are drawn.
      path: where the PNG goes.
    """
    side, column = 288, 560
    width = 2 * EDGE + side + 100 + column
    texts, top = heading(title, note, width)
    x, y = EDGE + side + 100, top + 15
    for place, card in enumerate(cards[:MOST_ANSWERS]):
        ink = COLOURS[0] if card.own else INK
        caption = fit(card.caption, column, 10, 3)
        texts += text_lines(x - 62, y, [str(place + 1)], 10, color=ink, weight="bold", ha="right")
        texts += text_lines(x - 12, y, [f"{card.score:.3f}"], 9, color=SOFT, ha="right")
        texts += text_lines(x, y, caption, 10, color=ink)
        y += 12 + 19 * max(1, len(caption))
    canvas = Image.new("RGB", (width, max(y - 27, top + side) + EDGE), BACKGROUND)
    tile(canvas, (EDGE, top), side, picture)
    if picture is None:
        texts += centred(EDGE, top, side, "")
    write_page(canvas, texts, path)


def explanation(
    title: str,
    note: str,
    picture: Image.Image | None,
    places: np.ndarray | None,
    words: Sequence[tuple[str, float | None, str]],
    path: Path,
) -> None:
    """Why a picture and a sentence match: the picture, its heat map, and a bar for each word.

    Args:
      title: the sentence; note: a line below it.
      picture: None where it cannot be shown.
      places: (G, G) change of the score with a patch at each place, half over the next; or None.
      words: of the sentence in order, each with the change of the score without it, or None and
        why. Of more than `MOST_BARS` the weakest are left out.
      path: where the PNG goes.
    """
    side, bars = 288, 480
    num_tiles = 1 if picture is None or places is None else 2
    left = EDGE + num_tiles * (side + GAP) + GAP
    width = left + bars + EDGE
    texts, top = heading(title, note, width)
    strongest = sorted(range(len(words)), key=lambda i: -abs(words[i][1] or 0))[:MOST_BARS]
    shown = [words[i] for i in sorted(strongest)]
    told = f", {len(shown)} strongest of {len(words)}" if len(shown) < len(words) else ""
    told = [f"score without the word, minus with it{told}", "red: the word supports the match"]
    texts += text_lines(left, top + 10, told, 8, color=SOFT)
    height = max(top + side + 70 * (num_tiles - 1), top + 44 + 22 * len(shown))
    canvas = Image.new("RGB", (width, height + EDGE), BACKGROUND)
    tile(canvas, (EDGE, top), side, picture)
    if picture is None:
        texts += centred(EDGE, top, side, "")
    elif places is not None:
        values, x, y = heat.cells(places), EDGE + side + GAP, top + side + 14
        tile(canvas, (x, top), side, heat.overlay(picture, values, side))
        canvas.paste(heat.scale_bar(side, 12), (x, y), _round_mask(side, 12, 5))
        largest = abs(values).max()
        for share, ha in ((0, "left"), (0.5, "center"), (1, "right")):
            number = f"{(2 * share - 1) * largest:+.3f}" if share != 0.5 else "0"
            texts += text_lines(x + share * side, y + 28, [number], 8, color=SOFT, ha=ha)
        told = ["red: the score falls where this is covered,", "so the match comes from here"]
        texts += text_lines(x, y + 47, told, 8)
    texts += _word_bars(canvas, (left, top + 44), bars, shown)
    write_page(canvas, texts, path)


def _word_bars(
    canvas: Image.Image,
    corner: tuple[int, int],
    width: int,
    words: Sequence[tuple[str, float | None, str]],
) -> list[dict[str, Any]]:
    """A row for each word: itself, a bar from the common zero, and the number or why there is none.

    Args:
      corner: left and top in pixels; width: of a row.
    """
    (left, top), label, room = corner, 150, width - 150 - 86
    changes = [0.0, *(change for _, change, _ in words if change is not None)]
    scale = room / ((max(changes) - min(changes)) or 1)
    zero, texts = left + label - min(changes) * scale, []
    pen = ImageDraw.Draw(canvas)
    for row, (word, change, why) in enumerate(words):
        y = top + 22 * row
        ink = SOFT if change is None else INK
        name = fit(word, label - 12, 9, 1)
        texts += text_lines(left + label - 12, y + 13, name, 9, color=ink, ha="right")
        told = {"style": "italic"} if change is None else {}
        number = [why if change is None else f"{change:+.4f}"]
        texts += text_lines(left + width, y + 13, number, 8, color=SOFT, ha="right", **told)
        if change:
            first, last = sorted((round(zero), round(zero + change * scale)))
            pen.rectangle((first, y + 3, last, y + 15), heat.BELOW if change < 0 else heat.ABOVE)
    pen.line((round(zero), top - 2, round(zero), top + 22 * len(words) - 4), SOFT)
    return texts


def fit(text: str, width: float, size: float, lines: int) -> list[str]:
    """Wraps text to a width in pixels; an ellipsis where more than `lines` lines would be needed.

    A word wider than that is cut.
    """
    rows = [""]
    for word in text[: 400 * lines].split():  # more never fits
        longer = f"{rows[-1]} {word}".strip()
        if text_width(longer, size) <= width:
            rows[-1] = longer
            continue
        if rows[-1]:
            rows.append("")
        for character in word:  # the usual word fits whole
            if rows[-1] and text_width(rows[-1] + character, size) > width:
                rows.append("")
            rows[-1] += character
        if len(rows) > lines:
            break
    if len(rows) > lines:
        last = rows[lines - 1]
        while last and text_width(last + "…", size) > width:
            last = last[:-1]
        rows = [*rows[: lines - 1], last.rstrip() + "…"]
    return rows


def text_width(text: str, size: float) -> float:
    """Width in pixels of text at a size in points, from the font's own advances."""
    return sum(map(_advance, text)) * size * PAGE_DPI / 72


@functools.cache
def _font() -> tuple[Any, Mapping[int, int]]:
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return font, font.get_charmap()


@functools.cache
def _advance(character: str) -> float:
    """Width of a character as a share of the text size."""
    font, glyphs = _font()
    if ord(character) not in glyphs:
        return 1.25  # the box that stands for it
    font.set_size(100, 72)  # each time: the object is matplotlib's own, which sets it as it draws
    glyph = font.load_char(ord(character), flags=LoadFlags.NO_HINTING)
    return glyph.linearHoriAdvance / 65536 / 100


def heading(title: str, note: str, width: int) -> tuple[list[dict[str, Any]], int]:
    """Title and note as texts, and the height at which the page goes on."""
    titles, notes = fit(title, width - 2 * EDGE, 15, 2), fit(note, width - 2 * EDGE, 9, 2)
    first, second = EDGE + 19, EDGE + 12 + 29 * len(titles)
    texts = text_lines(EDGE, first, titles, 15) + text_lines(EDGE, second, notes, 9, color=SOFT)
    return texts, second + 4 + 17 * len(notes)


def text_lines(
    x: float, y: float, rows: Sequence[str], size: float, **look: Any
) -> list[dict[str, Any]]:
    """Rows of text; x, y of the first baseline in pixels from the top left, size in points.

    A row is a text of its own, so that all stand on one grid, whatever letters they hold.
    """
    look = {"size": size, "color": INK, "family": "DejaVu Sans", "parse_math": False, **look}
    return [{"x": x, "y": y + 1.9 * size * i, "s": row, **look} for i, row in enumerate(rows)]


def centred(x: int, y: int, side: int, text: str, margin: int = 20) -> list[dict[str, Any]]:
    """Text in the middle of an empty tile."""
    rows = fit(text or "no picture", side - 2 * margin, 9.5, side // 24)
    first = y + side / 2 + 5 - 9 * (len(rows) - 1)
    return text_lines(x + side / 2, first, rows, 9.5, color=INK if text else SOFT, ha="center")


def panel(
    canvas: Image.Image, corner: tuple[int, int], side: int, colour: str, radius: int = RADIUS
) -> None:
    """A square with round corners."""
    canvas.paste(Image.new("RGB", (side, side), colour), corner, _round_mask(side, side, radius))


def _round_mask(width: int, height: int, radius: int) -> Image.Image:
    """White where a rectangle with round corners is, black outside, smooth between."""
    corner = Image.new("L", (8 * radius, 8 * radius))  # drawn four times as large
    ImageDraw.Draw(corner).ellipse((0, 0, 8 * radius - 1, 8 * radius - 1), fill=255)
    corner = corner.resize((2 * radius, 2 * radius), Image.Resampling.BOX)
    mask = Image.new("L", (width, height), 255)
    for left in (True, False):
        for above in (True, False):
            x, y = 0 if left else radius, 0 if above else radius
            place = (0 if left else width - radius, 0 if above else height - radius)
            mask.paste(corner.crop((x, y, x + radius, y + radius)), place)
    return mask


def tile(
    canvas: Image.Image, corner: tuple[int, int], side: int, picture: Image.Image | None
) -> None:
    """A picture fitted into a square panel; an empty panel without one."""
    panel(canvas, (corner[0] - 1, corner[1] - 1), side + 2, HAIRLINE, RADIUS + 1)
    panel(canvas, corner, side, PANEL)
    if picture is None:
        return
    scale = side / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    if scale >= 2:  # doubled first, a small picture keeps sharp edges without stairs
        picture = picture.resize([2 * length for length in picture.size], Image.Resampling.NEAREST)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2)
    place = (corner[0] + (side - width) // 2, corner[1] + (side - height) // 2)
    mask = _round_mask(side, side, RADIUS) if width == height == side else None
    canvas.paste(picture, place, mask)


def write_page(canvas: Image.Image, texts: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws the texts over the canvas and writes the page."""
    width, height = canvas.size
    figure = Figure(figsize=(width / PAGE_DPI, height / PAGE_DPI), dpi=PAGE_DPI, facecolor="none")
    for text in texts:
        figure.text(**{**text, "x": text["x"] / width, "y": 1 - text["y"] / height})
    letters = FigureCanvasAgg(figure)
    with warnings.catch_warnings():  # a character that no font here has is drawn as a box
        warnings.simplefilter("ignore", UserWarning)
        letters.draw()
    overlay = Image.fromarray(np.asarray(letters.buffer_rgba()))  # (height, width, 4) uint8
    canvas.paste(overlay, (0, 0), overlay)
    with files.atomic_path(path) as temporary:
        canvas.save(temporary, "PNG")
