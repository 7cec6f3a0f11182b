"""Trainings for a study: train.py and test.py as processes, what they left, and a study's record.

    run = trials.train("sh-0", "--recipe=sh", seed=0)       # goes on where it stopped
    trials.grade(run)["rsum"]                               # {"value", "low", "high"}

A finished run is read, not trained anew; the last line of its log.txt says that it is finished.
"""

import csv
import dataclasses
import shlex
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import metrics
from grading.verify import read_score
from lab import scripts
from lab.options import Option
from lab.settings import compare_settings, settings_of
from run import files, folder
from run.log import read_log
from settings.training import LOWER_IS_BETTER
from systems import config

SIDES = ("image_to_text", "text_to_image")
KEYS = (*(f"recall@{cutoff}" for cutoff in metrics.CUTOFFS), "median_rank")
Columns = Mapping[str, Callable[[dict], str]]


class Study(NamedTuple):
    """A study.

    Attributes:
      trains: what; prints: what its table says.
      columns: of the table: {title: function of one finding -> its cell}.
      make: of `Trials` -> `Report`.
      own: its own flags.
      gives: flags of train.py that it gives itself, so that --train may not hold them.
      instead: what to do in place of that.
      baselines: whether linear baselines on the same images are printed under its table.
    """

    trains: str
    prints: str
    columns: Columns
    make: Callable[["Trials"], "Report"]
    own: tuple[Option, ...] = ()
    gives: tuple[str, ...] = ("recipe",)
    instead: str = "leave it out"
    baselines: bool = True


class Report(NamedTuple):
    """What a study found: one dict a row; `columns` where they depend on its flags."""

    title: str
    found: list[dict[str, Any]]
    notes: str = ""
    columns: Columns | None = None


def two_of(kinds):
    """The two --kinds that a study compares. Raises ValueError: there are not two."""
    if len(kinds) != 2:
        raise ValueError(f"--kinds has {len(kinds)} names; expected two to compare: last,fne")
    return kinds


class Trials:
    """The runs of a study.

    Args:
      root: their folder; words: flags of train.py for all of them.
      own: values of the study's own flags; threads: of each run, 0: all; jobs: runs at a time.

    Attributes:
      asked: flags of each run that was trained or read, as given: what it is, not where it lies.
    """

    def __init__(self, root, words=(), own: Any = None, threads=0, jobs=1):
        self.root, self.words, self.own = Path(root or "."), list(words), own or SimpleNamespace()
        self.jobs, self.threads = jobs, [f"--threads={threads}"] if threads else []
        self.title, self.asked = f"train.py {shlex.join(self.words)}", list[list[str]]()

    def train(self, name, *words, **values):
        """Trains a run, or what is left of it, with the flags of all runs and its own, which win.

        Raises:
          ValueError: train.py failed, or the run is there with other settings.
        """
        given = [*self.words, *words, *(f"--{flag}={value}" for flag, value in values.items())]
        self.asked.append(list(given))
        run, asked = folder.Run(self.root / name), settings_of(*given)
        if run.config.is_file():
            check_same(run, asked)
            if read_log(run)["finished"]:
                return run
        else:
            keep_asked(run, asked)
        given += [*self.threads, f"--exp_root={self.root}", f"--exp={name}"]
        if run.state.is_file():
            given.append("--resume")
        elif run.folder.exists():
            given.append("--overwrite")
        print(f"{name}: train.py {shlex.join(given)}", file=sys.stderr, flush=True)
        shown = sys.stderr if self.jobs == 1 else None
        scripts.run_apart("train.py", *given, shown=shown, said=name)
        return run

    def test(self, run, *words):
        """Grades a run by test.py."""
        given = f"--exp={run.folder.name}", f"--exp_root={run.folder.parent}", *self.threads
        scripts.run_apart("test.py", *given, *words, said=run.folder.name)

    def grade(self, run):
        """The run's score.json on the test split, from test.py unless it is there already."""
        if not is_graded(run):
            self.test(run)
        return read_score(run)

    def numbers(self, run):
        """A graded run's numbers: test recalls, median rank, rsum; validation's; the log's.

        "epoch" and "val_rsum" are of the graded weights, the best by --select; "top_val_rsum" is
        the highest of all epochs.
        """
        select = config.load(run)[0].select
        column = "loss" if select == "loss" else f"val_{select}"
        best, epoch, epochs = best_epoch(run, column, "val_rsum")
        score, log = self.grade(run), read_log(run)
        found = {side: [score[side][key]["value"] for key in KEYS] for side in SIDES}
        found |= {"rsum": score["rsum"], "val_rsum": best, "epoch": epoch, "epochs": epochs}
        return found | {"top_val_rsum": find_best(run, "val_rsum")[0]} | log

    def each(self, function, items):
        """The function's results for all items, in order, `jobs` at a time, up to a failure."""
        failed = threading.Event()

        def attempt(item):
            if failed.is_set():  # else the next training would begin before the failure is told
                raise ValueError("not begun, for a run before it failed")
            try:
                return function(item)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(attempt, items))


def asked_file(run):
    """The file beside a run that keeps what its command line asked for."""
    return run.folder.parent / ".asked" / f"{run.folder.name}.json"


def keep_asked(run, asked):
    """Keeps what a run was asked for where its config.json has only what "auto" came out as."""
    kept = {name: getattr(asked, name) for name in config.RESOLVED if hasattr(asked, name)}
    files.write_json(asked_file(run), kept)


def settings_as_asked(run, asked):
    """A run's settings, to be compared with asked ones.

    Where "auto" is asked for, they have what the run's own command line had. Of a run that no study
    has trained this is not known: there "auto" is taken for the same.
    """
    path, made = asked_file(run), config.load(run)[0]
    kept = files.read_json(path, dict) if path.is_file() else {}
    known = [n for n in config.RESOLVED if hasattr(made, n) and getattr(asked, n, None) == "auto"]
    return dataclasses.replace(made, **{name: kept.get(name, "auto") for name in known})


def check_same(run, asked):
    """Refuses a run that was trained with other settings than asked ones. Raises ValueError."""
    for name, (was, now) in compare_settings(settings_as_asked(run, asked), asked).items():
        raise ValueError(
            f"{run} was trained with --{name} {was}, not {now}: give another --exp_root, or "
            "remove that folder"
        )


def is_graded(run):
    """Whether test.py has graded the run as it is: whole, on the test split, by its own settings.

    `--test_shifts` of test.py is a setting, so the hash of the settings tells of it.
    """
    if not run.score.is_file():
        return False
    protocol, hashes = (read_score(run)[name] for name in ("protocol", "hashes"))
    graded = protocol.get("split"), protocol.get("folds"), hashes.get("weights")
    if graded != ("test", 1, files.file_hash(run.best_weights)):
        return False
    return hashes.get("config") == config.config_hash(*config.load(run))


def best_epoch(run, metric, shown=""):
    """What `find_best` finds; says so."""
    value, epoch, epochs = find_best(run, metric, shown)
    print(f"{run.folder.name}: {value:.4f} in epoch {epoch}", file=sys.stderr, flush=True)
    return value, epoch, epochs


def find_best(run, metric, shown=""):
    """(value of a column of history.csv in the best epoch, that epoch, epochs done).

    Args:
      metric: column that the best epoch is best in; shown: that of the value, by default the same.

    Raises:
      ValueError: it is no table of one line for each epoch.
    """
    sign = -1 if metric.removeprefix("val_") in LOWER_IS_BETTER else 1
    try:
        with open(run.history, encoding="utf-8") as file:  # a second phase begins with 0, no loss
            table = [row for row in csv.DictReader(file) if row[metric] or row["epoch"] != "0"]
        rows = [(float(of[metric]), float(of[shown or metric]), int(of["epoch"])) for of in table]
        (_, value, epoch), first = max(rows, key=lambda row: sign * row[0]), rows[0][2]
        epochs = [*range(first, first + len(rows))]
        if first not in (0, 1) or [e for *_, e in rows] != epochs or not np.isfinite(rows).all():
            raise ValueError("not one line for each epoch")
    except (csv.Error, *files.DAMAGE) as error:
        raise ValueError(
            f"{run.history} is no history of a training ({files.reason(error)}): train.py "
            f"--exp {run.folder.name} --resume writes it anew"
        ) from None
    return value, epoch, rows[-1][2]


def with_interval(one):
    """{"value", "low", "high"} as a cell: 232.1 (220.8 to 242.8)."""
    return "{value:.1f} ({low:.1f} to {high:.1f})".format(**one)


def recall_column(side):
    """A column: R@1 / 5 / 10 of one direction."""
    return lambda one: " / ".join(f"{recall:.1f}" for recall in one[side][:3])


def minutes(one):
    """Minutes of training, with a mark where a part of them was not told."""
    return f"{'> ' if one['parted'] else ''}{one['minutes']:.1f}"


GRADED: Columns = {
    "test i2t R@1/5/10": recall_column("image_to_text"),
    "test t2i R@1/5/10": recall_column("text_to_image"),
    "test rsum (95 % interval)": lambda one: with_interval(one["rsum"]),
}
