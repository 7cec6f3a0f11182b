"""The key of an assignment: which shuffled caption belongs to which shuffled image.

    key = draw_key(split)            # when the data are handed out
    write_key(path, key)
    key = read_key(path)             # when submissions are graded
    key = key_of_run(run)            # or: the truth is that of a run of labelled data

Shape letters: N images, M captions.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import record
from data.datasets import Split
from gallery.stored import Gallery
from run import files
from run.folder import Run

FORMAT = 1
ROWS = ("caption_image", "image_rows", "caption_rows")
TEXTS = ("image_names", "contents", "data", "original")


@dataclass(frozen=True)
class Key:
    """What submissions are graded with.

    Attributes:
      caption_image: (M,) row of each handed-out caption's handed-out image.
      image_rows: (N,), caption_rows: (M,) row of each in the test split that they were made of.
      image_names: N names in that split.
      contents: starts of hashes of the test images, before and after they were handed out.
      data: fingerprint of the handed-out test split; original: of that which it was made of.
    """

    caption_image: np.ndarray
    image_rows: np.ndarray
    caption_rows: np.ndarray
    image_names: list[str]
    contents: list[str]
    data: str
    original: str

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.image_rows)

    @property
    def num_captions(self) -> int:
        """M."""
        return len(self.caption_rows)


def draw_orders(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orders of images and captions that nobody can draw again: the seed is the system's noise.

    Returns:
      image_rows (N,), caption_rows (M,) and caption_image (M,), as of `Key`.
    """
    draw = np.random.default_rng(int.from_bytes(os.urandom(32), "little"))
    image_rows = draw.permutation(split.num_images)
    caption_rows = draw.permutation(split.num_captions)
    place = np.argsort(image_rows)  # where each image of the split stands now
    return image_rows, caption_rows, place[split.caption_image[caption_rows]]


def write_key(path: Path, key: Key) -> None:
    """Writes the key; only its owner may read it, where the file system knows owners."""
    arrays = {"format": np.array([FORMAT])}
    for name in ROWS:
        arrays[name] = np.asarray(getattr(key, name), np.int64)
    for name in TEXTS:
        own = getattr(key, name)
        packed = files.pack_strings([own] if isinstance(own, str) else own)
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = packed
    files.write_arrays(path, arrays)
    os.chmod(path, 0o600)


def read_key(path: str | Path) -> Key:
    """The key that `compare.py --make_assignment` wrote.

    Raises:
      ValueError: it is missing, damaged, or no key.
    """
    arrays = files.open_arrays(path)
    try:
        files.check_archive(path)
        texts = {name: _texts(arrays, name) for name in TEXTS}
        names, contents, data, original = (texts[name] for name in TEXTS)
        own, images, captions = (np.array(arrays[name]) for name in ROWS)
        key = Key(own, images, captions, names, contents, data[0], original[0])
        counted = np.arange(key.num_images)
        whole = arrays["format"].tolist() == [FORMAT]
        whole &= np.array_equal(np.sort(key.image_rows), counted)
        whole &= np.array_equal(np.sort(key.caption_rows), np.arange(key.num_captions))
        whole &= np.array_equal(np.unique(key.caption_image), counted)
        if whole and len(key.caption_image) == key.num_captions:
            return key
    except (KeyError, IndexError, ValueError, TypeError):
        pass
    raise ValueError(f"{path} is no key: expected the key.npz of compare.py --make_assignment")


def _texts(arrays: dict[str, Any], name: str) -> list[str]:
    strings = files.PackedStrings(arrays[f"{name}_data"], arrays[f"{name}_offsets"])
    strings.check()
    return list(strings)


def key_of_run(run: Run) -> Key:
    """The truth of the test split that a run was graded on, whose rows keep their order.

    Raises:
      ValueError: it was not graded on it, or a file is missing or damaged.
    """
    gallery, test = Gallery(run), record.read_record(run)["splits"]["test"]
    if list(gallery.image_names) != test["images"]:
        raise ValueError(f"{run} was not graded on its test split: python test.py does that")
    return Key(
        caption_image=gallery.caption_image.astype(np.int64),
        image_rows=np.arange(gallery.num_images),
        caption_rows=np.arange(gallery.num_captions),
        image_names=test["images"],
        contents=test["contents"],
        data=test["sha256"],
        original=test["sha256"],
    )
