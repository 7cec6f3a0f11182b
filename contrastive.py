"""Losses of System 4 and their kin: what belongs here has one term for each pair of a batch, of all
its negatives together, or has no negatives at all.

So `reduction="mean"` is the mean over the batch's pairs, both directions added. What is a negative,
and where trained numbers come from, is said in `ranking`.

Shape letters: B batch, D embedding.

References:
  [Smooth] Timofeev, Majkowska, Mlyniec, Blinova, Multi-modal retrieval with smooth weighting of
           negatives, EE-608 project, 2021, and its authors' code.
  [SimCLR] Chen et al., A simple framework for contrastive learning of visual representations, 2020.
  [Barlow] Zbontar et al., Barlow Twins: self-supervised learning via redundancy reduction, 2021.
  [SigLIP] Zhai et al., Sigmoid loss for language image pre-training, 2023.
"""

import keras
from keras import ops

from ranking import SAME, SIMILARITIES, CrossEntropy, Hinge

VARIANCE_FLOOR = 1e-5  # added to the variance: bounds the gradient where a column is constant


@keras.saving.register_keras_serializable("matchbox")
class PairHinge(Hinge):
    """Sum, maximum or mean of hinges over each pair's negatives, both directions added.

    l(i, c) = max_c' [m + s(i, c') - s(i, c)]_+ + max_i' [m + s(i', c) - s(i, c)]_+

    Args:
      margin, similarity, literal: see `Hinge`.
      negatives: "sum", "max" or "mean"; the mean is over all B - 1 others.
      reduction: "sum" over the B pairs, or "mean" (the paper's).

    Reference: [Smooth] the maximal triplet loss; the sum beside it.
    Differs from the paper: its code computes sum and maximum, throws both away and returns the mean
      of all B (B - 1) hinges of both directions: that is "mean" here, whatever it was called there.
      Another caption of the same image is no negative unless `literal`.
    """

    of_pairs = True  # see `blocks`
    kinds = ("sum", "max", "mean")

    def __init__(self, margin=0.2, negatives="sum", reduction="mean", name=None, **kwargs):
        name = name or f"{negatives}_triplet"
        super().__init__(margin, negatives, reduction=reduction, name=name, **kwargs)

    def call(self, relevance, embeddings):
        """Terms (B,) of relevance (B, B) and {"image", "text"} (B, D)."""
        of_images, of_texts = self.tables(relevance, embeddings)
        if self.negatives == "max":
            return ops.max(of_images, axis=1) + ops.max(of_texts, axis=0)
        total = ops.sum(of_images, axis=1) + ops.sum(of_texts, axis=0)
        if self.negatives == "sum":
            return total
        return total / others_of(total)

    def anchor_terms(self, relevance, scores, own, numbers):
        """Terms (b, B) or (b,) of some anchors, see `blocks`."""
        terms = super().anchor_terms(relevance, scores, own, numbers)
        return terms / others_of(terms) if self.negatives == "mean" else terms

    def plateau(self, batch_size):
        """The loss of a batch whose embeddings are all equal."""
        others = min(1, batch_size - 1) if self.negatives != "sum" else batch_size - 1
        return 2.0 * self.margin * others * (batch_size if self.reduction == "sum" else 1)


def others_of(terms):
    """B - 1, but 1 at least, of terms whose last axis is the batch, in their type."""
    return ops.cast(ops.maximum(ops.shape(terms)[-1] - 1, 1), terms.dtype)


@keras.saving.register_keras_serializable("matchbox")
class SimCLR(CrossEntropy):
    """The smooth maximum of the negatives against the own pair, both directions added.

    l(i, c) = -log exp(s(i, c) / t) / sum_{c' != c} exp(s(i, c') / t)
              -log exp(s(i, c) / t) / sum_{i' != i} exp(s(i', c) / t)

    Without the own pair in the sums it has no lower bound: it goes on pulling a pair apart from
    negatives that are far away already.

    Args:
      temperature: t > 0.
      include_positive: the own pair stands in both sums, as in InfoNCE; the value is then >= 0.
      similarity: a name of `ranking.SIMILARITIES`.
      reduction: "sum" over the B pairs, or "mean" (the paper's).

    Reference: [Smooth] the smoothed loss.
    Differs from the paper: another caption of the same image stands in no sum. [SimCLR] itself has
      the own pair in the sum, and negatives of the same modality too.
    """

    of_pairs = True  # see `blocks`

    def __init__(
        self, temperature=0.07, include_positive=False, reduction="mean", name=None, **kwargs
    ):
        super().__init__(temperature, reduction=reduction, name=name or "simclr", **kwargs)
        self.include_positive = include_positive

    def call(self, relevance, embeddings):
        """Terms (B,) of relevance (B, B) and {"image", "text"} (B, D)."""
        return ops.sum(super().call(relevance, embeddings), axis=0)

    def get_config(self):
        return {**super().get_config(), "include_positive": self.include_positive}


def sigmoid_terms(scores, relevance, temperature, bias, own=None):
    """-sum_j log sigmoid(z_ij (S_ij / t + b)), z = 1 for the own pair and -1 for a negative.

    Args:
      scores: (B, B), images in rows; or some of these rows.
      relevance: (B, B) in [0, 1]; 1 for items that belong together; or those rows of it.
      temperature: t > 0; bias: b, below 0 because most pairs are negatives.
      own: (b,) columns of the own pairs, where there are but some rows.

    Returns:
      (B,) or (b,) terms >= 0, of each image with all texts.
    """
    logits = scores / temperature + bias
    column = ops.arange(ops.shape(logits)[1])
    pair = ops.equal(column[None], (column if own is None else own)[:, None])
    terms = ops.softplus(ops.where(pair, -logits, logits))
    return ops.sum(ops.where(ops.logical_or(pair, relevance < SAME), terms, 0.0), axis=1)


@keras.saving.register_keras_serializable("matchbox")
class Sigmoid(keras.losses.Loss):
    """Every pair of the batch by itself: does this text belong to this image? `sigmoid_terms`.

    Args:
      temperature: t > 0; the paper's factor exp(t') is 1 / t and starts at 10.
      bias: b. Both are trained in the paper: see `learned`.
      similarity: a name of `ranking.SIMILARITIES`.
      reduction: "sum" over all pairs, or "mean": that sum over B (the paper).

    Reference: [SigLIP] Algorithm 1.
    Differs from the paper: another caption of the same image is left out.
    """

    anchors = ("image",)  # see `blocks`: each pair counts once
    learnable = ("temperature", "bias")

    def __init__(
        self,
        temperature=0.1,
        bias=-10.0,
        similarity="cosine",
        reduction="mean",
        name=None,
        **kwargs,
    ):
        super().__init__(name=name or "sigmoid", reduction=reduction, **kwargs)
        if not temperature > 0.0:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity is {similarity!r}; choose {' or '.join(SIMILARITIES)}")
        self.temperature, self.bias, self.similarity = temperature, bias, similarity

    def call(self, relevance, embeddings):
        """Terms (B,) of relevance (B, B) and {"image", "text"} (B, D)."""
        scores = SIMILARITIES[self.similarity](embeddings["image"], embeddings["text"])
        temperature = embeddings.get("temperature", self.temperature)
        return sigmoid_terms(scores, relevance, temperature, embeddings.get("bias", self.bias))

    def anchor_terms(self, relevance, scores, own, numbers):
        """Terms (b,) of some images, see `blocks`."""
        temperature = numbers.get("temperature", self.temperature)
        return sigmoid_terms(scores, relevance, temperature, numbers.get("bias", self.bias), own)

    def get_config(self):
        own = {"temperature": self.temperature, "bias": self.bias, "similarity": self.similarity}
        return {**super().get_config(), **own}


def cross_correlation(image, text):
    """C_ij = mean over the batch of z_i w_j, z and w the two sides with mean 0 and variance 1.

    Args:
      image, text: (B, D) float32 rows of any length.

    Returns:
      (D, D) in [-1, 1]; columns of image in rows. A column that is constant in the batch has 0.

    Reference: [Barlow] Eq. 2; the batch norm of its code: biased variance, no affine map.
    """
    size = ops.cast(ops.shape(image)[0], image.dtype)
    image, text = (
        (side - ops.mean(side, axis=0)) * ops.rsqrt(ops.var(side, axis=0) + VARIANCE_FLOOR)
        for side in (image, text)
    )
    return ops.matmul(ops.transpose(image), text) / size


@keras.saving.register_keras_serializable("matchbox")
class BarlowTwins(keras.losses.Loss):
    """Equal coordinates of a pair agree over the batch, different ones are uncorrelated.

    sum_i (1 - C_ii)^2 + w sum_i sum_{j != i} C_ij^2, C of `cross_correlation`. There are no
    negatives: what is alike in relevance says nothing here.

    Args:
      redundancy: w >= 0.
      reduction: "sum" and "mean" are the same: C is of the whole batch, and its loss one number.

    Attributes:
      raw: it reads the towers' rows before their L2 norm, as the paper does.
      heeds_relevance: it does not, so that nobody need make a B x B matrix.

    Reference: [Barlow] Eq. 1; [Smooth] with w = 0.005.
    """

    raw, heeds_relevance = True, False

    def __init__(self, redundancy=5e-3, reduction="sum", name=None, **kwargs):
        super().__init__(name=name or "barlow", reduction=reduction, **kwargs)
        if not redundancy >= 0.0:
            raise ValueError(f"redundancy is {redundancy}; it must be 0 or more")
        self.redundancy = redundancy

    def call(self, relevance, embeddings):
        """One number, of {"image", "text"} (B, D)."""
        correlation = cross_correlation(embeddings["image"], embeddings["text"])
        own = ops.sum(ops.square(1.0 - ops.diagonal(correlation)))
        pair = ops.eye(ops.shape(correlation)[0], dtype=correlation.dtype)
        return own + self.redundancy * ops.sum(ops.square(correlation * (1.0 - pair)))

    def get_config(self):
        return {**super().get_config(), "redundancy": self.redundancy}
