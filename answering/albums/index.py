"""The index of a folder of pictures on disk: a row of the joint space for each, and what it is of.

    place = place_of(run, folder, None)
    kept = read_index(place)   # an `Index` and of what it is, or None: there is none yet

A folder of its own holds

  album.npz      the rows, and each picture's name, size, time and SHA-256
  manifest.json  the SHA-256 of album.npz, by which damage is found
  parts/         rows of a description that was stopped; each with a checksum of its own

The same pictures give the same bytes, whether the description was stopped or not.

Shape letters: N pictures, D embedding, B broken ones.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from run import files, manifest
from run.console import some_words
from run.folder import Run

FORMAT = 1
NAME, PARTS, LOCK = "album.npz", "parts", ".lock"
OURS = {NAME, PARTS, LOCK, manifest.NAME}
NEVER = -1  # the time of what may not be read: it is tried again once it may
TEXTS = ("names", "broken_names", "broken_why")
NUMBERS = ("image", "sizes", "times", "digests", "broken_sizes", "broken_times")


@dataclass
class Index:
    """Described pictures, sorted by name, and those that could not be read.

    Attributes:
      names: N; image: (N, D) float32 unit rows.
      sizes, times: (N,) int64, see `scanning.Found`; digests: (N, 32) uint8, SHA-256.
      broken_names, broken_why: B; broken_sizes, broken_times: (B,) int64, `NEVER` among the times.
    """

    names: files.PackedStrings
    image: np.ndarray
    sizes: np.ndarray
    times: np.ndarray
    digests: np.ndarray
    broken_names: files.PackedStrings
    broken_why: files.PackedStrings
    broken_sizes: np.ndarray
    broken_times: np.ndarray

    def check(self) -> None:
        """Raises ValueError where its parts do not fit together."""
        for name in TEXTS:
            getattr(self, name).check()
        count, broken = len(self.names), len(self.broken_names)
        shapes = {
            "image": (count, self.image.shape[-1]),
            "digests": (count, 32),
            **dict.fromkeys(("sizes", "times"), (count,)),
            **dict.fromkeys(("broken_sizes", "broken_times"), (broken,)),
        }
        wrong = [name for name, shape in shapes.items() if getattr(self, name).shape != shape]
        if wrong or len(self.broken_why) != broken:
            raise ValueError(f"{(wrong or ['broken_why'])[0]} has not the size of the names")


def pack(names: list[str]) -> files.PackedStrings:
    """Texts as an index holds them."""
    return files.PackedStrings(*files.pack_strings(names))


def write(path: Path, index: Index, facts: dict) -> None:
    """Writes an index, or a part of one, atomically."""
    arrays = {"facts": np.array(json.dumps(facts, sort_keys=True))}
    for name in TEXTS:
        strings = getattr(index, name)
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = strings.data, strings.offsets
    files.write_arrays(path, arrays | {name: getattr(index, name) for name in NUMBERS})


def read_file(path: Path) -> tuple[Index, dict]:
    """An index, mapped into memory, and its facts. Raises ValueError where it is none of ours."""
    arrays = files.open_arrays(path)
    try:
        facts = files.parse_json(str(arrays["facts"]), str(path))
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise ValueError("it is of another version of this program")
        texts = {
            name: files.PackedStrings(
                np.asarray(arrays[f"{name}_data"]), np.asarray(arrays[f"{name}_offsets"])
            )
            for name in TEXTS
        }
        parts: dict[str, Any] = texts | {name: arrays[name] for name in NUMBERS}
        index = Index(**parts)
        index.check()
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no index of pictures ({files.reason(error)})") from None
    return index, facts


def read_index(place: Path) -> tuple[Index, dict] | None:
    """The index that lies in `place`, and its facts; None where there is none.

    Raises:
      ValueError: it is damaged.
    """
    path = place / NAME
    if not path.is_file():
        return None
    manifest.check(place, path)
    return read_file(path)


def facts_of_run(run: Run, folder: Path) -> dict:
    """What rows depend on beside the pictures: how the run describes them, and its weights.

    Raises:
      ValueError: the run's images came as ready vectors.
    """
    lost = "how its pictures are described is lost; train anew"
    kind = str(files.open_arrays(run.require(run.features, lost)).get("kind", ""))
    if kind == "ready":
        raise ValueError(
            f"--pictures: {run} cannot describe new pictures: its data came as ready vectors; "
            "train a run on pictures, such as with --features last"
        )
    known = manifest.hashes_of(run.folder)
    hashes = {name: known.get(name, [""])[0] for name in (run.best_weights.name, run.features.name)}
    return {"format": FORMAT, "folder": os.fspath(folder), "hashes": hashes}


# ---- Where it lies ------------------------------------------------------------------------------


def place_of(run: Run, folder: Path, given: str | os.PathLike | None) -> Path:
    """The folder of the index: `given`, or one in the run's folder by a hash of the pictures' path.

    Args:
      folder: of the pictures, a real path.

    Raises:
      ValueError: it would lie among the pictures, or among files that are no index.
    """
    place = Path(given) if given is not None else run / "albums" / folder_key(folder)
    if given is not None:
        files.check_printable(given)
    real = place.resolve()
    if real == folder or folder in real.parents:
        where, mend = f"the run {run}", "give --index DIR elsewhere"
        if given is not None:
            where, mend = f"--index {place}", "choose another folder"
        raise ValueError(
            f"{where} lies in the folder of pictures, where nothing is written: {mend}"
        )
    if os.path.lexists(place) and not place.is_dir():
        raise ValueError(f"--index {place} is no folder: choose another name")
    strange = sorted(
        name
        for name in (os.listdir(place) if place.is_dir() else [])
        if name not in OURS and not re.match(r"\.\d+\.", name)
    )
    if strange:
        raise ValueError(
            f"{place} holds other files than an index ({some_words(strange, 3)}): give --index an "
            "empty folder, or a new one"
        )
    return place


def folder_key(folder: Path) -> str:
    """What the index of a folder is called in a run's folder."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
