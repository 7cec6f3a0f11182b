"""Pages that answer: pictures for a sentence, captions for a picture, and what they are made of.

Laid out in pixels from the top left: pictures are pasted into one canvas as they are, so that
nothing is resampled twice, and the text is drawn over it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from answering.search import Answer, Asked
from figures.letters import Text, text_width, write_page
from figures.palette import BACKGROUND, COLOURS, INK, SOFT
from run.console import printable, some_words

EDGE, GAP, RADIUS = 28, 20, 8  # pixels: round the page, between tiles, of corners
PANEL, HAIRLINE = "#f4f6f8", "#e4e7eb"
MOST_ANSWERS = 50  # on one page

Texts = list[Text]


class Card(NamedTuple):
    """One answer: its score, its caption, and its picture (None where there is none)."""

    score: float
    caption: str
    picture: Image.Image | None = None
    own: bool = False  # the caption was written for the picture that was asked with
    fits: bool = False  # the query is known to be true of the picture
    weak: bool = False  # the score is lower than those of nearly all right pairs


def draw_answers(
    asked: Asked,
    answers: Sequence[Answer],
    note: str,
    pictures: Callable[[int], Image.Image | None],
    path: Path,
) -> None:
    """The page of a sentence's pictures or of a picture's captions, at most `MOST_ANSWERS`.

    Args:
      asked: what was asked with; answers: best first.
      note: a line below its name.
      pictures: gives the picture of a row of the gallery.
      path: where the PNG goes.
    """
    shown = answers[:MOST_ANSWERS]
    note += f" · the first {len(shown)}" if len(shown) < len(answers) else ""
    if asked.finds_pictures:
        note += " · blue: fits" if any(one.fits for one in shown) else ""
        note += f" · not known: {some_words(asked.unknown)}" if asked.unknown else ""
        cards = [
            Card(
                one.score,
                printable(one.caption or one.name),
                pictures(one.image),
                fits=bool(one.fits),
                weak=bool(one.weak),
            )
            for one in shown
        ]
        picture_grid(printable(asked.name), printable(note), cards, path)
        return
    note += " · blue: written for this picture" if any(one.own for one in shown) else ""
    cards = [Card(one.score, printable(one.caption), own=one.own) for one in shown]
    picture = asked.picture if asked.row is None else pictures(asked.row)
    caption_list(printable(asked.name), printable(note), picture, cards, path)


def picture_grid(title: str, note: str, cards: Sequence[Card], path: Path) -> None:
    """Pictures that answer a sentence, best first, with rank, score and caption under each.

    Those that are known to fit have a blue frame, and say so beside their rank.

    Args:
      title: the sentence; note: a line below it.
      cards: at least one, at most `MOST_ANSWERS` are drawn.
      path: where the PNG goes.
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
        if card.fits:
            panel(canvas, (x - 5, y - 5), side + 10, COLOURS[0], RADIUS + 5)
        tile(canvas, (x, y), side, card.picture)
        below = y + side + 21
        rank, ink = (f"{place + 1} fits", COLOURS[0]) if card.fits else (str(place + 1), INK)
        texts += text_lines(x, below, [rank], 9, color=ink, weight="bold")
        score = f"{'weak · ' if card.weak else ''}{card.score:.3f}"
        texts += text_lines(x + side, below, [score], 8, color=SOFT, ha="right")
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


# What pages are made of.


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


def heading(title: str, note: str, width: int) -> tuple[Texts, int]:
    """Title and note as texts, and the height at which the page goes on."""
    titles, notes = fit(title, width - 2 * EDGE, 15, 2), fit(note, width - 2 * EDGE, 9, 2)
    first, second = EDGE + 19, EDGE + 12 + 29 * len(titles)
    texts = text_lines(EDGE, first, titles, 15) + text_lines(EDGE, second, notes, 9, color=SOFT)
    return texts, second + 4 + 17 * len(notes)


def text_lines(x: float, y: float, rows: Sequence[str], size: float, **look: Any) -> Texts:
    """Rows of text; x, y of the first baseline in pixels from the top left, size in points.

    A row is a text of its own, so that all stand on one grid, whatever letters they hold.
    """
    return [Text(x, y + 1.9 * size * i, row, size, **look) for i, row in enumerate(rows)]


def centred(x: int, y: int, side: int, text: str, margin: int = 20) -> Texts:
    """Text in the middle of an empty tile."""
    rows = fit(text or "no picture", side - 2 * margin, 9.5, side // 24)
    first = y + side / 2 + 5 - 9 * (len(rows) - 1)
    return text_lines(x + side / 2, first, rows, 9.5, color=INK if text else SOFT, ha="center")


def panel(
    canvas: Image.Image, corner: tuple[int, int], side: int, colour: str, radius: int = RADIUS
) -> None:
    """A square with round corners."""
    canvas.paste(Image.new("RGB", (side, side), colour), corner, round_mask(side, side, radius))


def round_mask(width: int, height: int, radius: int) -> Image.Image:
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
    mask = round_mask(side, side, RADIUS) if width == height == side else None
    canvas.paste(picture, place, mask)
