"""What is cut from pictures, and how whole ones are shown to an image tower. NumPy alone.

Shape letters: N pictures, b of a batch, S side of the tower's input, h, w height and width.
"""

import numpy as np
from PIL import Image

from data.vision import decoding

ASPECTS = (3 / 4, 4 / 3)  # width by height of a crop
TRIES = 10
LONGEST = 3  # a view's long side, in short ones; longer pictures are squashed


def view_side(settings) -> int:
    """Short side of the whole pictures that a run's image tower reads in use.

    S where training shows whole pictures. Where it crops and averages the last map, 8/7 S, so that
    several windows of S are summed; features that know their places are for S alone.

    Reference: [Dual], the authors' code: training crops 224 of 256.
    """
    crops = settings.crop_area < 1 and settings.image_pooling == "mean"
    return round(settings.image_size * 8 / 7) if crops else settings.image_size


def draw_windows(
    shapes: np.ndarray, crop_area: float, mirror: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws where pictures are cropped and which are mirrored.

    A crop has `crop_area` to 1 of the picture's area and is 3/4 to 4/3 as wide as high, drawn from
    uniform areas and log-uniform aspects until it fits in; after ten misses it is the largest one
    of the nearest aspect.

    Args:
      shapes: (b, 2) h and w of decoded pictures.
      crop_area: smallest area of a crop, relative to the picture; 1: whole pictures.
      mirror: mirror half of them.
      rng: the draw is a function of its state.

    Returns:
      (b, 4) int32, y, x, height and width in decoded pixels; (b,) bool.

    Reference: torchvision's RandomResizedCrop.
    Differs from it: the last resort lies anywhere, not in the middle.
    """
    height, width = shapes.T.astype(np.float64)  # (b,) each
    count, limits = len(height), np.log(ASPECTS)
    mirrored = rng.random(count) < (0.5 if mirror else 0)
    if crop_area >= 1:
        whole = np.stack([0 * height, 0 * height, height, width], axis=1)
        return whole.astype(np.int32), mirrored
    area = (height * width)[:, None] * rng.uniform(crop_area, 1, (count, TRIES))
    aspect = np.exp(rng.uniform(limits[0], limits[1], (count, TRIES)))
    drawn = np.rint(np.sqrt([area / aspect, area * aspect]))  # (2, b, TRIES)
    fits = (drawn >= 1).all(axis=0)
    fits &= (drawn[0] <= height[:, None]) & (drawn[1] <= width[:, None])
    chosen = drawn[:, np.arange(count), fits.argmax(axis=1)]  # (2, b)
    nearest = np.clip(width / height, *ASPECTS)
    largest = [np.minimum(height, width / nearest), np.minimum(width, height * nearest)]
    chosen = np.where(fits.any(axis=1), chosen, np.maximum(1, np.rint(largest)))
    corner = np.floor(rng.random((2, count)) * ([height, width] - chosen + 1))
    return np.concatenate([corner, chosen]).T.astype(np.int32), mirrored


def view_shapes(shapes: np.ndarray, side: int) -> np.ndarray:
    """(N, 2) int32, h and w of whole pictures as the tower is shown them.

    The short side is `side`; the long one keeps the picture's aspect up to 3 to 1, beyond which it
    is squashed.

    Args:
      shapes: (N, 2) h and w of decoded pictures.
    """
    wanted = np.rint(shapes * (side / shapes.min(axis=1, keepdims=True)))
    return np.clip(wanted, 1, LONGEST * side).astype(np.int32)


def whole_view(picture: Image.Image, side: int) -> np.ndarray:
    """What `pixels.PixelRows.views` makes of an RGB picture, without TensorFlow.

    Args:
      picture: of any size; side: of the view's short side, in pixels.

    Returns:
      (h, w, 3) uint8, not cropped.
    """
    height, width = np.array([picture.height]), np.array([picture.width])
    scale = int(decoding.choose_scales(height, width, side)[0])
    return resized_view(np.asarray(picture.reduce(scale) if scale > 1 else picture), side)


def resized_view(pixels: np.ndarray, side: int) -> np.ndarray:
    """The view of a picture that is decoded at its scale; of a view it is the view itself.

    Args:
      pixels: (h, w, 3) uint8; side: as of `whole_view`.

    Returns:
      (h, w, 3) uint8.
    """
    pixels = pixels.astype(np.float32)
    shape = view_shapes(np.array([pixels.shape[:2]]), side)[0].tolist()
    for axis in (1, 0):  # as TensorFlow does, so that rounding agrees
        size, length = pixels.shape[axis], shape[axis]
        place = (np.arange(length, dtype=np.float32) + 0.5) * np.float32(size / length) - 0.5
        before = np.floor(place)
        low, high = (np.clip(before + step, 0, size - 1).astype(int) for step in (0, 1))
        share = np.expand_dims(place - before, (0, 2) if axis else (1, 2))
        first = np.take(pixels, low, axis)
        pixels = first + (np.take(pixels, high, axis) - first) * share
    return (pixels + 0.5).astype(np.uint8)
