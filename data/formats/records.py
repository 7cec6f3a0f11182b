"""What the readers of data sets share: the records they hand over, how files and arrays are found.

A reader (`coco.py`, `flickr.py`, `precomp.py`, `nuswide.py`, `table.py`) turns one layout on
disk into one `Records` for each split; `text.py` reads its text, `pictures.py` finds its pictures,
`drawing.py` draws splits that it lacks. Whatever reads a file answers a bad one with a single line:
which file, which line, what was expected and how to mend it.

Shape letters: N images, M captions, F feature, K concepts.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.formats.text import composed, shown
from run.files import DAMAGE, reason

SPLITS = ("train", "validation", "test")
SPLIT_WORDS = {
    "train": "train",
    "restval": "train",  # Karpathy's name for the COCO validation images that he trains on
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
BLOCK_BYTES = 1 << 24  # how much of a large array is looked at in one go
LARGE_BYTES = 1 << 30  # more is not copied


@dataclass(frozen=True)
class ReadingOptions:
    """What a reader may need to know besides where the data lies.

    Attributes:
      cache_dir: folder for what is slow to read.
      validation_images: how many training images to set aside where the layout has no validation.
      seed: of every draw.
      limit: images wanted of each split, or None; only `scenes` heeds it, to draw fewer.
      coco_split: which images of COCO's two files make which split, see `coco.read_coco`.
      nuswide_test: which test images of NUS-WIDE-Lite are read, see `nuswide.read_nuswide`.
      beside: further folders, whose vectors are put beside those of the first (precomp).
    """

    cache_dir: Path
    validation_images: int
    seed: int
    limit: int | None
    coco_split: str = "whole"
    nuswide_test: str = "all"
    beside: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Records:
    """One split as a reader found it, still unchecked.

    Attributes:
      names: N names of images, a file name or an id.
      captions: N lists, the captions of each image.
      vectors: (N, F) or boxes (N, R, F), or None. May be memory-mapped.
      pictures: N paths, or (N, H, W, 3) uint8, or None.
      concepts: (N, K) float32 multi-hot, or None.
      fits: gives (M, N) bool, which captions are true of which images, or None.
      drawn: how the split was drawn, a line for a person; "" where the data set names it.
      shuffled: whose the captions are is not known: they are dealt out in the order of their file.
    """

    names: list[str]
    captions: list[list[str]]
    vectors: np.ndarray | None = None
    pictures: list[str] | np.ndarray | None = None
    concepts: np.ndarray | None = None
    fits: Callable[[], np.ndarray] | None = None
    drawn: str = ""
    shuffled: bool = False

    def take(self, rows: Sequence[int]) -> "Records":
        """The records of some images, in the order of `rows`. Neighbouring rows stay views."""
        pictures = self.pictures
        if isinstance(pictures, list):
            pictures = [pictures[row] for row in rows]
        return Records(
            names=[self.names[row] for row in rows],
            captions=[self.captions[row] for row in rows],
            vectors=None if self.vectors is None else take_rows(self.vectors, rows),
            pictures=take_rows(pictures, rows) if isinstance(pictures, np.ndarray) else pictures,
            concepts=None if self.concepts is None else take_rows(self.concepts, rows),
        )


def join(first: Records, second: Records) -> Records:
    """Two parts of one split, one behind the other: names, captions and picture files.

    Raises:
      ValueError: one part has pictures and the other has none.
    """
    if (first.pictures is None) != (second.pictures is None):
        bare, shown = (first, second) if first.pictures is None else (second, first)
        raise ValueError(
            f"{some(bare.names, 2)} have no pictures, but {some(shown.names, 2)} have: add the "
            "missing folder, or take the other one away"
        )
    pictures = [*(first.pictures or []), *(second.pictures or [])] or None
    return Records(
        [*first.names, *second.names], [*first.captions, *second.captions], pictures=pictures
    )


class Rows:
    """Some rows of an array too large to copy, such as a memory map; read where they are indexed.

    Args:
      array: (N, ...).
      rows: (n,) its rows, in any order.
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self.array, self.rows = array, rows
        self.shape, self.dtype, self.ndim = (len(rows), *array.shape[1:]), array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen) -> np.ndarray:
        """The rows that an integer, a slice or an array of integers chooses, as an array."""
        return np.asarray(self.array[self.rows[chosen]])


def take_rows(array: Any, rows: Sequence[int] | np.ndarray) -> Any:
    """`array[rows]`: a view where they are evenly spaced, `Rows` where a copy would be large.

    So a memory map stays one.
    """
    rows = np.asarray(rows, dtype=np.int64)  # (n,)
    step = int(rows[1] - rows[0]) if len(rows) > 1 else 1
    even = len(rows) and step > 0 and np.array_equal(rows, rows[0] + step * np.arange(len(rows)))
    if even and (step == 1 or isinstance(array, np.ndarray)):
        return array[rows[0] : rows[-1] + 1 : step]
    if len(rows) * array[:1].nbytes > LARGE_BYTES:
        if isinstance(array, Rows):
            return Rows(array.array, array.rows[rows])
        return Rows(array, rows)
    return array[rows]


def split_word(word: Any, where: str) -> str:
    """`train`, `validation` or `test`."""
    split = SPLIT_WORDS.get(word.strip().lower()) if isinstance(word, str) else None
    if split is None:
        raise ValueError(f"{where}: split {shown(word)} is none of {', '.join(SPLIT_WORDS)}")
    return split


def image_id(name: str) -> str:
    """COCO's id of an image: the last number of a name such as COCO_val2014_000000391895.jpg.

    Names of other data stay as they are, without the suffix.
    """
    coco = re.fullmatch(r"(?:COCO_(?:train|val|test)\d{4}_)?0*(\d+)(?:\.\w+)?", Path(name).name)
    return coco[1] if coco else re.sub(r"(?i)\.(jpe?g|png)$", "", composed(name))


# Messages.


def some(names: Iterable[Any], limit: int = 5) -> str:
    """The first few names, for an error: `a, b, c, ...`."""
    names = [str(name) for name in names]
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def listing(folder: Path) -> str:
    """What lies in a folder, for an error."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return some(names, 12) if names else "nothing"


# Files and folders.


def find_sources(data: str, data_dir: str | os.PathLike | None) -> list[Path]:
    """The folder or file that holds a data set; of vectors (precomp) several, with commas between.

    Raises:
      ValueError: none was given, one does not exist (says what is there instead), or the data set
        is of a format that lies in one.
    """
    given = str(data_dir or "")
    folders = given.split(",")
    if Path(given).exists():
        folders = [given]
    elif len(folders) > 1 and data != "precomp":
        raise ValueError(
            f"data {data} lies in one folder, but data_dir {data_dir} names several: only the "
            "vectors of precomp are put side by side"
        )
    if not all(folders):
        raise ValueError(f"data {data} needs data_dir: the folder that holds it")
    sources = [Path(os.path.abspath(folder)) for folder in folders]  # as every message names them
    for source in sources:
        if not source.exists():
            parent = next(one for one in source.parents if one.is_dir())
            raise ValueError(f"data_dir {source} does not exist; {parent} holds {listing(parent)}")
    return sources


def subfolders(root: Path, depth: int = 3, limit: int = 1000) -> list[Path]:
    """The folders in a folder and in these, sorted, hidden ones left out; so many at most."""
    found: list[Path] = []
    level = [root]
    for _ in range(depth):
        below: list[Path] = []
        for folder in level[:limit]:
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                own = [one.name for one in entries if one.name[0] != "." and one.is_dir()]
                below += [folder / name for name in sorted(own)]
        found, level = found + below, below
    return found[:limit]


def _files(folders: list[Path], patterns: Sequence[str]) -> list[Path]:
    found = {path for one in folders for pattern in patterns for path in one.glob(pattern)}
    return sorted(path for path in found if path.is_file())


def find_file(source: Path, patterns: Sequence[str], what: str, below: bool = False) -> Path:
    """The one file in a folder that fits one of the patterns; `source` itself if it is a file.

    Args:
      source: the folder; patterns: of its files; what: the file is, for the message.
      below: where there is none, look into the folders below too, as archives unpack.

    Raises:
      ValueError: there is none, or there are several.
    """
    if source.is_file():
        return source
    found = _files([source], patterns) or (_files(subfolders(source), patterns) if below else [])
    wanted = " or ".join(patterns)
    if not found:
        raise ValueError(f"no {what} in {source}: expected {wanted}; it holds {listing(source)}")
    if len(found) > 1:
        names = some(path.relative_to(source) for path in found)
        raise ValueError(f"{len(found)} files in {source} could be the {what}: {names}; leave one")
    return found[0]


# Contents of files.


def read_vectors(path: Path) -> np.ndarray:
    """Opens an `.npy` file of image vectors as a memory map and looks for NaN and infinity once.

    Returns:
      (N, F) or (N, R, F), float16, float32 or int8; float64 becomes float32 in memory.

    Raises:
      ValueError: the file is not such an array, or a row is not finite.
    """
    try:
        vectors = np.lib.format.open_memmap(path, mode="r")
    except DAMAGE as error:
        raise ValueError(f"{path} is not a whole .npy file: {reason(error)}") from error
    if vectors.ndim not in (2, 3) or not vectors.size:
        raise ValueError(f"{path} holds {vectors.shape}; expected one row for each image, (N, F)")
    if (extra := path.stat().st_size - vectors.offset - vectors.nbytes) != 0:
        raise ValueError(
            f"{path} is not a whole .npy file: {extra:+,} bytes besides its {vectors.shape} numbers"
        )
    if vectors.dtype == np.float64:
        with np.errstate(over="ignore", invalid="ignore"):
            vectors = vectors.astype(np.float32)
    if vectors.dtype not in (np.float16, np.float32, np.int8):
        raise ValueError(f"{path} holds {vectors.dtype}; expected float16, float32 or int8")
    check_finite(vectors, path)
    return vectors


def blocks(array: np.ndarray | Rows) -> Iterable[tuple[int, np.ndarray]]:
    """First row and rows of each block of at most 16 MiB."""
    step = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def write_header(file: BinaryIO, dtype: Any, shape: tuple[int, ...]) -> None:
    """What stands in an `.npy` file before the numbers; as long for any number of rows."""
    facts = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)


def check_finite(vectors: np.ndarray, path: Path) -> None:
    """Refuses NaN and infinity.

    Raises:
      ValueError: names the first such row, counted from 0, and how many there are.
    """
    if vectors.dtype.kind != "f":
        return
    bad: list[int] = []
    for start, block in blocks(vectors):
        finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
        bad.extend((start + np.flatnonzero(~finite)).tolist())
    if bad:
        raise ValueError(
            f"{path}: {len(bad)} of {len(vectors)} rows hold NaN or infinity, first row {bad[0]} "
            "(counted from 0); extract these features again"
        )
