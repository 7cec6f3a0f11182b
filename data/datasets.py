"""Data sets of every format, opened and checked: `open_dataset("flickr8k", "../flickr8k")`.

A reader for each format turns files into records (`formats/`); here they
are checked, whatever the format, and laid out as three `Split`s. An image may have any number
of captions.
No TensorFlow: `test.py --verify` and `retrieve.py` start at once.

Shape letters: N images, M captions, F feature, K concepts.
"""

import gc
import hashlib
import importlib
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from data.formats.identity import check_pictures, content_of
from data.formats.records import (
    SPLITS,
    ReadingOptions,
    Records,
    Rows,
    blocks,
    find_sources,
    listing,
    some,
)

DATASETS = {  # name, as of --data -> what reads it; what is not chosen is not imported
    "scenes": "scenes:read_scenes",
    "nuswide": "nuswide:read_nuswide",
    "flickr8k": "flickr:read_flickr",
    "flickr30k": "flickr:read_flickr",
    "coco": "coco:read_coco",
    "karpathy": "coco:read_karpathy",
    "precomp": "precomp:read_precomp",
    "csv": "table:read_table",
}
SINGLE_FILES = ("coco", "karpathy", "csv")  # formats whose data_dir may be a file


@dataclass(frozen=True)
class Split:
    """One split of a data set, checked.

    Attributes:
      name: train, validation or test.
      image_names: N names, unique in the data set: file name or id.
      captions: M captions; those of one image stand together, white space made single spaces.
      caption_image: (M,) int32, ascending, row of each caption's image; every image has some.
      vectors: (N, F) or boxes (N, R, F); float16, float32 or int8, finite. May be memory-mapped,
        or `records.Rows` of a large map.
      pictures: N paths of picture files, or (N, H, W, 3) uint8, or None.
      concepts: (N, K) float32 multi-hot, or None; K is the same in all splits.
      origin: what picture references start from: the data folder, or `scenes:<seed>`.
      fits: gives (M, N) bool, which captions are true of which images (scenes only), or None.
      drawn: how the split was drawn, a line for a person; "" where the data set names it.
      shuffled: the test split of an assignment: captions stand in the order of their file, and
        whose they are is not known; `caption_image` says nothing.
    """

    name: str
    image_names: list[str]
    captions: list[str]
    caption_image: np.ndarray
    vectors: np.ndarray | None = None
    pictures: list[str] | np.ndarray | None = None
    concepts: np.ndarray | None = None
    origin: str = ""
    fits: Callable[[], np.ndarray] | None = None
    drawn: str = ""
    shuffled: bool = False

    @property
    def num_images(self) -> int:
        return len(self.image_names)

    @property
    def num_captions(self) -> int:
        return len(self.captions)

    def check_paired(self) -> None:
        """Refuses captions that nobody here knows the images of. Raises ValueError."""
        if self.shuffled:
            raise ValueError(
                f"the {self.name} split in {self.origin} is shuffled: whose its captions are is "
                "not known here; python test.py encodes it to be handed in, --split validation has "
                "its own score"
            )


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look again and again through all that was read.

    Reading makes millions of objects and no cycles of them, so there is nothing to be found.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@uncollected()
def open_dataset(
    data: str,
    data_dir: str | os.PathLike | None = None,
    *,
    cache_dir: str | os.PathLike = ".cache",
    validation_images: int = 256,
    seed: int = 0,
    limit: int | None = None,
    coco_split: str = "whole",
    nuswide_test: str = "all",
) -> dict[str, Split]:
    """Opens a data set and checks it.

    Args:
      data: a name of `DATASETS`.
      data_dir: the folder that holds the data (for coco, karpathy and csv, or the file itself);
        None for scenes.
      cache_dir: folder for what is slow to read: drawn scenes, the feature CSV of nuswide.
      validation_images: where a layout has no validation split, how many training images are set
        aside for it; at most a tenth of them. Never test images.
      seed: of such draws, and of the scenes.
      limit: keeps the first images of each split, at most so many; None keeps all. A shuffled
        split stays whole: all of it is handed in.
      coco_split: of coco, see `coco.read_coco`; nuswide_test: of nuswide, see its reader.

    Returns:
      `{"train": Split, "validation": Split, "test": Split}`.

    Raises:
      ValueError: one line: the file, what was expected and how to mend it.
    """
    if data not in DATASETS:
        raise ValueError(f"unknown data {data!r}; there are {', '.join(DATASETS)}")
    for name, value in (("limit", limit), ("validation_images", validation_images)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; expected 1 or more")
    options = ReadingOptions(
        Path(cache_dir), validation_images, seed, limit, coco_split, nuswide_test
    )
    if data == "scenes":
        if data_dir:
            raise ValueError(
                f"data scenes is drawn by the program, but data_dir {data_dir} was given; name its "
                f"format: {', '.join(name for name in DATASETS if name != data)}"
            )
        records, origin = reader_of(data)(None, options), f"scenes:{seed}"
    else:
        source, *beside = find_sources(data, data_dir)
        options = replace(options, beside=tuple(beside))
        if source.is_file() and data not in SINGLE_FILES:
            raise ValueError(
                f"data {data} needs a folder, {source} is a file; its folder holds "
                f"{listing(source.absolute().parent)}"
            )
        records = reader_of(data)(source, options)
        origin = str(source.parent if source.is_file() else source)
    check_records(records, cache_dir)
    if limit:
        records = {name: _first(own, limit) for name, own in records.items()}
    return {name: _to_split(name, records[name], origin) for name in SPLITS}


def reader_of(data: str) -> Callable:
    """What reads a data set of `DATASETS`: (its folder or file, `ReadingOptions`) -> records."""
    module, name = DATASETS[data].split(":")
    return getattr(importlib.import_module(f"data.formats.{module}"), name)


def open_run_data(settings, data_dir: str | os.PathLike | None = None) -> dict[str, Split]:
    """The data set that a run's settings mean; `data_dir` where it has moved since.

    With features "bottom_up" the vectors are the boxes of `features_file`; with `heldout` or
    `heldout_file` the splits are those of the protocol of held-out pairs.
    """
    splits = open_dataset(
        settings.data,
        data_dir or settings.data_dir,
        cache_dir=settings.cache_dir,
        validation_images=settings.validation_images,
        seed=settings.data_seed,
        limit=settings.limit or None,
        coco_split=settings.coco_split,
        nuswide_test=settings.nuswide_test,
    )
    if getattr(settings, "features", None) == "bottom_up":
        from data.formats import bottom_up

        splits = bottom_up.attach(splits, settings)
    if getattr(settings, "heldout", None) or getattr(settings, "heldout_file", None):
        from data.pairs import heldout  # and with it the English parser

        splits = heldout.hold_out(splits, settings)
    return splits


def _first(records: Records, limit: int) -> Records:
    whole = records.shuffled or len(records.names) <= limit
    return records if whole else replace(records.take(range(limit)), drawn=records.drawn)


def _to_split(name: str, records: Records, origin: str) -> Split:
    counts = [len(own) for own in records.captions]
    return Split(
        name=name,
        image_names=records.names,
        captions=[" ".join(text.split()) for own in records.captions for text in own],
        caption_image=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        vectors=records.vectors,
        pictures=records.pictures,
        concepts=records.concepts,
        origin=origin,
        fits=records.fits,
        drawn=records.drawn,
        shuffled=records.shuffled,
    )


# Checks that hold for every format.


def check_records(records: dict[str, Records], cache_dir: str | os.PathLike | None = None) -> None:
    """Refuses splits that are empty, inconsistent or overlap, under whatever names.

    Args:
      records: of all splits.
      cache_dir: where `identity.first_pictures` may keep what it read.

    Raises:
      ValueError: names the images, or the numbers that do not fit.
    """
    for split, own in records.items():
        _check_one(split, own)
    for first, second in combinations(records, 2):
        shared = sorted(set(records[first].names) & set(records[second].names))
        if shared:
            raise ValueError(
                f"splits {first} and {second} share {len(shared)} images: {some(shared)}; "
                "each image may stand in one split only"
            )
    for what in ("vectors", "concepts"):
        shapes = {
            split: getattr(own, what).shape[1:]
            for split, own in records.items()
            if getattr(own, what) is not None
        }
        if len(set(shapes.values())) > 1 or len(shapes) not in (0, len(records)):
            sizes = ", ".join(
                f"{split} {' x '.join(map(str, shapes[split])) if split in shapes else 'none'}"
                for split in records
            )
            raise ValueError(f"{what} must have one size in all splits; got {sizes}")
    check_pictures(records, cache_dir)


def _check_one(split: str, records: Records) -> None:
    if not records.names:
        raise ValueError(f"split {split} has no images")
    twice = [name for name, count in Counter(records.names).items() if count > 1]
    if twice:
        raise ValueError(
            f"split {split} names {len(twice)} images more than once: {some(twice)}; "
            "each image may stand there once"
        )
    mute = [name for name, own in zip(records.names, records.captions, strict=True) if not own]
    if mute:
        raise ValueError(
            f"split {split} has {len(mute)} images without captions: {some(mute)}; "
            "add captions, or take the images out of the split"
        )
    for name, own in zip(records.names, records.captions, strict=True):
        if not all(text.strip() for text in own):
            raise ValueError(f"split {split}, image {name}: empty caption; write or remove it")
    for what in ("vectors", "pictures", "concepts"):
        values = getattr(records, what)
        if values is not None and len(values) != len(records.names):
            raise ValueError(
                f"split {split} has {len(values)} rows of {what} for {len(records.names)} images"
            )


# What identifies a split.


def fingerprint(split: Split) -> str:
    """SHA-256 of what a split holds, hexadecimal: equal data, equal fingerprint, wherever it lies.

    Covers image names, captions, `caption_image`, concepts, vectors and pictures, of files all
    bytes.
    """
    digest = hashlib.sha256()
    for strings in ([split.name], split.image_names, split.captions):
        digest.update(struct.pack("<q", len(strings)))
        for string in strings:
            encoded = string.encode("utf-8", "surrogatepass")
            digest.update(struct.pack("<q", len(encoded)) + encoded)
    for array in (split.caption_image, split.concepts, split.vectors, split.pictures):
        if isinstance(array, np.ndarray | Rows):
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            for _, block in blocks(array):
                digest.update(np.ascontiguousarray(block).data)
        else:
            digest.update(b"none" if array is None else b"files")
    if isinstance(split.pictures, list):
        for path in split.pictures:
            digest.update(content_of(path).encode())
    return digest.hexdigest()
