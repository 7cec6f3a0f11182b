"""Words, vocabulary and padding; the bag of words against scikit-learn's CountVectorizer."""

import unicodedata

import numpy as np
import pytest
import reference_dual_path as loops
from sklearn.feature_extraction.text import CountVectorizer

from data.language import words

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
    assert words.bag_words(caption) == analyse(caption)


def test_vocabulary_keeps_the_most_frequent_words_of_the_captions():
    captions = ["red red circle", "red star", "blue star", "alone"]
    vocabulary = words.Vocabulary.from_captions(captions, max_words=3)
    assert vocabulary.words == ["red", "star", "alone"]  # ties in alphabetical order
    assert vocabulary.encode("a star, red RED zebra circle") == [2, 1, 1]
    assert vocabulary.unknown("zebra star Zebra circle") == ["zebra", "circle"]


def test_vocabulary_is_the_one_of_countvectorizer():
    captions = [c for c in ODD if c] * 2 + ["red star", "red"]
    reference = CountVectorizer(strip_accents="ascii").fit(captions)
    vocabulary = words.Vocabulary.from_captions(captions, max_words=1000)
    assert set(vocabulary.words) == set(reference.vocabulary_)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man 's red T-shirt, sign: 5%!", "a man 's red t - shirt , sign : 5 % !"),
        ("man's dogs' don\u2019t 'tis ''", "man 's dogs ' don 't 'tis ' '"),
        ("under_score 3.5 ½ Ⅷ ²", "under _ score 3 . 5 ½ ⅷ ²"),
        ("ΣΑΣ σας İI ß ẞ ﬁ ſ", "σασ σασ ii ß ß ﬁ s"),
        ("Cafe\u0301 CAFÉ हिन्दी", "cafe\u0301 café हिन्दी"),
        ("❤️ 👩‍👧 1️⃣ a\u00adb", "❤ 👩 👧 1\u20e3 ab"),
        ("שלום עולם \u202eمرحبا\u200f!", "שלום עולם مرحبا !"),
        ("a\u200bb\u00a0c\u2028d\x00e\ud800f\t", "a b c d e f"),
        ("漢字。かな", "漢字 。 かな"),
        (" \u200d\ufe0f\ud83d\ude00 ", ""),
    ],
)
def test_word_tokens(caption, expected):
    assert words.word_tokens(caption) == expected.split(" " if expected else None)


def test_spelling_keeps_the_kind_of_every_character():
    kinds = {"L": "LN", "N": "LN", "M": "M", "P": "PS", "S": "PS"}
    for code in [*range(0x40000), *range(0xE0000, 0xE0200), 0x10FFFF]:
        character = chr(code)
        spelt = words.spell_in_word(character)
        kept = spelt.strip(" ")
        kind = unicodedata.category(character)[0]
        assert len(spelt) <= 3 and len(kept) <= 1
        if kept:
            assert unicodedata.category(kept)[0] in kinds[kind], hex(code)
            assert words.spell_in_word(kept) == spelt, hex(code)
        else:
            assert kind in "CZ" or unicodedata.name(character).startswith("VARIATION"), hex(code)


def test_what_a_word_is():
    tokens = words.word_tokens("a Dog's nose, 5 % ½ ? \u20e3")
    assert [t for t in tokens if words.is_word(t)] == ["a", "dog", "'s", "nose", "5", "½"]


def test_words_have_an_id_for_the_unknown_and_one_for_the_end():
    captions = ["A red dog.", "a red, red star."]
    vocabulary = words.Vocabulary.from_captions(captions, 4, "words")
    assert vocabulary.words == ["red", ".", "a", ","]
    assert (len(vocabulary), vocabulary.num_ids) == (4, 6)
    assert vocabulary.encode("Red zebra, a DOG.") == [1, 5, 4, 3, 5, 2, 6]
    assert vocabulary.encode("") == vocabulary.encode(" \n") == [6]
    assert vocabulary.unknown("Red zebra? a Zebra ?") == ["zebra", "?"]
    bag = words.Vocabulary.from_captions(captions, 4)
    assert (bag.num_ids, bag.unknown_id, bag.end_id) == (3, None, None)
    assert bag.encode("zebra") == []


def test_rare_words_can_be_left_out():
    captions = ["red dog", "red star", "a dog"]
    vocabulary = words.Vocabulary.from_captions(captions, 9, "words", min_count=2)
    assert vocabulary.words == ["dog", "red"]
    assert words.Vocabulary.from_captions(captions, 1, min_count=2).words == ["dog"]
    with pytest.raises(ValueError, match="no word occurs 3 times"):
        words.Vocabulary.from_captions(captions, 9, min_count=3)


@pytest.mark.parametrize("tokeniser", ["bag", "words", "split", "lower_split"])
def test_vocabulary_survives_its_file(tmp_path, tokeniser):
    vocabulary = words.Vocabulary.from_captions(["red star ⭐", "blue é"], 10, tokeniser)
    vocabulary.save(tmp_path / "v.json")
    again = words.Vocabulary.load(tmp_path / "v.json")
    assert (again.words, again.tokeniser) == (vocabulary.words, tokeniser)
    assert again.encode("zebra star") == vocabulary.encode("zebra star")


def test_vocabulary_refuses_captions_without_words_and_foreign_files(tmp_path):
    with pytest.raises(ValueError, match=r"no caption has a word .*two or more of a-z"):
        words.Vocabulary.from_captions(["", "! a"], 10)
    with pytest.raises(ValueError, match=r"no caption has a word .*of any script"):
        words.Vocabulary.from_captions(["", "!"], 10, "words")
    with pytest.raises(ValueError, match="unknown tokeniser 'syllables': choose from"):
        words.Vocabulary.from_captions(["red"], 10, "syllables")
    (tmp_path / "v.json").write_text("[1]")
    with pytest.raises(ValueError, match="expected an object"):
        words.Vocabulary.load(tmp_path / "v.json")
    (tmp_path / "v.json").write_text('{"words": [')
    with pytest.raises(ValueError, match="not valid JSON"):
        words.Vocabulary.load(tmp_path / "v.json")


def test_padding_gives_each_caption_its_own_ids():
    vocabulary = words.Vocabulary(["aa", "bb", "cc"])
    tokens = words.Tokens(["aa bb cc", "unknown", "", "cc"], vocabulary)
    np.testing.assert_array_equal(
        tokens.pad(np.array([3, 0, 1])), [[3, 0, 0], [1, 2, 3], [0, 0, 0]]
    )
    np.testing.assert_array_equal(tokens.pad(np.array([1, 2])), [[0], [0]])
    assert tokens.pad(np.array([0])).dtype == np.int32
    np.testing.assert_array_equal(tokens[0], [1, 2, 3])


def test_tokens_of_nothing_but_unknown_words_pad_to_zeros():
    tokens = words.Tokens(["x1", "y2"], words.Vocabulary(["aa"]))
    np.testing.assert_array_equal(tokens.pad(np.arange(2)), [[0], [0]])


def test_tokens_of_flat_ids_are_those_of_the_captions():
    vocabulary = words.Vocabulary(["aa", "bb", "cc"], "words")
    tokens = words.Tokens(["aa bb cc", "", "zz", "cc"], vocabulary)
    assert tokens.lengths.tolist() == [4, 1, 2, 2]
    assert tokens.order().tolist() == [1, 2, 3, 0]
    again = words.Tokens.from_flat(tokens.flat.astype(np.int64), tokens.lengths)
    assert (again.flat.dtype, again.lengths.dtype) == (np.int32, np.int64)
    np.testing.assert_array_equal(again.pad(np.arange(4)), tokens.pad(np.arange(4)))
    np.testing.assert_array_equal(again.pad(np.array([2, 1])), [[4, 5], [5, 0]])
    empty = words.Tokens.from_flat(np.zeros(0), np.zeros(0))
    assert len(words.Tokens([], vocabulary)) == len(empty) == 0


@pytest.mark.parametrize("lengths", [[1, 1], [4, -1]])
def test_flat_ids_that_do_not_fit_their_lengths_are_refused(lengths):
    with pytest.raises(ValueError, match="3 ids do not fit 2 lengths"):
        words.Tokens.from_flat(np.arange(3), np.array(lengths))


# ---- System 3 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "caption", [*ODD, "a-b - (c).d,e?f ", "Apple apple", "\tx  y!\n", "-.,()?"]
)
def test_split_words_are_the_loop_references(caption):
    spaced = caption.translate({ord(mark): " " for mark in "\t\n\u2028\u00a0"})  # spaces, too
    assert words.split_words(caption) == loops.split_words(spaced)
    assert words.lower_split_words(caption) == loops.split_words(spaced.lower())


def test_split_words_keep_their_case_and_drop_the_unknown():
    captions = ["A red dog.", "a Red star-dog", "red (dog)?"]
    kept = words.Vocabulary.from_captions(captions, 9, "split")
    assert kept.words == ["dog", "red", "A", "Red", "a", "star"]
    assert (kept.num_ids, kept.unknown_id, kept.end_id) == (6, None, None)
    caption = "Red zebra dog, DOG? a"
    assert kept.encode(caption) == [4, 1, 5] == loops.encode(loops.split_words(caption), kept.ids)
    lower = words.Vocabulary.from_captions(captions, 9, "lower_split")
    assert lower.words == ["dog", "red", "a", "star"]
    assert lower.encode(caption) == [2, 1, 1, 3]
    assert lower.unknown(caption) == ["zebra"] and kept.unknown(caption) == ["zebra", "DOG"]
    with pytest.raises(ValueError, match=r"no caption has a word .*between spaces and - \. ,"):
        words.Vocabulary.from_captions(["-.", "(?)"], 9, "split")


def test_only_some_words_of_a_vocabulary():
    whole = words.Vocabulary(["dog", "red", "a"], "split")
    some = whole.only(np.array([True, False, True]))
    assert (some.words, some.tokeniser, some.encode("a red dog")) == (["dog", "a"], "split", [2, 1])
    assert whole.words == ["dog", "red", "a"]
    with pytest.raises(ValueError, match="no word of the captions is left"):
        whole.only([False, False, False])
    with pytest.raises(ValueError, match="no word of the captions is left"):
        words.Vocabulary(["dog", "."], "words").only([False, True])
    with pytest.raises(ValueError, match="zip"):
        whole.only([True])


def test_captions_start_anywhere_in_their_row_with_equal_chance():
    lengths = [29, 30, 32, 40, 0]
    tokens = words.Tokens.from_flat(np.arange(1, sum(lengths) + 1), np.array(lengths))
    rng, draws = np.random.default_rng(0), 2000
    for row, length in enumerate(lengths):
        kept = tokens[row][: words.POSITIONS]
        found = tokens.shifted(np.full(draws, row), rng)
        assert found.shape == (draws, 32) and found.dtype == np.int32
        law = loops.shift_law(len(kept))
        assert sum(law.values()) == 1
        if not length:
            assert not found.any()
            continue
        starts = (found > 0).argmax(axis=1)
        for offset, chance in law.items():
            own = found[starts == offset]
            np.testing.assert_array_equal(own, np.tile(loops.place(kept, offset), (len(own), 1)))
            expected = draws * float(chance)
            assert abs(len(own) - expected) <= 5 * np.sqrt(expected)
        assert set(starts) == set(law)


def test_shifts_of_a_row_depend_on_the_draws_alone():
    tokens = words.Tokens(["aa bb", "", "cc"], words.Vocabulary(["aa", "bb", "cc"], "split"))
    rows = np.array([2, 0, 1, 0])
    one, two = (tokens.shifted(rows, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert [ids[ids > 0].tolist() for ids in one] == [[3], [1, 2], [], [1, 2]]
    nothing = words.Tokens(["zz"], words.Vocabulary(["aa"], "split"))
    assert nothing.shifted(np.array([0, 0]), np.random.default_rng(0)).tolist() == [[0] * 32] * 2
