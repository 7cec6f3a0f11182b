"""Folders of what is slow to read: a run's file alone does not make us write into one.

A folder that a command line named once carries a mark. What a `config.json` names is used where it
carries that, or lies below the working folder or the run's own.
"""

import contextlib
import logging
import os
from pathlib import Path

from run import manifest

USUAL = ".cache"
MARK = ".matchbox-cache"
logger = logging.getLogger(__name__)


def mark(cache_dir: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Marks the cache folder that the command line of the run in `folder` names."""
    if not _is_near(cache_dir, folder):
        with contextlib.suppress(OSError):  # what cannot be written to needs no mark
            Path(cache_dir).mkdir(parents=True, exist_ok=True)
            (Path(cache_dir) / MARK).touch()


def trusted(cache_dir: str, folder: str | os.PathLike) -> str:
    """The cache folder of the run in `folder`, or the usual one where no command line named it."""
    if _is_near(cache_dir, folder) or (Path(cache_dir) / MARK).is_file():
        return cache_dir
    logger.warning(
        "%s: no command line named the cache folder %s; %s is used", folder, cache_dir, USUAL
    )
    return USUAL


def is_whole(path: Path) -> bool:
    """Whether a file of a cache is there, as it was written; any other is removed, and so said.

    Whatever is to be written to the cache is noted from now on.

    Raises:
      ValueError: the cache's manifest is damaged, or other people's.
    """
    with contextlib.suppress(OSError):  # a cache that is only read
        manifest.begin(path.parent)
    if not path.is_file() or not (path.parent / manifest.NAME).exists():
        return path.is_file()
    manifest.hashes_of(path.parent)
    try:
        manifest.check(path.parent, path)
    except ValueError:
        logger.warning("%s is not as it was written: it is made anew", path)
        path.unlink()
        return False
    return True


def _is_near(cache_dir: str | os.PathLike, folder: str | os.PathLike) -> bool:
    place = Path(cache_dir).resolve()
    near = (Path.cwd(), Path(folder).resolve())
    return os.fspath(cache_dir) == USUAL or any(place.is_relative_to(one) for one in near)
