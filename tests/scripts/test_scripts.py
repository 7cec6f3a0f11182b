"""The scripts by subprocess on tiny data: the main job, resuming, overfitting, bad input."""

import copy
import csv
import importlib.util
import json
import random
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import starter
from PIL import Image
from trying import check_query_tower, fail, read_history, succeed

from answering import search
from answering.albums.judging import usualness
from answering.pictures import PictureEncoder
from data import datasets
from data.language.words import bag_words
from data.vision.rows import open_picture
from grading import verify
from run import manifest
from run.files import file_hash, read_json, write_json
from run.folder import find
from systems import config

TINY = [
    "--limit=40", "--hidden_dim=32", "--embed_dim=16", "--batch_size=16", "--epochs=2",
    "--learning_rate=3e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with one trained and graded run; in fresh processes: test_own_parts.py."""
    folder = tmp_path_factory.mktemp("home")
    told = succeed("train.py", *TINY, "--exp=first", cwd=folder)
    assert "best epoch" in told and "python test.py --exp first" in told
    told = succeed("test.py", "--examples=3", cwd=folder)
    assert "examples_text_to_image.png" in told
    return folder


def test_train_leaves_a_whole_run(home):
    run = find(home / "exp", "first")
    names = {p.name for p in run.folder.iterdir()}
    assert {"config.json", "vocabulary.json", "history.csv", "history.png", "best.weights.h5",
            "last", "log.txt", "features.npz"} <= names  # fmt: skip
    rows = read_history(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "val_mrr", "val_rsum", "learning_rate"} <= set(rows[0])
    with Image.open(run / "history.png") as picture:
        assert picture.size[0] > 500


def test_what_is_usual_of_validation_captions_is_kept(home):
    """As reckoned from the towers that test.py has left."""
    run = find(home / "exp", "first")
    found = read_json(run.fit)
    settings, _ = config.load(run)
    splits = datasets.open_run_data(settings)
    train, validation = splits["train"], splits["validation"]
    words = Counter(word for text in train.captions for word in bag_words(text))
    assert found["words"] == dict(words) and found["weights"] == file_hash(run.best_weights)
    text = search.QueryEncoder(run).encode(validation.captions)
    pictures = [open_picture(validation, row) for row in range(validation.num_images)]
    image = PictureEncoder(run)(pictures)
    scores = text @ image.T
    assert found["weak_below"] == pytest.approx(np.percentile(scores.max(1), 5), abs=1e-4)
    right = scores[np.arange(len(scores)), validation.caption_image]
    assert found["right_pairs"] == pytest.approx(np.percentile(right, 5), abs=1e-4)
    usual = [usualness(bag_words(caption), words) for caption in validation.captions]
    assert found["rare_below"] == pytest.approx(np.percentile(usual, 10))


def test_examples_are_drawn_and_listed(home):
    run = find(home / "exp", "first")
    text = (run / "examples.md").read_text(encoding="utf-8")
    sizes = read_json(run.score)["protocol"]["gallery"].values()
    assert all(f" of {size:,}\n" in text for size in sizes)
    for direction in ("text_to_image", "image_to_text"):
        with Image.open(run / f"examples_{direction}.png") as page:
            assert page.width > 1000 and page.height > 300
    for flag in ("--verify", "--folds=2", "--embeddings=x.npz"):
        fail("test.py", "--examples=2", flag, cwd=home, says="leave --verify, --embeddings and")


def test_score_has_what_graders_read(home):
    score = read_json(home / "exp/first/score.json")
    metrics = {"mrr", "mrr@10", "recall@1", "recall@5", "recall@10", "median_rank", "mean_rank",
               "map@10", "ndcg@10"}  # fmt: skip
    for group in ("text_to_image", "image_to_text", "chance", "oracle"):
        assert set(score[group]) == metrics
        for value in score[group].values():
            assert value["low"] <= value["value"] <= value["high"]
    assert set(score["hashes"]) == {"data", "weights", "config", "pictures"}
    assert score["protocol"]["gallery"] == {"text_to_image": 40, "image_to_text": 200}
    recalls = [score[d][f"recall@{k}"]["value"] for d in ("text_to_image", "image_to_text")
               for k in (1, 5, 10)]  # fmt: skip
    assert score["rsum"]["value"] == pytest.approx(sum(recalls))
    text = (home / "exp/first/score.json").read_text()
    assert str(home) not in text and re.search(r"20\d\d-\d\d-\d\d", text) is None
    with open(home / "exp/first/ranks_text_to_image.csv", encoding="utf-8") as file:
        ranks = [int(row["rank"]) for row in csv.DictReader(file)]
    assert np.mean(1 / np.array(ranks)) == pytest.approx(score["text_to_image"]["mrr"]["value"])


@pytest.mark.parametrize("flags", [["--threads=2", "--block_size=1"], ["--batch_size=64"]])
def test_grading_again_gives_the_same_bytes(home, flags):
    files = ("score.json", "projections.npz", "ranks_image_to_text.csv")
    before = [(home / "exp/first" / name).read_bytes() for name in files]
    succeed("test.py", "--exp=first", *flags, cwd=home)
    assert [(home / "exp/first" / name).read_bytes() for name in files] == before


def test_verify_agrees_and_notices(home, tmp_path):
    assert "agrees" in succeed("test.py", "--verify", cwd=home)
    shutil.copytree(home / "exp/first", tmp_path / "copy")
    score = read_json(tmp_path / "copy/score.json")
    score["text_to_image"]["mrr"]["value"] += 1e-9
    write_json(tmp_path / "copy/score.json", score)  # and its hash with it
    fail("test.py", "--verify", "--exp", tmp_path / "copy", cwd=home, says="disagrees")
    (tmp_path / "copy/score.json").write_text(json.dumps(score))
    fail("test.py", "--verify", "--exp", tmp_path / "copy", cwd=home, says="not as it was written")


def leaves(value, path=()):
    """Paths to all that is no object in a JSON value."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    return [path]


def test_verify_covers_every_field(home, monkeypatch):
    monkeypatch.chdir(home)
    run = find(home / "exp", "first")
    written = verify.read_score(run)
    again = verify.recompute(run, written)
    assert list(verify.differing(written, again)) == []
    for *way, last in leaves(written):
        forged = copy.deepcopy(written)
        at = forged
        for key in way:
            at = at[key]
        at[last] = "0" * 64
        (line,) = verify.differing(forged, again)
        assert line.startswith(" ".join([*way, last]))


def test_a_file_that_changed_is_refused_by_whoever_reads_it(home, tmp_path):
    """Bits are flipped in every file that is read again, one after the other."""
    shutil.copytree(home / "exp/first", tmp_path / "run")
    run, draw = find(tmp_path, "run"), random.Random(0)
    read = dict.fromkeys(manifest.hashes_of(run.folder))
    assert {"config.json", "data.json", "best.weights.h5", "last/state.npz"} <= set(read)
    assert {"query.onnx", "projections.npz", "score.json", "features.npz"} <= set(read)
    for name in read:
        path = run / name
        whole = path.read_bytes()
        run.require(path, "")
        for _ in range(3):
            place = draw.randrange(len(whole))
            flipped = whole[place] ^ (1 << draw.randrange(8))
            path.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
            with pytest.raises(ValueError, match="not as it was written"):
                run.require(path, "")
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match="not as it was written"):
            run.require(path, "")
        path.write_bytes(whole)
    (run / manifest.NAME).write_text("{}")
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        run.require(run.config, "")


def test_towers_in_onnx_equal_keras(home):
    check_query_tower(find(home / "exp", "first"))


def test_retrieve_answers_from_the_graded_run(home):
    assert "answer.png" in succeed("retrieve.py", "a red circle", cwd=home)
    told = succeed("retrieve.py", "a red circle", "--json", "--k=3", cwd=home)
    answer = json.loads(told)
    assert len(answer["answers"]) == 3 and answer["fitting"] is not None
    assert all(type(one["fits"]) is bool for one in answer["answers"])
    assert (home / "exp/first/answer.png").is_file()


def test_scores_of_foreign_embeddings(home, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((20, 5))
    owner = np.repeat(np.arange(20), 2)
    np.savez(tmp_path / "e.npz", image=image, text=image[owner], caption_image=owner)
    told = succeed("test.py", f"--embeddings={tmp_path / 'e.npz'}", "--normalize",
                   f"--output={tmp_path / 'score.json'}", cwd=tmp_path)  # fmt: skip
    assert "rsum 600.0" in told
    assert read_json(tmp_path / "score.json")["rsum"]["value"] == 600
    folds = succeed("test.py", f"--embeddings={tmp_path / 'e.npz'}", "--folds=5", cwd=tmp_path)
    assert "gallery of 4, mean of 5 galleries" in folds
    np.savez(tmp_path / "bad.npz", image=image)
    fail("test.py", f"--embeddings={tmp_path / 'bad.npz'}", cwd=tmp_path, says="lacks text")
    image[3, 2] = np.nan
    np.savez(tmp_path / "nan.npz", image=image, text=image, caption_image=np.arange(20))
    fail("test.py", f"--embeddings={tmp_path / 'nan.npz'}", cwd=tmp_path, says="row 3")


@pytest.mark.parametrize("name", ["notes", ".", ".."])
def test_only_runs_are_overwritten(home, name):
    (home / "exp/notes").mkdir(exist_ok=True)
    (home / "exp/notes/thesis.txt").write_text("years of work")
    fail("train.py", *TINY, f"--exp={name}", "--overwrite", cwd=home, says="no run folder")
    assert (home / "exp/notes/thesis.txt").read_text() == "years of work"
    shutil.rmtree(home / "exp/notes")


def test_a_run_that_diverges_says_what_helps(home):
    flags = ["--exp=wild", "--optimizer=sgd", "--learning_rate=1e30"]
    line = fail("train.py", *TINY, *flags, cwd=home, says="try a lower --learning_rate")
    assert "nan" in line or "inf" in line
    line = fail(
        "train.py", *TINY, "--learning_rate=1e10", "--exp=finite", cwd=home, says="embeddings are"
    )
    assert "try a lower --learning_rate than 1e+10" in line
    for name in ("wild", "finite"):
        assert not (home / "exp" / name / "best.weights.h5").exists()


def test_virtual_devices_go_on_where_one_stopped(home):
    shutil.copytree(home / "exp/first", home / "exp/two")
    more = ["--resume", "--exp=two", "--epochs=3", "--relevance=identity"]
    told = succeed("train.py", *more, "--virtual_devices=2", cwd=home)
    assert "best epoch" in told and "3 epochs, not 2: the learning rate is planned anew" in told
    one, two = (find(home / "exp", name) for name in ("first", "two"))
    assert read_json(two.config)["settings"]["epochs"] == 3
    assert len(read_history(two)) == 3
    # Two devices leave what one does, but for the epochs that they remember.
    states = [{key: value.shape for key, value in np.load(run.state).items()} for run in (one, two)]
    assert all(state.pop("memory") for state in states) and states[0] == states[1]


def test_a_run_is_not_overwritten_unasked(home):
    before = (home / "exp/first/config.json").read_bytes()
    fail("train.py", *TINY, "--exp=first", cwd=home, says="--overwrite")
    fail("train.py", "--resume", "--exp=first", "--alpha=0.1", cwd=home, says="leave the flag out")
    assert (home / "exp/first/config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--recipe=none"], "unknown recipe 'none'"),
        (["--data=precomp", "--data_dir=nowhere"], "nowhere"),
        (["--data=precomp"], "data_dir"),
        (["--exp=x", "--resume"], "unknown experiment 'x'"),
        (["stray"], "unexpected argument 'stray'"),
        (["--relevance=identity", "--loss=soft_weight_triplet", *TINY], "use tfidf or concepts"),
        (["--alpha=2", *TINY], "--alpha=2"),
        (["--margin=-1", *TINY], "--margin=-1"),
        (["--temperature=0", *TINY], "--temperature=0"),
        (["--batch_size=1"], "--batch_size=1"),
        ([*TINY, "--limit=1"], "has 1 image: expected two or more"),
        (["--exp=a\nb"], r"'exp/a\nb' is no usable name"),
        (["--strategy=multi_worker"], "TF_CONFIG"),
        ([*TINY, "--batch_size=3", "--virtual_devices=4"], "has 3 captions for 4 replicas"),
    ],
)
def test_train_refuses_bad_input_and_leaves_nothing(home, arguments, says):
    before = sorted((home / "exp").iterdir())
    fail("train.py", *arguments, cwd=home, says=says)
    assert sorted((home / "exp").iterdir()) == before


def test_grading_refuses_unknown_and_half_written_runs(home):
    assert "unknown experiment" in fail("test.py", "--exp=none", cwd=home, says="first")
    for half, says in (("empty", "config.json"), ("started", "best.weights.h5")):
        folder = home / "elsewhere" / half
        folder.mkdir(parents=True)
        if half == "started":
            shutil.copy(home / "exp/first/config.json", folder)
        fail("test.py", f"--exp={half}", "--exp_root=elsewhere", cwd=home, says=says)
    shutil.copytree(home / "exp/first", home / "elsewhere/cut")
    weights = home / "elsewhere/cut/best.weights.h5"
    weights.write_bytes(weights.read_bytes()[:3000])
    fail("test.py", "--exp=cut", "--exp_root=elsewhere", cwd=home, says="best.weights.h5")


def test_a_disk_that_fills_up_loses_nothing(home, tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    def files():
        found = (p for p in (tmp_path / "exp/full").iterdir() if p.name != "log.txt")
        return sorted((p.name, p.stat().st_size) for p in found)

    shutil.copytree(home / "exp/first", tmp_path / "exp/full")
    before = files()
    more = ["--resume", "--exp=full", "--epochs=3"]
    done = starter.anew("train.py", *more, cwd=tmp_path, preexec_fn=small_files)
    assert done.returncode != 0
    assert done.stderr.count("error") == 1 and "Traceback" not in done.stderr, done.stderr
    assert files() == before
    succeed("train.py", *more, cwd=tmp_path)  # with room again, it goes on
    assert len(read_history(find(tmp_path / "exp", "full"))) == 3


def test_the_system_overfits_eight_images(tmp_path):
    flags = ["--limit=8", "--hidden_dim=64", "--embed_dim=32", "--batch_size=8", "--epochs=20",
             "--dropout=0", "--captions=all", "--relevance=identity"]  # fmt: skip
    succeed("train.py", *flags, "--learning_rate=1e-2", "--exp=over", cwd=tmp_path)
    succeed("test.py", "--split=train", cwd=tmp_path)
    score = read_json(tmp_path / "exp/over/score.json")
    assert score["image_to_text"]["recall@1"]["value"] == 100
    assert score["text_to_image"]["recall@1"]["value"] > 90  # some captions fit two of the eight


def test_a_students_own_pictures(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["image,caption,split"]
    for i in range(24):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).save(tmp_path / f"{i}.png")
        rows.append(
            f"{i}.png,picture number{i},{'train' if i < 16 else 'val' if i < 20 else 'test'}"
        )
    table = tmp_path / "mine.csv"
    table.write_text("\n".join(rows) + "\n")
    flags = ["--data=csv", f"--data_dir={table}", *TINY]
    if importlib.util.find_spec("tensorboard") is None:
        fail("train.py", *flags, "--tensorboard", cwd=tmp_path, says="pip install tensorboard")
        watched = []
    else:
        watched = ["--tensorboard"]
    succeed("train.py", *flags, *watched, "--notes=colours only", "--exp=mine", cwd=tmp_path)
    assert "\n\ncolours only\n\n" in (tmp_path / "exp/mine/run.md").read_text()
    events = list((tmp_path / "exp/mine").glob("tensorboard/*/events.out.tfevents.*"))
    assert bool(events) == bool(watched)
    assert "gallery of 4" in succeed("test.py", cwd=tmp_path)
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "7.png").write_bytes((tmp_path / "8.png").read_bytes()[:200])
    line = fail("train.py", *flags, "--exp=broken", cwd=tmp_path, says="2 ")
    assert "3.png" in line and "7.png" in line
    assert not (tmp_path / "exp/broken").exists()
    assert (tmp_path / "exp/mine/score.json").is_file()


def test_data_of_another_seed_are_graded_beside(home, tmp_path):
    shutil.copytree(home / "exp/first", tmp_path / "run")
    run = find(tmp_path, "run")
    before = run.score.read_bytes()
    kept = read_json(run.config)
    kept["settings"]["data_seed"] = 7  # as if the scenes were others than those of data.json
    write_json(run.config, kept)
    given = "--exp", run.folder
    fail("test.py", *given, cwd=home, says="was trained beside other data: of the test split")
    succeed("test.py", *given, "--as=other", cwd=home)
    assert run.score.read_bytes() == before and (run / "as/other/score.json").is_file()
    fail("test.py", *given, "--as=../x", cwd=home, says="expected a name of letters")
    (run / "as/other/mine.txt").write_text("kept")
    assert run.clear() == ["as"]
    assert [path.name for path in (run / "as/other").iterdir()] == ["mine.txt"]
