"""Whose folder it is: who is writing in it, which files are a run's, and what a start may remove.

A lock is the operating system's, so that it ends with its process however that ends.
"""

import contextlib
import datetime
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock

from run import files

LOCK, OWNER = ".lock", ".owner.json"
START = "start.json"  # the marker of our folders, written first: the format and the command
OURS = re.compile(  # names of what we write into a run's folder
    r"(start|config|vocabulary|score|captions|pairs)\.json|run\.md|log\.txt|features\.npz|"
    r"data\.npz|manifest\.json|history\.(csv|png)|errors\.png|best\.weights\.h5|projections\.npz|"
    r"(query|image|writer_first|writer_next)\.onnx|score\.png|ranks_\w+\.csv|pairs\.(md|png)|"
    r"examples(_\w+)?\.(png|md)|answer\.png|explanation\.png|score-[\w.-]+\.json|"
    r"\.lock|\.owner\.json"
)
FOLDERS = ("last", "serving")  # of ours, whole
LEFT = re.compile(r"\.\d+\..+")  # what an interrupted write leaves: see `files.atomic_path`


@contextlib.contextmanager
def held(folder: Path, what: str) -> Iterator[None]:
    """Holds a folder while something is written in it.

    Args:
      folder: made if it is not there; what: is done, as in "training".

    Raises:
      ValueError: another process holds it; the line names that process, its host and its start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(
            f"{folder} is in use by {owner(folder)}: wait for it, or stop it"
        ) from None
    try:
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        told = {"process": os.getpid(), "host": socket.gethostname(), "since": now, "what": what}
        files.write_json(folder / OWNER, told)
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):  # on Windows another process may be asking for it
            (folder / LOCK).unlink(missing_ok=True)


def owner(folder: Path) -> str:
    """Who holds a folder, for a person."""
    try:
        told = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"{told['what']}, process {told['process']} on {told['host']} since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def is_ours(folder: Path) -> bool:
    """Whether a folder is a run's, whole or half-written: it has our marker."""
    try:
        found = json.loads((folder / START).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and isinstance(found.get("format"), int)


def clear(folder: Path) -> list[str]:
    """Removes a run's files from its folder, and names what else lies there and is kept."""
    kept = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name in FOLDERS:
            kept += [f"{path.name}/{name}" for name in _clear_part(path)]
        elif OURS.fullmatch(path.name) or LEFT.fullmatch(path.name):
            path.unlink()
        else:
            kept.append(path.name)
    if not kept:
        folder.rmdir()
    return kept


def _clear_part(folder: Path) -> list[str]:
    """Empties a folder that is wholly ours."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()
    return []


def sweep(folder: Path) -> None:
    """Removes what interrupted writes have left; only who holds the folder may."""
    for part in (folder, *(folder / name for name in FOLDERS)):
        for path in part.glob(".*"):
            if LEFT.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def write_start(folder: Path, number: int, argv: list[str]) -> None:
    """Marks a folder as a run's, before anything else of it is written.

    Args:
      number: the format of config.json; argv: the command line, for a resumption.
    """
    files.write_json(folder / START, {"format": number, "command": argv[1:]})


def read_start(folder: Path) -> list[str]:
    """The command line of a run that was stopped before its settings were written.

    Raises:
      ValueError: there is none.
    """
    found = files.read_json(folder / START)
    command = found.get("command") if isinstance(found, dict) else None
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise ValueError(f"{folder / START} holds no command line: start the run anew")
    return [sys.argv[0], *command]
