"""HDF5 files of boxes, in the layouts that are handed out.

    one for each image    data sets (R, F), each named by its image's id
    adaptive              image_features (B, F) of all boxes one behind the other, pos_boxes (N, 2)
                          first and last + 1 of each image; fewer boxes are filled up with zeros,
                          which the model takes for none
    all alike             image_features (N, R, F)

The last two say which image is which by a data set `image_id` (N,), or by a file `NAME_ids.txt`
beside NAME.hdf5, one id a line.

Nothing is read from outside the file: links and data that lie elsewhere are refused.

Shape letters: N images, R boxes, B boxes of all images, F feature.

Reference: Kim et al., Bilinear attention networks, 2018, and the files of its authors' code.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.formats.records import image_id
from data.formats.text import composed, read_names, shown
from run.hdf5 import dataset, opened

FEATURES, BOUNDS = "image_features", "pos_boxes"
IDS = ("image_id", "image_ids", "img_id", "img_ids", "ids")
LARGEST = 1 << 28  # numbers of one image: more is damage


def most_boxes(path: Path) -> int:
    """How many boxes the image with the most has, in an adaptive file; 0 for another layout."""
    with opened(path) as file:
        return int(np.diff(_bounds(file, path)).max()) if BOUNDS in file else 0


def _bounds(file: Any, path: Path) -> np.ndarray:
    """(N, 2) int64, where the boxes of each image begin and end.

    Raises:
        ValueError: they lie outside image_features, or are none.
    """
    if FEATURES not in file:
        raise ValueError(f"{path} has {BOUNDS} but no {FEATURES}: is it of another layout?")
    number = dataset(file, FEATURES, path).shape[0:1] or (0,)
    values = dataset(file, BOUNDS, path)
    if values.ndim != 2 or values.shape[1] != 2 or not len(values) or values.dtype.kind not in "iu":
        raise ValueError(f"{path}, {BOUNDS} is {values.shape} {values.dtype}; expected (N, 2)")
    bounds = values[:].astype(np.int64)
    wrong = (bounds[:, 0] < 0) | (bounds[:, 1] <= bounds[:, 0]) | (bounds[:, 1] > number[0])
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{path}, {BOUNDS} row {row} is {bounds[row].tolist()}; expected first < last of "
            f"{number[0]} boxes"
        )
    return bounds


def read_hdf5(path: Path, most: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """(where, image id, (R, F) float32) of each image.

    Args:
        path: the file.
        most: of an adaptive file, how many boxes an image is filled up to.

    Raises:
        ValueError: names the image that is none, or what the file lacks.
    """
    with opened(path) as file:
        if FEATURES in file:
            yield from _read_together(path, file, most)
            return
        for name in tqdm(file, desc=f"reading {path.name}", unit=" images", disable=None):
            where, values = f"{path}, image {name[:80]}", dataset(file, name, path)
            if values.ndim != 2 or not 0 < values.size <= LARGEST:
                raise ValueError(f"{where} is {values.shape}; expected (boxes, numbers)")
            yield where, image_id(name), _floats(values[:], where)


def _read_together(path: Path, file: Any, most: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """`read_hdf5` of a file that holds all boxes in one array."""
    values = dataset(file, FEATURES, path)
    bounds = _bounds(file, path) if values.ndim == 2 and BOUNDS in file else None
    if bounds is None and values.ndim != 3:
        raise ValueError(
            f"{path}: {FEATURES} is {values.shape}; expected (images, boxes, numbers), or "
            f"(boxes, numbers) and {BOUNDS}"
        )
    number = len(values) if bounds is None else len(bounds)
    ids = _ids(path, file, number)
    size = max(most, 1) * values.shape[1] if bounds is not None else np.prod(values.shape[1:])
    if not 0 < size <= LARGEST:
        raise ValueError(f"{path}: {FEATURES} is {values.shape}; expected (boxes, numbers)")
    for row in tqdm(range(number), desc=f"reading {path.name}", unit=" images", disable=None):
        where = f"{path}, image {ids[row]}"
        if bounds is None:
            yield where, ids[row], _floats(values[row], where)
            continue
        own = _floats(values[bounds[row, 0] : bounds[row, 1]], where)
        yield where, ids[row], np.pad(own, ((0, most - len(own)), (0, 0)))


def _ids(path: Path, file: Any, number: int) -> list[str]:
    """The id of each image.

    Raises:
        ValueError: nothing says them, or another number of them.
    """
    beside = path.with_name(f"{path.stem}_ids.txt")
    name = next((name for name in IDS if name in file), None)
    if name:
        values = dataset(file, name, path)
        if values.ndim != 1 or values.dtype.kind not in "iuSO" or values.size > LARGEST:
            raise ValueError(f"{path}, {name} is {values.shape} {values.dtype}; expected (N,) ids")
        found = [_id_text(value, f"{path}, {name}") for value in values[:].tolist()]
    elif beside.is_file():
        found = read_names(beside)
    else:
        raise ValueError(
            f"{path} holds {FEATURES} of {number} images, but not of which: expected a data set "
            f"{IDS[0]} ({number},) in it, or {beside.name} beside it, one id a line"
        )
    if len(found) != number:
        raise ValueError(f"{path}: {len(found)} ids for {number} images; expected one for each")
    return [image_id(name) for name in found]


def _id_text(value: Any, where: str) -> str:
    if isinstance(value, bytes):
        return composed(value.decode("utf-8", "replace"))
    if isinstance(value, int | str) and not isinstance(value, bool):
        return composed(str(value))
    raise ValueError(f"{where}: id {shown(value)}; expected a number or text")


def _floats(values: np.ndarray, where: str) -> np.ndarray:
    """float32; what is too large becomes infinite.

    Raises:
        ValueError: they are no numbers.
    """
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{where} holds {values.dtype}; expected numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, np.float32)
