"""How sure a mean difference of pairs of runs is: the same resamples of test images for all.

Shape letters: Q queries, R resamples.
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
