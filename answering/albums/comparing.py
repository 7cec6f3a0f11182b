"""What of a folder's pictures is known, and what is new, changed or gone; nothing is opened.

    known = Known([old, *parts])
    known.missing(folder, found)

Apart from `updating`, which imports what describes pictures: an unchanged folder needs no more.
"""

import os
from pathlib import Path

import numpy as np

from answering.albums import index as indexes
from answering.albums.index import NEVER, Index
from answering.albums.scanning import Found


class Known:
    """What is known of a folder's pictures: an old index, and newer parts of its successor."""

    def __init__(self, sources: list[Index]):
        self.sources: list[Index] = []
        self.rows: dict[str, tuple[int, int]] = {}  # name -> source, row
        self.broken: dict[str, tuple[int, int, str]] = {}  # name -> size, time, why
        for source in sources:
            self.add(source)

    def add(self, source: Index) -> None:
        """Adds pictures, which take the place of those of the same names."""
        number = len(self.sources)
        self.sources.append(source)
        for row, name in enumerate(source.names):
            self.rows[name] = number, row
            self.broken.pop(name, None)
        states = (source.broken_sizes.tolist(), source.broken_times.tolist(), source.broken_why)
        for name, size, changed, why in zip(source.broken_names, *states, strict=True):
            self.broken[name] = size, changed, why
            self.rows.pop(name, None)

    def missing(self, folder: Path, found: Found) -> list[str]:
        """Names of pictures that are new, or of another size or time than is known."""
        sizes = [source.sizes.tolist() for source in self.sources]
        times = [source.times.tolist() for source in self.sources]
        lacking = []
        states = zip(found.names, found.sizes.tolist(), found.times.tolist(), strict=True)
        for name, size, changed in states:
            if name in self.rows:
                number, row = self.rows[name]
                if (sizes[number][row], times[number][row]) == (size, changed):
                    continue
            elif name in self.broken:
                was = self.broken[name][:2]
                closed = was == (size, NEVER) and not os.access(folder / name, os.R_OK)
                if was == (size, changed) or closed:
                    continue
            lacking.append(name)
        return lacking


def is_current(index: Index, folder: Path, found: Found) -> bool:
    """Whether an index is of just these pictures, as they are now."""
    broken = set(index.broken_names)
    good = np.array([name not in broken for name in found.names], bool)
    packed = indexes.pack([n for n, own in zip(found.names, good, strict=True) if own])
    same = np.array_equal(packed.data, index.names.data)
    same = same and np.array_equal(packed.offsets, index.names.offsets)
    same = same and np.array_equal(found.sizes[good], index.sizes)
    same = same and np.array_equal(found.times[good], index.times)
    if not same or len(broken) != int((~good).sum()):
        return False
    rest = [n for n, own in zip(found.names, good, strict=True) if not own]
    lacking = Found(rest, found.sizes[~good], found.times[~good])
    return not Known([index]).missing(folder, lacking) if broken else True
