"""Pictures as the browser gets them: small, in memory only."""

import io
import threading

import numpy as np
from PIL import Image

from figures import heat

SMALL, LARGE = 320, 960  # pixels of the longer side: in a grid, and alone
QUALITY = 88
MOST_BYTES = 20 << 20  # of a picture that is sent to the page
MOST_PIXELS = 64_000_000  # of the same: decoded it takes three bytes a pixel
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")  # MPO opens as JPEG
DECODING = threading.BoundedSemaphore(2)  # of as many pictures at once: bounds the memory


def fitted(picture: Image.Image, side: int) -> Image.Image:
    """A picture whose longer side is at most `side` pixels; a very small one is enlarged.

    Doubled first, a small picture keeps sharp edges without stairs.
    """
    scale = side / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    if scale >= 2:
        picture = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
    elif scale >= 1:
        return picture
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2)


def jpeg(picture: Image.Image, side: int) -> bytes:
    """A picture as JPEG, at most `side` pixels long."""
    file = io.BytesIO()
    fitted(picture, side).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def heat_png(picture: Image.Image, cells: np.ndarray, side: int = SMALL * 2) -> bytes:
    """The heat map of an explanation over its picture, as PNG.

    Args:
      cells: of `heat.cells`; side: pixels of the longer side.
    """
    file = io.BytesIO()
    heat.overlay(picture, cells, side).save(file, "PNG")
    return file.getvalue()
