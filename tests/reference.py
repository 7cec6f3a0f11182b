"""Loop versions of the IRSE losses and model parts, written from the documents alone.

They share no line with the code that they check: plain loops over i and j, NumPy float64 scalars,
nothing vectorised. A loss returns `(sum, number of terms)`, so that the mean is sum / terms.
"Assignment" is the course text (equations as SYSTEMS.md, System 1 (b) gives them), "report" the
document on the modified loss; (g)n is the n-th correction in SYSTEMS.md, System 1.

Shapes: B batch, D embedding, V vocabulary, H hidden, K concepts. `relevance` is (B, B) in [0, 1]
with images in rows and texts in columns; `image` and `text` are (B, D) with unit rows.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

SAME = 1.0 - 1e-6  # From here on a relevance counts as 1: (g)3.


def squared_distance(x, y) -> np.float64:
    """D^2 = sum_d (x_d - y_d)^2 of two vectors (assignment, D_ij in SYSTEMS.md (b))."""
    total = np.float64(0.0)
    for d in range(len(x)):
        difference = np.float64(x[d]) - np.float64(y[d])
        total += difference * difference
    return total


def relevance(image_id, concepts=None, literal=False) -> np.ndarray:
    """s_ij = 1 for the same image, otherwise cosine(v_i, v_j), 0 where a vector is zero.

    Reference: assignment (SYSTEMS.md (b)), with the own pair forced to 1 as in (g)4.
    `literal` is the assignment's own rule: the cosine everywhere, so s_ii = 0 without concepts.
    """
    size = len(image_id)
    result = np.zeros((size, size), np.float64)
    for i in range(size):
        for j in range(size):
            if image_id[i] == image_id[j] and not literal:
                result[i, j] = 1.0
            elif concepts is not None:
                result[i, j] = cosine(concepts[i], concepts[j])
    return result


def cosine(v, w) -> float:
    """v.w / (|v| |w|), 0 where a vector is zero, at most 1 (assignment, s_ij)."""
    product = norm_v = norm_w = np.float64(0.0)
    for k in range(len(v)):
        product += np.float64(v[k]) * np.float64(w[k])
        norm_v += np.float64(v[k]) * np.float64(v[k])
        norm_w += np.float64(w[k]) * np.float64(w[k])
    if norm_v == 0.0 or norm_w == 0.0:
        return 0.0
    return min(1.0, float(product / (math.sqrt(norm_v) * math.sqrt(norm_w))))


def assignment_loss(relevance, image, text, alpha, margin) -> tuple[float, int]:
    """sum_ij a1 s_ij D_ij^2 + a2 max(0, 1[s_ij = 0] (c - D_ij^2)), a2 = alpha = 1 - a1.

    Reference: assignment Eq. 6. The indicator is the literal s_ij = 0.
    """
    total, terms = 0.0, 0
    for i in range(len(image)):
        for j in range(len(text)):
            s = float(relevance[i][j])
            d2 = squared_distance(image[i], text[j])
            indicator = 1.0 if s == 0.0 else 0.0
            total += (1.0 - alpha) * s * d2 + alpha * max(0.0, indicator * (margin - d2))
            terms += 1
    return float(total), terms


def modified_loss(relevance, image, text, alpha, margin) -> tuple[float, int]:
    """sum_ij a1 1[s_ij = 1] D_ij^2 + a2 (max(0, (1 - s_ij) c - D_ij))^2.

    Reference: report, section 2, with the square outside the hinge (g)1 and 1[s = 1] read as
    s >= 1 - 1e-6 (g)3.
    """
    total, terms = 0.0, 0
    for i in range(len(image)):
        for j in range(len(text)):
            s = float(relevance[i][j])
            d2 = squared_distance(image[i], text[j])
            indicator = 1.0 if s >= SAME else 0.0
            hinge = max(0.0, (1.0 - s) * margin - math.sqrt(d2))
            total += (1.0 - alpha) * indicator * d2 + alpha * hinge * hinge
            terms += 1
    return float(total), terms


def modified_loss_as_printed(relevance, image, text, alpha, margin) -> tuple[float, int]:
    """sum_ij a1 1[s_ij = 1] D_ij^2 + a2 max(0, ((1 - s_ij) c - D_ij)^2): the misprint.

    Reference: report, section 2, letter by letter; (g)1 says why it is wrong. Negative tests only.
    """
    total, terms = 0.0, 0
    for i in range(len(image)):
        for j in range(len(text)):
            s = float(relevance[i][j])
            d2 = squared_distance(image[i], text[j])
            indicator = 1.0 if s >= SAME else 0.0
            square = ((1.0 - s) * margin - math.sqrt(d2)) ** 2
            total += (1.0 - alpha) * indicator * d2 + alpha * max(0.0, square)
            terms += 1
    return float(total), terms


def mixed_loss(
    pair_loss: Callable[..., tuple[float, int]], relevance, image, text, betas, alpha, margin
) -> tuple[float, int]:
    """b1 l(image, text) + b2 l(image, image) + b3 l(text, text), betas = (b1, b2, b3).

    Reference: assignment Eq. 7. The intra-modal parts run over the full matrix, the diagonal
    (D = 0) included; the terms are those of one matrix, since the betas sum to 1.
    """
    beta1, beta2, beta3 = betas
    between, terms = pair_loss(relevance, image, text, alpha, margin)
    images, _ = pair_loss(relevance, image, image, alpha, margin)
    texts, _ = pair_loss(relevance, text, text, alpha, margin)
    return beta1 * between + beta2 * images + beta3 * texts, terms


def triplet_loss(
    relevance, image, text, margin, negatives=None, variant="plain", squared=True
) -> tuple[float, int]:
    """Both directions of `triplet_direction`: image anchors, then text anchors.

    `negatives` is None for the hardest in the batch, or two index rows (2, B): the text negatives
    of the image anchors, then the image negatives of the text anchors.

    Reference: assignment Eq. 8-11 (part 2), SYSTEMS.md (b), (g)9.
    """
    size = len(image)
    turned = np.zeros((size, size), np.float64)  # Texts in rows, images in columns.
    for i in range(size):
        for j in range(size):
            turned[j, i] = relevance[i][j]
    of_images, of_texts = (None, None) if negatives is None else negatives
    options = (margin, variant, squared)
    from_images = triplet_direction(relevance, image, text, of_images, options)
    from_texts = triplet_direction(turned, text, image, of_texts, options)
    return from_images[0] + from_texts[0], from_images[1] + from_texts[1]


def triplet_direction(relevance, anchor, other, negatives, options) -> tuple[float, int]:
    """sum_i w max(0, m + d(a_i, o_i) - d(a_i, o_n)), n the negative of anchor i, s = s_in.

    plain:        w = 1, m = c          (random negatives given, or the hardest)
    soft_weight:  w = s, m = c
    soft_margin:  w = 1, m = c ln(1 + s), c standing for the assignment's c0

    d is D^2 or, not squared, D. A candidate with s >= 1 - 1e-6 is never a negative; an anchor
    left without a negative gives no term.

    Reference: assignment Eq. 8-11 (part 2), SYSTEMS.md (b), (g)9.
    """
    margin, variant, squared = options
    if variant not in ("plain", "soft_weight", "soft_margin"):
        raise ValueError(f"variant {variant!r}: expected plain, soft_weight or soft_margin")
    total, terms = 0.0, 0
    for i in range(len(anchor)):
        n = hardest(relevance, anchor, other, i) if negatives is None else int(negatives[i])
        if n < 0 or relevance[i][n] >= SAME:
            continue
        s = float(relevance[i][n])
        positive = squared_distance(anchor[i], other[i])
        negative = squared_distance(anchor[i], other[n])
        if not squared:
            positive, negative = math.sqrt(positive), math.sqrt(negative)
        weight = s if variant == "soft_weight" else 1.0
        needed = margin * math.log(1.0 + s) if variant == "soft_margin" else margin
        total += weight * max(0.0, needed + positive - negative)
        terms += 1
    return float(total), terms


def hardest(relevance, anchor, other, i) -> int:
    """argmin_n D(a_i, o_n) over s_in < 1 - 1e-6, the first of equals, -1 where there is none.

    Reference: assignment part 2, hard negatives; "min distance" in SYSTEMS.md (b).
    """
    best, nearest = -1, math.inf
    for n in range(len(other)):
        d2 = squared_distance(anchor[i], other[n])
        if relevance[i][n] < SAME and d2 < nearest:
            best, nearest = n, d2
    return best


def bag_of_words_dense(counts, weights, bias) -> np.ndarray:
    """y_bh = bias_h + sum_v counts_bv weights_vh: a dense layer on word counts, (B, H).

    Reference: report, section 1, first Linear of the caption network; SYSTEMS.md (c).
    """
    result = np.zeros((len(counts), len(bias)), np.float64)
    for b in range(len(counts)):
        for h in range(len(bias)):
            total = np.float64(bias[h])
            for v in range(len(weights)):
                total += np.float64(counts[b][v]) * np.float64(weights[v][h])
            result[b, h] = total
    return result


def sgd_momentum_l2(
    weights, gradients: Sequence, learning_rates: Sequence[float], momentum, weight_decay
) -> np.ndarray:
    """g = gradient + decay w; v = m v + g; w = w - lr v, once for each gradient and rate.

    PyTorch's order: the decay is part of the gradient, and the rate stands outside the velocity,
    so a rate that falls also shrinks the steps owed to older gradients.

    Reference: SGD as in SYSTEMS.md (b) (momentum 0.9, weight decay 5e-4, rate x 0.9).
    """
    w = np.array(weights, np.float64)
    velocity = np.zeros_like(w)
    for gradient, rate in zip(gradients, learning_rates, strict=True):
        for index in np.ndindex(w.shape):
            g = np.float64(gradient[index]) + weight_decay * w[index]
            velocity[index] = momentum * velocity[index] + g
            w[index] = w[index] - rate * velocity[index]
    return w


def adam_l2(
    weights, gradients: Sequence, learning_rates: Sequence[float], weight_decay, betas=(0.9, 0.999),
    eps=1e-8,
) -> np.ndarray:  # fmt: skip
    """g = gradient + decay w; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
    w = w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps), for t = 1, 2, ...

    Reference: PyTorch's documentation of torch.optim.Adam (amsgrad and maximize off).
    """
    w = np.array(weights, np.float64)
    first, second = np.zeros_like(w), np.zeros_like(w)
    for t, (gradient, rate) in enumerate(zip(gradients, learning_rates, strict=True), start=1):
        for index in np.ndindex(w.shape):
            g = np.float64(gradient[index]) + weight_decay * w[index]
            first[index] = betas[0] * first[index] + (1 - betas[0]) * g
            second[index] = betas[1] * second[index] + (1 - betas[1]) * g**2
            m = first[index] / (1 - betas[0] ** t)
            v = second[index] / (1 - betas[1] ** t)
            w[index] = w[index] - rate * m / (np.sqrt(v) + eps)
    return w


def numerical_gradient(f: Callable[[np.ndarray], float], x, eps=1e-6) -> np.ndarray:
    """df/dx_k = (f(x + eps e_k) - f(x - eps e_k)) / (2 eps), float64: for any loss above."""
    point = np.array(x, np.float64)
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        kept = point[index]
        point[index] = kept + eps
        above = f(point)
        point[index] = kept - eps
        below = f(point)
        point[index] = kept
        gradient[index] = (above - below) / (2.0 * eps)
    return gradient
