"""The dual encoder: two towers, a loss of pairs, and heads with further losses.

    model = build_model(settings, facts)

The towers are in `systems/`. A system's `build` returns `Parts`: a tower for each side, and heads
if it has more than one loss. A tower's last step is L2 normalisation; where it is not, the parts'
readers and encoders add it. `DualEncoder` combines the parts and is the same for all systems.

Shape letters: B batch over all replicas, b batch of one replica, D embedding.
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
COMPARED = {  # name of a term of the pair loss -> the embeddings that it compares
    "image_text": ("image", "text"),
    "ranking": ("image", "text"),
    "image_image": ("image", "image"),
    "text_text": ("text", "text"),
    **VIEWS,
}


def build_model(settings, facts):
    """The model of a run, with initial weights.

    Args:
      settings: the run's settings; facts: `Facts` of its data.

    Raises:
      ValueError: the model, the loss or the value of --train is unknown; or the model does not
        support the values of --learn, --views_weight or --micro_batch.
    """
    loss = build_loss(settings.loss, settings)
    build = config.find_function(config.sheet(settings.model).build)
    parts = build(settings, facts, loss)
    starts = choose_learned(settings.learn, loss, settings.loss)
    if settings.views_weight:
        from systems.engine import views  # like what follows, imported only if needed

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
    """Two towers, a loss of pairs, and heads. The loss is the weighted sum of their terms.

    Args:
      parts: of a system.
      loss: called as `loss(relevance, image, text)`. If it is `raw`, it reads the embeddings
        before their normalisation.
      beta, views_weight: see `weights_of`; literal_relevance: see `relevance_matrix`.
      learned: `LearnedNumbers`, the trained hyper-parameters of the loss; None: there are none.

    Attributes:
      encoders: compiled models that encode after training, made from `encoder_models`.
      micro_batch: pairs that are encoded at once (`gradient_cache`); 0: the whole batch.
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
        self.built = True  # all parts are built, so `fit` need not build from a first batch

    def use_encoders(self, models):
        """Sets the Keras models that encode after training: of images, and of token ids."""
        self.encoder_models = models
        self.encoders = Sides(replicas.compiled(models.image), replicas.compiled(models.text))

    def for_test(self):
        """Sets the encoders of testing, if they differ from those of validation."""
        if self.parts.for_test is not None:
            self.use_encoders(self.parts.for_test())

    def call(self, batch, training=False):
        """The batch dict -> {"image": (b, D), "text": (b, D)}, views and outputs of heads."""
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
        """This replica's share of the loss of the whole batch, a scalar.

        Args:
          x: this replica's batch dict; y_pred: the outputs of `call`; Keras passes the others.
        """
        shares = self.shares(x, y_pred)
        if training and self.balance is not None:
            towers = (self.image_tower, self.text_tower)
            shared = [variable for tower in towers for variable in tower.trainable_variables]
            return self.balance.weigh(shares, shared)
        total: Any = sum(self.term_weights[name] * share for name, share in shares.items())
        return total

    def shares(self, batch, outputs):
        """{name of a term: this replica's share of it, a scalar}, not weighted."""
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
        for head in self.heads:  # their terms need no embeddings of other replicas
            for name, term in head.row_terms(batch, outputs).items():
                self.trackers[name].update_state(term)
                if name in head.terms:
                    shares[name] = ops.sum(term) / size
        return shares

    def loss_terms(self, batch, outputs):
        """{name: scalar} of the terms in `COMPARED` that have a weight, of all B pairs."""
        names = [name for name in COMPARED if name in self.term_weights]
        relevance = relevance_of(self, batch) if names else ()
        return {
            name: self.pair_term(relevance, *(outputs[side] for side in COMPARED[name]))
            for name in names
        }

    def pair_term(self, relevance, image, text):
        """The loss of (B, D) embeddings of the whole batch, a scalar."""
        numbers = self.learned.values()
        if callable(relevance):
            from systems.engine import blocks

            size = self.micro_batch
            return blocks.in_blocks(self.pair_loss, relevance, image, text, size, numbers)
        return self.pair_loss(relevance, image, text, **numbers)

    def train_step(self, data):
        """One optimiser step on a batch, by gradient caching if --micro_batch asks for it."""
        if not self.micro_batch:
            return super().train_step(data)
        from systems.engine import gradient_cache

        return gradient_cache.train_step(self, data)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing, because towers and optimiser are built before `fit`.

        Keras 3.15 would average the first batch over replicas to infer its shapes. That fails for a
        dict of PerReplica values under MultiWorkerMirroredStrategy.
        """

    def get_metrics_result(self):
        """{name: scalar}: epoch means of the loss and its terms; trained hyper-parameters now."""
        results = super().get_metrics_result()
        weights = self.term_weights if self.balance is None else self.balance.weights_now()
        if len(self.trackers) == 1:
            results = {"loss": results["loss"]}
        elif self.heads:
            # Keras weights a replica's loss by its number of rows. The shares of heads are sums
            # over rows, so for unequal replicas that would show another number.
            results["loss"] = sum(weight * results[name] for name, weight in weights.items())
        if self.balance is not None:
            results |= {f"{name}_weight": weight for name, weight in weights.items()}
        return replicas.metric_shape(results | self.learned.values())


def weights_of(parts, beta=0.0, views_weight=0.0):
    """{name of a term of the loss: its weight}; terms of weight 0 are left out.

        l = (1 - beta) l_image_text + beta / 2 (l_image_image + l_text_text)

    Args:
      parts: of a system; those with a weight `ranking` have no beta.
      beta: in [0, 1], share of the losses within images and within texts.
      views_weight: >= 0, weight of the two terms that compare two views of the same side.

    Raises:
      ValueError: beta is not in [0, 1].

    Reference: M. Sijmkens, IRSE project report, 2021, assignment, Eq. 7.
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
    """(B, B) relevance of the whole batch, float32 in [0, 1].

    With --micro_batch a function that computes some cells of it; () for a loss that ignores it.
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
