"""The table of grades: a line for each, compared with the reference, passed or not."""

import csv
import json

import assigned
import numpy as np
import pytest

import metrics
from grading.assignment import grades
from grading.assignment.submissions import find_submissions
from run.folder import Run

KEY = assigned.key()


def put(folder, name, seed, noise=1.0):
    return assigned.put(folder / name, *assigned.shuffled(KEY, assigned.system(seed, noise)))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("grades")
    handed = home / "handed_in"
    put(home, "reference.npz", 1)
    put(handed, "=ahead.npz", 2, noise=0.4)
    put(handed, "behind.npz", 3, noise=2.0)
    put(handed, "like.npz", 4)
    image, text = assigned.shuffled(KEY, assigned.system(5))
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((assigned.WIDTH,) * 2))[0]
    assigned.put(handed / "one.npz", image, text)
    assigned.put(handed / "two.npz", image @ turn, text @ turn)
    assigned.put(handed / "three.npz", 2 * image, text)
    assigned.put(handed / "unsorted.npz", *assigned.system(6))
    (handed / "broken.npz").write_text("nothing")
    cheat = assigned.shuffled(KEY, assigned.system(7, 0.05))
    told = {"contents": ["a" * 16], "images": ["x"]}
    assigned.leave_run(Run(handed / "cheat"), KEY, *cheat, **told)
    return home


def graded(home, **options):
    reference = ("base", home / "reference.npz")
    grader = grades.Grader(KEY, reference=reference, **options)
    rows = grader.grade(find_submissions(home / "handed_in"))
    return {row["name"]: row for row in rows}


@pytest.fixture(scope="module")
def rows(home):
    return graded(home, criteria=grades.read_criteria("rsum>=300"))


def test_each_has_its_status(rows):
    status = {name: row["status"] for name, row in rows.items()}
    assert status == {
        "=ahead.npz": "ok",
        "behind.npz": "ok",
        "broken.npz": "unreadable: not a whole .npz file (File is not a zip file)",
        "cheat": "test images in training",
        "like.npz": "ok",
        "one.npz": "same as three.npz",
        "three.npz": "not unit rows; same as one.npz",
        "two.npz": "same as one.npz",
        "unsorted.npz": "ok",
    }
    assert rows["one.npz"]["note"] == "also as two.npz"
    assert rows["unsorted.npz"]["note"] == "no better than chance: rows in another order?"
    assert rows["like.npz"]["note"] == ""


def test_figures_are_those_of_the_true_pairs(rows):
    image, text = assigned.system(4, 1.0)
    found = metrics.evaluate(image, text, assigned.OWNER)
    expected = metrics.rsum(*(metrics.summarise(one.ranks) for one in found.values()))
    one = rows["like.npz"]["rsum"]
    assert one["value"] == pytest.approx(expected) and one["low"] < expected < one["high"]
    for name in ("broken.npz", "three.npz"):
        assert rows[name]["rsum"] is None and rows[name]["p"] is None


def test_each_is_compared_with_the_reference(rows):
    against = {name: row["against"] for name, row in rows.items() if row["against"]}
    assert against["=ahead.npz"] == "ahead" and against["behind.npz"] == "behind"
    assert against["like.npz"] == "cannot be told"
    one = rows["=ahead.npz"]
    assert one["difference"]["low"] > 0 and one["p"] < 0.05


def test_what_passes_is_ok_and_good_enough(rows):
    passed = {name for name, row in rows.items() if row["pass"] == "yes"}
    assert passed == {"=ahead.npz", "like.npz"}
    assert rows["cheat"]["rsum"]["value"] > 300


def test_where_small_is_good_the_smaller_is_ahead(home):
    rows = graded(home, by="mean_rank")
    assert rows["=ahead.npz"]["against"] == "ahead" and rows["behind.npz"]["against"] == "behind"
    assert rows["=ahead.npz"]["mean_rank"]["value"] < rows["behind.npz"]["mean_rank"]["value"]
    assert "pass" not in rows["behind.npz"]


def test_a_copy_of_the_reference_says_so(home, tmp_path):
    put(tmp_path, "mine.npz", 1)
    grader = grades.Grader(KEY, reference=("base", home / "reference.npz"))
    assert grader.grade(find_submissions(tmp_path))[0]["status"] == "same as base"


def test_files_hold_the_same_rows(home, rows, tmp_path):
    for suffix in ("csv", "json", "md"):
        grades.write_grades(tmp_path / f"grades.{suffix}", list(rows.values()))
    with open(tmp_path / "grades.csv", newline="") as file:
        table = {row["name"]: row for row in csv.DictReader(file)}
    assert "'=ahead.npz" in table  # no formula of a spreadsheet
    assert float(table["like.npz"]["rsum low"]) == rows["like.npz"]["rsum"]["low"]
    assert table["broken.npz"]["rsum"] == "" and table["broken.npz"]["pass"] == "no"
    assert json.loads((tmp_path / "grades.json").read_text())[2]["name"] == "broken.npz"
    assert len((tmp_path / "grades.md").read_text().splitlines()) == 2 + len(rows)


def test_conditions():
    found = grades.read_criteria("rsum>=280, mrr>0.3")
    assert found == [("rsum", ">=", 280.0), ("mrr", ">", 0.3)]
    for text in ("", "rsum", "rsum>=x", "score>3", "rsum=>280", "rsum>=280,"):
        with pytest.raises(ValueError, match="expected a metric"):
            grades.read_criteria(text)


def test_a_reference_that_cannot_be_graded_is_refused(home):
    for name, says in (("broken", "unreadable: not a whole"), ("three", "not unit rows")):
        with pytest.raises(ValueError, match=f"--reference x: {says}"):
            grades.Grader(KEY, reference=("x", home / f"handed_in/{name}.npz"))
    with pytest.raises(ValueError, match="--by median_rank"):
        grades.Grader(KEY, by="median_rank")
