"""A CNN's layers as rows: the full-network embedding, the last layer alone, or a grid of places.

All layers' spatial means are standardised by the training pictures and cut to -1, 0 and 1. The last
layer alone, of length 1, is the baseline; a system whose tower may read the pictures themselves has
it as it is, so that such a tower can go on from it. Attention over boxes reads the last map as a
grid. No TensorFlow: a store of activations, or an exported network, describes a picture.

Shape letters: N images, n pictures of a block, C columns (all that is kept of a picture), F
feature, R places of a grid, K crops.

References:
  Garcia-Gasulla, Vilalta, Pares, Ayguade, Labarta, Cortes, Suzumura, An out-of-the-box full-network
    embedding for convolutional neural networks, ICBK 2018.
  Vilalta, Garcia-Gasulla, Pares, Moreno, Ayguade, Labarta, Cortes, Suzumura, Full-network embedding
    in a multimodal embedding pipeline, 2017, section 3.1.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from data.vision import activations, cnn, presets
from data.vision.network import Layers, Network, cut_crops, places_seen, read_layers
from data.vision.rows import Descriptor, refuse_without_pictures
from run import caches, files, onnx_graphs

POSITIVE, NEGATIVE = 0.15, -0.25  # a standardised value beyond them is 1 or -1
KINDS = ("fne", "last", "grid")
AT_ONCE = 16  # crops that the exported network is shown at the same time: bounds the memory


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


def of_length_one(rows: np.ndarray) -> np.ndarray:
    """The rows of L2 norm 1, float32; a row of zeros stays one."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


class NetworkDescriptor(Descriptor):
    """Activations of a network -> vectors.

    Args:
      network: whose activations.
      layers: what they are.
      kind: "fne", "last" or "grid".
      mean, std: (F,) float64 of the TRAINING pictures, for "fne".
      unit: rows of the last layer have length 1; False: they are as a tower of pixels pools them
        (of one crop, and of a network without dense layers).
    """

    tower: onnx_graphs.Tower  # the exported network, after `open`

    def __init__(
        self,
        network: Network,
        layers: Layers,
        kind: str,
        mean: np.ndarray | None = None,
        std: np.ndarray | None = None,
        unit: bool = True,
    ):
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}: expected {' or '.join(KINDS)}")
        self.network, self.layers, self.kind, self.unit = network, layers, kind, unit
        self.dtype = np.int8 if kind == "fne" else np.float32
        nothing = np.zeros(0)
        self.mean, self.std = (nothing if v is None else np.asarray(v) for v in (mean, std))

    @classmethod
    def from_split(cls, split, settings, kind):
        """Reads all training pictures, if only to know the layers; what it reads is kept."""
        network = cnn.describe_network(settings, kind == "grid")
        store = activations.ActivationStore(split, network, settings.cache_dir)
        store.ensure()
        layers, mean, std = store.layers(), None, None
        if kind == "fne":
            mean, std = moments(rows[:, : layers.feature_dim] for rows in store.blocks())
        unit = kind != "last" or not getattr(settings, "reads_pixels", False)
        return cls(network, layers, kind, mean, std, unit)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(F,), or (R, F) of a grid."""
        start, stop = self.layers.last
        size = self.layers.feature_dim if self.kind == "fne" else stop - start
        places = self.network.grid**2
        return (places, size // places) if self.kind == "grid" else (size,)

    def embed(self, activations: np.ndarray) -> np.ndarray:
        """(n, C), means over the crops -> (n, F): int8 of -1, 0, 1; or float32 rows, see `unit`.

        Of a grid (n, R, F) float32, as the network has them.
        """
        if self.kind == "grid":
            return activations.reshape(len(activations), *self.row_shape)
        if self.kind == "last":
            rows = activations[:, slice(*self.layers.last)]
            return of_length_one(rows) if self.unit else rows.astype(np.float32)
        own = activations[:, : self.feature_dim]
        return discretise(standardise(own, self.mean, self.std))

    def rows(self, split, settings):
        """As of every descriptor; a grid's are its activations, of which no copy is made."""
        refuse_without_pictures(split, "describe")
        if self.kind != "grid":
            return super().rows(split, settings)
        store = activations.ActivationStore(split, self.network, settings.cache_dir)
        store.ensure()
        rows = files.open_array(store.whole)
        return rows.reshape(split.num_images, *self.row_shape)

    def blocks(self, split, settings):
        """Rows of the split's activations, which are computed where they are missing."""
        store = activations.ActivationStore(split, self.network, settings.cache_dir)
        store.ensure()
        return map(self.embed, store.blocks())

    def exported(self, settings) -> Path:
        """Where the network lies in ONNX format, once `export` has written it.

        In the cache, because the runs on one network share it and it may be large (VGG16: 550 MB).
        """
        name = f"{self.network.cnn}-{self.network.fingerprint()[:16]}.onnx"
        return Path(settings.cache_dir) / name

    def export(self, settings):
        """Writes the network for ONNX Runtime, unless it is there."""
        if not caches.is_whole(self.exported(settings)):
            cnn.export_network(self.network, self.exported(settings))

    def open(self, settings, threads=onnx_graphs.THREADS):
        """Opens the exported network. Raises ValueError where it is missing or damaged."""
        path = self.exported(settings)
        if not caches.is_whole(path):
            raise ValueError(f"{path} is missing: {onnx_graphs.WRITTEN_BY}")
        self.tower = onnx_graphs.Tower(path, threads)

    def describe(self, pictures):
        """By the exported network, without TensorFlow."""
        step, means = max(1, AT_ONCE // self.network.crops), []
        for part in (pictures[start : start + step] for start in range(0, len(pictures), step)):
            crops = np.stack([cut_crops(picture, self.network) for picture in part])
            found = self.tower(crops.reshape(-1, *crops.shape[2:]).astype(np.float32))  # (n * K, C)
            means.append(found.reshape(*crops.shape[:2], -1).mean(axis=1))
        return self.embed(np.concatenate(means))

    def frames(self, picture):
        """(R, 4) where the places of a grid lie."""
        return places_seen(picture.size, self.network)

    def fingerprint(self) -> str:
        """SHA-256 of the network, what is learned, and the thresholds."""
        facts = (self.network.fingerprint(), self.kind, POSITIVE, NEGATIVE)
        facts += () if self.unit else ("not of length 1",)
        digest = hashlib.sha256(repr(facts).encode())
        for array in (self.mean, self.std):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def arrays(self):
        """The network and its layers as JSON, and what is learned."""
        facts = {"network": asdict(self.network), "layers": asdict(self.layers), "unit": self.unit}
        facts = json.dumps(facts)
        return {"facts": np.array(facts), "mean": self.mean, "std": self.std}

    @classmethod
    def from_arrays(cls, arrays, kind):
        """Of what `arrays` gave."""
        facts = files.parse_json(str(arrays["facts"]), "facts")
        network, layers = Network(**facts["network"]), read_layers(facts["layers"])
        if network.cnn not in cnn.NETWORKS and not presets.is_preset(network.weights):
            raise ValueError(f"unknown network {network.cnn!r}")
        unit = files.typed(facts, "unit", bool, "facts") if "unit" in facts else True
        return cls(network, layers, kind, arrays["mean"], arrays["std"], unit)
