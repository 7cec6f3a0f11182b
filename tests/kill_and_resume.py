"""Kills scripts at random moments and gives the command again; they must end as those left alone.

PYTHONPATH=. python tests/kill_and_resume.py 10             # ten of each signal and case
PYTHONPATH=. python tests/kill_and_resume.py 10 joint score # of two cases
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import starter
import tiny_data

from run import files, manifest

SIGNALS = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}  # and the exit status that they leave
EPOCHS = 5  # of the case "projection"
FREE = ("log.txt", "run.md")  # tell of times, and of commands; tf2onnx names nodes by chance
RUN = Path("exp/a")
WORK = "work"  # the folder that all work in: caches know pictures by where they lie


class Case(NamedTuple):
    """What is killed.

    Attributes:
      script: of the root; flags: of it.
      prepare: what its folder holds before.
      fresh: in a process without TensorFlow, and from a second on: it is starting before.
    """

    script: str
    flags: list[str]
    prepare: Any = None
    fresh: bool = False

    def start(self, folder, *flags):
        return starter.Started(self.script, *(flags or self.flags), cwd=folder, fresh=self.fresh)

    def again(self, folder):
        """What is given after a kill: a training that was begun goes on by its name alone."""
        begun = any((folder / RUN / file).is_file() for file in ("config.json", "start.json"))
        resumed = self.script == "train.py" and begun
        return [*EXACT, "--resume", "--exp=a"] if resumed else self.flags


EXACT = ["--deterministic", "--threads=1", "--cache_dir=cache"]
SMALL = [
    *EXACT, "--exp=a", "--limit=40", "--hidden_dim=32", "--embed_dim=16", "--batch_size=16",
    "--learning_rate=3e-3", "--dropout=0.3", "--image_dropout=0.1", "--word_dropout=0.1",
]  # fmt: skip


def vectors(folder):
    tiny_data.precomp(folder / "data")


def pictures(folder):
    tiny_data.flickr(folder / "data", pictures=True)


def graded(folder):
    """A run with a score of another split: what test.py replaces."""
    run_through(folder, CASES["projection"])
    run_through(folder, Case("test.py", ["--exp=a", "--split=validation", "--threads=1"]))


CASES = {
    "projection": Case("train.py", [*SMALL, f"--epochs={EPOCHS}"]),
    "gru": Case("train.py", [
        *EXACT, "--exp=a", "--recipe=ph", "--data=precomp", "--data_dir=data", "--embed_dim=16",
        "--word_dim=8", "--batch_size=4", "--epochs=3",
    ], vectors),
    "dual_path": Case("train.py", [
        *EXACT, "--exp=a", "--recipe=dual_path_stage2", "--first_phase=dual_path_stage1",
        "--data=flickr8k", "--data_dir=data", "--cnn=small", "--image_weights=none",
        "--image_size=32", "--text_width=0.02", "--embed_dim=8", "--word_dim=8", "--batch_size=2",
        "--hard_texts=3", "--num_classes=0", "--epochs=2",
    ], pictures),
    "transformer": Case("train.py", [
        *SMALL, "--model=transformer", "--limit=20", "--cnn=resnet_8", "--image_pooling=mean",
        "--image_size=32", "--text_size=tiny", "--batch_size=25", "--epochs=3",
    ]),
    "joint": Case("train.py", [
        *SMALL, "--model=joint", "--first_phase=joint_scenes_rank", "--rank_weight=0",
        "--freeze=image,caption,words", "--limit=20", "--attention_dim=8", "--word_dim=8",
        "--max_length=6", "--batch_size=25", "--epochs=2",
    ]),
    "extraction": Case("data/vision/extract.py", [
        "--data=flickr8k", "--data_dir=data", "--cache_dir=cache", "--output=exp/a",
        "--image_weights=random", "--cnn=MobileNetV2", "--crops=1",
    ], pictures, fresh=True),
    "score": Case("test.py", ["--exp=a", "--threads=1"], graded),
}  # fmt: skip


def run_through(folder, case, *flags):
    """Runs a case to its end."""
    done = case.start(folder, *flags).finish()
    if done.returncode:
        raise RuntimeError(f"{case.script} {flags or case.flags} failed: {done.stderr[-2000:]}")


def begin(folder, name):
    """Makes what a case begins with and what it gives undisturbed; returns the seconds it took."""
    case, folder = CASES[name], Path(folder)
    (folder / "begun").mkdir()
    if case.prepare:
        case.prepare(folder / "begun")
    shutil.copytree(folder / "begun", folder / WORK)
    began = time.perf_counter()
    run_through(folder / WORK, case)
    seconds = time.perf_counter() - began
    (folder / WORK).rename(folder / "through")
    return seconds


def count_rows(run):
    """Epochs in a run's history.csv; 0 without one."""
    history = Path(run) / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


def kill_and_resume(folder, name, kind, seconds=120.0, rows=None, of=RUN):
    """Starts a case, kills it after so many seconds or epochs, and gives it again.

    Args:
      folder: of `begin`; rows: epochs; of: the run, itself or its first phase, whose epochs count.

    Returns:
      How many epochs it had done when it was killed, and what `differences` finds.
    """
    case, place = CASES[name], Path(folder) / WORK
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(Path(folder) / "begun", place)
    started = case.start(place)
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline and started.process.is_alive():
        if rows is not None and count_rows(place / of) >= rows:
            break
        time.sleep(0.01)
    done_rows, ended = count_rows(place / of), not started.process.is_alive()
    if not ended:
        os.kill(started.process.pid, getattr(signal, kind))
    done = started.finish()
    # A signal may come before the script's first line: then the system ends it, without a word.
    by_system = -getattr(signal, kind)
    if done.returncode not in (0, SIGNALS[kind], by_system) or "Traceback" in done.stderr:
        raise RuntimeError(f"{kind} ended with {done.returncode}: {done.stderr[-2000:]}")
    score = RUN / "score.json"
    left, old, new = (contents(Path(folder) / which).get(str(score)) for which in
                      (WORK, "begun", "through"))  # fmt: skip
    found = [] if left in (None, old, new) else [f"half of {score}"]
    run_through(place, case, *case.again(place))
    return done_rows, found + differences(Path(folder) / "through", place)


def contents(folder):
    """{name of a file below a folder: what must be the same}."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): content(path) for path in paths}


def content(path):
    if path.suffix == ".onnx" or path.name in FREE:
        return None
    if path.name != manifest.NAME:
        return path.read_bytes()
    return {n: hashes for n, hashes in files.read_json(path)["files"].items() if ".onnx" not in n}


def differences(through, other):
    """Names of files that one of two folders lacks, or that differ."""
    expected, found = contents(through), contents(other)
    return sorted(n for n in {*expected, *found} if expected.get(n, 0) != found.get(n, 0))


def main(kills, names):
    """Prints what differs after each kill, and ends with 1 if anything did."""
    faults = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            seconds = begin(folder, name)
            print(f"{name}, undisturbed: {seconds:.1f} s", flush=True)
            for kind in [kind for kind in SIGNALS for _ in range(kills)]:
                after = random.uniform(1.0 if CASES[name].fresh else 0.0, seconds)
                try:
                    differing = kill_and_resume(folder, name, kind, after)[1]
                except RuntimeError as error:
                    differing = [str(error)]
                faults += bool(differing)
                told = ", ".join(differing) or "none"
                print(f"{name}, {kind} after {after:.2f} s: files that differ: {told}", flush=True)
    sys.exit(f"{faults} faults" if faults else 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:] or CASES)
