"""Losses: each a pure formula, and a small Keras class that holds its hyper-parameters.

Every loss is called as `loss(relevance, {"image": z, "text": t})`. Row b of z and of t is one pair;
both have L2 norm 1. `relevance[i, j]` in [0, 1] says how well image i fits text j: 1 for the same
image, else the cosine of the two images' concept (or TF-IDF) vectors. What counts as a positive and
what as a negative is read from it alone, so another caption of the same image is never a negative.

The functions return the terms of the sum, unreduced, so that `reduction="sum"` is the papers' form
and `"mean"` the mean over the same terms.

Shape letters: B batch, D embedding.

References:
  [IRSE]  M. Sijmkens, IRSE project report, 2021, and its assignment's Eq. 6 to 11.
  [Wang]  Wang, Li, Lazebnik, Learning deep structure-preserving image-text embeddings, CVPR 2016.
"""

import keras
from keras import ops

from contrastive import BarlowTwins, PairHinge, Sigmoid, SimCLR
from ranking import SAME, CrossEntropy, Hinge, PairedHinge

EPSILON = 1e-12  # inside the square root: its gradient at distance 0 would be infinite


def relevance_matrix(
    image_id, concepts=None, similarity=None, literal=False, text_id=None, cells=(None, None)
):
    """How well image i fits text j: 1 for the same image, else how alike the two images are.

    Args:
      image_id: (B,) int32, the image of each pair.
      concepts: (B, K) float32 >= 0 or None; alike is then the cosine of these rows.
      similarity: (B, B) float32 or None; alike is then given (TF-IDF cosine of the captions).
      literal: with concepts, leave the own pairs at their cosine too. An image without any concept
        then has s = 0 with its own caption, which pushes the two apart: what the formula says.
      text_id: (B,) int32, the image of each text, where texts were exchanged; else `image_id`.
      cells: numbers of the images and of the texts that are wanted; None: all.

    Returns:
      (B, B) float32 in [0, 1], or those rows and columns of it.

    Reference: [IRSE] assignment, s_ij before Eq. 6.
    Differs from the paper: the own pairs are 1 unless `literal`.
    """
    text_id = image_id if text_id is None else text_id

    def wanted(values, side, axis=0):
        return values if cells[side] is None else ops.take(values, cells[side], axis=axis)

    same = ops.equal(wanted(image_id, 0)[:, None], wanted(text_id, 1)[None, :])  # (B, B)
    if similarity is None:
        alike = ops.zeros_like(same, dtype="float32")
    else:
        alike = wanted(wanted(similarity, 0), 1, axis=1)
    if concepts is not None:
        norms = ops.sqrt(ops.sum(ops.square(concepts), axis=1, keepdims=True))
        unit = concepts / ops.maximum(norms, EPSILON)  # a row of zeros stays zero
        alike = ops.matmul(wanted(unit, 0), ops.transpose(wanted(unit, 1)))
        if literal:
            return ops.clip(alike, 0.0, 1.0)
    return ops.where(same, 1.0, ops.clip(alike, 0.0, 1.0))


def squared_distances(a, b):
    """D_ij^2 = |a_i - b_j|^2 = 2 - 2 a_i.b_j of unit rows.

    Args:
      a, b: (B, D) float32 rows of L2 norm 1.

    Returns:
      (B, B) float32 in [0, 4].
    """
    return ops.maximum(2.0 - 2.0 * ops.matmul(a, ops.transpose(b)), 0.0)


def distances(squared):
    """D from D^2, with a finite gradient (0) where D = 0."""
    # maximum() passes no gradient to the smaller side: pairs at distance 0 stay where they are.
    return ops.sqrt(ops.maximum(squared, EPSILON))


def assignment_terms(relevance, squared, alpha, margin):
    """a1 s_ij D_ij^2 + a2 max(0, 1[s_ij = 0] (c - D_ij^2)), a2 = alpha, a1 = 1 - alpha.

    Args:
      relevance: (B, B) s in [0, 1].
      squared: (B, B) D^2 in [0, 4].
      alpha: weight a2 of the repulsion, in [0, 1].
      margin: c > 0, compared with the SQUARED distance (the modified loss compares D).

    Returns:
      (B, B) terms, all >= 0.

    Reference: [IRSE] assignment, Eq. 6.
    """
    unrelated = ops.cast(ops.equal(relevance, 0.0), squared.dtype)
    attraction = relevance * squared
    repulsion = ops.maximum(unrelated * (margin - squared), 0.0)
    return (1.0 - alpha) * attraction + alpha * repulsion


def modified_terms(relevance, squared, alpha, margin):
    """a1 1[s_ij = 1] D_ij^2 + a2 max(0, (1 - s_ij) c - D_ij)^2, the margin scaled by dissimilarity.

    Args:
      relevance: (B, B) s in [0, 1]; s >= 1 - 1e-6 counts as 1.
      squared: (B, B) D^2 in [0, 4].
      alpha: weight a2 of the repulsion, in [0, 1].
      margin: c > 0, compared with the distance D in [0, 2].

    Returns:
      (B, B) terms, all >= 0.

    Reference: [IRSE] section 2.
    Differs from the paper: it prints max(0, (.)^2), a hinge that never closes and pulls far pairs
      back to distance (1 - s) c. Here, as in its author's code, the square stands outside.
    """
    same = ops.cast(ops.greater_equal(relevance, SAME), squared.dtype)
    shortfall = ops.maximum((1.0 - relevance) * margin - distances(squared), 0.0)
    return (1.0 - alpha) * same * squared + alpha * ops.square(shortfall)


def triplet_terms(positive, negative, margin, weight=1.0):
    """w_i max(0, c_i + d(a_i, p_i) - d(a_i, n_i)).

    Args:
      positive, negative: (B,) distances (squared or plain) of an anchor to its own pair and to one
        negative.
      margin: c, a number or (B,).
      weight: w, a number or (B,).

    Returns:
      (B,) terms, all >= 0.

    Reference: [IRSE] assignment, part 2 (Eq. 8 to 11).
    """
    return weight * ops.maximum(margin + positive - negative, 0.0)


def next_negatives(relevance, own=None):
    """For every anchor i the first j after i (going round) that is no positive.

    Batches are drawn in random order, so this neighbour is a uniformly random negative, without a
    random state that replicas or a resumed run would have to share.

    Args:
      relevance: (B, B), rows are anchors; or some of its rows, `own` (b,) their places in it.

    Returns:
      (B,) or (b,) int32 columns; for an anchor that has only positives, one of these.
    """
    size = ops.shape(relevance)[1]
    column = ops.arange(size)
    row = column if own is None else own
    steps = ops.mod(column[None, :] - row[:, None], size)  # (B, B) how far j stands behind i
    steps = ops.where(relevance >= SAME, size, steps)
    return ops.argmin(steps, axis=1)


def hardest_negatives(relevance, dissimilarity):
    """For every anchor the nearest candidate that is no positive.

    Args:
      relevance, dissimilarity: (B, B), or some rows of it; rows are anchors.

    Returns:
      (B,) int32 columns.

    Reference: [IRSE] assignment, part 2 (hard negatives).
    Differs from the paper: its code leaves out only the own pair, here every positive is left out.
    """
    return ops.argmin(ops.where(relevance >= SAME, float("inf"), dissimilarity), axis=1)


class PairwiseLoss(keras.losses.Loss):
    """A loss that sums over all B x B image-text pairs.

    Args:
      alpha: a2, weight of the repulsion; the attraction has a1 = 1 - alpha. In [0, 1].
      margin: c > 0.
      reduction: "sum" over the batch's B x B matrix (the paper; its learning rate belongs to it) or
        "mean" over its entries (then the same step needs a rate B^2 times larger).
    """

    terms = staticmethod(assignment_terms)
    anchors = ("image",)  # see `blocks`: each pair counts once

    def __init__(self, alpha=0.5, margin=0.5, reduction="sum", name=None, **kwargs):
        super().__init__(name=name or self.__class__.__name__, reduction=reduction, **kwargs)
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha is {alpha}; it must lie between 0 and 1")
        if not margin > 0.0:
            raise ValueError(f"margin is {margin}; it must be above 0")
        self.alpha, self.margin = alpha, margin

    def call(self, relevance, embeddings):
        """Terms (B, B), unreduced, of relevance (B, B) and {"image": (B, D), "text": (B, D)}."""
        squared = squared_distances(embeddings["image"], embeddings["text"])
        return self.terms(relevance, squared, self.alpha, self.margin)

    def anchor_terms(self, relevance, scores, own, numbers):
        """Terms (b, B) of some anchors, see `blocks`."""
        squared = ops.maximum(2.0 - 2.0 * scores, 0.0)
        return self.terms(relevance, squared, self.alpha, self.margin)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "margin": self.margin}


class Assignment(PairwiseLoss):
    """The course assignment's contrastive loss, `assignment_terms`: [IRSE] assignment, Eq. 6."""


class Modified(PairwiseLoss):
    """The report's contrastive loss with a scaled margin, `modified_terms`: [IRSE] section 2."""

    terms = staticmethod(modified_terms)


class Triplet(keras.losses.Loss):
    """Triplet losses of the course's second part, image anchors and text anchors both.

    sum_i w_i [c_i + d(x_i, z_i) - d(x_i, z_n)]_+ + sum_j w_j [c_j + d(x_j, z_j) - d(x_n, z_j)]_+

    Args:
      margin: c > 0 (c0 of the soft margin).
      negatives: "random" (the next one in the batch, which is in random order) or "hardest".
      soft: None; "weight": the term is multiplied by s, the relevance between anchor and negative,
        so near misses weigh more; "margin": the margin is c0 ln(1 + s). Both need graded relevance:
        where s is 0 for every negative they vanish.
      squared: compare squared distances (the assignment) or plain ones (its author's code).
      reduction: "sum" over the 2 B anchors or "mean" over them.

    Reference: [IRSE] assignment, part 2, Eq. 8 to 11.
    """

    def __init__(
        self,
        margin=0.5,
        negatives="random",
        soft=None,
        squared=True,
        reduction="sum",
        name=None,
        **kwargs,
    ):
        super().__init__(name=name or self.__class__.__name__, reduction=reduction, **kwargs)
        if not margin > 0.0:
            raise ValueError(f"margin is {margin}; it must be above 0")
        if negatives not in ("random", "hardest"):
            raise ValueError(f"negatives is {negatives!r}; choose random or hardest")
        if soft not in (None, "weight", "margin"):
            raise ValueError(f"soft is {soft!r}; choose None, weight or margin")
        self.margin, self.negatives, self.soft, self.squared = margin, negatives, soft, squared

    def call(self, relevance, embeddings):
        """Terms (2B,), image anchors first, of relevance (B, B) and the two embeddings (B, D)."""
        dissimilarity = squared_distances(embeddings["image"], embeddings["text"])
        if not self.squared:
            dissimilarity = distances(dissimilarity)
        sides = (relevance, dissimilarity), (ops.transpose(relevance), ops.transpose(dissimilarity))
        return ops.concatenate([self._one_side(r, d) for r, d in sides])

    anchors = ("image", "text")

    def anchor_terms(self, relevance, scores, own, numbers):
        """Terms (b,) of some anchors, see `blocks`."""
        dissimilarity = ops.maximum(2.0 - 2.0 * scores, 0.0)
        if not self.squared:
            dissimilarity = distances(dissimilarity)
        return self._one_side(relevance, dissimilarity, own)

    def _one_side(self, relevance, dissimilarity, own=None):
        """Terms (B,) with the rows as anchors; 0 for an anchor that has no negative."""
        if self.negatives == "random":
            chosen = next_negatives(relevance, own)
        else:
            chosen = hardest_negatives(relevance, dissimilarity)
        if own is None:
            positive = ops.diagonal(dissimilarity)
        else:
            positive = ops.take_along_axis(dissimilarity, own[:, None], axis=1)[:, 0]
        negative = ops.take_along_axis(dissimilarity, chosen[:, None], axis=1)[:, 0]
        shared = ops.take_along_axis(relevance, chosen[:, None], axis=1)[:, 0]
        margin, weight = self.margin, 1.0
        if self.soft == "margin":
            margin = self.margin * ops.log1p(shared)
        elif self.soft == "weight":
            weight = shared
        terms = triplet_terms(positive, negative, margin, weight)
        return ops.where(shared >= SAME, 0.0, terms)

    def get_config(self):
        own = {"margin": self.margin, "negatives": self.negatives, "soft": self.soft}
        return {**super().get_config(), **own, "squared": self.squared}


def build_loss(name, **settings):
    """The loss called `name`, with those of `settings` that it takes; None leaves its own default.

    Raises:
      ValueError: there is no such loss; the names are listed.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}: choose from {', '.join(LOSSES)}")
    cls, fixed, known = LOSSES[name]
    chosen = {key: settings.get(key) for key in (*known, "reduction")}
    return cls(**fixed, **{key: value for key, value in chosen.items() if value is not None})


PAIRWISE, TRIPLET = ("alpha", "margin"), ("margin", "squared")
HINGE, ENTROPY = ("margin", "similarity", "literal"), ("temperature", "similarity")
LOSSES = {
    "modified": (Modified, {}, PAIRWISE),
    "assignment": (Assignment, {}, PAIRWISE),
    "random_triplet": (Triplet, {"negatives": "random"}, TRIPLET),
    "hardest_triplet": (Triplet, {"negatives": "hardest"}, TRIPLET),
    "soft_weight_triplet": (Triplet, {"negatives": "random", "soft": "weight"}, TRIPLET),
    "soft_margin_triplet": (Triplet, {"negatives": "random", "soft": "margin"}, TRIPLET),
    "sum_hinge": (Hinge, {"negatives": "sum"}, HINGE),
    "max_hinge": (Hinge, {"negatives": "max"}, HINGE),
    "paired_hinge": (PairedHinge, {}, ("margin", "similarity")),
    "cross_entropy": (CrossEntropy, {}, ENTROPY),
    "sum_triplet": (PairHinge, {"negatives": "sum"}, HINGE),
    "max_triplet": (PairHinge, {"negatives": "max"}, HINGE),
    "mean_triplet": (PairHinge, {"negatives": "mean"}, HINGE),
    "simclr": (SimCLR, {}, (*ENTROPY, "include_positive")),
    "sigmoid": (Sigmoid, {}, (*ENTROPY, "bias")),
    "barlow": (BarlowTwins, {}, ("redundancy",)),
}
