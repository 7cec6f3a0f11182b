"""Search: the towers by ONNX Runtime, the gallery, the exact nearest rows, the table.

`make_run` writes a run folder by hand, without TensorFlow, in which every score can be reckoned:
each word is one axis of the joint space, a text is the direction of its word counts, and an image
that of its first caption.
"""

import itertools
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import reference_metrics as reference
from onnx import TensorProto, helper, numpy_helper

from answering import search
from data.language.words import Vocabulary
from data.vision.descriptors import ReadyVectors
from gallery import nearest, stored
from gallery.similarity import SIMILARITIES
from run import console, files, graphs
from run.folder import Run

WORDS = ["red", "blue", "circle", "star", "square", "small", "above"]
CAPTIONS = [
    ["red circle", "a circle, red"],
    ["blue star"],
    ["red square", "red red square", "a square"],
    ["small red circle above blue star", "red above blue"],
    ["blue circle", "a circle that is blue"],
]
NAMES = ["one.png", "two.png", "folder/three.png", "four.png", "3"]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def counts(texts: list[str]) -> np.ndarray:
    """(n, V) how often each word stands in each text."""
    split = [text.replace(",", " ").split() for text in texts]
    return np.array([[words.count(word) for word in WORDS] for words in split], np.float64)


def write_model(path: Path, nodes: list, arrays: dict, inputs: list, num_outputs: int) -> None:
    graph = helper.make_graph(
        nodes,
        "tower",
        inputs,
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["B", num_outputs])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def write_text_tower(path: Path, table: np.ndarray) -> None:
    """(B, T) ids -> the direction of the sum of their rows in `table` (V + 1, D)."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["out"], axis=-1, p=2),
    ]
    arrays = {"table": table.astype(np.float32), "axis": np.array([1], np.int64)}
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT32, ["B", "T"])
    write_model(path, nodes, arrays, [tokens], table.shape[1])


def write_image_tower(path: Path, kernel: np.ndarray) -> None:
    """(B, F) vectors -> the direction of their product with `kernel` (F, D)."""
    nodes = [
        helper.make_node("MatMul", ["image", "kernel"], ["product"]),
        helper.make_node("LpNormalization", ["product"], ["out"], axis=-1, p=2),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", len(kernel)])
    write_model(path, nodes, {"kernel": kernel.astype(np.float32)}, [image], kernel.shape[1])


def gallery_arrays(captions=CAPTIONS, names=NAMES, pictures=None) -> dict[str, np.ndarray]:
    """What test.py writes into projections.npz."""
    flat = [caption for own in captions for caption in own]
    arrays = {
        "image": unit(counts([CAPTIONS[i][0] for i in range(len(captions))])),
        "text": unit(counts([caption for own in CAPTIONS for caption in own])),
        "caption_image": np.repeat(
            np.arange(len(captions), dtype=np.int32), list(map(len, captions))
        ),
    }
    strings = {"image_names": names, "captions": flat, "pictures": pictures or [""] * len(names)}
    for name, own in strings.items():
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = files.pack_strings(own)
    return arrays


def make_run(folder: Path, data_dir: Path | None = None, **gallery) -> Run:
    run = Run(folder)
    files.write_json(
        run.config, {"model": "projection", "data_dir": str(data_dir) if data_dir else None}
    )
    Vocabulary(WORDS).save(run.vocabulary)
    ReadyVectors((7,)).save(run.features)
    write_text_tower(run.query_tower, np.eye(len(WORDS) + 1)[:, 1:])
    files.write_arrays(run.projections, gallery_arrays(**gallery))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return make_run(tmp_path_factory.mktemp("exp") / "hand_made")


@pytest.fixture(scope="module")
def encoder(run) -> search.QueryEncoder:
    return search.QueryEncoder(run)


# The towers.


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
    with pytest.raises(ValueError, match=r"query\.onnx is not a whole ONNX model"):
        search.QueryEncoder(run)
    run.query_tower.unlink()
    with pytest.raises(ValueError, match=r"no query\.onnx: python test\.py"):
        search.QueryEncoder(run)
    run.vocabulary.unlink()
    with pytest.raises(ValueError, match=r"no vocabulary\.json: python train\.py"):
        search.QueryEncoder(run)


def test_a_tower_refuses_what_does_not_fit(tmp_path, capfd):
    write_image_tower(tmp_path / "image.onnx", np.ones((3, 2)))
    tower = graphs.Tower(tmp_path / "image.onnx")
    np.testing.assert_allclose(tower(np.ones((2, 3), np.float32)), np.full((2, 2), 0.5**0.5))
    with pytest.raises(ValueError, match=r"cannot take a batch of shape \(1, 4\)"):
        tower(np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match="NaN or infinity"):
        tower(np.full((1, 3), np.nan, np.float32))
    write_text_tower(tmp_path / "query.onnx", np.eye(3))
    with pytest.raises(ValueError, match=r"query\.onnx cannot take a batch"):  # no such word
        graphs.Tower(tmp_path / "query.onnx")(np.array([[7]], np.int32))
    assert capfd.readouterr().err == ""


# The gallery.


def test_gallery_is_mapped_and_reads_as_written(run):
    gallery = stored.Gallery(run)
    assert gallery.similarity == "cosine"
    small = {"image": (5, 7), "text": (10, 7)}
    assert {name: getattr(gallery, name).shape for name in small} == small
    assert list(gallery.image_names) == NAMES
    assert [gallery.captions[i] for i in (0, 3, 9)] == [
        "red circle",
        "red square",
        "a circle that is blue",
    ]
    assert [gallery.find_image(name) for name in (*NAMES, "one", "")] == [0, 1, 2, 3, 4, None, None]
    assert gallery.captions_of(2).tolist() == [3, 4, 5]
    assert gallery.best_caption(2, np.eye(7)[4]) == "a square"
    assert gallery.best_caption(2, np.eye(7)[0]) == "red red square"


def test_large_galleries_stay_on_disk(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {**gallery_arrays(), "image": unit(rng.normal(size=(5, 1000)))}
    arrays["text"] = arrays["image"][arrays["caption_image"]]
    files.write_arrays(tmp_path / "projections.npz", arrays)
    gallery = stored.Gallery(Run(tmp_path))
    assert isinstance(gallery.image, np.memmap) and isinstance(gallery.text, np.memmap)
    assert nearest.top_k(gallery.image[3:4], gallery.text, 2)[1].tolist() == [[6, 7]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pictures_data": None}, "no 'pictures_data'"),
        ({"image": np.ones((4, 7), np.float32)}, "does not fit together"),
        ({"image": np.ones((5, 6), np.float32)}, "does not fit together"),
        ({"text": np.ones((9,), np.float32)}, "does not fit together"),
        ({"caption_image": np.full(10, 5, np.int32)}, "does not fit together"),
        ({"caption_image": np.full(10, -1, np.int32)}, "does not fit together"),
    ],
)
def test_a_gallery_that_does_not_fit_is_refused(tmp_path, change, message):
    arrays = {**gallery_arrays(), **change}
    kept = {name: array for name, array in arrays.items() if array is not None}
    files.write_arrays(tmp_path / "projections.npz", kept)
    with pytest.raises(ValueError, match=message):
        stored.Gallery(Run(tmp_path))


def test_no_gallery(tmp_path):
    with pytest.raises(ValueError, match=r"no projections\.npz: python test\.py"):
        stored.Gallery(Run(tmp_path))


# The nearest rows.


def sorted_whole(query: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Row numbers by float64 scores, each reckoned by itself, ties in order."""
    scores = [[float((q * row).sum()) for row in rows.astype(np.float64)] for q in query]
    order = [sorted(range(len(rows)), key=lambda i: (-own[i], i))[:k] for own in scores]
    return np.array(order).reshape(len(query), min(k, len(rows)))


def sides(query: np.ndarray, rows: np.ndarray, among: str) -> tuple[np.ndarray, np.ndarray]:
    """Captions and images."""
    return (query, rows) if among == "images" else (rows, query)


def sorted_by_order(query: np.ndarray, rows: np.ndarray, k: int, among: str) -> list[list[int]]:
    """Row numbers for one query by order similarity, from the loops, ties in order."""
    captions, images = sides(query, rows, among)
    scores = np.ravel(reference.scores(captions.tolist(), images.tolist(), "order"))
    return [sorted(range(len(rows)), key=lambda i: (-scores[i], i))[:k]]


@pytest.mark.parametrize("among", ["images", "captions"])
@pytest.mark.parametrize("block_rows", [1, 7, 8192])
@pytest.mark.parametrize("k", [1, 5, 1000])
def test_top_k_by_order_similarity_is_what_sorting_gives(block_rows, k, among):
    rng = np.random.default_rng(k)
    rows, query = unit(rng.normal(size=(150, 16))), unit(rng.normal(size=(1, 16)))
    rows[60:] = rows[rng.integers(0, 60, size=90)]  # ties
    scores, found = nearest.top_k(query, rows, k, block_rows, "order", among)
    assert found.tolist() == sorted_by_order(query, rows, k, among)
    pairs = SIMILARITIES["order"].pairs(*sides(query, rows[found[0]], among))
    np.testing.assert_array_equal(scores[0], pairs)


@pytest.mark.parametrize("among", ["images", "captions"])
@pytest.mark.parametrize("block_rows", [1, 10, 8192])
def test_near_ties_of_order_similarity_are_settled_in_float64(block_rows, among):
    # A row's numbers in another order lose as much beside an even query, but for rounding.
    rng, every = np.random.default_rng(1), np.arange(300)
    query, one = np.full((1, 512), 512**-0.5, np.float32), unit(rng.normal(size=(1, 512)))[0]
    rows = np.stack([rng.permutation(one) for _ in every])
    place = rows.argmin(axis=1) if among == "images" else rows.argmax(axis=1)
    rows[every, place] *= (1 + 1e-7 * rng.permutation(300)).astype(np.float32)
    expected = sorted_by_order(query, rows, 10, among)
    single = SIMILARITIES["order"].scores(*sides(query, rows, among)).ravel()
    assert np.argsort(-single, kind="stable")[:10].tolist() != expected[0]
    assert nearest.top_k(query, rows, 10, block_rows, "order", among)[1].tolist() == expected


@pytest.mark.parametrize("block_rows", [1, 7, 64, 8192])
@pytest.mark.parametrize("k", [1, 5, 150, 1000])
def test_top_k_is_what_sorting_gives(block_rows, k):
    rng = np.random.default_rng(k)
    rows, query = unit(rng.normal(size=(150, 16))), unit(rng.normal(size=(3, 16)))
    scores, numbers = nearest.top_k(query, rows, k, block_rows)
    assert scores.dtype == np.float64 and numbers.dtype == np.int64
    np.testing.assert_array_equal(numbers, sorted_whole(query.astype(np.float64), rows, k))
    whole = np.take_along_axis(query.astype(np.float64) @ rows.T.astype(np.float64), numbers, 1)
    np.testing.assert_allclose(scores, whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize("block_rows", [1, 3, 50, 8192])
def test_ties_stand_in_gallery_order(block_rows):
    rng = np.random.default_rng(0)
    few = unit(rng.normal(size=(3, 300)))
    rows = few[rng.integers(0, 3, size=200)]
    numbers = nearest.top_k(few[:1], rows, 120, block_rows)[1]
    np.testing.assert_array_equal(numbers, sorted_whole(few[:1].astype(np.float64), rows, 120))
    collapsed = np.repeat(few[:1], 100, axis=0)
    assert nearest.top_k(few, collapsed, 4, block_rows)[1].tolist() == [[0, 1, 2, 3]] * 3


def near_ties() -> tuple[np.ndarray, np.ndarray]:
    """A query and rows on all sides of it at one angle: float32 errs by more than they differ."""
    rng = np.random.default_rng(1)
    query = unit(rng.normal(size=(1, 512)))
    exact = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    aside = rng.normal(size=(300, 512))
    aside -= aside @ exact.T * exact
    return query, unit(0.6 * exact + 0.8 * aside / np.linalg.norm(aside, axis=1, keepdims=True))


@pytest.mark.parametrize("block_rows", [1, 10, 64, 8192])
def test_near_ties_are_settled_in_float64(block_rows):
    query, rows = near_ties()
    expected = sorted_whole(query.astype(np.float64), rows, 10)
    assert (rows @ query[0]).argsort()[::-1][:10].tolist() != expected[0].tolist()
    np.testing.assert_array_equal(nearest.top_k(query, rows, 10, block_rows)[1], expected)


@pytest.mark.parametrize("block_rows", [1, 2])
def test_a_near_tie_in_a_later_block_is_not_passed_over(block_rows):
    query, rows = near_ties()
    pairs = rows.reshape(150, 2, 512)
    found = [nearest.top_k(query, pair, 1, block_rows)[1].item() for pair in pairs]
    assert found == [sorted_whole(query.astype(np.float64), pair, 1).item() for pair in pairs]


def test_many_queries_are_answered_in_parts(monkeypatch):
    rng = np.random.default_rng(2)
    rows, query = unit(rng.normal(size=(40, 8))), unit(rng.normal(size=(11, 8)))
    scores, numbers = nearest.top_k(query, rows, 3)
    monkeypatch.setattr(search, "QUERIES_AT_ONCE", 4)
    again = nearest.top_k(query, rows, 3)
    np.testing.assert_array_equal(again[0], scores)
    np.testing.assert_array_equal(again[1], numbers)
    assert [part.shape for part in nearest.top_k(query[:0], rows, 3)] == [(0, 3), (0, 3)]


def test_top_k_refuses_what_makes_no_sense():
    rows, query = unit(np.ones((4, 3))), unit(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"\(1, 2\) do not fit gallery rows of shape \(4, 3\)"):
        nearest.top_k(query[:, :2], rows, 1)
    with pytest.raises(ValueError, match="must be 1 or more"):
        nearest.top_k(query, rows, 0)
    with pytest.raises(ValueError, match="query holds NaN"):
        nearest.top_k(query * np.nan, rows, 1)
    with pytest.raises(ValueError, match="similarity is 'angle', expected one of cosine, order"):
        nearest.top_k(query, rows, 1, similarity="angle")
    with pytest.raises(ValueError, match="among is 'text', expected images or captions"):
        nearest.top_k(query, rows, 1, among="text")
    rows[2, 1] = np.nan
    with pytest.raises(ValueError, match="gallery row 2 holds NaN"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        nearest.top_k(query, rows, 1, 2)
    for value, among in itertools.product((np.nan, np.inf, -np.inf), ("images", "captions")):
        rows[2, 1] = value
        with pytest.raises(ValueError, match="gallery row 2 holds NaN or infinity"):
            nearest.top_k(query, rows, 1, 2, "order", among)


# Answers.


def test_nearest_images_bring_their_nearest_caption(run, encoder):
    gallery = stored.Gallery(run)
    answers = search.nearest_images(gallery, encoder.encode(["a red square"]), 3)
    assert [answer.rank for answer in answers] == [1, 2, 3]
    assert [answer.name for answer in answers] == ["folder/three.png", "one.png", "four.png"]
    assert [answer.caption for answer in answers] == ["red square", "red circle", "red above blue"]
    np.testing.assert_allclose([answer.score for answer in answers], [1, 0.5, 12**-0.5], atol=1e-6)


def test_nearest_captions_know_their_own_image(run):
    gallery = stored.Gallery(run)
    answers = search.nearest_captions(gallery, gallery.image[4:5], 20, asked=4)
    assert len(answers) == 10
    assert [answer.caption for answer in answers[:2]] == ["blue circle", "a circle that is blue"]
    assert [answer.image for answer in answers if answer.own] == [4, 4]
    assert not any(
        answer.own for answer in search.nearest_captions(gallery, gallery.image[4:5], 10)
    )


ODD = [
    "plain",
    "",
    "漢字の説明文がとても長いときは" * 9,
    "مرحبا بالعالم " * 20,
    "😀👩‍👧❤️🇩🇪 e\u0301\u0301 " * 20,
    "tab\tline\nbell\x07 \x1b[31m escape \u2028 nul\x00",
    "lone \ud800 half \udfff",
    "\u202eoverride\u2066",
    "x" * 100_000,
]


def test_printable_text_is_one_harmless_line():
    for text in ODD:
        shown = console.printable(text)
        assert shown.isprintable() and shown == shown.strip()
        assert shown.encode("utf-8").decode("utf-8") == shown
    assert console.printable("lone \ud800 half") == "lone \ufffd half"
    assert console.printable(" two\n\twords ") == "two words"


def test_cut_keeps_to_the_columns():
    assert [console.columns(text) for text in ("abc", "漢字", "e\u0301", "😀")] == [3, 4, 1, 2]
    assert console.cut("a name.png", 10) == "a name.png"
    assert console.cut("a longer name.png", 9) == "a longer…"
    assert console.cut("a longer name.png", 9, keep_end=True) == "…name.png"
    assert console.cut("漢字漢字", 6) == "漢字…"
    for text in map(console.printable, ODD):
        for width in (1, 2, 7, 40):
            assert console.columns(console.cut(text, width)) <= width
            assert console.columns(console.cut(text, width, keep_end=True)) <= width


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_table_keeps_to_the_terminal(width):
    answers = [
        search.Answer(rank, 1 / rank, 0, name, caption, "", own=rank == 2)
        for rank, (name, caption) in enumerate(zip(ODD, reversed(ODD), strict=True), 1)
    ]
    lines = search.table(answers, width).split("\n")
    assert len(lines) == 1 + len(ODD) + 1
    assert max(map(console.columns, lines)) <= max(width, 40)
    assert lines[1].index("xxx") == lines[0].index("caption")
    assert lines[1].index("plain") == lines[0].index("image")
    assert [line[4] for line in lines[1:4]] == [" ", "*", " "]
    assert lines[-1] == "* written for this picture"
