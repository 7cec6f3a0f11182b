"""Losses that rank the own pair above the batch's other pairs: hinges, and cross entropy.

Scores are similarities, higher is better; row i belongs to image i and column j to text j. What is
a negative is read from the relevance matrix alone: another caption of the same image is none.

A number that is trained with the towers, one of a loss's `learnable`, comes beside the embeddings
and counts in place of the loss's own: `loss(relevance, {"image", "text", "margin"})`.

Shape letters: B batch, D embedding.

References:
  [FNE]   Vilalta et al., Studying the impact of the full-network embedding on multimodal pipelines,
          2019, Eq. 1 to 4.
  [UVS]   Kiros et al., Unifying visual-semantic embeddings, 2014 (sum of hinges).
  [VSE++] Faghri et al., VSE++, BMVC 2018 (maximum of hinges).
  [Order] Vendrov et al., Order-embeddings of images and language, ICLR 2016.
  [Dual]  Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017.
  [CPC]   van den Oord et al., Representation learning with contrastive predictive coding, 2018.
"""

import keras
from keras import ops

SAME = 1.0 - 1e-6  # relevance of items that belong together: equal cosines come out as 0.9999999
FAR = -1e9  # score of what is no candidate


def cosine_scores(image, text):
    """S(c, i) = c . i of unit rows.

    Args:
      image, text: (B, D) float32 rows of L2 norm 1.

    Returns:
      (B, B) float32 in [-1, 1]; image i in row i, text j in column j.

    Reference: [FNE] Eq. 2.
    """
    return ops.matmul(image, ops.transpose(text))


def order_scores(image, text):
    """S(c, i) = -sum_k max(0, c_k - i_k)^2: how far caption c is from lying below image i.

    Args:
      image, text: (B, D) float32 rows of L2 norm 1.

    Returns:
      (B, B) float32 in [-4, 0]; image i in row i, text j in column j. The roles are not symmetric.

    Reference: [FNE] Eq. 3, [Order] Eq. 2.
    """
    excess = ops.maximum(text[None, :, :] - image[:, None, :], 0.0)  # (B images, B texts, D)
    return -ops.sum(ops.square(excess), axis=-1)


SIMILARITIES = {"cosine": cosine_scores, "order": order_scores}


def hinges(scores, relevance, margin, literal=False):
    """[m + S(negative) - S(own pair)]_+ for image anchors and for text anchors; 0 at positives.

    Args:
      scores: (B, B), images in rows.
      relevance: (B, B) in [0, 1]; 1 for items that belong together.
      margin: m > 0.
      literal: every pair but the own one is a negative, as printed: another caption of the same
        image too.

    Returns:
      Two (B, B) arrays of terms >= 0: candidates of an image anchor along a row, of a text anchor
      along a column.
    """
    if literal:
        negative = 1.0 - ops.eye(ops.shape(scores)[0], dtype=scores.dtype)
    else:
        negative = ops.cast(relevance < SAME, scores.dtype)
    own = ops.diagonal(scores)
    of_images = negative * ops.maximum(margin + scores - own[:, None], 0.0)
    of_texts = negative * ops.maximum(margin + scores - own[None, :], 0.0)
    return of_images, of_texts


def cross_entropies(scores, relevance, temperature, include_positive=True):
    """-log exp(S_ii / t) / (exp(S_ii / t) + sum_{j negative} exp(S_ij / t)), and so by columns.

    Args:
      scores: (B, B), images in rows.
      relevance: (B, B) in [0, 1]; 1 for items that belong together.
      temperature: t > 0.
      include_positive: the own pair stands below the fraction, too. Without it the terms may be
        below 0, and an anchor without a negative, whose sum is empty, has 0.

    Returns:
      (2, B) terms: image anchors, text anchors.
    """
    logits = scores / temperature
    own = ops.diagonal(logits)
    pair = ops.cast(ops.eye(ops.shape(logits)[0]), "bool")
    negative = ops.logical_and(relevance < SAME, ops.logical_not(pair))
    candidate = ops.logical_or(negative, pair) if include_positive else negative
    logits = ops.where(candidate, logits, FAR)
    terms = ops.stack([ops.logsumexp(logits, axis=axis) - own for axis in (1, 0)])
    some = ops.stack([ops.any(candidate, axis=axis) for axis in (1, 0)])
    return ops.where(some, terms, 0.0)


@keras.saving.register_keras_serializable("matchbox")
class Hinge(keras.losses.Loss):
    """Sum or maximum of hinges over each anchor's negatives, images and texts as anchors.

    sum:  sum_i sum_{j != i} [m + S(i, j) - S(i, i)]_+ + [m + S(j, i) - S(i, i)]_+
    max:  sum_i max_{j != i} [m + S(i, j) - S(i, i)]_+ + max_{j != i} [m + S(j, i) - S(i, i)]_+

    With all embeddings equal every hinge is m: 2 B m for the maximum, 2 B (B - 1) m for the sum.
    There the gradient is small and undecided, and the maximum may stay: see `plateau`.

    Args:
      margin: m > 0.
      negatives: "sum" or "max".
      similarity: a name of `SIMILARITIES`.
      literal: see `hinges`.
      reduction: "sum" over the batch (the papers), or "mean" over the terms: 2 B^2 cells of the
        sum, 2 B anchors of the maximum.

    Reference: [FNE] Eq. 1 (sum) and Eq. 4 (maximum), [UVS], [VSE++].
    Differs from the paper: its code takes the maximum along the other axis, for each negative the
      worst anchor; here for each anchor its worst negative, as Eq. 4 and [VSE++]. Another caption
      of the same image is no negative unless `literal`.
    """

    anchors = ("image", "text")  # see `blocks`
    learnable = ("margin",)
    kinds = ("sum", "max")  # of negatives

    def __init__(
        self,
        margin=0.2,
        negatives="sum",
        similarity="cosine",
        literal=False,
        reduction="sum",
        name=None,
        **kwargs,
    ):
        super().__init__(name=name or f"{negatives}_hinge", reduction=reduction, **kwargs)
        if not margin > 0.0:
            raise ValueError(f"margin is {margin}; it must be above 0")
        if negatives not in self.kinds:
            raise ValueError(f"negatives is {negatives!r}; choose {' or '.join(self.kinds)}")
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity is {similarity!r}; choose {' or '.join(SIMILARITIES)}")
        self.margin, self.negatives = margin, negatives
        self.similarity, self.literal = similarity, literal

    def call(self, relevance, embeddings):
        """Terms, (2, B, B) or (2, B), of relevance (B, B) and {"image", "text"} (B, D)."""
        of_images, of_texts = self.tables(relevance, embeddings)
        if self.negatives == "sum":
            return ops.stack([of_images, of_texts])
        return ops.stack([ops.max(of_images, axis=1), ops.max(of_texts, axis=0)])

    def tables(self, relevance, embeddings):
        """Two (B, B) tables of terms, see `hinges`."""
        margin = embeddings.get("margin", self.margin)
        return hinges(self.scores(embeddings), relevance, margin, self.literal)

    def anchor_terms(self, relevance, scores, own, numbers):
        """Terms (b, B) or (b,) of some anchors, see `blocks`."""
        margin = numbers.get("margin", self.margin)
        others = relevance < SAME
        if self.literal:
            others = ops.not_equal(ops.arange(ops.shape(scores)[1])[None], own[:, None])
        mine = ops.take_along_axis(scores, own[:, None], axis=1)  # (b, 1)
        terms = ops.cast(others, scores.dtype) * ops.maximum(margin + scores - mine, 0.0)
        return ops.max(terms, axis=1) if self.negatives == "max" else terms

    def scores(self, embeddings):
        """(B, B) similarities of {"image", "text"} (B, D)."""
        return SIMILARITIES[self.similarity](embeddings["image"], embeddings["text"])

    def plateau(self, batch_size):
        """The loss of a batch whose embeddings are all equal."""
        if self.reduction == "mean":
            return self.margin * (1.0 if self.negatives == "max" else 1.0 - 1.0 / batch_size)
        candidates = 1 if self.negatives == "max" else batch_size - 1
        return 2.0 * batch_size * candidates * self.margin

    def get_config(self):
        own = {"margin": self.margin, "negatives": self.negatives, "similarity": self.similarity}
        return {**super().get_config(), **own, "literal": self.literal}


@keras.saving.register_keras_serializable("matchbox")
class PairedHinge(keras.losses.Loss):
    """One negative to each anchor, from the other half of the batch.

    sum_k [m - S(I_k, T_k) + S(I_k, T_n)]_+ + [m - S(I_k, T_k) + S(I_n, T_k)]_+ over the anchors k,
    the first floor(B / 2) rows; n = k + floor(B / 2). S is a similarity: the own pair must be ahead
    by m. A negative that belongs to the anchor counts 0.

    Args:
      margin: m > 0. The paper's 1 is seldom met by cosines of features >= 0: nearly linear.
      similarity: a name of `SIMILARITIES`.
      reduction: "sum", or "mean": that sum over B, as the paper's optimiser divides it.

    Reference: [Dual] the ranking loss; its code composes the batch so.
    """

    anchors = ("image", "text")  # see `blocks`
    of_pairs = True
    learnable = ("margin",)

    def __init__(self, margin=1.0, similarity="cosine", reduction="mean", name=None, **kwargs):
        super().__init__(name=name or "paired_hinge", reduction=reduction, **kwargs)
        if not margin > 0.0:
            raise ValueError(f"margin is {margin}; it must be above 0")
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity is {similarity!r}; choose {' or '.join(SIMILARITIES)}")
        self.margin, self.similarity = margin, similarity

    def call(self, relevance, embeddings):
        """Terms (B,) of relevance (B, B) and {"image", "text"} (B, D), image anchors first.

        The row of an odd batch that is neither anchor nor negative has 0.
        """
        scores = SIMILARITIES[self.similarity](embeddings["image"], embeddings["text"])
        size = ops.shape(scores)[0]
        anchors = ops.arange(size // 2)
        negatives = anchors + size // 2
        own = _at(scores, anchors, anchors)
        margin = embeddings.get("margin", self.margin)
        terms = [
            ops.where(_at(relevance, i, j) < SAME, margin - own + _at(scores, i, j), 0.0)
            for i, j in ((anchors, negatives), (negatives, anchors))
        ]
        rest = ops.zeros((size % 2,), scores.dtype)
        return ops.concatenate([*(ops.maximum(term, 0.0) for term in terms), rest])

    def anchor_terms(self, relevance, scores, own, numbers):
        """Terms (b,) of some rows, 0 where they are no anchors; see `blocks`."""
        size = ops.shape(scores)[1]
        other = ops.minimum(own + size // 2, size - 1)
        mine, theirs, shared = (
            ops.take_along_axis(matrix, place[:, None], axis=1)[:, 0]
            for matrix, place in ((scores, own), (scores, other), (relevance, other))
        )
        terms = ops.maximum(numbers.get("margin", self.margin) - mine + theirs, 0.0)
        return ops.where(ops.logical_and(own < size // 2, shared < SAME), terms, 0.0)

    def get_config(self):
        own = {"margin": self.margin, "similarity": self.similarity}
        return {**super().get_config(), **own}


def _at(matrix, rows, columns):
    """matrix[rows, columns] of a (B, B) matrix and equally many row and column numbers."""
    places = rows * ops.shape(matrix)[1] + columns
    return ops.take(ops.reshape(matrix, (-1,)), places)


@keras.saving.register_keras_serializable("matchbox")
class CrossEntropy(keras.losses.Loss):
    """Symmetric cross entropy of the own pair among the batch's negatives ("InfoNCE"): the terms of
    `cross_entropies`.

    Args:
      temperature: t > 0.
      similarity: a name of `SIMILARITIES`.
      reduction: "sum" over the 2 B anchors, or "mean".

    Reference: [CPC] Eq. 4, both directions as in CLIP (Radford et al., 2021).
    Differs from the paper: another caption of the same image stands in no denominator.
    """

    anchors = ("image", "text")  # see `blocks`
    learnable = ("temperature",)
    include_positive = True  # the own pair stands below the fraction, too

    def __init__(
        self, temperature=0.05, similarity="cosine", reduction="mean", name=None, **kwargs
    ):
        super().__init__(name=name or "cross_entropy", reduction=reduction, **kwargs)
        if not temperature > 0.0:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity is {similarity!r}; choose {' or '.join(SIMILARITIES)}")
        self.temperature, self.similarity = temperature, similarity

    def call(self, relevance, embeddings):
        """Terms (2, B) of relevance (B, B) and {"image", "text"} (B, D)."""
        temperature = embeddings.get("temperature", self.temperature)
        scores = self.scores(embeddings)
        return cross_entropies(scores, relevance, temperature, self.include_positive)

    def scores(self, embeddings):
        """(B, B) similarities of {"image", "text"} (B, D)."""
        return SIMILARITIES[self.similarity](embeddings["image"], embeddings["text"])

    def anchor_terms(self, relevance, scores, own, numbers):
        """Terms (b,) of some anchors, see `blocks`."""
        logits = scores / numbers.get("temperature", self.temperature)
        positive = ops.take_along_axis(logits, own[:, None], axis=1)[:, 0]
        mine = ops.equal(ops.arange(ops.shape(scores)[1])[None], own[:, None])  # (b, B)
        if self.include_positive:
            candidate = ops.logical_or(relevance < SAME, mine)
        else:
            candidate = ops.logical_and(relevance < SAME, ops.logical_not(mine))
        terms = ops.logsumexp(ops.where(candidate, logits, FAR), axis=1) - positive
        return ops.where(ops.any(candidate, axis=1), terms, 0.0)

    def get_config(self):
        own = {"temperature": self.temperature, "similarity": self.similarity}
        return {**super().get_config(), **own}
