"""When two images are one: the same file under two names, equal bytes, equal vectors.

    check_pictures(records, ".cache")   # across splits refused by name, within one split named

A picture's identity is its file, however it is spelt or linked to, and its bytes. A vector's is its
numbers. Names are compared in Unicode's composed form, row numbers as numbers: the readers see to
that.

Shape letters: N images, F feature.
"""

import contextlib
import functools
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from data.formats.records import Records, Rows, blocks, some
from run import caches
from run.files import file_hash, read_json, write_json

logger = logging.getLogger(__name__)

PROBE = 16  # numbers of a row, and kilobytes of a picture, that are looked at first
TELLING = 6  # different numbers in a row that make it a photograph's: others are equal by chance
MANY = 500  # pictures of a size that another one has, from which on the result is kept


# Pictures.


def first_pictures(paths: Sequence[str], cache_dir: str | os.PathLike | None = None) -> np.ndarray:
    """For each picture file the first that is the same one: the same file, or equal bytes.

    Only files of one size can have equal bytes; of these a piece is read, and of those whose pieces
    are equal the whole. Where that is much to read, the result is kept until a file's size, time
    or place changes.

    Args:
      paths: N files; one that is not there is like no other.
      cache_dir: where the result is kept; None: nowhere.

    Returns:
      (N,) int64, at most the own row.
    """
    first = np.arange(len(paths))
    facts: list[tuple[int, ...]] = []
    by_file: dict[tuple[int, int], int] = {}
    by_size: dict[int, list[int]] = {}
    for row, path in enumerate(paths):
        try:
            state = os.stat(path)
        except OSError:
            facts.append((-1, row))
            continue
        facts.append((state.st_size, state.st_mtime_ns, state.st_dev, state.st_ino))
        place = (state.st_dev, state.st_ino) if state.st_ino else (-1, row)
        first[row] = by_file.setdefault(place, row)
        if first[row] == row:
            by_size.setdefault(state.st_size, []).append(row)
    alike = {size: rows for size, rows in by_size.items() if size and len(rows) > 1}
    kept = None
    if cache_dir and sum(map(len, alike.values())) > MANY:
        key = hashlib.sha256(" ".join(map(str, chain.from_iterable(facts))).encode()).hexdigest()
        kept = Path(cache_dir) / f"same-pictures-{key[:16]}.json"
        if caches.is_whole(kept):
            pairs = np.array(read_json(kept), np.int64).reshape(-1, 2)
            first[pairs[:, 0]] = pairs[:, 1]
            return first[first]
    for rows in alike.values():
        _join_equal(paths, rows, first)
    if kept:
        own = np.flatnonzero(first != np.arange(len(first)))
        with contextlib.suppress(OSError):
            write_json(kept, np.stack([own, first[own]], axis=1).tolist())
    return first[first]


def content_of(path: str | os.PathLike) -> str:
    """SHA-256 of a picture file's bytes, hexadecimal; "" where it is missing. Each is read once."""
    with contextlib.suppress(OSError):
        state = os.stat(path)
        return _hash_of(os.fspath(path), state.st_size, state.st_mtime_ns, state.st_ino)
    return ""


@functools.cache
def _hash_of(path: str, *_: int) -> str:
    return file_hash(path)


def piece_of(path: str | os.PathLike) -> bytes:
    """What tells a picture file from others: its size and a piece of it; b"" where it is missing.

    Two pictures may have the same head and the same border, so the piece is from the middle.
    """
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2)
        return size.to_bytes(8, "little") + file.read(PROBE << 10)
    return b""


def _join_equal(paths: Sequence[str], rows: list[int], first: np.ndarray) -> None:
    """Points files of one size to the first with equal bytes."""
    pieces: dict[bytes, list[int]] = {}
    for row in rows:
        if piece := piece_of(paths[row]):
            pieces.setdefault(piece, []).append(row)
    for own in pieces.values():
        seen: dict[bytes, int] = {}
        for row in own if len(own) > 1 else ():
            with contextlib.suppress(OSError), open(paths[row], "rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                first[row] = seen.setdefault(digest, row)


# Vectors.


def first_rows(*arrays: np.ndarray | Rows) -> np.ndarray:
    """For each row, of all arrays one behind the other, the first that has the same numbers.

    Args:
      arrays: (N, ...) each, all rows of one size.

    Returns:
      (N of all,) int64, at most the own row.
    """
    probes, size = [], max(1, int(np.prod(arrays[0].shape[1:])))
    kind = np.result_type(*(array.dtype for array in arrays))
    for array in arrays:
        for _, block in blocks(array):
            some_columns = block.reshape(len(block), -1)[:, :: -(-size // PROBE)]
            probes.append(np.ascontiguousarray(some_columns + 0, kind))  # so that -0 is 0
    probe = np.concatenate(probes)
    keys = probe.view(np.dtype((np.void, probe[:1].nbytes))).ravel()
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    first, starts = np.arange(len(keys)), np.cumsum([0, *map(len, arrays)])
    seen: dict[bytes, int] = {}
    for row in np.flatnonzero(counts[inverse] > 1).tolist():
        part = int(np.searchsorted(starts, row, side="right")) - 1
        values = np.asarray(arrays[part][row - starts[part]], kind) + 0
        first[row] = seen.setdefault(hashlib.sha256(values.tobytes()).digest(), row)
    return first


def same_vectors(*arrays: np.ndarray | Rows) -> tuple[np.ndarray, np.ndarray]:
    """`first_rows`, and which of the rows that are an earlier one again are one picture's for sure.

    Rows of few different numbers, such as tags, are equal by chance.

    Returns:
      (N of all,) int64; (N of all,) bool, False where a row is like no earlier one.
    """
    first, starts = first_rows(*arrays), np.cumsum([0, *map(len, arrays)])
    sure = np.zeros(len(first), bool)
    for row in np.flatnonzero(first != np.arange(len(first))):
        part = int(np.searchsorted(starts, row, side="right")) - 1
        sure[row] = len(np.unique(arrays[part][row - starts[part]])) >= TELLING
    return first, sure


# Of a whole data set.


def check_pictures(
    records: Mapping[str, Records], cache_dir: str | os.PathLike | None = None
) -> None:
    """Refuses an image that stands in two splits under two names; names one that stands in one.

    Equal vectors of few different numbers, such as tags, may be of different images: only named.

    Raises:
      ValueError: names the images of two splits.
    """
    names = [(split, name) for split, own in records.items() for name in own.names]
    files = [own.pictures for own in records.values() if isinstance(own.pictures, list)]
    if len(files) == len(records):
        first = first_pictures([path for own in files for path in own], cache_dir)
        _tell(names, first, np.ones(len(first), bool), "one picture")
    vectors = [own.vectors for own in records.values() if own.vectors is not None]
    if len(vectors) == len(records) and len({v.shape[1:] for v in vectors}) == 1:
        _tell(names, *same_vectors(*vectors), what="equal vectors")


def _tell(names: list[tuple[str, str]], first: np.ndarray, sure: np.ndarray, what: str) -> None:
    """Refuses or names the images that are an earlier one again."""
    pairs = [(int(first[row]), int(row)) for row in np.flatnonzero(first != np.arange(len(first)))]
    apart = [(a, b) for a, b in pairs if names[a][0] != names[b][0]]
    refused = [(a, b) for a, b in apart if sure[b]]
    if refused:
        told = some(
            f"{names[a][0]} {names[a][1]} = {names[b][0]} {names[b][1]}" for a, b in refused
        )
        raise ValueError(
            f"{len(refused)} images stand in two splits under two names ({what}): {told}; take "
            "each out of one split"
        )
    if pairs:
        told = some(f"{names[a][1]} = {names[b][1]}" for a, b in dict.fromkeys([*apart, *pairs]))
        where = "in two splits" if apart else "in one split"
        logger.warning("%d images stand %s under two names (%s): %s", len(pairs), where, what, told)
