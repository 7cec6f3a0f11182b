"""Studies of pairs of words: counts, and the regimes of system 5; nothing is trained."""

import json
import re

import numpy as np
import pytest
from stand_ins import study

from grading import pair_recall
from lab.settings import settings_of
from lab.studies import pairs, trials
from run import files, folder
from settings.training import Facts
from systems import config

NAMES = ["red_circle", "sit_star"]


def test_each_regime_is_what_its_name_says(tmp_path):
    found = {
        name: settings_of(
            "--recipe=joint_scenes", *pairs.regime_flags(name, ",".join(NAMES), tmp_path)
        )
        for name in pairs.REGIMES
    }
    assert {name: (own.rank_weight, own.write_weight) for name, own in found.items()} == {
        "ranking": (1, 0),
        "generation": (0, 1),
        "joint": (1, 1),
        "ranking, then generation": (0, 1),
        "ranking, then generation, frozen": (0, 1),
        "ranking, then joint": (1, 1),
        "pairs seen": (1, 1),
    }
    for name, own in found.items():
        assert (own.freeze != "none") == name.endswith("frozen")
        assert (own.heldout is None) == (name == "pairs seen")
        assert own.init_from == (str(tmp_path / "ranking") if "then" in name else None)
        assert own.select == ("image_to_text_rsum" if name == "ranking" else "bleu4")


@pytest.fixture
def graded(tmp_path):
    """A run of two pairs: recalls (1 of 2, 1 of 4) by ranking, (0, 1 of 4) with beam 1."""
    run = folder.Run(tmp_path / "joint")
    config.save(run, settings_of("--recipe=joint_scenes"), Facts())
    hits = [[0, 1], [1, 0]], [[0, 0], [1, 0]], [[1, 1], [1, 1]]
    cells = [pair_recall.Cells(np.array(own), np.array([[1, 1], [2, 2]])) for own in hits]
    stored = zip(pairs.TITLES, map(pair_recall.as_json, cells), strict=True)
    protocol = {"pairs": NAMES, "split": "test"}
    files.write_json(run / "pairs.json", {"protocol": protocol, **dict(stored)})
    files.write_text(run / "pairs.md", "tables\n")
    scores = {"beam 1": {"bleu4": 0.5}, "beam 5": {"bleu4": 0.25}}
    files.write_json(run / "captions.json", {"scores": scores})
    files.write_text(run.best_weights, "weights")
    hashes = {"weights": files.file_hash(run.best_weights)}
    hashes["config"] = config.config_hash(*config.load(run))
    of = {"protocol": {"split": "test", "folds": 1}, "hashes": hashes}
    files.write_json(run.score, {**of, "rsum": {"value": 100.0, "low": 90.0, "high": 110.0}})
    rows = ["epoch,val_bleu4,val_image_to_text_rsum", "1,0.2,90", "2,0.4,80", "3,0.3,70"]
    files.write_text(run.history, "\n".join(rows) + "\n")
    files.write_text(run / "log.txt", "90 s, 10 captions/s; best epoch 2 of 3: val_bleu4 1\n")
    return run


@pytest.fixture
def work(graded, monkeypatch):
    """The trials of its folder, and a list that keeps what test.py is asked for."""
    asked = []
    monkeypatch.setattr(trials.scripts, "run_apart", lambda *given, **_: asked.append(given))
    return trials.Trials(graded.folder.parent, ["--recipe=joint_scenes"], threads=2), asked


def test_grades_are_read_and_not_made_anew_for_the_same_pairs(graded, work):
    found = pairs.grade_regime(work[0], graded, ",".join(NAMES))
    macro = [(1 / 2 + 1 / 4) / 2, (0 + 1 / 4) / 2, (1 + 2 / 4) / 2]
    np.testing.assert_allclose(list(found["recall"].values()), macro)
    assert found["bleu4"] == {1: 0.5, 5: 0.25} and not work[1]
    columns = pairs.STUDIES["regimes"].columns
    cells = [cell({"regime": "joint"} | found) for cell in columns.values()]
    assert cells[:6] == ["joint", "0.375", "0.125", "0.750", "0.500", "0.250"]
    assert cells[6:] == ["100.0 (90.0 to 110.0)", "2 of 3", "1.5", "-, 0.042, 0.095"]
    (graded / "captions.json").unlink()  # of ranking alone
    assert pairs.grade_regime(work[0], graded, ",".join(NAMES))["epoch"] == 1


def test_other_pairs_are_graded_anew(graded, work):
    pairs.grade_regime(work[0], graded, "blue_ring")
    place = f"--exp_root={graded.folder.parent}"
    assert work[1] == [("test.py", "--exp=joint", place, "--threads=2", "--pairs=blue_ring")]


def test_grades_of_another_split_or_of_other_weights_are_no_grades(graded):
    assert pairs.knows_pairs(graded, NAMES) and not pairs.knows_pairs(graded, NAMES[:1])
    kept = {path: path.read_bytes() for path in (graded / "pairs.json", graded.score)}
    for path, content in kept.items():
        files.write_text(path, content.decode().replace('"test"', '"validation"'))
        assert path.read_bytes() != content and not pairs.knows_pairs(graded, NAMES)
        files.write_text(path, content.decode())
    files.write_text(graded.best_weights, "trained anew")
    assert not pairs.knows_pairs(graded, NAMES)


def test_details_hold_every_table_and_draw_the_comparison(graded):
    ranking = folder.Run(graded.folder.parent / "ranking")
    stored = files.read_json(graded / "pairs.json")
    only = {key: stored[key] for key in ("protocol", pairs.TITLES[0])}
    files.write_json(ranking / "pairs.json", only)
    files.write_text(ranking / "pairs.md", "ranked\n")
    lines = pairs.details(graded.folder.parent, ["ranking", "joint"])
    assert lines == ["## ranking", "", "ranked\n", "## joint", "", "tables\n"]
    drawn = sorted(path.name for path in graded.folder.parent.glob("comparison_*.png"))
    assert (graded.folder.parent / "recall_comparison.png").is_file()
    assert len(drawn) == 3 and all(re.fullmatch(r"comparison_[a-z0-9_]+\.png", n) for n in drawn)


def test_all_regimes_are_trained_in_order_and_shown(graded, work, monkeypatch):
    trained = []
    monkeypatch.setattr(work[0], "train", lambda name, *_: trained.append(name) or graded)
    monkeypatch.setattr(pairs, "details", lambda root, names: [str(root), *names])
    work[0].own.pairs = ",".join(NAMES)
    report = pairs.compare_regimes(work[0])
    assert [one["regime"] for one in report.found] == list(pairs.REGIMES)
    assert trained == [pairs.folder_of(name) for name in pairs.REGIMES]
    assert report.notes.splitlines() == [str(graded.folder.parent), *pairs.REGIMES]
    assert "held out: red_circle,sit_star" in report.title and not work[1]


def test_pairs_are_counted_in_one_pass_and_written(tmp_path, monkeypatch, capsys):
    captions = {
        "t0": ["A brown dog runs .", "a puppy that is brown", "a cat"],
        "t1": ["two brown dogs", "a dog", "a sofa"],
        "t2": ["a cat", "a brown sofa", "a man"],
        "v0": ["a dog", "a dog", "a dog"],
        "x0": ["the dog is brown", "a brown dog", "Brown dogs ."],
    }
    put = tmp_path / "data"
    put.mkdir()
    lines = [f"{name}.jpg#{k}\t{c}\n" for name, own in captions.items() for k, c in enumerate(own)]
    (put / "Flickr8k.token.txt").write_text("".join(lines))
    for part, sign in (("train", "t"), ("dev", "v"), ("test", "x")):
        names = [f"{name}.jpg\n" for name in captions if name[0] == sign]
        (put / f"Flickr_8k.{part}Images.txt").write_text("".join(names))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="--occurrences: such files are of real captions"):
        study(capsys, "pairs", "--pairs=red_circle", "--occurrences=found")
    data, written = "--train=--data flickr8k --data_dir data", "--output=found.json"
    asked = "pairs", data, "--pairs=brown_dog,sit_cat", "--occurrences=found", written
    head, rows, told = study(capsys, *asked)
    assert head == ["pair", "split", "1", "2", "3", "4", "5", "captions"]
    assert rows[:3] == [
        ["brown_dog", "train", "1", "1", "0", "0", "0", "3"],
        ["brown_dog", "validation", "0", "0", "0", "0", "0", "0"],
        ["brown_dog", "test", "0", "0", "1", "0", "0", "3"],
    ]
    assert "15 captions of flickr8k" in told and [row[0] for row in rows[3:]] == ["sit_cat"] * 3
    stored = json.loads((tmp_path / "found" / "brown_dog.json").read_text())
    assert stored["adjective_noun_occurrence_data"]["t0"]["pair_occurrences"] == 2
    assert (tmp_path / "found" / "sit_cat.json").is_file()
    found = json.loads((tmp_path / "found.json").read_text())["pairs"]
    assert [one["captions"] for one in found] == [3, 0, 3, 0, 0, 0]
