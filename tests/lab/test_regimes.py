"""The regimes of system 5: their flags, their grades and their table; nothing is trained."""

import re
import shlex

import numpy as np
import pytest

from grading import pair_recall
from lab.studies import regimes, trials
from run import files, folder, recipes


def settings_of(name):
    given = ["--recipe=joint_scenes", *regimes.flags_of(name, "red_circle,sit_star", "runs")]
    return recipes.settings_from_flags(trials.parse(given))


def test_each_regime_is_what_its_name_says():
    found = {name: settings_of(name) for name in regimes.REGIMES}
    weights = {name: (own.rank_weight, own.write_weight) for name, own in found.items()}
    assert weights == {
        "ranking": (1, 0),
        "joint": (1, 1),
        "ranking, then generation": (0, 1),
        "ranking, then generation, frozen": (0, 1),
        "ranking, then joint": (1, 1),
        "pairs seen": (1, 1),
    }
    assert [n for n, own in found.items() if own.freeze != "none"] == [
        "ranking, then generation, frozen"
    ]
    assert [n for n, own in found.items() if not own.heldout] == ["pairs seen"]
    for name, own in found.items():
        assert bool(own.init_from) == ("then" in name)
        assert own.select == ("image_to_text_rsum" if name == "ranking" else "bleu4")


@pytest.mark.parametrize("flag", ["--freeze=words", "--heldout=a_b", "--select=mrr"])
def test_what_each_regime_has_for_itself_is_refused(flag):
    with pytest.raises(ValueError, match=f"--train holds {flag}, which every"):
        regimes.check_train(shlex.split(f"--recipe joint_scenes {flag}"))
    regimes.check_train(["--recipe=joint_scenes"])


def report(cells, pairs):
    stored = {title: pair_recall.as_json(own) for title, own in cells.items()}
    return {"protocol": {"pairs": pairs, "split": "test"}, **stored}


@pytest.fixture
def graded(tmp_path):
    """A run of two pairs: recalls (1 of 2, 1 of 4) by ranking, (0, 1 of 4) with beam 1."""
    run = folder.Run(tmp_path / "joint")
    images = np.array([[1, 1], [2, 2]])
    ranking = pair_recall.Cells(np.array([[0, 1], [1, 0]]), images)
    first = pair_recall.Cells(np.array([[0, 0], [1, 0]]), images)
    fifth = pair_recall.Cells(np.array([[1, 1], [1, 1]]), images)
    cells = dict(zip(regimes.TITLES, (ranking, first, fifth), strict=True))
    files.write_json(run / "pairs.json", report(cells, ["red_circle", "sit_star"]))
    files.write_text(run / "pairs.md", "tables\n")
    scores = {"beam 1": {"bleu4": 0.5}, "beam 5": {"bleu4": 0.25}}
    files.write_json(run / "captions.json", {"scores": scores})
    files.write_text(run.best_weights, "weights")
    of = {
        "protocol": {"split": "test"},
        "hashes": {"weights": files.file_hash(run.best_weights)},
    }
    files.write_json(run.score, {**of, "rsum": {"value": 100.0, "low": 90.0, "high": 110.0}})
    rows = ["epoch,val_bleu4,val_image_to_text_rsum", "1,0.2,90", "2,0.4,80", "3,0.3,70"]
    files.write_text(run.history, "\n".join(rows) + "\n")
    files.write_text(run / "log.txt", "90 s, 10 captions/s; best epoch 2 of 3: val_bleu4 1\n")
    return run


def test_grades_are_read_and_not_made_anew_for_the_same_pairs(graded, monkeypatch):
    monkeypatch.setattr(trials, "run_quietly", lambda *_: pytest.fail("it was graded"))
    found = regimes.measure(graded, "red_circle,sit_star")
    macro = [(1 / 2 + 1 / 4) / 2, (0 + 1 / 4) / 2, (1 + 2 / 4) / 2]
    np.testing.assert_allclose(list(found["recall"].values()), macro)
    assert found["bleu4"] == {1: 0.5, 5: 0.25}
    assert (found["epoch"], found["epochs"], found["minutes"]) == (2, 3, 1.5)
    cells = regimes.row("joint", found)
    assert cells[:6] == ["joint", "0.375", "0.125", "0.750", "0.500", "0.250"]
    assert cells[6:] == ["100.0 (90.0 to 110.0)", "2 of 3", "1.5", "-, 0.042, 0.095"]
    assert len(cells) == len(regimes.HEAD)


def test_other_pairs_are_graded_anew(graded, monkeypatch):
    commands = []

    def run_quietly(name, command):
        commands.append(command[2:])
        stored = files.read_json(graded / "pairs.json")
        stored["protocol"]["pairs"] = ["blue_ring"]
        files.write_json(graded / "pairs.json", stored)

    monkeypatch.setattr(trials, "run_quietly", run_quietly)
    regimes.grade(graded, "blue_ring", threads=2)
    expected = ["--exp=joint", f"--exp_root={graded.folder.parent}", "--pairs=blue_ring"]
    assert commands == [[*expected, "--threads=2"]]


def test_grades_of_another_split_or_of_other_weights_are_no_grades(graded):
    names = ["red_circle", "sit_star"]
    assert regimes.is_graded(graded, names)
    kept = {path: path.read_bytes() for path in (graded / "pairs.json", graded.score)}
    for path, content in kept.items():
        path.write_bytes(content.replace(b'"test"', b'"validation"'))
        assert path.read_bytes() != content and not regimes.is_graded(graded, names)
        path.write_bytes(content)
    files.write_text(graded.best_weights, "trained anew")
    assert not regimes.is_graded(graded, names)


def test_details_hold_every_table_and_draw_the_comparison(graded):
    ranking = folder.Run(graded.folder.parent / "ranking")
    stored = files.read_json(graded / "pairs.json")
    only = {key: stored[key] for key in ("protocol", regimes.TITLES[0])}
    files.write_json(ranking / "pairs.json", only)
    files.write_text(ranking / "pairs.md", "ranked\n")
    lines = regimes.details(graded.folder.parent, ["ranking", "joint"])
    assert lines == ["## ranking", "", "ranked\n", "## joint", "", "tables\n"]
    drawn = sorted(path.name for path in graded.folder.parent.glob("comparison_*.png"))
    assert len(drawn) == 3 and all(re.fullmatch(r"comparison_[a-z0-9_]+\.png", n) for n in drawn)
