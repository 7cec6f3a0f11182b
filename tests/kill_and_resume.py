"""Kills trainings with SIGKILL and resumes them; they must end as the one that ran through.

python tests/kill_and_resume.py 10        # ten kills at random moments, in a temporary folder
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import starter

EPOCHS = 8
FLAGS = [
    "--limit=40", "--hidden_dim=32", "--embed_dim=16", "--batch_size=16", f"--epochs={EPOCHS}",
    "--learning_rate=3e-3", "--dropout=0.3", "--image_dropout=0.1", "--word_dropout=0.1",
]  # fmt: skip
EXACT = ["--deterministic", "--threads=1"]
COMPARED = ("history.csv", "history.png", "best.weights.h5", "last/state.npz", "config.json",
            "vocabulary.json", "features.npz")  # fmt: skip


def train(folder, *flags):
    """Trains to the end."""
    done = starter.run("train.py", *flags, *EXACT, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"train.py {' '.join(flags)} failed: {done.stderr[-2000:]}")


def run_through(folder):
    """The run that the others are compared with; returns how many seconds it trained."""
    train(folder, *FLAGS, "--exp=through")
    return time.time() - (Path(folder) / "exp/through/config.json").stat().st_mtime


def count_rows(folder, name):
    """Epochs in a run's history.csv; 0 without one."""
    history = Path(folder) / "exp" / name / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


def kill_and_resume(folder, name, seconds=None, rows_before=None):
    """Starts a run, kills it after so many seconds of training or epochs, and resumes it.

    Returns:
      How many epochs it had done when it was killed.
    """
    started = starter.Started("train.py", *FLAGS, f"--exp={name}", *EXACT, cwd=folder)
    config = Path(folder) / "exp" / name / "config.json"
    while not config.is_file() and started.process.is_alive():  # what comes before is start-up
        time.sleep(0.01)
    deadline = time.perf_counter() + (seconds if seconds is not None else 120)
    while time.perf_counter() < deadline and started.process.is_alive():
        if rows_before is not None and count_rows(folder, name) >= rows_before:
            break
        time.sleep(0.01)
    started.process.kill()
    started.finish()
    rows = count_rows(folder, name)
    state = Path(folder) / "exp" / name / "last" / "state.npz"
    # Killed before the first epoch ended there is nothing to go on with.
    flags = ["--resume"] if state.is_file() else [*FLAGS, "--overwrite"]
    train(folder, *flags, f"--exp={name}")
    return rows


def differences(folder, name):
    """Names of files that differ from the uninterrupted run's, byte by byte."""
    through, other = (Path(folder) / "exp" / run for run in ("through", name))
    return [f for f in COMPARED if (through / f).read_bytes() != (other / f).read_bytes()]


def main(kills):
    with tempfile.TemporaryDirectory() as folder:
        seconds = run_through(folder)
        print(f"uninterrupted: {EPOCHS} epochs in {seconds:.1f} s")
        for kill in range(kills):
            after = random.uniform(0.0, 1.0) * seconds
            rows = kill_and_resume(folder, f"killed{kill}", seconds=after)
            differing = ", ".join(differences(folder, f"killed{kill}")) or "none"
            print(f"killed after {after:.2f} s ({rows} epochs): files that differ: {differing}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
