"""System 5: one network that ranks captions and writes them, on the boxes of an image.

The image's vector is a weighted sum of its boxes, the caption's the state of an LSTM after its last
word; a second pair of LSTMs reads both states and boxes and writes the caption.

Shape letters: B batch, b rows of one replica, P its images, R boxes, F feature, D embedding, T
tokens, V ids.

References:
  [Joint] System 5: the authors' code of April 2019, and its later state with GradNorm (Nikolaus et
          al., Compositional generalization in image captioning, CoNLL 2019).
"""

from types import SimpleNamespace
from typing import Any

import keras
from keras import ops

from run import replicas
from systems.engine.dual_encoder import DualEncoder, per_caption
from systems.engine.layers import UnitNorm
from systems.joint.gradnorm import GradNorm
from systems.joint.writer import (
    AtLast,
    BoxSum,
    SentenceLSTM,
    StartFirst,
    Writer,
    is_box,
    last_state_tower,
    use_models,
)

CHUNK = 128  # images encoded at once: 36 boxes of 2,048 numbers are 38 MB
TERMS = ("ranking", "generation")


class Joint(DualEncoder):
    """Two towers, a ranking loss L_rank, and the cross entropy L_gen of the captions it writes.

        L = rank_weight L_rank + write_weight L_gen, or with weights of GradNorm in their place

    L_gen is the mean of -log p over the words and ends of the whole batch's captions.

    Args:
      image_tower: (b, R, F) -> (b, D), with layers "boxes" and "image_norm"; text_tower: (b, T) ids
        -> (b, D), with layers "words" and "reader".
      writer: `Writer`, built.
      loss: L_rank, called as in `DualEncoder`.
      settings: with rank_weight, write_weight, balance, gradnorm_alpha and literal_relevance.

    Reference: [Joint].
    """

    def __init__(self, image_tower, text_tower, writer, loss, settings):
        weights = dict(zip(TERMS, (settings.rank_weight, settings.write_weight), strict=True))
        terms = {name: weight for name, weight in weights.items() if weight}
        literal = settings.literal_relevance
        super().__init__(image_tower, text_tower, loss, 0.0, literal, terms=terms)
        self.writer = writer
        writer.trainable = "generation" in terms
        self.gradnorm = None
        if settings.balance == "gradnorm":
            self.gradnorm = GradNorm(len(terms), settings.gradnorm_alpha, name="gradnorm")
        self.chunks["image"] = CHUNK
        self.use_encoders(image_tower, last_state_tower(text_tower))
        norms = [tower.get_layer(f"{side}_norm") for side, tower in self.sides()]
        compared = [norm.input if self.raw else norm.output for norm in norms]
        embedded = image_tower.get_layer("boxes").output
        image = [embedded, is_box(image_tower.input), norms[0].output, compared[0]]
        text = [text_tower.get_layer("reader").output, compared[1]]
        self.readers = SimpleNamespace(
            image=keras.Model(image_tower.input, image), text=keras.Model(text_tower.input, text)
        )
        first, following = use_models(image_tower, text_tower, writer)
        # Hidden from Keras, as the encoders are: their layers are the model's own.
        self.speaking = SimpleNamespace(
            models=(first, following),
            steps=(replicas.compiled(first), replicas.compiled(following)),
        )

    def sides(self):
        """("image", its tower), ("text", its tower)."""
        return ("image", self.image_tower), ("text", self.text_tower)

    def shared(self):
        """The variables that both losses move: word table, box embedding, box weights, reader.

        Reference: [Joint] the later state.
        """
        return [v for _, tower in self.sides() for v in tower.trainable_variables]

    def rows(self, side, inputs, training):
        """(b, D) float32 rows of one side's inputs, as the loss compares them."""
        found = getattr(self.readers, side)(inputs, training=training)
        return ops.cast(found[-1], "float32")

    def call(self, batch, training=False):
        """The batch dict -> {"image", "text": (b, D)}, maybe views, and "written" (b,).

        "written" is the sum of -log p over each caption's words and end. Images that are read once
        for all their captions come first to each of them.
        """
        boxes, present, image, compared = self.readers.image(batch["image"], training=training)
        heard, text = self.readers.text(batch["tokens"], training=training)
        outputs = {
            "image": per_caption(batch, ops.cast(compared, "float32")),
            "text": ops.cast(text, "float32"),
        }
        outputs |= self.second_views(batch, training)
        if "generation" in self.term_weights:
            rows = batch.get("image_row")
            outputs["written"] = self.writer(
                boxes, present, image, heard, batch["tokens"], rows, training=training
            )
        return outputs

    def row_terms(self, batch, outputs):
        """{"generation": (b,)}, whose mean over the whole batch is L_gen."""
        if "written" not in outputs:
            return {}
        words = ops.sum(ops.cast(ops.not_equal(batch["tokens"], 0), "float32"), axis=1)
        whole = replicas.gather({"words": words})["words"]  # (B,)
        return {"generation": outputs["written"] / ops.maximum(ops.mean(whole), 1e-6)}

    def weighed(self, shares, training):
        """The sum of the terms' shares, each times its weight: GradNorm's, where it weighs."""
        if self.gradnorm is None or not training:
            return super().weighed(shares, training)
        own = [shares[name] for name in TERMS]
        weights, term = self.gradnorm.weigh(own, self.shared())
        return ops.sum(weights * ops.stack(own)) + term

    def get_metrics_result(self):
        """As in `DualEncoder`, but the loss is the weighted sum of its terms' means over the rows.

        Keras' own weighs a replica's share of the loss by its rows, which the sum over rows has
        done already. With GradNorm its weights stand there, too.
        """
        results = super().get_metrics_result()
        weights = dict(self.term_weights)
        if self.gradnorm is not None:
            own = ops.cast(self.gradnorm.balance, "float32")
            weights = dict(zip(weights, ops.unstack(own), strict=True))
            shown = {f"{name}_weight": weight for name, weight in weights.items()}
            results |= replicas.metric_shape(shown)
        if len(weights) > 1:
            loss: Any = sum(weight * results[name] for name, weight in weights.items())
            results["loss"] = loss
        return results

    def rates(self, settings):
        """{path of a weight: factor of the learning rate}: GradNorm's weights have their own."""
        if self.gradnorm is None:
            return {}
        rate = settings.gradnorm_rate / settings.learning_rate
        return {self.gradnorm.balance.path: rate}


# ---- Towers -------------------------------------------------------------------------------------


def image_tower(settings, feature_dim):
    """(B, R, F) boxes -> (B, D): each through one linear map, their weighted sum, the L2 norm.

    Boxes whose numbers are all 0 are none, so that images may have different numbers of them.

    Reference: [Joint]: 36 boxes, 2048 -> 1024.
    """
    features = keras.Input((None, feature_dim), name="image")
    x = features
    if settings.image_dropout:
        x = keras.layers.Dropout(settings.image_dropout)(x)
    embedded = keras.layers.Dense(settings.embed_dim, name="boxes")(x)
    scores = keras.layers.Dense(1, name="box_weights")(embedded)
    row = BoxSum(name="box_sum")(embedded, scores, features)
    return keras.Model(features, UnitNorm(name="image_norm")(row), name="image_tower")


def text_tower(settings, num_ids):
    """(B, T) ids w1..wn, end -> (B, D): the reading LSTM's state after wn, and the L2 norm.

    The word table has rows for the padding and the start, too.

    Reference: [Joint]: words of 300, LSTM of 1024.
    """
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    read = StartFirst(num_ids + 1, name="start_first")(tokens)
    start = keras.initializers.RandomUniform(-settings.word_range, settings.word_range)
    words = keras.layers.Embedding(num_ids + 2, settings.word_dim, start, name="words")(read)
    if settings.word_dropout:
        words = keras.layers.Dropout(settings.word_dropout, noise_shape=(None, None, 1))(words)
    states = SentenceLSTM(settings.embed_dim, name="reader")(words)
    row = AtLast(name="at_last")(states, tokens)
    return keras.Model(tokens, UnitNorm(name="text_norm")(row), name="text_tower")


def joint_model(settings, sizes, loss):
    """System 5, from a run's settings.

    Args:
      settings: the run's configuration.
      sizes: {"feature_dim": F, "vocabulary_size": the largest id, that of the end}.
      loss: L_rank.

    Reference: [Joint].
    Differs from the paper: one bias for each gate; weights of linear maps begin as Glorot has them.
    """
    image = image_tower(settings, sizes["feature_dim"])
    text = text_tower(settings, sizes["vocabulary_size"])
    ids = sizes["vocabulary_size"] + 2
    writer = Writer(
        settings.hidden_dim, settings.attention_dim, ids, settings.dropout, name="writer"
    )
    writer.build((None, None, settings.embed_dim))
    writer.built = True
    model = Joint(image, text, writer, loss, settings)
    parts = settings.freeze.split(",")
    for part, tower, names in (
        ("image", image, ("boxes", "box_weights")),
        ("caption", text, ("reader",)),
        ("words", text, ("words",)),
    ):
        for name in names if part in parts else ():
            tower.get_layer(name).trainable = False
    return model
