"""Pictures to vectors that the towers read, without any download; cached on disk.

The built-in descriptor is a dictionary of picture patches learned without labels from the training
pictures: each patch of a picture is compared with every word of the dictionary, and how strongly
each answers is averaged over the cells of a grid. On scenes it is what lets the projection model
see shapes, colours and places; `RESULTS.md` says what else was measured.

Imports no TensorFlow, so that `retrieve.py --image FILE` reads a picture as training did.

Shape letters: N images, F feature, P patches of a picture, K words of the dictionary, G grid cells.

Reference: Coates, Lee, Ng, An analysis of single-layer networks in unsupervised feature learning,
AISTATS 2011: whitened patches, k-means, "triangle" activation, pooling over a grid.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import datasets
import experiment

SIDE = 64  # pixels: pictures are brought to SIDE x SIDE
PATCH = 8
STRIDE = 2
GRID = 4  # cells per side
WORDS = 256
WHITENING = 1e-2  # added to the covariance's eigenvalues; pixels run from 0 to 1
CHUNK = 64  # pictures described at once


def to_array(picture: Image.Image) -> np.ndarray:
    """An RGB picture squeezed to (SIDE, SIDE, 3) uint8."""
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture)


def patches(pictures: np.ndarray) -> np.ndarray:
    """All patches of some pictures, one every STRIDE pixels.

    Args:
      pictures: (n, SIDE, SIDE, 3) uint8.

    Returns:
      (n, P, PATCH * PATCH * 3) float32 in [0, 1].
    """
    view = np.lib.stride_tricks.sliding_window_view(pictures, (PATCH, PATCH), axis=(1, 2))
    view = view[:, ::STRIDE, ::STRIDE]  # (n, rows, columns, 3, PATCH, PATCH)
    return view.reshape(len(pictures), -1, 3 * PATCH * PATCH).astype(np.float32) / np.float32(255)


class PatchDescriptor:
    """A learned dictionary of patches.

    Args:
      mean, whitening: (3 PATCH^2,) and (3 PATCH^2, 3 PATCH^2) float32, of the training patches.
      words: (K, 3 PATCH^2) float32, centres of the whitened patches.
      centre, scale: (F,) float32, mean and standard deviation of the training vectors.
    """

    def __init__(self, mean, whitening, words, centre=None, scale=None):
        self.mean, self.whitening, self.words = mean, whitening, words
        size = GRID * GRID * len(words)
        self.centre = np.zeros(size, np.float32) if centre is None else centre
        self.scale = np.ones(size, np.float32) if scale is None else scale

    @classmethod
    def learn(cls, pictures: np.ndarray, seed: int = 0, num_words: int = WORDS):
        """Learns the dictionary from some TRAINING pictures, (n, SIDE, SIDE, 3) uint8."""
        from sklearn.cluster import MiniBatchKMeans

        rng = np.random.default_rng(seed)
        found = patches(pictures)
        sample = found.reshape(-1, found.shape[-1])
        sample = sample[np.sort(rng.permutation(len(sample))[:60_000])]
        mean = sample.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
        whitening = (vectors / np.sqrt(values + WHITENING) @ vectors.T).astype(np.float32)
        kmeans = MiniBatchKMeans(
            min(num_words, len(sample)), batch_size=4096, n_init=1, max_iter=30, random_state=seed
        )
        words = kmeans.fit((sample - mean) @ whitening).cluster_centers_.astype(np.float32)
        plain = cls(mean, whitening, words)
        starts = range(0, len(pictures), CHUNK)
        vectors = np.concatenate([plain.describe(pictures[i : i + CHUNK]) for i in starts])
        return cls(mean, whitening, words, vectors.mean(axis=0), vectors.std(axis=0) + 1e-3)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        names = ("mean", "whitening", "words", "centre", "scale")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def load(cls, path: str | Path) -> "PatchDescriptor":
        """Reads what `save` wrote."""
        return cls(**{name: np.array(a) for name, a in experiment.open_arrays(path).items()})

    def save(self, path: str | Path) -> None:
        experiment.write_arrays(path, self.arrays)

    def fingerprint(self) -> str:
        """SHA-256 of the dictionary and of the settings above."""
        digest = hashlib.sha256(repr((SIDE, PATCH, STRIDE, GRID)).encode())
        for name, array in self.arrays.items():
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def describe(self, pictures: np.ndarray) -> np.ndarray:
        """(n, SIDE, SIDE, 3) uint8 -> (n, F) float32, F = GRID^2 K, standardised."""
        found = patches(pictures)
        count, places, size = found.shape
        flat = (found.reshape(-1, size) - self.mean) @ self.whitening  # (n P, 3 PATCH^2)
        # distance to each word by |x - w|^2 = |x|^2 - 2 x.w + |w|^2
        squared = flat @ (-2.0 * self.words.T)  # (n P, K)
        squared += np.einsum("ij,ij->i", flat, flat)[:, None]
        squared += np.einsum("ij,ij->i", self.words, self.words)
        distance = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
        # Coates' "triangle": how much nearer than the average word, or 0
        answer = np.maximum(distance.mean(axis=1, keepdims=True) - distance, 0.0, out=distance)
        side = int(places**0.5)
        answer = answer.reshape(count, side, side, -1)
        edges = np.linspace(0, side, GRID + 1).round().astype(int)
        rows = np.add.reduceat(answer, edges[:-1], axis=1)
        cells = np.add.reduceat(rows, edges[:-1], axis=2)  # (n, GRID, GRID, K)
        area = np.diff(edges)[:, None, None] * np.diff(edges)[:, None]
        return ((cells / area).reshape(count, -1) - self.centre) / self.scale


def learn(split: datasets.Split, seed: int = 0) -> "PatchDescriptor | None":
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
    rows = np.random.default_rng(seed).permutation(len(split.image_names))[:1000]
    return PatchDescriptor.learn(read_all(split, np.sort(rows)), seed)


def load(path: Path) -> "PatchDescriptor | None":
    """The descriptor that a run was trained with; None where its data brought vectors."""
    return PatchDescriptor.load(path) if path.is_file() else None


def image_vectors(
    split: datasets.Split, descriptor: "PatchDescriptor | None", cache_dir: str | Path
) -> np.ndarray:
    """The split's own vectors, or those of its pictures: (N, F), memory-mapped from the cache.

    Raises:
      ValueError: pictures that cannot be read, counted, the first ones named.
    """
    if descriptor is None:
        if split.vectors is None:
            raise ValueError(f"the {split.name} split has no vectors, unlike the training split")
        return split.vectors
    key = hashlib.sha256((datasets.fingerprint(split) + descriptor.fingerprint()).encode())
    path = Path(cache_dir) / f"vectors-{key.hexdigest()[:16]}.npy"
    count = len(split.image_names)
    if not path.is_file():
        with experiment.atomic_path(path) as temporary:
            out = np.lib.format.open_memmap(
                temporary, "w+", np.float32, (count, len(descriptor.centre))
            )
            with ThreadPoolExecutor() as pool:
                parts = [np.arange(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
                found = pool.map(lambda part: descriptor.describe(read_all(split, part)), parts)
                bar = tqdm(found, f"describing {split.name}", total=len(parts), leave=False)
                for part, vectors in zip(parts, bar, strict=True):
                    out[part] = vectors
            out.flush()
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_all(split: datasets.Split, rows: np.ndarray) -> np.ndarray:
    """Some pictures of a split as (n, SIDE, SIDE, 3) uint8.

    Raises:
      ValueError: pictures that cannot be read, counted, the first ones named.
    """
    if isinstance(split.pictures, np.ndarray):
        if split.pictures.shape[1:3] == (SIDE, SIDE):
            return split.pictures[rows]
        return np.stack([to_array(Image.fromarray(split.pictures[row])) for row in rows])
    arrays, broken = [], []
    for row in rows:
        try:
            arrays.append(to_array(datasets.load_picture(split.pictures[row])))
        except ValueError as error:
            broken.append(str(error))
    if broken:
        more = f" (and {len(broken) - 3} more)" if len(broken) > 3 else ""
        raise ValueError(
            f"{len(broken)} pictures of the {split.name} split cannot be read: "
            f"{'; '.join(broken[:3])}{more}; mend them or take them out of the split"
        )
    return np.stack(arrays)
