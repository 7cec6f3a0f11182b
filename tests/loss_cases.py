"""What the tests of the losses share: batches, values, and the loop references by a loss's name."""

from functools import partial
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
ATTRACTING = "modified", "assignment"  # pull together whatever has a relevance of 1
TRIPLETS = "random_triplet", "hardest_triplet", "soft_weight_triplet", "soft_margin_triplet"
DISTANCES = *ATTRACTING, *TRIPLETS  # compare distances, not scores
WITHOUT = *ATTRACTING, "sigmoid", "barlow"  # have a value without a negative


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


def of_scores(make, *numbers):
    """A reference of scores and of who belongs together, by names of its numbers."""

    def measure(relevance, image, text, *, own):
        scores = getattr(ranking, f"{own['similarity']}_scores")(image, text)
        printed = own["paper_negatives"]
        positive = np.eye(len(image)) if printed else np.asarray(relevance) >= SAME
        return make(scores, positive, *(own[number] for number in numbers))

    return measure


def of_pairs(make):
    """A reference of attraction and repulsion over all pairs."""
    return lambda *batch, own: make(*batch, own["alpha"], own["margin"])


def of_triplets(variant="plain", hardest=False):
    """A reference of one negative to each anchor: the hardest, or the next in turn."""

    def measure(relevance, image, text, *, own):
        chosen = None if hardest else next_in_turn(relevance)
        numbers = own["margin"], chosen, variant, own["squared"]
        return reference.triplet_loss(relevance, image, text, *numbers)

    return measure


def of_hinges(kind):
    """A reference of hinges over each pair's negatives, both ways added."""
    return of_scores(partial(pairs.triplet, kind=kind), "margin")


# The one place for what a new loss is compared with, written as loops from its formula:
# {name: function of relevance, image, text and all of SETTINGS -> (sum, what the mean divides by)}.
REFERENCES: dict[str, Any] = {
    "assignment": of_pairs(reference.assignment_loss),
    "modified": of_pairs(reference.modified_loss),
    "random_triplet": of_triplets(),
    "hardest_triplet": of_triplets(hardest=True),
    "soft_weight_triplet": of_triplets("soft_weight"),
    "soft_margin_triplet": of_triplets("soft_margin"),
    "sum_hinge": of_scores(ranking.sum_of_hinges, "margin"),
    "max_hinge": of_scores(ranking.max_of_hinges, "margin"),
    "sum_triplet": of_hinges("sum"),
    "max_triplet": of_hinges("max"),
    "mean_triplet": of_hinges("mean"),
    "paired_hinge": of_scores(
        lambda scores, _, margin: (paired(scores, margin), len(scores)), "margin"
    ),
    "cross_entropy": of_scores(ranking.info_nce, "temperature"),
    "simclr": of_scores(pairs.simclr, "temperature", "include_positive"),
    "sigmoid": of_scores(pairs.sigmoid, "temperature", "logit_bias"),
    "barlow": lambda _, image, text, *, own: (pairs.barlow(image, text, own["barlow_lambda"]), 1),
}


def loop(name, relevance, image, text, **settings):
    """(sum, what the mean divides it by) of a loss, by its loop reference."""
    return REFERENCES[name](relevance, image, text, own={**SETTINGS, **settings})
