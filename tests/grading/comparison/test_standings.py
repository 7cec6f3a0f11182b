"""Which runs --filter keeps: by numbers, texts and defaults."""

import pytest
from scored_runs import leave

from grading.comparison import sources, standings
from run.folder import Run


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    home = tmp_path_factory.mktemp("standings")
    leave(Run(home / "usual"), 0.3)
    leave(Run(home / "fast"), 0.3, "--learning_rate=0.004", "--nomirror", "--loss=simclr", seed=1)
    return sources.read_sources([home / "usual", home / "fast"])[0]


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ("learning_rate=4e-3", ["fast"]),
        ("learning_rate=.0040,seed=1", ["fast"]),
        ("epochs=8e0", ["usual", "fast"]),
        ("seed=0.0", ["usual"]),
        ("mirror=false", ["fast"]),
        ("mirror=True", ["usual"]),
        ("loss=SimCLR", ["fast"]),
        ("margin=none", ["usual", "fast"]),
        ("data_dir=none,loss=modified", ["usual"]),
        ("", ["usual", "fast"]),
    ],
)
def test_numbers_are_compared_as_numbers(rows, wanted, kept):
    assert [row.name for row in standings.keep(rows, wanted)] == kept


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("learning_rate=1", r"--filter learning_rate=1: no run has it; theirs are 0\.002, 0\.004$"),
        ("mirror=1", r"--filter mirror=1: no run has it; theirs are True, False$"),
        ("loss=simclr,seed=0", r"--filter seed=0: no run has it; theirs are 1$"),
        ("margin=nan", r"--filter margin=nan: no run has it; theirs are None$"),
    ],
)
def test_a_value_that_no_run_has_is_told_with_those_that_they_have(rows, wanted, says):
    with pytest.raises(ValueError, match=says):
        standings.keep(rows, wanted)
