"""The letters of pages that show pictures and text: their width, and drawing them over a canvas.

Pillow draws them, for a page is then there before matplotlib would be imported. The font is the one
that matplotlib brings, so pages and charts look alike on every machine.
"""

import functools
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from figures.palette import DPI, INK
from run import files

ANCHORS = {"left": "ls", "center": "ms", "right": "rs"}  # of a baseline
FACES = {
    ("normal", "normal"): "DejaVuSans.ttf",
    ("bold", "normal"): "DejaVuSans-Bold.ttf",
    ("normal", "italic"): "DejaVuSans-Oblique.ttf",
}


class Text(NamedTuple):
    """One row of text on a page.

    Attributes:
      x, y: of the baseline in pixels from the top left; s: the row.
      size: in points; color: as Pillow names it.
      weight: normal or bold; ha: which end lies at x: left, center or right.
      style: normal or italic.
    """

    x: float
    y: float
    s: str
    size: float
    color: str = INK
    weight: str = "normal"
    ha: str = "left"
    style: str = "normal"


def text_width(text: str, size: float) -> float:
    """Width in pixels of one row of text at a size in points, without kerning."""
    return sum(_advance(character, size) for character in text)


@functools.cache
def _advance(character: str, size: float) -> float:
    """Width in pixels of a character; the font takes a tenth of a millisecond to say."""
    return _font("normal", "normal", size).getlength(character)


@functools.cache
def _font(weight: str, style: str, size: float) -> ImageFont.FreeTypeFont:
    """A face of DejaVu Sans at a size in points."""
    path, pixels = _folder() / FACES[weight, style], size * DPI / 72
    # The basic layout: the other one needs a library that not every machine has.
    return ImageFont.truetype(path, pixels, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _folder() -> Path:
    """Where matplotlib keeps its fonts; found without importing it."""
    spec = util.find_spec("matplotlib")
    if spec and spec.origin:
        folder = Path(spec.origin).parent / "mpl-data/fonts/ttf"
        if folder.is_dir():
            return folder
    import matplotlib  # of a system's packages, which keep its data elsewhere

    return Path(matplotlib.get_data_path(), "fonts/ttf")


def write_page(canvas: Image.Image, texts: Sequence[Text], path: Path) -> None:
    """Draws the texts over the canvas and writes the page as PNG, atomically."""
    pen = ImageDraw.Draw(canvas)
    for text in texts:
        font = _font(text.weight, text.style, text.size)
        pen.text((text.x, text.y), text.s, text.color, font, anchor=ANCHORS[text.ha])
    with files.atomic_path(path) as temporary:
        canvas.save(temporary, "PNG", compress_level=1)  # 8 ms sooner, and 15 % more bytes
