r"""Describes the pictures of a data set by a CNN: last layer, full-network embedding, or a grid.

    python -m data.vision.extract --data flickr8k --data_dir DIR --features fne --crops 10
    python -m data.vision.extract --data flickr8k --data_dir DIR --image_weights FILE.weights.h5
    python -m data.vision.extract --data flickr8k --data_dir DIR --output VECTORS  # --data precomp
    python -m data.vision.extract --data flickr8k --data_dir DIR --features grid  # boxes

It is called from the root of the repository. train.py --features fne (last, grid) does the same by
itself; this shows what comes out, before. (Rows of the last layer have length 1 here; in systems 3
and 4 they keep their own, and are read at --image_size.)
Stopped, it goes on where it was. Vectors lie in --cache_dir; --output copies them, with captions
and names, into the layout that --data precomp and the VSE++ family read.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from data import datasets
from data.vision import activations, cnn, embedding
from data.vision.rows import write_blocks
from run import console, files, lock
from settings import options
from settings.options import option
from settings.training import Settings

SHARED = (  # with train.py
    "data", "data_dir", "limit", "validation_images", "coco_split", "nuswide_test", "data_seed",
    "cache_dir", "cnn", "image_weights", "crops", "resize", "pre_activation", "grid",
)  # fmt: skip
WORDS = {"train": "train", "validation": "dev", "test": "test"}  # of the precomp layout
COPIED = 256  # rows at a time

FLAGS = flags.FLAGS
Shared: Any = options.some_of(Settings, SHARED, "Data and pictures, as train.py has them")


@dataclass(frozen=True)
class ExtractOptions(Shared):
    """What is extracted, and where it goes besides the cache."""

    title = "Extract"
    features: str = option(
        "fne",
        "The full-network embedding, the last layer, or the last map.",
        choices=embedding.KINDS,
    )
    output: str | None = option(None, "Write the vectors into this folder, as precomp data, too.")


options.define(ExtractOptions, FLAGS)


def extract(splits, settings):
    """Describes all splits and says for each what came of it.

    Returns:
      {split name: (N, F) vectors, memory-mapped}.
    """
    network, vectors = cnn.describe_network(settings, settings.features == "grid"), {}
    for name, split in splits.items():
        if split.pictures is None:
            raise ValueError(f"the {name} split has no pictures: add the folder that holds them")
    told = activations.ensure_all(
        [
            activations.ActivationStore(split, network, settings.cache_dir)
            for split in splits.values()
        ]
    )
    descriptor = embedding.NetworkDescriptor.from_split(
        splits["train"], settings, settings.features
    )
    for (name, split), (count, took) in zip(splits.items(), told, strict=True):
        began = time.perf_counter()
        vectors[name] = descriptor.rows(split, settings)
        seconds = took + time.perf_counter() - began
        rate = f"{count / seconds:,.1f} pictures/s" if count else "from the cache"
        size = " x ".join(f"{number:,}" for number in vectors[name].shape[1:])
        path = getattr(vectors[name], "filename", "in memory")
        print(
            f"{name:10} {split.num_images:,} images x {size} {vectors[name].dtype}, "
            f"{seconds:.1f} s, {rate}: {path}"
        )
        if settings.features == "fne":
            print(f"{'':10} {shares(vectors[name])}", flush=True)
    return vectors


def shares(vectors):
    """How many of the values are -1, 0 and 1, in words."""
    counts = np.zeros(3, np.int64)
    for start in range(0, len(vectors), COPIED):
        counts += np.bincount(vectors[start : start + COPIED].ravel() + 1, minlength=3)
    parts = zip((-1, 0, 1), 100 * counts / counts.sum(), strict=True)
    return ", ".join(f"{share:.1f} % are {value}" for value, share in parts)


def write_precomp(folder, splits, vectors):
    """Writes `{train,dev,test}_ims.npy`, `_caps.txt` and `_ids.txt`.

    The layout has one number of captions for all images: the first ones of each are written.
    """
    for split in splits.values():
        split.check_paired()
    counts = [np.bincount(split.caption_image) for split in splits.values()]
    each = min(int(own.min()) for own in counts)
    if dropped := sum(int((own - each).sum()) for own in counts):
        print(f"the layout has equally many captions for each image: {dropped:,} beyond the first "
              f"{each} of their image are left out")  # fmt: skip
    for name, split in splits.items():
        rows, word = vectors[name], WORDS[name]
        parts = (rows[start : start + COPIED] for start in range(0, len(rows), COPIED))
        write_blocks(Path(folder) / f"{word}_ims.npy", parts, rows.dtype, rows.shape)
        first = np.searchsorted(split.caption_image, np.arange(split.num_images))
        kept = [split.captions[start + k] for start in first.tolist() for k in range(each)]
        files.write_text(Path(folder) / f"{word}_caps.txt", "".join(f"{c}\n" for c in kept))
        ids = "".join(f"{image}\n" for image in split.image_names)
        files.write_text(Path(folder) / f"{word}_ids.txt", ids)
    print(f"written: {folder}; python train.py --data precomp --data_dir {folder}")


def main(argv):
    """Pictures -> vectors in the cache, and maybe --output."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name value")
    settings = options.read(ExtractOptions, FLAGS)
    cnn.describe_network(settings, settings.features == "grid")  # refused now, not after reading
    for place in filter(None, (settings.cache_dir, settings.output)):
        if Path(place).exists() and not Path(place).is_dir():
            raise ValueError(f"{place} is no folder: choose another name")
        files.check_printable(place)
        lock.claim(place)
    console.when_stopped(lambda: "what is described is kept: give the same command again")
    splits = datasets.open_run_data(settings)
    vectors = extract(splits, settings)
    if settings.output:
        write_precomp(settings.output, splits, vectors)


if __name__ == "__main__":
    sections = options.sections_of(ExtractOptions)
    console.run_script(lambda: options.start_script(main, str(__doc__), sections, sys.argv))
