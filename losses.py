"""Losses: every formula once, for a whole batch, for parts of it and for replicas.

A loss is called as `loss(relevance, image, text)`. Row b of image and of text is one pair, each of
norm 1. `relevance[i, j]` in [0, 1] says how well image i fits text j: 1 for the same image, else
how alike two images are. Unlike in the papers, another caption of an image is no negative of it.

A loss of pairs is one formula, `terms`: what some anchors add to the sum, each beside all
candidates of the other side. The whole batch is the block of all anchors, and texts are anchors of
the transposed matrix; `systems.engine.blocks` adds up small blocks.

Shape letters: B batch, b anchors of a block, D embedding, K concepts.
Hyper-parameters, of the losses that have them; the defaults are the published ones:
  reduction: "sum" of the terms, or "mean" over them; of a loss `of_pairs` the sum over B.
  alpha in [0, 1]; margin and temperature above 0; similarity, a name of `SIMILARITIES`.
  paper_negatives: another caption of the same image is a negative, as printed.

References:
  [IRSE]   M. Sijmkens, IRSE project report, 2021, and its assignment's Eq. 6 to 11.
  [FNE]    Vilalta et al., The full-network embedding in multimodal pipelines, 2019, Eq. 1 to 4.
  [Order]  Vendrov et al., Order-embeddings, ICLR 2016.
  [VSE++]  Faghri et al., BMVC 2018 (maximum of hinges); their sum: Kiros et al., 2014.
  [Smooth] Timofeev et al., Multi-modal retrieval with smooth weighting of negatives, 2021.
  [Dual]   Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017.
  [CPC]    van den Oord et al., Representation learning with contrastive predictive coding, 2018.
  [SigLIP] Zhai et al., Sigmoid loss for language image pre-training, 2023.
  [Barlow] Zbontar et al., Self-supervised learning via redundancy reduction, 2021.
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
    """`keras.ops`, imported at first use: `--help` reads the table of losses without Keras."""

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
      concepts: (B, K) float32 >= 0 or None; alike is then the cosine of these rows.
      similarity: (B, B) float32 or None; alike is then given (TF-IDF cosine of the captions).
      literal: with concepts, leave the own pairs at their cosine, as printed: 0 without concepts.
      text_id: (B,) int32, the image of each text, where texts were exchanged; else `image_id`.
      cells: numbers of the images and of the texts that are wanted; None: all.

    Returns:
      (B, B) float32 in [0, 1], s_ij of the [IRSE] assignment; or those rows and columns of it.
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
    """S(c, i) = c . i of unit rows (B, D): (B, B), images in rows. [FNE] Eq. 2."""
    return ops.matmul(image, ops.transpose(text))


def order_similarities(image, text):
    """S(c, i) = -sum_k max(0, c_k - i_k)^2, in [-4, 0]: how far is c below i? [Order] Eq. 2."""
    excess = ops.maximum(text[None, :, :] - image[:, None, :], 0.0)  # (B images, B texts, D)
    return -ops.sum(ops.square(excess), axis=-1)


SIMILARITIES = {"cosine": cosines, "order": order_similarities}


def squared_distances(cosine):
    """D^2 = |a - b|^2 = 2 - 2 a.b in [0, 4], of the cosines of unit rows."""
    return ops.maximum(2.0 - 2.0 * cosine, 0.0)


def root(squared):
    """D from D^2, with a finite gradient (0) where D = 0."""
    # maximum() passes no gradient to the smaller side: pairs at distance 0 stay where they are.
    return ops.sqrt(ops.maximum(squared, EPSILON))


# ---- What every loss is -------------------------------------------------------------------------
LOSSES: dict[str, Any] = {}  # name, as of --loss -> what makes the loss
EXPECTED = {  # of a hyper-parameter: what holds, and how to say it
    "alpha": (lambda value: 0.0 <= value <= 1.0, "a number from 0 to 1"),
    "margin": (lambda value: value > 0.0, "a number above 0"),
    "temperature": (lambda value: value > 0.0, "a number above 0"),
    "barlow_lambda": (lambda value: value >= 0.0, "a number of 0 or more"),
    "similarity": (lambda value: value in SIMILARITIES, " or ".join(SIMILARITIES)),
    "reduction": (lambda value: value in ("sum", "mean"), "sum or mean"),
}


@dataclass_transform()
def loss(name, **fixed):
    """Decorator: a class becomes a dataclass of its hyper-parameters, and an entry of `LOSSES`.

    name: as of --loss; fixed: arguments that make it this loss, no hyper-parameters any more.
    """

    def enter(cls):
        LOSSES[name] = partial(dataclass(cls), **fixed)
        return cls

    return enter


class Anchors:
    """Some rows of one side, each beside all rows of the other side: its candidates."""

    def __init__(self, scores, relevance, own):
        self.scores, self.relevance = scores, relevance  # (b, B), higher is better; in [0, 1]
        self.own = own  # (b,) int32, the column of each anchor's own pair
        self.positive = self.at(scores, own)  # (b,) scores of the own pairs
        self.pair = ops.equal(ops.arange(ops.shape(scores)[1])[None], own[:, None])  # (b, B) bool
        self.negative = (relevance < SAME) & ~self.pair  # (b, B) bool

    def at(self, matrix, columns):
        """(b,) one cell of each row of a (b, B) matrix, by its column."""
        # Of the flat matrix: the gradient of take_along_axis takes twice the time.
        rows, width = ops.shape(matrix)
        return ops.take(ops.reshape(matrix, (-1,)), ops.arange(rows) * width + columns)


@dataclass
class PairLoss:
    """The sum or mean of the terms of all anchors."""

    reduction: str = "sum"
    similarity = "cosine"
    learnable = ()  # hyper-parameters that can be trained with the towers
    usually_learned = ()  # those that its paper trains
    sides = ("image", "text")  # whose rows are anchors; ("image",): a cell of (B, B) counts once
    of_pairs = False  # the mean is over the B pairs, not over the terms
    raw = False  # it reads the towers' rows before their L2 norm
    heeds_relevance = True  # else () will do for relevance
    kinds = ()  # what `negatives` may be

    def __post_init__(self):
        known = {"negatives": (self.kinds.__contains__, " or ".join(self.kinds))}
        for name, (holds, wanted) in (EXPECTED | known).items():
            if name in vars(self) and not holds(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected {wanted}")

    def terms(self, anchors, *args: Any, **numbers: Any) -> Any:
        """(b,) or (b, B) terms of `Anchors`; numbers are those of `learnable`, by name."""
        raise NotImplementedError(f"{type(self).__name__} has no method terms")

    def scores(self, image, text):
        """(B, B) similarities of image and text (B, D)."""
        return SIMILARITIES[self.similarity](image, text)

    def numbers(self, trained):
        """{name: number} for `terms`: the loss's own, but for those that are trained."""
        trained = {name: ops.cast(value, "float32") for name, value in trained.items()}
        return {name: getattr(self, name) for name in self.learnable} | trained

    def divisor(self, count, pairs):
        """What the sum of `count` terms of `pairs` pairs is divided by."""
        over = {"sum": 1, "mean": pairs if self.of_pairs else count}
        return ops.cast(over[self.reduction], "float32")

    def __call__(self, relevance, image, text, **numbers):
        """A scalar of relevance (B, B), image and text (B, D), and trained numbers (scalars)."""
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

    The margin c is compared with the SQUARED distance, in [0, 4]. The sum is the paper's, and its
    learning rate belongs to it: the mean needs a rate B^2 times larger.
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
    Differs from the paper: it prints max(0, (.)^2), a hinge that never closes and pulls far pairs
      back to distance (1 - s) c. Here, as in its author's code, the square stands outside.
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
    """w_i max(0, c_i + d(a_i, p_i) - d(a_i, n_i)) of each anchor a, its pair p and one negative n.

    d is D^2 (the assignment) or, not `squared`, D (its author's code). With "soft_weight" w is s,
    the relevance between anchor and negative, so near misses weigh more; with "soft_margin" c_i is
    c ln(1 + s). Both need graded relevance: where s is 0 they vanish.
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
        """(b,) columns: each anchor's nearest negative, or the next one behind its own pair."""
        if self.negatives == "hardest":
            return ops.argmin(ops.where(anchors.negative, distance, float("inf")), axis=1)
        # Batches are drawn in random order, so the next one, going round, is a uniformly random
        # negative, without a random state that replicas or a resumed run would have to share.
        size = ops.shape(distance)[1]
        steps = ops.mod(ops.arange(size)[None, :] - anchors.own[:, None], size)  # (b, B)
        return ops.argmin(ops.where(anchors.negative, steps, size), axis=1)


# ---- Hinges -------------------------------------------------------------------------------------
@loss("max_hinge", negatives="max")
@loss("sum_hinge", negatives="sum")
class Hinge(PairLoss):
    """Sum or maximum over each anchor's negatives k of [m + S(a, k) - S(a, own)]_+.

    Where all embeddings are equal (`plateau`) the gradient is small and undecided, and the maximum
    may stay. The mean is over 2 B^2 cells of the sum, or 2 B anchors of the maximum.
    Reference: [FNE] Eq. 1 (sum) and Eq. 4 (maximum), [VSE++].
    Differs from the paper: its code takes the maximum along the other axis, the worst anchor.
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
        """The loss of a batch whose embeddings are all equal: every hinge is m."""
        equal = ops.zeros((batch_size, 1))
        return float(self(ops.eye(batch_size), equal, equal))


@loss("mean_triplet", negatives="mean")
@loss("max_triplet", negatives="max")
@loss("sum_triplet", negatives="sum")
class PairHinge(Hinge):
    """Sum, maximum or mean (over B - 1) of hinges over each pair's negatives, both ways added.

    Reference: [Smooth] the maximal triplet loss; the sum beside it.
    Differs from the paper: its code throws sum and maximum away and returns the mean of all hinges:
      that is "mean" here, whatever it was called there.
    """

    reduction: str = "mean"
    of_pairs, kinds = True, ("sum", "max", "mean")


@loss("paired_hinge")
class PairedHinge(PairLoss):
    """[m - S(k, own) + S(k, n)]_+ of one negative to each anchor, from the other half of the batch.

    Anchors k are the first floor(B / 2) rows of both sides; n = k + floor(B / 2). A negative that
    belongs to the anchor counts 0. The paper's m = 1 is seldom met by cosines of features >= 0.
    Reference: [Dual] the ranking loss; its code composes the batch so, and divides the sum by B.
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

    Reference: [CPC] Eq. 4 ("InfoNCE"), both directions as in CLIP (Radford et al., 2021).
    """

    temperature: float = 0.05
    similarity: str = "cosine"
    reduction: str = "mean"
    learnable = ("temperature",)
    include_positive = True  # the own pair stands below the fraction, too

    def terms(self, anchors, temperature):
        logits = anchors.scores / temperature
        candidate = anchors.negative | anchors.pair if self.include_positive else anchors.negative
        below = ops.logsumexp(ops.where(candidate, logits, FAR), axis=1)
        some = ops.any(candidate, axis=1)  # the logarithm of an empty sum counts nothing
        return ops.where(some, below - anchors.at(logits, anchors.own), 0.0)


@loss("simclr")
class SimCLR(CrossEntropy):
    """-log exp(S_own / t) / sum_k exp(S_k / t) over each anchor's negatives k: a smooth maximum.

    Without the own pair in the sum it has no lower bound: it goes on pulling a pair apart from
    negatives that are far away already. `include_positive` puts it in; the value is then >= 0.
    Reference: [Smooth] the smoothed loss; both directions added, the mean over the pairs.
    Differs from SimCLR (Chen et al., 2020): that has the own pair, and negatives of its own side.
    """

    temperature: float = 0.07
    include_positive: bool = False
    of_pairs = True


@loss("sigmoid")
class Sigmoid(PairLoss):
    """-sum_j log sigmoid(z_ij (S_ij / t + b)), z = 1 for the own pair and -1 for a negative.

    Reference: [SigLIP] Algorithm 1, which trains 1 / t and b, and divides the sum by B.
    """

    temperature: float = 0.1
    logit_bias: float = -10.0
    similarity: str = "cosine"
    reduction: str = "mean"
    sides, learnable = ("image",), ("temperature", "bias")
    usually_learned = learnable
    bias = property(lambda self: self.logit_bias)  # by the name under which it is trained

    def terms(self, anchors, temperature, bias):
        logits = anchors.scores / temperature + bias
        terms = ops.softplus(ops.where(anchors.pair, -logits, logits))
        return ops.sum(ops.where(anchors.pair | anchors.negative, terms, 0.0), axis=1)


@loss("barlow")
class BarlowTwins(PairLoss):
    """sum_i (1 - C_ii)^2 + w sum_i sum_{j != i} C_ij^2, w = barlow_lambda >= 0.

    C_ij is the mean over the batch of z_i w_j, z and w the two sides with mean 0 and variance 1 (a
    constant column stays 0): equal coordinates agree, different ones are uncorrelated. No anchors.
    Reference: [Barlow] Eq. 1 and 2, of rows before their norm; [Smooth] with w = 0.005.
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
    """{setting: published default} of what the loss `name` takes from the settings."""
    made = LOSSES[name]
    return {one.name: one.default for one in fields(made.func) if one.name not in made.keywords}


def build_loss(name, settings=None):
    """The loss `name`; its hyper-parameters are the attributes of `settings` that are not None.

    Raises ValueError: the name is unknown (all are listed), or a setting out of range.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}: choose from {', '.join(LOSSES)}")
    given = {key: getattr(settings, key, None) for key in hyperparameters(name)}
    return LOSSES[name](**{key: value for key, value in given.items() if value is not None})
