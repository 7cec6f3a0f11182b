"""System 3: an image CNN and a text CNN under one classifier that knows every training image.

The instance loss takes each training image, with its captions, for a class of its own; both paths
end in the same weights W, so a picture and its sentence learn to lie where W has their row.

Shape letters: B batch, b rows of one replica, D embedding, F channels of the backbone, K classes,
P candidates for hard texts.

Reference:
  [Dual] Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017, and
         the authors' code.
"""

from typing import Any

import keras
from keras import ops

from losses import FAR
from run import replicas
from systems.dual_path.text_cnn import ShiftSum, text_cnn
from systems.engine.backbone import find_backbone, image_backbone, strongest_places
from systems.engine.dual_encoder import DualEncoder, per_caption
from systems.engine.layers import UnitNorm, he_normal, norm

CHUNKS = {"image": 32, "text": 64}  # a caption goes through its tower once for each shift
NORM_SCALE_RATE, BIAS_RATE = 2.0, 20.0  # of learning_rate, with sgd


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


class DualPath(DualEncoder):
    """Two CNNs, one classifier: L = lambda1 L_rank + lambda2 L_visual + lambda3 L_textual.

    The towers end before the last ReLU. Training compares what is behind it; the classifier reads
    the same behind a dropout, at its own length; use reads the towers' own rows, divided by their
    norm.

    Args:
      image_tower: pictures or vectors -> (b, D); text_tower: (b, 32) ids -> (b, D).
      loss: L_rank, called as in `DualEncoder`.
      lambdas: (lambda1, lambda2, lambda3) >= 0; a term of weight 0 is not computed.
      num_classes: K.
      settings: with dropout, mirror, compare_relu, classifier_bias and literal_relevance.

    Reference: [Dual] section 3.3 and the authors' code.
    """

    def __init__(self, image_tower, text_tower, loss, lambdas, num_classes, settings):
        names = ("ranking", "visual", "textual")
        terms = {name: weight for name, weight in zip(names, lambdas, strict=True) if weight}
        literal = settings.literal_relevance
        super().__init__(image_tower, text_tower, loss, 0.0, literal, terms=terms)
        self.classified = [side for side in ("visual", "textual") if side in terms]
        for side in self.classified:
            self.trackers[f"{side}_error"] = keras.metrics.Mean(name=f"{side}_error")
        self.unit = UnitNorm()
        self.compare_relu = settings.compare_relu
        self.dropouts = {side: keras.layers.Dropout(settings.dropout) for side in names[1:]}
        self.classifier: Any = None
        if self.classified:
            # Its initial weights are a tenth of the other layers', as in the paper's code.
            start = keras.initializers.RandomNormal(stddev=0.1 * (2.0 / self.embed_dim) ** 0.5)
            self.classifier = keras.layers.Dense(
                num_classes, use_bias=settings.classifier_bias, kernel_initializer=start,
                name="classifier",
            )  # fmt: skip
            self.classifier.build((None, self.embed_dim))
        self.chunks = dict(CHUNKS)
        self.mirror = settings.mirror and len(image_tower.input_shape) == 4
        self.use_encoders(image_rows(image_tower, False), text_rows(text_tower, 1))

    def for_test(self, settings):
        """Mirrored pictures are added, captions summed over `test_shifts`; validation does not."""
        shifts = 0 if settings.test_shifts == "all" else int(settings.test_shifts)
        self.use_encoders(
            image_rows(self.image_tower, self.mirror), text_rows(self.text_tower, shifts)
        )

    def call(self, batch, training=False):
        """The batch dict -> unit rows "image", "text" (b, D), and what `row_terms` reads.

        Pictures that were read once for all their captions go through the classifier once: then
        "visual" has a row for each of them.
        """
        pictures = self.image_tower(batch["image"], training=training)
        outputs = {"image": per_caption(batch, self.compared(pictures))}
        outputs |= self.second_views(batch, training)
        texts = {"tokens": batch["tokens"]}
        if "pool" in batch:
            texts = self.exchange(batch, outputs["image"])
            outputs["text_id"], outputs["text_label"] = texts["image_id"], texts["label"]
        text = self.text_tower(texts["tokens"], training=training)
        outputs["text"] = self.compared(text)
        features = {"visual": pictures, "textual": text}
        for side in self.classified:
            row = ops.relu(features[side])
            outputs[side] = self.dropouts[side](row, training=training)
        return outputs

    def compared(self, features):
        """Unit rows of the towers' features, as the ranking loss compares them; or raw ones."""
        rows = ops.cast(ops.relu(features) if self.compare_relu else features, "float32")
        return rows if self.raw else self.unit(rows)

    def rows(self, side, inputs, training):
        """(b, D) rows of one side's inputs, as the ranking loss compares them."""
        return self.compared(getattr(self.readers, side)(inputs, training=training))

    def exchange(self, batch, image):
        """The batch's texts with those of its second half replaced by the hardest of the pool.

        Args:
          batch: with pool (p, 32), pool_id and pool_label (p,): this replica's candidates; and row
            (b,), the places of its rows in the whole batch.
          image: (b, D) unit rows.

        Returns:
          {"tokens" (b, 32), "image_id" (b,), "label" (b,)}.

        Differs from the paper: one pool for the anchors of a batch, not one for each anchor.
        """
        pool = {key: batch[key] for key in ("pool", "pool_id", "pool_label")}
        # No gradient is wanted: they are read as after training.
        rows = self.compared(self.text_tower(pool["pool"], training=False))
        pool["rows"] = ops.stop_gradient(rows)
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
        found = {
            "tokens": (batch["tokens"], pool["pool"]),
            "image_id": (batch["image_id"], pool["pool_id"]),
            "label": (batch["label"], pool["pool_label"]),
        }
        return {
            key: ops.where(
                changed[:, None] if key == "tokens" else changed, ops.take(new, mine, axis=0), own
            )
            for key, (own, new) in found.items()
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
        logits = self.classifier(ops.concatenate([outputs[side] for side in self.classified]))
        found, start = {}, 0
        for side in self.classified:
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
        for side in self.classified:
            logits = self.classifier(outputs[side])
            if side == "visual":  # a picture counts for each of its captions
                logits = per_caption(batch, logits)
            chosen = ops.argmax(logits, axis=1)[:, None]
            wrong = ops.equal(ops.take_along_axis(batch["label"], chosen, axis=1)[:, 0], 0.0)
            found[side] = phrase_terms(logits, batch["label"])
            found[f"{side}_error"] = ops.cast(wrong, "float32")
        return found

    def get_metrics_result(self):
        """As in `DualEncoder`, but the loss is the sum of its terms' means over the rows.

        Keras' own weighs a replica's share of the loss by its rows, which the sum over rows has
        done already: with unequal shares it would show another number.
        """
        results = super().get_metrics_result()
        if len(self.trackers) > 1:
            parts = self.term_weights.items()
            loss: Any = sum(weight * results[name] for name, weight in parts)
            results["loss"] = loss
        return results

    def rates(self, settings):
        """{path of a weight: factor of the learning rate} of those that differ from 1.

        Reference: [Dual], the authors' code: effective 0.01 for new layers, 1e-3 for the
          classifier, 1e-4 for the words and the image CNN; with sgd scales of batch norm twice, the
          word layer's bias 20 times the rate of new layers.
        """
        words = self.text_tower.get_layer("words")
        found = {}
        if settings.optimizer == "sgd":
            for variable in self.trainable_variables:
                if variable.name == "gamma":
                    found[variable.path] = NORM_SCALE_RATE
            found[words.bias.path] = BIAS_RATE
        parts = {settings.word_rate: [words.embeddings]}
        if self.classifier is not None:
            own = parts.setdefault(settings.classifier_rate, [])
            own += self.classifier.trainable_variables
        for rate, variables in parts.items():
            found |= {variable.path: rate for variable in variables}
        if (backbone := find_backbone(self)) is not None:
            found |= {v.path: settings.backbone_rate for v in backbone.trainable_variables}
        return {path: rate for path, rate in found.items() if rate != 1.0}


# ---- Towers -------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("matchbox")
class SumPositions(keras.layers.Layer):
    """(B, h, w, D) -> (B, D); of one position, that row."""

    def call(self, x):
        return ops.sum(x, axis=(1, 2))


def image_head(channels, settings):
    """(B, h, w, F) maps, or vectors as maps of one position -> (B, D), before the last ReLU.

    Two 1x1 convolutions, each with batch norm, a ReLU between them, summed over the positions.

    Args:
      channels: F.
      settings: with embed_dim, hidden_dim and image_dropout (of what the head reads; none in the
        paper).

    Reference: [Dual] section 3.1: 2048 -> 2048 -> 2048 for ResNet-50.
    """
    maps = keras.Input((None, None, channels), name="map")
    hidden = settings.hidden_dim or channels
    read = keras.layers.Dropout(settings.image_dropout)(maps) if settings.image_dropout else maps
    x = keras.layers.Conv2D(
        hidden, 1, use_bias=False, kernel_initializer=he_normal(), name="image_hidden"
    )(read)
    x = keras.layers.ReLU()(norm("image_hidden_norm")(x))
    x = keras.layers.Conv2D(
        settings.embed_dim, 1, use_bias=False, kernel_initializer=he_normal(), name="image_head"
    )(x)
    return keras.Model(maps, SumPositions()(norm("image_head_norm")(x)), name="image_path")


def image_cnn(settings):
    """(B, h, w, 3) uint8 pictures -> (B, D), before the last ReLU.

    A picture of the training size gives one position; a larger one gives several, which are summed.

    Reference: [Dual] section 3.1 and the authors' code: ResNet-50 up to its last pooling.
    Differs from the paper: for VGG19 it takes fc7 before its ReLU, here the last map's mean.
    """
    pixels = keras.Input((None, None, 3), dtype="uint8", name="image")
    backbone = image_backbone(settings)
    maps = backbone(pixels)
    side = settings.image_size
    window = backbone.compute_output_shape((1, side, side, 3))[1]
    if settings.image_pooling == "mean":
        maps = keras.layers.AveragePooling2D(window, 1, name="pool")(maps)
    else:
        maps = strongest_places(maps, settings.hidden_dim or maps.shape[-1])
    head = image_head(maps.shape[-1], settings)
    return keras.Model(pixels, head(maps), name="image_tower")


def image_vectors(settings, feature_dim):
    """(B, F) cached vectors of the backbone -> (B, D), before the last ReLU."""
    vectors = keras.Input((feature_dim,), name="image")
    maps = keras.layers.Reshape((1, 1, feature_dim))(vectors)
    head = image_head(feature_dim, settings)
    return keras.Model(vectors, head(maps), name="image_tower")


def image_rows(tower, mirror):
    """Pictures or vectors -> (B, D) unit rows, for use: the mirrored picture added if `mirror`.

    Reference: [Dual], the authors' code for testing.
    """
    image = keras.Input(tower.input_shape[1:], dtype=tower.inputs[0].dtype, name="image")
    rows = tower(image, training=False)
    if mirror:
        rows = keras.layers.Add()([rows, tower(ops.flip(image, axis=2), training=False)])
    return keras.Model(image, UnitNorm()(rows))


def text_rows(tower, shifts):
    """(B, T) ids of captions, 0 pads on the right -> (B, D) unit rows, for use."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    return keras.Model(tokens, UnitNorm()(ShiftSum(tower, shifts)(tokens)))


def parse_lambdas(text):
    """(lambda1, lambda2, lambda3) of "1:1:1".

    Raises:
      ValueError: these are not three numbers >= 0, one of them above 0.
    """
    try:
        found = tuple(float(part) for part in text.split(":"))
    except ValueError:
        found = ()
    if len(found) != 3 or not max(found) > 0 or not all(0 <= value < 1e6 for value in found):
        raise ValueError(
            f"--lambdas {text!r}: expected three weights, of the ranking, the visual and the "
            "textual loss, such as 1:1:1 or 2:1:0.1"
        )
    return found


def dual_path_model(settings, sizes, loss):
    """System 3, from a run's settings.

    Args:
      settings: the run's configuration.
      sizes: {"feature_dim": F of cached vectors, "vocabulary_size": V, "train_images": N,
        "num_phrases": K with --classes phrases}.
      loss: L_rank.
    """
    if settings.features == "pixels":
        image = image_cnn(settings)
    else:
        image = image_vectors(settings, sizes["feature_dim"])
    text = text_cnn(settings, sizes["vocabulary_size"])
    classes = settings.num_classes or sizes["train_images"]
    if settings.classes == "phrases":
        classes = sizes["num_phrases"]
    return DualPath(image, text, loss, parse_lambdas(settings.lambdas), classes, settings)
