"""Pages of examples: a query, what was predicted and the original, good cases above bad ones.

Laid out in pixels with the tools of `drawing`. Green: an original. Red: an answer that stands
ranked ahead of it.
"""

import re
from typing import Any

from PIL import Image, ImageDraw

from answering.drawing import EDGE, HAIRLINE, RADIUS, centred, fit, heading, panel, text_lines, tile
from figures.letters import text_width, write_page
from figures.palette import BACKGROUND, INK, SOFT
from run.console import printable

RIGHT, WRONG, BEHIND = "#1f8a5b", "#d1495b", "#cbd2d9"
SIDE = 150  # of a picture
SENTENCE = 230  # width of a query's column
CAPTIONS = 500  # width of a column of captions
APART = 44  # between columns
TILE_GAP = 14
SHOWN = 5  # captions of a picture, at most
KINDS = {"good": "Good cases: the original comes first", "bad": "Bad cases: the worst ranks"}
LEGEND = (("an original", RIGHT), ("ranked ahead of it", WRONG), ("behind it", SOFT))


def typeset(caption):
    """A caption as it is printed: without the space before a full stop that some data have."""
    return re.sub(r" ([.,!?])(?=\s|$)", r"\1", printable(caption))


class _Page:
    """What is on a page so far: texts, and what is pasted or drawn once its height is known."""

    def __init__(self, title, note, width):
        self.width = width
        self.texts, self.y = heading(title, note, width)
        self.parts, x = [], EDGE
        for name, colour in LEGEND:
            self.say(x, self.y + 4, [name], 9, color=colour, weight="bold")
            x += round(text_width(name, 9) * 1.15) + 22
        self.y += 22

    def say(self, x: float, y: float, rows: list[str], size: float, **look: Any):
        """Puts rows of text on the page."""
        self.texts += text_lines(x, y, rows, size, **look)

    def section(self, kind, columns, empty):
        """A line with the section's title, and the names of its columns [(x, name)]."""
        ink = RIGHT if kind == "good" else WRONG
        self.say(EDGE, self.y + 22, [KINDS[kind]], 12, color=ink, weight="bold")
        if empty:
            self.say(EDGE, self.y + 50, ["none"], 10, color=SOFT)
            self.y += 76
            return
        for x, name in columns:
            self.say(x, self.y + 50, [name], 9, color=SOFT)
        self.y += 66

    def rows(self, cases, columns):
        """Draws sections, and lines between rows; yields each example of `cases` and its y."""
        for kind, chosen in cases.items():
            self.section(kind, columns, not chosen)
            for number, one in enumerate(chosen):
                if number:
                    self.line()
                yield one, self.y + 5

    def picture(self, x, y, answer, picture, colour):
        """A framed picture, or the caption that stands for it, with rank and score under it."""
        self.parts.append(lambda canvas: _framed(canvas, (x, y), picture, colour))
        if picture is None:
            self.texts += centred(x, y, SIDE, typeset(answer.caption), margin=8)
        below, ink = y + SIDE + 21, INK if colour == BEHIND else colour
        self.say(x, below, [f"{answer.rank:,}"], 9, color=ink, weight="bold")
        self.say(x + SIDE, below, [f"{answer.score:.3f}"], 8, color=SOFT, ha="right")

    def captions(self, x, y, answers, colours):
        """Captions below each other, each with a bar, its rank and its score; returns the end."""
        for answer, colour in zip(answers, colours, strict=True):
            rows = fit(typeset(answer.caption), CAPTIONS - 138, 9.5, 2) or [""]
            height = 8 + 19 * len(rows)
            ink = INK if colour == BEHIND else colour
            bar = (x, y + 1, x + 4, y + height - 3)
            self.parts.append(lambda canvas, bar=bar, ink=colour: _bar(canvas, bar, ink))
            rank, score = [f"{answer.rank:,}"], [f"{answer.score:.3f}"]
            self.say(x + 66, y + 17, rank, 9, color=ink, weight="bold", ha="right")
            self.say(x + 116, y + 17, score, 8, color=SOFT, ha="right")
            self.say(x + 130, y + 17, rows, 9.5)
            y += height + 4
        return y

    def verdict(self, x, y, example, size):
        """The rank of the original, in words."""
        rank = example.query.rank
        ink = RIGHT if rank == 1 else WRONG
        self.say(x, y, [f"rank {rank:,} of {size:,}"], 9, color=ink, weight="bold")

    def line(self):
        """A hairline between two rows."""
        y = self.y - 11
        box = (EDGE, y, self.width - EDGE, y)
        self.parts.append(lambda canvas: ImageDraw.Draw(canvas).line(box, HAIRLINE))

    def write(self, path):
        """The page as PNG."""
        canvas = Image.new("RGB", (self.width, self.y - 12 + EDGE), BACKGROUND)
        for part in self.parts:
            part(canvas)
        write_page(canvas, self.texts, path)


def _framed(canvas, corner, picture, colour):
    """A square picture in a frame of three pixels, two pixels of white between."""
    x, y = corner
    for rim, ink in ((5, colour), (2, BACKGROUND)):
        panel(canvas, (x - rim, y - rim), SIDE + 2 * rim, ink, RADIUS + rim)
    tile(canvas, corner, SIDE, picture)


def _bar(canvas, box, colour):
    """An upright bar with round ends."""
    ImageDraw.Draw(canvas).rounded_rectangle(box, 2, colour)


def _colours(example):
    """Of the predicted: an original, ranked ahead of the best one, or behind it."""
    best = example.query.rank
    return [
        RIGHT if answer.own else WRONG if answer.rank <= best else BEHIND
        for answer in example.predicted
    ]


def draw_sentences(title, note, cases, size, pictures, path):
    """A page of sentences: each with the pictures that it finds, and its own picture.

    Args:
      title, note: above the page.
      cases: {"good", "bad": lists of `examples.Example`}.
      size: number of pictures in the gallery.
      pictures: gives the picture of a row of the gallery, or None.
      path: where the PNG goes.
    """
    num_tiles = max([1, *(len(one.predicted) for own in cases.values() for one in own)])
    first = EDGE + SENTENCE + APART
    last = first + num_tiles * (SIDE + TILE_GAP) - TILE_GAP + APART
    page = _Page(title, note, last + SIDE + EDGE)
    columns = [(EDGE, "query"), (first, "predicted"), (last, "original")]
    for one, y in page.rows(cases, columns):
        rows = fit(f"“{typeset(one.query.caption)}”", SENTENCE, 11, 5)
        page.say(EDGE, y + 15, rows, 11)
        page.verdict(EDGE, y + 15 + round(20.9 * len(rows)) + 4, one, size)
        for place, (answer, colour) in enumerate(zip(one.predicted, _colours(one), strict=True)):
            x = first + place * (SIDE + TILE_GAP)
            page.picture(x, y, answer, pictures(answer.image), colour)
        original = one.originals[0]
        page.picture(last, y, original, pictures(original.image), RIGHT)
        page.y += SIDE + 56
    page.write(path)


def draw_images(title, note, cases, size, pictures, path):
    """A page of images: each with the captions that it finds, and its own captions.

    Args:
      title, note, cases, pictures, path: as of `draw_sentences`.
      size: number of captions in the gallery.
    """
    first = EDGE + SIDE + APART
    last = first + CAPTIONS + APART
    page = _Page(title, note, last + CAPTIONS + EDGE)
    columns = [(EDGE, "query"), (first, "predicted"), (last, "original")]
    for one, y in page.rows(cases, columns):
        picture = pictures(one.query.image)
        page.parts.append(lambda canvas, y=y, shown=picture: tile(canvas, (EDGE, y), SIDE, shown))
        if picture is None:
            page.texts += centred(EDGE, y, SIDE, typeset(one.query.caption), margin=8)
        name = fit(printable(one.query.name), SIDE, 8, 1)
        page.say(EDGE, y + SIDE + 19, name, 8, color=SOFT)
        page.verdict(EDGE, y + SIDE + 38, one, size)
        ends = [y + SIDE + 46, page.captions(first, y, one.predicted, _colours(one))]
        originals = one.originals[:SHOWN]
        ends.append(page.captions(last, y, originals, [RIGHT] * len(originals)))
        page.y = max(ends) + 22
    page.write(path)
