"""Ranks for tests of comparisons: given, or drawn."""

import numpy as np

import metrics
from grading.comparison.paired import Ranks


def made(ranks, images=None, owner=None):
    """Ranks of captions and of images, as `read_ranks` gives them."""
    text, image = (np.asarray(own) for own in ranks)
    owner = np.repeat(np.arange(len(image)), len(text) // len(image)) if owner is None else owner
    found = {
        "text_to_image": metrics.Retrieval(text, owner, 1000),
        "image_to_text": metrics.Retrieval(image, np.arange(len(image)), 5000),
    }
    queries: dict[str, list[tuple[str, str | None]]] = {
        side: [(str(i), None) for i in one.query_image] for side, one in found.items()
    }
    return Ranks(queries, found)


def drawn(rng, images, scale=0.0, hard=None):
    """Ranks of two captions of each image, which an image's hardness ties together."""
    hard = rng.exponential(8, images) if hard is None else hard
    text = 1 + rng.poisson(np.repeat(hard, 2) * np.exp(scale))
    return made((text, 1 + rng.poisson(hard)))
