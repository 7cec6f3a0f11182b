"""Where a data set's pictures lie: the same search for every reader.

First the folders that the layout itself names, then the data folder, then the folders that people
have (`images/`, `Flickr8k_Dataset/Flicker8k_Dataset/`), then whatever folder lies there, three
levels down. Names are found in another case, Unicode form or picture suffix: `p00.JPG` for
`p00.jpg`.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from data.formats.records import some, subfolders
from data.formats.text import composed

KNOWN = (
    "images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images",
    "flickr30k_images",
)  # fmt: skip
SUFFIX = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)$", re.IGNORECASE)


def folded(name: str) -> str:
    """A picture's name as it is compared: composed, in lower case, without its suffix."""
    return SUFFIX.sub("", composed(name)).casefold()


class Shelf:
    """A folder of pictures; what lies in it is listed once."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.fspath(folder)
        self._files: dict[str, tuple[set[str], dict[str, list[str]]]] = {}

    def find(self, name: str) -> str | None:
        """The path of a picture, whatever the case, form and suffix of its last part; or None."""
        parent, base = posixpath.split(name)
        if parent not in self._files:
            self._files[parent] = self._listed(os.path.join(self.folder, parent))
        exact, others = self._files[parent]
        if base not in exact:
            like = others.get(folded(base), [])
            if len(like) > 1:  # a.jpg and A.png: the one with the same suffix, if there is one
                like = [one for one in like if composed(one).casefold() == base.casefold()]
            if len(like) != 1:
                return None
            base = like[0]
        return os.path.join(self.folder, parent, base)

    @staticmethod
    def _listed(folder: str) -> tuple[set[str], dict[str, list[str]]]:
        try:
            with os.scandir(folder) as entries:
                exact = {entry.name for entry in entries if entry.is_file()}
        except (OSError, ValueError):
            exact = set()
        others: dict[str, list[str]] = {}
        for name in sorted(exact):
            if SUFFIX.search(name):
                others.setdefault(folded(name), []).append(name)
        return exact, others


def locate(
    names: Sequence[str],
    root: Path,
    first: Iterable[Path] = (),
    shelf: Callable[[Path], Shelf] = Shelf,
) -> tuple[str, list[str | None]] | None:
    """Looks for pictures, in the first folder that holds any of the first hundred.

    Args:
      names: N names, perhaps with folders of their own.
      root: the data set's folder.
      first: where the layout itself says that they lie.
      shelf: opens a folder; `functools.cache(Shelf)` lists each once for several splits.

    Returns:
      The folder, and N paths, None for a picture that is missing; or None where no folder holds
      any.

    Raises:
      ValueError: two folders could be meant.
    """
    usual = [root / name for name in KNOWN]
    usual += [folder / name for folder in usual for name in KNOWN if (folder / name).is_dir()]
    for folder in (*first, root, *usual):
        if _holds_any(own := shelf(folder), names):
            return own.folder, [own.find(name) for name in names]
    others = [one for one in subfolders(root) if one not in usual and _holds_any(shelf(one), names)]
    if len({one.resolve() for one in others}) > 1:
        found = some(others)
        raise ValueError(
            f"pictures named {some(names, 2)} lie in {found}: leave one folder, or name it images/"
        )
    if not others:
        return None
    own = shelf(others[0])
    return own.folder, [own.find(name) for name in names]


def _holds_any(shelf: Shelf, names: Sequence[str]) -> bool:
    return any(shelf.find(name) for name in names[:100])


def find_pictures(
    names: Sequence[str],
    root: Path,
    first: Iterable[Path] = (),
    shelf: Callable[[Path], Shelf] = Shelf,
) -> list[str] | None:
    """`locate`'s N paths, or None where no folder holds any.

    Raises:
      ValueError: the folder holds some of the pictures but not all.
    """
    folder, found = locate(names, root, first, shelf) or ("", [])
    missing = [name for name, path in zip(names, found, strict=False) if path is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} images have no picture in {folder}: "
            f"{some(missing)}; add them, or take them out of the split"
        )
    return [path for path in found if path] or None
