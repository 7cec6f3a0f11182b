"""The dual encoder, and the table of models.

A tower turns its side of a batch into rows of L2 norm 1; the normalisation is its last step and
happens nowhere else. The towers of each system stand in a file of their own. `DualEncoder` joins
two towers and a loss; `build_model` makes one from a run's settings, for training and from its
folder alike.

Shape letters: B batch, b rows of one replica, D embedding, F feature, N images, M captions.

Reference: [IRSE] M. Sijmkens, IRSE project report, 2021, section 1.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from keras import ops

import distribution
from losses import build_loss, relevance_matrix
from projection import projection_model
from recurrent import gru_model

CHUNK = 512  # rows encoded at once: large products run at the machine's full rate


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
        self.encoders = {
            "image": distribution.compiled(image_tower),
            "text": distribution.compiled(text_tower),
        }
        self.pair_loss = loss
        self.literal_relevance = literal_relevance
        self.term_weights = {"image_text": 1.0 - beta}
        if beta:
            self.term_weights |= {"image_image": beta / 2, "text_text": beta / 2}
        self.trackers = {name: keras.metrics.Mean(name=name) for name in self.term_weights}
        self.embed_dim = text_tower.output_shape[-1]
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

    Rows are computed CHUNK at a time, captions of equal length together, the last chunk filled up.
    How a matrix product rounds depends on its shape and on its threads; so with one thread to an
    operation (`distribution.set_devices`) the result is the same bytes however many workers share
    the chunks.

    Args:
      model: a DualEncoder.
      vectors: (N, F) image vectors; tokens: the M captions' ids (`text.Tokens`).
      workers: chunks computed at the same time.

    Returns:
      image (N, D), text (M, D): float32 NumPy arrays of unit rows.
    """

    def rows(side, order, take):
        compute, size = model.encoders[side], model.embed_dim
        found = np.empty((len(order), size), np.float32)

        def one(start):
            part = order[start : start + CHUNK]
            filled = np.concatenate([part, np.full(CHUNK - len(part), part[0])])
            found[part] = ops.convert_to_numpy(compute(take(filled)))[: len(part)]

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, range(0, len(order), CHUNK)))
        return found

    def take_image(part):
        return np.asarray(vectors[part], np.float32)

    image = rows("image", np.arange(len(vectors)), take_image)
    return image, rows("text", tokens.order(), tokens.pad)


def encode_rows(model, vectors, tokens):
    """Embeddings of a few rows at once, as after training.

    Args:
      model: a DualEncoder; vectors: (B, F) float32; tokens: (B, T) int32.

    Returns:
      {"image": (B, D), "text": (B, D)} of the backend's tensors.
    """
    return {"image": model.encoders["image"](vectors), "text": model.encoders["text"](tokens)}


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
        similarity=settings.similarity,
        literal=settings.paper_negatives,
        temperature=settings.temperature,
        reduction=settings.reduction,
    )
    return DualEncoder(image_tower, text_tower, loss, settings.beta, settings.literal_relevance)


MODELS = {"projection": projection_model, "gru": gru_model}
