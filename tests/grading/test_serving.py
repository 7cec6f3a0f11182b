"""The serving model: TensorFlow alone gives the rows of query.onnx, by exactly our tokenisers."""

import json
import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tiny_settings
from conftest import SHARED

import models
import systems
from answering.search import QueryEncoder
from data.language import word_pieces, words
from grading import export, serving
from run import onnx_graphs, replicas
from run.folder import Run
from settings.training import Facts
from systems import config
from systems.dual_path import text_cnn

KNOWN = ["a red circle above a blue star", "Two dogs run, one sleeps.", "the man's T-shirt"] * 3
ODD = [
    "",
    " \t\r\n ",
    "zebra",
    "!?",
    "red zebra, the BLUE dog's (star).",
    "ΣΑΣ σας ΑΣ. ΣΣ ΑΣ\u0301 ΑΣ\u0301Α Α'Σ 1Σ İstanbul ıI ß ẞ ﬁ ŉ ſ Ⓐ Ⅷ ½",
    "Cafe\u0301 CAFÉ !\u0301\u0345 '\u0301 e\u0301\u0301 हिन्दी \u0301 \u0301\u0301 ''",
    "❤️ 👩‍👧‍👦 🇩🇪 1️⃣ #️⃣ 🏴\U000e0067\U000e007f",
    "\u202eשלום\u202c \u2067مرحبا\u2069 می\u200cخواهم\u200f!",
    "a\u200bb\u00adc\ufeffd\u2060e\u180ef\u00a0g\u3000h\u2028i\u0085j\x1ck\x00l",
    "漢字。かな ひらがな、ｶﾅ ＡＢＣ１ 한국어 \u1112\u1161\u11ab ﷽ ㎧ ⒇",
    "\U0010ffff \ufffe \ufdd0 \ue000 \U000f0000 \ufffd",
    "[CLS] [MASK] ##s under_score 3.5",
    "x" * 100 + " " + "x" * 101 + " " + "é" * 101,
    "dog " * 60,
]


def random_captions(number):
    """Text of any code points but surrogates, ASCII and Greek often among them."""
    draw = random.Random(0)
    ranges = [(0x20, 0x7F), (0, 0x3000), (0x391, 0x3D0), (0, 0xD800), (0xE000, 0x110000)]
    return [
        "".join(chr(draw.randrange(*draw.choice(ranges))) for _ in range(draw.randint(0, 30)))
        for _ in range(number)
    ]


def vocabulary_of(tokeniser, captions):
    if tokeniser not in words.PIECES:
        return words.Vocabulary.from_captions(captions, 10**6, tokeniser)
    pytest.importorskip("tensorflow_text")
    return words.Vocabulary.from_captions(captions, 10_000, tokeniser, longest=20)


def check_ids(vocabulary, captions):
    tf: Any = replicas.import_tensorflow()
    reader, _ = serving.make_reader(vocabulary)
    read = tf.function(reader, input_signature=[tf.TensorSpec((None,), tf.string)])
    tokens = words.Tokens(captions, vocabulary)
    for start in range(0, len(captions), 512):
        rows = np.arange(start, min(start + 512, len(captions)))
        found = read(tf.constant([captions[row].encode() for row in rows]))
        assert found.dtype == tf.int32
        np.testing.assert_array_equal(found.numpy(), tokens.pad(rows))


# ---- Ids ----------------------------------------------------------------------------------------


def every_character():
    """Each by itself, between letters, and where it says which sigma is meant."""
    codes = np.r_[
        :0x3400:1, 0x3400:0xD800:53, 0xE000:0x32400:7, 0xE0000:0xE0200, 0xE0200:0x110000:997
    ]
    texts = [f"{c} a{c}b{c} A{c}Σ{c}" for c in map(chr, codes.tolist())]
    return [" ".join(texts[start : start + 64]) for start in range(0, len(texts), 64)]


@pytest.mark.parametrize("tokeniser", words.TOKENISERS)
def test_the_graph_reads_captions_as_python_does(tokeniser):
    captions = ODD + random_captions(1000) + every_character()
    learned = ODD if tokeniser in words.PIECES else ODD + captions[::2]
    check_ids(vocabulary_of(tokeniser, learned), captions)


def test_there_is_a_spelling_for_every_tokeniser():
    assert set(serving.SPELLINGS) == set(words.TOKENISERS)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("tokeniser", ["bag", "words", "pieces"])
def test_every_tenth_real_caption(tokeniser):
    captions = []
    for name in ("flickr8k/Flickr8k.token.txt", "flickr30k/results.token"):
        lines = (SHARED / "data" / name).read_text(encoding="utf-8").split("\n")
        captions += [line.split("\t", 1)[1] for line in lines if "\t" in line]
    coco = json.loads((SHARED / "data/coco/captions_val2017.json").read_text(encoding="utf-8"))
    captions += [row["caption"] for row in coco["annotations"]]
    assert len(captions) == 215_084
    check_ids(vocabulary_of(tokeniser, captions[::40]), captions[::10])


def test_captions_of_nothing_still_make_a_row():
    tf: Any = replicas.import_tensorflow()
    read, _ = serving.make_reader(words.Vocabulary(["red"]))
    assert read(tf.constant(["", "zebra"])).numpy().tolist() == [[0], [0]]
    assert read(tf.constant([], tf.string)).shape == (0, 1)
    assert read(tf.constant([b"\xff red \xff"])).numpy().tolist() == [[1]]  # no UTF-8


# ---- Rows ---------------------------------------------------------------------------------------

ALONE = """
import json, sys
import numpy as np
import tensorflow as tf

captions, folders, out = json.load(open(sys.argv[1])), sys.argv[3:], {}
for folder in folders:
    if folder.endswith("transformer"):  # the last: the others need nothing but TensorFlow
        import tensorflow_text
    serve = tf.saved_model.load(folder + "/serving/1").signatures["serving_default"]
    for name, part in (("all", captions), ("one", captions[:1]), ("none", [])):
        rows = serve(captions=tf.constant(part, tf.string))["embedding"]
        out[folder + name] = rows.numpy()
np.savez(sys.argv[2], **out)
ours = sorted({"data", "run", "systems", "grading", "keras_hub"} & set(sys.modules))
sys.exit(str(ours) if ours else 0)
"""
SYSTEMS = {
    "projection": {"hidden_dim": 8},
    "gru": {"word_dim": 6, "bidirectional": True, "pooling": "max", "bag": True},
    "dual_path": {"features": "last", "pooling": "mean", "text_width": 0.03, "word_dim": 6,
                  "test_shifts": "2"},
    "joint": {"attention_dim": 4, "word_dim": 6},
    "transformer": {"text_size": "1,2,16,32"},
}  # fmt: skip


def graded(run, name):
    """A run of a system with weights that were drawn, as test.py leaves it."""
    chosen = {"model": name, "hidden_dim": 8, "embed_dim": 6, **SYSTEMS[name]}
    settings = tiny_settings.make(**chosen)
    vocabulary = vocabulary_of(config.sheet(settings.model).tokeniser(settings), KNOWN)
    keras.utils.set_random_seed(1)
    model = models.build_model(settings, Facts(7, vocabulary.num_ids, 6, 6))
    model.for_test()
    for variable in model.encoder_models.text.weights:  # biases too: a row of no words is seen
        variable.assign(variable + np.random.default_rng(2).normal(0, 0.3, variable.shape))
    vocabulary.save(run.vocabulary)
    export.export_query(run, model)
    assert serving.export_serving(run, model, vocabulary) == run / "serving" / "1"
    return vocabulary


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(runs and vocabularies by system, rows of TensorFlow alone)."""
    pytest.importorskip("tensorflow_text")
    home = tmp_path_factory.mktemp("served")
    runs = {name: Run(home / name) for name in SYSTEMS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_cnn, "STAGES", text_cnn.STAGES[:1])  # the other blocks are alike
        vocabularies = {name: graded(run, name) for name, run in runs.items()}
    (home / "captions.json").write_text(json.dumps(KNOWN[:3] + ODD))
    places = [str(home / "captions.json"), str(home / "rows.npz"), *map(str, runs.values())]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *places],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = np.load(home / "rows.npz")
    found = {
        name: {part: rows[f"{run}{part}"] for part in ("all", "one", "none")}
        for name, run in runs.items()
    }
    return runs, vocabularies, found


def test_every_system_is_served():
    assert set(SYSTEMS) == set(systems.SYSTEMS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_tensorflow_alone_gives_the_rows_of_the_query_tower(served, name):
    runs, vocabularies, found = served
    captions = KNOWN[:3] + ODD
    tokens = words.Tokens(captions, vocabularies[name])
    tower = onnx_graphs.Tower(runs[name].query_tower)
    expected = np.concatenate([tower(tokens.pad(np.array([row]))) for row in range(len(captions))])
    rows = found[name]["all"]
    assert rows.dtype == np.float32 and rows.shape == (len(captions), 6)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    np.testing.assert_allclose(rows[:3], QueryEncoder(runs[name]).encode(captions[:3]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows[:3], axis=1), 1, atol=1e-5)
    assert len(np.unique(rows.round(3), axis=0)) > 3
    np.testing.assert_allclose(found[name]["one"], rows[:1], atol=1e-5)
    assert found[name]["none"].shape == (0, 6)


def test_what_was_served_before_is_replaced(served):
    runs = served[0]
    folder = runs["projection"] / "serving"
    before = (folder / "1" / "saved_model.pb").stat().st_mtime_ns
    (folder / "1" / "left.txt").write_text("old")
    graded(runs["projection"], "projection")
    assert sorted(path.name for path in folder.iterdir()) == ["1"]
    assert not (folder / "1" / "left.txt").exists()
    assert (folder / "1" / "saved_model.pb").stat().st_mtime_ns > before


def test_without_tensorflow_text_pieces_are_refused_in_one_line(tmp_path, monkeypatch):
    vocabulary = words.Vocabulary([*word_pieces.SPECIAL[1:], "a"], "pieces")
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    model = SimpleNamespace(encoder_models=SimpleNamespace(text=None))
    with pytest.raises(ValueError, match=r"--export serving: .*tensorflow-text, which is not inst"):
        serving.export_serving(Run(tmp_path), model, vocabulary)
