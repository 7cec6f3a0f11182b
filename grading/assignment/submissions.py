"""What came back: files and folders of strangers, each read or refused with a status.

    for name, path in find_submissions("submissions"):
        rows = read_submission(path, key)      # Refused: its status says why

Of an `.npz` the heads are read first, so that no size that a file claims is ever held in memory,
and nothing in it is run. One submission at a time is in memory.

Shape letters: D embedding, M captions, N images.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import record
from data.formats.records import some
from gallery.scan import slices
from gallery.similarity import of_arrays
from grading import verify
from grading.assignment.key import Key
from run import files
from run.folder import Run

WIDEST = 8192  # D
KINDS = (np.float16, np.float32, np.float64)
NORM = 1e-3  # how far from 1 the norm of a unit row may be
LARGEST = 1 << 28  # bytes of a run's JSON
OF_RUNS = ("config.json", "data.json", "submission.npz", "projections.npz")


class Refused(ValueError):
    """A submission that gets no score.

    Attributes:
      status: for the table; the message says more.
    """

    def __init__(self, status: str, told: str = ""):
        super().__init__(told)
        self.status = status


class Submission(NamedTuple):
    """Embeddings in the order of the key.

    Attributes:
      image: (N, D), text: (M, D) finite floats; similarity: that they are made for.
      problem: a status that forbids a score or a pass, "" for none; note: more of it.
    """

    image: np.ndarray
    text: np.ndarray
    similarity: str = "cosine"
    problem: str = ""
    note: str = ""


def find_submissions(folder: str | Path) -> list[tuple[str, Path]]:
    """Name and path of each submission: an `.npz`, a run, or a student's folder with one in it.

    What is none is listed too. Hidden files are not.

    Raises:
      ValueError: there is no such folder, or nothing lies in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(
            f"--grade {folder} is no folder: expected one with a file for each student"
        )
    found = [pair for path in _visible(root) for pair in _inside(path)]
    if not found:
        raise ValueError(f"--grade {folder}: the folder is empty")
    return found


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def is_run(path: Path) -> bool:
    """Whether a folder looks like that of a run."""
    return any((path / name).is_file() for name in OF_RUNS)


def _inside(path: Path) -> Iterator[tuple[str, Path]]:
    """The submissions that an entry of the folder is or holds; itself where it holds none."""
    found: list[Path] = []
    try:
        if path.is_dir() and not is_run(path):
            found = [one for one in _visible(path) if one.suffix == ".npz" or is_run(one)]
    except OSError:  # it will be told when it is read
        pass
    if len(found) > 1:
        yield from ((f"{path.name}/{one.name}", one) for one in found)
    else:
        yield path.name, found[0] if found else path


def read_submission(path: Path, key: Key) -> Submission:
    """The embeddings of a submission, checked.

    Raises:
      Refused: it cannot be graded.
    """
    try:
        if is_run(path):
            return _read_run(Run(path), key)
        if path.suffix != ".npz":
            raise ValueError(f"{path} is no .npz and no folder of a run")
        return _read_rows(path, key)
    except Refused:
        raise
    except files.DAMAGE as error:
        raise Refused(f"unreadable: {_briefly(error, path)}") from None


def _briefly(error: BaseException, path: Path) -> str:
    """What an error says, without the path that the line begins with anyway."""
    said = files.reason(error)
    for start in (f"{path.absolute()} is ", f"{path} is ", f"{path} ", f"{path}: ", f"{path}/"):
        said = said.removeprefix(start)
    return said


def _read_run(run: Run, key: Key) -> Submission:
    """Of a folder: its files must be as they were written, and of the key's data."""
    for name in ("data.json", "manifest.json", "score.json"):
        if (run / name).is_file() and os.path.getsize(run / name) > LARGEST:
            raise ValueError(f"{name} is larger than {LARGEST >> 20} MB")
    known = record.read_record(run)["splits"]
    if known["test"]["sha256"] == key.data != key.original:
        path = run.require(run.submission, "python test.py writes it")
        own = _read_rows(path, key)
    elif known["test"]["sha256"] == key.original:
        path = run.require(run.projections, "python test.py writes it")
        if verify.read_score(run)["protocol"].get("split") != "test":
            raise ValueError("it was graded on another split than test")
        own = _in_order(_read_rows(path, key), key.image_rows, key.caption_rows)
    else:
        raise Refused("other data", "its run was trained beside other data than the key's")
    contents = set(key.contents) - {""}
    for name in ("train", "validation"):
        seen = [i for i, one in enumerate(known[name]["contents"]) if one in contents]
        if seen:
            told = some([known[name]["images"][i] for i in seen], 3)
            told = f"{len(seen)} of the test images are in its {name} split: {told}"
            return own._replace(problem="test images in training", note=told)
    return own


def _read_rows(path: Path, key: Key) -> Submission:
    """Of an `.npz`: its heads, then its rows."""
    heads = files.array_heads(path)
    sides = {"image": key.num_images, "text": key.num_captions}
    missing = [name for name in sides if name not in heads]
    if missing:
        held = some(heads, 4) or "nothing"
        raise ValueError(f"lacks {' and '.join(missing)}; it holds {held}")
    for name, rows in sides.items():
        shape, kind = heads[name]
        if kind not in KINDS:
            raise ValueError(f"{name} is {kind}, expected float16, float32 or float64")
        if len(shape) != 2 or shape[0] != rows or not 1 <= shape[1] <= WIDEST:
            told = f"{name} is {shape}, expected ({rows}, D), D at most {WIDEST:,}"
            raise Refused("wrong shape", told)
    if heads["image"][0][1] != heads["text"][0][1]:
        widths = f"{heads['image'][0][1]} and {heads['text'][0][1]}"
        raise Refused("wrong shape", f"image and text have {widths} columns")
    orders = {"image_ids": key.num_images, "caption_ids": key.num_captions}
    small = {"similarity": 64, "data": 64, **orders}
    named = [name for name, most in small.items() if name in heads and heads[name][0] <= (most,)]
    arrays = files.read_arrays(path, [*sides, *named])
    _check_data(arrays, key)
    own = Submission(arrays["image"], arrays["text"], of_arrays(arrays, path))
    places = [_order_of(arrays.get(name), rows, name) for name, rows in orders.items()]
    _check_finite(own)
    return _check_norms(_in_order(own, *places))


def _check_data(arrays: dict[str, np.ndarray], key: Key) -> None:
    """Refuses embeddings that name other data than the key's."""
    if "data" in arrays:
        told = arrays["data"].tobytes().decode(errors="replace")
        if told not in (key.data, key.original):
            raise Refused("other data", "it was encoded from other data than the key's")


def _order_of(ids: np.ndarray | None, rows: int, name: str) -> Any:
    """Which row of a file is the key's first, second, ...; a slice where it has their order."""
    if ids is None:
        return slice(None)
    if ids.dtype.kind not in "iu" or not np.array_equal(np.sort(ids), np.arange(rows)):
        raise ValueError(f"{name} must hold each number from 0 to {rows - 1} once")
    return np.argsort(ids)


def _in_order(own: Submission, images: Any, captions: Any) -> Submission:
    return own._replace(image=own.image[images], text=own.text[captions])


def _check_finite(own: Submission) -> None:
    for side in ("image", "text"):
        rows = getattr(own, side)
        for part in slices(len(rows)):
            wrong = np.flatnonzero(~np.isfinite(rows[part]).all(axis=1))
            if wrong.size:
                kind = "NaN" if np.isnan(rows[part][wrong[0]]).any() else "infinity"
                raise Refused("NaN", f"{side} row {part.start + wrong[0]} holds {kind}")


def _check_norms(own: Submission) -> Submission:
    """The same, with its problem where rows are not of norm 1."""
    for side in ("image", "text"):
        rows = getattr(own, side)
        parts = (rows[part].astype(np.float64) for part in slices(len(rows)))
        with np.errstate(over="ignore"):
            norms = np.concatenate([np.linalg.norm(part, axis=1) for part in parts])
        if np.abs(norms - 1).max() > NORM:
            told = f"norms of {side} rows: {norms.min():.4g} to {norms.max():.4g}"
            return own._replace(problem="not unit rows", note=told)
    return own
