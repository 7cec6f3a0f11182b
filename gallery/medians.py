"""The median rank of resamples: of queries that are drawn with their image, some of them often.

    resampled_medians(ranks, cluster, weights)       # (R,), as np.median of each resample

The medians of resamples lie close together. So only the queries near the median of all are sorted
and counted one by one; of those before them it matters only how many there are.

Shape letters: G images with captions, Q queries, R resamples.
"""

from math import isqrt

import numpy as np
from numpy.typing import NDArray

REACH = 16  # times the square root of Q: how far from the middle a median is looked for at first


def resampled_medians(
    ranks: NDArray[np.int64], cluster: NDArray[np.int64], weights: NDArray, reach: int = REACH
) -> NDArray[np.float64]:
    """Give the median rank of resamples, rounded down.

    Args:
        ranks: (Q,) whole numbers.
        cluster: (Q,) column of ``weights`` for each query.
        weights: (R, G) integers, how often a resample drew an image; no row is all 0.
        reach: changes speed, never a result.

    Returns:
        (R,) float64.
    """
    middle, far = len(ranks) // 2, reach * isqrt(len(ranks)) + 1
    first, last = max(0, middle - far), min(len(ranks), middle + far)
    order = np.argpartition(ranks, [first, last - 1])
    near = order[first:last]
    near = near[np.argsort(ranks[near])]
    earlier = np.bincount(cluster[order[:first]], minlength=weights.shape[1])
    before = np.einsum("rg,g->r", weights, earlier)
    drawn = np.einsum("rg,g->r", weights, np.bincount(cluster, minlength=weights.shape[1]))
    middles = np.stack([(drawn - 1) // 2, drawn // 2], axis=1)  # equal if the number is odd
    upto = before[:, None] + np.cumsum(weights[:, cluster[near]], axis=1, dtype=np.int64)
    missed = (middles[:, 0] < before) | (middles[:, 1] >= upto[:, -1])
    if missed.any() and len(near) < len(ranks):
        return resampled_medians(ranks, cluster, weights, 2 * reach + 1)
    found = np.empty(len(weights))
    for row, counts in enumerate(upto):
        found[row] = ranks[near[np.searchsorted(counts, middles[row], side="right")]].sum() // 2
    return found
