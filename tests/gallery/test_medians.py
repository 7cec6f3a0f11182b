"""Median ranks of resamples, against the queries written out one by one."""

import numpy as np
import pytest

from gallery.medians import resampled_medians


def written_out(ranks, cluster, weights):
    """Each query as often as its image was drawn, and their median, rounded down."""
    found = []
    for row in weights:
        drawn = sorted(
            rank for rank, image in zip(ranks, cluster, strict=True) for _ in range(row[image])
        )
        found.append((drawn[(len(drawn) - 1) // 2] + drawn[len(drawn) // 2]) // 2)
    return found


def resamples(rng, images, count=20):
    draws = rng.integers(0, images, (count, images))
    return np.stack([np.bincount(row, minlength=images) for row in draws])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("reach", [0, 1, 16])
def test_medians_are_those_of_the_queries_written_out(seed, reach):
    rng = np.random.default_rng(seed)
    images, queries = int(rng.integers(1, 40)), int(rng.integers(40, 400))
    ranks = rng.integers(1, rng.choice([2, 5, 1000]), queries)  # many that are equal, or few
    cluster = np.append(rng.integers(0, images, queries - images), np.arange(images))
    weights = resamples(rng, images)
    found = resampled_medians(ranks, cluster, weights, reach)
    assert found.tolist() == written_out(ranks, cluster, weights)


def test_a_median_far_from_that_of_all_is_found():
    # One image has nearly all queries, and the highest ranks: without it the median is low.
    cluster = np.append(np.arange(100), np.full(900, 100))
    ranks = np.arange(1, 1001)
    weights = np.ones((3, 101), np.int64)
    weights[0, 100], weights[1, 100] = 0, 5
    expected = written_out(ranks, cluster, weights)
    assert expected == [50, 540, 500]
    assert resampled_medians(ranks, cluster, weights, 1).tolist() == expected
