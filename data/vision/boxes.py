"""A picture as a set of boxes: the things of one colour in it, what each is like, and where.

What a trained detector gives of photographs, for drawn pictures and without one: the largest
regions of `regions.py`, each described by itself. Rows of zeros stand for what a picture lacks.

Shape letters: n images of a chunk, R boxes of an image, F feature.

Reference: Anderson et al., Bottom-up and top-down attention for image captioning and visual
  question answering, CVPR 2018 (boxes by what is in the picture, in place of a grid).
"""

import hashlib
from pathlib import Path

import numpy as np

from data.vision.regions import CHUNK, SIDE, RegionDescriptor, chunks, find_regions, products
from run import files

BOXES = 16  # R: of a hundred scenes, one has more regions
SINGLE = ("colour", "outline", "texture", "size", "place")
# What belongs together in one box: a linear map of codes alone could not tell that.
JOINED = (("colour", "outline"), ("colour", "size"), ("colour", "texture"), ("colour", "place"))


class BoxDescriptor:
    """The boxes of pictures.

    Args:
      regions: palette and words, learned from TRAINING pictures without labels.
      boxes: R.
    """

    dtype = np.float16

    def __init__(self, regions: RegionDescriptor, boxes: int = BOXES):
        self.regions, self.boxes = regions, boxes

    @classmethod
    def learn(cls, pictures: np.ndarray, seed: int = 0) -> "BoxDescriptor":
        """Learns from some TRAINING pictures, (n, SIDE, SIDE, 3) uint8."""
        return cls(RegionDescriptor.learn(pictures, seed))

    @classmethod
    def load(cls, path: str | Path) -> "BoxDescriptor":
        """Reads what `save` wrote.

        Raises:
          ValueError: the file is of another descriptor.
        """
        arrays = {name: np.array(a) for name, a in files.open_arrays(path).items()}
        try:
            return cls(boxes=int(arrays.pop("boxes")), regions=RegionDescriptor(**arrays))
        except (KeyError, TypeError):
            raise ValueError(
                f"{path} holds another descriptor than this program's: train the run anew"
            ) from None

    def save(self, path: str | Path) -> None:
        count = np.asarray(self.boxes, np.int64)
        files.write_arrays(path, self.regions.arrays | {"boxes": count})

    def fingerprint(self) -> str:
        """SHA-256 of what is learned and of the settings above."""
        facts = (self.regions.fingerprint(), self.boxes, SINGLE, JOINED)
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    @property
    def row_shape(self) -> tuple[int, int]:
        """(R, F)."""
        sizes = {name: part.shape[1] for name, part in self.regions.codes(self._nothing()).items()}
        joined = sum(sizes[first] * sizes[second] for first, second in JOINED)
        return self.boxes, sum(sizes[name] for name in SINGLE) + joined + 5

    def _nothing(self):
        """Regions of no picture."""
        return find_regions(np.zeros((1, SIDE, SIDE, 3), np.uint8), self.regions.table).take(
            np.zeros(0, np.int64)
        )

    def largest(self, pictures: np.ndarray):
        """The R largest regions of each picture, those of one picture together, the largest first.

        Args:
          pictures: (n, SIDE, SIDE, 3) uint8.

        Returns:
          `regions.Regions`, and for each of them which of its picture's boxes it is.
        """
        found = find_regions(pictures, self.regions.table)
        found = found.take(np.lexsort((-found.area, found.picture)))
        sizes = np.bincount(found.picture, minlength=len(pictures))
        place = np.arange(len(found.picture)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept = np.flatnonzero(place < self.boxes)
        return found.take(kept), place[kept]

    def describe(self, pictures: np.ndarray) -> np.ndarray:
        """(n, SIDE, SIDE, 3) uint8 -> (n, R, F) float16.

        Of each box the roots of its codes (of norm 1 each), the roots of the products of those that
        belong together, and the box: left, top, right, bottom, area, as parts of the picture.
        """
        boxes = np.zeros((len(pictures), *self.row_shape), self.dtype)
        if not len(pictures):
            return boxes
        found, place = self.largest(pictures)
        codes = self.regions.codes(found)
        parts = [np.sqrt(codes[name]) for name in SINGLE]
        parts += [np.sqrt(products(codes[a], codes[b])) for a, b in JOINED]
        parts += [found.box / SIDE, found.area[:, None] / SIDE**2]
        boxes[found.picture, place] = np.concatenate(parts, axis=1)
        return boxes

    def frames(self, pictures: np.ndarray) -> np.ndarray:
        """(n, SIDE, SIDE, 3) uint8 -> (n, R, 4) left, top, right, bottom, as parts of the side."""
        frames = np.zeros((len(pictures), self.boxes, 4), np.float32)
        for start, part in enumerate(chunks(pictures)):
            found, place = self.largest(part)
            frames[start * CHUNK + found.picture, place] = found.box / SIDE
        return frames


def grid_frames(side: int) -> np.ndarray:
    """(side * side, 4) frames of a grid's places, by rows, as `BoxDescriptor.frames`."""
    row, column = np.divmod(np.arange(side * side), side)
    return np.stack([column, row, column + 1, row + 1], axis=1).astype(np.float32) / side
