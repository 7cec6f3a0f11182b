"""Which run a training is: what is replaced, what goes on, and what was begun in two phases."""

import dataclasses

import pytest

from run import console, files, folder, lock
from run.folder import Run
from settings.training import Facts
from systems import config
from training import phases, starting


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "_hints", [])
    yield
    lock.release_all()


def begin(*flags):
    """What `open_run` makes of a command line."""
    argv = ["train.py", *flags]
    values = config.train_flags()
    values(config.with_recipe(argv))
    return starting.open_run(values, argv, True)


KEPT = ("config.json", "last/state.npz")


class Killed(BaseException):
    """Stands for the end of the process."""


PH = ("--recipe=ph", "--exp=two", "--embed_dim=16", "--epochs=3", "--learning_rate=0.01")


def begin_and_be_killed(monkeypatch, *more):
    """The first phase's command of a training that is killed in it."""
    commands = []

    def run(command):
        commands.append(command[2:])
        raise Killed

    monkeypatch.setattr(phases, "run_beside", run)
    with pytest.raises(Killed):
        begin(*PH, *more)
    return commands[0]


def test_its_name_is_enough_to_go_on_from_the_first_phase(monkeypatch):
    command = begin_and_be_killed(monkeypatch, "--deterministic")
    assert {"--epochs=3", "--embed_dim=16", "--deterministic"} <= set(command)
    assert "--exp two --resume" in console._hints[-1]()
    again = []
    monkeypatch.setattr(phases, "run_beside", lambda command: again.append(command[2:]) or 0)
    start = begin("--exp=two", "--resume")
    assert again == [command]
    expected = config.parse(["train.py", *PH])
    assert start.settings == dataclasses.replace(expected, init_from="exp/two-first")
    assert not start.resumed and start.first and start.first.folder.name == "two-first"
    assert {"epochs", "learning_rate", "loss"} <= set(start.given)
    more = begin("--exp=two", "--resume", "--epochs=4")
    assert more.settings.epochs == 4 and again[-1][-3:] != command[-3:]
    with pytest.raises(ValueError, match=r"was started with --learning_rate 0\.01, not 0\.5"):
        begin("--exp=two", "--resume", "--learning_rate=0.5")


def test_a_first_phase_that_is_replaced_is_not_gone_on_with(monkeypatch, tmp_path):
    first = Run(tmp_path / "exp/two-first")
    config.save(first, config.parse(["train.py"]), Facts())
    files.write_text(first.state, "of before")
    command = begin_and_be_killed(monkeypatch, "--overwrite")
    assert command[-1] == "--overwrite" and first.state.read_text() == "of before"
    config.save(first, config.parse(["train.py"]), Facts())  # the new one has begun
    files.write_text(first.state, "of an epoch")
    monkeypatch.setattr(phases, "run_beside", lambda again: command.append(again[-1]) or 0)
    assert begin("--exp=two", "--resume").overwrite  # what stands in the folder is of before
    assert command[-1] == "--resume" and first.state.is_file()


def test_a_first_phase_that_is_refused_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(phases, "run_beside", lambda command: 1)
    with pytest.raises(ValueError, match="two-first, was not finished"):
        begin(*PH)
    lock.release_all()
    assert list((tmp_path / "exp").iterdir()) == []


def test_a_refused_first_phase_leaves_both_runs_as_they_were(monkeypatch, tmp_path):
    old = config.parse(["train.py", "--epochs=9"])
    runs = [Run(tmp_path / "exp" / name) for name in ("two", "two-first")]
    for run in runs:
        config.save(run, old, Facts())
        files.write_text(run.state, "of before")
    before = {run / name: (run / name).read_bytes() for run in runs for name in KEPT}
    monkeypatch.setattr(phases, "run_beside", lambda command: 1)
    with pytest.raises(ValueError, match="two-first, was not finished"):
        begin(*PH, "--overwrite")
    assert {path: path.read_bytes() for path in before} == before
    assert not any(run.start.exists() for run in runs)
    lock.release_all()
    assert begin("--exp=two", "--resume").resumed


def test_a_refused_resumption_keeps_its_start(monkeypatch):
    begin_and_be_killed(monkeypatch)
    lock.release_all()
    monkeypatch.setattr(phases, "run_beside", lambda command: 1)
    with pytest.raises(ValueError, match="two-first, was not finished"):
        begin("--exp=two", "--resume", "--epochs=4")
    assert files.read_json(Run("exp/two").start)["settings"]["epochs"] == 3


def test_the_latest_run_goes_on_with_both_phases(monkeypatch, tmp_path):
    config.save(Run(tmp_path / "exp/other"), config.parse(["train.py"]), Facts())
    begin_and_be_killed(monkeypatch)
    assert folder.find("exp", None, begun=True).folder.name == "two"
    config.save(Run(tmp_path / "exp/two-first"), config.parse(["train.py"]), Facts())
    assert folder.find("exp", None, begun=True).folder.name == "two"
    assert folder.find("exp", None).folder.name == "two-first"  # what can be graded
    Run(tmp_path / "exp/two").start.unlink()
    assert folder.find("exp", None, begun=True).folder.name == "two-first"


@pytest.mark.parametrize(
    "damage",
    [[], {"first": None}, {"first": [3]}, {"given": {}}, {"settings": {}}, {"format": 1},
     {"settings": {"first_phase": "sh", "model": 3}}, {"replaced": "yes"}],
)  # fmt: skip
def test_a_damaged_start_is_refused(monkeypatch, damage):
    begin_and_be_killed(monkeypatch)
    run = Run("exp/two")
    whole = files.read_json(run.start)
    files.write_json(run.start, damage if isinstance(damage, list) else whole | damage)
    with pytest.raises(ValueError, match=r"does not say how a run was begun|unknown model '3'"):
        begin("--exp=two", "--resume")


def test_stopped_before_its_first_epoch_ended_a_run_begins_anew(tmp_path):
    run = Run(tmp_path / "exp/one")
    settings = config.parse(["train.py", "--epochs=3", "--seed=5", "--features=regions"])
    config.save(run, settings, Facts(7, 8))
    start = begin("--exp=one", "--resume", "--epochs=4")
    assert (start.resumed, start.overwrite, start.facts) == (False, True, Facts())
    assert start.settings == dataclasses.replace(settings, epochs=4)
    run.best_weights.write_bytes(b"")  # something was trained
    assert begin("--exp=one", "--resume").resumed


def test_only_files_of_ours_are_removed(tmp_path):
    run = Run(tmp_path)
    config.save(run, config.parse(["train.py"]), Facts())
    for name in folder.WRITTEN:
        path = run / name.replace("*", "x")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name == "serving/1" else path.write_text("")
    for name in ("start.json", "mine.json", "last/mine", "query.onnx.bak"):
        (run / name).write_text("")
    assert run.clear() == ["last", "mine.json", "query.onnx.bak"]
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["last", "last/mine", "mine.json", "query.onnx.bak", "start.json"]


@pytest.mark.parametrize(
    ("config", "ours"),
    [
        ({"format": 2, "settings": {"model": "gru", "loss": "x", "data": "y"}}, True),
        ({"format": 2, "settings": {"model": "gru"}}, False),
        ({"settings": {"model": "gru", "loss": "x", "data": "y"}}, False),
        ({"model_type": "bert", "format": 1}, False),
        ([[]], False),
    ],
)
def test_what_is_a_run_of_ours(tmp_path, config, ours):
    files.write_json(tmp_path / "config.json", config)
    assert Run(tmp_path).is_ours() is ours
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert not Run(tmp_path).is_ours()
