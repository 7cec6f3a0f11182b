"""Which sources are read, which are left out and why, and which are of the same queries."""

from scored_runs import leave, rescore

from gallery.scan import DIRECTIONS
from grading.comparison import sources
from run import files
from run.folder import Run


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
