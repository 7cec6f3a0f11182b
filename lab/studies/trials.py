"""Trainings for a study: train.py and test.py as processes, what they left, how runs differ.

    run = train("exp/study", "sh-0", ["--recipe=sh", "--seed=0"])   # goes on where it stopped
    grade(run)["rsum"]                                              # {"value", "low", "high"}
    rsum_difference([(run, other)])                                 # paired, over the test images

A finished run is read, not trained anew; the last line of its log.txt says that it is finished.

Shape letters: Q queries, R resamples.
"""

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

import metrics
from gallery import scan
from grading import intervals
from run import files, folder, recipes

ROOT = Path(__file__).resolve().parents[2]
AUTO = ("relevance", "features")  # the snapshot says what "auto" came out as
UNCOMPARED = ("cache_dir", "init_from")  # settings that may differ from those of a finished run
BEGAN = re.compile(r"epochs done$", re.MULTILINE)
ENDED = re.compile(r"^(\d+) s(?:, ([\d,]+) captions/s[^;]*)?; best epoch ", re.MULTILINE)
COLLAPSED = re.compile(r"^the embeddings have collapsed \(step ([\d,]+)\)", re.MULTILINE)
APART = re.compile(r"^the embeddings have come apart again", re.MULTILINE)


def run_quietly(name, command, shown=None):
    """Runs a script for run `name`; its standard output goes to `shown`.

    Raises:
      ValueError: it failed, with its own line.
    """
    shown = shown or subprocess.DEVNULL
    done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it wrote no message"]
        # A second phase says after its first one that this has failed, not why.
        line = next((line for line in lines if ": error: " in line), lines[-1])
        raise ValueError(f"{name} failed: {line}")


def parse(given):
    """Flags of train.py as absl's values. Raises ValueError: one that train.py does not know."""
    values = recipes.train_flags()
    try:
        left = values(recipes.with_recipe(["train.py", *given]))[1:]
    except flags.Error as error:
        raise ValueError(f"--train: {error}") from None
    if left:
        raise ValueError(f"--train holds {left[0]!r}; expected flags of train.py: --name value")
    return values


def refuse(words, names, why):
    """Refuses flags of --train, given as words, that a study gives itself. Raises ValueError."""
    for flag in recipes.given_flags(["train.py", *words], ()):
        name = flag.lstrip("-").partition("=")[0]
        if name in names or name.removeprefix("no") in names:
            raise ValueError(f"--train holds {flag}, {why}")


def check_same(run, given):
    """Refuses a run that was trained with other flags. Raises ValueError."""
    was = recipes.load_settings(run.config)
    for name, value in vars(recipes.settings_from_flags(parse(given))).items():
        if name in UNCOMPARED or (name in AUTO and value == "auto"):
            continue
        if getattr(was, name) != value:
            raise ValueError(
                f"{run} was trained with --{name} {getattr(was, name)}, not {value}: give another "
                "--exp_root, or remove that folder"
            )


def train(root, name, given, show=False):
    """Trains a run of a study, or what is left of it.

    Args:
      root: folder of the runs; name: of the run; given: its flags.
      show: let its epochs through, to standard error.

    Returns:
      The `experiment.Run`.

    Raises:
      ValueError: train.py failed, or the run is there with other settings.
    """
    run = folder.Run(Path(root) / name)
    if run.config.is_file():
        check_same(run, given)
        if read_log(run)["finished"]:
            return run
    command = [sys.executable, str(ROOT / "train.py"), *given]
    command += [f"--exp_root={root}", f"--exp={name}"]
    if run.state.is_file():
        command.append("--resume")
    elif run.folder.exists():
        command.append("--overwrite")
    print(f"{name}: {shlex.join(command[1:])}", file=sys.stderr, flush=True)
    run_quietly(name, command, sys.stderr if show else None)
    return run


def grade(run, threads=0):
    """The run's score.json on the test split, from test.py unless it is there for these weights."""
    if run.score.is_file():
        score = files.read_json(run.score)
        graded = score["protocol"].get("split"), score["hashes"].get("weights")
        if graded == ("test", files.file_hash(run.best_weights)):
            return score
    command = [sys.executable, str(ROOT / "test.py"), f"--exp={run.folder.name}"]
    command += [f"--exp_root={run.folder.parent}"]
    command += [f"--threads={threads}"] if threads else []
    run_quietly(run.folder.name, command)
    return files.read_json(run.score)


def best_epoch(run, metric):
    """(best value of a column of history.csv, its epoch, epochs done); says so."""
    with open(run.history, encoding="utf-8") as file:
        rows = [(float(row[metric]), int(row["epoch"])) for row in csv.DictReader(file)]
    best, epoch = max(rows, key=lambda row: row[0])
    print(f"{run.folder.name}: {best:.4f} in epoch {epoch}", file=sys.stderr, flush=True)
    return best, epoch, rows[-1][1]


def with_interval(one):
    """{"value", "low", "high"} as a cell: 232.1 (220.8 to 242.8)."""
    return "{value:.1f} ({low:.1f} to {high:.1f})".format(**one)


def read_log(run):
    """What log.txt says.

    Returns:
      {"finished": bool, "seconds": of training, "parted": whether a part of it was killed, so that
      its seconds are not told, "pace": captions/s or None, "collapsed": steps at which the collapse
      watch spoke, "apart": how often it took that back}.
    """
    path = run / "log.txt"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    ends = ENDED.findall(text)
    paces = [float(pace.replace(",", "")) for _, pace in ends if pace]
    return {
        "finished": bool(ends) and bool(ENDED.match(text.strip().splitlines()[-1])),
        "seconds": sum(int(seconds) for seconds, _ in ends),
        "parted": len(BEGAN.findall(text)) > len(ends),
        "pace": paces[-1] if paces else None,
        "collapsed": [int(step.replace(",", "")) for step in COLLAPSED.findall(text)],
        "apart": len(APART.findall(text)),
    }


class Difference:
    """What two runs differ by in one direction, as `intervals.with_intervals` reads a direction.

    Args:
      parts: {metric: (Q,) float}, what each query adds to a metric's difference.
      query_image: (Q,) integers, the image that a query belongs to.
    """

    def __init__(self, parts, query_image):
        self.parts, self.query_image = parts, query_image

    def values(self):
        """{metric: (Q,)}."""
        return self.parts

    def median(self, weights, cluster):
        """(R,) zeros: a difference of medians is no mean over queries."""
        return np.zeros(len(weights))


def read_ranks(run, direction):
    """A direction's (queries, ranks): Q pairs of image name and caption or None, (Q,) integers."""
    with open(run / f"ranks_{direction}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    queries = [(row["image"], row.get("caption")) for row in rows]
    return queries, np.array([int(row["rank"]) for row in rows])


def rsum_difference(pairs):
    """The interval of rsum(a) - rsum(b), mean over pairs (a, b) of graded runs on one test split.

    Each query's difference is averaged over the pairs; then images are drawn with all their queries
    in both directions (paired bootstrap). So the interval is about other images, not other seeds.

    Returns:
      {"value", "low", "high"}.

    Raises:
      ValueError: the runs were not graded on the same queries.
    """
    found, places = {}, {}
    for direction in scan.DIRECTIONS:
        sides = [[read_ranks(run, direction) for run in pair] for pair in pairs]
        queries = sides[0][0][0]
        if any(side[0] != queries for pair in sides for side in pair):
            raise ValueError("the runs were graded on different queries: grade all on one split")
        values = [[metrics.rank_values(ranks) for _, ranks in pair] for pair in sides]
        parts = {
            name: np.mean([a[name] - b[name] for a, b in values], axis=0)
            for name in values[0][0]
            if name.startswith("recall")
        }
        owner = [places.setdefault(image, len(places)) for image, _ in queries]
        found[direction] = Difference(parts, np.array(owner))
    drawn: dict[str, Any] = found
    return intervals.with_intervals(drawn)["rsum"]
