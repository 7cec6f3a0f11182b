"""System 3, losses: one classifier that knows every training image, and hard texts.

Shape letters: B batch, b rows of one replica, D embedding, K classes, p candidates for hard texts
of one replica, P of all.

Reference:
  [Dual] Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017, and
         the authors' code.
"""

from typing import Any

import keras
from keras import ops

from losses import FAR
from run import replicas
from systems.engine.heads import Head, per_caption

PATHS = {"visual": "image", "textual": "text"}  # the side that each path of the network reads


def instance_terms(logits, labels):
    """-log softmax(W^T f)_c: (b, K) logits and (b,) classes -> (b,) float32, >= 0.

    Reference: [Dual] Eq. 4.5 to 4.8.
    """
    logits = ops.cast(logits, "float32")
    own = ops.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return ops.logsumexp(logits, axis=1) - own


def phrase_terms(logits, shares):
    """-sum_k s_k log softmax(W^T f)_k: (b, K) logits and (b, K) shares -> (b,) float32, >= 0.

    Reference: Joulin et al., Learning visual features from large weakly supervised data, ECCV 2016,
      Eq. 2.
    """
    logits = ops.cast(logits, "float32")
    said = ops.sum(shares, axis=1)  # 1, or 0: nothing
    return said * ops.logsumexp(logits, axis=1) - ops.sum(shares * logits, axis=1)


def hardest_texts(anchors, anchor_id, texts, text_id):
    """For each anchor image the candidate caption that is most like it and not its own.

    Args:
      anchors: (A, D), texts: (P, D) unit rows; anchor_id (A,), text_id (P,) their images.

    Returns:
      (A,) int32 rows of texts.

    Reference: [Dual], the authors' code: the highest cosine of 256 random training captions.
    """
    scores = ops.matmul(anchors, ops.transpose(texts))
    own = ops.equal(anchor_id[:, None], text_id[None, :])
    return ops.argmax(ops.where(own, FAR, scores), axis=1)


class InstanceHead(Head):
    """One classifier for both paths: lambda2 L_visual + lambda3 L_textual.

    It reads the features behind a ReLU and a dropout, at their own length.

    Args:
      terms: {"visual": lambda2, "textual": lambda3}, of those above 0.
      num_classes: K; embed_dim: D.
      settings: with dropout and classifier_bias.

    Reference: [Dual] section 3.3 and the authors' code.
    """

    def __init__(self, terms, num_classes, embed_dim, settings):
        super().__init__(terms, [f"{path}_error" for path in terms], name="instance")
        self.dropouts = {path: keras.layers.Dropout(settings.dropout) for path in PATHS}
        self.classifier: Any = None
        if terms:
            # Its initial weights are a tenth of the other layers', as in the paper's code.
            start = keras.initializers.RandomNormal(stddev=0.1 * (2.0 / embed_dim) ** 0.5)
            self.classifier = keras.layers.Dense(
                num_classes, use_bias=settings.classifier_bias, kernel_initializer=start,
                name="classifier",
            )  # fmt: skip
            self.classifier.build((None, embed_dim))

    def call(self, batch, features, training=False):
        """{"visual", "textual"}: what the classifier reads of each path.

        Pictures that were read once for all their captions go through the classifier once: then
        "visual" has a row for each of them.
        """
        return {
            path: self.dropouts[path](ops.relu(features[PATHS[path]]["end"]), training=training)
            for path in self.terms
        }

    def row_terms(self, batch, outputs):
        """Instance losses, and the errors of both paths as classifiers: {name: (b,)}.

        Where an image has shares of several classes, an error is a class that it has no share of.
        """
        if self.classifier is None:
            return {}
        if len(batch["label"].shape) == 2:
            return self.phrase_rows(batch, outputs)
        labels = {"visual": batch["label"]}
        labels["textual"] = outputs.get("text_label", batch["label"])
        captions = batch.get("image_row")  # the picture of each caption
        if captions is not None and "visual" in outputs:
            count = ops.shape(outputs["visual"])[0]
            mine = ops.equal(ops.arange(count)[:, None], captions)  # (pictures, b)
            labels["visual"] = ops.max(ops.where(mine, labels["visual"], 0), axis=1, initial=0)
        # One product with W for both paths: one gradient of its size, not two.
        logits = self.classifier(ops.concatenate([outputs[side] for side in self.terms]))
        found, start = {}, 0
        for side in self.terms:
            size = ops.shape(outputs[side])[0]
            own, start = logits[start : start + size], start + size
            wrong = ops.not_equal(ops.argmax(own, axis=1), ops.cast(labels[side], "int32"))
            terms = {side: instance_terms(own, labels[side])}
            terms[f"{side}_error"] = ops.cast(wrong, "float32")
            if side == "visual":  # a picture counts for each of its captions
                terms = {name: per_caption(batch, term) for name, term in terms.items()}
            found |= terms
        return found

    def phrase_rows(self, batch, outputs):
        """`row_terms` where the classes are phrases: {name: (b,)}."""
        found = {}
        for side in self.terms:
            logits = self.classifier(outputs[side])
            if side == "visual":  # a picture counts for each of its captions
                logits = per_caption(batch, logits)
            chosen = ops.argmax(logits, axis=1)[:, None]
            wrong = ops.equal(ops.take_along_axis(batch["label"], chosen, axis=1)[:, 0], 0.0)
            found[side] = phrase_terms(logits, batch["label"])
            found[f"{side}_error"] = ops.cast(wrong, "float32")
        return found


def exchange(read, batch, image):
    """The batch's texts with those of its second half replaced by the hardest of the pool.

    A batch without a pool keeps its own.

    Args:
      read: the text side's reader, see `Parts`.
      batch: with pool (p, 32), pool_id and pool_label (p,): this replica's candidates; and row
        (b,), the places of its rows in the whole batch.
      image: (b, D) unit rows.

    Returns:
      tokens (b, 32); {"text_id" (b,), "text_label" (b,)} of the images that the texts are of.

    Differs from the paper: one pool for the anchors of a batch, not one for each anchor.
    """
    if "pool" not in batch:
        return batch["tokens"], {}
    pool = {key: batch[key] for key in ("pool", "pool_id", "pool_label")}
    # No gradient is wanted: they are read as after training.
    pool["rows"] = ops.stop_gradient(read(pool["pool"], training=False)["rows"])
    pool = replicas.gather(pool)
    here = {"image": ops.stop_gradient(image), "image_id": batch["image_id"]}
    whole = replicas.gather(here)
    size = ops.shape(whole["image_id"])[0]
    half = size // 2
    anchors, ids = whole["image"][:half], whole["image_id"][:half]
    chosen = hardest_texts(anchors, ids, pool["rows"], pool["pool_id"])
    place = batch["row"] - half  # among the negatives
    chosen = ops.concatenate([chosen, ops.zeros((1,), chosen.dtype)])  # for the others
    changed = ops.logical_and(place >= 0, place < half)
    mine = ops.take(chosen, ops.where(changed, place, half))  # (b,) rows of the pool

    def exchanged(own, new):
        where = changed[:, None] if len(own.shape) == 2 else changed
        return ops.where(where, ops.take(new, mine, axis=0), own)

    return exchanged(batch["tokens"], pool["pool"]), {
        "text_id": exchanged(batch["image_id"], pool["pool_id"]),
        "text_label": exchanged(batch["label"], pool["pool_label"]),
    }
