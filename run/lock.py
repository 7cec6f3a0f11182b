"""One writer at a time: the lock of a run folder, of a cache, or of a folder of results.

The lock of exp/NAME is exp/.NAME.lock, so that it is there before the folder is. The system lifts
it when its owner ends, however it ends: a lock that nobody holds is stale, and is taken. Who owns
it stands beside it, in exp/.NAME.lock.json.
"""

import contextlib
import datetime
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from run import console, files

_held: dict[Path, Any] = {}  # locks of this process


def claim(folder: str | os.PathLike) -> None:
    """Makes this process the only writer of a folder until `release_all`, or until it ends.

    What writers that were killed have left in the folder is removed.

    Raises:
      ValueError: another process writes there; names it.
    """
    place = Path(folder).resolve()
    path = place.parent / f".{place.name}.lock"
    if path in _held:
        return
    from filelock import FileLock, Timeout  # 35 ms that a query does without

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{folder} is being written by {describe_owner(path)}: wait until it ends, or stop it"
        ) from None
    _held[path] = lock
    console.at_end(release_all)
    owner = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": datetime.datetime.now().isoformat(" ", "seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
    owner_path(path).write_text(json.dumps(owner), encoding="utf-8")
    for part in (place, place / "last"):
        files.remove_leftovers(part)


def release_all() -> None:
    """Gives back every lock of this process, and removes their files."""
    while _held:
        path, lock = _held.popitem()
        for file in (owner_path(path), path):  # before the release: after it they are another's
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        lock.release()


def owner_path(path: Path) -> Path:
    """The file that says who owns a lock."""
    return path.with_name(f"{path.name}.json")


def describe_owner(path: Path) -> str:
    """Who owns a lock, in words."""
    try:
        owner = json.loads(owner_path(path).read_text(encoding="utf-8"))
        command = " ".join(owner["command"])
        return f"process {owner['process']} on {owner['host']} since {owner['started']} ({command})"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just been taken
        return "another process"
