"""Pictures to vectors that the towers read, for whole splits, cached on disk.

`regions.py` says what a vector holds. It imports no TensorFlow, so that `retrieve.py --image FILE`
reads a picture as training did.

Shape letters: N images, n images of a chunk, F feature.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import datasets
import experiment
from regions import SIDE, RegionDescriptor, chunks


def to_array(picture: Image.Image) -> np.ndarray:
    """An RGB picture squeezed to (SIDE, SIDE, 3) uint8."""
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture)


def learn(split: datasets.Split, seed: int = 0) -> RegionDescriptor | None:
    """The descriptor for a data set, from its TRAINING split; None where it brings vectors.

    Raises:
      ValueError: the split has neither vectors nor pictures, or pictures that cannot be read.
    """
    if split.vectors is not None:
        return None
    if split.pictures is None:
        raise ValueError(
            "the data set has captions but neither pictures nor vectors, so there is nothing to "
            "train on: add the folder with its pictures"
        )
    rows = np.random.default_rng(seed).permutation(split.num_images)[:1000]
    return RegionDescriptor.learn(read_all(split, np.sort(rows)), seed)


def load(path: str | Path) -> RegionDescriptor | None:
    """The descriptor that a run was trained with; None where its data brought vectors."""
    return RegionDescriptor.load(path) if Path(path).is_file() else None


def image_vectors(
    split: datasets.Split, descriptor: RegionDescriptor | None, cache_dir: str | Path
) -> np.ndarray:
    """The split's own vectors, or those of its pictures: (N, F), memory-mapped from the cache.

    Raises:
      ValueError: the split has no vectors, or no pictures to describe; or pictures that are missing
        or cannot be read, all of the split counted, the first ones named.
    """
    if descriptor is None:
        if split.vectors is None:
            raise ValueError(f"the {split.name} split has no vectors, unlike the training split")
        return split.vectors
    if split.pictures is None:
        raise ValueError(
            f"the {split.name} split has no pictures to describe, unlike the training split: add "
            "the folder with its pictures"
        )
    key = hashlib.sha256((datasets.fingerprint(split) + descriptor.fingerprint()).encode())
    if isinstance(split.pictures, list):  # of files that fingerprint holds names and sizes only
        times = [
            os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in split.pictures
        ]
        key.update(np.asarray(times, "<i8").tobytes())
    path = Path(cache_dir) / f"vectors-{key.hexdigest()[:16]}.npy"
    if not path.is_file():
        with experiment.atomic_path(path) as temporary:
            shape = (split.num_images, descriptor.feature_dim)
            out = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
            broken: dict[int, str] = {}

            def fill(rows: np.ndarray) -> None:
                pictures, failed = read(split, rows)
                broken.update(failed)
                if not broken:
                    out[rows] = descriptor.describe(pictures)

            with ThreadPoolExecutor() as pool:
                parts = list(chunks(np.arange(split.num_images)))
                bar = tqdm(
                    pool.map(fill, parts),
                    f"describing {split.name}",
                    len(parts),
                    False,
                    disable=None,
                )
                for _ in bar:
                    pass
            refuse(split, broken)
            out.flush()
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read(split: datasets.Split, rows: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """Some pictures of a split as (n, SIDE, SIDE, 3) uint8, and by row why others failed."""
    pictures, broken = np.zeros((len(rows), SIDE, SIDE, 3), np.uint8), {}
    for index, row in enumerate(rows.tolist()):
        source = split.pictures[row]  # pyright: ignore[reportOptionalSubscript]
        try:
            is_file = isinstance(source, str)
            picture = datasets.load_picture(source) if is_file else Image.fromarray(source)
            pictures[index] = to_array(picture)
        except ValueError as error:
            broken[row] = str(error)
    return pictures, broken


def refuse(split: datasets.Split, broken: dict[int, str]) -> None:
    """Raises a ValueError that counts the broken pictures and names the first, if there are any."""
    if not broken:
        return
    first = "; ".join(broken[row] for row in sorted(broken)[:3])
    more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
    what = "picture" if len(broken) == 1 else "pictures"
    raise ValueError(
        f"{len(broken)} {what} of the {split.name} split cannot be read: {first}{more}. Mend them "
        "or take them out of the split"
    )


def read_all(split: datasets.Split, rows: np.ndarray) -> np.ndarray:
    """Some pictures of a split as (n, SIDE, SIDE, 3) uint8.

    Raises:
      ValueError: some cannot be read; all such of the split are counted, the first ones named.
    """
    pictures, broken = read(split, rows)
    if broken:
        for rest in chunks(np.setdiff1d(np.arange(split.num_images), rows)):
            broken |= read(split, rest)[1]
    refuse(split, broken)
    return pictures
