"""A gallery in Milvus Lite: filled, killed, filled on, asked, refused."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from tiny_run import gallery_arrays, make_run, unit

from gallery import milvus, nearest
from gallery.stored import Gallery
from run import files, manifest

NUM, DIM = 70, 9


def large_run(folder, seed=0):
    """70 random images; the captions of one stand apart, and one has none."""
    rng = np.random.default_rng(seed)
    owner = np.array([3, *range(NUM - 1), 3])
    arrays = gallery_arrays() | {
        "image": unit(rng.standard_normal((NUM, DIM))),
        "text": unit(rng.standard_normal((len(owner), DIM))),
        "caption_image": owner,
    }
    captions = [f"caption {number} \ud800" for number in range(len(owner))]
    names = [f"image-{row}" for row in range(NUM)]
    for part, values in (("image_names", names), ("captions", captions), ("pictures", names)):
        arrays[f"{part}_data"], arrays[f"{part}_offsets"] = files.pack_strings(values)
    run = make_run(folder)
    manifest.begin(run.folder)
    files.write_arrays(run.projections, arrays)
    return run


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A run, its gallery, and its collection, whose filling was killed after two batches."""
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    folder = tmp_path_factory.mktemp("milvus")
    run = large_run(folder / "run")
    gallery = Gallery(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(milvus, "AT_ONCE", 20)
        store = milvus.open_collection(run, str(folder / "some.db"))
        send, turns = store.client.insert, itertools.count()

        def killed(*given):
            if next(turns) == 2:
                send(given[0], given[1][:7])
                raise KeyboardInterrupt
            return send(*given)

        patch.setattr(store.client, "insert", killed)
        with pytest.raises(KeyboardInterrupt):
            store.fill(gallery)
        with pytest.raises(ValueError, match=r"holds 47 of the run's 70 rows: fill it with"):
            store.open(NUM)
        patch.setattr(store.client, "insert", send)
        assert store.fill(gallery) == NUM - 40
        assert store.fill(gallery) == 0
    store.open(NUM)
    yield run, gallery, store
    store.close()


def test_it_gives_the_exact_answer(filled):
    _, gallery, store = filled
    for row in gallery.text[:8]:
        scores, numbers = store.nearest(row[None], gallery.image, 5)
        exact, best = nearest.top_k(row[None], gallery.image, 5)
        np.testing.assert_array_equal(numbers, best)
        np.testing.assert_allclose(scores, exact, atol=1e-12)
    assert store.nearest(gallery.text[:1], gallery.image, NUM + 9)[1].shape == (1, NUM)
    gallery.index, first = store, gallery.text[:1]
    found = gallery.nearest_images(first, 5)[1]
    np.testing.assert_array_equal(found, nearest.top_k(first, gallery.image, 5)[1])
    gallery.index = None


def test_captions_stand_beside_the_rows(filled):
    _, _, store = filled
    found = store.client.query(
        store.name, filter="id in [3, 5, 69]", output_fields=["captions", "row"]
    )
    told = {one["id"]: one["captions"] for one in found}
    assert told[3] == "caption 0 ?\ncaption 4 ?\ncaption 70 ?" and told[69] == ""
    rows = {one["id"]: one["row"] for one in found}
    np.testing.assert_array_equal(np.float32(rows[5]), filled[1].image[5])


def test_rows_of_another_run_are_not_taken_for_these(filled, tmp_path):
    _, _, store = filled
    other = large_run(tmp_path / "run", seed=1)
    foreign = milvus.open_collection(other, store.uri)
    assert foreign.name != store.name
    with pytest.raises(ValueError, match=r"holds 0 of the run's 70 rows: .* --uri "):
        foreign.open(NUM)


def test_a_file_that_another_process_uses_is_refused(filled):
    run, _, store = filled
    command = [sys.executable, str(ROOT / "retrieve.py"), "--exp", str(run), "red"]
    done = subprocess.run(
        [*command, "--engine=milvus", f"--uri={store.uri}"],
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "is another process using it" in line


def test_what_cannot_be_a_database_is_refused(monkeypatch):
    pytest.importorskip("pymilvus")
    with pytest.raises(ValueError, match=r"--uri x\.txt: expected a local file that ends in \.db"):
        milvus.Collection("x.txt", "0" * 64)
    with pytest.raises(ValueError, match=r"Milvus at http://localhost:1"):
        monkeypatch.setattr(milvus, "PATIENCE", 0.2)
        milvus.Collection("http://localhost:1", "0" * 64)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(ValueError, match="pip install pymilvus milvus-lite"):
        milvus.load_pymilvus()


def test_long_captions_are_cut_between_characters():
    text = milvus.shorten(["é" * 40_000])
    assert len(text.encode()) == milvus.MOST_BYTES and set(text) == {"é"}
