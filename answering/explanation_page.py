"""The page of an explanation: the picture, its heat map, and a bar for each word."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from answering.drawing import EDGE, GAP, Texts, centred, fit, heading, round_mask, text_lines, tile
from answering.explain import Explanation, Word
from figures import heat
from figures.letters import write_page
from figures.palette import BACKGROUND, INK, SOFT
from run.console import printable

SIDE, BARS = 288, 480  # pixels: of a picture, and the width of the words' column
MOST_BARS = 40


def draw_explanation(found: Explanation, note: str, path: Path) -> None:
    """Draws why a picture and a sentence match.

    Args:
      found: the explanation; of more than `MOST_BARS` words the weakest are left out.
      note: a line below the sentence.
      path: where the PNG goes.
    """
    picture, places = found.picture, found.places
    num_tiles = 1 if picture is None or places is None else 2
    left = EDGE + num_tiles * (SIDE + GAP) + GAP
    width = left + BARS + EDGE
    note = f"{found.image} · score {found.score:.4f} · {note}"
    texts, top = heading(printable(found.sentence), printable(note), width)
    words = found.words
    strongest = sorted(range(len(words)), key=lambda i: -abs(words[i].change or 0))[:MOST_BARS]
    shown = [words[i] for i in sorted(strongest)]
    told = f", {len(shown)} strongest of {len(words)}" if len(shown) < len(words) else ""
    told = [f"score without the word, minus with it{told}", "blue: the word supports the match"]
    texts += text_lines(left, top + 10, told, 8, color=SOFT)
    height = max(top + SIDE + 70 * (num_tiles - 1), top + 44 + 22 * len(shown))
    canvas = Image.new("RGB", (width, height + EDGE), BACKGROUND)
    tile(canvas, (EDGE, top), SIDE, picture)
    if picture is None:
        texts += centred(EDGE, top, SIDE, "")
    elif places is not None:
        values, x, y = heat.cells(places), EDGE + SIDE + GAP, top + SIDE + 14
        tile(canvas, (x, top), SIDE, heat.overlay(picture, values, SIDE))
        canvas.paste(heat.scale_bar(SIDE, 12), (x, y), round_mask(SIDE, 12, 5))
        largest = abs(values).max()
        for share, ha in ((0, "left"), (0.5, "center"), (1, "right")):
            number = f"{(2 * share - 1) * largest:+.3f}" if share != 0.5 else "0"
            texts += text_lines(x + share * SIDE, y + 28, [number], 8, color=SOFT, ha=ha)
        told = ["blue: the score falls where this is covered,", "so the match comes from here"]
        texts += text_lines(x, y + 47, told, 8)
    texts += _word_bars(canvas, (left, top + 44), BARS, shown)
    write_page(canvas, texts, path)


def _word_bars(
    canvas: Image.Image, corner: tuple[int, int], width: int, words: Sequence[Word]
) -> Texts:
    """A row for each word: itself, a bar from the common zero, and the number or why there is none.

    Args:
      corner: left and top in pixels; width: of a row.
    """
    (left, top), label, room = corner, 150, width - 150 - 86
    changes = [0.0, *(word.change for word in words if word.change is not None)]
    scale = room / ((max(changes) - min(changes)) or 1)
    zero, texts = left + label - min(changes) * scale, []
    pen = ImageDraw.Draw(canvas)
    for row, (word, change, why) in enumerate(words):
        y = top + 22 * row
        ink = SOFT if change is None else INK
        name = fit(printable(word), label - 12, 9, 1)
        texts += text_lines(left + label - 12, y + 13, name, 9, color=ink, ha="right")
        told = {"style": "italic"} if change is None else {}
        number = [why if change is None else f"{change:+.4f}"]
        texts += text_lines(left + width, y + 13, number, 8, color=SOFT, ha="right", **told)
        if change:
            first, last = sorted((round(zero), round(zero + change * scale)))
            pen.rectangle((first, y + 3, last, y + 15), heat.BELOW if change < 0 else heat.ABOVE)
    pen.line((round(zero), top - 2, round(zero), top + 22 * len(words) - 4), SOFT)
    return texts
