"""Tries the tests of `compare.py` on simulated runs whose difference is known.

PYTHONPATH=. python tests/simulated_runs.py 2000          # tries of each case
PYTHONPATH=. python tests/simulated_runs.py 500 uneven    # of one case
PYTHONPATH=. python tests/simulated_runs.py 500 "seeds apart" --bootstrap    # as it is not done

A query's log rank is a mean plus normal parts: of its image, of its caption, of the run's seed, of
the run's image, of the run's caption. So a run's expected recall@K is a normal probability, and the
true difference of two runs is known without drawing. Told are, for rsum: how often a run is "ahead"
(without a difference 5 % is right), and how often the interval covers the truth (95 %).
"""

import sys
import time
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

import metrics
from grading.comparison import paired, seeds

IMAGES, CAPTIONS, GALLERY = 1000, 5, 1000
MEANS = {"text_to_image": 1.8, "image_to_text": 1.4}  # of log ranks
SHARED = {"image": 1.0, "caption": 0.8}  # deviations of what is hard for all runs


class Law(NamedTuple):
    """How a setting's runs come about: what is added to MEANS, and deviations of its own parts."""

    shift: float = 0.0
    image: float = 0.4
    caption: float = 0.8
    seed: float = 0.0


class Case(NamedTuple):
    """Two settings of so many seeds each, over so many images."""

    first: Law
    second: Law
    seeds: int = 1
    images: int = IMAGES


def expected_rsum(law):
    """The rsum of a setting over all images, captions and seeds."""
    total = 0.0
    for side, mean in MEANS.items():
        parts = [SHARED["image"], law.image, law.seed]
        parts += [SHARED["caption"], law.caption] if side == "text_to_image" else [0.5]
        spread = np.sqrt(np.square(parts).sum())
        total += 100 * stats.norm.cdf(np.log(metrics.CUTOFFS), mean + law.shift, spread).sum()
    return total


def draw(rng, case):
    """The runs of both settings: two lists of `paired.Ranks` on the same queries."""
    num = case.images
    hard, captions = rng.normal(0, SHARED["image"], num), (num, CAPTIONS)
    of_caption = rng.normal(0, SHARED["caption"], captions)
    owner, everyone = np.repeat(np.arange(num), CAPTIONS), np.arange(num)
    queries: dict[str, list] = {"text_to_image": [(str(i), None) for i in owner]}
    queries["image_to_text"] = [(str(i), None) for i in everyone]
    settings = []
    for law in (case.first, case.second):
        runs = []
        for _ in range(case.seeds):
            own = hard + law.shift + rng.normal(0, law.image, num) + rng.normal(0, law.seed)
            text = own[:, None] + of_caption + rng.normal(0, law.caption, captions)
            image = own + rng.normal(0, 0.5, num)
            logs = {"text_to_image": text.ravel(), "image_to_text": image}
            found = {}
            for side, log in logs.items():
                ranks = np.clip(np.ceil(np.exp(MEANS[side] + log)), 1, GALLERY).astype(np.int64)
                of = owner if side == "text_to_image" else everyone
                found[side] = metrics.Retrieval(ranks, of, GALLERY)
            runs.append(paired.Ranks(queries, found))
        settings.append(runs)
    return settings


def balanced(law):
    """The law with the shift that gives it the rsum of `Law()`."""
    wanted = expected_rsum(Law(seed=law.seed))
    shift = optimize.brentq(lambda x: expected_rsum(law._replace(shift=x)) - wanted, -3, 3)
    return law._replace(shift=shift)


CASES = {
    "equal": Case(Law(), Law()),
    "uneven": Case(Law(), balanced(Law(image=0.8, caption=1.6))),
    "few images": Case(Law(), Law(), images=100),
    "ahead": Case(Law(), Law(shift=0.06)),
    "seeds alike": Case(Law(), Law(), seeds=3),
    "seeds apart": Case(Law(seed=0.05), Law(seed=0.05), seeds=3),
    "seeds ahead": Case(Law(seed=0.05), Law(shift=0.1, seed=0.05), seeds=3),
}


def bootstrap_both(settings, resamples=1000):
    """What `seeds` does not do: percentiles of resampled images and seeds, deviations widened."""
    rng, means = np.random.default_rng(0), []
    images = rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), resamples).astype(np.float64)
    for runs in settings:
        shares = np.stack([paired.image_shares(run)[paired.RSUM] for run in runs])
        drawn = rng.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), resamples)
        figures, centre = images @ shares.T, images @ shares.mean(axis=0)  # (R, S), (R,)
        apart = ((figures - centre[:, None]) * drawn).mean(axis=1)
        means.append(centre + apart * np.sqrt(len(runs) / (len(runs) - 1)))
    low, high = np.quantile(means[0] - means[1], (0.025, 0.975))
    return {"low": low, "high": high, "p": 1 - (not low <= 0 <= high)}


def compare(settings, bootstrap):
    """One comparison as compare.py does it: that of rsum."""
    return bootstrap_both(settings) if bootstrap else seeds.compare_means(*settings)["rsum"]


def main(tries, names, bootstrap):
    for name in names or CASES:
        case, began = CASES[name], time.perf_counter()
        truth = expected_rsum(case.first) - expected_rsum(case.second)
        rng, ahead, outside, covered = np.random.default_rng(1), 0, 0, 0
        for attempt in range(1, tries + 1):
            one = compare(draw(rng, case), bootstrap)
            ahead += one["p"] < 0.05
            outside += not one["low"] <= 0 <= one["high"]
            covered += one["low"] <= truth <= one["high"]
            if attempt % 100 == 0 or attempt == tries:
                shares = [f"{100 * of / attempt:.1f} %" for of in (ahead, outside, covered)]
                print(
                    f"{name}: {attempt} tries in {time.perf_counter() - began:.0f} s, true "
                    f"difference {truth:.2f}: ahead in {shares[0]}, interval without 0 in "
                    f"{shares[1]}, covers the truth in {shares[2]}",
                    flush=True,
                )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    chosen = [word for word in sys.argv[1:] if word in CASES]
    main(numbers[0] if numbers else 200, chosen, "--bootstrap" in sys.argv)
