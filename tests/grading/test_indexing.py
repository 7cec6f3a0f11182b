"""An index of a gallery: what it finds, what it says of itself, and when it is not used."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from tiny_run import gallery_arrays, make_run, unit, write_text_tower

from answering import search
from gallery import indexed, nearest, similarity
from gallery.stored import Gallery
from grading import indexing
from run import files, manifest
from run.folder import INDEX, INDEX_FACTS

pytest.importorskip("faiss")
NUM, DIM = 3000, 24


def large_run(folder, dim=DIM, **more):
    """A run of random rows whose captions are near their images."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((NUM, dim))
    arrays = gallery_arrays() | {"image": unit(image), "caption_image": np.arange(NUM)}
    arrays["text"] = unit(image + 2 * rng.standard_normal((NUM, dim)))
    names = [f"image-{row}" for row in range(NUM)]
    for part, values in (("image_names", names), ("captions", names), ("pictures", [""] * NUM)):
        arrays[f"{part}_data"], arrays[f"{part}_offsets"] = files.pack_strings(values)
    run = make_run(folder)
    manifest.begin(run.folder)
    write_text_tower(run.query_tower, rng.standard_normal((8, dim)))
    files.write_arrays(run.projections, arrays | more)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = large_run(tmp_path_factory.mktemp("exp") / "large")
    indexing.build_index(run)
    return run


def test_it_finds_nearly_all_and_scores_exactly(run):
    gallery, query = Gallery(run, by_index=True), Gallery(run, by_index=True).text[5::97]
    facts = json.loads((run / INDEX_FACTS).read_text())
    hits = []
    for row in query:
        scores, numbers = gallery.nearest_images(row[None], 10)
        exact, best = nearest.top_k(row[None], gallery.image, 10)
        hits.append(np.isin(best, numbers).mean())
        both = {int(number): score for number, score in zip(best[0], exact[0], strict=True)}
        assert scores.shape == numbers.shape == (1, 10) and scores.dtype == np.float64
        assert list(scores[0]) == sorted(scores[0], reverse=True)
        assert all(both.get(int(n), s) == s for n, s in zip(numbers[0], scores[0], strict=True))
    assert np.mean(hits) > 0.98 and facts["recall_at_10"] >= indexing.WANTED
    assert facts["images"] == NUM and facts["queries"] == 200
    assert facts["rows"] == files.file_hash(run.projections)


def test_the_recall_that_is_written_is_that_of_the_candidates(run, monkeypatch):
    monkeypatch.setattr(indexing, "FEWEST", 20)
    monkeypatch.setattr(indexing, "MOST", 20)
    gallery = Gallery(run, by_index=True)
    assert gallery.index is not None
    count, recall, asked = indexing.measure_recall(gallery.index.codes, gallery)
    query = gallery.text[:: NUM // asked][:asked]
    _, exact = nearest.top_k(query, gallery.image, 10)
    _, found = gallery.index.codes.search(query, 20)
    by_hand = [len({*a.tolist()} & {*b.tolist()}) / 10 for a, b in zip(exact, found, strict=True)]
    assert (count, asked) == (20, 200) and recall == pytest.approx(np.mean(by_hand))
    assert 0.3 < recall < 0.99


def test_more_answers_take_more_candidates(run):
    gallery = Gallery(run, by_index=True)
    scores, numbers = gallery.nearest_images(gallery.text[:1], NUM + 5)
    exact, best = nearest.top_k(gallery.text[:1], gallery.image, NUM + 5)
    np.testing.assert_array_equal(numbers, best)
    np.testing.assert_allclose(scores, exact, atol=1e-12)


def test_an_answer_says_that_it_is_by_an_index(run):
    encoder, gallery = search.QueryEncoder(run), Gallery(run, by_index=True)
    asked = search.ask_sentence(encoder, "red circle")
    answers, note = asked.nearest(gallery, 3)
    recall = json.loads((run / INDEX_FACTS).read_text())["recall_at_10"]
    assert note == f"3 nearest of 3,000 pictures by an index of recall@10 {recall:.3f}"
    exact, plain = asked.nearest(Gallery(run), 3)
    assert plain == "3 nearest of 3,000 pictures"
    assert [one.image for one in answers] == [one.image for one in exact]
    picture = search.Asked("one", gallery.image[:1], is_text=False)
    assert "index" not in picture.nearest(gallery, 3)[1]  # captions have none


def test_rows_are_read_from_the_file_and_from_memory(run):
    rows, numbers = Gallery(run, by_index=True).image, np.array([0, 7, NUM - 1])
    assert isinstance(rows, np.memmap)
    np.testing.assert_array_equal(indexed.fetch_rows(rows, numbers), np.asarray(rows)[numbers])
    np.testing.assert_array_equal(indexed.fetch_rows(rows[:, 1:], numbers), rows[numbers, 1:])
    np.testing.assert_array_equal(indexed.fetch_rows(np.eye(3), np.array([2])), np.eye(3)[2:])


def test_an_index_of_other_rows_is_not_used(tmp_path):
    run = large_run(tmp_path / "run")
    assert Gallery(run, by_index=True).index is None
    indexing.build_index(run)
    first = Gallery(run, by_index=True).index
    assert first is not None and first.unchanged
    run.projections.touch()  # as a copy is: then its hash decides
    touched = Gallery(run, by_index=True).index
    assert touched is not None and not touched.unchanged
    large_run(tmp_path / "run", text=unit(np.random.default_rng(1).standard_normal((NUM, DIM))))
    assert Gallery(run, by_index=True).index is None


def test_a_changed_gallery_is_refused_and_so_is_a_damaged_index(tmp_path):
    run = large_run(tmp_path / "run")
    indexing.build_index(run)
    whole = (run / INDEX).read_bytes()
    (run / INDEX).write_bytes(whole[:-9] + bytes(9))
    with pytest.raises(ValueError, match=r"index\.faiss is not as it was written"):
        Gallery(run, by_index=True)
    assert Gallery(run).index is None
    (run / INDEX).write_bytes(whole)
    rows = run.projections.read_bytes()
    run.projections.write_bytes(rows[:-1] + b"x")
    with pytest.raises(ValueError, match=r"projections\.npz is not as it was written"):
        Gallery(run, by_index=True)


def test_an_odd_number_of_dimensions(tmp_path):
    run = large_run(tmp_path / "run", dim=7)
    indexing.build_index(run)
    gallery = Gallery(run, by_index=True)
    assert gallery.index is not None and gallery.index.recall >= indexing.WANTED


def test_what_has_no_index_is_refused(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    with pytest.raises(ValueError, match="--index needs 256 images, the gallery has 5"):
        indexing.build_index(run)
    order = {"similarity": similarity.pack_similarity("order")}
    files.write_arrays(run.projections, gallery_arrays() | order)
    with pytest.raises(ValueError, match="--index is for cosine"):
        indexing.build_index(run)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match="pip install faiss-cpu"):
        indexing.check_possible(run, "cosine")


def test_a_database_is_filled_and_asked(run, tmp_path, capsys):
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    place = str(tmp_path / "some.db")
    indexing.fill_database(run, place)
    told = "Milvus: {}, 3,000 rows, {} of them sent now; recall@10 1.0000 of 20 captions\n"
    assert capsys.readouterr().out == told.format(place, "3,000")
    indexing.fill_database(run, place)
    assert capsys.readouterr().out == told.format(place, 0)
    command = [sys.executable, str(ROOT / "retrieve.py"), "--exp", str(run), "--k=3", "--json"]
    answers = {}
    for way in (["--exact"], ["--engine=milvus", f"--uri={place}"]):
        done = subprocess.run(
            [*command, *way, "red circle"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and done.stderr == "", done.stderr
        answers[way[0]] = json.loads(done.stdout)
    assert answers["--exact"]["answers"] == answers["--engine=milvus"]["answers"]
    assert answers["--engine=milvus"]["index"] == {"engine": "milvus", "uri": place}
    order = make_run(tmp_path / "order")
    arrays = gallery_arrays() | {"similarity": similarity.pack_similarity("order")}
    files.write_arrays(order.projections, arrays)
    with pytest.raises(ValueError, match="--export milvus is for cosine"):
        indexing.fill_database(order, place)


WITHOUT = """
import runpy, sys
if sys.argv.pop(1) == "without":
    sys.modules["faiss"] = None
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("retrieve.py")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("way", "more", "recall", "told"),
    [
        ("with", [], True, ""),
        ("with", ["--exact"], False, ""),
        ("without", [], False, "all images are compared: the index needs pip install faiss-cpu\n"),
        ("without", ["--exact"], False, ""),
    ],
)
def test_retrieve_uses_it_where_it_can(run, way, more, recall, told):
    command = [sys.executable, "-c", WITHOUT, way, str(ROOT / "retrieve.py"), "red circle"]
    done = subprocess.run(
        [*command, "--exp", str(run), "--json", "--k=3", *more],
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout)
    assert (done.stderr, "index" in answer) == (told, recall)
    exact = Gallery(run)
    vector = search.QueryEncoder(run).encode(["red circle"])
    best = nearest.top_k(vector, exact.image, 3)[1][0].tolist()
    assert [one["image"] for one in answer["answers"]] == best
