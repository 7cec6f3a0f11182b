"""The kinds of descriptors: which a run uses, made anew or read from its file.

    kind = choose_features(settings, split, "regions")
    descriptor = learn_descriptor(kind, split, settings)
    descriptor.save(run.features)
    descriptor = load_descriptor(run.features)

`rows.py` says what a descriptor does. Only the files of the kind at hand are imported.

Shape letters: N images, R boxes, F feature.
"""

import importlib
from pathlib import Path

import numpy as np

from data import datasets
from data.vision.rows import Descriptor
from run import files
from run.console import printable

KINDS = {  # where the class of each stands
    "regions": "regions.RegionDescriptor",
    "boxes": "boxes.BoxDescriptor",
    "last": "embedding.NetworkDescriptor",
    "fne": "embedding.NetworkDescriptor",
    "grid": "embedding.NetworkDescriptor",
    "ready": "descriptors.ReadyVectors",
    "pixels": "pixels.PixelDescriptor",
}
# Features that mean the data's own vectors, where there are any.
OWN = ("auto", "ready", "bottom_up")


class ReadyVectors(Descriptor):
    """The data's own vectors: nothing is described.

    Args:
      row_shape: (F,), or (R, F) of several boxes.
    """

    kind = "ready"

    def __init__(self, row_shape: tuple[int, ...]):
        self.shape = row_shape

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(F,), or (R, F)."""
        return self.shape

    @classmethod
    def from_split(cls, split, settings, kind):
        """By the size of the training vectors."""
        return cls(split.vectors.shape[1:])  # pyright: ignore[reportOptionalMemberAccess]

    @classmethod
    def from_arrays(cls, arrays, kind):
        """Of what `arrays` gave."""
        return cls(tuple(arrays["row_shape"].tolist()))

    def arrays(self):
        """The shape of a row."""
        return {"row_shape": np.array(self.row_shape, np.int64)}

    def rows(self, split, settings):
        """The split's own vectors. Raises ValueError where it has none, or others."""
        if split.vectors is None:
            raise ValueError(f"the {split.name} split has no vectors, unlike the training split")
        if split.vectors.shape[1:] != self.row_shape:
            raise ValueError(
                f"the image vectors have {split.vectors.shape[-1]} numbers, the run was trained on "
                f"{self.feature_dim}: is --data_dir right?"
            )
        return split.vectors


def choose_features(settings, split: datasets.Split, default: str) -> str:
    """The kind of descriptor that a new run uses, one of `KINDS`; nothing is changed or read.

    Args:
      settings: with features and data.
      split: the training split.
      default: what "auto" makes of pictures, for the run's system.

    Raises:
      ValueError: the split has not what was asked for.
    """
    asked = settings.features
    if split.vectors is not None and asked in OWN:
        return "ready"
    if split.pictures is None and split.vectors is None:
        raise ValueError(
            "the data set has captions but neither pictures nor vectors, so there is nothing to "
            f"train on: no picture {split.image_names[0]} lies in {split.origin} or the folders "
            "in it; add the folder with its pictures"
        )
    if split.pictures is None:
        raise ValueError(
            f"--features {asked} {'reads' if asked == 'pixels' else 'describes'} pictures, and the "
            "data set has ready vectors only: leave the flag out, or add the folder with its "
            "pictures"
        )
    kind = default if asked == "auto" else asked
    drawn = asked == "auto" and settings.data == "scenes"
    return "boxes" if drawn and kind == "grid" else kind


def class_of_kind(kind: str) -> type[Descriptor]:
    """The class of a kind. Raises KeyError where there is no such kind."""
    module, name = KINDS[kind].split(".")
    return getattr(importlib.import_module(f"data.vision.{module}"), name)


def learn_descriptor(kind: str, split: datasets.Split, settings) -> Descriptor:
    """A descriptor for a new run, from the TRAINING split.

    Args:
      kind: of `choose_features`.
      settings: data_seed and cache_dir; of networks what `cnn.describe_network` reads; of pixels
        image_size, image_pooling, crop_area and mirror.

    Raises:
      ValueError: pictures cannot be read, or a network's weights cannot be.
    """
    return class_of_kind(kind).from_split(split, settings, kind)


def load_descriptor(path: str | Path) -> Descriptor:
    """The descriptor of a run, by the kind that its file names.

    Raises:
      ValueError: the file is missing, or of another version of this program.
    """
    arrays = files.open_arrays(path)
    kind = str(arrays.pop("kind", "none"))
    try:
        found = class_of_kind(kind).from_arrays(arrays, kind)
        if not all(isinstance(size, int) and 0 < size < 2**31 for size in found.row_shape):
            raise ValueError(f"rows of {found.row_shape}")
        return found
    except files.DAMAGE as error:
        raise ValueError(
            f"{path} holds another descriptor than this program's (kind {printable(kind[:40])}: "
            f"{files.reason(error)}): train the run anew"
        ) from None


def check_reads(descriptor: Descriptor, model: str, boxes: bool) -> None:
    """Refuses boxes for a system that reads vectors, and the other way about.

    Args:
      model: the system's name; boxes: whether it reads several rows of each image.

    Raises:
      ValueError: says which.
    """
    shape = descriptor.row_shape
    if boxes and len(shape) != 2:
        found = f"vectors of {shape[0]} numbers" if len(shape) == 1 else "pictures"
        raise ValueError(
            f"--model {model} reads several boxes of each image, this data has {found}: give "
            "--features boxes or grid where there are pictures"
        )
    if not boxes and len(shape) == 2:
        raise ValueError(
            f"--model {model} reads one vector of each image, this data has {shape[0]} boxes of "
            f"{shape[1]} numbers: use --model joint"
        )
