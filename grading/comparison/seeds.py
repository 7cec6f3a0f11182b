"""Several seeds of one setting as one: how sure a difference of settings is.

    compare_means([ranks of A, seed by seed], [ranks of B, seed by seed])["rsum"]

Two things vary: the test images, which all runs share, and the seeds, which each setting has of its
own. With d = mean of A's seeds - mean of B's, S_A and S_B seeds, and w = 1 / S_A + 1 / S_B,

    Var(d) = w s^2 + max(0, V - w e^2)

s^2 is the variance of a figure among seeds of one setting, pooled over both. V is the variance of d
by drawing other images. w e^2 is what of that is each run's own, which s^2 holds already: adding
V whole would count it twice. The quotient d / sqrt(Var) has Student's law, its degrees of freedom
by Satterthwaite; most of them are few, since seeds are few. A setting of one seed is given the
spread of the other's seeds.

Differs from a bootstrap over images and seeds, which counts e^2 twice and whose percentiles are too
narrow for three seeds: tests/simulated_runs.py tries both.

Shape letters: G images with captions, S seeds.

References:
  Satterthwaite, An approximate distribution of estimates of variance components, Biometrics
    Bulletin 2, 1946.
  Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007 (what is counted twice).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gallery.scan import DIRECTIONS
from grading.comparison import paired
from grading.comparison.paired import POWER, Ranks


def compare_means(first: Sequence[Ranks], second: Sequence[Ranks]) -> dict[str, Any]:
    """The differences first - second of two settings' means over their seeds.

    Args:
      first, second: a run for each seed; two single runs are compared by `paired.compare_pair`.

    Returns:
      As `paired.compare_pair`; instead of "needed" images "needed_seeds" of each setting, and
      "seeds": (S_A, S_B).

    Raises:
      ValueError: they are of different queries, or seeds of a single image.
    """
    if len(first) == len(second) == 1:
        return paired.compare_pair(first[0], second[0])
    for run in (*first, *second):
        paired.check_same_queries(first[0], run)
    shares = [[paired.image_shares(run) for run in runs] for runs in (first, second)]
    report: dict[str, Any] = {side: {} for side in DIRECTIONS}
    for side, name in shares[0][0]:
        own = [np.stack([run[side, name] for run in runs]) for runs in shares]  # (S, G) each
        (report[side] if side else report)[name] = compare_shares(*own)
    return report


def compare_shares(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """One metric's difference of two settings.

    Args:
      first: (S_A, G), second: (S_B, G): what each image adds to each run's figure. At least three
        runs together.

    Raises:
      ValueError: there is a single image.
    """
    from scipy import special  # half a second that two single runs do without

    both, images = (first, second), first.shape[1]
    apart = first.mean(axis=0) - second.mean(axis=0)  # (G,)
    value, freedom = float(apart.sum()), len(first) + len(second) - 2
    weight = 1 / len(first) + 1 / len(second)
    rest = np.concatenate([own - own.mean(axis=0) for own in both])  # (S_A + S_B, G)
    of_seeds = weight * float((rest.sum(axis=1) ** 2).sum()) / freedom
    of_runs = weight * float(_image_variance(rest).sum()) / freedom
    of_images = max(0.0, float(_image_variance(apart)) - of_runs)
    variance = of_seeds + of_images
    one = {"value": value, "images": images, "seeds": (len(first), len(second))}
    if not variance:
        return one | {"low": value, "high": value, "p": float(value == 0), "needed_seeds": None}
    df, error = _freedom(of_seeds, freedom, of_images, images - 1), variance**0.5
    wide = float(special.stdtrit(df, 0.975)) * error
    p = 2 * float(special.stdtr(df, -abs(value) / error))
    room = (value / POWER) ** 2 - of_images
    needed = int(np.ceil(2 * of_seeds / weight / room)) if room > 0 else None
    return one | {"low": value - wide, "high": value + wide, "p": p, "needed_seeds": needed}


def mean_interval(runs: Sequence[Ranks]) -> dict[str, float]:
    """The mean rsum of some seeds of one setting, {"value", "low", "high"}: other images and seeds.

    As `compare_means`, of one setting alone. Of a single run it is about other images only.

    Raises:
      ValueError: there is a single image.
    """
    from scipy import special

    shares = np.stack([paired.image_shares(run)[paired.RSUM] for run in runs])  # (S, G)
    count, images = shares.shape
    mean = shares.mean(axis=0)
    rest, freedom = shares - mean, max(1, count - 1)
    of_seeds = float((rest.sum(axis=1) ** 2).sum()) / freedom / count
    of_runs = float(_image_variance(rest).sum()) / freedom / count
    of_images = max(0.0, float(_image_variance(mean)) - of_runs)
    value, error = float(mean.sum()), (of_seeds + of_images) ** 0.5
    df = _freedom(of_seeds, freedom, of_images, images - 1)
    wide = float(special.stdtrit(df, 0.975)) * error if error else 0.0
    return {"value": value, "low": value - wide, "high": value + wide}


def _freedom(first: float, of_first: int, second: float, of_second: int) -> float:
    """Satterthwaite's degrees of freedom of the sum of two variances."""
    parts = first**2 / of_first + second**2 / max(1, of_second)
    return (first + second) ** 2 / parts if parts else 1.0


def _image_variance(shares: np.ndarray) -> np.ndarray:
    """Variance of the sums of (..., G) shares when other images are drawn.

    Raises:
      ValueError: a single image has none.
    """
    images = shares.shape[-1]
    if images < 2:
        told = f"there is {images} test image, which says nothing of others"
        raise ValueError(f"{told}: grade at least 2 images for an interval over seeds")
    return shares.var(axis=-1) * images * images / (images - 1)
