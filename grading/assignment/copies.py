"""Which embeddings are the same in disguise: turned, scaled, rounded, noisy, in another order.

    marks = [mark_of(image, text), mark_of(other_image, other_text)]
    same_pairs(marks)            # [(0, 1)] where the second is a copy of the first

Two figures, each small for a copy; `LIMITS` says below which two files are called the same.

  scores   1 - the median over images of the correlation of their scores with 256 captions, on a
           fixed sample of 128 images. No rotation, scale or order of dimensions changes a score.
  shape    how far the 16 main axes of the rows are from the other's, in the logarithm of their
           variance and the size of their skewness: the median over axes, on the worse of the two
           sides. No order of the rows changes it either, nor another rotation of each side.

Measured on all pairs of six seeds of the projection system on scenes and of three on Flickr8k
vectors (1,000 test images, 256 and 512 numbers), and of 40 ridge regressions on samples of those
vectors; copies are of each of them:

  figure  copies up to                                         honest from  limit
  scores  3.3e-5 (1 % noise), 1.3e-8 (float16)                 0.092        0.002
  shape   2.4e-3 (rotated, rows permuted, 1 % noise, float16)  0.076        0.02

Of 60 test images copies reach 8e-3 in shape; 20 made-up systems start at 0.15. So the limits lie 46
and 3.8 times below honest runs, and 60 and 8 (2.5 of 60 images) above copies. A copy with 10 %
noise may pass.
Equal settings with equal seeds give equal embeddings: that is a copy here, whoever made it.

Shape letters: A axes, C captions sampled, D embedding, I images sampled, M captions, N images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

IMAGES, CAPTIONS, AXES = 128, 256, 16
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
