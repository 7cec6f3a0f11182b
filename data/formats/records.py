"""What the readers of data sets share: the records they hand over, and careful reading of files.

A reader (`readers.py`, `nuswide.py`, `table.py`) turns one layout on disk into one `Records` for
each split. Everything here that reads a file answers a bad one with a single line: which file,
which line, what was expected and how to mend it.

Shape letters: N images, M captions, F feature, K concepts.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")
PICTURE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "flickr30k-images", "flickr30k_images")
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
class Options:
    """What a reader may need to know besides where the data lies.

    Attributes:
      cache_dir: folder for what is slow to read.
      validation_images: how many training images to set aside where the layout has no validation.
      seed: of every draw.
      limit: images wanted of each split, or None; only `scenes` heeds it, to draw fewer.
      coco_split: which images of COCO's two files make which split, see `readers.read_coco`.
    """

    cache_dir: Path
    validation_images: int
    seed: int
    limit: int | None
    coco_split: str = "whole"


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
    """

    names: list[str]
    captions: list[list[str]]
    vectors: np.ndarray | None = None
    pictures: list[str] | np.ndarray | None = None
    concepts: np.ndarray | None = None
    fits: Callable[[], np.ndarray] | None = None

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
    """`array[rows]`: a view where the rows are neighbours, `Rows` where a copy would be large.

    So a memory map stays one.
    """
    rows = np.asarray(rows, dtype=np.int64)  # (n,)
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return array[rows[0] : rows[0] + len(rows)]
    if len(rows) * array[:1].nbytes > LARGE_BYTES:
        if isinstance(array, Rows):
            return Rows(array.array, array.rows[rows])
        return Rows(array, rows)
    return array[rows]


def draw_validation(num_images: int, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Sets images aside for validation, drawn by the seed from the training images.

    Returns:
      Rows that stay and rows set aside, both ascending: `validation_images`, but at most a tenth.
    """
    if num_images < 2:
        raise ValueError(
            f"{num_images} training images are too few to set one aside for validation"
        )
    wanted = min(options.validation_images, max(1, num_images // 10))
    order = np.random.default_rng(options.seed).permutation(num_images)
    return np.sort(order[wanted:]), np.sort(order[:wanted])


def cut_in_three(order: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """Cuts a row order into train, validation and test: 80, 10 and 10 percent."""
    if len(order) < 3:
        raise ValueError(f"{len(order)} images are too few to make three splits; at least 3 needed")
    tenth = max(1, len(order) // 10)
    pieces = np.split(np.asarray(order), [len(order) - 2 * tenth, len(order) - tenth])
    return dict(zip(SPLITS, pieces, strict=True))


def split_word(word: str, where: str) -> str:
    """`train`, `validation` or `test`."""
    split = SPLIT_WORDS.get(word.strip().lower())
    if split is None:
        raise ValueError(f"{where}: split {word!r} is none of {', '.join(SPLIT_WORDS)}")
    return split


def image_id(name: str) -> str:
    """COCO's id of an image: the last number of a name such as COCO_val2014_000000391895.jpg.

    Names of other data stay as they are, without the suffix.
    """
    coco = re.fullmatch(r"(?:COCO_(?:train|val|test)\d{4}_)?0*(\d+)(?:\.\w+)?", Path(name).name)
    return coco[1] if coco else name.removesuffix(".jpg")


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


def find_source(data: str, data_dir: str | os.PathLike | None) -> Path:
    """The folder or file that holds a data set.

    Raises:
      ValueError: none was given, or it does not exist; says what is there instead.
    """
    if not data_dir:
        raise ValueError(f"data {data} needs data_dir: the folder that holds it")
    source = Path(data_dir)
    if source.exists():
        return source
    parent = source.absolute().parent
    while not parent.is_dir():
        parent = parent.parent
    raise ValueError(f"data_dir {source} does not exist; {parent} holds {listing(parent)}")


def find_file(source: Path, patterns: Sequence[str], what: str) -> Path:
    """The one file in a folder that fits one of the patterns; `source` itself if it is a file.

    Raises:
      ValueError: there is none, or there are several.
    """
    if source.is_file():
        return source
    found = sorted({path for pattern in patterns for path in source.glob(pattern)})
    found = [path for path in found if path.is_file()]
    wanted = " or ".join(patterns)
    if not found:
        raise ValueError(f"no {what} in {source}: expected {wanted}; it holds {listing(source)}")
    if len(found) > 1:
        names = some(path.name for path in found)
        raise ValueError(f"{len(found)} files in {source} could be the {what}: {names}; leave one")
    return found[0]


def find_pictures(names: Sequence[str], folders: Iterable[Path]) -> list[str] | None:
    """Paths of the pictures, in the first of the folders that holds any of the first hundred.

    Returns:
      N paths, or None where no folder holds them.

    Raises:
      ValueError: the folder holds some of the pictures but not all.
    """
    for folder in folders:
        if any((folder / name).is_file() for name in names[:100]):
            paths = [f"{folder}{os.sep}{name}" for name in names]
            missing = [p for p, path in zip(names, paths, strict=True) if not os.path.isfile(path)]
            if missing:
                raise ValueError(
                    f"{len(missing)} of {len(names)} images have no picture in {folder}: "
                    f"{some(missing)}; add them, or take them out of the split"
                )
            return paths
    return None


def picture_folders(root: Path) -> list[Path]:
    """Where a data set's pictures may lie."""
    return [root / name for name in PICTURE_FOLDERS]


# Contents of files.


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file. A byte-order mark, Windows line ends and blank last lines go.

    Raises:
      ValueError: the file cannot be read or is not UTF-8; names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ValueError(
            f"{path}, line {line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    # Not splitlines(): that would also cut at line separators that stand inside a caption.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_names(path: Path) -> list[str]:
    """Lines of a list file, stripped; blank ones are skipped."""
    return [line.strip() for line in read_lines(path) if line.strip()]


def read_captions(path: Path) -> list[str]:
    """Lines of a file with one caption each.

    Raises:
      ValueError: a line is empty; names it.
    """
    lines = read_lines(path)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(f"{path}, line {number}: empty caption; every line must hold one")
    return lines


def read_annotations(path: Path) -> Any:
    """A JSON file.

    Raises:
      ValueError: the file is not whole JSON; names the line.
    """
    try:
        return json.loads("\n".join(read_lines(path)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error


def read_vectors(path: Path) -> np.ndarray:
    """Opens an `.npy` file of image vectors as a memory map and looks for NaN and infinity once.

    Returns:
      (N, F) or (N, R, F), float16, float32 or int8; float64 becomes float32 in memory.

    Raises:
      ValueError: the file is not such an array, or a row is not finite.
    """
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise ValueError(f"{path} is not a whole .npy file: {error}") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim not in (2, 3) or not vectors.size:
        shape = getattr(vectors, "shape", type(vectors).__name__)
        raise ValueError(f"{path} holds {shape}; expected one row for each image, (N, F)")
    if vectors.dtype == np.float64:
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
