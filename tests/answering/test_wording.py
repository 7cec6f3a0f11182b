"""How a query is read: spelling, singular and plural, digits, negation."""

import random
import string

import pytest

from answering import wording
from answering.spelling import Speller, other_numbers
from data.language.words import Vocabulary
from data.scenes import sentences

WORDS = ["dog", "a", "circle", "with", "boxes", "lady", "three", "white", "Paris", "while", "two"]


def read(query, words=WORDS, tokeniser="words", **how):
    return wording.read_query(Vocabulary(words, tokeniser), query, **how)


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("circel", "circle"),  # swapped
        ("cicle", "circle"),  # missing
        ("circcle", "circle"),  # added
        ("cirkle", "circle"),  # wrong
        ("cirkel", None),  # two errors
        ("dogs", "dog"),
        ("box", "boxes"),
        ("ladies", "lady"),
        ("circels", "circle"),  # of the singular
        ("dig", None),  # short
        ("wite", "white"),  # missing before wrong, though "with" is met more often
        ("whitle", "white"),  # added, twice: the more frequent one
        ("paris", "Paris"),
        ("white7", None),
        ("x" * 100_000, None),
    ],
)
def test_a_word_becomes_the_nearest_known_one(word, known):
    assert Speller(Vocabulary(WORDS, "words"))(word) == known


def test_singular_and_plural():
    assert "glasses" in other_numbers("glass") and "glas" not in other_numbers("glass")
    assert "knife" in other_numbers("knives") and "leaf" in other_numbers("leaves")
    assert "bus" in other_numbers("buses") and "bushes" in other_numbers("bush")
    assert other_numbers("as") == []


def test_one_error_in_the_words_of_the_scenes_is_mended_or_ambiguous():
    """Every folded word is one of those that are one error away; most are the right one."""
    said = (sentences.SHAPES, sentences.COLOURS, sentences.SIZES, sentences.TEXTURES)
    phrases = [phrase for table in said for value in table.values() for phrase in value]
    words = sorted({word for phrase in phrases for word in phrase.split() if len(word) > 4})
    speller, rng, right, number = Speller(Vocabulary(words)), random.Random(0), 0, 0
    for word in words * 8:
        place, letter = rng.randrange(len(word)), rng.choice(string.ascii_lowercase)
        wrong = rng.choice(
            [
                word[:place] + word[place + 1 :],
                word[:place] + letter + word[place:],
                word[:place] + letter + word[place + 1 :],
                word[:place] + word[place : place + 2][::-1] + word[place + 2 :],
            ]
        )
        if wrong not in words:
            right, number = right + (speller(wrong) == word), number + 1
    assert number > 200 and right / number > 0.95


def test_what_was_folded_is_in_the_text_and_told():
    found = read("A Circel, (dogs) with zebra")
    assert found.text == "A circle, (dog) with zebra"
    assert found.folded == {"circel": "circle", "dogs": "dog"}
    assert found.readings() == "circel: circle, dogs: dog"
    assert found.unknown == ["zebra"] and found.remarks == []
    again = read("A Circel, dogs", fold=False)
    assert again == ("A Circel, dogs", {}, ["circel", "dogs"], [])


def test_a_word_that_is_not_found_as_it_was_written_is_replaced_as_a_token():
    found = read("Circél with dog", tokeniser="bag")
    assert found.text == "circle with dog" and found.folded == {"circel": "circle"}


def test_word_pieces_spell_any_word():
    pieces = ["[UNK]", "[CLS]", "[SEP]", "circle", *"abcdefghijklmnopqrstuvwxyz"]
    pieces += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    found = read("a circel", words=pieces, tokeniser="pieces")
    assert found == ("a circel", {}, [], [])


@pytest.mark.parametrize(
    ("query", "text", "folded", "remarks"),
    [
        ("2 dog", "two dog", {"2": "two"}, 0),
        ("2 dog or 2 lady", "two dog or two lady", {"2": "two"}, 0),
        ("7 dog", "7 dog", {}, 1),
        ("3.5 dog, 1,000 circle", "3.5 dog, 1,000 circle", {}, 2),
        ("dog four", "dog four", {}, 1),
        ("three dog", "three dog", {}, 0),
        ("route66 dog", "route66 dog", {}, 0),
        ("9" * 5000, "9" * 5000, {}, 1),
    ],
)
@pytest.mark.parametrize("tokeniser", ["bag", "words"])
def test_numbers_are_read_or_named(query, text, folded, remarks, tokeniser):
    found = read(query, tokeniser=tokeniser)
    assert (found.text, found.folded, len(found.remarks)) == (text, folded, remarks)
    assert all("cannot read the number" in line and len(line) < 120 for line in found.remarks)


def test_words_of_number_are_not_folded_to_other_words():
    """`three` is one swap from `there`."""
    found = read("three dog", words=["there", "dog"])
    assert found.unknown == ["three"] and found.folded == {} and "three" in found.remarks[0]


@pytest.mark.parametrize(
    "query", ["not a dog", "a dog without a lady", "a dog isn\u2019t", "No dog"]
)
def test_negation_is_named(query):
    (line,) = read(query).remarks
    assert "does not know" in line and "--minus" in line
    assert "--minus" not in read(query, minus=False).remarks[0]


def test_negation_that_is_a_known_word_is_read_as_a_word():
    found = read("without a dog", words=["dog", "without"])
    assert found.remarks == [
        'the model reads "without" as a word, not as a negation; use --minus "what is not wanted"'
    ]
    assert read("without dog", words=["withouts", "dog"]).folded == {}
    assert read("a knot, a note, another dog", words=["knot", "note", "another"]).remarks == []


def test_many_unknown_words_are_not_all_compared(monkeypatch):
    asked = []
    monkeypatch.setattr(Speller, "__call__", lambda self, word: asked.append(word))
    words = [f"zebra{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600)]
    assert len(read(" ".join(words)).unknown) == 600 and len(asked) == wording.MOST
