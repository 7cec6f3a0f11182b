"""System 2 by its scripts on tiny data: both phases, grading, queries, resuming, bad input."""

import json
import shutil

import pytest
import tiny_data
from trying import check_query_tower, fail, read_history, script, succeed

from data.language.words import Vocabulary
from run import files
from run.folder import find

SMALL = [
    "--recipe=poe", "--data=precomp", "--data_dir=data", "--embed_dim=16", "--word_dim=8",
    "--batch_size=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data and a run of two phases, graded."""
    folder = tmp_path_factory.mktemp("home")
    tiny_data.precomp(folder / "data")
    told = succeed("train.py", *SMALL, "--epochs=1", "--exp=po", cwd=folder)
    assert "po-first" in told and "starts from" in told
    succeed("test.py", "--exp=po", cwd=folder)
    return folder


def test_both_phases_leave_a_run(home):
    first, second = (find(home / "exp", name) for name in ("po-first", "po"))
    before, after = (files.read_json(run.config)["settings"] for run in (first, second))
    started = files.read_json(second.config)["facts"]["started_from"]
    assert (before["loss"], after["loss"]) == ("sum_hinge", "max_hinge")
    assert (before["learning_rate"], after["learning_rate"]) == (1e-3, 1e-4)
    assert before["embed_dim"] == after["embed_dim"] == 16
    assert started == files.file_hash(first.best_weights)
    rows = read_history(second)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    best = max(float(row["val_rsum"]) for row in read_history(first))
    assert float(rows[0]["val_rsum"]) == pytest.approx(best)
    assert first.vocabulary.read_bytes() == second.vocabulary.read_bytes()


def test_it_is_graded_and_asked_by_order_similarity(home):
    score = files.read_json(home / "exp/po/score.json")
    assert score["protocol"]["similarity"] == "order"
    assert "agrees" in succeed("test.py", "--exp=po", "--verify", cwd=home)
    words = Vocabulary.load(home / "exp/po/vocabulary.json").words
    told = succeed("retrieve.py", "--exp=po", "--json", f"{words[0]} {words[1]}", cwd=home)
    answers = json.loads(told)["answers"]
    assert all(-4 <= answer["score"] <= 0 for answer in answers)
    assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)


def test_towers_in_onnx_equal_what_was_scored(home):
    check_query_tower(find(home / "exp", "po"))


def test_either_phase_is_resumed(home):
    succeed("train.py", "--exp=po", "--resume", "--epochs=2", cwd=home)
    assert len(read_history(find(home / "exp", "po"))) == 3
    # Killed in the first phase: the second has no folder yet.
    shutil.copytree(home / "exp/po-first", home / "exp/late-first")
    told = succeed("train.py", *SMALL, "--epochs=2", "--exp=late", "--resume", cwd=home)
    assert "1 of 2 epochs done" in told
    assert len(read_history(find(home / "exp", "late-first"))) == 2
    assert len(read_history(find(home / "exp", "late"))) == 3


def test_words_start_from_vectors(home):
    rows = "".join(f"{word} {i}.5 -1 0 0 0 0 0 2\n" for i, word in enumerate(["a", "picture"]))
    (home / "vectors.txt").write_text(rows)
    flags = ["--recipe=sh", "--epochs=1", "--word_vectors=vectors.txt", "--exp=vectors"]
    told = succeed("train.py", *SMALL, *flags, cwd=home)
    assert "word vectors: " in told and " of all tokens" in told
    flags = [*flags[:-1], "--exp=wrong", "--word_dim=7"]
    fail("train.py", *SMALL, *flags, cwd=home, says="vectors of 8 numbers, --word_dim is 7")
    assert not (home / "exp/wrong").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--recipe=sh", "--init_from=nowhere"], "nowhere"),
        (
            ["--recipe=soe", "--init_from=po-first", "--exp=po-first", "--overwrite"],
            "start from itself",
        ),
        (["--recipe=mh", "--init_from=po-first"], "both phases need the same towers"),
        (["--init_from=po-first"], "--first_phase trains the run to start from"),
        (["--recipe=sh", "--word_vectors=none.txt"], "none.txt"),
        (["--recipe=sh", "--loss=modified", "--similarity=order"], "compares distances"),
        (["--recipe=sh", "--embed_dim=7", "--bidirectional"], "cannot be shared"),
    ],
)
def test_bad_input_is_refused_in_one_line(home, flags, says):
    fail("train.py", *SMALL, "--epochs=1", "--exp=bad", *flags, cwd=home, says=says)
    assert not (home / "exp/bad").exists()


def test_a_run_starts_from_none_that_saw_what_it_is_judged_on(home):
    tiny_data.precomp(home / "swapped")
    for kind in ("ims.npy", "caps.txt", "ids.txt"):
        for before, now in (("train", "test"), ("test", "train")):
            shutil.copy(home / "data" / f"{before}_{kind}", home / "swapped" / f"{now}_{kind}")
    flags = ["--recipe=soe", "--init_from=po-first", "--data_dir=swapped", "--exp=bad"]
    says = "4 of 4 images of the test split are images that exp/po-first was trained on"
    fail("train.py", *SMALL, "--epochs=1", *flags, cwd=home, says=says)
    assert not (home / "exp/bad").exists()


def test_large_batches_in_parts_beside_a_tower_that_stands_still(home):
    own = ["--recipe=mh", "--batch_size=8", "--micro_batch=3", "--train=text", "--dropout=0.3"]
    own += ["--schedule=multi_step", "--milestones=1", "--decay_rate=0.1", "--warmup_epochs=0.5"]
    own += ["--weight_decay=1e-3"]
    exact = [*SMALL, *own, "--deterministic", "--threads=1"]
    succeed("train.py", *exact, "--epochs=2", "--exp=through", cwd=home)
    succeed("train.py", *exact, "--epochs=1", "--exp=resumed", cwd=home)
    succeed("train.py", "--exp=resumed", "--resume", "--epochs=2", *exact[-2:], cwd=home)
    runs = [find(home / "exp", name) for name in ("through", "resumed")]
    assert runs[0].state.read_bytes() == runs[1].state.read_bytes()
    rates = [float(row["learning_rate"]) for row in read_history(runs[0])]
    assert rates == pytest.approx([2e-5, 2e-5])  # of the next step; a --decay_rate of 0.1
    refused = ["--model=projection", "--micro_batch=3", "--exp=bad"]
    fail("train.py", *SMALL[1:], *refused, cwd=home, says="takes its statistics from the whole")
    assert not (home / "exp/bad").exists()


def test_a_first_phase_that_fails_ends_the_run(home):
    flags = ["--data_dir=nowhere", "--exp=bad"]
    done = script("train.py", *SMALL, *flags, cwd=home)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "nowhere" in done.stderr
    assert "the first phase, exp/bad-first, was not finished" in done.stderr
    fail("train.py", *SMALL, "--first_phase=unheard", "--exp=bad", cwd=home, says="unheard")
