"""Which embeddings are the same in disguise: turned, scaled, rounded, noisy, in another order.

    marks = [mark_of(image, text), mark_of(other_image, other_text)]
    same_pairs(marks)            # [(0, 1)] where the second is a copy of the first

Two figures, each small for a copy; `LIMITS` says below which two files are called the same.

  scores   1 - the median over images of the correlation of their scores with 256 captions, on a
           fixed sample of 128 images. No rotation, scale or order of dimensions changes a score.
  shape    the root mean square difference of the logarithms of the variances along the 32 main
           axes of the rows, and of the sizes of the skewness along them; the larger of the two
           sides. No order of the rows changes it either, nor another rotation of each side.

MEASURED

The limits lie near the geometric mean of what copies and honest runs give, so nearly forty times
from both. Another honest system, or the same with one setting changed, is further away than
another seed.
Equal settings with equal seeds give equal embeddings: that is a copy here, whoever made it.

Shape letters: A axes, C captions sampled, D embedding, I images sampled, M captions, N images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

IMAGES, CAPTIONS, AXES = 128, 256, 32
LEAST = 1e-3  # of the largest variance, added to each: axes far below it are noise
LIMITS = {"scores": 0.002, "shape": 0.02}


class Mark(NamedTuple):
    """What is kept of embeddings to know them again: 130 KB.

    Attributes:
      scores: (I, C) float32 scores, the rows centred and of norm 1.
      shape: (2, 2, A) logarithms of variances, and skewness, of image and text rows.
    """

    scores: np.ndarray
    shape: np.ndarray


def mark_of(image: np.ndarray, text: np.ndarray) -> Mark:
    """The mark of embeddings.

    Args:
      image: (N, D), text: (M, D) finite floats in the order of the key; their norms do not count.
    """
    draw = np.random.default_rng(0)
    rows = np.sort(draw.permutation(len(image))[:IMAGES])
    columns = np.sort(draw.permutation(len(text))[:CAPTIONS])
    scores = _to_unit(image[rows]) @ _to_unit(text[columns]).T
    scores -= scores.mean(axis=1, keepdims=True)
    return Mark(_to_unit(scores).astype(np.float32), np.stack([_shape(image), _shape(text)]))


def _to_unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def _shape(rows: np.ndarray) -> np.ndarray:
    """(2, A): logarithms of the shares of variance along the main axes, and sizes of skewness."""
    rows, found = _to_unit(rows), np.zeros((2, AXES))
    rows -= rows.mean(axis=0)
    variance, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    variance, axes = variance[::-1][:AXES], axes[:, ::-1][:, :AXES]
    least = max(LEAST * float(variance[0]), 1e-12)
    moment = ((rows @ axes) ** 3).mean(axis=0)
    variance = np.maximum(variance, 0) + least
    found[0] = np.log(LEAST)
    found[0, : len(variance)] = np.log(variance / variance[0])
    found[1, : len(variance)] = np.abs(moment) / variance**1.5
    return found


def apart(first: Mark, second: Mark) -> dict[str, float]:
    """How far two marks are from each other, by both figures; 0: the same."""
    agree = (first.scores * second.scores).sum(axis=1, dtype=np.float64)
    far = np.linalg.norm(first.shape - second.shape, axis=1)  # (2, A)
    return {"scores": 1 - float(np.median(agree)), "shape": float(np.median(far, axis=1).max())}


def same_pairs(marks: Sequence[Mark]) -> list[tuple[int, int]]:
    """The pairs that are the same, the first before the second."""
    found = []
    for second in range(len(marks)):
        for first in range(second):
            far = apart(marks[first], marks[second])
            if any(far[name] < limit for name, limit in LIMITS.items()):
                found.append((first, second))
    return found
