"""Studies: what they train, what they find done already, and their tables, counted by hand.

Only the first test trains; the others put files in the place of train.py and test.py.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from absl.testing import flagsaver
from conftest import ROOT
from tiny_data import precomp

import metrics
from grading import intervals
from lab.studies import core, trials
from run import files, folder
from systems import sheets

END = "{} s, 1,234 captions/s; best epoch {} of {}: val_rsum 1; curves in x; next: y"
DATA = "--data precomp --data_dir nowhere --epochs 3"


def script(*arguments, cwd):
    command = [sys.executable, "-m", "lab.studies", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def parsed():
    """The flags with their defaults, whatever pytest was called with."""
    with flagsaver.flagsaver():
        core.FLAGS(["study.py"])
        yield core.FLAGS


class Scripts:
    """Stands for train.py and test.py: leaves their files, keeps their commands.

    Args:
      rsums: {run: validation rsum of each epoch}.
      ranks: {run: {direction: ranks}} for two images of two captions each.
      notes: {run: lines of log.txt}.
    """

    def __init__(self, rsums, ranks=None, notes=None):
        self.rsums, self.ranks, self.notes, self.commands = rsums, ranks or {}, notes or {}, []

    def __call__(self, name, command, shown=None):
        self.commands.append(command[1:])
        values = trials.parse([flag for flag in command[2:] if "threads" not in flag])
        run = folder.Run(f"{values.exp_root}/{values.exp}")
        if command[1].endswith("train.py"):
            settings = recipes.settings_from_flags(values)
            self.train(run, settings)
            if settings.first_phase:
                self.train(folder.Run(f"{run}-first"), settings)
        else:
            self.grade(run)

    def train(self, run, settings):
        name = run.folder.name
        settings.save(run.config)
        rows = [f"{i},{rsum},0.5" for i, rsum in enumerate(self.rsums[name], 1)]
        run.history.write_text("\n".join(["epoch,val_rsum,val_mrr", *rows]))
        run.best_weights.write_text(name)
        lines = [f"{name}: gru; 0 of 3 epochs done", *self.notes.get(name, [])]
        (run / "log.txt").write_text("\n".join([*lines, END.format(60, 1, 3)]) + "\n")

    def grade(self, run):
        found, images = {}, {"text_to_image": "aabb", "image_to_text": "ab"}
        for direction, ranks in self.ranks[run.folder.name].items():
            owner = np.array([ord(image) for image in images[direction]])
            found[direction] = metrics.Retrieval(np.array(ranks), owner, 100)
            lines = [
                f"{image},{rank}" for image, rank in zip(images[direction], ranks, strict=True)
            ]
            (run / f"ranks_{direction}.csv").write_text("\n".join(["image,rank", *lines]))
        score = intervals.with_intervals(found, 10)
        hashes = {"weights": files.file_hash(run.best_weights)}
        files.write_json(run.score, {"protocol": {"split": "test"}, "hashes": hashes, **score})

    def trained(self):
        return [c[-1].removeprefix("--exp=") for c in self.commands if c[0].endswith("train.py")]


def use(monkeypatch, scripts):
    monkeypatch.setattr(trials, "run_quietly", scripts)
    return scripts


def table(text):
    """The cells of the Markdown table in a text, without its line of dashes."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [lines[0], *lines[2:]]


def test_finding_prints_both_losses_side_by_side(tmp_path):
    precomp(tmp_path / "data")
    train = "--train=--data precomp --data_dir data --epochs 2"
    options = train, "--grid=0.75", "--jobs=2", "--exp_root=runs"
    done = script("finding", *options, "--output=found.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads((tmp_path / "found.json").read_text())["finding"]
    assert [cell["loss"] for cell in cells] == ["assignment", "modified"]
    assert all(cell["alpha"] == cell["margin"] == "0.75" for cell in cells)
    assert all(0 < cell["val_mrr"] <= 1 and cell["epoch"] == 1 for cell in cells)
    head, _, row = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert head == "| alpha | c | assignment | modified |"
    values = " | ".join(f"{cell['val_mrr']:.4f} (1)" for cell in cells)
    assert row == f"| 0.75 | 0.75 | {values} |"
    # The log is what the studies read; finished runs are not trained anew.
    run = folder.Run(tmp_path / "runs" / "modified_0.75_0.75")
    told = trials.read_log(run)
    assert told["finished"] and not told["parted"] and 0 < told["seconds"] < 200
    stamp = run.state.stat().st_mtime_ns
    again = script("finding", *options, cwd=tmp_path)
    assert again.stdout == done.stdout and run.state.stat().st_mtime_ns == stamp


def test_a_failing_training_is_one_clear_line(tmp_path):
    done = script(
        "finding", "--train=--data=precomp --data_dir=nowhere", "--grid=0.5", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("lab.studies: error: assignment_0.5_0.5 failed") and "nowhere" in line


def test_a_cell_of_the_grid_is_its_best_epoch(tmp_path, parsed, monkeypatch):
    commands = []

    def train(name, command, shown=None):
        commands.append(command)
        history = tmp_path / "modified_0.25_0.75" / "history.csv"
        history.parent.mkdir()
        history.write_text("epoch,val_mrr\n1,0.1\n2,0.3\n3,0.2\n")

    use(monkeypatch, train)
    parsed.train = "--epochs=3 --data scenes"
    assert core.train_cell(tmp_path, ("modified", "0.25", "0.75")) == (0.3, 2)
    expected = {"--loss=modified", "--alpha=0.25", "--margin=0.75", "--epochs=3", "scenes"}
    assert expected < set(commands[0])


@pytest.mark.parametrize(
    ("arguments", "train", "said"),
    [
        (["speed"], "", "unknown study 'speed': choose one of finding, recipes, moe, features"),
        ([], "", "unknown study ''"),
        (["moe", "recipes"], "", "unknown study 'moe recipes'"),
        (["moe"], "--exp=x", "--exp, which the study gives itself"),
        (["moe"], "--recipe sh", "--recipe, which the study gives itself"),
        (["moe"], "--depth 3", "depth"),
        (["moe"], "words", "'words'"),
        (["losses"], "--recipe gru_best --margin 0.3", "--margin=0.3, which every loss has for"),
        (["losses"], "--nosquared", "--nosquared, which every loss has for itself"),
        (["losses"], "--resume", "--resume, which the study gives itself"),
    ],
)
def test_what_cannot_be_studied_is_refused(arguments, train, said, parsed):
    parsed.train = train
    with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
        core.main(["study.py", *arguments])
    assert said in str(raised.value)


def test_the_log_of_a_run_that_was_killed_and_resumed(tmp_path):
    from training import collapse

    watch = object.__new__(collapse.CollapseWatch)
    watch.step, watch.image = 1100, np.zeros((4, 2), np.float32)
    seen = {"loss": 51.2, "plateau": 51.2, "rank": 1.0, "tied": 1.0}
    run = folder.Run(tmp_path)
    begun, ended = "r: gru; 0 of 3 epochs done", END.format(61, 3, 3)
    lines = [begun, watch.describe(seen), "the embeddings have come apart again (step 1,200)"]
    (run / "log.txt").write_text("\n".join([*lines, begun, ended]))
    assert trials.read_log(run) == {
        "finished": True,
        "seconds": 61,
        "parted": True,
        "pace": 1234.0,
        "collapsed": [1100],
        "apart": 1,
    }
    (run / "log.txt").write_text("\n".join([begun, ended, begun]))
    assert not trials.read_log(run)["finished"] and trials.read_log(run)["parted"]
    (run / "log.txt").write_text("\n".join([begun, ended, begun, "3 s; best epoch 1 of 3: v 1;"]))
    assert trials.read_log(run)["seconds"] == 64 and trials.read_log(run)["pace"] == 1234
    assert not trials.read_log(folder.Run(tmp_path / "none"))["finished"]


def test_a_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    scripts = use(monkeypatch, Scripts({"a": [1.0]}))
    given = ["--recipe=sh", *DATA.split()]
    run = trials.train(tmp_path, "a", given)
    trials.train(tmp_path, "a", [*given, "--cache_dir=elsewhere", "--threads=2"])
    assert len(scripts.commands) == 1 and scripts.commands[0][-1] == "--exp=a"
    with pytest.raises(ValueError, match=r"trained with --margin 0\.2, not 0\.3"):
        trials.train(tmp_path, "a", [*given, "--margin=0.3"])
    (run / "log.txt").write_text("killed before the end of its first epoch")
    trials.train(tmp_path, "a", given)
    assert scripts.commands[1][-2:] == ["--exp=a", "--overwrite"]
    (run / "log.txt").write_text("killed in its second epoch")
    run.state.parent.mkdir()
    run.state.write_text("")
    trials.train(tmp_path, "a", given)
    assert scripts.commands[2][-2:] == ["--exp=a", "--resume"]


RANKS = {"text_to_image": [1, 6, 11, 1], "image_to_text": [5, 1]}


def test_a_run_is_graded_once_for_its_weights(tmp_path, monkeypatch):
    scripts = use(monkeypatch, Scripts({"a": [1.0]}, {"a": RANKS}))
    run = trials.train(tmp_path, "a", DATA.split())
    assert trials.grade(run)["rsum"]["value"] == 50 + 100 + 100 + 50 + 50 + 75
    trials.grade(run)
    assert len(scripts.commands) == 2
    run.best_weights.write_text("others")
    trials.grade(run)
    assert len(scripts.commands) == 3
    score = files.read_json(run.score)
    files.write_json(run.score, {**score, "protocol": {"split": "validation"}})
    trials.grade(run)
    assert len(scripts.commands) == 4


def test_the_table_of_recipes(tmp_path, parsed, monkeypatch, capsys):
    rsums = {"sh": [3.0, 5.0], "ph": [11.0, 100.5, 90.0], "ph-first": [4.0, 3.0]}
    scripts = use(monkeypatch, Scripts(rsums, {"sh": RANKS, "ph": RANKS}))
    parsed.recipes, parsed.exp_root, parsed.train = ["sh", "ph"], str(tmp_path), DATA
    parsed.output = str(tmp_path / "found.json")
    core.main(["study.py", "recipes"])
    text = capsys.readouterr().out
    head, sh, ph = table(text)
    assert len(head) == 9 and DATA in text and ">:" not in text
    recalls = ["50.0 / 100.0 / 100.0", "50.0 / 50.0 / 75.0"]
    assert sh[:5] == ["sh", "2 (2)", "5.0", *recalls] and sh[6:] == ["1.0", "1,234", "NO"]
    assert ph[:5] == ["ph", "2 + 3 (2)", "100.5", *recalls] and ph[6:] == ["2.0", "1,234", "yes"]
    assert sh[5].startswith("425.0 (")
    found = json.loads((tmp_path / "found.json").read_text())
    assert [one["rsum"]["value"] for one in found["recipes"]] == [425, 425]
    (tmp_path / "ph-first" / "log.txt").write_text(
        f"epochs done\nepochs done\n{END}".format(60, 1, 3)
    )
    scripts.commands.clear()
    core.main(["study.py", "recipes"])
    again = capsys.readouterr().out
    assert table(again)[2][6] == "> 2.0" and ">: a part of the training was killed" in again
    assert not scripts.commands


def test_the_table_of_moe(tmp_path, parsed, monkeypatch, capsys):
    said = "the embeddings have collapsed (step {}): x"
    apart = "the embeddings have come apart again (step 1,200)"
    rsums = {f"MOE-{kind}_{seed}": [10.0] for kind in ("bl", "bl-abs", "abs") for seed in (0, 1)}
    rsums["MOE-bl_1"] = [0.5, 10.1, 9.0]
    notes = {"MOE-bl_0": [said.format("1,100")], "MOE-bl-abs_1": [said.format(100)]}
    notes["MOE-bl_1"] = [said.format("150"), apart, said.format("2,000")]
    scripts = use(monkeypatch, Scripts(rsums, notes=notes))
    parsed.exp_root, parsed.train, parsed.seeds, parsed.threads = str(tmp_path), DATA, 2, 1
    core.main(["study.py", "moe"])
    _, *rows = table(capsys.readouterr().out)
    both = "last 5/5, fne 0/5", "last 0/5, fne 0/5", "last 0/5, fne 4/5"
    watch = "2/2, step 150 to 1,100; 1 came apart again"
    assert rows == [
        ["MOE-bl", "0.0002", "0.2", "no", "1/2", both[0], watch, "10.0, 10.1"],
        ["MOE-bl-abs", "0.0002", "0.2", "yes", "0/2", both[1], "1/2, step 100", "10.0, 10.0"],
        ["MOE-abs", "0.0001", "0.05", "yes", "0/2", both[2], "0/2", "10.0, 10.0"],
    ]
    assert all("--threads=1" in command for command in scripts.commands)
    settings = sheets.load(folder.Run(tmp_path / "MOE-abs_1"))[0]
    assert (settings.learning_rate, settings.margin, settings.absolute) == (1e-4, 0.05, True)
    assert (settings.loss, settings.similarity, settings.seed) == ("max_hinge", "order", 1)
    assert (settings.word_dim, settings.embed_dim, settings.epochs) == (300, 1024, 3)


def test_moe_runs_for_each_kind_of_vectors(tmp_path, parsed, monkeypatch, capsys):
    names = [f"{kind}-{model}_0" for kind in ("last", "fne") for model in core.MOE]
    scripts = use(monkeypatch, Scripts({name: [20.0] for name in names}))
    parsed.exp_root, parsed.seeds, parsed.kinds = str(tmp_path), 1, ["last", "fne"]
    core.main(["study.py", "moe"])
    _, *rows = table(capsys.readouterr().out)
    assert scripts.trained() == names
    assert [row[5] for row in rows] == ["5/5", "0/5", "0/5", "0/5", "0/5", "4/5"]
    assert [row[0] for row in rows] == [name.removesuffix("_0") for name in names]
    kinds = [sheets.load(folder.Run(tmp_path / name))[0].features for name in names]
    assert kinds == ["last"] * 3 + ["fne"] * 3


def test_the_difference_is_the_paired_one(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    runs, found = [], []
    owner = {"text_to_image": np.repeat(np.arange(40), 3), "image_to_text": np.arange(40)}
    for name in "ab":
        runs.append(folder.Run(tmp_path / name))
        runs[-1].folder.mkdir()
        ranks = {key: rng.integers(1, 20, len(images)) for key, images in owner.items()}
        found.append({k: metrics.Retrieval(ranks[k], owner[k], 120) for k in owner})
        for key, images in owner.items():
            lines = [f"{image},{rank}" for image, rank in zip(images, ranks[key], strict=True)]
            (runs[-1] / f"ranks_{key}.csv").write_text("\n".join(["image,rank", *lines]))
    a, b = runs
    difference = trials.rsum_difference([(a, b)])
    rsums = [intervals.with_intervals(of)["rsum"]["value"] for of in found]
    assert difference["value"] == pytest.approx(rsums[0] - rsums[1])
    assert difference["low"] < difference["value"] < difference["high"]
    mirrored = trials.rsum_difference([(b, a)])
    assert mirrored["value"] == pytest.approx(-difference["value"])
    assert trials.rsum_difference([(a, b), (a, b)]) == difference
    assert trials.rsum_difference([(a, b), (b, a)]) == {"value": 0, "low": 0, "high": 0}
    # With one metric of one direction left it is what drawing images by hand gives.
    monkeypatch.setattr(metrics, "rank_values", lambda r: {"recall@5": 100.0 * (np.array(r) <= 5)})
    (b / "ranks_image_to_text.csv").write_bytes((a / "ranks_image_to_text.csv").read_bytes())
    one = trials.rsum_difference([(a, b)])
    hits = [100.0 * (of["text_to_image"].ranks <= 5) for of in found]
    apart = (hits[0] - hits[1]).reshape(40, 3).mean(axis=1)  # of each image
    generator = np.random.default_rng((0, 0))
    sample = [apart[generator.integers(0, 40, 40)].mean() for _ in range(1000)]
    low, high = np.quantile(sample, (0.025, 0.975))
    assert one == pytest.approx({"value": apart.mean(), "low": low, "high": high})
    (b / "ranks_image_to_text.csv").write_text("image,rank\n7,1\n")
    with pytest.raises(ValueError, match="different queries"):
        trials.rsum_difference([(a, b)])


def test_the_table_of_features(tmp_path, parsed, monkeypatch, capsys):
    worse = {"text_to_image": [11, 11, 11, 1], "image_to_text": [5, 1]}  # rsum 325
    ranks = {"last_0": worse, "fne_0": RANKS, "last_1": RANKS, "fne_1": RANKS}
    use(monkeypatch, Scripts({name: [20.0] for name in ranks}, ranks))
    parsed.exp_root, parsed.seeds, parsed.train = str(tmp_path), 2, DATA
    core.main(["study.py", "features"])
    text = capsys.readouterr().out
    head, *rows = table(text)
    assert head[1:3] == ["test rsum, last", "test rsum, fne"]
    assert head[5:] == ["test rsum, fne - last", "mean recall, fne - last"]
    assert [row[:5] for row in rows] == [
        ["0", "325.0", "425.0", "54.2", "70.8"],
        ["1", "425.0", "425.0", "70.8", "70.8"],
        ["mean", "375.0", "425.0", "62.5", "70.8"],
    ]
    assert rows[0][5].startswith("+100.00 (+0.00 to +") and rows[0][6].startswith("+16.67 (")
    assert rows[1][5] == "+0.00 (+0.00 to +0.00)" and rows[2][5].startswith("+50.00 (")
    assert "among the seeds: 70.71" in text
    settings = sheets.load(folder.Run(tmp_path / "fne_1"))[0]
    assert (settings.recipe, settings.features, settings.seed) == ("gru_best", "fne", 1)
    parsed.kinds = ["fne"]
    with pytest.raises(ValueError, match="two to compare"):
        core.main(["study.py", "features"])


def test_the_table_of_losses(tmp_path, parsed, monkeypatch, capsys):
    worse = {"text_to_image": [11, 11, 11, 1], "image_to_text": [5, 1]}  # rsum 325
    ranks = {"barlow_0": worse, "simclr_0": RANKS, "barlow_1": RANKS, "simclr_1": RANKS}
    notes = {"barlow_1": ["the embeddings have collapsed (step 100): x"]}
    scripts = use(monkeypatch, Scripts({name: [20.0, 30.0] for name in ranks}, ranks, notes))
    parsed.exp_root, parsed.seeds, parsed.output = str(tmp_path), 2, str(tmp_path / "found.json")
    parsed.train, parsed.losses = f"--recipe gru_best {DATA}", ["barlow", "simclr"]
    parsed.loss_flags = ["barlow: --barlow_lambda 0.02 --learning_rate 1e-3"]
    core.main(["study.py", "losses"])
    text = capsys.readouterr().out
    assert scripts.trained() == ["barlow_0", "simclr_0", "barlow_1", "simclr_1"]
    head, first, second = table(text)
    assert first[0] == "simclr" and first[1:4] == ["425.0 (400.0 to 450.0)", "-", "0.0"]
    assert first[4:10] == ["50.0 / 100.0 / 100.0", "3", "50.0 / 50.0 / 75.0", "3", "2, 2", "1.0"]
    assert first[10:] == ["229.5", "19.7 / 43.7 / 56.4, 7; 15.7 / 39.8 / 54.2, 9"]
    assert second[0] == "barlow (collapsed: 1 of 2)" and second[1].startswith("375.0 (")
    assert second[2].startswith("50.0 (") and second[3] == "70.7" and second[10] == "45.0"
    assert len(head) == len(first) == len(second)
    assert "--barlow_lambda=5e-3 --barlow_lambda 0.02 --learning_rate 1e-3" in text
    settings = [sheets.load(folder.Run(tmp_path / n))[0] for n in ("barlow_1", "simclr_0")]
    assert [(one.loss, one.recipe, one.seed) for one in settings] == [
        ("barlow", "gru_best", 1),
        ("simclr", "gru_best", 0),
    ]
    assert [(one.barlow_lambda, one.learning_rate) for one in settings] == [
        (0.02, 1e-3),
        (0.005, 2e-3),
    ]
    assert [(one.temperature, one.epochs, one.embed_dim) for one in settings] == [
        (0.08, 3, 1024),
        (0.07, 3, 1024),
    ]
    found = json.loads((tmp_path / "found.json").read_text())["losses"]
    assert [(one["loss"], one["rsums"]) for one in found] == [
        ("simclr", [425, 425]),
        ("barlow", [325, 425]),
    ]
    core.main(["study.py", "losses"])
    assert capsys.readouterr().out == text and len(scripts.commands) == 8
    parsed.losses = ["simclr", "infonce"]
    with pytest.raises(ValueError, match=r"--loss_flags 'barlow.*: expected the name of a loss"):
        core.main(["study.py", "losses"])
    parsed.loss_flags = []
    with pytest.raises(ValueError, match=r"unknown loss 'infonce': .*simclr, .*sum_hinge"):
        core.main(["study.py", "losses"])


def test_the_table_of_stages(tmp_path, parsed, monkeypatch, capsys):
    names = ["ranking-I", "instance-I", "both-I", "instance-II", "ranking-II", "both-II"]
    names.append("kclass-500")
    ranks = {"text_to_image": [1, 2, 7, 11], "image_to_text": [1, 6]}
    rsums = {name: [10, 30, 20] for name in names}
    scripts = use(monkeypatch, Scripts(rsums, dict.fromkeys(names, ranks)))
    parsed.train, parsed.exp_root = DATA, str(tmp_path)
    parsed.classes, parsed.stage2 = ["500"], "--batch_size=8"
    core.main(["study.py", "stages"])
    assert scripts.trained() == names
    asked = {c[-1].removeprefix("--exp="): c for c in scripts.commands if "train.py" in c[0]}
    for name in names:
        later = name.endswith("-II")
        assert f"--recipe=dual_path_stage{1 + later}" in asked[name]
        assert ("--batch_size=8" in asked[name]) == later
        start = {"both": "instance"}.get(name.removesuffix("-II"), name.removesuffix("-II"))
        assert (f"--init_from={tmp_path / start}-I" in asked[name]) == later
    assert {"--lambdas=0:1:1", "--num_classes=500"} <= set(asked["kclass-500"])
    head, *rows = table(capsys.readouterr().out)
    assert len(head) == len(rows[0]) == 7 and [row[0] for row in rows] == names
    assert rows[0][1:3] == ["50.0 / 50.0 / 100.0", "25.0 / 50.0 / 75.0"]
    assert rows[0][4:6] == ["30.0 (2 of 3)", "1.0"]


def test_nothing_more_is_trained_after_a_failure(parsed):
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            raise ValueError("of item 1")
        return item

    assert core.for_each(work, [0, 2, 3]) == [0, 2, 3]
    begun.clear()
    with pytest.raises(ValueError, match="of item 1"):
        core.for_each(work, range(5))
    assert begun == [0, 1]


def test_runs_are_kept_only_on_request(tmp_path, parsed, monkeypatch, capsys):
    scripts = use(monkeypatch, Scripts({"sh": [20.0]}, {"sh": RANKS}))
    monkeypatch.chdir(tmp_path)
    parsed.recipes = ["sh"]
    core.main(["study.py", "recipes"])
    place = scripts.commands[0][-2].removeprefix("--exp_root=")
    assert not files.Path(place).exists() and not list(tmp_path.iterdir())
    assert "--keep" in capsys.readouterr().err
    parsed.keep = True
    core.main(["study.py", "recipes"])
    assert (tmp_path / "exp" / "study-recipes" / "sh" / "score.json").is_file()


def test_pairs_are_counted_in_one_pass_and_written(tmp_path, parsed, monkeypatch, capsys):
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
    parsed.train, parsed.pairs = "--data flickr8k --data_dir data", "brown_dog,sit_cat"
    parsed.occurrences, parsed.output = "found", "found.json"
    kept, parsed.train, parsed.pairs = (parsed.train, parsed.pairs), "", "red_circle"
    with pytest.raises(ValueError, match="--occurrences: such files are of real captions"):
        core.main(["study.py", "pairs"])
    parsed.train, parsed.pairs = kept
    core.main(["study.py", "pairs"])
    told = capsys.readouterr()
    head, *rows = table(told.out)
    assert head == ["pair", "split", "1", "2", "3", "4", "5", "captions"]
    assert rows[:3] == [
        ["brown_dog", "train", "1", "1", "0", "0", "0", "3"],
        ["brown_dog", "validation", "0", "0", "0", "0", "0", "0"],
        ["brown_dog", "test", "0", "0", "1", "0", "0", "3"],
    ]
    assert "15 captions of flickr8k" in told.out and "runs are not kept" not in told.err
    stored = json.loads((tmp_path / "found" / "brown_dog.json").read_text())
    assert stored["adjective_noun_occurrence_data"]["t0"]["pair_occurrences"] == 2
    assert (tmp_path / "found" / "sit_cat.json").is_file()
    assert json.loads((tmp_path / "found.json").read_text())["pairs"]["test"]["captions"] == [3, 0]
