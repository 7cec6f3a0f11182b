"""Bottom-up features of pictures: boxes from a TSV or an HDF5 file, as one memory-mapped array.

    boxes = open_boxes("trainval_36.tsv", ".cache")       # read once; then at once
    boxes.array[boxes.rows["391895"]]                     # (36, 2048) float32

    TSV     tab separated, no header: image id, width, height, number of boxes, boxes, features;
            the last two base64 of float32, (R, 4) and (R, F)
    HDF5    a data set (R, F) for each image, named by its id

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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from data.formats.records import image_id, some, take_rows
from run.files import atomic_path, read_json, write_json

logger = logging.getLogger(__name__)

COLUMNS = ("image id", "width", "height", "number of boxes", "boxes", "features")
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
    files = [Path(name.strip()) for name in str(path).split(",")]
    for file in files:
        if not file.is_file():
            raise ValueError(f"--features_file {file}: there is no such file")
        if file.suffix.lower() not in ENDS:
            raise ValueError(f"--features_file {file}: expected a name ending in {', '.join(ENDS)}")
    key = hashlib.sha256()
    for file in files:
        facts = file.stat()
        key.update(f"{file.resolve()} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    stored = Path(cache_dir) / f"boxes-{key.hexdigest()[:16]}.npy"
    names = stored.with_suffix(".json")
    if not (stored.is_file() and names.is_file()):
        write_json(names, _convert(files, stored))
    array = np.load(stored, mmap_mode="r", allow_pickle=False)
    rows = {name: row for row, name in enumerate(read_json(names))}
    if len(rows) != len(array):
        raise ValueError(f"{stored} and {names.name} do not fit together: delete both")
    return Boxes(array, rows, str(path))


def _convert(files: list[Path], stored: Path) -> list[str]:
    """Writes all boxes as one `.npy`, row by row; returns the ids in the order of the rows."""
    ids: dict[str, Path] = {}
    shape: tuple[int, ...] = ()
    with atomic_path(stored) as temporary, open(temporary, "wb") as out:
        for file in files:
            read = _read_tsv if ENDS[file.suffix.lower()] == "TSV" else _read_hdf5
            for where, name, values in read(file):
                if not shape:
                    shape = values.shape
                    _write_header(out, 0, shape)  # with room for any number of rows
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
        _write_header(out, len(ids), shape)
    return list(ids)


def _size(shape: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, shape))} numbers"


def _write_header(file: Any, number: int, shape: tuple[int, ...]) -> None:
    """The head of an `.npy`; as long for any number of rows, as NumPy leaves room for it."""
    facts = {"descr": "<f4", "fortran_order": False, "shape": (number, *shape)}
    np.lib.format.write_array_header_1_0(file, facts)


def _read_tsv(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """(where, image id, (R, F)) of each line."""
    size, shape = path.stat().st_size, None
    bar = tqdm(total=size, desc=f"reading {path.name}", unit="B", unit_scale=True, disable=None)
    with open(path, "rb") as file, bar:
        for number, line in enumerate(file, 1):
            bar.update(len(line))
            if not line.strip():
                continue
            name = line[:40].split(b"\t")[0].decode("ascii", "replace").strip()
            where = f"{path}, line {number:,}, image {name}"
            try:
                values = _parse(line.rstrip(b"\r\n").split(b"\t"), where)
                if not line.endswith(b"\n") and shape not in (None, values.shape):
                    raise _Cut(f"it has {_size(values.shape)}, those before it {_size(shape)}")
            except _Cut as error:
                if line.endswith(b"\n") or number == 1:
                    raise ValueError(f"{where}: {error}") from None
                logger.warning("%s is cut off (%s): left out", where, error)
                return
            shape = values.shape
            yield where, image_id(name), values


def _parse(fields: list[bytes], where: str) -> np.ndarray:
    """The (R, F) features of a line.

    Raises:
        _Cut: it may have been cut off.
        ValueError: it is no such line.
    """
    if len(fields) < len(COLUMNS):
        raise _Cut(f"{len(fields)} columns; expected {len(COLUMNS)}: {', '.join(COLUMNS)}")
    if len(fields) > len(COLUMNS) or not fields[3].strip().isdigit():
        raise ValueError(f"{where}: expected the columns {', '.join(COLUMNS)}, tab separated")
    number = int(fields[3])
    try:
        decoded = base64.b64decode(fields[5].strip(), validate=True)
    except binascii.Error as error:
        raise _Cut(f"its features are no base64: {error}") from None
    if not number or not decoded or len(decoded) % (4 * number):
        raise _Cut(f"{len(decoded):,} bytes of features are no whole rows for {number} boxes")
    return np.frombuffer(decoded, "<f4").reshape(number, -1)


def _read_hdf5(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """(where, image id, (R, F)) of each data set."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not a whole HDF5 file ({error})") from error
    with file:
        for name in tqdm(file, desc=f"reading {path.name}", unit=" images", disable=None):
            where, values = f"{path}, image {name}", file[name]
            if not isinstance(values, h5py.Dataset) or values.ndim != 2 or not values.size:
                found = getattr(values, "shape", "a group")
                raise ValueError(f"{where} is {found}; expected (boxes, numbers)")
            yield where, image_id(name), np.asarray(values, np.float32)


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
    found = {}
    for name, split in splits.items():
        rows = [boxes.rows.get(image_id(image)) for image in split.image_names]
        missing = [image for image, row in zip(split.image_names, rows, strict=True) if row is None]
        if missing:
            raise ValueError(
                f"{boxes.path} lacks {len(missing):,} of {len(rows):,} images of the {name} split: "
                f"{some(missing)}; it has {some(boxes.rows, 3)}"
            )
        known = [row for row in rows if row is not None]  # all of them
        found[name] = dataclasses.replace(split, vectors=take_rows(boxes.array, known))
    return found
