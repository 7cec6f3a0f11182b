"""Retrieval metrics over the whole gallery: float64, ties against the model, reproducible bytes.

    found = evaluate(image, text, caption_image)     # rank, AP@10 and nDCG@10 of every query
    summarise(found["text_to_image"].ranks)          # the figures that papers print
    intervals.with_intervals(found)                  # all of them, with bounds

A score is the dot product of a text row and an image row: the cosine, because towers return rows of
norm 1; or another of ``similarity.SIMILARITIES``. Nothing is normalised here. Two scores closer
than 1e-12 of the largest possible score tie: a matrix product adds up in another order for every
block shape and number of threads, so equal scores come out some 1e-16 apart. So results depend on
neither. The matrix of scores is never held: ``gallery.scan`` passes by it in blocks.

Shape letters: G images with captions, K concepts, M captions, N images, Q queries, R resamples.
Ranks count from 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gallery.scan import (
    BLOCK_BYTES,
    DIRECTIONS,
    RELEVANT,
    TOP,
    Floats,
    Integers,
    Pairs,
    Relevance,
    TopTen,
    dcg,
    rank_all,
)

CUTOFFS = (1, 5, 10)
METRICS = (  # in the order of score.json
    "mrr", "mrr@10", *(f"recall@{cutoff}" for cutoff in CUTOFFS),
    "median_rank", "mean_rank", "map@10", "ndcg@10",
)  # fmt: skip


def rank_values(ranks: ArrayLike) -> dict[str, Floats]:
    """Turn ranks into what each query adds to the metrics that are means.

    Args:
        ranks: (Q,) integers, 1 is best.

    Returns:
        ``{metric: (Q,) float64}``: mrr and mrr@10 in 0..1, recall@K 0 or 100 percent, mean_rank.
    """
    rank = np.asarray(ranks, np.float64)
    values = {"mrr": 1 / rank, "mrr@10": np.where(rank <= TOP, 1 / rank, 0.0)}
    values |= {f"recall@{cutoff}": 100.0 * (rank <= cutoff) for cutoff in CUTOFFS}
    return values | {"mean_rank": rank}


def summarise(ranks: ArrayLike) -> dict[str, float]:
    """Summarise ranks as the papers print them: recalls in percent, MRR as a fraction.

    median_rank = floor(median(r)) + 1 for ranks r that count from 0.

    Args:
        ranks: (Q,) integers, 1 is best.

    Returns:
        ``{metric: value}`` with mrr, mrr@10, recall@1, recall@5, recall@10, median_rank, mean_rank.

    Raises:
        ValueError: There are no ranks.
    """
    rank = np.asarray(ranks)
    if rank.size == 0:
        raise ValueError("there are no ranks to summarise: at least one query is needed")
    summary = {name: float(value.mean()) for name, value in rank_values(rank).items()}
    return summary | {"median_rank": float(np.floor(np.median(rank)))}


def rsum(*summaries: dict[str, float]) -> float:
    """Add up the recalls of all directions: 0..600 for two."""
    return sum(summary[f"recall@{cutoff}"] for summary in summaries for cutoff in CUTOFFS)


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What was found in one direction, query by query.

    Attributes:
        ranks: (Q,) int64 in 1..gallery_size.
        query_image: (Q,) int64, the image that a query belongs to.
        gallery_size: Number of candidates that every query was ranked against.
        ap: (Q,) float64 in 0..1, average precision within the first ten, or None.
        ndcg: (Q,) float64 in 0..1, normalised discounted gain of the first ten, or None.
    """

    ranks: Integers
    query_image: Integers
    gallery_size: int
    ap: Floats | None = None
    ndcg: Floats | None = None

    def values(self) -> dict[str, Floats]:
        """Give ``{metric: (Q,) float64}``: the part of each query in all metrics that are means."""
        graded = {"map@10": self.ap, "ndcg@10": self.ndcg}
        return rank_values(self.ranks) | {k: v for k, v in graded.items() if v is not None}

    def median(self, weights: NDArray, cluster: Integers) -> Floats:
        """Take the median rank where whole images are drawn more than once or not at all.

        Args:
            weights: (R, G) integers, how often a resample drew an image.
            cluster: (Q,) column of ``weights`` for each query.

        Returns:
            (R,) median rank (whole number, from 1).
        """
        order = np.argsort(self.ranks, kind="stable")
        sorted_ranks = self.ranks[order]
        upto = np.cumsum(weights[:, cluster[order]], axis=1, dtype=np.int64)  # (R, Q)
        medians = np.empty(len(weights))
        for row, counts in enumerate(upto):
            middle = [(counts[-1] - 1) // 2, counts[-1] // 2]  # the same one twice if odd
            medians[row] = sorted_ranks[np.searchsorted(counts, middle, side="right")].sum() // 2
        return medians


def evaluate(
    image: ArrayLike,
    text: ArrayLike,
    caption_image: ArrayLike,
    concepts: ArrayLike | None = None,
    block_bytes: int = BLOCK_BYTES,
    similarity: str = "cosine",
) -> dict[str, Retrieval]:
    """Rank the whole gallery in both directions.

    text_to_image: the rank of a caption's image among the N images. image_to_text: the best rank of
    an image's own captions among the M captions; another own caption above is no error. An image
    without captions is a candidate, but no query. The relevance of a candidate is 1 for the own
    image, otherwise the cosine of the two images' concept vectors, or 0 where there are none.

        nDCG@10 = sum_{k<=10} relevance_k / log2(k + 1), over that of the ten highest relevances

    Args:
        image: (N, D) floats with rows of norm 1 (not normalised here); may be memory-mapped.
        text: (M, D) floats, likewise.
        caption_image: (M,) integers in 0..N-1, the row of each caption's image; any number of
            captions per image, in any order.
        concepts: (N, K) non-negative numbers, or None.
        block_bytes: Size of a block of scores. It changes speed and memory, never a result.
        similarity: A name of ``similarity.SIMILARITIES``: "cosine" or "order".

    Returns:
        ``{"text_to_image": Retrieval, "image_to_text": Retrieval}``.

    Raises:
        ValueError: Shapes, indices or values that cannot be scored; the line names side and row.
    """
    pairs = Pairs(image, text, caption_image, similarity)
    relevance = Relevance(pairs.num_images, pairs.owner, concepts)
    everyone = np.arange(pairs.num_images)
    sides = (pairs.owner, everyone), (everyone, pairs.owner)  # images of queries, of candidates
    tops = [TopTen(*images, relevance, pairs.tie) for images in sides]
    ranks = rank_all(pairs, block_bytes, tops)
    relevant, _, ideal = relevance.totals()  # (2, N) each
    queries = slice(None), np.unique(pairs.owner)  # all captions; the images that have any
    found = {}
    for side, direction in enumerate(DIRECTIONS):
        query_image = sides[side][0][queries[side]]
        graded = tops[side].relevance()[queries[side]]  # (Q, 10)
        found[direction] = Retrieval(
            ranks[side],
            query_image,
            gallery_size=len(sides[side][1]),
            ap=average_precision(graded, relevant[side, query_image]),
            ndcg=dcg(graded) / ideal[side, query_image],
        )
    return found


def average_precision(graded: Floats, relevant: Floats) -> Floats:
    """Compute the average precision within the first ten places.

        AP@10 = 1 / min(10, number relevant in the gallery) * sum_{k<=10} rel_k * precision_k,
                with rel_k = [relevance > 0.3]

    Args:
        graded: (Q, 10) relevance of what was found, best first.
        relevant: (Q,) number of relevant candidates in the gallery.

    Returns:
        (Q,) float64 in 0..1.
    """
    hit = graded > RELEVANT
    precision = np.cumsum(hit, axis=1) / np.arange(1, TOP + 1)
    return (hit * precision).sum(axis=1) / np.minimum(TOP, relevant)


def rank_both(
    image: ArrayLike,
    text: ArrayLike,
    caption_image: ArrayLike,
    block_bytes: int = BLOCK_BYTES,
    similarity: str = "cosine",
) -> tuple[Integers, Integers]:
    """Give the ranks of ``evaluate`` alone, for the validation after each epoch.

    Returns:
        (M,) int64 rank of each caption's image, and (G,) int64 best rank of the own captions of
        each image that has any, in the order of images.
    """
    return rank_all(Pairs(image, text, caption_image, similarity), block_bytes)
