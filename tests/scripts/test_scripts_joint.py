"""System 5 by its scripts on tiny data: two phases by one command, grading, captions, bad input."""

import csv
import json

import numpy as np
import pytest
import tiny_data
from PIL import Image
from trying import check_query_tower, fail, read_history, succeed

from run import files
from run.folder import find

SMALL = [
    "--model=joint", "--limit=20", "--embed_dim=16", "--hidden_dim=12", "--attention_dim=8",
    "--word_dim=8", "--batch_size=25", "--max_length=6", "--cache_dir=cache",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run that ranked first and writes now, what ranks frozen, and is graded."""
    folder = tmp_path_factory.mktemp("home")
    second = ["--first_phase=joint_scenes_rank", "--rank_weight=0", "--freeze=image,caption,words"]
    told = succeed("train.py", *SMALL, *second, "--epochs=1", "--exp=first", cwd=folder)
    assert "best epoch 1 of 1: val_image_to_text_rsum" in told and "val_bleu4" in told
    told = succeed("test.py", "--exp=first", cwd=folder)
    assert "rsum" in told
    return folder


def test_both_phases_have_the_weights_of_their_own(home):
    first, second = (find(home / "exp", name) for name in ("first-first", "first"))
    kept = [files.read_json(run.config)["settings"] for run in (first, second)]
    started = files.read_json(second.config)["facts"]["started_from"]
    assert [(s["rank_weight"], s["write_weight"]) for s in kept] == [(1, 0), (0, 1)]
    assert [s["freeze"] for s in kept] == ["none", "image,caption,words"]
    assert [s["features"] for s in kept] == ["boxes", "boxes"]
    assert started == files.file_hash(first.best_weights)
    rows = read_history(second)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(0 <= float(row["val_bleu4"]) <= 1 for row in rows)
    # What ranks stood still.
    assert len({row["val_image_to_text_rsum"] for row in rows}) == 1


def test_grading_again_gives_the_same_bytes_and_the_query_tower_those_rows(home):
    run = find(home / "exp", "first")
    before = run.score.read_bytes()
    succeed("test.py", "--exp=first", "--threads=3", cwd=home)
    assert run.score.read_bytes() == before
    check_query_tower(run)


def test_captions_are_written_for_the_gallery_and_for_a_file(home):
    told = json.loads(
        succeed(
            "retrieve.py", "--exp=first", "--image=test-00003", "--caption", "--beam=3", "--json",
            "--explain", "--output=look.png", cwd=home,
        )
    )  # fmt: skip
    assert told["image"] == "test-00003" and len(told["captions"]) == 3
    scores = [one["score"] for one in told["captions"]]
    assert scores == sorted(scores, reverse=True) and scores[0] < 0
    words = told["captions"][0]["caption"].split()
    assert [word for word, _ in told["attention"]] == words and len(words) <= 6
    for _, shares in told["attention"]:
        assert len(shares) == 16 and sum(shares) == pytest.approx(1, abs=1e-4)
    assert Image.open(home / "look.png").width > 100
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(home / "mine.png")
    own = ("--exp=first", "--image=mine.png", "--caption")
    lines = succeed("retrieve.py", *own, "--normalise", cwd=home)
    assert lines.startswith("mine.png\n") and "mean log probability of a word" in lines
    found = json.loads(succeed("retrieve.py", *own, "--rerank", "--json", cwd=home))["captions"]
    assert found and all(-1 <= one["score"] <= 1 for one in found)


def test_it_is_asked_and_explained_as_any_run(home):
    told = json.loads(
        succeed("retrieve.py", "--exp=first", "a red circle", "--json", "--explain", cwd=home)
    )
    assert len(told["answers"]) == 10 and len(told["explanation"]["words"]) == 3


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--features=regions"], "one row for each picture, for --model projection"),
        (["--data=precomp", "--data_dir=data"], "this data has vectors of 6 numbers"),
        (["--init_from=first", "--attention_dim=9"], "trained with --attention_dim 8"),
    ],
)
def test_bad_input_is_refused_in_one_line(home, flags, says):
    if not (home / "data").exists():
        tiny_data.precomp(home / "data")
    fail("train.py", *SMALL, "--epochs=1", "--exp=bad", *flags, cwd=home, says=says)
    assert not (home / "exp/bad").exists()


def test_a_folder_of_pictures_is_captioned(home):
    photos = home / "photos"
    (photos / "sub").mkdir(parents=True)
    for name, colour in (('a "quoted", name.png', "red"), ("sub/b.png", "blue")):
        Image.new("RGB", (70, 50), colour).save(photos / name)
    (photos / "broken.png").write_bytes(b"no")
    args = ("retrieve.py", "--exp=first", f"--pictures={photos}", "--caption", "--beam=3")
    rows = list(csv.reader(succeed(*args, "--output=c.csv", cwd=home).splitlines()))
    rows = list(csv.reader((home / "c.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["image", "caption", "score"]
    assert [row[0] for row in rows[1:]] == ['a "quoted", name.png', "sub/b.png"]
    assert list(csv.reader(succeed(*args, cwd=home).splitlines()))[: len(rows)] == rows
    told = succeed(*args, "--json", cwd=home)
    found = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    alone = succeed(
        "retrieve.py", "--exp=first", f"--image={photos / 'sub/b.png'}", "--caption", "--beam=3",
        "--json", cwd=home,
    )  # fmt: skip
    assert found[1]["captions"] == json.loads(alone)["captions"]
    assert rows[2][1:] == [(best := found[1]["captions"][0])["caption"], f"{best['score']:.6g}"]


def test_a_picture_to_write_of_must_be_named(home):
    fail("retrieve.py", "--exp=first", "--caption", cwd=home, says="Give --image FILE_OR_ID")
    fail("retrieve.py", "--image=0", "--rerank", cwd=home, says="give --caption, too")
    fail("test.py", "--verify", "--pairs=red_ring", cwd=home, says="leave --verify and")
