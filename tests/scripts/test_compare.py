"""compare.py: the table of runs, pairs of runs, files, and what it refuses."""

import csv
import json

import numpy as np
import pytest
import starter

from grading import score as scores
from lab.settings import settings_of
from run import files
from run.folder import Run
from settings.training import Facts
from systems import config

OWNER = np.repeat(np.arange(30), 2)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def leave(run, noise, *words, data="a"):
    """Leaves a scored run: captions are their images with so much noise."""
    rng = np.random.default_rng(5)
    image = unit(rng.standard_normal((30, 8)))
    text = unit(image[OWNER] + noise * rng.standard_normal((60, 8)))
    score, found = scores.grade_embeddings(image, text, OWNER)
    config.save(run, settings_of(*words), Facts())
    files.write_text(run.best_weights, "weights")
    names = [f"{i}.jpg" for i in range(30)]
    scores.write_ranks(run.folder, found, [f"caption {i}" for i in range(60)], names)
    protocol = {"data": "csv", "split": "test", "images": 30}
    files.write_json(run.score, {"protocol": protocol, "hashes": {"data": data}, **score})
    run.log("61 s; best epoch 3 of 4: val_rsum 1; curves in x; next: y")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("compare")
    leave(Run(home / "exp/good"), 0.3, "--loss=simclr", "--epochs=4")
    leave(Run(home / "exp/bad"), 1.5, "--loss=modified")
    leave(Run(home / "exp/other"), 0.3, "--loss=modified", data="b")
    config.save(Run(home / "exp/begun"), settings_of(), Facts())
    config.save(Run(home / "exp/good-first"), settings_of(), Facts())
    return home


def compare(home, *words):
    return starter.run("compare.py", *words, cwd=home)


def test_all_runs_are_listed_by_data_the_best_first(home):
    done = compare(home)
    assert done.returncode == 0
    first, second = done.stdout.strip().split("\n\ncsv, test, 30 images (fingerprint b)\n\n")
    assert first.startswith("csv, test, 30 images (fingerprint a)")
    names = [line.split()[0] for line in first.splitlines()[2:]]
    assert names == ["run", "good", "bad"] and second.splitlines()[1].split()[0] == "other"
    good = first.splitlines()[3]
    assert "simclr" in good and "--epochs=4" in good and " 3  " in good and " 1.0  " in good
    assert "left out: begun:" in done.stderr and "has no score.json" in done.stderr
    assert "good-first" not in done.stderr  # it led to good


def test_two_runs_are_tested_query_by_query(home):
    done = compare(home, "bad", "good")
    assert done.returncode == 0
    assert "good is ahead of bad: -" in done.stdout and "image to text  recall@1" in done.stdout
    again = compare(home, "good", "exp/good", "bad")  # one run twice is one run
    assert again.stdout.count(" is ahead of ") == 1


def test_files_and_filters(home):
    for suffix in ("md", "csv", "json"):
        done = compare(home, f"--output=table.{suffix}", "--filter=loss=simclr")
        assert done.returncode == 0, done.stderr
    rows = json.loads((home / "table.json").read_text())
    assert [row["run"] for row in rows] == ["good"] and rows[0]["rsum"]["low"] < 600
    with open(home / "table.csv", newline="") as file:
        assert next(csv.DictReader(file))["run"] == "good"
    assert (home / "table.md").read_text().splitlines()[1].startswith("|---|")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["good", "other"], "these runs are of different data"),
        (["good", "none"], "unknown experiment 'none'; the runs in exp/ are: "),
        (["x*"], "no run in exp/ is called like 'x*'"),
        (["--by=x"], "has no x: choose one of rsum, mrr"),
        (["good", "bad", "--by=median_rank"], "no mean over queries"),
        (["--filter=loss"], "expected name=value"),
        (["--filter=losses=x"], "no run has a setting of that name"),
        (["--filter=loss=sigmoid"], "no scored run in exp/"),
        (["--output=table.txt"], "expected a .md, .csv or .json file"),
    ],
)
def test_what_it_refuses_in_one_line(home, words, says):
    done = compare(home, *words)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


def test_a_named_run_without_a_score_is_told_by_the_status(home):
    done = compare(home, "good", "begun")
    assert done.returncode == 1 and "left out: begun" in done.stderr
