"""System 4 by its scripts on tiny data: pixels, word pieces, grading, queries, resuming."""

import json

import numpy as np
import pytest
import tiny_data
from trying import check_query_tower, fail, succeed

from data.language.words import Vocabulary
from run.files import read_json
from run.folder import find

SMALL = [
    "--model=transformer", "--limit=8", "--cnn=resnet_8", "--image_pooling=mean",
    "--image_size=32", "--embed_dim=8", "--batch_size=20", "--text_size=1,2,16,32",
    "--cache_dir=cache",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run on pixels, trained, resumed and graded."""
    folder = tmp_path_factory.mktemp("home")
    succeed("train.py", *SMALL, "--epochs=1", "--max_pieces=12", "--exp=first", cwd=folder)
    told = succeed("train.py", "--resume", "--exp=first", "--epochs=2", cwd=folder)
    assert "1 of 2 epochs done" in told and "best epoch" in told
    succeed("test.py", "--exp=first", cwd=folder)
    return folder


def test_a_run_reads_pieces_and_pixels(home):
    run = find(home / "exp", "first")
    settings = read_json(run.config)["settings"]
    assert (settings["recipe"], settings["features"]) == ("transformer_scenes", "pixels")
    vocabulary = Vocabulary.load(run.vocabulary)
    assert vocabulary.pieces is not None and vocabulary.pieces.longest == 12
    assert vocabulary.words[:3] == ["[UNK]", "[CLS]", "[SEP]"]
    assert len(run.history.read_text().splitlines()) == 3


def test_grading_again_gives_the_same_bytes(home):
    files = [home / "exp/first" / name for name in ("score.json", "projections.npz")]
    before = [path.read_bytes() for path in files]
    succeed("test.py", "--exp=first", "--threads=3", cwd=home)
    assert [path.read_bytes() for path in files] == before


def test_the_query_tower_gives_what_was_scored(home):
    check_query_tower(find(home / "exp", "first"))


def test_it_is_asked_and_explained(home):
    told = succeed("retrieve.py", "a red circle", "--json", "--explain", "--k=3", cwd=home)
    found = json.loads(told)
    assert len(found["answers"]) == 3 and len(found["explanation"]["words"]) == 3
    assert np.shape(found["explanation"]["places"]) == (7, 7)


def test_vectors_and_a_vocabulary_that_is_given(home):
    tiny_data.precomp(home / "data")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"trainword0123456789"]
    tiny_data.put(home / "vocab.txt", dict.fromkeys(words))
    data = ["--data=precomp", "--data_dir=data", "--epochs=1", "--word_pieces=vocab.txt"]
    told = succeed("train.py", *SMALL, *data, "--exp=vectors", cwd=home)
    assert f"{len(dict.fromkeys(words)) - 1} words" in told
    assert read_json(home / "exp/vectors/config.json")["facts"]["feature_dim"] == 6


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--word_pieces=none.txt"], "none.txt cannot be read"),
        (["--max_words=50"], "word pieces are too few"),
        (["--text_weights=vocab.txt"], "give --word_pieces FILE too"),
        (["--init_from=first", "--text_size=mini"], "trained with --text_size 1,2,16,32"),
    ],
)
def test_bad_input_is_refused_in_one_line(home, flags, says):
    (home / "vocab.txt").touch()
    fail("train.py", *SMALL, "--epochs=1", "--exp=bad", *flags, cwd=home, says=says)
    assert not (home / "exp/bad").exists()
