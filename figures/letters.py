"""The letters of pages that show pictures and text: their width, and drawing them over a canvas."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import LoadFlags
from PIL import Image

from figures.charts import DPI
from run import files


def text_width(text: str, size: float) -> float:
    """Width in pixels of text at a size in points, from the font's own advances."""
    return sum(map(_advance, text)) * size * DPI / 72


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


def write_page(canvas: Image.Image, texts: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws the texts over the canvas and writes the page."""
    width, height = canvas.size
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="none")
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
