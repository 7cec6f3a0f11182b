"""Picture files to rows of the joint space, several batches at a time, in order.

    for batch in describe_files(run, folder, names, digests):
        batch.names, batch.image, batch.broken

Each core reads and describes a batch of its own, so that reading one overlaps the network on
another, and no more pictures than theirs are in memory. A network has one thread in each: what it
answers does not depend on the number of cores.

Shape letters: b pictures of a batch, D embedding.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from answering.pictures import PictureEncoder
from data.vision.activations import read_ahead
from run import console, files
from run.folder import Run

AT_ONCE = 4  # pictures of a batch: more are no quicker, and take memory


class Batch(NamedTuple):
    """Some pictures in order.

    Attributes:
      names: b that are described; image: (b, D) float32 unit rows; digests: b of SHA-256.
      broken: why others could not be read, by name.
    """

    names: list[str]
    image: np.ndarray
    digests: list[bytes]
    broken: dict[str, str]


def describe_files(
    run: Run, folder: Path, names: Sequence[str], digests: Mapping[str, bytes]
) -> Iterator[Batch]:
    """Describes pictures of a folder.

    Args:
      names: from the folder; digests: their SHA-256, as far as known.

    Raises:
      ValueError: the run cannot describe new pictures, or a tower cannot be asked.
    """
    encoder = PictureEncoder(run, threads=1)

    def read(part: Sequence[str]) -> Batch:
        good, pictures, found, broken = [], [], [], {}
        for name in part:
            path = folder / name
            try:
                digest = digests.get(name) or digest_of(path)
                pictures.append(encoder.descriptor.load(str(path)))
            except (ValueError, OSError) as error:
                broken[name] = why_not(error, path)
                continue
            good.append(name)
            found.append(digest)
        image = encoder.of_any_size(pictures) if pictures else np.zeros((0, 0), np.float32)
        return Batch(good, image.astype(np.float32), found, broken)

    parts = [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]
    for batch in read_ahead(read, parts):
        console.heed_signals()
        yield batch


def digest_of(path: Path) -> bytes:
    """SHA-256 of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def why_not(error: Exception, path: Path) -> str:
    """Why a picture could not be read, without its path: its name stands beside it."""
    text = str(error).replace(f"picture {path} is ", "").replace(str(path), "it")
    return files.reason(ValueError(text))
