"""The manifest of a run: the SHA-256 of each of its files, as they were written.

    begin(folder)               # from now on `files.atomic_path` notes what it writes there
    check(folder, path)         # by whatever reads a file of the run

While a file is put in its place, its hash stands in the manifest beside that of the file which it
replaces; either is right. So a kill leaves nothing that looks damaged.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "manifest.json"
KIND = "matchbox run"  # other people's manifests are left alone
# What is read again. Pictures are not: retrieve.py draws them beside a training, and two writers of
# one manifest would lose each other's hashes.
KEPT = (".json", ".npz", ".npy", ".h5", ".onnx", ".csv", ".u8", ".faiss")

_checked: set[tuple[Any, ...]] = set()  # of this process: files whose hash was right


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file, hexadecimal; read, not mapped: a mapped file that shrinks is a crash."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def begin(folder: Path) -> None:
    """Gives a folder a manifest, unless it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / NAME).exists():
        _write(folder, {})


@contextlib.contextmanager
def renaming(path: Path, written: Path) -> Iterator[None]:
    """Keeps the manifest right while `written` is renamed to `path`, if the folder has one, or the
    folder above it.
    """
    folder = next((one for one in path.parents[:2] if (one / NAME).is_file()), None)
    if folder is None or path == folder / NAME or path.suffix not in KEPT:
        yield
        return
    name, new = path.relative_to(folder).as_posix(), file_hash(written)
    try:
        known = hashes_of(folder)
    except ValueError:  # damaged, or other people's: whoever reads a file of a run will say so
        yield
        return
    _write(folder, known | {name: [new, *known.get(name, [])]})
    yield
    _write(folder, hashes_of(folder) | {name: [new]})  # another process may write to a cache, too


def check(folder: Path, path: Path) -> None:
    """Refuses a file that is not as it was written.

    Raises:
      ValueError: names the file.
    """
    state = os.stat(path)
    seen = (str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ino)
    if seen in _checked:
        return
    hashes = hashes_of(folder).get(path.relative_to(folder).as_posix())
    if hashes is None:
        raise ValueError(f"{path} is not in {NAME}: it was not written by this run")
    if file_hash(path) not in hashes:
        raise ValueError(f"{path} is not as it was written: it is damaged, or was edited")
    _checked.add(seen)


def hashes_of(folder: Path) -> dict[str, list[str]]:
    """{name of a file: its right hashes}.

    Raises:
      ValueError: the folder has no manifest, or it is damaged.
    """
    path = folder / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = found["files"]
        whole = found["kind"] == KIND and all(
            isinstance(hashes, list) and all(isinstance(one, str) for one in hashes)
            for hashes in known.values()
        )
    except FileNotFoundError:
        raise ValueError(
            f"{folder} has no {NAME}, so nothing says whether its files are whole"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole, known = False, {}
    if not whole:
        raise ValueError(f"{path} is damaged, or no manifest of a run")
    return known


def _write(folder: Path, known: dict[str, list[str]]) -> None:
    """Writes the manifest whole; without `files`, which calls this room."""
    path, temporary = folder / NAME, folder / f".{os.getpid()}.{NAME}"
    text = json.dumps({"kind": KIND, "files": dict(sorted(known.items()))}, indent=1) + "\n"
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
