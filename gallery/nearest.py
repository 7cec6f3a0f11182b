"""The exact nearest rows of a gallery: compared in float32 by blocks, decided in float64.

    scores, rows = top_k(encoder.encode(["a red circle"]), gallery.image, k=10)

Shape letters: Q queries, R gallery rows (images or captions), D embedding.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from gallery.similarity import Similarity, choose
from run.onnx_graphs import WRITTEN_BY

BLOCK_ROWS = 8192  # gallery rows compared at once
QUERIES_AT_ONCE = 1024  # with such a block: bounds the memory
SUMMED_ROWS = 1024  # rows summed in float64 at once
FEW_ROWS = 1024  # of a first block, whose k-th best bounds that of all

Candidates = tuple[np.ndarray, np.ndarray]  # scores and row numbers


def top_k(
    query: np.ndarray,
    rows: np.ndarray,
    k: int,
    block_rows: int = BLOCK_ROWS,
    similarity: str = "cosine",
    among: str = "images",
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of the highest similarity with each query, exactly, without sorting them all.

    The rows are compared in float32, block by block. A row that could still belong to the best k,
    by what float32 may err, is kept; the kept ones are compared again in float64, row by row, so
    the answer is the same for any block size and number of threads. Ties stand in gallery order.

    Args:
      query: (Q, D) unit rows, finite.
      rows: (R, D) float32 unit rows; may be memory-mapped.
      k: how many; more than R gives all R.
      block_rows: rows compared at once: speed and memory only.
      similarity: a name of `similarity.SIMILARITIES`.
      among: "images" where the queries are sentences, "captions" where they are images. The order
        similarity is not symmetric, so it must know.

    Returns:
      scores (Q, min(k, R)) float64, falling, and row numbers (Q, min(k, R)) int64.

    Raises:
      ValueError: the sizes do not fit, or there are values that are not finite.
    """
    query = np.asarray(query)
    if query.ndim != 2 or rows.ndim != 2 or query.shape[1] != rows.shape[1]:
        raise ValueError(
            f"queries of shape {query.shape} do not fit gallery rows of shape {rows.shape}: were "
            f"towers and projections written by one run? {WRITTEN_BY}"
        )
    if k < 1 or block_rows < 1:
        raise ValueError(f"k is {k} and block_rows {block_rows}; both must be 1 or more")
    if among not in ("images", "captions"):
        raise ValueError(f"among is {among!r}, expected images or captions")
    if not np.isfinite(query).all():
        raise ValueError("a query holds NaN or infinity: did the training diverge?")
    measure = choose(similarity)
    measure = measure.swapped() if among == "captions" else measure
    shape = (len(query), min(k, len(rows)))
    best = []
    for i in range(0, len(query), QUERIES_AT_ONCE):
        best += _search(query[i : i + QUERIES_AT_ONCE], rows, k, block_rows, measure)
    scores = np.array([scores for scores, _ in best]).reshape(shape)
    return scores, np.array([numbers for _, numbers in best], np.int64).reshape(shape)


def _search(
    query: np.ndarray, rows: np.ndarray, k: int, block_rows: int, measure: Similarity
) -> list[Candidates]:
    """`top_k` of a few queries: the best of each."""
    # For unit rows a dot product in float32 is wrong by at most D 2^-24, in whatever order it is
    # summed; an order similarity, which rounds what it squares and may be as large as 4, by
    # 4 (D + 4) 2^-24. Both the k-th best and a row that rivals it may err by that; twice as much
    # leaves room for rounding the query itself.
    margin = np.float32(4 * measure.bound(1, 1) * (query.shape[1] + 4) * 2.0**-24)
    kept: list[Candidates] = [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(query)
    for start in range(0, len(rows), block_rows):
        block = np.asarray(rows[start : start + block_rows])
        scores = measure.scores(query.astype(np.float32), block)  # (Q, block)
        if not np.isfinite(scores.sum()):  # one number is quicker to look at than all
            bad = np.flatnonzero(~np.isfinite(scores).all(axis=0))
            if len(bad):
                row = start + int(bad[0])
                raise ValueError(
                    f"gallery row {row} holds NaN or infinity: did the training diverge?"
                )
        numbers = np.arange(start, start + len(block))
        for q, own in enumerate(scores):
            kept[q] = _keep(kept[q], (own, numbers), k, margin)
    return [
        best_of(partial(measure.pairs, one[None]), rows, numbers, k)
        for one, (_, numbers) in zip(query, kept, strict=True)
    ]


def _keep(kept: Candidates, new: Candidates, k: int, margin: np.float32) -> Candidates:
    """What may still be among the best k, of what was kept and what is new."""
    scores, numbers = new
    # Most of a block is far below the k-th best of what was kept, or of the block's first rows.
    bar = None
    if len(kept[0]) >= k:
        bar = kept[0].min()
    elif k <= FEW_ROWS < len(scores):
        bar = np.partition(scores[:FEW_ROWS], FEW_ROWS - k)[FEW_ROWS - k]
    if bar is not None:
        near = scores >= bar - margin
        scores, numbers = scores[near], numbers[near]
    scores, numbers = np.concatenate([kept[0], scores]), np.concatenate([kept[1], numbers])
    if len(scores) <= k:
        return scores, numbers
    stay = scores >= np.partition(scores, len(scores) - k)[len(scores) - k] - margin
    return scores[stay], numbers[stay]


def best_of(
    score: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, numbers: np.ndarray, k: int
) -> Candidates:
    """The best k of some rows by float64 scores; ties in gallery order."""
    scores = np.empty(len(numbers))
    for i in range(0, len(numbers), SUMMED_ROWS):
        part = slice(i, i + SUMMED_ROWS)
        scores[part] = score(rows[numbers[part]])
    order = np.lexsort((numbers, -scores))[:k]
    return scores[order], numbers[order]
