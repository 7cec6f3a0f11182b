"""A heat map laid over a picture: which places of it make a score fall or rise, or are looked at.

Shape letters: G patches along a side, H and W pixels, R boxes.
"""

import numpy as np
from PIL import Image, ImageColor

BELOW, ABOVE = "#2667ff", "#d1495b"  # what supports the score, and what is against it


def cells(places: np.ndarray) -> np.ndarray:
    """Changes with patches that overlap by half -> the mean change of those over each cell.

    A cell is half a patch long, so it lies under up to 2 x 2 of them.

    Args:
      places: (G, G) change with a patch at each place.

    Returns:
      (G + 1, G + 1) float64.
    """
    shape = (places.shape[0] + 1, places.shape[1] + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)
    for down in (0, 1):
        for across in (0, 1):
            under = np.s_[down : down + len(places), across : across + places.shape[1]]
            sums[under] += places
            counts[under] += 1
    return sums / counts


def overlay(picture: Image.Image, values: np.ndarray, side: int) -> Image.Image:
    """A pale grey copy of a picture, its longer side `side` pixels, with a heat map over it.

    Args:
      picture: RGB.
      values: of a grid of cells over the picture, of any size; the largest has the full colour.
      side: pixels.
    """
    scale = side / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    small = Image.fromarray((values / (abs(values).max() or 1)).astype(np.float32))
    heat = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    grey = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2).convert("L")
    return Image.fromarray(tint(150 + 0.4 * np.asarray(grey, np.float32), heat))


def spotlight(picture: Image.Image, frames: np.ndarray, shares: np.ndarray) -> Image.Image:
    """A picture that is dark but where attention lies.

    Args:
      picture: RGB.
      frames: (R, 4) left, top, right, bottom of boxes, as parts of the sides; shares: (R,) of the
        attention. Where boxes lie over each other the light is their sum; the most is full light.
    """
    width, height = picture.size
    light = np.zeros((height, width), np.float32)
    edges = np.round(frames * [width, height, width, height]).astype(int)
    for (left, top, right, bottom), share in zip(edges, shares, strict=True):
        light[top : max(bottom, top + 1), left : max(right, left + 1)] += share
    light = 0.2 + 0.8 * light / (light.max() or 1)
    return Image.fromarray(np.round(np.asarray(picture) * light[..., None]).astype(np.uint8))


def scale_bar(width: int, height: int) -> Image.Image:
    """The colours from the lowest value on the left, over 0, to its negative on the right."""
    heat = np.linspace(-1, 1, width)[None].repeat(height, axis=0)
    return Image.fromarray(tint(np.full((height, width), 240.0), heat))


def tint(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W) grey levels and (H, W) heat, from -1 to 1 -> (H, W, 3) uint8."""
    grey, heat = grey[..., None], np.clip(heat, -1, 1)[..., None]
    colour = np.where(heat < 0, ImageColor.getrgb(BELOW), ImageColor.getrgb(ABOVE))
    return np.round(grey + 0.9 * abs(heat) * (colour - grey)).astype(np.uint8)
