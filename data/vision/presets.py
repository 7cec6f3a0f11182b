"""Networks of KerasHub as readers of pictures: the name of a preset, or its folder, as --cnn.

A preset brings its architecture, its weights, the side of its pictures and how pixels are scaled.
KerasHub is imported where a network is made, or where only a name is there to ask.

Shape letters: B pictures of a batch, S side in pixels, h and w sides of a map, C channels, T tokens
of a vision transformer.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from run import files, hdf5, replicas

CONVERTER, ARCHITECTURE, WEIGHTS = "image_converter.json", "config.json", "model.weights.h5"
NAME = re.compile(r"[a-z0-9]+(_[a-z0-9.]+){2,}|[a-z]+://\S+")  # densenet_121_imagenet, hf://...
REMEDY = "expected a preset of KerasHub that reads pictures, or its folder"


def is_preset(cnn: str) -> bool:
    """Whether --cnn names a preset: a folder, or a name in KerasHub's form."""
    return preset_folder(cnn) is not None or bool(NAME.fullmatch(cnn))


def preset_folder(cnn: str) -> Path | None:
    """The folder that --cnn names, absolute, or None."""
    path = Path(cnn).expanduser()
    return path.absolute() if path.is_dir() else None


def identity(cnn: str) -> str:
    """What stands for a preset in fingerprints: its name, or the SHA-256 of its folder's files.

    Raises:
      ValueError: the folder lacks a file.
    """
    folder = preset_folder(cnn)
    if folder is None:
        return cnn
    lacking = [name for name in (ARCHITECTURE, CONVERTER, WEIGHTS) if not (folder / name).is_file()]
    if lacking:
        raise ValueError(f"--cnn {cnn}: {lacking[0]} is not in that folder; {REMEDY}")
    hashes = [files.file_hash(folder / name) for name in (ARCHITECTURE, CONVERTER, WEIGHTS)]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def side_of(cnn: str) -> int:
    """S, the side of the pictures that the preset was made for.

    Raises:
      ValueError: it cannot be had, or does not say.
    """
    folder = preset_folder(cnn)
    if folder is None:
        size: Any = _converter(cnn).image_size
    else:
        found = files.read_json(folder / CONVERTER, dict).get("config")
        size = found.get("image_size") if isinstance(found, dict) else None
    square = isinstance(size, list | tuple) and len(size) == 2 and size[0] == size[1]
    if not square or not isinstance(size[0], int) or not 0 < size[0] < 10_000:
        raise ValueError(f"--cnn {cnn} names no side of its pictures, but {size!r}; {REMEDY}")
    return size[0]


def load_preset(cnn: str, weights: bool = True) -> Any:
    """The network: (B, h, w, 3) scaled pixels -> (B, h, w, C) its last map.

    The tokens of a vision transformer are a map of (B, T, 1, C).

    Args:
      weights: its own; else drawn ones.

    Raises:
      ValueError: it cannot be had, or reads no pictures.
    """
    replicas.import_tensorflow()
    import keras

    folder = preset_folder(cnn) if weights else None
    by_name = weights and folder is None
    base = _ask(cnn, lambda hub, name: hub.models.Backbone.from_preset(name, load_weights=by_name))
    if folder is not None:
        hdf5.load_weights(base, folder / WEIGHTS)  # looks at the file first
    shape = getattr(base.input, "shape", ())  # of a text network a dict
    if len(shape) != 4 or shape[-1] != 3:
        raise ValueError(f"--cnn {cnn} is a {type(base).__name__}; {REMEDY}")
    if len(base.output.shape) == 4:
        return base
    return keras.Model(base.input, keras.ops.expand_dims(base.output, 2))


def scaling(cnn: str) -> Any:
    """The preset's own preprocessing: (..., 3) pixels in [0, 255] -> what the network reads.

    Raises:
      ValueError: it cannot be had.
    """
    converter = _converter(cnn)
    scale = np.asarray(1.0 if converter.scale is None else converter.scale, np.float32)
    offset = np.asarray(0.0 if converter.offset is None else converter.offset, np.float32)
    return lambda pixels: pixels * scale + offset


def _converter(cnn):
    return _ask(cnn, lambda hub, name: hub.layers.ImageConverter.from_preset(name))


def _ask(cnn, what):
    """What KerasHub has under a name. Raises ValueError where it has nothing."""
    replicas.import_tensorflow()
    import keras_hub

    try:
        return what(keras_hub, str(preset_folder(cnn) or cnn))
    except Exception as error:  # those of the download libraries have no common class
        raise ValueError(f"--cnn {cnn} cannot be had ({files.reason(error)}); {REMEDY}") from error
