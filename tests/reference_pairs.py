"""Recall of word pairs written from the document and its authors' code: loops over images."""

import itertools
import math

# Ranking recall@5 of the document's first table, and images of exact n (SYSTEMS: counts of the
# April 2019 code), n = 1..5. None: N/A.
RANKING = {
    "brown_dog": ((0.37, 0.43, 0.57, 1.0, None), (203, 72, 14, 1, 0)),
    "eat_man": ((0.26, 0.58, 0.68, 0.77, 0.33), (144, 53, 34, 13, 3)),
    "green_bench": ((0.5, 0.5, 0.4, 0.67, 1.0), (20, 8, 5, 3, 1)),
    "red_chair": ((0.24, 0.5, 0.67, None, None), (29, 4, 6, 0, 0)),
    "ride_woman": ((0.36, 0.67, 0.79, 0.73, 1.0), (183, 64, 33, 15, 3)),
    "sit_cat": ((0.62, 0.79, 0.88, 0.91, 0.91), (296, 202, 130, 90, 57)),
    "small_plane": ((0.39, 0.76, 0.81, 0.8, 0.5), (92, 29, 31, 5, 2)),
    "white_car": ((0.3, 0.51, 0.55, 1.0, None), (293, 88, 31, 7, 0)),
    "wooden_table": ((0.12, 0.45, 0.0, 1.0, None), (103, 11, 1, 1, 0)),
}
MACRO = 0.445  # of that table, all n of a pair pooled


def ranking_hit(image, text, says):
    """Whether any of the five texts with the largest dot products says the pair; lists of lists."""
    scores = [math.fsum(a * b for a, b in zip(image, row, strict=True)) for row in text]
    order = sorted(range(len(text)), key=lambda row: -scores[row])
    return any(says[row] for row in order[:5])


def chance(number, saying, drawn):
    """That one of `drawn` of `number` captions says what `saying` of them do: all ways counted."""
    ways = list(itertools.combinations(range(number), drawn))
    return sum(any(row < saying for row in way) for way in ways) / len(ways)


def recall(hits, counts, n, more=False):
    """(hits, images) among images of which exactly n captions say the pair, or n or more."""
    right = images = 0
    for hit, count in zip(hits, counts, strict=True):
        if count == n or (more and count > n):
            images += 1
            right += bool(hit)
    return right, images
