"""The table of systems: rows from run folders, README's block, and commands that mean them."""

import dataclasses
import json

import pytest
from conftest import ROOT
from stand_ins import RANKS, Scripts, grade

from lab import rows, settings
from lab.published import PUBLISHED
from run.folder import Run
from settings.training import Facts
from systems import config

STORED = ROOT / rows.STORED


def trained(monkeypatch, run, *words):
    """A run that stand-ins have trained with some flags, and graded."""
    made = settings.settings_of(*words)
    scripts = Scripts(monkeypatch, {run.folder.name: [1.0], f"{run.folder.name}-first": [1.0]})
    scripts.train(run, made)
    if made.first_phase:
        scripts.train(Run(f"{run}-first"), made)
    grade(run, RANKS)
    return made


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--recipe=gru_best", "--data_dir=f8k_precomp", "--nobag", "--dropout=0"],
        ["--recipe=ph", "--features=last", "--word_dim=10"],
        ["--model=dual_path", "--epochs=2", "--mirror"],
        ["--model=joint", "--heldout=red_circle", "--rank_weight=0"],
        ["--loss=paired_hinge", "--margin=1"],
    ],
)
def test_a_runs_command_means_its_settings(words, tmp_path):
    made, run = settings.settings_of(*words), Run(tmp_path)
    config.save(run, made, Facts())
    assert settings.settings_of(*rows.command_of(config.load(run)[0])) == made


def test_no_places_stand_in_a_command():
    made = settings.settings_of("--data=csv", "--data_dir=/far/away/own")
    made = dataclasses.replace(made, features="regions")  # what "auto" came out as
    assert rows.command_of(made) == ["--data=csv", "--data_dir=own"]


def test_a_row_of_a_run(tmp_path, monkeypatch):
    row = rows.SystemRow(2, "GRU", "ph")
    made = trained(monkeypatch, Run(tmp_path / "ph"), "--recipe=ph", "--seed=3")
    found = rows.read_row(row, tmp_path)
    assert found["command"] == "python train.py --recipe=ph --seed=3"
    assert found["settings"]["seed"] == 3 and found["settings"]["loss"] == made.loss
    assert found["minutes"] == 2 and found["published"]["text"].startswith("rsum 274.9")
    assert found["scores"]["rsum"]["value"] == 425 and found["scores"]["images"] == 2
    line = rows.render([found]).splitlines()[3]
    cells = line.strip("| ").split(" | ")
    assert cells[:4] == ["2", "GRU", "flickr8k", "`python train.py --recipe=ph --seed=3`"]
    assert cells[5].startswith("rsum **425.0** (") and cells[6] == "2"
    assert cells[5].endswith("and R@1/5/10 50.0 / 50.0 / 75.0 of 2")
    found["scores"]["oracle"] = 500.0
    assert "85.0 % of the oracle's" in rows.render([found])


def test_no_minutes_are_told_of_a_run_that_was_killed_in_between(tmp_path, monkeypatch):
    trained(monkeypatch, Run(tmp_path / "mh"), "--recipe=mh")
    log = tmp_path / "mh/log.txt"
    assert rows.read_row(rows.SystemRow(2, "GRU", "mh"), tmp_path)["minutes"] == 1
    began = "exp/mh: gru with max_hinge loss, 9 parameters; 1 images; 0 of 3 epochs done\n"
    log.write_text(began * 2 + log.read_text())
    found = rows.read_row(rows.SystemRow(2, "GRU", "mh"), tmp_path)
    assert found["minutes"] is None and rows.render([found]).splitlines()[3].endswith("|  |")


def test_a_run_that_is_not_ended_or_not_graded_is_refused(tmp_path, monkeypatch):
    row, run = rows.SystemRow(1, "one", "sh"), Run(tmp_path / "sh")
    trained(monkeypatch, run, "--recipe=sh")
    run.best_weights.write_text("trained on")
    with pytest.raises(ValueError, match=r"is not graded as it is: python test\.py --exp .*sh$"):
        rows.read_row(row, tmp_path)
    (run / "log.txt").write_text("0 of 3 epochs done")
    with pytest.raises(ValueError, match="is not trained to its end"):
        rows.read_row(row, tmp_path)


def test_a_run_that_is_not_the_rows_is_refused(tmp_path, monkeypatch):
    trained(monkeypatch, Run(tmp_path / "best"), "--recipe=mh")
    said = "best was trained with --model gru, the row 'text' is of transformer: train it by python"
    with pytest.raises(ValueError, match=said):
        rows.read_row(rows.SystemRow(4, "text", "best"), tmp_path)
    trained(monkeypatch, Run(tmp_path / "sh"), "--recipe=mh")
    with pytest.raises(ValueError, match=r"--recipe mh, the row 'GRU' is of sh: .*recipe=sh, or"):
        rows.read_row(rows.SystemRow(2, "GRU", "sh"), tmp_path)
    trained(monkeypatch, Run(tmp_path / "dual_path_scenes"), "--model=dual_path")
    assert rows.read_row(rows.SystemRow(3, "dual path", "dual_path_scenes"), tmp_path)["scores"]


def test_readme_and_data_are_written(tmp_path, monkeypatch, capsys):
    trained(monkeypatch, Run(tmp_path / "projection"), "--seed=1")
    monkeypatch.setattr(rows, "ROOT", tmp_path)
    readme, data = tmp_path / rows.README, tmp_path / rows.STORED
    given = [f"--exp_root={tmp_path}"]
    readme.write_text("# Title\n")
    with pytest.raises(ValueError, match="no block to replace"):
        rows.main(["lab.rows", *given])
    assert not data.exists()
    readme.write_text(f"# Title\n\n{rows.BEGIN}\nold\n{rows.END}\n\nmore\n")
    rows.main(["lab.rows", *given])
    assert capsys.readouterr().out == f"1 of {len(rows.ROWS)} rows were run\n"
    text, stored = readme.read_text(), json.loads(data.read_text())
    assert text == f"# Title\n\n{rows.render(stored)}\n\nmore\n"
    assert text.count("not run") == len(rows.ROWS) - 1 and "--seed=1" in text
    rows.main(["lab.rows", *given])
    assert readme.read_text() == text


def test_a_row_without_its_run_stays_while_its_command_means_its_settings(tmp_path, monkeypatch):
    row = rows.SystemRow(2, "GRU", "ph")
    trained(monkeypatch, Run(tmp_path / "ph"), "--recipe=ph", "--seed=3")
    found = json.loads(json.dumps(rows.read_row(row, tmp_path)))
    assert rows.read_row(row, "nowhere", [found]) == found
    found["settings"]["seed"] = 4
    assert rows.read_row(row, "nowhere", [found])["scores"] is None
    assert rows.read_row(row._replace(name="other"), "nowhere", [found])["scores"] is None


def test_the_rows_that_are_asked_for():
    assert {row.system for row in rows.ROWS} == {1, 2, 3, 4, 5}
    assert len({row.recipe for row in rows.ROWS}) == len(rows.ROWS) == 15
    found = [rows.read_row(row, "nowhere") for row in rows.ROWS]
    figures = [one["published"]["text"] for one in found if one["published"]]
    assert sorted(figures) == sorted(figure.text for figure in PUBLISHED.values())
    check_commands(found)


def check_commands(found):
    """Each shown command means the settings beside it."""
    for row in found:
        assert row["command"].startswith("python train.py")
        assert rows.means_its_settings(row)


@pytest.mark.skipif(not STORED.is_file(), reason="docs/systems.json is not written yet")
def test_readme_shows_what_is_stored():
    found = json.loads(STORED.read_text(encoding="utf-8"))
    assert rows.render(found) in (ROOT / rows.README).read_text(encoding="utf-8")
    check_commands(found)
