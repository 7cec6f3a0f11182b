"""The league of losses: one tower, one budget, each loss with the numbers of its own publication.

    flags_of("simclr", {})             # the flags of train.py that make it so
    standings({"simclr": [run, ...]})  # best first, with intervals over images and seeds

What else a publication trains with (rate, optimiser, batch) belongs to its towers, and the league's
tower is the same for all: it is no part of a loss here, unless --loss_flags says so.

Under Adam the length of a gradient says little, so losses that differ by a factor are nearly one:
`sum_hinge` is `sum_triplet`, and `max_hinge` is `max_triplet`, summed and not averaged. These two
are not in the league unless named. `mean_triplet` is in it because the document ran it: where its
small gradients sink below Adam's epsilon it is slower than `sum_triplet`, else the same. The soft
triplets are nothing where relevance is 0 or 1.

Shape letters: G images, L losses, Q queries, R resamples, S seeds.

References:
  [Smooth] Timofeev, Majkowska, Mlyniec, Blinova, Multi-modal retrieval with smooth weighting of
           negatives, EE-608 project, 2021, the table of its results.
"""

import shlex

import numpy as np

import metrics
from gallery import scan
from lab.studies import trials
from run import options

SMOOTH = "--temperature=0.07 --reduction=mean"
LEAGUE = {  # name: flags beside --learn=none
    "simclr": f"--loss=simclr --noinclude_positive {SMOOTH}",  # [Smooth]
    "simclr_positive": f"--loss=simclr --include_positive {SMOOTH}",  # InfoNCE, both directions
    "cross_entropy": f"--loss=cross_entropy {SMOOTH} --learn=temperature",  # CLIP, 2021
    "sigmoid": "--loss=sigmoid --temperature=0.1 --logit_bias=-10 --learn=temperature,bias "
    "--reduction=mean",  # SigLIP, 2023
    "sum_triplet": "--loss=sum_triplet --margin=0.2 --reduction=mean",  # [Smooth]
    "max_triplet": "--loss=max_triplet --margin=0.2 --reduction=mean",  # [Smooth]
    "mean_triplet": "--loss=mean_triplet --margin=0.2 --reduction=mean",  # [Smooth], its code
    "barlow": "--loss=barlow --barlow_lambda=5e-3",  # [Smooth]
    "paired_hinge": "--loss=paired_hinge --margin=1 --reduction=mean",  # recipe dual_path
    "modified": "--loss=modified --alpha=0.5 --margin=0.5 --reduction=sum",  # recipe irse_...
    "assignment": "--loss=assignment --alpha=0.5 --margin=0.5 --reduction=sum",
    "random_triplet": "--loss=random_triplet --nosquared --margin=0.5 --reduction=sum",
    "hardest_triplet": "--loss=hardest_triplet --nosquared --margin=0.5 --reduction=sum",
}
UNLESS_NAMED = {
    "sum_hinge": "--loss=sum_hinge --margin=0.2 --reduction=sum",  # recipe sh
    "max_hinge": "--loss=max_hinge --margin=0.2 --reduction=sum",  # recipe mh
}
OF_A_LOSS = (  # flags that --train may not hold: every loss has its own
    "loss", "temperature", "include_positive", "reduction", "learn", "logit_bias", "margin",
    "barlow_lambda", "alpha", "squared", "seed",
)  # fmt: skip
DOCUMENT = {  # R@1, R@5, R@10 and median rank, image to text, then text to image
    "sum_triplet": ((16.5, 39.0, 52.5, 9), (13.2, 36.0, 50.3, 10)),
    "max_triplet": ((15.9, 39.4, 52.4, 9), (12.8, 34.5, 49.0, 11)),
    "simclr": ((19.7, 43.7, 56.4, 7), (15.7, 39.8, 54.2, 9)),
    "barlow": ((2.0, 7.6, 12.0, 111), (1.9, 7.9, 13.6, 62)),
}
RESAMPLES = 1000
LEVEL = (0.025, 0.975)
SIDES = ("image_to_text", "text_to_image")
HEAD = (
    "loss", "test rsum (95 % interval)", "behind the first (95 % interval)", "sd of seeds",
    "i2t R@1/5/10", "med r", "t2i R@1/5/10", "med r", "best epochs", "minutes a run",
    "document: rsum", "i2t R@1/5/10, med r; t2i",
)  # fmt: skip
NOTES = """
Means over the seeds. Intervals: test images and seeds drawn anew together ({} times), the same ones
for all losses; the difference from the first is that of the paired draws. Of few seeds such an
interval knows little about other seeds: see their standard deviation.
The document's figures: 5,000 images and 25,000 captions of COCO, ResNet-34 and DistilBERT; its two
rows of triplets are two runs of what is mean_triplet here.
"""


def flags_of(name, own):
    """The flags of train.py that make a loss of the league, or any other loss with its defaults.

    Args:
      name: of `LEAGUE`, `UNLESS_NAMED` or `options.LOSSES`.
      own: {name: flags that win}, of `read_own`.

    Raises:
      ValueError: there is no such loss; the names are listed.
    """
    known = {**LEAGUE, **UNLESS_NAMED}
    if name not in known and name not in options.LOSSES:
        names = dict.fromkeys([*known, *options.LOSSES])
        raise ValueError(f"unknown loss {name!r}: choose from {', '.join(names)}")
    return ["--learn=none", *known.get(name, f"--loss={name}").split(), *own.get(name, [])]


def read_own(given, names):
    """--loss_flags, "NAME: --flag value ...", as {name: flags}.

    Args:
      given: the texts; names: the losses that are trained.

    Raises:
      ValueError: one begins with no such name.
    """
    own = {}
    for text in given:
        name, colon, words = text.partition(":")
        if not colon or name.strip() not in names:
            raise ValueError(
                f"--loss_flags {text!r}: expected the name of a loss, a colon and flags of "
                f"train.py, such as '{names[0]}: --temperature 0.1'; the losses are "
                f"{', '.join(names)}"
            )
        own.setdefault(name.strip(), []).extend(shlex.split(words))
    return own


def check_train(words):
    """Refuses flags of --train that each loss has for itself. Raises ValueError."""
    way = "choose by --losses and --seeds, and give other numbers by --loss_flags"
    trials.refuse(words, OF_A_LOSS, f"which every loss has for itself: {way} 'NAME: --flag value'")


def rsum_draws(runs):
    """rsum of graded runs on the test images, and on the same resamples of these.

    Args:
      runs: graded on one split.

    Returns:
      (runs, 1 + R) float64; the first column is the rsum itself.

    Raises:
      ValueError: the runs were not graded on the same queries.
    """
    parts, places, weights = [], {}, None
    for direction in scan.DIRECTIONS:
        sides = [trials.read_ranks(run, direction) for run in runs]
        queries = sides[0][0]
        if any(side[0] != queries for side in sides):
            raise ValueError("the runs were graded on different queries: grade all on one split")
        owner = np.array([places.setdefault(image, len(places)) for image, _ in queries])  # (Q,)
        if weights is None:
            weights = _image_weights(len(places))
        hits = [
            sum(v for k, v in metrics.rank_values(ranks).items() if k.startswith("recall"))
            for _, ranks in sides
        ]
        sums = np.stack([np.bincount(owner, of, len(places)) for of in hits])  # (runs, G)
        # einsum adds up in one order; a product by BLAS would depend on the threads.
        drawn = np.einsum("rg,g->r", weights, np.bincount(owner, minlength=len(places)) * 1.0)
        parts.append(np.einsum("rg,sg->sr", weights, sums) / drawn)
    return np.sum(parts, axis=0)


def _image_weights(num_images):
    """(1 + R, G): how often each image counts; once each, then G of G drawn with replacement.

    As `intervals.with_intervals` draws them, so that one run has the interval of its score.json.
    """
    generator = np.random.default_rng((0, 0))
    draws = (generator.integers(0, num_images, num_images) for _ in range(RESAMPLES))
    counts = [np.bincount(draw, minlength=num_images) for draw in draws]
    return np.stack([np.ones(num_images), *counts])


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


def interval(sample):
    """{"value", "low", "high"} of (1 + R,) figures, the first of which is the value."""
    value = float(sample[0])
    low, high = (float(bound) for bound in np.quantile(sample[1:], LEVEL))
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def standings(runs):
    """The league, best first.

    Args:
      runs: {name of a loss: its S graded runs, one for each seed in the same order}.

    Returns:
      One dict for each loss: "loss", "rsum" and "behind" (None for the first) as {"value", "low",
      "high"}, "rsums" by seed, "spread" of these, both directions' recalls and "median_rank",
      "val_rsum", "epochs", "minutes", "parted", "collapsed": in how many runs the watch spoke.
    """
    flat = [run for own in runs.values() for run in own]
    draws = rsum_draws(flat)
    draws = draws.reshape(len(runs), -1, draws.shape[1])
    means = seed_means(draws)
    first = int(np.argmax(means[:, 0]))
    table = []
    for row, (name, own) in enumerate(runs.items()):
        behind = None if row == first else interval(means[first] - means[row])
        rsums = draws[row, :, 0]
        one = {"loss": name, "rsum": interval(means[row]), "behind": behind}
        one |= {"rsums": rsums.tolist(), "spread": None}
        if len(own) > 1:
            one["spread"] = float(np.std(rsums, ddof=1))
        table.append(one | _of_runs(own))
    return sorted(table, key=lambda one: -one["rsum"]["value"])


def _of_runs(runs):
    """What else the table says, means over the seeds."""
    scores, logs = [trials.grade(run) for run in runs], [trials.read_log(run) for run in runs]
    best = [trials.best_epoch(run, "val_rsum") for run in runs]
    names = [*(f"recall@{cutoff}" for cutoff in metrics.CUTOFFS), "median_rank"]
    sides = {
        side: [float(np.mean([score[side][name]["value"] for score in scores])) for name in names]
        for side in SIDES
    }
    return sides | {
        "val_rsum": float(np.mean([value for value, _, _ in best])),
        "epochs": [epoch for _, epoch, _ in best],
        "minutes": float(np.mean([log["seconds"] for log in logs])) / 60,
        "parted": any(log["parted"] for log in logs),
        "collapsed": sum(bool(log["collapsed"]) for log in logs),
    }


def row(one):
    """A loss's line of the table, the cells of `HEAD`."""
    behind = "-"
    if one["behind"]:
        behind = trials.with_interval(one["behind"])
    ours = [cell for side in SIDES for cell in _side(one[side])]
    known = DOCUMENT.get(one["loss"])
    theirs = ["-", "-"]
    if known:
        rsum = sum(recall for side in known for recall in side[:3])
        theirs = [f"{rsum:.1f}", "; ".join(", ".join(_side(side)) for side in known)]
    said = f" (collapsed: {one['collapsed']} of {len(one['rsums'])})" if one["collapsed"] else ""
    return [
        f"{one['loss']}{said}",
        trials.with_interval(one["rsum"]),
        behind,
        "-" if one["spread"] is None else f"{one['spread']:.1f}",
        *ours,
        ", ".join(map(str, one["epochs"])),
        f"{'> ' if one['parted'] else ''}{one['minutes']:.1f}",
        *theirs,
    ]


def _side(values):
    """Recalls as one cell, the median rank as another."""
    return " / ".join(f"{recall:.1f}" for recall in values[:3]), f"{round(values[3], 1):g}"
