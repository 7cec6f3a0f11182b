"""The two word tokenisers, with and without TensorFlow, give the same ids."""

import json
import sys

import numpy as np
import pytest
from conftest import SHARED

from data.language import words
from training import tokenise

ODD = [
    "",
    " ",
    "A man's red T-shirt, it’s 5% 'off'...",
    "ΣΑΣ σας İstanbul ıI ß ẞ ﬁ ŉ ǰ ſ Ⓐ Ⅷ ½",
    "Cafe\u0301 CAFÉ !\u0301\u0345 e\u0301\u0301\u0301 हिन्दी \u0301",
    "❤️ 👩‍👧‍👦 👍🏽 🇩🇪 1️⃣ #️⃣ 🏴\U000e0067\U000e007f",
    "\u202eשלום\u202c \u2067مرحبا\u2069 می\u200cخواهم\u200f!",
    "a\u200bb\u00adc\ufeffd\u2060e\u180ef\u00a0g\u3000h\u2028i\u0085j\x1ck\x00l",
    "\ud800 a\ud800b \udfff \ud83d\ude42 \ud83d",
    "漢字。かな ひらがな、ｶﾅ ＡＢＣ１ 한국어 \u1112\u1161\u11ab",
    "\U00010ffff \ufffe \ufdd0 \ue000 \U000f0000",
]


def both(captions, vocabulary):
    """Ids by the two ways, made certain that the second is the one of TensorFlow."""
    pytest.importorskip("tensorflow_text")
    parts = list(tokenise.make_dataset(captions, vocabulary).as_numpy_iterator())
    flat, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return words.Tokens(captions, vocabulary), words.Tokens.from_flat(flat, lengths)


def check_same(captions, vocabulary):
    plain, tensorflow = both(captions, vocabulary)
    np.testing.assert_array_equal(tensorflow.lengths, plain.lengths)
    np.testing.assert_array_equal(tensorflow.flat, plain.flat)


def test_odd_captions():
    check_same(ODD, words.Vocabulary.from_captions(ODD, 1000, "words"))  # no unknown token
    check_same(ODD, words.Vocabulary(["a", "é"], "words"))  # nearly all unknown


def test_captions_of_nothing_visible_need_no_large_table():
    assert len(tokenise.spelling_table(set())) == len(tokenise.spelling_table({"\t"})) == 33
    check_same(["", "\t\ud800", "\x00"], words.Vocabulary(["a"], "words"))


def test_every_code_point_alone_and_between_letters():
    codes = np.r_[:0x32400, 0x32400:0xE0000:61, 0xE0000:0xE0200, 0xE0200:0x110000:61]
    captions = [
        " ".join(f"{chr(c)} a{chr(c)}b" for c in codes[start : start + 256])
        for start in range(0, len(codes), 256)
    ]
    vocabulary = words.Vocabulary.from_captions(captions, 10**6, "words")
    assert len(vocabulary) > 250_000
    check_same(captions, vocabulary)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data")
def test_every_twentieth_real_caption():
    captions = []
    for name in ("flickr8k/Flickr8k.token.txt", "flickr30k/results.token"):
        lines = (SHARED / "data" / name).read_text(encoding="utf-8").split("\n")
        captions += [line.split("\t", 1)[1] for line in lines if "\t" in line]
    coco = json.loads((SHARED / "data/coco/captions_val2017.json").read_text(encoding="utf-8"))
    captions += [row["caption"] for row in coco["annotations"]]
    assert len(captions) == 215_084
    check_same(captions[::20], words.Vocabulary.from_captions(captions[::40], 10**6, "words"))


def test_batches_keep_their_order(monkeypatch):
    monkeypatch.setattr(tokenise, "BATCH", 3)
    captions = [f"{'red ' * (i % 4)}{i}" for i in range(20)]
    check_same(captions, words.Vocabulary.from_captions(captions, 100, "words"))


def test_tokenise_runs_the_pipeline(monkeypatch):
    pytest.importorskip("tensorflow_text")
    calls = []
    make = tokenise.make_dataset
    monkeypatch.setattr(tokenise, "make_dataset", lambda *given: calls.append(1) or make(*given))
    tokens = tokenise.tokenise(["red dog", "", "zebra"], words.Vocabulary(["red", "dog"], "words"))
    assert [tokens[row].tolist() for row in range(3)] == [[1, 2, 4], [4], [3, 4]]
    assert calls == [1]
    assert len(tokenise.tokenise([], words.Vocabulary(["red"], "words"))) == 0


@pytest.mark.parametrize("tokeniser", ["bag", "words"])
def test_without_tensorflow_text_the_ids_are_the_same(monkeypatch, tokeniser):
    monkeypatch.delattr(tokenise, "make_dataset")
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    vocabulary = words.Vocabulary.from_captions(ODD, 1000, tokeniser)
    tokens = tokenise.tokenise(ODD, vocabulary)
    np.testing.assert_array_equal(tokens.flat, words.Tokens(ODD, vocabulary).flat)


def test_the_pipeline_refuses_a_bag_of_words():
    pytest.importorskip("tensorflow_text")
    with pytest.raises(ValueError, match=r"tf\.data tokenises by \"words\", not by 'bag'"):
        tokenise.make_dataset(["red"], words.Vocabulary(["red"]))
