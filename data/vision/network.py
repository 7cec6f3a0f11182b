"""A CNN and how it is shown a picture: which weights, which crops, what its columns are.

Neither TensorFlow nor Keras: `cnn.py` runs the network.

Shape letters: C columns (all that is kept of a picture), F feature, S side of the network's input
in pixels, K crops.

Reference: Vilalta, Garcia-Gasulla, Pares, Moreno, Ayguade, Labarta, Cortes, Suzumura, Full-network
  embedding in a multimodal embedding pipeline, 2017, sections 3.1 and 4.2.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

RESIZES = ("squash", "short_side")
THINNEST = 20  # pictures longer than so many times their short side are squeezed to that


@dataclass(frozen=True)
class Network:
    """A CNN and how it is shown a picture: all that activations depend on.

    Attributes:
      cnn: its name in `keras.applications`, or a preset's.
      weights: "imagenet", "random", the path of a file, or the preset or its folder.
      weights_id: what stands for them in fingerprints: "imagenet", "random <seed>", the preset's
        name, or the SHA-256 of the file or folder, wherever it lies.
      size: S.
      crops: 1 (centre) or 10 (corners and centre, mirrored).
      resize: "squash" to a square (the paper), or "short_side", the shape kept.
      pre_activation: layers are read before their activation.
      grid: places along a side of the last map, read alone and as it lies; 0: means of all layers.

    Raises:
      ValueError: crops or resize is not one of these.
    """

    cnn: str
    weights: str
    weights_id: str
    size: int
    crops: int = 10
    resize: str = "squash"
    pre_activation: bool = False
    grid: int = 0

    def __post_init__(self):
        if self.crops not in (1, 10):
            raise ValueError(f"crops is {self.crops}: expected 1 (the centre) or 10")
        if self.resize not in RESIZES:
            raise ValueError(f"resize is {self.resize!r}: expected {' or '.join(RESIZES)}")
        if self.grid and self.crops != 1:
            raise ValueError(f"a grid is of 1 crop, not of {self.crops}")

    def fingerprint(self) -> str:
        """SHA-256 of all but where the weights lie."""
        facts = asdict(self)
        del facts["weights"]
        if not self.grid:
            del facts["grid"]  # newer than some caches
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Layers:
    """What the columns of activations are.

    Attributes:
      names: layers as read: the layer whose output was taken.
      widths: numbers of each; together the full-network embedding, F columns from 0.
      last: first column, and the one after the last, of the layer before the classifier. It may
        lie behind the F columns where it is none of them.
    """

    names: list[str]
    widths: list[int]
    last: tuple[int, int]

    @property
    def feature_dim(self) -> int:
        """F of the full-network embedding."""
        return sum(self.widths)

    @property
    def num_columns(self) -> int:
        """C."""
        return max(self.feature_dim, self.last[1])


def resized(size: tuple[int, int], network: Network) -> tuple[int, int]:
    """Width and height that a picture of this width and height has before crops are cut from it.

    The short side is S * 256 / 224, so 256 for most networks; so is the other, unless the shape is
    kept.
    """
    side = round(network.size * 256 / 224)
    if network.resize != "short_side":
        return side, side
    scale = side / min(size)
    width, height = (min(max(side, round(x * scale)), THINNEST * side) for x in size)
    return width, height


def cut_crops(picture: Image.Image, network: Network) -> np.ndarray:
    """An RGB picture as the network is shown it: (K, S, S, 3) uint8.

    Reference: the paper, section 4.2: pictures squashed to 256 x 256, 10 crops of 224 x 224.
    Differs from the paper: `short_side` keeps the shape, as the extractor of order embeddings does.
    """
    size, (width, height) = network.size, resized(picture.size, network)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    right, low = width - size, height - size
    places = [(low // 2, right // 2)]
    if network.crops == 10:
        places += [(0, 0), (0, right), (low, 0), (low, right)]
    crops = np.empty((network.crops, size, size, 3), np.uint8)
    for index, (y, x) in enumerate(places):
        crops[index] = pixels[y : y + size, x : x + size]
    if network.crops == 10:
        crops[5:] = crops[:5, :, ::-1]
    return crops


def places_seen(size: tuple[int, int], network: Network) -> np.ndarray:
    """(grid * grid, 4) frames of a grid's places in a picture of this width and height, by rows.

    A frame is left, top, right and bottom, as parts of the picture's sides. The network is shown
    the middle only.
    """
    row, column = np.divmod(np.arange(network.grid**2), network.grid)
    frames = np.stack([column, row, column + 1, row + 1], axis=1).astype(np.float32) / network.grid
    share = network.size / np.array(resized(size, network))
    return frames * np.tile(share, 2) + np.tile((1 - share) / 2, 2)


def read_layers(facts: dict) -> Layers:
    """Layers of their JSON."""
    try:
        first, stop = map(int, facts["last"])
        names, widths = list(map(str, facts["names"])), list(map(int, facts["widths"]))
        fits = len(names) == len(widths) and 0 <= first <= stop and all(w > 0 for w in widths)
    except (LookupError, TypeError, ValueError):
        fits, first, stop, names, widths = False, 0, 0, [], []
    if not fits:
        raise ValueError("names, widths and last do not say what a network's layers are")
    return Layers(names, widths, (first, stop))
