"""Losses: one formula each, for a whole batch, for parts of it and for replicas.

A loss is called as `loss(relevance, image, text)`. Row b of image and of text are the embeddings of
one pair, of norm 1. `relevance[i, j]` in [0, 1] says how well image i fits text j: 1 for the same
image, else how alike the two images are.

Most losses are one method, `terms`: the terms of some anchors, each with all candidates of the
other side. Images are anchors of the score matrix, texts of its transpose. A whole batch is one
block of anchors; `systems.engine.blocks` adds up smaller blocks to save memory.

Shape letters: B batch, b anchors of a block, D embedding, K concepts.
Hyper-parameters, whose published values are in `recipes/`; some defaults are ours:
  reduction: "sum" of the terms, or "mean" over them; of a loss `of_pairs` the sum over B.
  alpha in [0, 1]; margin and temperature above 0; similarity, a name of `SIMILARITIES`.
  paper_negatives: another caption of the same image is a negative, as in the papers.

References:
  [IRSE]   M. Sijmkens, IRSE project report, 2021, and its assignment's Eq. 6 to 11.
  [FNE]    Vilalta et al., The full-network embedding in multimodal pipelines, 2019, Eq. 1 to 4.
  [Smooth] Timofeev et al., Multi-modal retrieval with smooth weighting of negatives, 2021.
"""

import importlib
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, dataclass_transform

SAME = 1.0 - 1e-6  # relevance of items that belong together: equal cosines come out as 0.9999999
FAR = -1e9  # score of what is no candidate
EPSILON = 1e-12  # inside the square root: its gradient at distance 0 would be infinite
VARIANCE_FLOOR = 1e-5  # added to the variance: bounds the gradient where a column is constant


class _Ops:
    """`keras.ops`, imported at first use: `--help` lists the losses without importing Keras."""

    def __getattr__(self, name):
        return getattr(importlib.import_module("keras.ops"), name)


ops: Any = _Ops()


# ---- Relevance and similarities -----------------------------------------------------------------
def relevance_matrix(
    image_id, concepts=None, similarity=None, literal=False, text_id=None, cells=(None, None)
):
    """How well image i fits text j: 1 for the same image, else how alike the two images are.

    Args:
      image_id: (B,) int32, the image of each pair.
      concepts: (B, K) float32 >= 0, concept labels whose cosine says how alike images are; or None.
      similarity: (B, B) float32, TF-IDF cosines of captions, for the same; or None.
      literal: keep the cosine of an own pair, as in the formula: 0 for an image without concepts.
      text_id: (B,) int32, the image of each text, if texts were exchanged; None: `image_id`.
      cells: row numbers of the wanted images and texts, (b,) int32 each; None: all.

    Returns:
      (B, B) float32 in [0, 1], s_ij of the [IRSE] assignment; or the wanted cells of it.
    """
    text_id = image_id if text_id is None else text_id

    def wanted(values, side, axis=0):
        return values if cells[side] is None else ops.take(values, cells[side], axis=axis)

    same = ops.equal(wanted(image_id, 0)[:, None], wanted(text_id, 1)[None, :])  # (B, B)
    alike = ops.zeros_like(same, dtype="float32")
    if concepts is not None:
        norms = ops.sqrt(ops.sum(ops.square(concepts), axis=1, keepdims=True))
        unit = concepts / ops.maximum(norms, EPSILON)  # a row of zeros stays zero
        alike = ops.matmul(wanted(unit, 0), ops.transpose(wanted(unit, 1)))
    elif similarity is not None:
        alike = wanted(wanted(similarity, 0), 1, axis=1)
    alike = ops.clip(alike, 0.0, 1.0)
    return alike if literal and concepts is not None else ops.where(same, 1.0, alike)


def cosines(image, text):
    """S(c, i) = c . i of unit rows (B, D): (B, B) in [-1, 1], images in rows. [FNE] Eq. 2."""
    return ops.matmul(image, ops.transpose(text))


def order_similarities(image, text):
    """S(c, i) = -sum_k max(0, c_k - i_k)^2, in [-4, 0]. Vendrov et al., ICLR 2016, Eq. 2."""
    excess = ops.maximum(text[None, :, :] - image[:, None, :], 0.0)  # (B images, B texts, D)
    return -ops.sum(ops.square(excess), axis=-1)


SIMILARITIES = {"cosine": cosines, "order": order_similarities}


def squared_distances(cosine):
    """D^2 = |a - b|^2 = 2 - 2 a.b in [0, 4], from cosines of unit rows."""
    return ops.maximum(2.0 - 2.0 * cosine, 0.0)


def root(squared):
    """D from D^2, with a finite gradient (0) where D = 0."""
    # maximum() passes no gradient to the smaller side, so pairs at distance 0 do not move.
    return ops.sqrt(ops.maximum(squared, EPSILON))


# ---- What every loss is -------------------------------------------------------------------------
LOSSES: dict[str, Any] = {}  # {value of --loss: function that makes the loss}
EXPECTED = {  # {hyper-parameter: (test of a value, what was expected)}
    "alpha": (lambda value: 0.0 <= value <= 1.0, "a number from 0 to 1"),
    "margin": (lambda value: value > 0.0, "a number above 0"),
    "temperature": (lambda value: value > 0.0, "a number above 0"),
    "barlow_lambda": (lambda value: value >= 0.0, "a number of 0 or more"),
    "similarity": (lambda value: value in SIMILARITIES, " or ".join(SIMILARITIES)),
    "reduction": (lambda value: value in ("sum", "mean"), "sum or mean"),
}


@dataclass_transform()
def loss(name, **fixed):
    """Class decorator: makes a dataclass of the hyper-parameters and enters it in `LOSSES`.

    Args:
      name: value of --loss; fixed: hyper-parameters with a fixed value for this name.
    """

    def enter(cls):
        LOSSES[name] = partial(dataclass(cls), **fixed)
        return cls

    return enter


class Anchors:
    """Some embeddings of one side, each with all embeddings of the other side, its candidates."""

    def __init__(self, scores, relevance, own):
        self.scores, self.relevance = scores, relevance  # (b, B), higher is better; in [0, 1]
        self.own = own  # (b,) int32, the column of each anchor's own pair
        self.positive = self.at(scores, own)  # (b,) scores of the own pairs
        self.pair = ops.equal(ops.arange(ops.shape(scores)[1])[None], own[:, None])  # (b, B) bool
        self.negative = (relevance < SAME) & ~self.pair  # (b, B) bool

    def at(self, matrix, columns):
        """(b,) values, one of each row of a (b, B) matrix; columns: (b,) int32."""
        # From the flat matrix, because the gradient of take_along_axis takes twice the time.
        rows, width = ops.shape(matrix)
        return ops.take(ops.reshape(matrix, (-1,)), ops.arange(rows) * width + columns)


@dataclass
class PairLoss:
    """Base class: the sum or mean of the terms of all anchors."""

    reduction: str = "sum"
    similarity = "cosine"
    learnable = ()  # hyper-parameters that can be trained with the towers
    usually_learned = ()  # those that are trained in the paper
    sides = ("image", "text")  # which are anchors; ("image",): each cell of (B, B) counts once
    of_pairs = False  # the mean is over the B pairs, not over the terms
    raw = False  # it reads embeddings before their L2 normalisation
    heeds_relevance = True  # else relevance may be ()
    kinds = ()  # allowed values of `negatives`

    def __post_init__(self):
        known = {"negatives": (self.kinds.__contains__, " or ".join(self.kinds))}
        for name, (holds, wanted) in (EXPECTED | known).items():
            if name in vars(self) and not holds(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected {wanted}")

    def terms(self, anchors, *args: Any, **numbers: Any) -> Any:
        """(b,) or (b, B) float32 terms of `Anchors`; numbers: values of `learnable`, by name."""
        raise NotImplementedError(f"{type(self).__name__} has no method terms")

    def scores(self, image, text):
        """(B, B) float32 similarities of image and text (B, D), higher is better."""
        return SIMILARITIES[self.similarity](image, text)

    def numbers(self, trained):
        """{name: number} for `terms`: the trained value if there is one, else the loss's own."""
        trained = {name: ops.cast(value, "float32") for name, value in trained.items()}
        return {name: getattr(self, name) for name in self.learnable} | trained

    def divisor(self, count, pairs):
        """The divisor of a sum of `count` terms of `pairs` pairs."""
        over = {"sum": 1, "mean": pairs if self.of_pairs else count}
        return ops.cast(over[self.reduction], "float32")

    def __call__(self, relevance, image, text, **numbers):
        """The loss, a float32 scalar; relevance: (B, B) in [0, 1]; image, text: (B, D)."""
        image, text = (ops.convert_to_tensor(side, "float32") for side in (image, text))
        scores, pairs = self.scores(image, text), ops.shape(image)[0]
        relevance, own = ops.convert_to_tensor(relevance, "float32"), ops.arange(pairs)
        blocks = [Anchors(scores, relevance, own)]
        if "text" in self.sides:
            blocks.append(Anchors(ops.transpose(scores), ops.transpose(relevance), own))
        terms = [self.terms(block, **self.numbers(numbers)) for block in blocks]
        return sum(map(ops.sum, terms)) / self.divisor(sum(map(ops.size, terms)), pairs)


# ---- The assignment -----------------------------------------------------------------------------
@loss("assignment")
class Assignment(PairLoss):
    """a1 s_ij D_ij^2 + a2 max(0, 1[s_ij = 0] (c - D_ij^2)) over all pairs; a2 = alpha, a1 = 1 - a2.

    The margin c is compared with the SQUARED distance, in [0, 4]. The paper has the sum; the mean
    needs a learning rate B^2 times as large.
    Reference: [IRSE] assignment, Eq. 6.
    """

    alpha: float = 0.7
    margin: float = 1.25
    sides = ("image",)

    def terms(self, anchors):
        squared = squared_distances(anchors.scores)
        unrelated = ops.cast(ops.equal(anchors.relevance, 0.0), squared.dtype)
        repulsion = ops.maximum(unrelated * (self.margin - squared), 0.0)
        return (1.0 - self.alpha) * (anchors.relevance * squared) + self.alpha * repulsion


@loss("modified")
class Modified(Assignment):
    """a1 1[s_ij = 1] D_ij^2 + a2 max(0, (1 - s_ij) c - D_ij)^2, the margin scaled by dissimilarity.

    The margin c is compared with the distance D, in [0, 2].
    Reference: [IRSE] section 2.
    Differs from the paper: it has max(0, (.)^2), which is never 0 and pulls far pairs back to the
      distance (1 - s) c. Here, as in its author's code, the square is outside the maximum.
    """

    def terms(self, anchors):
        squared = squared_distances(anchors.scores)
        same = ops.cast(ops.greater_equal(anchors.relevance, SAME), squared.dtype)
        shortfall = ops.maximum((1.0 - anchors.relevance) * self.margin - root(squared), 0.0)
        return (1.0 - self.alpha) * same * squared + self.alpha * ops.square(shortfall)


@loss("soft_margin_triplet", negatives="soft_margin")
@loss("soft_weight_triplet", negatives="soft_weight")
@loss("hardest_triplet", negatives="hardest")
@loss("random_triplet", negatives="random")
class Triplet(PairLoss):
    """w_i max(0, c_i + d(a_i, p_i) - d(a_i, n_i)) of each anchor a, its positive p, one negative n.

    d is D^2 if `squared` (the assignment), else D (its author's code). s is the relevance between
    anchor and negative. "soft_weight" has w = s, "soft_margin" c_i = c ln(1 + s), else w = 1 and
    c_i = c. Both soft variants are 0 where s is 0, so they need graded relevance.
    Reference: [IRSE] assignment, part 2, Eq. 8 to 11.
    """

    margin: float = 1.25
    squared: bool = True
    negatives: str = "random"
    kinds = ("random", "hardest", "soft_weight", "soft_margin")

    def terms(self, anchors):
        squared = squared_distances(anchors.scores)
        distance = squared if self.squared else root(squared)
        chosen = self.chosen(anchors, distance)
        positive, negative = (anchors.at(distance, where) for where in (anchors.own, chosen))
        s = anchors.at(anchors.relevance, chosen)
        margin = self.margin * (ops.log1p(s) if self.negatives == "soft_margin" else 1.0)
        terms = ops.maximum(margin + positive - negative, 0.0)
        terms = s * terms if self.negatives == "soft_weight" else terms
        return ops.where(ops.any(anchors.negative, axis=1), terms, 0.0)

    def chosen(self, anchors, distance):
        """(b,) int32 columns: each anchor's nearest negative, or the first after its own pair."""
        if self.negatives == "hardest":
            return ops.argmin(ops.where(anchors.negative, distance, float("inf")), axis=1)
        # Batches are in random order, so the next negative, cyclically, is a uniformly random one.
        # It needs no random state, which replicas and resumed runs would have to share.
        size = ops.shape(distance)[1]
        steps = ops.mod(ops.arange(size)[None, :] - anchors.own[:, None], size)  # (b, B)
        return ops.argmin(ops.where(anchors.negative, steps, size), axis=1)


# ---- Hinges -------------------------------------------------------------------------------------
@loss("max_hinge", negatives="max")
@loss("sum_hinge", negatives="sum")
class Hinge(PairLoss):
    """Sum or maximum over each anchor's negatives k of [m + S(a, k) - S(a, own)]_+.

    If all embeddings are equal (`plateau`), the gradient is near 0, and training with the maximum
    may stop there. The mean is over the 2 B^2 cells of the sum, or the 2 B anchors of the maximum.
    Reference: [FNE] Eq. 1 (sum) and Eq. 4 (maximum). Sum: Kiros et al., 2014; maximum: Faghri et
      al., VSE++, BMVC 2018.
    Differs from [FNE]: its code takes the maximum along the other axis, over anchors.
    """

    margin: float = 0.2
    similarity: str = "cosine"
    paper_negatives: bool = False
    negatives: str = "sum"
    learnable, kinds = ("margin",), ("sum", "max")

    def terms(self, anchors, margin):
        counts = ~anchors.pair if self.paper_negatives else anchors.negative
        hinges = ops.maximum(margin + anchors.scores - anchors.positive[:, None], 0.0)
        hinges = ops.where(counts, hinges, 0.0)
        if self.negatives == "mean":
            others = ops.maximum(ops.shape(hinges)[1] - 1, 1)
            return ops.sum(hinges, axis=1) / ops.cast(others, hinges.dtype)
        return ops.max(hinges, axis=1) if self.negatives == "max" else hinges

    def plateau(self, batch_size):
        """The loss of a batch whose embeddings are all equal, so that every hinge is m."""
        equal = ops.zeros((batch_size, 1))
        return float(self(ops.eye(batch_size), equal, equal))


@loss("mean_triplet", negatives="mean")
@loss("max_triplet", negatives="max")
@loss("sum_triplet", negatives="sum")
class PairHinge(Hinge):
    """Sum, maximum or mean (over B - 1) of hinges over each pair's negatives, both ways added.

    Reference: [Smooth] the maximal triplet loss; the sum beside it.
    Differs from the paper: its code computes sum and maximum but returns the mean of all hinges,
      which is "mean" here.
    """

    reduction: str = "mean"
    of_pairs, kinds = True, ("sum", "max", "mean")


@loss("paired_hinge")
class PairedHinge(PairLoss):
    """[m - S(k, own) + S(k, n)]_+ of one negative n for each anchor k, from the other half batch.

    Anchors k are the first floor(B / 2) rows of both sides; n = k + floor(B / 2). The term is 0 if
    n belongs to the anchor. The paper's m = 1 is almost always active for features >= 0.
    Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
      the ranking loss; its code pairs the halves of a batch so, and divides the sum by B.
    """

    margin: float = 1.0
    similarity: str = "cosine"
    reduction: str = "mean"
    of_pairs, learnable = True, ("margin",)

    def terms(self, anchors, margin):
        size = ops.shape(anchors.scores)[1]
        other = ops.minimum(anchors.own + size // 2, size - 1)
        terms = ops.maximum(margin - anchors.positive + anchors.at(anchors.scores, other), 0.0)
        negative = anchors.at(anchors.relevance, other) < SAME
        return ops.where((anchors.own < size // 2) & negative, terms, 0.0)


# ---- Cross entropies, and no negatives at all ---------------------------------------------------
@loss("cross_entropy")
class CrossEntropy(PairLoss):
    """-log exp(S_own / t) / (exp(S_own / t) + sum_k exp(S_k / t)) over each anchor's negatives k.

    Reference: van den Oord et al., Representation learning with contrastive predictive coding,
      2018, Eq. 4 (InfoNCE); both directions as in CLIP (Radford et al., 2021).
    """

    temperature: float = 0.05
    similarity: str = "cosine"
    reduction: str = "mean"
    learnable = ("temperature",)
    include_positive = True  # the denominator includes the own pair

    def terms(self, anchors, temperature):
        logits = anchors.scores / temperature
        candidate = anchors.negative | anchors.pair if self.include_positive else anchors.negative
        below = ops.logsumexp(ops.where(candidate, logits, FAR), axis=1)
        some = ops.any(candidate, axis=1)  # an anchor without candidates adds 0
        return ops.where(some, below - anchors.at(logits, anchors.own), 0.0)


@loss("simclr")
class SimCLR(CrossEntropy):
    """-log exp(S_own / t) / sum_k exp(S_k / t) over each anchor's negatives k: a smooth maximum.

    Without the own pair in the denominator it has no lower bound, and repels even distant
    negatives. With `include_positive` it is >= 0.
    Reference: [Smooth] the smoothed loss; both directions added, the mean over the pairs.
    Differs from SimCLR (Chen et al., 2020), which has the own pair, and negatives of both sides.
    """

    temperature: float = 0.07
    include_positive: bool = False
    of_pairs = True


@loss("sigmoid")
class Sigmoid(PairLoss):
    """-sum_j log sigmoid(z_ij (S_ij / t + b)), z = 1 for the own pair and -1 for a negative.

    Reference: Zhai et al., Sigmoid loss for language image pre-training, 2023, Algorithm 1, which
      trains 1 / t and b, and divides the sum by B.
    """

    temperature: float = 0.1
    logit_bias: float = -10.0
    similarity: str = "cosine"
    reduction: str = "mean"
    sides, learnable = ("image",), ("temperature", "bias")
    usually_learned = learnable
    bias = property(lambda self: self.logit_bias)  # its name as a trained number

    def terms(self, anchors, temperature, bias):
        logits = anchors.scores / temperature + bias
        terms = ops.softplus(ops.where(anchors.pair, -logits, logits))
        return ops.sum(ops.where(anchors.pair | anchors.negative, terms, 0.0), axis=1)


@loss("barlow")
class BarlowTwins(PairLoss):
    """sum_i (1 - C_ii)^2 + w sum_i sum_{j != i} C_ij^2, w = barlow_lambda >= 0.

    C_ij is the mean over the batch of z_i w_j; z and w are the two sides, standardised by batch
    (a constant column becomes 0). It has no anchors and reads rows before their L2 norm.
    Reference: Zbontar et al., Barlow Twins, 2021, Eq. 1 and 2; [Smooth] with w = 0.005.
    """

    barlow_lambda: float = 5e-3
    raw, heeds_relevance, sides = True, False, ()

    def __call__(self, relevance, image, text, **numbers):
        def standard(side):  # batch norm as in its code: biased variance, no affine map
            side = ops.convert_to_tensor(side, "float32")
            scale = ops.rsqrt(ops.var(side, axis=0) + VARIANCE_FLOOR)
            return (side - ops.mean(side, axis=0)) * scale

        size, width = ops.shape(image)
        correlation = ops.matmul(ops.transpose(standard(image)), standard(text))  # (D, D)
        correlation = correlation / ops.cast(size, "float32")
        own = ops.sum(ops.square(1.0 - ops.diagonal(correlation)))
        apart = correlation * (1.0 - ops.eye(width, dtype="float32"))
        return own + self.barlow_lambda * ops.sum(ops.square(apart))


# ---- The table ----------------------------------------------------------------------------------
def hyperparameters(name):
    """{hyper-parameter of the loss `name`: its default}."""
    made = LOSSES[name]
    return {one.name: one.default for one in fields(made.func) if one.name not in made.keywords}


def build_loss(name, settings=None):
    """The loss `name`; hyper-parameters that `settings` lacks or has as None keep their defaults.

    Raises ValueError: the name is unknown, or a hyper-parameter out of range.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}: choose from {', '.join(LOSSES)}")
    given = {key: getattr(settings, key, None) for key in hyperparameters(name)}
    return LOSSES[name](**{key: value for key, value in given.items() if value is not None})
