"""Loop versions of the losses of System 4 and of the sigmoid loss, from the papers.

They share no line with the code that they check: plain loops, float64, nothing vectorised. A loss
of pairs returns `(sum over the pairs, number of pairs)`. "Slides" is the document on smooth
weighting of negatives, (b) and (g)n are the parts of SYSTEMS.md, System 4.

Shapes: B batch, D embedding. `scores` and `positive` are (B, B) with images in rows and texts in
columns, `positive` marks what is of the same image; `image` and `text` are (B, D).
"""

import math
from collections.abc import Iterator

import numpy as np

EPS = 1e-5  # of the batch norm before the cross-correlation, (b)


def pairs(scores, positive) -> Iterator[tuple[float, list[float], list[float]]]:
    """Of each pair its own score, those of its image's negatives and those of its text's.

    c' != c and i' != i, (g)3; another caption of the same image is no negative either.
    """
    size = len(scores)
    for k in range(size):
        of_image, of_text = [], []
        for other in range(size):
            if other == k:
                continue
            if not positive[k][other]:
                of_image.append(float(scores[k][other]))
            if not positive[other][k]:
                of_text.append(float(scores[other][k]))
        yield float(scores[k][k]), of_image, of_text


def log_of_sum(values) -> float:
    """log sum_k e^(v_k), the largest taken out."""
    highest = max(values)
    total = 0.0
    for value in values:
        total += math.exp(value - highest)
    return highest + math.log(total)


def simclr(scores, positive, temperature, include_positive=False) -> tuple[float, int]:
    """-log e^(s(i,c)/t) / sum_c' e^(s(i,c')/t) - log e^(s(i,c)/t) / sum_i' e^(s(i',c)/t), by pairs.

    The own pair stands in the sums only if `include_positive`. A sum over nothing has no logarithm:
    an anchor without a negative adds 0.

    Reference: Slides, "Our approach"; (b), (g)4.
    """
    total = 0.0
    for own, *sides in pairs(scores, positive):
        for negatives in sides:
            if not negatives:
                continue
            below = [value / temperature for value in negatives]
            if include_positive:
                below.append(own / temperature)
            total += log_of_sum(below) - own / temperature
    return total, len(scores)


def triplet(scores, positive, margin, kind) -> tuple[float, int]:
    """kind_c' [a + s(i,c') - s(i,c)]_+ + kind_i' [a + s(i',c) - s(i,c)]_+, by pairs.

    `kind` is "sum", "max" or "mean"; the mean divides by all B - 1 others, (b).

    Reference: Slides, "Problem of the maximal triplet loss".
    """
    total = 0.0
    for own, *sides in pairs(scores, positive):
        for negatives in sides:
            added = highest = 0.0
            for negative in negatives:
                hinge = max(0.0, margin + negative - own)
                added += hinge
                highest = max(highest, hinge)
            if kind == "max":
                total += highest
            elif negatives:
                total += added / (len(scores) - 1) if kind == "mean" else added
    return total, len(scores)


def triplet_as_it_ran(scores, margin) -> float:
    """mean over all B (B - 1) places of hinge(image anchor) + hinge(text anchor).

    Whatever the "sum" or "max" in its name said: both were computed and thrown away. It knows
    nothing of two captions of one image.

    Reference: (b), "Triplet"; (g)1.
    """
    size, places = len(scores), []
    for anchor in range(size):
        for other in range(size):
            if other != anchor:
                own = float(scores[anchor][anchor])
                of_image = max(0.0, float(scores[anchor][other]) - own + margin)
                of_text = max(0.0, float(scores[other][anchor]) - own + margin)
                places.append(of_image + of_text)
    return math.fsum(places) / len(places)


def sigmoid(scores, positive, temperature, bias) -> tuple[float, int]:
    """-sum_ij log 1 / (1 + e^(z_ij (-s_ij / t - b))), z = 1 for the own pair and -1 for a negative.

    The paper's t is 1 / temperature here. Another caption of the same image is neither.

    Reference: Zhai et al., Sigmoid loss for language image pre-training, 2023, section 3.2 and
      Algorithm 1, which divides by the number of pairs.
    """
    total = 0.0
    for i in range(len(scores)):
        for j in range(len(scores)):
            if i != j and positive[i][j]:
                continue
            sign = 1.0 if i == j else -1.0
            exponent = sign * (-float(scores[i][j]) / temperature - bias)
            total += max(exponent, 0.0) + math.log1p(math.exp(-abs(exponent)))
    return total, len(scores)


def normalised(rows) -> np.ndarray:
    """(x_bd - mean_d) / sqrt(variance_d + eps) of (B, D): biased variance, no scale, no shift.

    Reference: (b), "Barlow"; Ioffe and Szegedy, Algorithm 1.
    """
    result = np.zeros((len(rows), len(rows[0])), np.float64)
    for d in range(len(rows[0])):
        mean = math.fsum(float(row[d]) for row in rows) / len(rows)
        variance = math.fsum((float(row[d]) - mean) ** 2 for row in rows) / len(rows)
        for b in range(len(rows)):
            result[b, d] = (float(rows[b][d]) - mean) / math.sqrt(variance + EPS)
    return result


def cross_correlation(image, text) -> np.ndarray:
    """C_ij = 1 / B sum_b z_bi w_bj of the batch-normalised sides z and w, (D, D).

    Reference: Zbontar et al., Barlow Twins, 2021, Eq. 2, whose sides have mean 0 and norm 1 along
      the batch; (b).
    """
    z, w = normalised(image), normalised(text)
    size = z.shape[1]
    result = np.zeros((size, size), np.float64)
    for i in range(size):
        for j in range(size):
            for b in range(len(z)):
                result[i, j] += z[b, i] * w[b, j] / len(z)
    return result


def barlow(image, text, weight) -> float:
    """sum_i (1 - C_ii)^2 + weight sum_i sum_{j != i} C_ij^2.

    Reference: Slides, "Our approach"; Zbontar et al., Eq. 1.
    """
    correlation, total = cross_correlation(image, text), 0.0
    for i in range(len(correlation)):
        for j in range(len(correlation)):
            value = float(correlation[i, j])
            total += (1.0 - value) ** 2 if i == j else weight * value * value
    return total
