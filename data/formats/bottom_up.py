"""Bottom-up features of pictures: boxes from a TSV or an HDF5 file, as one memory-mapped array.

    boxes = open_boxes("trainval_36.tsv", ".cache")       # read once; then at once
    boxes.array[boxes.rows["391895"]]                     # (36, 2048) float32

    TSV     tab separated, no header: image id, width, height, number of boxes, boxes, features;
            the last two base64 of float32, (R, 4) and (R, F). In another order these are told
            apart by their widths
    HDF5    see `box_arrays.py`

The first reading goes through a file once, a line at a time, and leaves `boxes-*.npy` and its ids
in the cache. A last line that was cut off is named and left out; anything else that does not fit is
refused by its name.

Shape letters: N images, R boxes, F feature.

Reference: Anderson et al., Bottom-up and top-down attention for image captioning and visual
  question answering, 2018, and the layout of the files that they published (36 boxes, 2,048).
"""

import base64
import binascii
import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from data.formats.box_arrays import most_boxes, read_hdf5
from data.formats.records import image_id, some, take_rows, write_header
from data.formats.text import composed
from run import caches
from run.files import atomic_path, open_array, read_json, write_json

logger = logging.getLogger(__name__)

COLUMNS = ("image id", "width", "height", "number of boxes", "boxes", "features")
READING = b"columns by width, padded boxes"  # what a stored array was read by
ENDS = {".tsv": "TSV", ".h5": "HDF5", ".hdf5": "HDF5"}


class Boxes(NamedTuple):
    """The boxes of many pictures.

    Attributes:
        array: (N, R, F) float32, memory-mapped.
        rows: image id -> its row.
        path: of the files, for messages.
    """

    array: np.ndarray
    rows: dict[str, int]
    path: str


class _Cut(Exception):
    """The line ends too early."""


def open_boxes(path: str | Path, cache_dir: str | Path) -> Boxes:
    """The boxes of a file, or of several with commas between; read once, then from the cache.

    Args:
        path: TSV or HDF5 files. One that has changed since (size or time) is read anew.
        cache_dir: where the array goes: as large as the numbers are, 0.3 MB an image.

    Raises:
        ValueError: a file is missing or of another kind, or a row does not fit; names file, line
            and image.
    """
    files = [Path(name.strip()).absolute() for name in str(path).split(",")]
    for file in files:
        if not file.is_file():
            raise ValueError(f"--features_file {file}: there is no such file")
        if file.suffix.lower() not in ENDS:
            raise ValueError(f"--features_file {file}: expected a name ending in {', '.join(ENDS)}")
    key = hashlib.sha256(READING)
    for file in files:
        facts = file.stat()
        key.update(f"{file.resolve()} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    stored = Path(cache_dir) / f"boxes-{key.hexdigest()[:16]}.npy"
    names = stored.with_suffix(".json")
    if not (caches.is_whole(stored) and caches.is_whole(names)):
        write_json(names, _convert(files, stored))
    array = open_array(stored)
    rows = {name: row for row, name in enumerate(map(str, read_json(names, list)))}
    if len(rows) != len(array):
        raise ValueError(f"{stored} and {names.name} do not fit together: delete both")
    return Boxes(array, rows, str(path))


def _convert(files: list[Path], stored: Path) -> list[str]:
    """Writes all boxes as one `.npy`, row by row; returns the ids in the order of the rows."""
    ids: dict[str, Path] = {}
    shape: tuple[int, ...] = ()
    most = max([most_boxes(file) for file in files if _is_hdf5(file)], default=0)
    with atomic_path(stored) as temporary, open(temporary, "wb") as out:
        for file in files:
            for where, name, values in read_hdf5(file, most) if _is_hdf5(file) else _read_tsv(file):
                if not shape:
                    shape = values.shape
                    write_header(out, "<f4", (0, *shape))  # with room for any number of rows
                if values.shape != shape:
                    raise ValueError(
                        f"{where} has {_size(values.shape)}, those before it {_size(shape)}: all "
                        "must be alike"
                    )
                if not np.isfinite(values).all():
                    raise ValueError(f"{where} holds NaN or infinity; extract its features again")
                if name in ids:
                    raise ValueError(f"{where} stands in {ids[name].name} already; leave one")
                ids[name] = file
                out.write(np.ascontiguousarray(values, "<f4").data)
        if not ids:
            raise ValueError(f"{some(files)}: no boxes of any image")
        out.seek(0)
        write_header(out, "<f4", (len(ids), *shape))
    return list(ids)


def _is_hdf5(file: Path) -> bool:
    return ENDS[file.suffix.lower()] == "HDF5"


def _size(shape: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, shape))} numbers"


def _read_tsv(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """(where, image id, (R, F)) of each line."""
    size, shape, places = path.stat().st_size, None, None
    bar = tqdm(total=size, desc=f"reading {path.name}", unit="B", unit_scale=True, disable=None)
    with open(path, "rb") as file, bar:
        for number, line in enumerate(file, 1):
            bar.update(len(line))
            if not line.strip():
                continue
            fields = line.rstrip(b"\r\n").split(b"\t")
            name = composed(fields[0].decode("utf-8", "replace").strip())
            where = f"{path}, line {number:,}, image {name[:40]}"
            try:
                places = places or _places(fields)
                values = _parse(fields, places, where)
                if not line.endswith(b"\n") and shape not in (None, values.shape):
                    raise _Cut(f"it has {_size(values.shape)}, those before it {_size(shape)}")
            except _Cut as error:
                if line.endswith(b"\n") or number == 1:
                    raise ValueError(f"{where}: {error}") from None
                logger.warning("%s is cut off (%s): left out", where, error)
                return
            shape = values.shape
            yield where, image_id(name), values


def _places(fields: list[bytes]) -> tuple[int, int, int]:
    """Which of six columns are the number of boxes, the boxes and the features, by their widths."""
    usual = (3, 4, 5)
    if len(fields) != len(COLUMNS):
        return usual
    numbers = [int(field) if _is_count(field) else 0 for field in fields]
    widths = [
        0 if number else _decoded_bytes(field)
        for number, field in zip(numbers, fields, strict=True)
    ]
    for count, boxes, features in (usual, *permutations(range(1, len(COLUMNS)), 3)):
        number = numbers[count]
        whole = number and widths[features] and widths[features] % (4 * number) == 0
        if whole and widths[boxes] == 16 * number:
            return count, boxes, features
    return usual


def _is_count(field: bytes) -> bool:
    return field.strip().isdigit() and len(field) < 10


def _decoded_bytes(field: bytes) -> int:
    """How many bytes a column of base64 holds; 0 where it is none."""
    try:
        return len(base64.b64decode(field.strip(), validate=True))
    except binascii.Error:
        return 0


def _parse(fields: list[bytes], places: tuple[int, int, int], where: str) -> np.ndarray:
    """The (R, F) features of a line.

    Raises:
        _Cut: it may have been cut off.
        ValueError: it is no such line.
    """
    if len(fields) < len(COLUMNS):
        raise _Cut(f"{len(fields)} columns; expected {len(COLUMNS)}: {', '.join(COLUMNS)}")
    count, boxes, features = places
    if len(fields) > len(COLUMNS) or not _is_count(fields[count]) or not fields[0].strip():
        raise ValueError(f"{where}: expected the columns {', '.join(COLUMNS)}, tab separated")
    number = int(fields[count])
    try:
        decoded = base64.b64decode(fields[features].strip(), validate=True)
    except binascii.Error as error:
        raise _Cut(f"its features are no base64: {error}") from None
    if not number or not decoded or len(decoded) % (4 * number):
        raise _Cut(f"{len(decoded):,} bytes of features are no whole rows for {number} boxes")
    if (corners := _decoded_bytes(fields[boxes])) != 16 * number:
        raise _Cut(f"{corners:,} bytes of boxes are not four numbers for each of {number} boxes")
    return np.frombuffer(decoded, "<f4").reshape(number, -1)


# As the vectors of a data set.


def attach(splits: dict[str, Any], settings: Any) -> dict[str, Any]:
    """Splits with their boxes as vectors, (N, R, F), memory-mapped: --features bottom_up.

    Args:
        splits: name -> `datasets.Split`; images are found by COCO's id, or by their names.
        settings: with features_file and cache_dir.

    Raises:
        ValueError: no file was named; or it lacks images, which are counted and named.
    """
    if not settings.features_file:
        raise ValueError("--features bottom_up reads boxes from a file: give --features_file FILE")
    boxes = open_boxes(settings.features_file, settings.cache_dir)
    found, owner = {}, {}
    for name, split in splits.items():
        rows = [boxes.rows.get(image_id(image)) for image in split.image_names]
        missing = [image for image, row in zip(split.image_names, rows, strict=True) if row is None]
        if missing:
            raise ValueError(
                f"{boxes.path} lacks {len(missing):,} of {len(rows):,} images of the {name} split: "
                f"{some(missing)}; it has {some(boxes.rows, 3)}"
            )
        known = [row for row in rows if row is not None]  # all of them
        for image, row in zip(split.image_names, known, strict=True):
            other = owner.setdefault(row, (name, image))
            if other[0] != name:
                raise ValueError(
                    f"{other[0]} image {other[1]} and {name} image {image} have the same boxes in "
                    f"{boxes.path}: they are one image under two names; take one out"
                )
            if other[1] != image:
                logger.warning("%s split: %s and %s have the same boxes", name, other[1], image)
        found[name] = dataclasses.replace(split, vectors=take_rows(boxes.array, known))
    return found
