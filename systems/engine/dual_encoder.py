"""The dual encoder: two towers and a loss, and what it makes of a whole split.

A tower turns its side of a batch into rows of L2 norm 1; the normalisation is its last step and
happens nowhere else. The towers of each system stand in a file of their own; `models.build_model`
joins them.

Shape letters: B batch, b rows of one replica, D embedding, F feature, N images, M captions.

Reference: [IRSE] M. Sijmkens, IRSE project report, 2021, section 1.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from keras import ops

from losses import relevance_matrix
from run import replicas
from systems.engine import blocks, gradient_cache
from systems.engine.layers import before_norm
from systems.engine.learned import LearnedNumbers

SIDES = {  # whose rows a term of the loss compares
    "image_text": ("image", "text"),
    "ranking": ("image", "text"),
    "image_image": ("image", "image"),
    "text_text": ("text", "text"),
}
CHUNK = 512  # rows encoded at once: large products run at the machine's full rate


class DualEncoder(keras.Model):
    """Two towers and a loss.

    A system of its own is a subclass that adds outputs in `call`, and terms in `row_terms` (of each
    row by itself).

    Args:
      image_tower, text_tower: models that return (b, D) unit rows.
      loss: called as `loss(relevance, image, text)`; one that is `raw` reads the rows before their
        norm.
      beta: share of the intra-modal losses, in [0, 1]: b1 = 1 - beta, b2 = b3 = beta / 2 in
        l = b1 l_image_text + b2 l_image_image + b3 l_text_text ([IRSE] assignment, Eq. 7; the
        report's run "beta = 0.5" is b1 = 0.5, b2 = b3 = 0.25). 0 leaves them out.
      literal_relevance: see `relevance_matrix`.
      terms: {name: weight} of a system's own terms, instead of those of `beta`.

    Attributes:
      encoders: {"image", "text"}: graphs of what makes rows after training; `encoder_models` are
        the Keras models they were made from.
      chunks: {"image", "text"}: rows that go through an encoder at once.
      learned: numbers of the loss that are trained, see `learn`.
      views_weight: of two views of the same side, see `use_views`.
      micro_batch: pairs of a batch that are trained on at once (`gradient_cache`); 0: all.
    """

    micro_batch = 0

    def __init__(
        self, image_tower, text_tower, loss, beta=0.0, literal_relevance=False, terms=None
    ):
        super().__init__(name="dual_encoder")
        if not 0.0 <= beta <= 1.0:
            raise ValueError(f"beta is {beta}; it must lie between 0 and 1")
        self.image_tower, self.text_tower = image_tower, text_tower
        self.chunks = {"image": CHUNK, "text": CHUNK}
        self.use_encoders(image_tower, text_tower)
        self.pair_loss, self.raw = loss, getattr(loss, "raw", False)
        # What training reads: hidden from Keras as the encoders are.
        towers = (before_norm(tower) if self.raw else tower for tower in (image_tower, text_tower))
        self.readers = SimpleNamespace(**dict(zip(("image", "text"), towers, strict=True)))
        self.learned, self.views_weight = None, 0.0
        self.literal_relevance = literal_relevance
        self.term_weights = dict(terms or {"image_text": 1.0 - beta})
        if beta:
            self.term_weights |= {"image_image": beta / 2, "text_text": beta / 2}
        self.trackers = {name: keras.metrics.Mean(name=name) for name in self.term_weights}
        self.embed_dim = text_tower.output_shape[-1]
        self.built = True  # both towers are, so fit need not build it from a first batch

    def use_encoders(self, image, text):
        """Sets what makes rows after training: Keras models, of pictures or vectors and of ids."""
        # In a namespace, which Keras does not look into: their layers are those of the towers.
        self.encoder_models = SimpleNamespace(image=image, text=text)
        self.encoders = {
            "image": replicas.compiled(image),
            "text": replicas.compiled(text),
        }

    def learn(self, starts, kind):
        """Trains numbers of the loss with the towers.

        Args:
          starts: {name: where it starts}, names of `learned.BOUNDS`; kind: the loss's name.
        """
        if starts:
            self.learned = LearnedNumbers(starts, kind, name="learned")

    def learned_numbers(self):
        """{name: scalar} of the trained numbers of the loss."""
        return self.learned.values() if self.learned else {}

    def use_views(self, weight, drawn=()):
        """Adds two terms of this weight: each side beside a second view of itself, as pairs.

        The second view is the same tower's, in training mode, with another dropout; and of another
        input where a batch brings one. Batch norm takes statistics of each view by itself.

        Args:
          drawn: sides of which it does.

        Raises:
          ValueError: nothing of a side is random, so both of its views would be equal.

        Reference: Gao et al., SimCSE, 2021, section 3 (dropout alone makes the views).
        """
        for side, tower in (("image", self.image_tower), ("text", self.text_tower)):
            dropout = any(getattr(layer, "rate", 0.0) for layer in tower._flatten_layers())
            if side not in drawn and not dropout:
                raise ValueError(
                    f"--views_weight {weight}: nothing on the {side} side of this model is random "
                    "in training, so its two views would be equal; give it dropout (--dropout, "
                    "--image_dropout, --word_dropout) or, of pixels, crops"
                )
        self.views_weight = weight
        for name in ("image_views", "text_views"):
            self.term_weights[name] = weight
            self.trackers[name] = keras.metrics.Mean(name=name)

    def rates(self, settings):
        """{path of a weight: factor of the learning rate} of those that differ from 1."""
        return {}

    def for_test(self, settings):
        """Makes `encoders` those of the final measurement, where they differ from validation's."""

    def call(self, batch, training=False):
        """The batch dict -> {"image": (b, D), "text": (b, D)}, and maybe `second_views`."""
        outputs = {
            "image": per_caption(batch, self.rows("image", batch["image"], training)),
            "text": self.rows("text", batch["tokens"], training),
        }
        return outputs | self.second_views(batch, training)

    def rows(self, side, inputs, training):
        """(b, D) float32 rows of one side's inputs, as the loss compares them."""
        return ops.cast(getattr(self.readers, side)(inputs, training=training), "float32")

    def second_views(self, batch, training):
        """{"image_view": (b, D), "text_view": (b, D)}; {} without `use_views`."""
        if not self.views_weight:
            return {}
        image = batch.get("image_view", batch["image"])
        return {
            "image_view": per_caption(batch, self.rows("image", image, training)),
            "text_view": self.rows("text", batch.get("tokens_view", batch["tokens"]), training),
        }

    def loss_terms(self, batch, outputs):
        """Scalars of the WHOLE batch, of `SIDES` those that have a weight; all have B rows."""
        names = [name for name in SIDES if name in self.term_weights]
        relevance = self.relevance(batch) if names else ()
        return {
            name: self.pair_term(relevance, *(outputs[side] for side in SIDES[name]))
            for name in names
        }

    def view_terms(self, batch, outputs):
        """{"image_views", "text_views"}: scalars of the whole batch; {} without `use_views`."""
        if not self.views_weight:
            return {}
        relevance = self.relevance(batch)
        return {
            f"{side}_views": self.pair_term(relevance, outputs[side], outputs[f"{side}_view"])
            for side in ("image", "text")
        }

    def relevance(self, batch):
        """(B, B) relevance of the whole batch; what makes its parts, where the loss takes parts;
        () where it heeds none.
        """
        if not getattr(self.pair_loss, "heeds_relevance", True):
            return ()
        make = partial(
            relevance_matrix,
            batch["image_id"],
            batch.get("concepts"),
            batch.get("similarity"),
            self.literal_relevance,
            batch.get("text_id"),
        )
        return make if self.micro_batch and blocks.can_block(self.pair_loss) else make()

    def pair_term(self, relevance, image, text):
        """The loss of (B, D) rows of the whole batch, a scalar."""
        numbers = self.learned_numbers()
        if callable(relevance):
            size = self.micro_batch
            return blocks.in_blocks(self.pair_loss, relevance, image, text, size, numbers)
        return self.pair_loss(relevance, image, text, **numbers)

    def compute_loss(
        self, x: Any = None, y=None, y_pred: Any = None, sample_weight=None, training=True
    ):
        """The weighted sum of `loss_terms`, as this replica's share of the whole batch's loss.

        Args:
          x: this replica's batch dict; y_pred: what `call` made of it. The others are Keras'.
        """
        return self.weighed(self.shares(x, y_pred), training)

    def weighed(self, shares, training):
        """The sum of the terms' shares, {name: scalar}, each times its weight."""
        return sum(self.term_weights[name] * share for name, share in shares.items())

    def shares(self, x, y_pred):
        """{name: this replica's share of a term of the whole batch's loss}, without its weight."""
        kept = {key: x[key] for key in ("image_id", "concepts", "similarity") if key in x}
        sides = ("image", "text", "image_view", "text_view")
        rows = {key: y_pred[key] for key in sides if key in y_pred}
        kept |= {"text_id": y_pred["text_id"]} if "text_id" in y_pred else {}
        whole, rows = replicas.gather(kept), replicas.gather(rows)
        terms = self.loss_terms(whole, rows) | self.view_terms(whole, rows)
        here = ops.shape(x["image_id"])[0]
        for name, term in terms.items():
            self.trackers[name].update_state(term, sample_weight=here)
        shares = {name: term / replicas.num_replicas() for name, term in terms.items()}
        size = ops.cast(ops.shape(whole["image_id"])[0], "float32")
        for name, term in self.row_terms(x, y_pred).items():  # no replica needs the others' rows
            self.trackers[name].update_state(term)
            if name in self.term_weights:
                shares[name] = ops.sum(term) / size
        return shares

    def row_terms(self, batch, outputs):
        """{name: (b,)} of this replica's rows; those in `term_weights` are losses.

        The loss is their mean over the whole batch; the others are only shown.
        """
        return {}

    def train_step(self, data):
        """One step on a batch: Keras' own, or that of `gradient_cache`."""
        return (
            gradient_cache.train_step(self, data) if self.micro_batch else super().train_step(data)
        )

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: towers and optimizer are built before fit.

        Keras' own averages the first batch over the replicas to learn its shapes, which fails for a
        dict of PerReplica values under MultiWorkerMirroredStrategy (Keras 3.15).
        """

    def get_metrics_result(self):
        """Running means over the epoch: `loss`, and its terms where there are several; and the
        trained numbers of the loss as they are now.
        """
        results = super().get_metrics_result()
        if len(self.trackers) == 1:
            results = {"loss": results["loss"]}
        return replicas.metric_shape(results | self.learned_numbers())


def per_caption(batch, of_images):
    """What was made of a batch's images, for each of its captions (b, ...); each is read once."""
    captions = batch.get("image_row")  # the image of each, where they are fewer
    return of_images if captions is None else ops.take(of_images, captions, axis=0)


def encode(model, vectors, tokens, workers=1):
    """Embeddings of a split.

    Rows are computed a chunk at a time, captions of equal length and pictures of equal shape
    together, short chunks filled up.
    How a matrix product rounds depends on its shape and on its threads; so with one thread to an
    operation (`distribution.set_devices`) the result is the same bytes however many workers share
    the chunks.

    Args:
      model: a DualEncoder.
      vectors: (N, F) image vectors, or `pictures.Pictures`.
      tokens: the M captions' ids (`text.Tokens`).
      workers: chunks computed at the same time.

    Returns:
      image (N, D), text (M, D): float32 NumPy arrays of unit rows.
    """

    def rows(side, parts, take, number):
        compute, size, chunk = model.encoders[side], model.embed_dim, model.chunks[side]
        found = np.empty((number, size), np.float32)

        def one(part):
            filled = np.concatenate([part, np.full(chunk - len(part), part[0])])
            found[part] = ops.convert_to_numpy(compute(take(filled)))[: len(part)]

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, parts))
        return found

    def split(order, chunk):
        return [order[start : start + chunk] for start in range(0, len(order), chunk)]

    def take_image(part):
        return np.asarray(vectors[part], np.float32)

    if hasattr(vectors, "view_groups"):
        take_image, parts = vectors.views, vectors.view_groups(model.chunks["image"])
    else:
        parts = split(np.arange(len(vectors)), model.chunks["image"])
    image = rows("image", parts, take_image, len(vectors))
    captions = split(tokens.order(), model.chunks["text"])
    return image, rows("text", captions, tokens.pad, len(tokens))


def encode_rows(model, vectors, tokens):
    """Embeddings of a few rows at once, as after training.

    Args:
      model: a DualEncoder; vectors: (B, F) float32; tokens: (B, T) int32.

    Returns:
      {"image": (B, D), "text": (B, D)} of the backend's tensors.
    """
    return {"image": model.encoders["image"](vectors), "text": model.encoders["text"](tokens)}
