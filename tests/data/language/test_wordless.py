"""Captions without a known word are counted, whatever the tokeniser."""

import pytest

from data.language.words import PIECES, TOKENISERS, Tokens, Vocabulary, say_wordless

TRAIN = ["a red dog runs .", "a cat sits on the grass !", "two dogs , one cat"] * 2
KNOWN = ["the dog", "Cat!", "two unknown beasts", "dogs, dogs"]
SILENT = ["😀😀", "…", "-", "一只狗", "собака", "zebra xylophone", "."]


@pytest.mark.parametrize("tokeniser", [name for name in TOKENISERS if name not in PIECES])
def test_captions_without_a_known_word_are_counted(tokeniser, caplog):
    vocabulary = Vocabulary.from_captions(TRAIN, 50, tokeniser)
    tokens = Tokens([*KNOWN, *SILENT], vocabulary)
    expected = len(SILENT) + ("lower" not in tokeniser and tokeniser == "split")  # Cat! is unknown
    expected += tokeniser in ("split", "lower_split")  # cat! with its mark
    expected -= tokeniser == "split"
    assert say_wordless("test", tokens, vocabulary) == expected
    assert f"{expected} of 11 test captions hold no word that the run knows" in caplog.text
    caplog.clear()
    assert say_wordless("test", Tokens(TRAIN, vocabulary), vocabulary) == 0
    assert not caplog.text
