"""How sure a difference between runs is: the same resamples of test images, and of seeds, for all.

Shape letters: L losses, Q queries, R resamples, S seeds.
"""

import numpy as np

from grading import intervals
from grading.comparison.paired import RESAMPLES, check_same_queries, read_ranks


def rsum_draws(runs):
    """rsum of graded runs on the test images, and on the same resamples of these.

    Returns:
      (runs, 1 + R) float64; the first column is the rsum itself.

    Raises:
      ValueError: the runs were not graded on the same queries.
    """
    places, asked, found = {}, None, []
    for run in runs:
        ranks = read_ranks(run, places)
        asked = asked or ranks
        check_same_queries(asked, ranks)
        drawn = intervals.bootstrap(ranks.found, RESAMPLES, (0, 0))
        recalls = [v for of in drawn.values() for k, v in of.items() if k.startswith("recall")]
        found.append(np.sum(recalls, axis=0))
    return np.stack(found)


def rsum_difference(pairs):
    """The interval of rsum(a) - rsum(b), mean over pairs (a, b) of runs, over the test images.

    Paired: each query's difference is averaged over the pairs. So the interval is about other
    images, not other seeds. Raises ValueError as `rsum_draws`.
    """
    drawn = rsum_draws([run for pair in pairs for run in pair])
    return intervals.interval(np.mean(drawn[::2] - drawn[1::2], axis=0))


def seed_means(draws):
    """The mean over seeds, of the figures themselves and with S of S seeds drawn anew each time.

    The bootstrap's variance of a mean of S is too small by (S - 1) / S, of three seeds by a third:
    deviations from the mean are widened by the root of that.

    Args:
      draws: (L, S, 1 + R); seed s of all losses belongs together.

    Returns:
      (L, 1 + R).
    """
    num_seeds, mean = draws.shape[1], draws.mean(axis=1)
    if num_seeds == 1:
        return mean
    chosen = np.random.default_rng(1).integers(0, num_seeds, (draws.shape[2] - 1, num_seeds))
    share = np.stack([np.bincount(row, minlength=num_seeds) for row in chosen]) / num_seeds
    share = np.concatenate([np.full((1, num_seeds), 1 / num_seeds), share])  # (1 + R, S)
    wide = np.sqrt(num_seeds / (num_seeds - 1))
    return mean + wide * np.einsum("rs,lsr->lr", share, draws - mean[:, None])
