"""Studies: what they train, what they find done already, and their tables, counted by hand.

Only the first test trains; the others put files in the place of train.py and test.py.
"""

import dataclasses
import json
import re

import numpy as np
import pytest
import starter
from stand_ins import DATA, END, RANKS, WORSE, Scripts, study
from tiny_data import precomp

from lab import scripts
from lab.settings import settings_of
from lab.studies import __main__ as studies
from lab.studies import draws, gru, trials
from run import files, folder, manifest
from run.manifest import check as check_strictly  # without the exception of conftest.py
from settings.training import Facts
from systems import config


def test_finding_prints_both_losses_side_by_side(tmp_path, monkeypatch, capsys):
    def run_script(script, *given, shown=None, said=""):
        done = starter.run(script, *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]

    monkeypatch.setattr(scripts, "run_apart", run_script)
    precomp(tmp_path / "data")
    words = "finding", "--train=--data precomp --data_dir data --epochs 2", "--grid=0.75"
    words += f"--exp_root={tmp_path / 'runs'}", f"--output={tmp_path / 'found.json'}"
    head, rows, told = study(capsys, *words)
    (one,) = json.loads((tmp_path / "found.json").read_text())["finding"]
    assert one["alpha"] == one["c"] == "0.75"
    assert all(0 < one[loss][0] <= 1 and one[loss][1] == 1 for loss in ("assignment", "modified"))
    assert head == ["alpha", "c", "assignment", "modified"]
    cells = [f"{one[loss][0]:.4f} (1)" for loss in ("assignment", "modified")]
    assert rows == [["0.75", "0.75", *cells]]
    # The log is what the studies read; finished runs are not trained anew.
    log = trials.read_log(folder.Run(tmp_path / "runs" / "modified_0.75_0.75"))
    assert log["finished"] and not log["parted"] and 0 < log["minutes"] < 4
    monkeypatch.setattr(scripts, "run_apart", None)
    assert study(capsys, *words)[2] == told


def test_a_failing_training_is_one_clear_line(tmp_path):
    train = "--train=--data=precomp --data_dir=nowhere"
    done = starter.anew("lab.studies", "finding", train, "--grid=0.5", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("lab.studies: error: assignment_0.5_0.5 failed") and "nowhere" in line


def test_a_script_tells_its_own_line():
    with pytest.raises(ValueError, match=r"^-c failed: it wrote no message$"):
        scripts.run_apart("-c", "raise SystemExit(3)")
    code = "import sys; print('x: error: why\\nlater', file=sys.stderr); sys.exit(1)"
    with pytest.raises(ValueError, match=r"^run failed: x: error: why$"):
        scripts.run_apart("-c", code, said="run")
    usage = scripts.run_apart("-c", "import run.files")
    assert usage is None or usage.ru_maxrss > 0


@pytest.mark.parametrize(
    ("arguments", "train", "said"),
    [
        (
            ["speed"],
            "",
            "unknown study 'speed': choose one of ",
        ),
        ([], "", "unknown study ''"),
        (["moe", "recipes"], "", "unexpected 'recipes': one study at a time"),
        (["moe", "--grid=1"], "", "Unknown command line flag 'grid'"),
        (["moe", "--seeds=0"], "", "seeds"),
        (["moe"], "--exp=x", "--train holds --exp, which the study gives itself: leave it out"),
        (["moe"], "--recipe sh", "--recipe, which the study gives itself"),
        (["moe"], "--depth 3", "Unknown command line flag 'depth'"),
        (["moe"], "words", "'words' is no flag"),
        (
            ["losses"],
            "--recipe gru_best --margin 0.3",
            "--margin, which the study gives itself: ch",
        ),
        (
            ["losses"],
            "--nosquared",
            "--nosquared, which the study gives itself: choose by --losses",
        ),
        (["losses"], "--resume", "--resume, which the study gives itself"),
        (["regimes"], "--recipe joint_scenes --freeze=words", "--freeze, which the study gives"),
        (
            ["regimes"],
            "--heldout=a_b",
            "--heldout, which the study gives itself: leave it out, and",
        ),
        (["features", "--kinds=fne"], "", "--kinds has 1 names; expected two"),
        (["moe"], "--margin 0.3", "--margin, which the study gives itself: leave it out"),
        (["moe"], "--learning_rate=1", "--learning_rate, which the study gives itself"),
        (["moe"], "--noabsolute", "--noabsolute, which the study gives itself"),
        (["moe"], "--seed=4", "--seed, which the study gives itself"),
        (["moe", "--kinds=fne"], "--features last", "--features, which --kinds gives: leave one"),
        (["features"], "--features=last", "--features, which the study gives itself: choose by"),
        (["features"], "--seed=4", "--seed, which the study gives itself: choose by --recipe,"),
        (["pipelines"], "--seed=4", "--seed, which the study gives itself: choose by --recipes,"),
        (["stages"], "--lambdas=1:0:0", "--lambdas, which the study gives itself: choose by"),
        (["stages"], "--init_from=a", "--init_from, which the study gives itself: choose by"),
        (["stages"], "--num_classes=9", "--num_classes, which the study gives itself: choose by"),
    ],
)
def test_what_cannot_be_studied_is_refused(arguments, train, said):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
        studies.main(["lab.studies", *arguments, f"--train={train}"] if arguments else [""])
    assert said in str(raised.value)


def test_help_tells_every_study_with_its_flags(capsys):
    studies.main(["lab.studies", "--help"])
    told = capsys.readouterr().out
    common, *parts = re.split(r"\n\n(?=\w+: trains)", told)
    assert all(f"--{one.name} " in common for one in studies.COMMON)
    assert [part.partition(":")[0] for part in parts] == list(studies.STUDIES)
    for part, one in zip(parts, studies.STUDIES.values(), strict=True):
        said = " ".join(part.split())
        assert one.trains in said and one.prints in said
        assert re.findall(r"^  --(\w+) ", part, re.MULTILINE) == [own.name for own in one.own]


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
        "finished": True, "minutes": 61 / 60, "parted": True, "pace": 1234.0, "best_epoch": 3,
        "collapsed": [1100], "apart": 1,
    }  # fmt: skip
    (run / "log.txt").write_text("\n".join([begun, ended, begun]))
    assert not trials.read_log(run)["finished"] and trials.read_log(run)["parted"]
    (run / "log.txt").write_text("\n".join([begun, ended, begun, "3 s; best epoch 1 of 3: v 1;"]))
    assert trials.read_log(run)["minutes"] == 64 / 60 and trials.read_log(run)["pace"] == 1234
    assert not trials.read_log(folder.Run(tmp_path / "none"))["finished"]


def test_a_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    made = Scripts(monkeypatch, {"a": [1.0]})
    work = trials.Trials(tmp_path, DATA.split())
    run = work.train("a", recipe="sh")
    trials.Trials(tmp_path, DATA.split(), threads=2).train("a", recipe="sh", cache_dir="elsewhere")
    assert len(made.calls) == 1 and made.calls[0][-1] == "--exp=a"
    with pytest.raises(ValueError, match=r"trained with --margin 0\.2, not 0\.3"):
        work.train("a", recipe="sh", margin=0.3)
    (run / "log.txt").write_text("killed before the end of its first epoch")
    work.train("a", recipe="sh")
    assert made.calls[1][-2:] == ("--exp=a", "--overwrite")
    (run / "log.txt").write_text("killed in its second epoch")
    run.state.parent.mkdir()
    run.state.write_text("")
    work.train("a", recipe="sh")
    assert made.calls[2][-2:] == ("--exp=a", "--resume")


def test_what_auto_came_out_as_is_not_taken_for_another_asking(tmp_path, monkeypatch):
    made = Scripts(monkeypatch, {"a": [1.0], "b": [1.0]})
    first = trials.Trials(tmp_path, ["--relevance=auto", "--features=regions"])
    auto = trials.Trials(tmp_path, ["--relevance=auto"])
    first.train("a")
    run = auto.train("b")
    resolved = {"features": "regions", "relevance": "concepts"}
    config.save(run, dataclasses.replace(config.load(run)[0], **resolved), Facts())
    first.train("a")
    auto.train("b")
    first.train("b")  # which it came out as
    with pytest.raises(ValueError, match="a was trained with --features regions, not auto: give"):
        auto.train("a")
    with pytest.raises(ValueError, match="b was trained with --relevance concepts, not tfidf"):
        auto.train("b", relevance="tfidf")
    (tmp_path / ".asked" / "a.json").unlink()  # of a run that no study has trained
    auto.train("a")
    assert list(made.trained()) == ["a", "b"]


def test_a_run_that_starts_from_another_one_is_another(tmp_path, monkeypatch):
    Scripts(monkeypatch, {"b1": [1.0], "ph": [1.0], "ph-first": [1.0], "gru": [1.0]})
    work = trials.Trials(tmp_path, DATA.split())
    work.train("b1", "--init_from=exp/a0", seed=1)
    work.train("b1", "--init_from=moved/to/a0", seed=1)
    for words in (["--init_from=exp/a1"], []):
        with pytest.raises(ValueError, match="b1 was trained with --init_from exp/a0, not "):
            work.train("b1", *words, seed=1)
    run = work.train("ph", recipe="ph")
    first = dataclasses.replace(config.load(run)[0], init_from=f"{run}-first")  # as train.py does
    config.save(run, first, Facts())
    work.train("ph", recipe="ph")
    with pytest.raises(ValueError, match="ph was trained with --model gru, not projection"):
        work.train("ph")


def test_a_run_is_graded_once_for_its_weights(tmp_path, monkeypatch):
    made = Scripts(monkeypatch, {"a": [1.0]}, {"a": RANKS})
    work = trials.Trials(tmp_path, DATA.split(), threads=1)
    run = work.train("a")
    assert work.grade(run)["rsum"]["value"] == 50 + 100 + 100 + 50 + 50 + 75
    assert made.calls[1] == ("test.py", "--exp=a", f"--exp_root={tmp_path}", "--threads=1")
    work.grade(run)
    assert len(made.calls) == 2
    run.best_weights.write_text("others")
    work.grade(run)
    assert len(made.calls) == 3
    score = files.read_json(run.score)
    for part, changed in (
        ("protocol", {"split": "validation"}),
        ("protocol", {"folds": 5}),
        ("hashes", {"config": "of other settings, such as --test_shifts"}),
    ):
        files.write_json(run.score, score | {part: score[part] | changed})
        calls = len(made.calls)
        assert not trials.is_graded(run) and work.grade(run)["rsum"]["value"] == 425
        assert len(made.calls) == calls + 1 and trials.is_graded(run)


@pytest.mark.parametrize("name", ["score.json", "ranks_text_to_image.csv"])
def test_damaged_grades_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "check", check_strictly)
    run = folder.Run(tmp_path / "a")
    config.save(run, settings_of(), Facts())  # begins the manifest
    files.write_text(run.best_weights, "weights")
    hashes = {"weights": files.file_hash(run.best_weights)}
    hashes["config"] = config.config_hash(*config.load(run))
    protocol = {"split": "test", "folds": 1}
    files.write_json(run.score, {"protocol": protocol, "hashes": hashes, "rsum": 1})
    for direction in ("text_to_image", "image_to_text"):
        files.write_text(run / f"ranks_{direction}.csv", "image,caption,rank\na.jpg,a,1\n")
    assert trials.is_graded(run) and draws.rsum_draws([run]).shape[0] == 1
    (run / name).write_bytes((run / name).read_bytes().replace(b"1", b"2"))
    with pytest.raises(ValueError, match=f"{name} is not as it was written.*python test.py"):
        draws.rsum_draws([run] * trials.is_graded(run))


def test_nothing_more_is_trained_after_a_failure():
    begun, work = [], trials.Trials(".")

    def attempt(item):
        begun.append(item)
        if item == 1:
            raise ValueError("of item 1")
        return item

    assert work.each(attempt, [0, 2, 3]) == [0, 2, 3]
    begun.clear()
    with pytest.raises(ValueError, match="of item 1"):
        work.each(attempt, range(5))
    assert begun == [0, 1]


def test_runs_are_kept_only_on_request(tmp_path, monkeypatch, capsys):
    made = Scripts(monkeypatch, {"sh": [20.0]}, {"sh": RANKS})
    monkeypatch.chdir(tmp_path)
    studies.main(["lab.studies", "recipes", "--recipes=sh", "--nobaselines"])
    place = made.calls[0][-2].removeprefix("--exp_root=")
    assert not files.Path(place).exists() and not list(tmp_path.iterdir())
    assert "--keep" in capsys.readouterr().err
    studies.main(["lab.studies", "recipes", "--recipes=sh", "--keep", "--nobaselines"])
    assert (tmp_path / "exp" / "study-recipes" / "sh" / "score.json").is_file()


# ---- Tables of systems 2 and 3 ------------------------------------------------------------------


def test_the_table_of_recipes(tmp_path, monkeypatch, capsys):
    rsums = {"sh": [3.0, 5.0], "ph": [11.0, 100.5, 90.0], "ph-first": [4.0, 3.0]}
    made = Scripts(monkeypatch, rsums, {"sh": RANKS, "ph": RANKS})
    words = "recipes", "--recipes=sh,ph", f"--exp_root={tmp_path}", f"--train={DATA}"
    head, (sh, ph), told = study(capsys, *words, f"--output={tmp_path / 'found.json'}")
    assert len(head) == 9 and DATA in told and ">:" not in told
    recalls = ["50.0 / 100.0 / 100.0", "50.0 / 50.0 / 75.0"]
    assert sh[:5] == ["sh", "2 (2)", "5.0", *recalls] and sh[6:] == ["1.0", "1,234", "NO"]
    assert ph[:5] == ["ph", "2 + 3 (2)", "100.5", *recalls] and ph[6:] == ["2.0", "1,234", "yes"]
    assert sh[5].startswith("425.0 (")
    found = json.loads((tmp_path / "found.json").read_text())
    assert [one["rsum"]["value"] for one in found["recipes"]] == [425, 425]
    log = f"epochs done\nepochs done\n{END}".format(60, 1, 3)
    (tmp_path / "ph-first" / "log.txt").write_text(log)
    made.calls.clear()
    _, (_, ph), again = study(capsys, *words)
    assert ph[6] == "> 2.0" and ">: a part of the training was killed" in again
    assert not made.calls


def test_the_epoch_that_is_told_is_that_of_the_graded_weights(tmp_path, monkeypatch, capsys):
    Scripts(monkeypatch, {"sh": [3.0, 50.0]}, {"sh": RANKS})  # val_mrr is the same in all epochs
    words = "recipes", "--recipes=sh", f"--exp_root={tmp_path}", f"--train={DATA} --select mrr"
    _, (sh,), _ = study(capsys, *words)
    assert sh[1:3] == ["2 (1)", "3.0"] and sh[-1] == "yes"  # started: in any epoch


def test_the_best_epoch_is_best_by_any_column(tmp_path):
    run = folder.Run(tmp_path)
    rows = ["epoch,val_median_rank,val_rsum,loss", "0,9,50,", "1,7,70,3", "2,8,90,2"]
    run.history.write_text("\n".join(rows))
    assert trials.best_epoch(run, "val_median_rank", "val_rsum") == (70, 1, 2)
    assert trials.best_epoch(run, "loss", "val_rsum") == (90, 2, 2)
    assert trials.best_epoch(run, "val_rsum") == (90, 2, 2)


def test_the_table_of_moe(tmp_path, monkeypatch, capsys):
    said = "the embeddings have collapsed (step {}): x"
    apart = "the embeddings have come apart again (step 1,200)"
    rsums = {f"{model}_{seed}": [10.0] for model in gru.MOE for seed in (0, 1)}
    rsums["MOE-bl_1"] = [0.5, 10.1, 9.0]
    notes = {"MOE-bl_0": [said.format("1,100")], "MOE-bl-abs_1": [said.format(100)]}
    notes["MOE-bl_1"] = [said.format("150"), apart, said.format("2,000")]
    made = Scripts(monkeypatch, rsums, notes=notes)
    words = f"--exp_root={tmp_path}", f"--train={DATA}", "--seeds=2", "--threads=1"
    _, rows, _ = study(capsys, "moe", *words)
    both = "last 5/5, fne 0/5", "last 0/5, fne 0/5", "last 0/5, fne 4/5"
    watch = "2/2, step 150 to 1,100; 1 came apart again"
    assert rows == [
        ["MOE-bl", "0.0002", "0.2", "no", "1/2", both[0], watch, "10.0, 10.1"],
        ["MOE-bl-abs", "0.0002", "0.2", "yes", "0/2", both[1], "1/2, step 100", "10.0, 10.0"],
        ["MOE-abs", "0.0001", "0.05", "yes", "0/2", both[2], "0/2", "10.0, 10.0"],
    ]
    assert all("--threads=1" in call for call in made.calls)
    own = config.load(folder.Run(tmp_path / "MOE-abs_1"))[0]
    assert (own.learning_rate, own.margin, own.absolute) == (1e-4, 0.05, True)
    assert (own.loss, own.similarity, own.seed) == ("max_hinge", "order", 1)
    assert (own.word_dim, own.embed_dim, own.epochs) == (300, 1024, 3)


def test_moe_runs_for_each_kind_of_vectors(tmp_path, monkeypatch, capsys):
    names = [f"{kind}-{model}_0" for kind in ("last", "fne") for model in gru.MOE]
    made = Scripts(monkeypatch, {name: [20.0] for name in names})
    words = f"--exp_root={tmp_path}", "--seeds=1", "--kinds=last,fne"
    _, rows, _ = study(capsys, "moe", *words)
    assert list(made.trained()) == names
    assert [row[5] for row in rows] == ["5/5", "0/5", "0/5", "0/5", "0/5", "4/5"]
    assert [row[0] for row in rows] == [name.removesuffix("_0") for name in names]
    kinds = [config.load(folder.Run(tmp_path / name))[0].features for name in names]
    assert kinds == ["last"] * 3 + ["fne"] * 3


def test_the_table_of_features(tmp_path, monkeypatch, capsys):
    ranks = {"last_0": WORSE, "fne_0": RANKS, "last_1": RANKS, "fne_1": RANKS}
    Scripts(monkeypatch, {name: [20.0] for name in ranks}, ranks)
    words = f"--exp_root={tmp_path}", "--seeds=2", f"--train={DATA}"
    head, rows, told = study(capsys, "features", *words)
    assert head[1:3] == ["test rsum, last", "test rsum, fne"]
    assert head[5:] == ["test rsum, fne - last", "mean recall, fne - last"]
    assert [row[:5] for row in rows] == [
        ["0", "325.0", "425.0", "54.2", "70.8"],
        ["1", "425.0", "425.0", "70.8", "70.8"],
        ["mean", "375.0", "425.0", "62.5", "70.8"],
    ]
    assert rows[0][5].startswith("+100.00 (+0.00 to +") and rows[0][6].startswith("+16.67 (")
    assert rows[1][5] == "+0.00 (+0.00 to +0.00)" and rows[2][5].startswith("+50.00 (")
    assert "among the seeds: 70.71" in told
    own = config.load(folder.Run(tmp_path / "fne_1"))[0]
    assert (own.recipe, own.features, own.seed) == ("gru_best", "fne", 1)


def test_the_table_of_pipelines(tmp_path, monkeypatch, capsys):
    """MH gains, MOE-bl does not start with FNE and so stays out of the mean, SH is level."""
    ranks = {
        f"{recipe}_{kind}_{s}": RANKS
        for recipe in ("mh", "moe_bl", "sh")
        for kind in ("last", "fne")
        for s in (0, 1)
    }
    ranks |= {"mh_last_0": WORSE, "mh_last_1": WORSE}  # fmt: skip
    low = {name: [2.0 if name.startswith("moe_bl_fne") else 20.0] for name in ranks}
    made = Scripts(monkeypatch, low, ranks)
    words = f"--exp_root={tmp_path}", "--recipes=mh,moe_bl,sh", f"--train={DATA}"
    head, rows, _ = study(capsys, "pipelines", *words)
    assert head[0] == "pipeline" and head[-1].startswith("mean recall, the paper's")
    assert [row[0] for row in rows] == ["mh", "moe_bl", "sh", "mean of 2 that started"]
    assert [row[1:3] for row in rows] == [["325.0", "425.0"], ["425.0"] * 2, ["425.0"] * 2,
                                          ["375.0", "425.0"]]  # fmt: skip
    assert rows[0][5].startswith("+100.00 (") and rows[3][5].startswith("+50.00 (")
    # The paper's own: MH 281.4 - 253.1 of six recalls.
    assert [row[-1] for row in rows] == ["+4.72", "-40.55", "+2.40", "+3.46"]
    assert len(made.trained()) == 12
    gains = [(b - a) / 6 for name, (a, b) in gru.PIPELINES.items() if name != "moe_bl"]
    assert np.mean(gains) == pytest.approx(gru.MEAN_GAIN, abs=0.005)


def test_pipelines_that_flags_make_equal_are_trained_once(tmp_path, monkeypatch, capsys):
    """SH-bl and SH differ by their sizes alone, SOE by more."""
    names = [f"{recipe}_{kind}_0" for recipe in ("sh_bl", "soe") for kind in ("last", "fne")]
    made = Scripts(monkeypatch, {n: [20.0] for n in names}, dict.fromkeys(names, RANKS))
    words = f"--exp_root={tmp_path}", "--recipes=sh_bl,sh,soe", "--seeds=1"
    sizes = f"--train={DATA} --embed_dim=8 --word_dim=8"
    _, rows, told = study(capsys, "pipelines", *words, sizes)
    assert [row[0] for row in rows] == ["sh_bl", "soe", "mean of 2 that started"]
    assert "\nsh is sh_bl under these flags." in told and len(made.trained()) == 4


ALL_STAGES = ["ranking-I", "instance-I", "both-I", "instance-II", "ranking-II", "both-II"]


@pytest.mark.parametrize(
    ("more", "names", "start_of_both"),
    [
        ((), ALL_STAGES, "instance"),
        (("--runs=both-I,both-II", "--start=both-I"), ["both-I", "both-II"], "both"),
        (("--stage1=--recipe dual_path_photos", "--runs=ranking-I"), ["ranking-I"], ""),
    ],
)
def test_the_table_of_stages(tmp_path, monkeypatch, capsys, more, names, start_of_both):
    names = [*names, "kclass-500"]
    ranks = {"text_to_image": [1, 2, 7, 11], "image_to_text": [1, 6]}
    made = Scripts(monkeypatch, {n: [10, 30, 20] for n in names}, dict.fromkeys(names, ranks))
    words = f"--train={DATA}", f"--exp_root={tmp_path}", "--classes=500", "--stage2=--batch_size=8"
    words += ("--both=1:0.1:0.1", *more)
    head, rows, _ = study(capsys, "stages", *words)
    asked = made.trained()
    assert list(asked) == names
    for name in names:
        later = name.endswith("-II")
        assert f"--recipe=dual_path_stage{1 + later}" in asked[name]
        recipes = [word for word in asked[name] if "recipe" in word or "photos" in word]
        assert len(recipes) == 1 + 2 * ("photos" in str(more))  # the paper's first: the last wins
        assert ("--batch_size=8" in asked[name]) == later
        start = {"both": start_of_both}.get(name.removesuffix("-II"), name.removesuffix("-II"))
        assert (f"--init_from={tmp_path / start}-I" in asked[name]) == later
        both, of_both = name.startswith("both"), "--lambdas=1:0.1:0.1" in asked[name]
        assert of_both == both
    assert {"--lambdas=0:1:1", "--num_classes=500"} <= set(asked["kclass-500"])
    assert len(head) == len(rows[0]) == 7 and [row[0] for row in rows] == names
    assert rows[0][1:3] == ["50.0 / 50.0 / 100.0", "25.0 / 50.0 / 75.0"]
    assert rows[0][4:6] == ["30.0 (2 of 3)", "1.0"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--runs=both-III", "--runs: no run 'both-III'; there are ranking-I, instance-I, both-I"),
        ("--runs=both-II", "--runs holds both-II, which starts from instance-I, but not that"),
        ("--start=both-II", "--start both-II: expected a run of stage I, such as both-I"),
        ("--start=all", "--runs holds both-II, which starts from all, but not that"),
    ],
)
def test_stages_that_cannot_be_are_refused(tmp_path, monkeypatch, capsys, word, said):
    made = Scripts(monkeypatch, {}, {})
    with pytest.raises(ValueError, match=f"^{said}"):
        study(capsys, "stages", f"--train={DATA}", f"--exp_root={tmp_path}", word)
    assert not made.trained()
