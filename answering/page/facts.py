"""What the page is told of a gallery and of answers, as JSON: plain values, and printable text.

A gallery may have no captions: then none is told.

Shape letters: N images, D embedding.
"""

from typing import Any

import numpy as np

from answering import search
from gallery.nearest import top_k
from gallery.stored import Gallery
from run.console import printable

Told = dict[str, Any]

EXAMPLES, LONGEST_EXAMPLE = 6, 60  # captions to try, and the letters of one
CANDIDATES = 40  # captions of which they are chosen
SAMPLES = 12  # pictures that are shown before anything was asked
NEAR_CAPTIONS = 10


def examples(gallery: Gallery, encoder: search.QueryEncoder) -> list[str]:
    """Short captions without an unknown word, from the gallery's beginning to its end."""
    total = gallery.num_captions
    if not total:
        return []
    rows = np.unique(np.linspace(0, total - 1, CANDIDATES).round().astype(int))
    captions = dict.fromkeys(printable(gallery.captions[row]) for row in rows)
    found = [
        caption
        for caption in captions
        if 0 < len(caption) <= LONGEST_EXAMPLE and not encoder.unknown(caption)
    ]
    places = np.linspace(0, max(0, len(found) - 1), min(EXAMPLES, len(found)))
    return [found[round(place)] for place in places]


def samples(gallery: Gallery) -> list[Told]:
    """Some pictures, from the gallery's beginning to its end."""
    total = gallery.num_images
    rows = np.unique(np.linspace(0, total - 1, min(SAMPLES, total)).round().astype(int))
    return [pictured(gallery, int(row)) for row in rows]


def pictured(gallery: Gallery, row: int) -> Told:
    """A picture of the gallery, with the first of its captions."""
    own = gallery.captions_of(row)
    return {
        "image": row,
        "name": printable(gallery.image_names[row]),
        "caption": printable(gallery.captions[own[0]]) if len(own) else "",
        "picture": bool(gallery.pictures[row]),
    }


def told_answer(answer: search.Answer) -> Told:
    """An answer: a picture with a caption, and its score."""
    return {
        "image": answer.image,
        "name": printable(answer.name),
        "caption": printable(answer.caption),
        "picture": bool(answer.picture),
        "score": answer.score,
        "own": answer.own,
        "fits": answer.fits,
        "weak": answer.weak,
    }


def neighbours(gallery: Gallery, vector: np.ndarray, k: int, asked: int | None = None) -> Told:
    """The captions and the k pictures that are nearest to a picture.

    Pictures are compared with pictures by the cosine, whatever captions are compared by.

    Args:
      vector: (1, D) unit row; asked: its row, if it is of the gallery.
    """
    captions: list[search.Answer] = []
    if gallery.num_captions:
        captions = search.nearest_captions(gallery, vector, min(k, NEAR_CAPTIONS), asked)
    scores, rows = top_k(vector, gallery.image, k + 1)
    near = [
        {**pictured(gallery, int(row)), "score": float(score)}
        for score, row in zip(scores[0], rows[0], strict=True)
        if row != asked
    ]
    return {"captions": [told_answer(one) for one in captions], "answers": near[:k]}
