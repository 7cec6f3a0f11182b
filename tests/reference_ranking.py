"""Loop versions of the ranking losses, the GRU and the full-network embedding, from the papers.

They share no line with the code that they check: plain loops, float64, nothing vectorised. A loss
returns `(sum, number of terms)`. "FNE" is the paper on full-network embeddings in multimodal
pipelines, (g)n the n-th correction in SYSTEMS.md, System 2.

Shapes: B batch, D embedding, T tokens, W word vector, H hidden, N images, F features. `scores` and
`positive` are (B, B) with images in rows and texts in columns; `image` and `text` are (B, D).
"""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np


def cosine_scores(image, text) -> np.ndarray:
    """S_ij = i_i . c_j for unit rows, rows images, columns texts.

    Reference: FNE Eq. 2, whose norms are 1.
    """
    result = np.zeros((len(image), len(text)), np.float64)
    for i in range(len(image)):
        for j in range(len(text)):
            for k in range(len(image[i])):
                result[i, j] += float(image[i][k]) * float(text[j][k])
    return result


def order_scores(image, text) -> np.ndarray:
    """S_ij = -sum_k max(0, c_jk - i_ik)^2, caption first on both sides of a loss: (g)6.

    Reference: FNE Eq. 3; Vendrov et al., Order-Embeddings of Images and Language.
    """
    result = np.zeros((len(image), len(text)), np.float64)
    for i in range(len(image)):
        for j in range(len(text)):
            for k in range(len(image[i])):
                violation = max(0.0, float(text[j][k]) - float(image[i][k]))
                result[i, j] -= violation * violation
    return result


def anchors(scores, positive) -> Iterator[tuple[float, list[float]]]:
    """The score of the own pair and those of the negatives: B image anchors, then B text anchors.

    Negative is what is not marked as of the same image; all B - 1 others in the papers, (g)6, (g)7.
    """
    size = len(scores)
    for side in ("image", "text"):
        for anchor in range(size):
            negatives = []
            for other in range(size):
                # An image anchor is a row and its texts are columns; a text anchor is a column.
                i, j = (anchor, other) if side == "image" else (other, anchor)
                if i != j and not positive[i][j]:
                    negatives.append(float(scores[i][j]))
            yield float(scores[anchor][anchor]), negatives


def sum_of_hinges(scores, positive, margin) -> tuple[float, int]:
    """sum_i sum_k max(0, m - S(i, c) + S(i, c_k)) + the same for captions and images i_k.

    The number of terms is 2 B^2: all cells of both directions, own pairs and other positives too.

    Reference: FNE Eq. 1 over a batch, (g)6, (g)7; Kiros et al.
    """
    total = 0.0
    for own, negatives in anchors(scores, positive):
        for negative in negatives:
            total += max(0.0, margin - own + negative)
    return total, 2 * len(scores) ** 2


def max_of_hinges(scores, positive, margin) -> tuple[float, int]:
    """sum_i max_k max(0, m - S(i, c) + S(i, c_k)) + the same for captions and images i_k.

    The maximum runs over the negatives of one anchor, (g)1; an anchor without any adds 0. The
    number of terms is 2 B: all anchors of both directions.

    Reference: FNE Eq. 4; Faghri et al., VSE++ (max of hinges).
    """
    total = 0.0
    for own, negatives in anchors(scores, positive):
        hardest = 0.0
        for negative in negatives:
            hardest = max(hardest, margin - own + negative)
        total += hardest
    return total, 2 * len(scores)


def max_of_hinges_wrong_axis(scores, positive, margin) -> tuple[float, int]:
    """For each candidate the worst anchor, max_i max(0, m - S(i, c) + S(i, c_k)): the slip.

    It equals `max_of_hinges` where all own pairs score the same, as in a collapsed batch.

    Reference: the released FNE code as (g)1 describes it. Negative tests only.
    """
    size, total = len(scores), 0.0
    for side in ("image", "text"):
        for k in range(size):
            worst = 0.0
            for anchor in range(size):
                i, j = (anchor, k) if side == "image" else (k, anchor)
                if i != j and not positive[i][j]:
                    own = float(scores[anchor][anchor])
                    worst = max(worst, margin - own + float(scores[i][j]))
            total += worst
    return total, 2 * size


def info_nce(scores, positive, temperature) -> tuple[float, int]:
    """sum over the 2 B anchors of -log(e^(own / t) / (e^(own / t) + sum_k e^(negative_k / t))).

    sum / terms is the mean of both directions. Other positives stand neither above nor below.

    Reference: van den Oord et al., Eq. 4; Radford et al. (CLIP), Figure 3.
    """
    total = 0.0
    for own, negatives in anchors(scores, positive):
        highest = own
        for negative in negatives:
            highest = max(highest, negative)
        below = math.exp((own - highest) / temperature)
        for negative in negatives:
            below += math.exp((negative - highest) / temperature)
        total += math.log(below) + (highest - own) / temperature
    return total, 2 * len(scores)


def absolute_unit(x) -> np.ndarray:
    """|x_bk| / sqrt(sum_d x_bd^2) of (B, D): the norm first, then the absolute value.

    A zero row stays zero, (g)11.

    Reference: FNE Table 1, last row; SYSTEMS.md (b).
    """
    result = np.zeros((len(x), len(x[0])), np.float64)
    for b in range(len(x)):
        square = 0.0
        for k in range(len(x[b])):
            square += float(x[b][k]) * float(x[b][k])
        for k in range(len(x[b])):
            result[b, k] = abs(float(x[b][k]) / math.sqrt(square)) if square > 0.0 else 0.0
    return result


def gru(inputs, mask, kernel, recurrent, bias) -> np.ndarray:
    """All states (T, H) of one sentence (T, W), from the state 0; a masked step keeps the state.

    z = sigmoid(W_z x + b_z + U_z h)    r = sigmoid(W_r x + b_r + U_r h)
    g = tanh(W_h x + b_h + r * (U_h h))    h = z * h + (1 - z) * g

    `kernel` (W, 3 H), `recurrent` (H, 3 H) and `bias` (3 H,) hold z, r, h in this order; there is
    no recurrent bias.

    Reference: FNE section 3.2; SYSTEMS.md (c): the reset gate after the recurrent product.
    Differs from the paper: Cho et al. reset the state before it, U_h (r * h).
    """
    hidden = len(recurrent)
    result = np.zeros((len(inputs), hidden), np.float64)
    state = [0.0] * hidden
    for t in range(len(inputs)):
        following = list(state)
        for h in range(hidden if mask[t] else 0):
            of_input, of_state = [], []  # z, r, h of this unit.
            for column in (h, hidden + h, 2 * hidden + h):
                of_input.append(float(bias[column]) + product(inputs[t], kernel, column))
                of_state.append(product(state, recurrent, column))
            z = sigmoid(of_input[0] + of_state[0])
            r = sigmoid(of_input[1] + of_state[1])
            candidate = math.tanh(of_input[2] + r * of_state[2])
            following[h] = z * state[h] + (1.0 - z) * candidate
        state = following
        for h in range(hidden):
            result[t, h] = state[h]
    return result


def product(vector, matrix, column) -> float:
    """sum_k v_k M_k,column."""
    total = 0.0
    for k in range(len(vector)):
        total += float(vector[k]) * float(matrix[k][column])
    return total


def sigmoid(x) -> float:
    """1 / (1 + e^-x), written with tanh so that no x overflows."""
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def full_network(activations_train, activations, low=-0.25, high=0.15) -> np.ndarray:
    """-1, 0 or 1 for each activation (N, F): z > high gives 1, z < low gives -1, both strict.

    z = (x - mean) / std with mean and std (ddof 0) of the training images (N_train, F) alone; a
    feature with std 0 has z = 0. Mean and variance are exact fractions, so std 0 is exact too.

    Reference: FNE section 3.1; thresholds and std in SYSTEMS.md (b).
    """
    result = np.zeros((len(activations), len(activations[0])), np.int8)
    for f in range(len(activations[0])):
        column = [Fraction(float(row[f])) for row in activations_train]
        mean = sum(column, Fraction(0)) / len(column)
        squares = sum(((value - mean) ** 2 for value in column), Fraction(0))
        std = math.sqrt(squares / len(column))
        for n in range(len(activations)):
            z = float(Fraction(float(activations[n][f])) - mean) / std if std > 0.0 else 0.0
            if z > high:
                result[n, f] = 1
            elif z < low:
                result[n, f] = -1
    return result


def clip_by_norm(gradients, threshold) -> list[np.ndarray]:
    """g * threshold / |g| for each tensor of which the L2 norm |g| exceeds the threshold.

    Each tensor is measured alone; VSE++ measures all of them together.

    Reference: FNE section 4.3.1; SYSTEMS.md (b).
    """
    clipped = []
    for gradient in gradients:
        result, square = np.array(gradient, np.float64), 0.0
        for index in np.ndindex(result.shape):
            square += float(result[index]) * float(result[index])
        norm = math.sqrt(square)
        if norm > threshold:
            for index in np.ndindex(result.shape):
                result[index] = result[index] * threshold / norm
        clipped.append(result)
    return clipped


def collapsed_loss(batch, margin, kind) -> float:
    """The sum or max of hinges when all embeddings of `batch` different images are equal.

    Every hinge is the margin: 2 B margin for max, 2 B (B - 1) margin for sum; 0 for a lone pair.

    Reference: follows from FNE Eq. 1 and 4; the training failures of FNE section 6.
    """
    if kind not in ("sum", "max"):
        raise ValueError(f"kind {kind!r}: expected sum or max")
    hinges = 0
    for _ in range(2 * batch):
        hinges += batch - 1 if kind == "sum" else min(1, batch - 1)
    return hinges * margin
