"""A picture as a set of boxes: the things of one colour in it, what each is like, and where.

What a trained detector gives of photographs, for drawn pictures and without one: the largest
regions of `regions.py`, each described by itself. Rows of zeros stand for what a picture lacks.

Shape letters: n images of a chunk, R boxes of an image, F feature.

Reference: Anderson et al., Bottom-up and top-down attention for image captioning and visual
  question answering, CVPR 2018 (boxes by what is in the picture, in place of a grid).
"""

import hashlib

import numpy as np

from data.vision.regions import RegionDescriptor, find_regions, products
from data.vision.rows import SIDE, SqueezedDescriptor, squeeze

BOXES = 16  # R: of a hundred scenes, one has more regions
SINGLE = ("colour", "outline", "texture", "size", "place")
# What belongs together in one box: a linear map of codes alone could not tell that.
JOINED = (("colour", "outline"), ("colour", "size"), ("colour", "texture"), ("colour", "place"))


class BoxDescriptor(SqueezedDescriptor):
    """The boxes of pictures.

    Args:
      regions: palette and words, learned from TRAINING pictures without labels.
      boxes: R.
    """

    kind, dtype = "boxes", np.float16

    def __init__(self, regions: RegionDescriptor, boxes: int = BOXES):
        self.regions, self.boxes = regions, boxes

    @classmethod
    def learn(cls, pictures: np.ndarray, seed: int = 0) -> "BoxDescriptor":
        """Learns from some TRAINING pictures, (n, SIDE, SIDE, 3) uint8."""
        return cls(RegionDescriptor.learn(pictures, seed))

    def arrays(self):
        """Those of the regions, and R."""
        return self.regions.arrays() | {"boxes": np.asarray(self.boxes, np.int64)}

    @classmethod
    def from_arrays(cls, arrays, kind):
        """Of what `arrays` gave."""
        boxes = int(arrays.pop("boxes"))
        return cls(RegionDescriptor.from_arrays(arrays, kind), boxes)

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

    def embed(self, pictures: np.ndarray) -> np.ndarray:
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

    def frames(self, picture):
        """(R, 4) left, top, right, bottom, as parts of the sides; zeros for boxes it lacks."""
        frames = np.zeros((self.boxes, 4), np.float32)
        found, place = self.largest(squeeze(picture)[None])
        frames[place] = found.box / SIDE
        return frames
