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
