"""What the tests of the losses share: batches, values, and the loop references by a loss's name."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import reference
import reference_contrastive as pairs
import reference_dual_path as dual
import reference_ranking as ranking

import losses

SAME = 1 - 1e-6
IDS = [0, 1, 2, 1, 3, 4, 5]  # the images of a batch: pairs 1 and 3 are two captions of one
SETTINGS: dict[str, Any] = {
    "alpha": 0.4, "margin": 0.9, "temperature": 0.1, "logit_bias": -3.0, "barlow_lambda": 0.02,
    "similarity": "cosine", "squared": True, "paper_negatives": False, "include_positive": False,
}  # fmt: skip
OTHERS: dict[str, Any] = {"similarity": "order"} | {
    key: not SETTINGS[key] for key in ("squared", "paper_negatives", "include_positive")
}
CASES: list[tuple[str, dict[str, Any]]] = [  # every loss, and each of its other forms
    (name, changes)
    for name in losses.LOSSES
    for changes in ({}, *({key: value} for key, value in OTHERS.items()))
    if set(changes) <= set(losses.hyperparameters(name))
]
TRIPLETS = ("random_triplet", "hardest_triplet", "soft_weight_triplet", "soft_margin_triplet")
DISTANCES = ("modified", "assignment", *TRIPLETS)


def unit_rows(seed, count, size=5, absolute=False):
    """(count, size) random rows of norm 1, float64."""
    x = np.random.default_rng(seed).standard_normal((count, size))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.abs(x) if absolute else x


def batch(seed=0, similarity="cosine"):
    """(relevance, image, text) of seven pairs; relevance is graded, and not symmetric."""
    concepts = np.random.default_rng(seed).integers(0, 2, (7, 4)).astype(float)[IDS]
    relevance = np.array(reference.relevance(IDS, concepts))
    relevance[(relevance > 0.9) & ~np.equal.outer(IDS, IDS)] = 0.75
    relevance[0, 4], relevance[4, 0], relevance[2, 6], relevance[6, 2] = 0.5, 0.25, 1 - 1e-7, 0.0
    image, text = (unit_rows(seed + k, 7, absolute=similarity == "order") for k in (100, 200))
    return relevance, image, text


def build(name, **settings):
    """The loss of `SETTINGS` and these."""
    return losses.build_loss(name, SimpleNamespace(**{**SETTINGS, "reduction": "sum", **settings}))


def value(name, relevance, image, text, **settings):
    """The loss, a number."""
    return float(build(name, **settings)(relevance, image, text))


def slopes(loss, relevance, image, text, **numbers):
    """(value, gradients by image, text and the numbers)."""
    import tensorflow as tf

    sources = [tf.constant(x, tf.float32) for x in (image, text, *numbers.values())]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        total = loss(relevance, *sources[:2], **dict(zip(numbers, sources[2:], strict=True)))
    return float(total), [np.array(tf.convert_to_tensor(g)) for g in tape.gradient(total, sources)]


def next_in_turn(relevance):
    """The first following item that is no positive, by loops; -1 where there is none."""
    size = len(relevance)
    chosen = np.full((2, size), -1)
    for side, matrix in enumerate((relevance, relevance.T)):
        for i in range(size):
            following = ((i + step) % size for step in range(1, size))
            chosen[side, i] = next((j for j in following if matrix[i, j] < SAME), -1)
    return chosen


def paired(scores, margin, image_ids=IDS, text_ids=IDS):
    """The sum of hinges with one negative each, of scores."""
    image, text = ([(side, k) for k in range(len(scores))] for side in ("image", "text"))

    def measure(a, b):
        place = dict((a, b))
        return float(scores[place["image"]][place["text"]])

    return dual.paired_hinge(image, text, image_ids, text_ids, margin, measure)[0]


def loop(name, relevance, image, text, **settings):
    """(sum, what the mean divides it by) of a loss, by the loop references."""
    own = {**SETTINGS, **settings}
    size, margin = len(image), own["margin"]
    if name in ("modified", "assignment"):
        make = getattr(reference, f"{name}_loss")
        return make(relevance, image, text, own["alpha"], margin)
    if name in TRIPLETS:
        negatives = None if name == "hardest_triplet" else next_in_turn(relevance)
        variant = name.removesuffix("_triplet") if name.startswith("soft") else "plain"
        return reference.triplet_loss(
            relevance, image, text, margin, negatives, variant, own["squared"]
        )
    if name == "barlow":
        return pairs.barlow(image, text, own["barlow_lambda"]), 1
    scores = getattr(ranking, f"{own['similarity']}_scores")(image, text)
    positive = np.eye(size) if own["paper_negatives"] else np.asarray(relevance) >= SAME
    if name == "paired_hinge":
        return paired(scores, margin), size
    if name in ("sum_hinge", "max_hinge"):
        make = ranking.sum_of_hinges if name == "sum_hinge" else ranking.max_of_hinges
        return make(scores, positive, margin)
    if name == "cross_entropy":
        return ranking.info_nce(scores, positive, own["temperature"])
    if name == "simclr":
        return pairs.simclr(scores, positive, own["temperature"], own["include_positive"])
    if name == "sigmoid":
        return pairs.sigmoid(scores, positive, own["temperature"], own["logit_bias"])
    return pairs.triplet(scores, positive, margin, name.removesuffix("_triplet"))
