"""HDF5 files of anyone: opened so that nothing leads out of the file, and nothing is boundless.

    with opened(path) as file:
        values = dataset(file, "image_features", path)
    save_weights(model, path)   # of Keras, without its optimiser
    load_weights(model, path)   # after a look at the whole file

Neither links nor data that lie elsewhere are followed.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from run.files import DAMAGE, reason

DENSEST = 1100  # bytes that one stored byte may become: the best that deflate does


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """An HDF5 file; whatever h5py answers damage with becomes one line."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except DAMAGE as error:
        raise ValueError(f"{path} is not a whole HDF5 file ({reason(error)})") from error
    with file:
        try:
            yield file
        except DAMAGE as error:
            if isinstance(error, ValueError) and str(path) in str(error):
                raise
            raise ValueError(f"{path} is damaged ({reason(error)})") from error


def dataset(group: Any, name: str, path: str | Path) -> Any:
    """A data set of the file itself.

    Raises:
      ValueError: it is none, or lies elsewhere, or is larger than the file can hold.
    """
    import h5py

    values = member(group, name, path)
    where = _where(path, name)
    if not isinstance(values, h5py.Dataset) or values.shape is None:
        raise ValueError(f"{where} is a group; expected a data set of (boxes, numbers)")
    return _check_dataset(values, where)


def member(group: Any, name: str, path: str | Path) -> Any:
    """A group or data set that the file itself holds. Raises ValueError where it is a link."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{_where(path, name)} is a link: copy what it names into the file")
    return group[name]


def _check_dataset(values: Any, where: str) -> Any:
    if values.external or values.is_virtual:
        raise ValueError(f"{where} lies in another file: copy it into this one")
    stored = values.id.get_storage_size()
    if values.size and not stored:
        raise ValueError(f"{where} has the shape {values.shape} and no data: is the file whole?")
    if values.nbytes > DENSEST * max(stored, 1):
        raise ValueError(f"{where} has the shape {values.shape}, for which it holds too little")
    return values


def _where(path: str | Path, name: str) -> str:
    return f"{path}, {name[:80]!r}"


def check_weights(path: str | Path) -> None:
    """Looks at each group and data set of a file before others read it.

    Raises:
      ValueError: something in it is a link, lies elsewhere, is too large or goes in a circle.
    """
    with opened(path) as file:
        _check_group(file, path, set())


def _check_group(group: Any, path: str | Path, seen: set[int]) -> None:
    import h5py

    place = h5py.h5o.get_info(group.id).addr
    if place in seen:
        raise ValueError(f"{path} holds the group {group.name[:80]!r} within itself")
    seen.add(place)
    for name in group:
        found = member(group, name, path)
        if isinstance(found, h5py.Group):
            _check_group(found, path, seen)
        elif isinstance(found, h5py.Dataset) and found.shape is not None:
            _check_dataset(found, _where(path, name))


def save_weights(model: Any, path: str | Path) -> None:
    """Writes a Keras model's weights alone, without its optimiser's (Adam's are twice as many)."""
    optimizer, model.optimizer = model.optimizer, None
    try:
        model.save_weights(path)
    finally:
        model.optimizer = optimizer


def load_weights(model: Any, path: str | Path) -> None:
    """Sets a Keras model to the weights of a file.

    Raises:
      ValueError: it holds others, is damaged, or leads elsewhere; one line.
    """
    check_weights(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is raised, or found by who asks
            model.load_weights(path)
    except DAMAGE as error:
        raise ValueError(reason(error)) from error
