"""Which sources are read, which are left out and why, and which are of the same queries."""

import numpy as np
import pytest
from scored_runs import OWNER, embed, leave, rescore

from gallery.scan import DIRECTIONS
from grading.comparison import differences, paired, sources, standings
from lab.settings import settings_of
from run import files
from run.folder import Run
from settings.training import Facts
from systems import config


def test_a_score_of_older_weights_is_left_out(tmp_path):
    old, new = leave(Run(tmp_path / "old"), 0.3), leave(Run(tmp_path / "new"), 0.3)
    files.write_text(old.best_weights, "weights of a later epoch")
    rows, left = sources.read_sources([old.folder, new.folder])
    assert [row.name for row in rows] == ["new"]
    assert left[0].startswith(f"old: {old.score} was graded before it was trained on")
    assert left[0].endswith(f"python test.py --exp {old.argument}")


def test_a_score_of_unknown_weights_is_shown(tmp_path):
    run = leave(Run(tmp_path / "old"), 0.3)
    rescore(run, hashes={"data": "a"})
    files.write_text(run.best_weights, "weights of a later epoch")
    assert sources.read_run(run.folder).name == "old"


def test_ranks_of_another_grading_than_the_score_are_left_out(tmp_path):
    killed, other = leave(Run(tmp_path / "killed"), 0.3), leave(Run(tmp_path / "other"), 1.5)
    for side in DIRECTIONS:  # test.py writes them before score.json
        ranks = f"ranks_{side}.csv"
        files.write_text(killed / ranks, (other / ranks).read_text(encoding="utf-8"))
    rows, left = sources.read_sources([killed.folder, other.folder])
    assert [row.name for row in rows] == ["other"]
    assert "has rsum " in left[0] and "ranks_*.csv beside it give " in left[0]
    assert left[0].endswith(f"python test.py --exp {killed.argument}")


def test_ranks_of_folds_have_another_rsum_and_missing_ones_none(tmp_path):
    folds, none = leave(Run(tmp_path / "folds"), 0.3), leave(Run(tmp_path / "none"), 0.3)
    rescore(folds, protocol={"folds": 5}, rsum={"value": 1.0, "low": 1.0, "high": 1.0})
    (none / "ranks_image_to_text.csv").unlink()
    rows, left = sources.read_sources([folds.folder, none.folder])
    assert [row.name for row in rows] == ["folds", "none"] and not left


def place_beside(run, seen):
    """Leaves a run's embeddings with images that no caption is of, where `seen` is False."""
    image, text = embed(0.3, 0)
    wide = np.ones((len(seen), 8)) / 8**0.5
    wide[seen] = image
    path = run.folder.parent / "wide.npz"
    owner = np.flatnonzero(seen)[OWNER]
    files.write_arrays(path, {"image": wide, "text": text, "caption_image": owner})
    return path


def read_entries(*paths):
    rows, left = sources.read_sources(paths)
    assert not left
    return standings.join_seeds(sources.align(rows))


@pytest.mark.parametrize("told", [{}, {"gallery": {"text_to_image": 30, "image_to_text": 60}}])
def test_galleries_of_other_sizes_are_not_compared(tmp_path, capsys, told):
    run = leave(Run(tmp_path / "run"), 0.3)
    rescore(run, protocol={"data": "csv", "images": 30, **told})
    path = place_beside(run, np.arange(530) < 30)
    entries = read_entries(run.folder, path)
    assert "wide.npz has a gallery of 530 images, run one of 30" in capsys.readouterr().err
    with pytest.raises(ValueError, match="different data, so no test compares them"):
        differences.compare_all(entries, "rsum")


def test_a_gallery_is_not_compared_with_folds_of_one(tmp_path, capsys):
    run = leave(Run(tmp_path / "run"), 0.3)
    rescore(run, protocol={"data": "csv", "images": 30, "folds": 5})
    entries = read_entries(run.folder, place_beside(run, np.full(30, True)))
    assert "wide.npz has a gallery of 30 images, run one of 6" in capsys.readouterr().err
    with pytest.raises(ValueError, match="different data, so no test compares them"):
        differences.compare_all(entries, "rsum")


def test_an_image_without_captions_in_the_middle_shifts_no_other(tmp_path):
    run, seen = leave(Run(tmp_path / "run"), 1.5), np.arange(31) != 10
    rescore(run, protocol={"data": "csv", "images": 31})
    entries = read_entries(run.folder, place_beside(run, seen))
    (found,) = differences.compare_all(entries, "rsum")
    assert found.one["images"] == 30
    first, second = (entry.first.read_ranks() for entry in entries)
    again = paired.compare_pair(first, second)
    assert found.one["value"] < 0 and again["rsum"] == found.one


def test_only_the_run_that_another_one_started_from_is_hidden(tmp_path):
    root = tmp_path / "moved"
    words = {
        "alone-first": [], "alone": [], "made-first": [], "made": ["--init_from=exp/made-first"],
        "from-first": [], "from": ["--init_from=made"], "lone-first": [],
    }  # fmt: skip
    for name, own in words.items():
        config.save(Run(root / name), settings_of(*own), Facts())
    files.write_text(root / "damaged/config.json", "{")
    config.save(Run(root / "damaged-first"), settings_of(), Facts())
    shown = {path.name for path in sources.find_paths(str(root), [])}
    assert shown == {*words, "damaged", "damaged-first"} - {"made-first"}


@pytest.mark.parametrize(
    ("lost", "says"),
    [("mrr", "old: {} has no mrr"), ("recall@5", "old: {}: recall@5 is no value with an interval")],
)
def test_a_score_without_a_figure_is_left_out_alone(tmp_path, lost, says):
    old, new = leave(Run(tmp_path / "old"), 0.3), leave(Run(tmp_path / "new"), 0.3)
    side = files.read_json(old.score)["text_to_image"]
    rescore(old, text_to_image=side | {lost: {"mrr": None}.get(lost, {"value": 1.0})})
    rows, left = sources.read_sources([old.folder, new.folder])
    assert [row.name for row in rows] == ["new"] and left[0].startswith(says.format(old.score))
    assert standings.table_rows(standings.join_seeds(rows), "rsum")


def test_a_figure_is_asked_of_a_score_if_runs_are_sorted_by_it(tmp_path):
    run = leave(Run(tmp_path / "run"), 0.3)
    side = files.read_json(run.score)["text_to_image"]
    rescore(run, text_to_image={name: one for name, one in side.items() if name != "ndcg@10"})
    assert not sources.read_sources([run.folder])[1]
    assert "has no ndcg@10" in sources.read_sources([run.folder], "ndcg@10")[1][0]
    with pytest.raises(ValueError, match="run has no x: choose one of rsum, mrr"):
        standings.value_of(standings.join_seeds(sources.read_sources([run.folder], "x")[0])[0], "x")
