"""Pictures to vectors that the towers read, for whole splits, cached on disk.

`regions.py` (learned from the pictures alone), `boxes.py` (the same, box by box) and
`full_network.py` (a CNN's layers) say what a vector holds. It imports no TensorFlow, so that
`retrieve.py --image FILE` reads a picture as training did; a network runs in a process of its own,
where its activations are not cached.

Shape letters: N images, n images of a chunk, R boxes, F feature, K crops, S side of the network's
input.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data import datasets
from data.vision import activations, cnn, pixels
from data.vision.activations import refuse
from data.vision.boxes import BoxDescriptor
from data.vision.network import KINDS, NetworkDescriptor, cut_crops, moments
from data.vision.regions import SIDE, RegionDescriptor, chunks
from run import files, graphs

Descriptor = RegionDescriptor | BoxDescriptor | NetworkDescriptor


def to_array(picture: Image.Image) -> np.ndarray:
    """An RGB picture squeezed to (SIDE, SIDE, 3) uint8."""
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture)


def learn(split: datasets.Split, settings) -> Descriptor | None:
    """The descriptor for a data set, from its TRAINING split; None where its own vectors are used.

    Args:
      split: the training split.
      settings: with features (other than "auto" where the split has no vectors; with "bottom_up"
        these are the split's own), data_seed, cache_dir, and what `cnn.describe_network` reads.

    Raises:
      ValueError: the split has not what was asked for, or pictures that cannot be read, or the
        network's weights cannot be.
    """
    if split.vectors is not None and settings.features in ("auto", "bottom_up"):
        return None
    if settings.features == "pixels" and split.pictures is not None:
        return None
    if split.pictures is None:
        verb = "reads" if settings.features == "pixels" else "describes"
        raise ValueError(
            "the data set has captions but neither pictures nor vectors, so there is nothing to "
            f"train on: no picture {split.image_names[0]} lies in {split.origin} or the folders "
            "in it; add the folder with its pictures"
            if split.vectors is None
            else f"--features {settings.features} {verb} pictures, and the data set has ready "
            "vectors only: leave the flag out, or add the folder with its pictures"
        )
    if settings.features in KINDS:
        network = cnn.describe_network(settings)
        store = activations.Store(split, network, settings.cache_dir)
        store.ensure()
        layers, mean, std = store.layers(), None, None
        if settings.features == "fne":
            mean, std = moments(rows[:, : layers.feature_dim] for rows in store.blocks())
        return NetworkDescriptor(network, layers, settings.features, mean, std)
    rows = np.random.default_rng(settings.data_seed).permutation(split.num_images)[:1000]
    kind = BoxDescriptor if settings.features == "boxes" else RegionDescriptor
    return kind.learn(read_all(split, np.sort(rows)), settings.data_seed)


def load(path: str | Path) -> Descriptor | None:
    """The descriptor that a run was trained with; None where its data brought vectors."""
    if not Path(path).is_file():
        return None
    names = files.open_arrays(path)
    if "facts" in names:
        return NetworkDescriptor.load(path)
    return BoxDescriptor.load(path) if "boxes" in names else RegionDescriptor.load(path)


def image_vectors(
    split: datasets.Split, descriptor: Descriptor | None, cache_dir: str | Path
) -> np.ndarray:
    """The split's own vectors, or those of its pictures: (N, F), memory-mapped from the cache.

    float32, or int8 for full-network embeddings; of boxes (N, R, F), float16 or float32.

    Raises:
      ValueError: the split has no vectors, or no pictures to describe; or pictures that are missing
        or cannot be read, all of the split counted, the first ones named; or the network's weights
        cannot be read.
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
    if isinstance(descriptor, NetworkDescriptor) and descriptor.kind == "grid":
        store = activations.Store(split, descriptor.network, cache_dir)
        store.ensure()  # what it holds are the vectors: no copy
        return np.load(store.whole, mmap_mode="r", allow_pickle=False).reshape(
            split.num_images, *descriptor.row_shape
        )
    path = vectors_path(split, descriptor, cache_dir)
    if not path.is_file():
        if isinstance(descriptor, NetworkDescriptor):
            store = activations.Store(split, descriptor.network, cache_dir)
            store.ensure()
            write_vectors(path, map(descriptor.describe, store.blocks()), split, descriptor)
        else:
            write_vectors(path, describe_regions(split, descriptor), split, descriptor)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def open_images(split: datasets.Split, descriptor: Descriptor | None, settings):
    """What the image tower reads of a split: vectors (N, F), or its `pictures.Pictures`.

    Args:
      split: with vectors or pictures.
      descriptor: of the run; None where its data brought vectors or its tower reads pictures.
      settings: with features, cache_dir and, for pixels, image_size, crop_area, mirror and cache.

    Raises:
      ValueError: as `image_vectors`.
    """
    if settings.features != "pixels":
        return image_vectors(split, descriptor, settings.cache_dir)
    if split.pictures is None:
        raise ValueError(
            f"the {split.name} split has no pictures to read: add the folder with its pictures"
        )
    return pixels.Pictures(
        split,
        settings.image_size,
        settings.crop_area,
        settings.mirror,
        settings.cache,
        settings.cache_dir,
        pixels.view_side(settings),
    )


def size_of(images) -> int:
    """F of image vectors or boxes; 0 for pictures."""
    return 0 if isinstance(images, pixels.Pictures) else images.shape[-1]


def check_boxes(images, model: str) -> None:
    """Refuses boxes for a model that reads vectors, and vectors for one that reads boxes.

    Raises:
      ValueError: says which.
    """
    shape = getattr(images, "shape", ())
    if model == "joint" and len(shape) != 3:
        found = f"vectors of {shape[1]} numbers" if shape else "pictures"
        raise ValueError(
            f"--model joint reads several boxes of each image, this data has {found}: give "
            "--features boxes or grid where there are pictures"
        )
    if model != "joint" and len(shape) == 3:
        raise ValueError(
            f"--model {model} reads one vector of each image, this data has {shape[1]} boxes of "
            f"{shape[2]} numbers: use --model joint"
        )


def cluster_vectors(split: datasets.Split, images, settings) -> np.ndarray:
    """(N, F) vectors of a split for k-means: its own, or the last layer of --cnn.

    Raises:
      ValueError: pictures are read by a network that has not been trained before.
    """
    if not isinstance(images, pixels.Pictures):
        return images
    if settings.cnn not in cnn.NETWORKS or settings.image_weights in cnn.RANDOM:
        raise ValueError(
            f"--num_classes {settings.num_classes}: k-means needs a trained network; --cnn "
            f"{settings.cnn} --image_weights {settings.image_weights} is none"
        )
    network = dataclasses.replace(cnn.describe_network(settings), crops=1)
    store = activations.Store(split, network, settings.cache_dir)
    store.ensure()
    descriptor = NetworkDescriptor(network, store.layers(), "last", None, None)
    return image_vectors(split, descriptor, settings.cache_dir)


def vectors_path(split: datasets.Split, descriptor: Descriptor, cache_dir: str | Path) -> Path:
    """Where a split's vectors lie, or will."""
    key = hashlib.sha256((datasets.fingerprint(split) + descriptor.fingerprint()).encode())
    if isinstance(split.pictures, list):  # of files that fingerprint holds names and sizes only
        times = [
            os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in split.pictures
        ]
        key.update(np.asarray(times, "<i8").tobytes())
    return Path(cache_dir) / f"vectors-{key.hexdigest()[:16]}.npy"


def write_vectors(
    path: Path, blocks: Iterable[np.ndarray], split: datasets.Split, descriptor: Descriptor
) -> None:
    """Writes consecutive blocks of vectors as one `.npy`, without holding them all."""
    dtype, shape = descriptor.dtype, (split.num_images, *descriptor.row_shape)
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
        activations.write_header(file, dtype, shape)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


def describe_regions(
    split: datasets.Split, descriptor: RegionDescriptor | BoxDescriptor
) -> Iterator[np.ndarray]:
    """Vectors of a split's pictures, block by block.

    Raises:
      ValueError: some cannot be read; all are tried first.
    """
    broken: dict[int, str] = {}

    def describe(rows: np.ndarray) -> np.ndarray:
        pictures, failed = read(split, rows)
        broken.update(failed)
        return descriptor.describe(pictures if not broken else pictures[:0])

    parts = list(chunks(np.arange(split.num_images)))
    with ThreadPoolExecutor() as pool:
        yield from tqdm(
            pool.map(describe, parts), f"describing {split.name}", len(parts), False, disable=None
        )
    refuse(split, broken)


def network_path(descriptor: NetworkDescriptor, cache_dir: str | Path) -> Path:
    """Where a descriptor's network lies in ONNX format, once `export` has written it.

    In the cache, because the runs on one network share it and it may be large (VGG16: 550 MB).
    """
    key = descriptor.network.fingerprint()[:16]
    return Path(cache_dir) / f"{descriptor.network.cnn}-{key}.onnx"


def export(descriptor: Descriptor | None, cache_dir: str | Path) -> None:
    """Writes what `describe_picture` needs without TensorFlow, unless it is there."""
    if isinstance(descriptor, NetworkDescriptor):
        path = network_path(descriptor, cache_dir)
        if not path.is_file():
            cnn.export(descriptor.network, path)


def describe_picture(
    descriptor: Descriptor, picture: Image.Image, cache_dir: str | Path
) -> np.ndarray:
    """Vector (1, F), or boxes (1, R, F), float32 of one RGB picture, without TensorFlow.

    Args:
      descriptor: of the run.
      picture: RGB.
      cache_dir: where `export` wrote a network.

    Raises:
      ValueError: the exported network is missing or damaged.
    """
    if isinstance(descriptor, RegionDescriptor | BoxDescriptor):
        return descriptor.describe(to_array(picture)[None]).astype(np.float32)
    path = network_path(descriptor, cache_dir)
    if not path.is_file():
        raise ValueError(f"{path} is missing: {graphs.WRITTEN_BY}")
    crops = cut_crops(picture, descriptor.network).astype(np.float32)  # (K, S, S, 3)
    means = graphs.Tower(path)(crops).mean(axis=0, keepdims=True)
    return descriptor.describe(means).astype(np.float32)


def read(split: datasets.Split, rows: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """Some pictures of a split as (n, SIDE, SIDE, 3) uint8, and by row why others failed."""
    pictures, broken = np.zeros((len(rows), SIDE, SIDE, 3), np.uint8), {}
    for index, row in enumerate(rows.tolist()):
        try:
            pictures[index] = to_array(activations.open_picture(split, row))
        except ValueError as error:
            broken[row] = str(error)
    return pictures, broken


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
