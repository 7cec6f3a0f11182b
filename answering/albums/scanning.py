"""Which pictures lie in a folder: names, sizes and times, nothing opened.

    found = scan(Path("photos"))
    found.names[0], found.sizes[0], found.times[0]

Shape letters: N pictures.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.formats.pictures import SUFFIX
from run.console import printable

# What phones write but Pillow does not read: counted, so that nobody misses them in silence.
UNREAD = re.compile(r"\.(?:heic|heif)$", re.IGNORECASE)


@dataclass
class Found:
    """The pictures of a folder, sorted by name.

    Attributes:
      names: N paths from the folder, with / between their parts.
      sizes: (N,) int64 bytes; times: (N,) int64 nanoseconds, when each was changed.
      closed: folders that cannot be listed, and why.
      others: number of files that are no pictures.
    """

    names: list[str]
    sizes: np.ndarray
    times: np.ndarray
    closed: dict[str, str] = field(default_factory=dict)
    others: int = 0


def is_picture(name: str) -> bool:
    """Whether a file is taken for a picture, by its name."""
    return bool(SUFFIX.search(name) or UNREAD.search(name))


def scan(folder: Path) -> Found:
    """Looks through a folder and all below it.

    Hidden files and folders (.name) are left out. Links are followed, after the folders that lie
    here themselves; a folder that is reached twice, as in a loop of links, is listed once.
    """
    facts: list[tuple[str, int, int]] = []
    found, seen = Found([], np.zeros(0, np.int64), np.zeros(0, np.int64)), set()
    waiting, links = [""], []
    while waiting or links:
        inside = waiting.pop() if waiting else links.pop(0)
        try:
            state = os.stat(folder / inside)
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(folder / inside) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            found.closed[inside] = error.strerror or type(error).__name__
            continue
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else waiting).append(name)
                elif not is_picture(name):
                    found.others += 1
                elif entry.is_file():
                    state = entry.stat()
                    facts.append((name, state.st_size, state.st_mtime_ns))
            except OSError:  # gone in the meantime; a link that leads to itself
                found.others += 1
    facts.sort()
    found.names = [name for name, _, _ in facts]
    found.sizes = np.array([size for _, size, _ in facts], np.int64)
    found.times = np.array([time for _, _, time in facts], np.int64)
    return found


def check_found(folder: Path, found: Found) -> None:
    """Refuses a folder without pictures. Raises ValueError."""
    if found.names:
        return
    others = f", only {found.others:,} other files" if found.others else ""
    closed = f"; {len(found.closed):,} folders cannot be listed" if found.closed else ""
    raise ValueError(
        f"--pictures {printable(str(folder))}: there is no picture in it{others}{closed}; names of "
        "pictures end in .jpg, .png, .webp, .gif, .bmp, .tif or .avif"
    )
