"""System 5 by loops, float64, from the table of its network, its losses and GradNorm's Algorithm 1.

Weights are a dict by the names of the layers; one image, one caption, one word at a time.
"""

import math

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(scores):
    scores = np.array([math.exp(s - max(scores)) for s in scores])
    return scores / scores.sum()


def lstm(x, h, c, kernel, recurrent, bias):
    """One step; gates in the order input, forget, candidate, output."""
    size = len(h)
    z = x @ kernel + h @ recurrent + bias
    i, f, g, o = (z[k * size : (k + 1) * size] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def there(boxes):
    """Boxes that are any: not all numbers are 0."""
    return [box for box in boxes if any(box != 0)]


def embed(boxes, w):
    return [box @ w["boxes/kernel"] + w["boxes/bias"] for box in there(boxes)]


def image_vector(boxes, w):
    x = embed(boxes, w)
    shares = softmax(
        [float(one @ w["box_weights/kernel"][:, 0]) + w["box_weights/bias"][0] for one in x]
    )
    v = sum(share * one for share, one in zip(shares, x, strict=True))
    return v / np.linalg.norm(v)


def read(words, w, start):
    """States of the reading LSTM after <start>, w1, ..., wn."""
    size = len(w["reader/recurrent"])
    h, c, states = np.zeros(size), np.zeros(size), []
    for word in [start, *words]:
        x = w["words/embeddings"][word]
        h, c = lstm(x, h, c, w["reader/kernel"], w["reader/recurrent"], w["reader/bias"])
        states.append(h)
    return states


def caption_vector(words, w, start):
    last = read(words, w, start)[-1]
    return last / np.linalg.norm(last)


def write(boxes, words, w, start, end):
    """log p of w1..wn and <end>, each (V,), and the shares of the boxes before each."""
    x, v = embed(boxes, w), image_vector(boxes, w)
    starts = v @ w["writer/start_kernel"] + w["writer/start_bias"]
    a, a_cell, g, g_cell = np.split(starts, 4)
    found, looks = [], []
    for e in read(words, w, start):
        attend = w["writer/attend_kernel"]
        inputs = np.concatenate([g, v, e])
        a, a_cell = lstm(
            inputs, a, a_cell, attend, w["writer/attend_recurrent"], w["writer/attend_bias"]
        )
        scores = []
        for box in x:
            hidden = np.tanh(box @ w["writer/key_kernel"] + a @ w["writer/query_kernel"])
            scores.append(
                float(hidden @ w["writer/score_kernel"][:, 0]) + w["writer/score_bias"][0]
            )
        shares = softmax(scores)
        seen = sum(share * box for share, box in zip(shares, x, strict=True))
        inputs = np.concatenate([a, seen])
        g, g_cell = lstm(
            inputs,
            g,
            g_cell,
            w["writer/write_kernel"],
            w["writer/write_recurrent"],
            w["writer/write_bias"],
        )
        logits = g @ w["writer/output_kernel"] + w["writer/output_bias"]
        top = logits.max()
        found.append(logits - top - math.log(np.exp(logits - top).sum()))
        looks.append(shares)
    return found, looks


def generation_loss(images, captions, w, start, end):
    """Mean of -log p over all words and ends of the batch."""
    terms = []
    for boxes, words in zip(images, captions, strict=True):
        scores, _ = write(boxes, words, w, start, end)
        for target, row in zip([*words, end], scores, strict=True):
            terms.append(-row[target])
    return sum(terms) / len(terms)


def ranking_loss(image, text, owner, margin):
    """(1 / B) (sum_i max_j [m + s_ij - s_ii]_+ + sum_j max_i [m + s_ij - s_jj]_+), j not of i's."""
    total, size = 0.0, len(image)
    for i in range(size):
        others = [j for j in range(size) if owner[j] != owner[i]]
        own = image[i] @ text[i]
        total += max([0.0, *(margin + image[i] @ text[j] - own for j in others)])
        total += max([0.0, *(margin + image[j] @ text[i] - own for j in others)])
    return total / size


def gradnorm_slope(weights, norms, ratios, alpha):
    """Gradient by w_k of sum_k |G_k - mean(G) (r_k / mean(r))^alpha|, targets held."""
    moved = [w * n for w, n in zip(weights, norms, strict=True)]
    mean, pace = sum(moved) / len(moved), sum(ratios) / len(ratios)
    slopes = []
    for own, norm, ratio in zip(moved, norms, ratios, strict=True):
        target = mean * (ratio / pace) ** alpha
        slopes.append(norm if own > target else -norm if own < target else 0.0)
    return slopes


# ---- Beam search --------------------------------------------------------------------------------


def every_caption(scorer, ids, end, most):
    """All captions of at most `most` ids with the sums of their log p: exhaustive search.

    Args:
      scorer: ids so far -> {id: log p of the next}.
    """
    found, open_ones = [], [((), 0.0)]
    for _ in range(most):
        longer = []
        for prefix, total in open_ones:
            scores = scorer(prefix)
            for number in ids:
                caption = (*prefix, number), total + scores[number]
                (found if number == end else longer).append(caption)
        open_ones = longer
    return sorted(found + open_ones, key=lambda one: -one[1])


def beam(scorer, ids, width, end, most):
    """Beam search for one image: ends leave the beam and make it narrower."""
    done, beam, left = [], [((), 0.0)], width
    for _ in range(most):
        longer = []
        for prefix, total in beam:
            scores = scorer(prefix)
            longer += [((*prefix, number), total + scores[number]) for number in ids]
        best = sorted(longer, key=lambda one: -one[1])[:left]
        beam = [one for one in best if one[0][-1] != end]
        done += [one for one in best if one[0][-1] == end]
        left -= len(best) - len(beam)
        if not left:
            break
    return sorted(done + (beam if left else []), key=lambda one: -one[1])
