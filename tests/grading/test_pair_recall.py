"""Recall of word pairs: by eye, the document's own table, loops, tables, pictures, the scripts."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import reference_pairs as reference
import starter
from PIL import Image

from data.pairs import finding
from data.scenes import world
from grading import pair_recall
from grading.pair_recall import Cells, count, cumulative, macro, mean_of_cells, recalls


def unit(rng, rows, size=6):
    values = rng.normal(size=(rows, size))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def document():
    """The document's ranking table as cells."""
    shares, images = zip(*reference.RANKING.values(), strict=True)
    images = np.array(images)
    values = np.array([[0 if value is None else value for value in own] for own in shares])
    return Cells(np.rint(values * images).astype(int), images)


def test_cells_counted_by_eye():
    hits = np.array([[1, 0], [0, 0], [1, 1], [1, 0], [1, 1]], bool)
    counts = np.array([[1, 0], [1, 0], [2, 1], [0, 0], [5, 3]])
    cells = count(hits, counts)
    assert cells.images.tolist() == [[2, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    assert cells.hits.tolist() == [[1, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    assert recalls(cells)[0, [0, 1, 4]].tolist() == [0.5, 1, 1]
    assert np.isnan(recalls(cells)[0, 2:4]).all()
    assert cumulative(cells).images.tolist() == [[4, 2, 1, 1, 1], [2, 1, 1, 0, 0]]
    assert macro(cells) == pytest.approx((3 / 4 + 2 / 2) / 2)
    assert macro(cells, 2) == pytest.approx((2 / 2 + 1 / 1) / 2)
    assert macro(cells, 4) == 1  # of the first pair alone
    assert mean_of_cells(cells) == pytest.approx((0.5 + 1 + 1 + 1 + 1) / 5)


def test_the_documents_own_table():
    cells = document()
    assert macro(cells) == pytest.approx(reference.MACRO, abs=5e-4)
    table = pair_recall.markdown("Ranking", list(reference.RANKING), cells)
    rows = {line.split(" | ")[0]: line for line in table.splitlines()}
    assert rows["Pair"].startswith("Pair | Recall (n=1) | Recall (n=2)")
    for name, (shares, images) in reference.RANKING.items():
        told = [
            "N/A" if share is None else f"{share:.2f} ({number})"
            for share, number in zip(shares, images, strict=True)
        ]
        assert rows[name] == " | ".join([name, *told])
    assert "all n pooled: 0.445;" in table


def test_against_loops():
    rng = np.random.default_rng(0)
    image, text = unit(rng, 30), unit(rng, 90)
    said = rng.random((90, 3)) < 0.06
    counts = rng.integers(0, 4, (30, 3))
    hits = pair_recall.ranking_hits(image, text, said, counts)
    for pair in range(3):
        expected = [
            reference.ranking_hit(row, text.tolist(), said[:, pair]) for row in image.tolist()
        ]
        asked = counts.any(axis=1)
        assert hits[asked, pair].tolist() == np.array(expected)[asked].tolist()
        exact, more = count(hits, counts), cumulative(count(hits, counts))
        for n in range(1, 6):
            own = reference.recall(hits[:, pair], counts[:, pair], n)
            assert (exact.hits[pair, n - 1], exact.images[pair, n - 1]) == own
            own = reference.recall(hits[:, pair], counts[:, pair], n, more=True)
            assert (more.hits[pair, n - 1], more.images[pair, n - 1]) == own


def test_order_of_images_and_of_captions_does_not_matter():
    rng = np.random.default_rng(1)
    image, text = unit(rng, 20), unit(rng, 60)
    said, counts = rng.random((60, 2)) < 0.1, rng.integers(0, 3, (20, 2))
    before = count(pair_recall.ranking_hits(image, text, said, counts), counts)
    a, b = rng.permutation(20), rng.permutation(60)
    after = count(pair_recall.ranking_hits(image[a], text[b], said[b], counts[a]), counts[a])
    assert np.array_equal(before, after)


def test_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(2)
    image, text = unit(rng, 9), unit(rng, 50)
    whole = pair_recall.top_captions(image, text)
    assert np.array_equal(whole, np.argsort(-(image @ text.T), axis=1)[:, :5])
    monkeypatch.setattr(pair_recall, "BLOCK_ROWS", 7)
    assert np.array_equal(pair_recall.top_captions(image, text), whole)


def test_a_hit_need_not_be_the_images_own_caption():
    image, text = np.eye(8, dtype=np.float32)[:2], np.eye(8, dtype=np.float32)
    said = np.zeros((8, 1), bool)
    said[1] = True  # a caption of the second image alone; the first ranks it second at best
    counts = np.array([[1], [0]])
    assert pair_recall.ranking_hits(image, text, said, counts)[0, 0]
    assert not pair_recall.ranking_hits(image, text, said, counts)[1, 0]  # not asked
    said[:] = False
    said[7] = True  # behind the best five, ties in the gallery's order
    assert not pair_recall.ranking_hits(image, text, said, counts).any()


def test_chance_counts_all_draws():
    said = np.arange(9)[:, None] < np.array([0, 1, 2, 4, 9])
    expected = [reference.chance(9, saying, 5) for saying in (0, 1, 2, 4, 9)]
    np.testing.assert_allclose(pair_recall.chance_of_pairs(said), expected)
    np.testing.assert_allclose(pair_recall.chance_of_pairs(said[:3], 5), [0, 1, 1, 1, 1])


def test_degenerate():
    nothing = count(np.zeros((3, 2), bool), np.zeros((3, 2), int))
    assert math.isnan(macro(nothing)) and math.isnan(mean_of_cells(nothing))
    table = pair_recall.markdown("X", ["a_b", "c_d"], nothing)
    assert table.count("N/A") == 12
    assert pair_recall.as_json(nothing)["macro"]["n>=1"] is None
    few = pair_recall.top_captions(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
    assert few.shape == (3, 3)
    with pytest.raises(ValueError, match="expected the same"):
        count(np.zeros((3, 2), bool), np.zeros((2, 2), int))


def test_seven_captions_an_image_make_seven_columns():
    counts = np.array([[7], [6], [2]])
    cells = count(np.array([[True], [False], [True]]), counts)
    assert cells.images.tolist() == [[0, 1, 0, 0, 0, 1, 1]]
    assert "Recall (n>=7)" in pair_recall.markdown("X", ["a_b"], cells, more=True)


def test_writing_hits():
    chosen = finding.parse_pairs("brown_dog,sit_cat", "coco")
    written = [["a brown dog ."], ["a cat", "a cat sits", "a brown puppy"], [], ["a dog"]]
    hits = pair_recall.writing_hits(written, chosen)
    assert hits.astype(int).tolist() == [[1, 0], [1, 1], [0, 0], [0, 0]]
    scene = finding.parse_pairs("red_circle", "scenes")
    assert pair_recall.writing_hits([["circle red", "a scarlet disc"]], scene).tolist() == [[True]]


def question(seed=0):
    """Scenes of the test split, and three pairs of them."""
    _, written = world.make_scenes("test", 30, seed)
    captions = [caption.text for own in written for caption in own]
    owner = np.repeat(np.arange(30), [len(own) for own in written])
    split = SimpleNamespace(captions=captions, caption_image=owner, image_names=list("x" * 30))
    asked = {"data": "scenes", "heldout": None, "heldout_file": None, "pair_finder": "rules"}
    settings = SimpleNamespace(**asked)
    return split, settings, pair_recall.ask(split, settings, "red_circle,small_star,touch_ring")


def test_perfect_rankers_and_writers_find_all():
    split, _, asked = question()
    assert asked.counts.sum() == asked.said.sum() > 0
    one_hot = np.eye(30, dtype=np.float32)
    cells = pair_recall.count_ranked(asked, one_hot, one_hot[split.caption_image], "cosine")
    assert np.array_equal(cells.hits, cells.images)
    own = [
        [split.captions[row] for row in np.flatnonzero(split.caption_image == image)]
        for image in range(30)
    ]
    assert np.array_equal(pair_recall.count_written(asked, own), cells)
    silent = pair_recall.count_written(asked, [["a shape"]] * 30)
    assert not silent.hits.any() and np.array_equal(silent.images, cells.images)
    with pytest.raises(ValueError, match="for 2 images, the split has 30"):
        pair_recall.count_written(asked, [["a"], ["b"]])


def test_what_is_asked():
    split, settings, _ = question()
    with pytest.raises(ValueError, match="no pair was held out of this run"):
        pair_recall.ask(split, settings)
    settings.heldout = "red_circle,blue_star"
    assert pair_recall.ask(split, settings).names == ["red_circle", "blue_star"]
    assert pair_recall.ask(split, settings, "small_star").names == ["small_star"]


def test_reports_and_their_comparison(tmp_path):
    _, _, asked = question()
    rng = np.random.default_rng(3)
    found = {
        title: count(rng.random(asked.counts.shape) < 0.5, asked.counts)
        for title in ("ranking recall@5", "written captions, beam 5")
    }
    told = pair_recall.report_pairs(tmp_path, asked, found, {"data": "scenes"})
    assert (tmp_path / "pairs.md").read_text() == told + "\n"
    assert told.startswith("Ranking recall@5:\n\nPair | Recall (n=1)")
    stored = json.loads((tmp_path / "pairs.json").read_text())
    assert stored["protocol"]["finder"] == "grammar"
    assert stored["protocol"]["captions_that_say"] == asked.said.sum(axis=0).tolist()
    again = pair_recall.from_json(stored["ranking recall@5"])
    assert np.array_equal(again, found["ranking recall@5"])
    before = (tmp_path / "pairs.json").read_bytes(), (tmp_path / "pairs.png").read_bytes()
    pair_recall.report_pairs(tmp_path, asked, found, {"data": "scenes"})
    after = (tmp_path / "pairs.json").read_bytes(), (tmp_path / "pairs.png").read_bytes()
    assert after == before
    reports: dict[str, Path] = dict.fromkeys(("one", "two"), tmp_path / "pairs.json")
    pair_recall.compare(reports, "written captions, beam 5", tmp_path / "both.png")
    with Image.open(tmp_path / "both.png") as picture:
        assert picture.width > 800
    with pytest.raises(ValueError, match=r"has no 'x'; it holds ranking recall@5, written"):
        pair_recall.compare(reports, "x", tmp_path / "both.png")
    stored["protocol"]["pairs"] = ["a_b"]
    (tmp_path / "other.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="is about other pairs"):
        pair_recall.compare(
            {**reports, "three": tmp_path / "other.json"}, "ranking recall@5", tmp_path / "x.png"
        )


def test_train_and_test_with_held_out_pairs(tmp_path):
    tiny = ["--limit=60", "--hidden_dim=16", "--embed_dim=8", "--batch_size=16", "--epochs=1"]
    flags = [*tiny, "--exp=a", "--heldout=red_circle,small_star"]
    done = starter.run("train.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "held out: " in done.stderr and "of 60 training images" in done.stderr
    done = starter.run("test.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Ranking recall@5:" in done.stdout and "red_circle | " in done.stdout
    score = json.loads((tmp_path / "exp" / "a" / "pairs.json").read_text())
    assert score["protocol"]["pairs"] == ["red_circle", "small_star"]
    assert score["protocol"]["gallery"] == 300
