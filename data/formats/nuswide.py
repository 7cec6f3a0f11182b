"""Reader of NUS-WIDE-Lite as the IRSE course hands it out: 55,615 images, tags, 81 concepts.

  image list/{Train,Test}_imageOutPutFileList.txt   lines `category\\name_id.jpg`
  image list/NUS_Test_Subset.txt                    some of the test images, for the second part
  All_Tags.txt                                      image id, six spaces, tags
  NUS-WIDE-Lite_groundtruth/*_{Train,Test}.txt      a file for each concept, a 0 or 1 for each image
  images/image_features.csv                         file name, then 2,048 numbers, space separated

The CSV is about a gigabyte of text. It is parsed once, line by line, into an `.npy` file in the
cache folder, its rows in the order of the lists: training images, then test images.

Shape letters: N images, F feature (2,048), K concepts (81).
"""

import dataclasses
import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from data.formats.drawing import draw_validation
from data.formats.pictures import locate
from data.formats.records import (
    ReadingOptions,
    Records,
    find_file,
    listing,
    some,
    write_header,
)
from data.formats.text import read_lines, read_names
from run import caches
from run.files import atomic_path, open_array

FOLDER = "NUS-WIDE-Lite"
FEATURES = "images/image_features.csv"
SUBSET = "NUS_Test_Subset.txt"
TAGS = "All_Tags.txt"
TRUTH = "NUS-WIDE-Lite_groundtruth"


def read_nuswide(source: Path, options: ReadingOptions) -> dict[str, Records]:
    """NUS-WIDE-Lite: one caption (the tags) for each image, concept vectors, image vectors.

    With `nuswide_test` "subset" the test split is those images that NUS_Test_Subset.txt names, in
    the order of the whole list.

    Reference: the code of the course solution (SYSTEMS.md, System 1 (d)).
    Differs from it: validation is drawn from the training images, not from the test images.

    Raises:
      ValueError: a file is missing or malformed, or the files do not fit together.
    """
    root = source / FOLDER if (source / FOLDER).is_dir() else source
    lists = {part: _read_list(root, part) for part in ("Train", "Test")}
    names = {part: [_file_name(entry) for entry in lists[part]] for part in lists}
    tags = _read_tags(root, {_image_id(name) for part in names for name in names[part]})
    concepts = _read_concepts(root, {part: len(names[part]) for part in names})
    vectors = _open_features(root, names["Train"] + names["Test"], options.cache_dir)
    records, start = {}, 0
    for part, own in names.items():
        records[part] = Records(
            names=own,
            captions=[tags.get(_image_id(name), []) for name in own],
            vectors=vectors[start : start + len(own)],
            pictures=_picture_paths(root, lists[part]),
            concepts=concepts[part],
        )
        start += len(own)
    train, validation = draw_validation(records["Train"], options, str(root))
    test = records["Test"]
    if options.nuswide_test == "subset":
        test = _choose(test, _read_subset(root, test.names))
    return {"train": train, "validation": validation, "test": test}


def _read_subset(root: Path, names: Sequence[str]) -> NDArray[np.int64]:
    """(n,) rows of the test images that the list of the second part names, ascending."""
    path = find_file(root, (f"image list/{SUBSET}",), "list of some test images")
    entries = [_file_name(entry.replace("\\", "/")) for entry in read_names(path)]
    row_of = {name: row for row, name in enumerate(names)}
    if strange := [name for name in entries if name not in row_of]:
        raise ValueError(
            f"{path}: {len(strange)} of {len(entries)} images are not in the list of test images: "
            f"{some(strange)}"
        )
    return np.unique([row_of[name] for name in entries])


def _choose(records: Records, rows: NDArray[np.int64]) -> Records:
    """Some images of a split."""
    kept = {}
    for field in ("names", "captions", "pictures"):
        values = getattr(records, field)
        kept[field] = None if values is None else [values[row] for row in rows]
    for field in ("vectors", "concepts"):
        kept[field] = np.asarray(getattr(records, field)[rows])
    return dataclasses.replace(records, **kept)


def _read_list(root: Path, part: str) -> list[str]:
    """Lines `category\\name_id.jpg` as `category/name_id.jpg`."""
    path = find_file(
        root, (f"image list/{part}_imageOutPutFileList.txt",), f"list of {part} images"
    )
    entries = [entry.replace("\\", "/") for entry in read_names(path)]
    for number, entry in enumerate(entries, 1):
        if "_" not in _file_name(entry):
            raise ValueError(f"{path}, line {number}: expected category\\name_id.jpg, got {entry}")
    return entries


def _file_name(entry: str) -> str:
    return entry.rpartition("/")[2]


def _image_id(name: str) -> str:
    """`0001_2124494179.jpg` -> `2124494179`."""
    return name.partition("_")[2].partition(".")[0]


def _read_tags(root: Path, wanted: set[str]) -> dict[str, list[str]]:
    """The caption of each wanted image; the file holds all of NUS-WIDE. The first line counts."""
    path = find_file(root, (TAGS,), "file of tags")
    tags: dict[str, list[str]] = {}
    for line in read_lines(path):
        key, _, caption = line.partition(" ")
        if key in wanted and (caption := caption.strip()):
            tags.setdefault(key, [caption])
    return tags


def _read_concepts(root: Path, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """(N, K) float32 for each list, concepts in the order of their file names."""
    found: dict[str, dict[str, Path]] = {}
    for part in counts:
        ending = f"_{part}.txt"
        paths = sorted((root / TRUTH).glob(f"*{ending}"))
        found[part] = {path.name.removesuffix(ending): path for path in paths}
        found[part].pop("Lite_GT", None)  # Lite_GT_Train.txt is no concept but all of them at once
    odd = set(found["Train"]) ^ set(found["Test"])
    if odd or not found["Train"]:
        raise ValueError(
            f"{root / TRUTH} must hold *_Train.txt and *_Test.txt of each concept; "
            + (
                f"one of the two is missing for {some(sorted(odd))}"
                if odd
                else _holds(root / TRUTH)
            )
        )
    return {
        part: np.stack([_read_truth(path, counts[part]) for path in found[part].values()], axis=1)
        for part in counts
    }


def _holds(folder: Path) -> str:
    return f"it holds {listing(folder)}" if folder.is_dir() else "there is no such folder"


def _read_truth(path: Path, count: int) -> np.ndarray:
    """(N,) float32, 0 or 1 for each image of the list."""
    digits = np.frombuffer(path.read_bytes().translate(None, b" \t\r\n"), np.uint8) - ord("0")
    if len(digits) != count:
        raise ValueError(
            f"{path} has {len(digits)} lines; expected {count}, one for each image of the list"
        )
    if (digits > 1).any():
        raise ValueError(f"{path}, line {np.argmax(digits > 1) + 1}: expected 0 or 1")
    return digits.astype(np.float32)


def _picture_paths(root: Path, entries: list[str]) -> list[str] | None:
    """Paths of the pictures, `images/category/name_id.jpg`, where any of the first is there.

    A missing one gets the path that it would have: the course hands out features, pictures are an
    extra.
    """
    folder, found = locate(entries, root) or ("", [])
    return [
        path or f"{folder}{os.sep}{entry}" for path, entry in zip(found, entries, strict=False)
    ] or None


# The feature CSV.


def _open_features(root: Path, names: list[str], cache_dir: Path) -> np.ndarray:
    """(N, F) float32 memory map, row i for `names[i]`; parsed first where the cache is cold.

    The cache file is named by the CSV's name, size and time and by the images, so that a new CSV or
    list is parsed anew.
    """
    path = find_file(root, (FEATURES,), "image features")
    state = path.stat()
    key = "\n".join([path.name, str(state.st_size), str(state.st_mtime_ns), *names])
    cached = cache_dir / f"nuswide_{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
    if not caches.is_whole(cached):
        with atomic_path(cached) as temporary, open(temporary, "wb") as file:
            parse_features(path, names, file)
    return open_array(cached)


def parse_features(path: Path, names: list[str], file: BinaryIO) -> None:
    """Writes the rows of a feature CSV that `names` lists, in that order, as an `.npy` file.

    Holds one row at a time: each is written at its place as it is read.

    Args:
      path: lines of a file name and F numbers, separated by spaces. Names not listed are passed
        over, and so is a name's second line.
      names: N file names.
      file: receives (N, F) float32.

    Raises:
      ValueError: a line that is no such row, a number that is not finite, an image without row;
        names the line or the images.
    """
    from tqdm import tqdm

    place = {name: row for row, name in enumerate(names)}
    num_features, first_byte = 0, 0
    bar = tqdm(total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True, disable=None)
    with open(path, "rb") as lines, bar, warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how NumPy reports a word among numbers
        for number, line in enumerate(lines, 1):
            bar.update(len(line))
            name, _, text = line.lstrip(b"\xef\xbb\xbf").partition(b" ")
            row = place.pop(_file_name(name.decode("utf-8", "replace").replace("\\", "/")), None)
            if row is None:
                continue
            values = _parse_row(text, f"{path}, line {number}")
            if not num_features:
                num_features = len(values)
                write_header(file, "<f4", (len(names), len(values)))
                first_byte = file.tell()
            if len(values) != num_features:
                raise ValueError(
                    f"{path}, line {number}: {len(values)} numbers, the lines before have "
                    f"{num_features}"
                )
            file.seek(first_byte + row * values.nbytes)
            file.write(values.tobytes())
    if place:
        raise ValueError(
            f"{path} has no row for {len(place)} of {len(names)} images: {some(place)}; "
            "expected lines of a file name and its numbers, separated by spaces"
        )


def _parse_row(text: bytes, where: str) -> np.ndarray:
    """(F,) float32."""
    try:
        values = np.fromstring(text, dtype="<f4", sep=" ")
    except (ValueError, DeprecationWarning) as error:
        word = next((word for word in text.split() if not _is_number(word)), b"")
        got = word[:40].decode(errors="replace")
        raise ValueError(f"{where}: expected numbers separated by spaces, got {got!r}") from error
    if not len(values):
        raise ValueError(f"{where}: no numbers after the file name")
    if not np.isfinite(values).all():
        raise ValueError(
            f"{where}: NaN or infinity at number {np.argmin(np.isfinite(values)) + 1}; "
            "extract these features again"
        )
    return values


def _is_number(word: bytes) -> bool:
    return (
        re.fullmatch(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf\w*)", word) is not None
    )
