"""Word vectors of every format, and what is wrong with damaged files."""

import gzip

import numpy as np
import pytest
from conftest import SHARED

from data.language import word_vectors
from data.language.word_vectors import coverage_line, read_word_vectors
from data.language.words import Tokens, Vocabulary

WORDS = ["the", "dog", "café", "Paris", "USA", "american", "twice"]
VECTORS = np.random.default_rng(0).normal(size=(len(WORDS), 3)).astype(np.float32)
ENTRIES = [*zip(WORDS[:-2], VECTORS, strict=False), ("American", VECTORS[5])]
ENTRIES += [("twice", VECTORS[6]), ("twice", VECTORS[0]), ("TWICE", VECTORS[1])]


def lines(entries):
    return b"".join(
        f"{word} {' '.join(repr(float(x)) for x in vector)}\n".encode() for word, vector in entries
    )


def binary(entries, feed=b""):
    rows = b"".join(word.encode() + b" " + v.astype("<f4").tobytes() + feed for word, v in entries)
    return f"{len(entries)} 3\n".encode() + rows


FORMATS = {
    "glove": lines(ENTRIES),
    "windows": lines(ENTRIES).replace(b"\n", b"\r\n"),
    "word2vec text": b"9 3\n" + lines(ENTRIES).replace(b"\n", b" \n"),
    "word2vec binary": binary(ENTRIES),
    "word2vec binary with line feeds": binary(ENTRIES, b"\n"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("content", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_vectors(tmp_path, monkeypatch, content, zipped):
    assert len(ENTRIES) == 9
    path = tmp_path / "vectors"
    path.write_bytes(gzip.compress(content) if zipped else content)
    monkeypatch.setattr(word_vectors, "BLOCK", 7)  # words and numbers straddle the blocks
    words = ["dog", "zebra", *WORDS]
    rows, found = read_word_vectors(path, words)
    assert found.tolist() == [True, False, *[True] * len(WORDS)]
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[[0, *range(2, 9)]], VECTORS[[1, *range(7)]])
    np.testing.assert_array_equal(rows[1], 0)


def test_the_same_spelling_wins_then_lower_case_then_a_capital(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_bytes(b"Dog 1\ndog 2\nRed 3\nPARIS 4\nparis 5\nUSA 6\n")
    rows, found = read_word_vectors(path, ["dog", "Dog", "DOG", "red", "RED", "Paris", "usa"])
    assert rows[:, 0].tolist() == [2, 1, 2, 3, 3, 5, 0]
    assert found.tolist() == [True] * 6 + [False]


def test_words_with_spaces_are_words(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_bytes(b"dog 1 2\n. . . 3 4\nat name@domain.com 5 6\n\ncat\t7  8\n")
    rows, found = read_word_vectors(path, ["cat", ".", "at"])
    assert found.tolist() == [True, False, False]
    assert rows[0].tolist() == [7, 8]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no word vectors"),
        (b"a picture of a dog\n", "holds no word vectors"),
        (b"dog\n", "holds no word vectors"),
        (b"0 3\n", "holds no vectors"),
        (b"5 3\n", "holds no vectors, by its header 5 of 3"),
        (b"5 99999999999\ndog 1 2 3\n", "holds no vectors, by its header"),
        (b"the 1 2\ndog 1\n", "line 2 has 1 numbers, the lines before it 2"),
        (b"the 1 2\n\ndog 1 2 3\n", "line 3 has 3 numbers"),
        (b"2 2\nthe 1 2\ndog 1\n", "line 3 has 1 numbers"),
        (b"the 1 2\ndog  1\n", "line 2 has 1 numbers"),
        (b"the 1 2\ndog 1 nan\n", "line 2 holds NaN or infinity"),
        (b"the 1 2\ndog 1 -inf\n", "line 2 holds NaN or infinity"),
        (b"the 1 2\ndog 1 x2\n", "line 2 holds what is no number"),
        (b"3 2\nthe 1 2\ndog 1 2\n", "has 2 vectors, its header promises 3"),
        (binary(ENTRIES)[:-1], "ends within vector 9 of 9"),
        (binary(ENTRIES)[:18], "ends within vector 1 of 9"),
        (binary([("dog", VECTORS[0] * np.nan)]), "vector 1 holds NaN"),
        (b"9 3\n" + b"\xff" * (1 << 18), "vector 1 has no word"),
        (gzip.compress(lines(ENTRIES))[:-9], "is cut off or damaged"),
        (b"\x1f\x8bno gzip", "is cut off or damaged"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, content, message):
    path = tmp_path / "vectors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_word_vectors(path, ["dog"])
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        read_word_vectors(tmp_path / "none.txt", ["dog"])


def test_coverage_counts_words_and_tokens():
    vocabulary = Vocabulary(["the", "dog", "zebra", "."], "words")
    tokens = Tokens(["the dog.", "the the zebra unheard"], vocabulary)
    line = coverage_line(np.array([True, True, False, False]), tokens.flat)
    assert line == "word vectors: 2 of 4 words (50.0 %), 57.1 % of all tokens"
    assert "0 of 1 words (0.0 %), 0.0 %" in coverage_line(np.array([False]), np.zeros(0, np.int32))


@pytest.mark.skipif(not (SHARED / "words").is_dir(), reason="needs ../shared/words")
def test_real_vectors():
    path = SHARED / "words/glove.twitter.27B.25d.top12k.txt"
    rows, found = read_word_vectors(path, ["the", "dog", "xyzzyx"])
    assert rows.shape == (3, 25) and found.tolist() == [True, True, False]
    np.testing.assert_allclose(rows[0, :3], [-0.010167, 0.020194, 0.21473], rtol=1e-6)
