"""Queries to rows, answers, the table, and what is asked with, on the hand-made run."""

import numpy as np
import pytest
from tiny_run import ODD, WORDS, counts, gallery_arrays, make_run, unit, write_text_tower

from answering import search, writing
from data.language.words import Vocabulary
from gallery.stored import Gallery
from run import console, files
from run.folder import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return make_run(tmp_path_factory.mktemp("exp") / "hand_made")


@pytest.fixture(scope="module")
def encoder(run) -> search.QueryEncoder:
    return search.QueryEncoder(run)


def test_encode_is_the_tower_on_known_words(encoder):
    texts = [
        "red",
        "a RED circle, red!",
        "blue zebra star star",
        "small red circle above blue star",
    ]
    known = ["red", "red circle red", "blue star star", "small red circle above blue star"]
    found = encoder.encode(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, unit(counts(known)), atol=1e-7)


def test_encode_does_not_depend_on_the_company(encoder, monkeypatch):
    texts = ["red", "blue star", "red " * 50, "star", "blue circle", "above " * 50 + "red"]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_array_equal(encoder.encode(texts), alone)
    monkeypatch.setattr(search, "TOKENS_AT_ONCE", 1)
    np.testing.assert_array_equal(encoder.encode(texts), alone)


def test_where_the_order_of_words_plays_no_part_it_is_said(encoder):
    for query, place in [("red above blue", "above"), ("red Above blue star", "above")]:
        (line,) = search.ask_sentence(encoder, query).wording.remarks
        assert line.endswith(f"cannot tell what is {place} what")
    for query in ("red blue", "above", "red above red", "above a"):
        assert search.ask_sentence(encoder, query).wording.remarks == []


def test_where_it_plays_a_part_nothing_is_said(encoder, monkeypatch):
    first = encoder.tower

    class Ordered:
        def __call__(self, tokens):
            rows = first(tokens) + 0.1 * np.eye(7)[tokens[:, 0] - 1]
            return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(encoder, "tower", Ordered())
    assert search.ask_sentence(encoder, "red above blue").wording.remarks == []


def test_a_query_of_ten_thousand_words(encoder):
    query = "red " * 6000 + "zebra " * 2000 + "blue " * 8000
    np.testing.assert_allclose(encoder.encode([query])[0, :2], [0.6, 0.8], atol=1e-6)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "query is empty"),
        (" \t\n", "query is empty"),
        ("zebra giraffe zebra", r"knows no word of the query \(zebra, giraffe\)"),
        ("a ! é 😀", "no word that the model could know"),
        ("مرحبا \ud800 \x00", "no word that the model could know"),
        (" ".join(f"word{i}" for i in range(10_000)), "word0, .*word7 and 9,992 more"),
        ("x" * 100_000, r"x{29}…\)$"),
    ],
)
def test_queries_without_a_known_word_are_refused(encoder, query, message):
    with pytest.raises(ValueError, match=message) as caught:
        encoder.encode(["red", query])
    assert len(str(caught.value)) < 300


def test_odd_characters_around_known_words(encoder):
    odd = "\x00red😀 \ud800 \u202e blue\x1b[31m שלום"
    np.testing.assert_array_equal(encoder.encode([odd]), encoder.encode(["red blue"]))
    assert encoder.unknown("red zebra \ud800 Zebra") == ["zebra"]


@pytest.fixture(scope="module")
def word_encoder(tmp_path_factory) -> search.QueryEncoder:
    """Of a model that reads words in order, with "?" known, unknown words and an end."""
    run = make_run(tmp_path_factory.mktemp("exp") / "words")
    vocabulary = Vocabulary([*WORDS, "?"], "words")
    vocabulary.save(run.vocabulary)
    write_text_tower(run.query_tower, np.eye(vocabulary.num_ids + 1)[:, 1:])
    return search.QueryEncoder(run)


def test_queries_read_in_order_have_unknown_words_and_an_end(word_encoder):
    assert word_encoder.ids("Red ZEBRA circle?!") == [1, 9, 3, 8, 9, 10]
    assert word_encoder.unknown("Red ZEBRA circle?! zebra") == ["zebra"]
    expected = np.zeros((1, 10))
    expected[0, [0, 9]] = 0.5**0.5
    np.testing.assert_allclose(word_encoder.encode(["red"]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (" \n", "query is empty"),
        ("?", "no word that the model could know: words are letters and digits of any script"),
        ("!\u200b \ud800", "words are letters and digits of any script"),
        ("zebra?", r"knows no word of the query \(zebra\)$"),
    ],
)
def test_queries_without_a_known_word_are_refused_though_they_have_ids(
    word_encoder, query, message
):
    with pytest.raises(ValueError, match=message):
        word_encoder.ids(query)


def test_encode_wants_a_list(encoder):
    with pytest.raises(ValueError, match="list of texts"):
        encoder.encode("red")
    with pytest.raises(ValueError, match="list is empty"):
        encoder.encode([])


def test_what_the_run_lacks_is_said(tmp_path):
    run = make_run(tmp_path / "cut")
    run.query_tower.write_bytes(run.query_tower.read_bytes()[:100])
    with pytest.raises(
        ValueError, match=r"query\.onnx is not as it was written: .* python test\.py"
    ):
        search.QueryEncoder(run)
    run.query_tower.unlink()
    with pytest.raises(ValueError, match=r"no query\.onnx: python test\.py"):
        search.QueryEncoder(run)
    run.vocabulary.unlink()
    with pytest.raises(ValueError, match=r"no vocabulary\.json: python train\.py"):
        search.QueryEncoder(run)


def test_where_all_names_are_numbers_a_number_is_a_name(tmp_path):
    run = make_run(tmp_path / "rows", names=["1", "11", "16", "20", "3"])
    gallery = Gallery(run)
    assert [search.find_image(run, gallery, name) for name in ("1", "20", "3")] == [0, 3, 4]
    for given in ("0", "2"):
        says = f"--image {given} is neither .* its 5 images are called 1, 11, 16 \\.\\.\\.$"
        with pytest.raises(ValueError, match=says):
            search.find_image(run, gallery, given)


def test_captions_are_not_written_by_towers_of_other_weights(tmp_path, monkeypatch):
    run = make_run(tmp_path / "older")
    files.write_text(run.best_weights, "trained anew")
    weights = np.frombuffer(b"0" * 64, np.uint8)
    files.write_arrays(run.projections, gallery_arrays() | {"weights": weights})
    monkeypatch.setattr(writing, "open_speaker", lambda run: None)
    with pytest.raises(ValueError, match=r"is of other weights than .* has now; .*test\.py"):
        writing.PictureWriter(run)


# Answers.


def test_nearest_images_bring_their_nearest_caption(run, encoder):
    gallery = Gallery(run)
    answers = search.nearest_images(gallery, encoder.encode(["a red square"]), 3)
    assert [answer.rank for answer in answers] == [1, 2, 3]
    assert [answer.name for answer in answers] == ["folder/three.png", "one.png", "four.png"]
    assert [answer.caption for answer in answers] == ["red square", "red circle", "red above blue"]
    np.testing.assert_allclose([answer.score for answer in answers], [1, 0.5, 12**-0.5], atol=1e-6)


def test_nearest_captions_know_their_own_image(run):
    gallery = Gallery(run)
    answers = search.nearest_captions(gallery, gallery.image[4:5], 20, asked=4)
    assert len(answers) == 10
    assert [answer.caption for answer in answers[:2]] == ["blue circle", "a circle that is blue"]
    assert [answer.image for answer in answers if answer.own] == [4, 4]
    assert not any(
        answer.own for answer in search.nearest_captions(gallery, gallery.image[4:5], 10)
    )


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_table_keeps_to_the_terminal(width):
    answers = [
        search.Answer(rank, 1 / rank, 0, name, caption, "", own=rank == 2)
        for rank, (name, caption) in enumerate(zip(ODD, reversed(ODD), strict=True), 1)
    ]
    lines = search.answer_table(answers, width).split("\n")
    assert len(lines) == 1 + len(ODD) + 1
    assert max(map(console.columns, lines)) <= max(width, 40)
    assert lines[1].index("xxx") == lines[0].index("caption")
    assert lines[1].index("plain") == lines[0].index("image")
    assert [line[4] for line in lines[1:4]] == [" ", "*", " "]
    assert lines[-1] == "* written for this picture"
