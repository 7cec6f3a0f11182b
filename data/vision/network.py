"""The full-network embedding: statistics, thresholds and the record of how pictures are described.

A CNN's activations (all layers, spatial means) are standardised by the training pictures and cut to
-1, 0 and 1. The last layer alone, of length 1, is the baseline; for attention over boxes there is
the last map as a grid. Neither TensorFlow nor Keras: a
cache of activations, or an exported network, is enough to describe a picture.

Shape letters: n images of a block, C columns (all that is kept of a picture), F feature, S side of
the network's input in pixels, K crops.

References:
  Garcia-Gasulla, Vilalta, Pares, Ayguade, Labarta, Cortes, Suzumura, An out-of-the-box full-network
    embedding for convolutional neural networks, ICBK 2018.
  Vilalta, Garcia-Gasulla, Pares, Moreno, Ayguade, Labarta, Cortes, Suzumura, Full-network embedding
    in a multimodal embedding pipeline, 2017, section 3.1.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from run import files

POSITIVE, NEGATIVE = 0.15, -0.25  # a standardised value beyond them is 1 or -1
KINDS = ("fne", "last", "grid")
RESIZES = ("squash", "short_side")
THINNEST = 20  # pictures longer than so many times their short side are squeezed to that


@dataclass(frozen=True)
class Network:
    """A CNN and how it is shown a picture: all that activations depend on.

    Attributes:
      cnn: its name in `keras.applications`.
      weights: "imagenet", "random" or the path of a file.
      weights_id: what stands for them in fingerprints: "imagenet", "random <seed>", or the SHA-256
        of the file, wherever it lies.
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

    @property
    def offsets(self) -> dict[str, int]:
        """First column of each layer."""
        starts = np.cumsum([0, *self.widths[:-1]]).tolist()
        return dict(zip(self.names, starts, strict=True))


def cut_crops(picture: Image.Image, network: Network) -> np.ndarray:
    """An RGB picture as the network is shown it: (K, S, S, 3) uint8.

    The side before cropping is S * 256 / 224, so 256 for most networks.

    Reference: the paper, section 4.2: pictures squashed to 256 x 256, 10 crops of 224 x 224.
    Differs from the paper: `short_side` keeps the shape, as the extractor of order embeddings does.
    """
    size = network.size
    width = height = round(size * 256 / 224)
    if network.resize == "short_side":
        scale = width / min(picture.size)
        longest = THINNEST * width
        width, height = (min(max(width, round(x * scale)), longest) for x in picture.size)
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


def moments(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (ddof 0) of rows that come in blocks: (C,) float64 each.

    Reference: Chan, Golub, LeVeque, Algorithms for computing the sample variance, The American
      Statistician 37, 1983, Eq. 2.1.

    Raises:
      ValueError: there are no rows.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for block in blocks:
        rows = block.astype(np.float64)
        own, total = rows.mean(axis=0), count + len(rows)
        apart = own - mean
        mean = mean + apart * (len(rows) / total)
        squares = squares + np.square(rows - own).sum(axis=0)
        squares = squares + np.square(apart) * (count * len(rows) / total)
        count = total
    if not count:
        raise ValueError("there are no pictures to take a mean of")
    return mean, np.sqrt(squares / count)


def standardise(rows: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """z = (x - mean) / std, 0 where std is 0: (n, F) float64."""
    constant = std == 0
    z = (rows - mean) / np.where(constant, 1, std)
    z[:, constant] = 0
    return z


def discretise(z: np.ndarray) -> np.ndarray:
    """1 above POSITIVE, -1 below NEGATIVE, else 0, the bounds themselves too: int8."""
    return (z > POSITIVE).astype(np.int8) - (z < NEGATIVE)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of L2 norm 1, float32; a row of zeros stays one."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


class NetworkDescriptor:
    """Activations of a network -> vectors.

    Args:
      network: whose activations.
      layers: what they are.
      kind: "fne", "last" or "grid".
      mean, std: (F,) float64 of the TRAINING pictures, for "fne".
    """

    def __init__(
        self,
        network: Network,
        layers: Layers,
        kind: str,
        mean: np.ndarray | None = None,
        std: np.ndarray | None = None,
    ):
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}: expected {' or '.join(KINDS)}")
        self.network, self.layers, self.kind = network, layers, kind
        nothing = np.zeros(0)
        self.mean, self.std = (nothing if v is None else np.asarray(v) for v in (mean, std))

    @property
    def feature_dim(self) -> int:
        """F."""
        start, stop = self.layers.last
        return self.layers.feature_dim if self.kind == "fne" else stop - start

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(F,), or (R, F) of a grid."""
        if self.kind != "grid":
            return (self.feature_dim,)
        places = self.network.grid**2
        return places, self.feature_dim // places

    @property
    def dtype(self) -> type:
        """Of the vectors."""
        return np.int8 if self.kind == "fne" else np.float32

    def describe(self, activations: np.ndarray) -> np.ndarray:
        """(n, C), means over the crops -> (n, F): int8 of -1, 0, 1; or float32 rows of norm 1.

        Of a grid (n, R, F) float32, as the network has them.
        """
        if self.kind == "grid":
            return activations.reshape(len(activations), *self.row_shape)
        if self.kind == "last":
            return unit_rows(activations[:, slice(*self.layers.last)])
        own = activations[:, : self.feature_dim]
        return discretise(standardise(own, self.mean, self.std))

    def fingerprint(self) -> str:
        """SHA-256 of the network, what is learned, and the thresholds."""
        facts = (self.network.fingerprint(), self.kind, POSITIVE, NEGATIVE)
        digest = hashlib.sha256(repr(facts).encode())
        for array in (self.mean, self.std):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        facts = {"kind": self.kind, "network": asdict(self.network), "layers": asdict(self.layers)}
        arrays = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
        files.write_arrays(path, arrays | {"mean": self.mean, "std": self.std})

    @classmethod
    def load(cls, path: str | Path) -> "NetworkDescriptor":
        """Reads what `save` wrote.

        Raises:
          ValueError: the file is of another descriptor.
        """
        arrays = files.open_arrays(path)
        try:
            facts = json.loads(arrays["facts"].tobytes())
            network, layers = Network(**facts["network"]), read_layers(facts["layers"])
            return cls(network, layers, facts["kind"], arrays["mean"], arrays["std"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} holds another descriptor than this program's ({error}): train the run anew"
            ) from None


def read_layers(facts: dict) -> Layers:
    """Layers of their JSON."""
    first, stop = facts["last"]
    return Layers(facts["names"], facts["widths"], (first, stop))
