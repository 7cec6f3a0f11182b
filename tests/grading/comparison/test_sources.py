"""Which sources are read, which are left out and why, and which are of the same queries."""

from scored_runs import leave, rescore

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
