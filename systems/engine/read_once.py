"""A frozen text network reads each caption once; training then looks its rows up.

    once = read_once.read(model.parts.frozen_text, (training_tokens, validation_tokens), ".cache")
    batches.tokens, validation.tokens = once.numbers
    once.use(model, raw=False)

Shape letters: B batch, M captions, T ids of a caption, W row of the network, D embedding.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from data.language.words import Tokens
from run import caches, files, replicas
from systems.engine.parts import FrozenText, Sides, reader

CHUNK = 64  # captions of like length that are read at once
BLOCK = 1 << 13  # captions of a file in the cache


class Lookup(keras.layers.Layer):
    """Numbers of captions (B, 1) -> what the frozen network made of them (B, W), and ids (B, T).

    Args:
      rows: (M, W) float32; ids: (M, T) int32, 0 pads.
    """

    def __init__(self, rows, ids, **kwargs):
        super().__init__(**kwargs)
        # Not weights: they are neither trained nor saved, and graphs take them as they are.
        self._tables = tuple(ops.convert_to_tensor(table) for table in (rows, ids))

    def call(self, numbers):
        return [ops.take(table, numbers[:, 0], axis=0) for table in self._tables]

    def compute_output_spec(self, numbers):
        return [
            keras.KerasTensor((numbers.shape[0], table.shape[1]), table.dtype)
            for table in self._tables
        ]


@dataclass(frozen=True)
class ReadTexts:
    """What a frozen network has read of some splits.

    Attributes:
      tower: Keras model of caption numbers (B, 1) -> (B, D) unit rows.
      numbers: `Tokens` for each split, in their order: a caption's one id is its row in the table.
    """

    tower: Any
    numbers: list[Tokens]

    def use(self, model, raw: bool = False) -> None:
        """Lets a `DualEncoder` read caption numbers, in training and in validation.

        Args:
          model: its text tower stays what is saved; raw: see `parts.reader`.
        """
        model.readers = Sides(model.readers.image, reader(self.tower, raw))
        model.use_encoders(Sides(model.encoder_models.image, self.tower))


def read(frozen: FrozenText, splits: Sequence[Tokens], cache_dir: str | Path) -> ReadTexts:
    """Reads the captions of some splits with a frozen network, or finds their rows in the cache.

    Args:
      frozen: of a text tower; splits: the ids of their captions.
      cache_dir: the rows are kept there by blocks, so a reading that was stopped goes on.
    """
    network, ids = frozen.network, _join(splits)
    parts = [range(start, min(start + BLOCK, len(ids))) for start in range(0, len(ids), BLOCK)]
    compute, weights = replicas.compiled(network), _hash_network(network)
    rows = np.empty((len(ids), network.output_shape[-1]), np.float32)
    for part in tqdm(parts, desc="reading captions", unit=" blocks", disable=None):
        rows[part] = _read_block(compute, weights, ids.pad(np.array(part)), Path(cache_dir))
    number = keras.Input((1,), dtype="int32", name="number")
    table = Lookup(rows, ids.pad(np.arange(len(ids))))
    ends = np.cumsum([len(one) for one in splits])
    numbers = [np.arange(end - len(one), end) for one, end in zip(splits, ends, strict=True)]
    as_tokens = [Tokens.from_flat(one, np.ones(len(one), np.int64)) for one in numbers]
    return ReadTexts(keras.Model(number, frozen.head(table(number)), name="read_texts"), as_tokens)


def _join(splits: Sequence[Tokens]) -> Tokens:
    flat, lengths = ([getattr(one, name) for one in splits] for name in ("flat", "lengths"))
    return Tokens.from_flat(np.concatenate(flat), np.concatenate(lengths))


def _read_block(compute, weights: str, ids: np.ndarray, cache_dir: Path) -> np.ndarray:
    """A block's ids (n, T) -> (n, W) float32: from the cache, or through the network.

    Captions of like length go through it together, each part cut to its longest.
    """
    key = hashlib.sha256(weights.encode() + ids.tobytes()).hexdigest()[:20]
    path = cache_dir / f"texts-{key}.npy"
    if caches.is_whole(path):
        return np.load(path)
    lengths = (ids != 0).sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    parts = [order[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    read = [compute(ids[part, : max(1, lengths[part].max())]) for part in parts]
    rows = np.concatenate([np.asarray(ops.convert_to_numpy(one), np.float32) for one in read])
    found = np.empty_like(rows)
    found[order] = rows
    with files.atomic_path(path, found.nbytes) as temporary:
        np.save(temporary, found)
    return found


def _hash_network(network) -> str:
    """SHA-256 of a network's weights, steps and precision."""
    # Not by their names: these are counted on from model to model.
    steps = [type(step).__name__ for step in network.operations]
    policies = [layer.dtype_policy.name for layer in network.layers]
    shapes = [tuple(weight.shape) for weight in network.weights]  # they tell the number of heads
    found = hashlib.sha256(repr((steps, network.output_shape, policies, shapes)).encode())
    for weight in network.weights:
        found.update(np.ascontiguousarray(ops.convert_to_numpy(weight)).tobytes())
    return found.hexdigest()
