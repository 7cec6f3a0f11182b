"""Towers, the dual encoder, and the table of models.

A tower turns its side of a batch into rows of L2 norm 1; the normalisation is its last layer and
happens nowhere else. `DualEncoder` joins two towers and a loss; `build_model` makes one from a
run's settings, for training and from its folder alike.

Shape letters: B batch, b rows of one replica, D embedding, F feature, H hidden, T tokens, V
vocabulary.

Reference: [IRSE] M. Sijmkens, IRSE project report, 2021, section 1.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from keras import ops

import distribution
from losses import build_loss, relevance_matrix

CHUNK = 128  # rows encoded at once
SCALES = ("count", "mean", "sqrt")
NORM_FLOOR = 1e-8  # of the squared norm: bounds the gradient (1e4) where a row is all zeros


@keras.saving.register_keras_serializable("matchbox")
class UnitNorm(keras.layers.Layer):
    """x / |x| by rows, in float32 whatever the precision policy; a zero row stays zero.

    keras.layers.UnitNormalization has a gradient of 1e12 at a zero row.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, x):
        squared = ops.sum(ops.square(x), axis=-1, keepdims=True)  # (B, 1)
        return x * ops.rsqrt(ops.maximum(squared, NORM_FLOOR))


@keras.saving.register_keras_serializable("matchbox")
class BagOfWords(keras.layers.Layer):
    """A dense layer on word counts, at the cost of the words present.

    counts @ W + bias, with counts (B, V), is the sum of the rows of W of the words present, each as
    often as it occurs. The (B, V) matrix is never made: V may be 90,000.

    Args:
      vocabulary_size: V; ids run from 1 to V, 0 pads.
      units: H.
      scale: "count" as in the paper; "mean" divides by the number of words, "sqrt" by its root.
      word_dropout: share of words left out in training, in [0, 1).
    """

    def __init__(self, vocabulary_size, units, scale="count", word_dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if scale not in SCALES:
            raise ValueError(f"scale is {scale!r}: choose from {', '.join(SCALES)}")
        self.vocabulary_size, self.units = vocabulary_size, units
        self.scale, self.word_dropout = scale, word_dropout
        self.dropout = keras.layers.Dropout(word_dropout)

    def build(self, input_shape):
        shape = (self.vocabulary_size, self.units)  # as the dense layer's
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, tokens, training=False):
        present = ops.cast(ops.not_equal(tokens, 0), self.compute_dtype)  # (B, T)
        present = self.dropout(present, training=training)
        rows = ops.take(self.kernel, ops.maximum(tokens - 1, 0), axis=0)  # (B, T, H)
        total = ops.matmul(present[:, None, :], rows)[:, 0]  # (B, 1, T) (B, T, H) -> (B, H)
        if self.scale != "count":
            number = ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0)
            total = total * (1.0 / number if self.scale == "mean" else ops.rsqrt(number))
        return total + self.bias

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        own = {"vocabulary_size": self.vocabulary_size, "units": self.units}
        return {
            **super().get_config(),
            **own,
            "scale": self.scale,
            "word_dropout": self.word_dropout,
        }


@keras.saving.register_keras_serializable("matchbox")
class Standardize(keras.layers.Layer):
    """(x - mean) / deviation by columns of the training vectors; kept among the weights."""

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, trainable=False, initializer="zeros", name="mean")
        self.deviation = self.add_weight(
            shape=shape, trainable=False, initializer="ones", name="deviation"
        )

    def call(self, x):
        return (x - self.mean) / self.deviation

    def adapt(self, vectors):
        """Takes mean and standard deviation from (N, F) vectors, read block by block."""
        total = squares = np.zeros(vectors.shape[1])
        for start in range(0, len(vectors), 1024):
            block = np.asarray(vectors[start : start + 1024], np.float64)
            total, squares = total + block.sum(axis=0), squares + np.square(block).sum(axis=0)
        mean = total / len(vectors)
        variance = np.maximum(squares / len(vectors) - np.square(mean), 0.0)
        self.mean.assign(mean)
        self.deviation.assign(np.where(variance > 1e-12, np.sqrt(variance), 1.0))


def projection_head(embed_dim, dropout):
    """What follows the first linear layer: BatchNorm, ReLU, Dropout, Linear, L2 norm.

    Reference: [IRSE] section 1.
    Differs from the paper: its PyTorch layers start uniform(+-1 / sqrt(fan in)) and average batch
      statistics at 0.9 with epsilon 1e-5; here Keras' Glorot uniform, 0.99 and 1e-3.
    """
    return [
        # synchronized: the statistics are those of the global batch, as on one device.
        keras.layers.BatchNormalization(synchronized=distribution.num_replicas() > 1),
        keras.layers.ReLU(),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(embed_dim),
        UnitNorm(),
    ]


def image_projection(
    feature_dim, hidden_dim, embed_dim, dropout=0.5, input_dropout=0.0, standardize=False
):
    """(B, F) image vectors -> (B, D) unit rows."""
    first = [keras.Input((feature_dim,), name="image")]
    if standardize:
        first += [Standardize(name="standardize")]
    if input_dropout:
        first += [keras.layers.Dropout(input_dropout)]
    first += [keras.layers.Dense(hidden_dim)]
    return keras.Sequential(first + projection_head(embed_dim, dropout), name="image_tower")


def text_projection(vocabulary_size, hidden_dim, embed_dim, dropout=0.5, **bag):
    """(B, T) word ids, 0 pads -> (B, D) unit rows. `bag` goes to `BagOfWords`."""
    layers = [
        keras.Input((None,), dtype="int32", name="tokens"),
        BagOfWords(vocabulary_size, hidden_dim, **bag),
    ]
    return keras.Sequential(layers + projection_head(embed_dim, dropout), name="text_tower")


class DualEncoder(keras.Model):
    """Two towers and a loss.

    A system of its own is a subclass that adds outputs in `call` and terms in `loss_terms`.

    Args:
      image_tower, text_tower: models that return (b, D) unit rows.
      loss: called as `loss(relevance, {"image", "text"})`.
      beta: share of the intra-modal losses, in [0, 1]: b1 = 1 - beta, b2 = b3 = beta / 2 in
        l = b1 l_image_text + b2 l_image_image + b3 l_text_text ([IRSE] assignment, Eq. 7; the
        report's run "beta = 0.5" is b1 = 0.5, b2 = b3 = 0.25). 0 leaves them out.
      literal_relevance: see `relevance_matrix`.
    """

    def __init__(self, image_tower, text_tower, loss, beta=0.0, literal_relevance=False):
        super().__init__(name="dual_encoder")
        if not 0.0 <= beta <= 1.0:
            raise ValueError(f"beta is {beta}; it must lie between 0 and 1")
        self.image_tower, self.text_tower = image_tower, text_tower
        self.pair_loss = loss
        self.literal_relevance = literal_relevance
        self.term_weights = {"image_text": 1.0 - beta}
        if beta:
            self.term_weights |= {"image_image": beta / 2, "text_text": beta / 2}
        self.trackers = {name: keras.metrics.Mean(name=name) for name in self.term_weights}
        self.built = True  # both towers are, so fit need not build it from a first batch

    def call(self, batch, training=False):
        """The batch dict -> {"image": (b, D), "text": (b, D)}."""
        return {
            "image": self.image_tower(batch["image"], training=training),
            "text": self.text_tower(batch["tokens"], training=training),
        }

    def loss_terms(self, batch, outputs):
        """Scalars of the WHOLE batch by the names in `term_weights`; all arguments have B rows."""
        relevance = relevance_matrix(
            batch["image_id"],
            batch.get("concepts"),
            batch.get("similarity"),
            literal=self.literal_relevance,
        )
        sides = {"image_text": ("image", "text")}
        if "image_image" in self.term_weights:
            sides |= {"image_image": ("image", "image"), "text_text": ("text", "text")}
        # Keras has divided a mean, but not a sum, by the number of replicas: undone here, because
        # compute_loss does it for both.
        whole = distribution.num_replicas() if self.pair_loss.reduction == "mean" else 1
        return {
            name: whole * self.pair_loss(relevance, {"image": outputs[a], "text": outputs[b]})
            for name, (a, b) in sides.items()
        }

    def compute_loss(self, x: Any = None, y=None, y_pred=None, sample_weight=None, training=True):
        """The weighted sum of `loss_terms`, as this replica's share of the whole batch's loss.

        Args:
          x: this replica's batch dict; y_pred: what `call` made of it. The others are Keras'.
        """
        inputs = {key: x[key] for key in ("image_id", "concepts", "similarity") if key in x}
        terms = self.loss_terms(distribution.gather(inputs), distribution.gather(y_pred))
        for name, term in terms.items():
            self.trackers[name].update_state(term, sample_weight=ops.shape(x["image_id"])[0])
        total = sum(self.term_weights[name] * term for name, term in terms.items())
        return total / distribution.num_replicas()

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: towers and optimizer are built before fit.

        Keras' own averages the first batch over the replicas to learn its shapes, which fails for a
        dict of PerReplica values under MultiWorkerMirroredStrategy (Keras 3.15).
        """

    def get_metrics_result(self):
        """Running means over the epoch: `loss`, and its terms where there are several."""
        results = super().get_metrics_result()
        if len(self.term_weights) == 1:
            results = {"loss": results["loss"]}
        return distribution.metric_shape(results)


def encode(model, vectors, tokens, workers=1):
    """Embeddings of a split.

    Rows are computed CHUNK at a time, the last chunk filled up. How a matrix product rounds depends
    on its shape and on its threads; so with one thread to an operation (`distribution.set_devices`)
    the result is the same bytes however many workers share the chunks.

    Args:
      model: a DualEncoder.
      vectors: (N, F) image vectors; tokens: the M captions' ids (`text.Tokens`).
      workers: chunks computed at the same time.

    Returns:
      image (N, D), text (M, D): float32 NumPy arrays of unit rows.
    """

    def rows(tower, count, take):
        parts = [np.arange(start, start + CHUNK) for start in range(0, count, CHUNK)]

        def one(part):
            filled = np.where(part < count, part, part[0])
            return ops.convert_to_numpy(tower(take(filled), training=False))

        with ThreadPoolExecutor(workers) as pool:
            return np.concatenate(list(pool.map(one, parts)))[:count]

    image = rows(model.image_tower, len(vectors), lambda p: np.asarray(vectors[p], np.float32))
    return image, rows(model.text_tower, len(tokens), tokens.pad)


def projection_model(settings, sizes):
    """System 1: two projection MLPs; the text is a bag of words.

    Args:
      settings: the run's configuration (`embed_dim`, `hidden_dim`, `dropout`, ...).
      sizes: {"feature_dim": F, "vocabulary_size": V}.

    Returns:
      (image tower, text tower).

    Reference: [IRSE] section 1.
    """
    image = image_projection(
        sizes["feature_dim"],
        settings.hidden_dim,
        settings.embed_dim,
        settings.dropout,
        settings.image_dropout,
        settings.standardize,
    )
    text = text_projection(
        sizes["vocabulary_size"],
        settings.hidden_dim,
        settings.embed_dim,
        settings.dropout,
        scale=settings.bag_scale,
        word_dropout=settings.word_dropout,
    )
    return image, text


def build_model(settings, sizes):
    """The model that `settings` describe, with fresh weights.

    Raises:
      ValueError: there is no such model or loss; the names are listed.
    """
    if settings.model not in MODELS:
        raise ValueError(f"unknown model {settings.model!r}: choose from {', '.join(MODELS)}")
    image_tower, text_tower = MODELS[settings.model](settings, sizes)
    loss = build_loss(
        settings.loss,
        alpha=settings.alpha,
        margin=settings.margin,
        squared=settings.squared,
        reduction=settings.reduction,
    )
    return DualEncoder(image_tower, text_tower, loss, settings.beta, settings.literal_relevance)


MODELS = {"projection": projection_model}
