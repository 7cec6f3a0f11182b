"""Words, vocabulary and padding, against scikit-learn's CountVectorizer."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

import text

ODD = [
    "A small RED circle, above a blue star!",
    "Café naïve Ångström ﬁne ½ ² Straße",
    "it's a T-shirt with_under score 3 33",
    "",
    "!!! a b c",
    "emoji 🙂 star⭐ مرحبا بالعالم שלום",
    "İstanbul ΣΑΣ tab\tnew\nline \u2028 nbsp\u00a0end",
    "a\x00b \ud800 lone",
]


@pytest.mark.parametrize("caption", ODD)
def test_bag_words_follow_countvectorizer(caption):
    analyse = CountVectorizer(strip_accents="ascii").build_analyzer()
    assert text.bag_words(caption) == analyse(caption)


def test_vocabulary_keeps_the_most_frequent_words_of_the_captions():
    captions = ["red red circle", "red star", "blue star", "alone"]
    vocabulary = text.Vocabulary.from_captions(captions, max_words=3)
    assert vocabulary.words == ["red", "star", "alone"]  # ties in alphabetical order
    assert vocabulary.encode("a star, red RED zebra circle") == [2, 1, 1]
    assert vocabulary.unknown("zebra star Zebra circle") == ["zebra", "circle"]


def test_vocabulary_is_the_one_of_countvectorizer():
    captions = [c for c in ODD if c] * 2 + ["red star", "red"]
    reference = CountVectorizer(strip_accents="ascii").fit(captions)
    vocabulary = text.Vocabulary.from_captions(captions, max_words=1000)
    assert set(vocabulary.words) == set(reference.vocabulary_)


def test_vocabulary_survives_its_file(tmp_path):
    vocabulary = text.Vocabulary.from_captions(["red star", "blue"], 10)
    vocabulary.save(tmp_path / "v.json")
    again = text.Vocabulary.load(tmp_path / "v.json")
    assert (again.words, again.tokeniser) == (vocabulary.words, "bag")


def test_vocabulary_refuses_captions_without_words_and_foreign_files(tmp_path):
    with pytest.raises(ValueError, match="no caption has a word"):
        text.Vocabulary.from_captions(["", "!"], 10)
    (tmp_path / "v.json").write_text("[1]")
    with pytest.raises(ValueError, match="no vocabulary"):
        text.Vocabulary.load(tmp_path / "v.json")
    (tmp_path / "v.json").write_text('{"words": [')
    with pytest.raises(ValueError, match="not whole JSON"):
        text.Vocabulary.load(tmp_path / "v.json")


def test_padding_gives_each_caption_its_own_ids():
    vocabulary = text.Vocabulary(["aa", "bb", "cc"])
    tokens = text.Tokens(["aa bb cc", "unknown", "", "cc"], vocabulary)
    np.testing.assert_array_equal(
        tokens.pad(np.array([3, 0, 1])), [[3, 0, 0], [1, 2, 3], [0, 0, 0]]
    )
    np.testing.assert_array_equal(tokens.pad(np.array([1, 2])), [[0], [0]])
    assert tokens.pad(np.array([0])).dtype == np.int32
    np.testing.assert_array_equal(tokens[0], [1, 2, 3])


def test_tokens_of_nothing_but_unknown_words_pad_to_zeros():
    tokens = text.Tokens(["x1", "y2"], text.Vocabulary(["aa"]))
    np.testing.assert_array_equal(tokens.pad(np.arange(2)), [[0], [0]])
