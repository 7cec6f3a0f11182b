"""The dual encoder, and the table of systems that it is built of.

    model = build_model(settings, facts)

A system's `build` makes `Parts`: a tower for each side, and heads where it has more than one loss.
The tower turns its side of a batch into rows of L2 norm 1; the normalisation is its last step and
happens nowhere else. `DualEncoder` joins the parts; no system changes it.

Shape letters: B batch, b rows of one replica, D embedding.

Reference: [IRSE] M. Sijmkens, IRSE project report, 2021, section 1.
"""

from functools import partial
from typing import Any

import keras
from keras import ops

from losses import build_loss, relevance_matrix
from run import replicas
from systems import config
from systems.engine.heads import per_caption
from systems.engine.learned import LearnedNumbers, choose_learned
from systems.engine.parts import Sides, reader

VIEWS = {"image_views": ("image", "image_view"), "text_views": ("text", "text_view")}

COMPARED = {  # whose rows a term of the pair loss compares
    "image_text": ("image", "text"),
    "ranking": ("image", "text"),
    "image_image": ("image", "image"),
    "text_text": ("text", "text"),
    **VIEWS,
}


def build_model(settings, facts):
    """The model that `settings` describe, with fresh weights.

    Args:
      settings: the run's configuration.
      facts: `Facts` of its data.

    Raises:
      ValueError: there is no such model, loss or choice of --train, the names are listed; or the
        model cannot have what --learn, --views_weight or --micro_batch ask for.
    """
    loss = build_loss(settings.loss, settings)
    build = config.find_function(config.sheet(settings.model).build)
    parts = build(settings, facts, loss)
    starts = choose_learned(settings.learn, loss, settings.loss)
    if settings.views_weight:
        from systems.engine import views  # this and what follows: read only where it is asked for

        views.check_views(parts, settings.views_weight, settings.drawn_views)
    model = DualEncoder(
        parts,
        loss,
        settings.beta,
        settings.literal_relevance,
        settings.views_weight,
        LearnedNumbers(starts, settings.loss, name="learned"),
    )
    if settings.train != "all":
        from systems.engine import freezing

        freezing.choose_trained(model, settings.train)
    if settings.micro_batch:
        from systems.engine import gradient_cache

        gradient_cache.check_micro_batch(model, settings)
        model.micro_batch = settings.micro_batch
    return model


class DualEncoder(keras.Model):
    """Two towers, a loss of pairs, and heads; the loss is the weighted sum of their terms.

    Args:
      parts: of a system.
      loss: called as `loss(relevance, image, text)`; one that is `raw` reads the rows before their
        norm.
      beta: see `weights_of`; literal_relevance: see `relevance_matrix`.
      views_weight: of each side beside a second view of itself (`views`); 0 leaves them out.
      learned: `LearnedNumbers` of the loss; None: it has none.

    Attributes:
      encoders: graphs of what makes rows after training, from the models in `encoder_models`.
      micro_batch: pairs of a batch that are trained on at once (`gradient_cache`); 0: all.
    """

    micro_batch = 0

    def __init__(
        self, parts, loss, beta=0.0, literal_relevance=False, views_weight=0.0, learned=None
    ):
        super().__init__(name="dual_encoder")
        self.image_tower, self.text_tower = parts.image, parts.text
        self.heads, self.balance = list(parts.heads), parts.balance
        self.learned = learned or LearnedNumbers({}, "", name="learned")
        self.parts, self.pair_loss = parts, loss
        self.literal_relevance, self.views_weight = literal_relevance, views_weight
        raw = getattr(loss, "raw", False)
        self.readers = parts.readers or Sides(reader(parts.image, raw), reader(parts.text, raw))
        self.use_encoders(parts.encoders or Sides(parts.image, parts.text))
        self.term_weights = weights_of(parts, beta, views_weight)
        names = [*self.term_weights, *(name for head in self.heads for name in head.shown)]
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self.embed_dim = parts.text.output_shape[-1]
        self.built = True  # all parts are, so fit need not build it from a first batch

    def use_encoders(self, models):
        """Sets what makes rows after training: Keras models, of pictures or vectors and of ids."""
        self.encoder_models = models
        self.encoders = Sides(replicas.compiled(models.image), replicas.compiled(models.text))

    def for_test(self):
        """Makes `encoders` those of the final measurement, where they differ from validation's."""
        if self.parts.for_test is not None:
            self.use_encoders(self.parts.for_test())

    def call(self, batch, training=False):
        """The batch dict -> {"image": (b, D), "text": (b, D)}, second views, outputs of heads."""
        image = self.readers.image(batch["image"], training)
        rows = per_caption(batch, image["rows"])
        tokens, outputs = self.parts.prepare(batch, rows)
        text = self.readers.text(tokens, training)
        outputs |= {"image": rows, "text": text["rows"]}
        if self.views_weight:
            from systems.engine import views

            outputs |= views.second_views(self.readers, batch, training)
        for head in self.heads:
            outputs |= head(batch, {"image": image, "text": text}, training=training)
        return outputs

    def compute_loss(
        self, x: Any = None, y=None, y_pred: Any = None, sample_weight=None, training=True
    ):
        """The weighted sum of all terms, as this replica's share of the whole batch's loss.

        Args:
          x: this replica's batch dict; y_pred: what `call` made of it; the rest is Keras'.
        """
        shares = self.shares(x, y_pred)
        if training and self.balance is not None:
            towers = (self.image_tower, self.text_tower)
            shared = [variable for tower in towers for variable in tower.trainable_variables]
            return self.balance.weigh(shares, shared)
        total: Any = sum(self.term_weights[name] * share for name, share in shares.items())
        return total

    def shares(self, batch, outputs):
        """{name: this replica's share of a term of the whole batch's loss}, without its weight."""
        kept = {key: batch[key] for key in ("image_id", "concepts", "similarity") if key in batch}
        kept |= {"text_id": outputs["text_id"]} if "text_id" in outputs else {}
        sides = ("image", "text", "image_view", "text_view")
        rows = {key: outputs[key] for key in sides if key in outputs}
        whole, rows = replicas.gather(kept), replicas.gather(rows)
        terms = self.loss_terms(whole, rows)
        here = ops.shape(batch["image_id"])[0]
        for name, term in terms.items():
            self.trackers[name].update_state(term, sample_weight=here)
        shares = {name: term / replicas.num_replicas() for name, term in terms.items()}
        size = ops.cast(ops.shape(whole["image_id"])[0], "float32")
        for head in self.heads:  # no replica needs the others' rows
            for name, term in head.row_terms(batch, outputs).items():
                self.trackers[name].update_state(term)
                if name in head.terms:
                    shares[name] = ops.sum(term) / size
        return shares

    def loss_terms(self, batch, outputs):
        """Scalars of the WHOLE batch, of `COMPARED` those that have a weight; all have B rows."""
        names = [name for name in COMPARED if name in self.term_weights]
        relevance = relevance_of(self, batch) if names else ()
        return {
            name: self.pair_term(relevance, *(outputs[side] for side in COMPARED[name]))
            for name in names
        }

    def pair_term(self, relevance, image, text):
        """The loss of (B, D) rows of the whole batch, a scalar."""
        numbers = self.learned.values()
        if callable(relevance):
            from systems.engine import blocks

            size = self.micro_batch
            return blocks.in_blocks(self.pair_loss, relevance, image, text, size, numbers)
        return self.pair_loss(relevance, image, text, **numbers)

    def train_step(self, data):
        """One step on a batch: Keras' own, or that of `gradient_cache`."""
        if not self.micro_batch:
            return super().train_step(data)
        from systems.engine import gradient_cache

        return gradient_cache.train_step(self, data)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: towers and optimizer are built before fit.

        Keras' own averages the first batch over the replicas to learn its shapes, which fails for a
        dict of PerReplica values under MultiWorkerMirroredStrategy (Keras 3.15).
        """

    def get_metrics_result(self):
        """Running means over the epoch: `loss`, and its terms where there are several; and what is
        trained of the loss, as it is now.
        """
        results = super().get_metrics_result()
        weights = self.term_weights if self.balance is None else self.balance.weights_now()
        if len(self.trackers) == 1:
            results = {"loss": results["loss"]}
        elif self.heads:
            # Keras weighs a replica's share of the loss by its rows, which the sum over rows has
            # done already: with unequal shares it would show another number.
            results["loss"] = sum(weight * results[name] for name, weight in weights.items())
        if self.balance is not None:
            results |= {f"{name}_weight": weight for name, weight in weights.items()}
        return replicas.metric_shape(results | self.learned.values())


def weights_of(parts, beta=0.0, views_weight=0.0):
    """{name of a term of the loss: its weight}, of those that are computed.

    Args:
      parts: of a system.
      beta: share of the intra-modal losses, in [0, 1]: b1 = 1 - beta, b2 = b3 = beta / 2 in
        l = b1 l_image_text + b2 l_image_image + b3 l_text_text ([IRSE] assignment, Eq. 7; the
        report's run "beta = 0.5" is b1 = 0.5, b2 = b3 = 0.25). 0 leaves them out.
      views_weight: of two views of a side.
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta is {beta}; it must lie between 0 and 1")
    if parts.ranking is None:
        found = {"image_text": 1.0 - beta}
        found |= {"image_image": beta / 2, "text_text": beta / 2} if beta else {}
    else:
        found = {"ranking": parts.ranking} if parts.ranking else {}
    for head in parts.heads:
        found |= head.terms
    return found | (dict.fromkeys(VIEWS, views_weight) if views_weight else {})


def relevance_of(model, batch):
    """(B, B) relevance of the whole batch; what makes its parts, where the loss takes parts; ()
    where it heeds none.
    """
    loss = model.pair_loss
    if not getattr(loss, "heeds_relevance", True):
        return ()
    make = partial(
        relevance_matrix,
        batch["image_id"],
        batch.get("concepts"),
        batch.get("similarity"),
        model.literal_relevance,
        batch.get("text_id"),
    )
    return make if model.micro_batch and loss.sides else make()
