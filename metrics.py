"""Retrieval metrics of a whole gallery: exact, in float64, with the same bytes on every run.

    found = evaluate(image, text, caption_image)     # rank, AP@10 and nDCG@10 of each query
    summarise(found["text_to_image"].ranks)          # recall@K, MRR, median rank
    with_intervals(found)                            # of grading.intervals: with 95 % intervals

A score is the dot product of a text and an image embedding, which is their cosine if both have norm
1; or another of ``similarity.SIMILARITIES``. Nothing is normalised here. Ranks count from 1.

Scores closer than 1e-12 of the largest possible one tie, and ties count against the model. Rounding
differs by some 1e-16 between block sizes and threads, so no result does (but AP and nDCG, if ties
form a chain). ``gallery.scan`` computes scores in blocks; the N x M matrix is never held.

Shape letters: G images with captions, K concepts, M captions, N images, Q queries, R resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gallery import scan
from gallery.medians import resampled_medians
from gallery.scan import TOP, Floats, Integers

CUTOFFS = (1, 5, 10)
METRICS = (  # in the order of score.json
    "mrr", "mrr@10", *(f"recall@{cutoff}" for cutoff in CUTOFFS),
    "median_rank", "mean_rank", "map@10", "ndcg@10",
)  # fmt: skip


def rank_values(ranks: ArrayLike) -> dict[str, Floats]:
    """Compute, for each query, its value in every metric that is a mean of queries.

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
    """Compute recalls in percent, MRR in 0..1, median (rounded down) and mean rank.

    Args:
        ranks: (Q,) integers, 1 is best.

    Returns:
        ``{metric: value}``, those of ``METRICS`` that depend on ranks alone.

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
    """Results of one direction, text to image or image to text, by query.

    Attributes:
        ranks: (Q,) int64 in 1..gallery_size.
        query_image: (Q,) int64, row of the image that a query belongs to.
        gallery_size: Number of candidates of each query.
        ap: (Q,) float64 in 0..1, average precision within the first ten, or None.
        ndcg: (Q,) float64 in 0..1, normalised discounted gain of the first ten, or None.
    """

    ranks: Integers
    query_image: Integers
    gallery_size: int
    ap: Floats | None = None
    ndcg: Floats | None = None

    def values(self) -> dict[str, Floats]:
        """Give ``{metric: (Q,) float64}``: values of all metrics that are means of queries."""
        graded = {"map@10": self.ap, "ndcg@10": self.ndcg}
        return rank_values(self.ranks) | {k: v for k, v in graded.items() if v is not None}

    def median(self, weights: NDArray, cluster: Integers) -> Floats:
        """Compute the median rank of bootstrap resamples, which draw images with replacement.

        Args:
            weights: (R, G) integers, how often a resample drew an image.
            cluster: (Q,) column of ``weights`` for each query.

        Returns:
            (R,) float64, the median rank, rounded down.
        """
        return resampled_medians(self.ranks, cluster, weights)


def evaluate(
    image: ArrayLike,
    text: ArrayLike,
    caption_image: ArrayLike,
    concepts: ArrayLike | None = None,
    block_bytes: int = scan.BLOCK_BYTES,
    similarity: str = "cosine",
) -> dict[str, Retrieval]:
    """Rank the whole gallery in both directions.

    text_to_image: the rank of a caption's image among N images. image_to_text: the rank of the best
    of an image's own captions among M captions; its other captions do not count as errors. An image
    without captions is a candidate but no query. The relevance of a candidate is 1 for the own
    image, else the cosine of the two images' concepts, or 0 without concepts.

        nDCG@10 = DCG / max DCG, with DCG = sum_{k<=10} relevance_k / log2(k + 1)

    Args:
        image: (N, D) floats, usually of norm 1; may be memory-mapped.
        text: (M, D) floats, likewise.
        caption_image: (M,) integers in 0..N-1, the row of each caption's image, in any order.
        concepts: (N, K) numbers >= 0, or None.
        block_bytes: Bytes of a block of scores. It changes speed and memory, never a result.
        similarity: A name of ``similarity.SIMILARITIES``: "cosine" or "order".

    Returns:
        ``{"text_to_image": Retrieval, "image_to_text": Retrieval}``.

    Raises:
        ValueError: Shapes, indices or values cannot be scored; the message names side and row.
    """
    pairs = scan.Pairs(image, text, caption_image, similarity)
    relevance = scan.Relevance(pairs.num_images, pairs.owner, concepts)
    everyone = np.arange(pairs.num_images)
    sides = (pairs.owner, everyone), (everyone, pairs.owner)  # images of queries, of candidates
    tops = [scan.TopTen(*images, relevance, pairs.tie) for images in sides]
    ranks = scan.rank_all(pairs, block_bytes, tops)
    relevant, _, ideal = relevance.totals()  # (2, N) each
    queries = slice(None), np.unique(pairs.owner)  # all captions; the images that have any
    found = {}
    for side, direction in enumerate(scan.DIRECTIONS):
        query_image = sides[side][0][queries[side]]
        graded = tops[side].relevance()[queries[side]]  # (Q, 10)
        found[direction] = Retrieval(
            ranks[side],
            query_image,
            gallery_size=len(sides[side][1]),
            ap=average_precision(graded, relevant[side, query_image]),
            ndcg=scan.dcg(graded) / ideal[side, query_image],
        )
    return found


def average_precision(graded: Floats, relevant: Floats) -> Floats:
    """Compute the average precision of the first ten candidates.

        AP@10 = 1 / min(10, number relevant in the gallery) * sum_{k<=10} rel_k * precision_k,
                with rel_k = [relevance > 0.3]

    Args:
        graded: (Q, 10) relevance in 0..1 of the first ten, best first.
        relevant: (Q,) number of relevant candidates in the gallery, at least 1.

    Returns:
        (Q,) float64 in 0..1.
    """
    hit = graded > scan.RELEVANT
    precision = np.cumsum(hit, axis=1) / np.arange(1, TOP + 1)
    return (hit * precision).sum(axis=1) / np.minimum(TOP, relevant)


def rank_both(
    image: ArrayLike,
    text: ArrayLike,
    caption_image: ArrayLike,
    block_bytes: int = scan.BLOCK_BYTES,
    similarity: str = "cosine",
) -> tuple[Integers, Integers]:
    """Compute only the ranks of ``evaluate``, for validation: (M,) and (G,) int64."""
    return scan.rank_all(scan.Pairs(image, text, caption_image, similarity), block_bytes)
