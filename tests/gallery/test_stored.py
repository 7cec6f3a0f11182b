"""The stored gallery: mapped, read as written, refused where it does not fit."""

import numpy as np
import pytest
from tiny_run import NAMES, gallery_arrays, make_run, unit

from gallery import nearest, stored
from run import files, manifest
from run.folder import Run
from run.manifest import check as check_strictly  # without the exception of conftest.py


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return make_run(tmp_path_factory.mktemp("exp") / "hand_made")


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


def test_a_damaged_gallery_gives_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "check", check_strictly)
    manifest.begin(tmp_path)
    run = make_run(tmp_path)
    whole = bytearray(run.projections.read_bytes())
    at = whole.index(gallery_arrays()["image"].tobytes()) + 2
    run.projections.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for ask in (
        lambda gallery: gallery.image,
        lambda gallery: gallery.num_captions,
        lambda gallery: gallery.find_image("one.png"),
        lambda gallery: gallery.best_caption(0, np.eye(7)[0]),
    ):
        with pytest.raises(ValueError, match=r"npz is not as it was written: .*python test\.py"):
            ask(stored.Gallery(run))
    run.projections.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"npz is not as it was written: .*python test\.py"):
        stored.Gallery(run)
