"""Descriptors: pictures to the rows that an image tower reads, alike in every part of the house.

    descriptor = learn_descriptor(kind, split, settings)  # of descriptors.py; or load_descriptor
    rows = descriptor.rows(split, settings)               # of a whole split, kept on disk
    row = descriptor.describe([picture])                  # of a few pictures, without TensorFlow

| kind | a row | file |
|---|---|---|
| `regions` | (F,) float32, a bag of regions, learned from the pictures alone | `regions.py` |
| `boxes` | (R, F) float16, the same region by region | `boxes.py` |
| `last`, `fne` | (F,) a CNN's last layer, float32; all of its layers, int8 | `embedding.py` |
| `grid` | (R, F) float32, places of a CNN's last map | `embedding.py` |
| `ready` | the data's own vectors, (F,) or (R, F) | `descriptors.py` |
| `pixels` | (h, w, 3) uint8, the picture itself | `pixels.py` |

Shape letters: N images of a split, n pictures, R boxes, F feature.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from tqdm import tqdm

from data import datasets
from data.formats.records import write_header
from data.pictures import load_picture
from run import caches, files, onnx_graphs

SIDE = 64  # pixels: what is described without a network is brought to SIDE x SIDE
CHUNK = 64  # such pictures described at once
LEARNED_FROM = 1000  # pictures at most, drawn from the training split


class Descriptor:
    """What makes rows of pictures; the base of all kinds.

    Attributes:
      kind: its name in `descriptors.KINDS`, written in its file.
      dtype: of the rows.
    """

    kind = ""
    dtype: type = np.float32

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of one row."""
        raise NotImplementedError

    @property
    def feature_dim(self) -> int:
        """F, 0 where rows are pictures."""
        return self.row_shape[-1]

    @classmethod
    def from_split(cls, split: datasets.Split, settings, kind: str) -> Self:
        """Learns from the TRAINING split.

        Args:
          split: with what `descriptors.choose_features` has found in it.
          settings: of the run.

        Raises:
          ValueError: some pictures cannot be read, or a network's weights cannot.
        """
        raise NotImplementedError

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], kind: str) -> Self:
        """Of what `arrays` gave. Raises KeyError, TypeError or ValueError where it is not that."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray]:
        """What its file holds beside the kind."""
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Writes what `descriptors.load_descriptor` reads."""
        files.write_arrays(path, {"kind": np.array(self.kind)} | self.arrays())

    def fingerprint(self) -> str:
        """SHA-256 of all that rows depend on beside data and settings; "" where that is nothing."""
        return ""

    def describe(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """n RGB pictures -> (n, *row_shape) of dtype, after `open` and without TensorFlow."""
        raise NotImplementedError

    def load(self, path: str) -> Image.Image:
        """A picture file for `describe`, which makes the row of it that `rows` has.

        Raises:
          ValueError: the file is missing, empty or damaged.
        """
        return load_picture(path)

    def open(self, settings, threads: int = onnx_graphs.THREADS) -> None:
        """Makes `describe` ready.

        Args:
          settings: with cache_dir.
          threads: as of `onnx_graphs.Graph`.

        Raises:
          ValueError: new pictures cannot be described.
        """

    def export(self, settings) -> None:
        """Writes into settings.cache_dir what `open` needs, unless it is there."""

    def frames(self, picture: Image.Image) -> np.ndarray:
        """(R, 4) of a row of boxes: left, top, right, bottom, as parts of the picture's sides."""
        raise ValueError(f"features {self.kind} are one row for each picture: it has no boxes")

    def blocks(self, split: datasets.Split, settings) -> Iterator[np.ndarray]:
        """The rows of a split's pictures in order, some at a time."""
        raise NotImplementedError

    def rows(self, split: datasets.Split, settings) -> Any:
        """The rows of a split: (N, *row_shape), memory-mapped from the cache.

        Args:
          split: any of the data set.
          settings: with cache_dir.

        Raises:
          ValueError: the split has no pictures, or some are missing or cannot be read: all of the
            split are counted, the first ones named; or a network's weights cannot be read.
        """
        refuse_without_pictures(split, "describe")
        path = self.rows_path(split, settings.cache_dir)
        if not caches.is_whole(path):
            shape = (split.num_images, *self.row_shape)
            write_blocks(path, self.blocks(split, settings), self.dtype, shape)
        return files.open_array(path)

    def rows_path(self, split: datasets.Split, cache_dir: str | Path) -> Path:
        """Where a split's rows lie, or will."""
        key = hashlib.sha256((datasets.fingerprint(split) + self.fingerprint()).encode())
        if isinstance(split.pictures, list):  # of files that fingerprint holds names and sizes only
            found = (os.stat(p).st_mtime_ns if os.path.exists(p) else 0 for p in split.pictures)
            key.update(np.fromiter(found, "<i8").tobytes())
        return Path(cache_dir) / f"vectors-{key.hexdigest()[:16]}.npy"


class SqueezedDescriptor(Descriptor):
    """Of pictures squeezed to SIDE x SIDE, learned from some of them without labels."""

    @classmethod
    def learn(cls, pictures: np.ndarray, seed: int = 0) -> Self:
        """Learns from some TRAINING pictures, (n, SIDE, SIDE, 3) uint8."""
        raise NotImplementedError

    @classmethod
    def from_split(cls, split, settings, kind):
        """Learns from at most LEARNED_FROM pictures; settings has data_seed."""
        rows = np.random.default_rng(settings.data_seed).permutation(split.num_images)
        return cls.learn(read_all(split, np.sort(rows[:LEARNED_FROM])), settings.data_seed)

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """(n, SIDE, SIDE, 3) uint8 -> (n, *row_shape)."""
        raise NotImplementedError

    def describe(self, pictures):
        """RGB pictures of any size -> (n, *row_shape)."""
        return self.embed(np.stack([squeeze(picture) for picture in pictures]))

    def blocks(self, split, settings):
        """Rows of CHUNK pictures each; all pictures are tried before some are refused."""
        broken: dict[int, str] = {}

        def embed(rows: np.ndarray) -> np.ndarray:
            pictures, failed = read_squeezed(split, rows)
            broken.update(failed)
            return self.embed(pictures if not broken else pictures[:0])

        parts, what = list(in_chunks(np.arange(split.num_images))), f"describing {split.name}"
        with ThreadPoolExecutor() as pool:
            yield from tqdm(pool.map(embed, parts), what, len(parts), False, disable=None)
        refuse_broken(split, broken)


# ---- Pictures of a split ------------------------------------------------------------------------


def open_picture(split: datasets.Split, row: int) -> Image.Image:
    """An RGB picture of a split.

    Raises:
      ValueError: the file is missing, empty or damaged.
    """
    source = split.pictures[row]  # pyright: ignore[reportOptionalSubscript]
    return load_picture(source) if isinstance(source, str) else Image.fromarray(source)


def refuse_without_pictures(split: datasets.Split, verb: str) -> None:
    """Raises a ValueError where a split has no pictures to `verb`."""
    if split.pictures is None:
        raise ValueError(
            f"the {split.name} split has no pictures to {verb}, unlike the training split: add "
            "the folder with its pictures"
        )


def refuse_broken(split: datasets.Split, broken: dict[int, str]) -> None:
    """Raises a ValueError that counts the broken pictures and names the first, if there are any."""
    if broken:
        what = "picture" if len(broken) == 1 else "pictures"
        raise ValueError(
            f"{len(broken)} {what} of the {split.name} split cannot be read: {first_few(broken)}. "
            "Mend them or take them out of the split"
        )


def first_few(broken: dict[int, str]) -> str:
    """What is wrong with the first three rows, and how many more there are."""
    more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
    return "; ".join(broken[row] for row in sorted(broken)[:3]) + more


def squeeze(picture: Image.Image) -> np.ndarray:
    """An RGB picture brought to (SIDE, SIDE, 3) uint8."""
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture)


def read_squeezed(split: datasets.Split, rows: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """Some pictures of a split as (n, SIDE, SIDE, 3) uint8, and by row why others failed."""
    pictures, broken = np.zeros((len(rows), SIDE, SIDE, 3), np.uint8), {}
    for index, row in enumerate(rows.tolist()):
        try:
            pictures[index] = squeeze(open_picture(split, row))
        except ValueError as error:
            broken[row] = str(error)
    return pictures, broken


def read_all(split: datasets.Split, rows: np.ndarray) -> np.ndarray:
    """Some pictures of a split as (n, SIDE, SIDE, 3) uint8.

    Raises:
      ValueError: some cannot be read; all such of the split are counted, the first ones named.
    """
    pictures, broken = read_squeezed(split, rows)
    if broken:
        for rest in in_chunks(np.setdiff1d(np.arange(split.num_images), rows)):
            broken |= read_squeezed(split, rest)[1]
    refuse_broken(split, broken)
    return pictures


def in_chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive parts of at most CHUNK rows."""
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


# ---- Arrays on disk -----------------------------------------------------------------------------


def write_blocks(
    path: Path, blocks: Iterable[np.ndarray], dtype: type | np.dtype, shape: tuple[int, ...]
) -> None:
    """Writes consecutive blocks of rows as one `.npy` of this shape, without holding them all."""
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
        write_header(file, dtype, shape)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)
