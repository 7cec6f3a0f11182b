"""A teacher's round by the scripts alone: handed out, trained, handed in, graded, encoded anew."""

import csv

import numpy as np
import pytest
import starter
import tiny_data
from trying import fail, succeed

from run import files
from run.folder import Run

TINY = ["--epochs=6", "--hidden_dim=16", "--embed_dim=8", "--batch_size=16", "--learning_rate=0.01"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Vectors that tell their captions, handed out; and one run of a student's."""
    home = tmp_path_factory.mktemp("round")
    rng, words = (
        np.random.default_rng(0),
        ["red", "blue", "small", "large", "dog", "cat", "tree", "house"],
    )
    (home / "data").mkdir()
    for name, count in (("train", 80), ("dev", 20), ("test", 40)):
        true = rng.random((count, len(words))) < 0.4
        rows = np.concatenate([true, rng.standard_normal((count, 8)) / 9], axis=1)
        np.save(home / f"data/{name}_ims.npy", rows.astype(np.float32))
        said = [" ".join(np.array(words)[row & (rng.random(8) < 0.9)]) for row in true.repeat(2, 0)]
        tiny_data.put(home / f"data/{name}_caps.txt", [f"a {text} ." for text in said])
    made = ("--make-assignment=data", "--data=precomp", "--out=out")  # dashes are as good
    told = succeed("compare.py", *made, cwd=home, start=starter.anew)
    assert "hand out: out/students/; keep: out/key.npz" in told
    (home / "ann").mkdir()
    (home / "out/students").rename(home / "ann/students")
    data = ["--data=csv", "--data_dir=students", "--exp=mine", "--seed=3"]
    succeed("train.py", *data, *TINY, cwd=home / "ann")
    succeed("test.py", "--split=validation", cwd=home / "ann")
    assert "there is no score" in succeed("test.py", cwd=home / "ann")
    return home


def test_what_is_handed_in_is_graded_by_the_key(home):
    handed = home / "handed_in"
    handed.mkdir()
    (home / "ann/exp/mine").rename(home / "handed_in/ann")
    with np.load(handed / "ann/submission.npz") as arrays:
        np.savez(handed / "bob.npz", image=arrays["image"], text=arrays["text"])
    (handed / "bad.npz").touch()
    grade = ("--grade=handed_in", "--key=out/key.npz", "--output=grades.csv")
    done = starter.anew("compare.py", *grade, "--pass=rsum>=1", cwd=home)
    (handed / "ann").rename(home / "ann/exp/mine")
    assert done.returncode == 1 and "3 submissions, 0 ok; 40 images; 0 pass" in done.stdout
    with open(home / "grades.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["ann"]["status"] == "same as bob.npz" and rows["bob.npz"]["status"] == "same as ann"
    assert float(rows["ann"]["rsum"]) == float(rows["bob.npz"]["rsum"]) > 100  # by chance 58
    assert rows["bad.npz"]["status"].startswith("unreadable: ")
    (handed / "bob.npz").rename(home / "bob.npz")
    done = starter.run("compare.py", "--grade=handed_in", "--key=out/key.npz", cwd=home)
    assert done.returncode == 0, done.stderr  # the table is made; nothing was to be passed


def test_a_run_is_encoded_anew_and_what_its_weights_do_not_give_is_told(home):
    told = succeed("compare.py", "--verify=mine", cwd=home / "ann")
    for part in (" is what the weights give: ", "are equal to the last bit"):
        assert told.count(part) == 2
    run = Run(home / "ann/exp/mine")
    kept = {name: np.array(rows) for name, rows in files.open_arrays(run.submission).items()}
    better = kept | {"text": np.roll(kept["text"], 1, axis=0)}
    files.write_arrays(run.submission, better)  # and the manifest with it
    fail("compare.py", "--verify=mine", cwd=home / "ann", says="is not what the weights of")
    files.write_arrays(run.submission, kept)


def test_what_needs_the_pairs_is_refused(home):
    for flag in ("--examples=2", "--folds=2", "--output=x.json"):
        fail("test.py", flag, cwd=home / "ann", says="the test split in")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--key=key.npz"], "--key is read with --grade only"),
        (["--out=x"], "--out is read with --make_assignment only"),
        (["--grade=x", "--verify=y"], "expected one of --grade, --make_assignment, --verify"),
        (["--grade=x", "run"], "expected one of --grade, --make_assignment, --verify"),
        (["--grade=x"], "--grade needs --key, or a run as --reference"),
        (["--grade=x", "--key=out/README.md"], "README.md is not a whole .npz file"),
        (["--grade=x", "--key=out/key.npz"], "--grade x is no folder"),
        (["--grade=x", "--key=out/key.npz", "--pass=good"], "--pass 'good': expected a metric"),
        (["--make_assignment=data"], "--make_assignment needs --data"),
        (["--make_assignment=data", "--data=x", "--out=y"], "unknown data 'x'; there are"),
        (["--verify=x"], "unknown experiment 'x'"),
    ],
)
def test_what_compare_refuses_in_one_line(home, words, says):
    fail("compare.py", *words, cwd=home, says=says)
