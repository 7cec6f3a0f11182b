"""Ways of training side by side, with several seeds each: who is first, and how far the others.

Intervals are about other test images and other seeds (Student's law, as in compare.py); a
difference from the first is paired by image.
"""

import numpy as np

from grading.comparison import paired, seeds
from lab.studies import trials


def rank_runs(graded):
    """Ways of training, best first.

    Args:
      graded: {name: (run, its numbers) for each seed, in the same order}.

    Returns:
      One dict for each: "name", "rsum" and "behind" (None for the first, else with "p") as
      {"value", "low", "high"}, "rsums" by seed, "spread" of these; means of both directions'
      recalls and median rank and of "minutes"; "best" epochs, "parted", "collapsed": in how many
      runs the watch spoke.
    """
    places: dict = {}
    ranks = {n: [paired.read_ranks(run, places) for run, _ in own] for n, own in graded.items()}
    means, table = {name: seeds.mean_interval(own) for name, own in ranks.items()}, []
    first = max(means, key=lambda name: means[name]["value"])
    for name, own in graded.items():
        numbers = [of for _, of in own]
        rsums = [seeds.mean_interval([run])["value"] for run in ranks[name]]
        behind = seeds.compare_means(ranks[first], ranks[name])["rsum"] if name != first else None
        one = {"name": name, "rsum": means[name], "rsums": rsums}
        one["behind"] = behind and {key: behind[key] for key in ("value", "low", "high", "p")}
        one["spread"] = float(np.std(rsums, ddof=1)) if len(own) > 1 else None
        for key in (*trials.SIDES, "val_rsum", "minutes"):
            one[key] = np.mean([of[key] for of in numbers], axis=0).tolist()
        one["best"] = [of["epoch"] for of in numbers]
        one["parted"] = any(of["parted"] for of in numbers)
        table.append(one | {"collapsed": sum(bool(of["collapsed"]) for of in numbers)})
    return sorted(table, key=lambda one: -one["rsum"]["value"])


def named(one):
    """A name, and in how many runs the collapse watch spoke."""
    said = f" (collapsed: {one['collapsed']} of {len(one['rsums'])})" if one["collapsed"] else ""
    return one["name"] + said


COLUMNS: trials.Columns = {
    "test rsum (95 % interval)": lambda one: trials.with_interval(one["rsum"]),
    "behind the first (95 % interval)": lambda one: (
        trials.with_interval(one["behind"]) if one["behind"] else "-"
    ),
    "sd of seeds": lambda one: "-" if one["spread"] is None else f"{one['spread']:.1f}",
    "i2t R@1/5/10": trials.recall_column(trials.SIDES[0]),
    "i2t med r": lambda one: f"{round(one[trials.SIDES[0]][3], 1):g}",
    "t2i R@1/5/10": trials.recall_column(trials.SIDES[1]),
    "t2i med r": lambda one: f"{round(one[trials.SIDES[1]][3], 1):g}",
    "best epochs": lambda one: ", ".join(map(str, one["best"])),
    "minutes a run": trials.minutes,
}
