"""System 5, second loss: the cross entropy of the captions that the network writes.

Shape letters: b rows of one replica, B batch, D embedding, T tokens.

Reference:
  [Joint] System 5: the authors' code of April 2019.
"""

from keras import ops

from run import replicas
from systems.engine.heads import Head
from systems.engine.parts import CaptionSteps
from systems.joint.writer import CaptionWriter, use_models


class CaptionHead(Head):
    """L_gen: the mean of -log p over the words and ends of the whole batch's captions.

    Args:
      settings: with write_weight, embed_dim, hidden_dim, attention_dim and dropout.
      num_ids: V, those of padding and start counted.

    Reference: [Joint].
    """

    def __init__(self, settings, num_ids):
        weight = settings.write_weight
        super().__init__({"generation": weight} if weight else {}, name="writing")
        sizes = (settings.hidden_dim, settings.attention_dim, num_ids)
        self.writer = CaptionWriter(*sizes, settings.dropout, name="writer")
        self.writer.build((None, None, settings.embed_dim))
        self.writer.built = True
        self.writer.trainable = bool(weight)

    def call(self, batch, features, training=False):
        """{"written": (b,)}: the sum of -log p over each caption's words and end.

        Images that were read once for all their captions come first to each of them.
        """
        if not self.terms:
            return {}
        image, rows = features["image"], batch.get("image_row")
        seen = (image["boxes"], image["present"], image["unit"])
        heard = features["text"]["heard"]
        return {"written": self.writer(*seen, heard, batch["tokens"], rows, training=training)}

    def row_terms(self, batch, outputs):
        """{"generation": (b,)}, whose mean over the whole batch is L_gen."""
        if not self.terms:
            return {}
        words = ops.sum(ops.cast(ops.not_equal(batch["tokens"], 0), "float32"), axis=1)
        whole = replicas.gather({"words": words})["words"]  # (B,)
        return {"generation": outputs["written"] / ops.maximum(ops.mean(whole), 1e-6)}


def caption_steps(image_tower, text_tower, writer):
    """`CaptionSteps` of the towers and their writer."""
    models = use_models(image_tower, text_tower, writer)
    return CaptionSteps(models, tuple(map(replicas.compiled, models)))
