"""A folder of pictures as a gallery: what `search`, `drawing` and `explain` ask.

Shape letters: N pictures, D embedding.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from answering.albums import index as indexes
from answering.albums.comparing import is_current
from answering.albums.index import Index
from answering.albums.scanning import check_found, scan
from gallery.similarity import of_arrays
from gallery.stored import Gallery
from run import console, files
from run.folder import Run
from run.onnx_graphs import WRITTEN_BY


class Album(Gallery):
    """The described pictures of a folder: a `Gallery` without captions.

    Attributes:
      folder: of the pictures, a real path; pictures: N whole paths.
      image: (N, D) float32 unit rows; image_names: N paths from the folder.
      text, captions, caption_image: empty.
      similarity: of the run.
      broken: why other pictures could not be read, by name.
    """

    def __init__(self, run: Run, folder: Path, index: Index):
        self.folder, self.path, self.arrays = folder, folder, {}
        stored = files.open_arrays(run.require(run.projections, WRITTEN_BY))
        self.similarity = of_arrays(stored, run.projections)
        self.image, self.text = index.image, np.zeros((0, index.image.shape[1]), np.float32)
        self.caption_image = np.zeros(0, np.int64)
        self.image_names, self.captions = index.names, indexes.pack([])
        self.pictures = Paths(folder, index.names)
        self.broken = dict(zip(index.broken_names, index.broken_why, strict=True))

    def find_image(self, name: str) -> int | None:
        """Row of the picture of this name in the folder, or of this path; or None."""
        row = super().find_image(name)
        if row is None and self.folder is not None and os.path.isfile(name):
            path = Path(name).resolve()
            if path.is_relative_to(self.folder):
                row = super().find_image(path.relative_to(self.folder).as_posix())
        return row


class Paths(Sequence):
    """Whole paths of names in a folder, made where one is asked for."""

    def __init__(self, folder: Path, names: Sequence[str]):
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index):
        return os.path.join(self.folder, str(self.names[index]))


def tell_error(line: str) -> None:
    """Says a line on standard error."""
    print(line, file=sys.stderr, flush=True)


def open_album(
    run: Run,
    folder: str | os.PathLike,
    index: str | os.PathLike | None = None,
    tell: Callable[[str], None] = tell_error,
) -> Album:
    """The pictures of a folder as a gallery; those that are new or changed are described first.

    Args:
      run: that test.py has scored, on images that are described from pictures.
      folder: of pictures, looked through with all below it.
      index: folder of the index; None: a folder in the run's own.
      tell: is told what was done, and which pictures cannot be read; a line at a time.

    Raises:
      ValueError: there are no pictures, the run cannot describe any, or the index cannot lie there.
    """
    folder = folder_of_pictures(folder)
    facts = indexes.facts_of_run(run, folder)
    place = indexes.place_of(run, folder, index)
    found = scan(folder)
    check_found(folder, found)
    kept = _read_told(run, place, facts, tell)
    if kept is None or not is_current(kept, folder, found):
        from answering.albums import updating  # half a second that an unchanged folder does without

        kept = None  # closed: Windows replaces no file that is mapped
        kept = updating.update(run, folder, found, place, facts, tell)
    album = Album(run, folder, kept)
    say_unread(album.broken, found.closed, tell)
    return album


def folder_of_pictures(folder: str | os.PathLike) -> Path:
    """The real path of a folder of pictures. Raises ValueError where it is none."""
    path = Path(folder).expanduser()
    if not os.fspath(folder):
        raise ValueError("--pictures has no name: give a folder, or . for the one you are in")
    if not path.is_dir():
        what = "is no folder" if path.exists() else "does not exist"
        raise ValueError(f"--pictures {console.printable(str(folder))} {what}: give a folder")
    return path.resolve()


def _read_told(run: Run, place: Path, facts: dict, tell: Callable[[str], None]) -> Index | None:
    """The index if it is whole and of this run; says why it is not."""
    try:
        kept = indexes.read_index(place)
    except ValueError as error:
        tell(f"{error}: the pictures are described anew")
        return None
    if kept is None:
        return None
    index, of = kept
    if of.get("folder") != facts["folder"]:
        raise ValueError(
            f"{place} is the index of {console.printable(str(of.get('folder')))}: give --index "
            "another folder"
        )
    if of != facts:
        tell(f"{place} is of other weights than {run} has now: the pictures are described anew")
        return None
    return index


def say_unread(broken: dict[str, str], closed: dict[str, str], tell: Callable[[str], None]) -> None:
    """One line about pictures, and one about folders, that cannot be read.

    Args:
      broken, closed: why, by name; tell: is told.
    """
    for what, failed in (("picture", broken), ("folder", closed)):
        if failed:
            some = [
                f"{console.cut(console.printable(name), 60, keep_end=True)} "
                f"({console.cut(console.printable(why), 100)})"
                for name, why in list(failed.items())[:3]
            ]
            more = f"; and {len(failed) - 3:,} more" if len(failed) > 3 else ""
            kind = what if len(failed) == 1 else f"{what}s"
            tell(f"{len(failed):,} {kind} cannot be read: {'; '.join(some)}{more}")
