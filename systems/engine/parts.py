"""What a system gives to the dual encoder: its `build` returns `Parts`.

    def build(settings, facts, loss):
        return Parts(image=..., text=...)        # two towers; everything else has a default

Nothing here is a Keras layer, so what it holds is saved and trained only where `DualEncoder` makes
it its own: the towers, the heads and the balance.

Shape letters: b rows of one replica, D embedding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from systems.engine.heads import Head
from systems.engine.layers import before_norm


@dataclass(frozen=True)
class Sides:
    """A function or a Keras model for each side."""

    image: Any
    text: Any


@dataclass(frozen=True)
class WordTable:
    """The weights (rows, W) that are looked up by word id; the first `padding` rows are no word."""

    weights: Any
    padding: int


@dataclass(frozen=True)
class FrozenText:
    """A text tower in two: what training does not change, and what it does.

    Args:
      network: Keras model of ids (B, T) -> rows (B, W); head: of [(B, W), ids (B, T)] -> (B, D).
    """

    network: Any
    head: Any


@dataclass(frozen=True)
class CaptionSteps:
    """What writes captions after training: the first step, and the one of each further word.

    Args:
      models: two Keras models, for export; compiled: the same as graphs.
    """

    models: tuple[Any, Any]
    compiled: tuple[Any, Any]


def reader(tower, raw=False):
    """(inputs, training) -> {"rows": (b, D) float32, ...}: what training reads of one side.

    Args:
      tower: inputs -> unit rows, or a dict of features with "rows" among them.
      raw: the rows before the tower's L2 norm.
    """
    model = before_norm(tower) if raw else tower

    def read(inputs, training=False):
        found = model(inputs, training=training)
        found = found if isinstance(found, dict) else {"rows": found}
        return {**found, "rows": ops.cast(found["rows"], "float32")}

    return read


def rates_of(*parts):
    """{path: factor of the learning rate} of (factor, variables); of several, the last one holds.

    Those whose factor is 1 are left out.
    """
    found = {variable.path: factor for factor, variables in parts for variable in variables}
    return {path: factor for path, factor in found.items() if factor != 1.0}


def keep_texts(batch, rows):
    """The batch's own tokens, and no further outputs: see `Parts.prepare`."""
    return batch["tokens"], {}


def keep_weights(settings):
    """Leaves fresh weights as they are: see `Parts.load_published`."""


def export_onnx(tower, path):
    """Writes a tower, which was called once, for ONNX Runtime."""
    tower.export(path, format="onnx", verbose=False)


@dataclass(frozen=True)
class Parts:
    """Two towers, and how they differ from two towers and nothing else.

    Args:
      image, text: Keras models whose output is (b, D); unit rows, unless there are `readers`.
      readers: (inputs, training) -> features, a dict with the compared "rows"; see `reader`.
      heads: terms beside the pair loss.
      ranking: weight of the pair loss under the name "ranking"; None: the terms of --beta.
      balance: weighs the terms in training in place of fixed weights, as `gradnorm.GradNorm`.
      rates: {path of a weight: factor of the learning rate} of those that differ from 1.
      prepare: (batch, image rows) -> tokens to be read, and outputs that say what was exchanged.
      encoders: Keras models of inputs -> unit rows after training; None: the towers.
      for_test: () -> `encoders` of the final measurement; None: the same as validation's.
      chunks: rows that go through an encoder at once; large products run at the full rate.
      words: the word table, for --word_vectors.
      writer: what writes captions, of a model that was trained to.
      frozen_text: the text tower in two, where its network is frozen: see `read_once`.
      protocol: facts about reading that score.json holds.
      load_published: settings -> gives fresh weights the values that the flags name.
      export_text: (encoder, path) -> writes query.onnx.
    """

    image: keras.Model
    text: keras.Model
    readers: Sides | None = None
    heads: tuple[Head, ...] = ()
    ranking: float | None = None
    balance: Any = None
    rates: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[..., Any] = keep_texts
    encoders: Sides | None = None
    for_test: Callable[[], Sides] | None = None
    chunks: Sides = Sides(512, 512)
    words: WordTable | None = None
    writer: CaptionSteps | None = None
    frozen_text: FrozenText | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    load_published: Callable[..., None] = keep_weights
    export_text: Callable[..., None] = export_onnx
