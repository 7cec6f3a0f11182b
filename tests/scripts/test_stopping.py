"""Trainings that are killed or stopped go on to the same bits; two do not write one run."""

import os
import signal
import time
from pathlib import Path

import kill_and_resume
import pytest
import starter
from trying import fail, succeed

from run import files
from run.folder import Run

TINY = [
    "--limit=40", "--hidden_dim=32", "--embed_dim=16", "--batch_size=16", "--learning_rate=3e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    folder = tmp_path_factory.mktemp("through")
    kill_and_resume.begin(folder, "projection")
    return folder


@pytest.mark.parametrize("kind", kill_and_resume.SIGNALS)
def test_a_stopped_run_resumes_to_the_same_bits(through, kind):
    rows, differing = kill_and_resume.kill_and_resume(through, "projection", kind, rows=2)
    assert 2 <= rows < kill_and_resume.EPOCHS  # it was stopped before its end
    assert differing == []


def test_stopped_in_its_first_phase_its_name_is_enough(tmp_path):
    kill_and_resume.begin(tmp_path, "gru")
    first = Path("exp/a-first")
    for kind, moment in (("SIGKILL", {"seconds": 1.0}), ("SIGTERM", {"rows": 1})):
        rows, differing = kill_and_resume.kill_and_resume(tmp_path, "gru", kind, of=first, **moment)
        assert rows < 3  # epochs of the first phase
        assert differing == []


def wait_for(path, process):
    while not path.is_file() and process.is_alive():
        time.sleep(0.02)
    assert path.is_file()


def test_a_second_writer_is_refused_and_the_first_says_how_to_go_on(tmp_path):
    more = [*TINY, "--epochs=500", "--exp=two"]
    started = starter.Started("train.py", *more, cwd=tmp_path)
    wait_for(tmp_path / "exp/two/best.weights.h5", started.process)
    says = f"exp/two is being written by process {started.process.pid} on "
    for name, flags in (
        ("train.py", ["--resume"]),
        ("train.py", [*more, "--overwrite"]),
        ("test.py", []),
    ):
        fail(name, *flags, "--exp=two", cwd=tmp_path, says=says)
    os.kill(started.process.pid, signal.SIGINT)
    done = started.finish()
    assert done.returncode == 130
    assert done.stderr == (
        "train.py: stopped; the last whole epoch is safe; go on with: "
        "python train.py --exp two --resume\n"
    )
    assert sorted(p.name for p in (tmp_path / "exp").iterdir()) == ["two"]


def test_only_what_a_run_wrote_is_replaced(tmp_path):
    run = Run(tmp_path / "exp/mine")
    succeed("train.py", *TINY, "--epochs=1", "--exp=mine", cwd=tmp_path)
    for name in ("thesis.txt", "last/notes.txt", "pictures/one.png"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("years of work")
    told = succeed("train.py", *TINY, "--epochs=1", "--exp=mine", "--overwrite", cwd=tmp_path)
    assert "not of a run, so it stays: last, pictures, thesis.txt" in told
    for name in ("thesis.txt", "last/notes.txt", "pictures/one.png"):
        assert (run / name).read_text() == "years of work"
    for foreign in ({"name": "their project"}, {"format": 2, "settings": {}}, [], "text"):
        files.write_json(run.config, foreign)
        fail("train.py", *TINY, "--exp=mine", "--overwrite", cwd=tmp_path, says="no run folder")
        assert files.read_json(run.config) == foreign and run.best_weights.is_file()
