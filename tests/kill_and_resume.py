"""Kills trainings at random moments and resumes them; they must end as those that ran through.

PYTHONPATH=. python tests/kill_and_resume.py 10              # ten of each signal and case
PYTHONPATH=. python tests/kill_and_resume.py 10 two_phases   # of one case
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import starter
import tiny_data

EPOCHS = 8
FLAGS = [
    "--limit=40", "--hidden_dim=32", "--embed_dim=16", "--batch_size=16", f"--epochs={EPOCHS}",
    "--learning_rate=3e-3", "--dropout=0.3", "--image_dropout=0.1", "--word_dropout=0.1",
]  # fmt: skip
TWO_PHASES = [
    "--recipe=ph", "--data=precomp", "--data_dir=data", "--embed_dim=16", "--word_dim=8",
    "--batch_size=4", "--epochs=3",
]  # fmt: skip
CASES = {"one_phase": FLAGS, "two_phases": TWO_PHASES}
SIGNALS = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}  # and the exit status that they leave
EXACT = ["--deterministic", "--threads=1"]
COMPARED = ("history.csv", "history.png", "best.weights.h5", "last/state.npz", "config.json",
            "vocabulary.json", "features.npz")  # fmt: skip


def train(folder, *flags):
    """Trains to the end."""
    done = starter.run("train.py", *flags, *EXACT, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"train.py {' '.join(flags)} failed: {done.stderr[-2000:]}")


def run_through(folder, case="one_phase"):
    """The run that the others are compared with; returns how many seconds it took."""
    if case == "two_phases":
        tiny_data.precomp(Path(folder) / "data")
    began = time.perf_counter()
    train(folder, *CASES[case], "--exp=through")
    return time.perf_counter() - began


def count_rows(folder, name):
    """Epochs in a run's history.csv; 0 without one."""
    history = Path(folder) / "exp" / name / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


def kill_and_resume(
    folder, name, seconds=None, rows_before=None, case="one_phase", kind="SIGKILL", of=None
):
    """Starts a run, kills it after so many seconds or epochs, and resumes it by its name alone.

    Args:
      of: the run, itself or its first phase, whose epochs count.

    Returns:
      How many epochs it had done when it was killed.
    """
    started = starter.Started("train.py", *CASES[case], f"--exp={name}", *EXACT, cwd=folder)
    deadline = time.perf_counter() + (seconds if seconds is not None else 120)
    while time.perf_counter() < deadline and started.process.is_alive():
        if rows_before is not None and count_rows(folder, of or name) >= rows_before:
            break
        time.sleep(0.01)
    rows = count_rows(folder, of or name)
    ended = not started.process.is_alive()
    if not ended:
        os.kill(started.process.pid, getattr(signal, kind))
    done = started.finish()
    if (not ended and done.returncode not in (0, SIGNALS[kind])) or "Traceback" in done.stderr:
        raise RuntimeError(f"{kind} ended with {done.returncode}: {done.stderr[-2000:]}")
    run = Path(folder) / "exp" / name
    known = any((run / file).is_file() for file in ("config.json", "start.json"))
    # Killed before it was begun there is nothing to go on with.
    train(folder, *(["--resume"] if known else CASES[case]), f"--exp={name}")
    return rows


def differences(folder, name):
    """Names of files that differ from the uninterrupted run's, byte by byte, or are left over."""
    found = []
    for phase in ("", "-first"):
        through, other = (Path(folder) / "exp" / f"{run}{phase}" for run in ("through", name))
        if not through.exists():
            continue
        for file in COMPARED:
            own, expected = ((side / file).read_bytes() for side in (other, through))
            if file == "config.json":  # which names the first phase
                own = own.replace(f"/{name}-first".encode(), b"/through-first")
            found += [file] if own != expected else []
        found += [str(path) for path in other.rglob(".*")]
    return found


def main(kills, cases):
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            seconds = run_through(folder, case)
            print(f"{case}, uninterrupted: {seconds:.1f} s", flush=True)
            for kind in SIGNALS:
                for kill in range(kills):
                    after, name = random.uniform(0.0, 1.0) * seconds, f"{kind}{kill}"
                    kill_and_resume(folder, name, after, case=case, kind=kind)
                    differing = ", ".join(differences(folder, name)) or "none"
                    print(f"{kind} after {after:.2f} s: files that differ: {differing}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:] or CASES)
