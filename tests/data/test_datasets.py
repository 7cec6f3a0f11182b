"""What holds for every format: checks, fingerprints, pictures; and the built-in scenes."""

import dataclasses
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from tiny_data import check_layout, flickr, kept_in, opened, precomp, put, refused

from data import datasets
from data.datasets import DATASETS, fingerprint
from data.formats import records, text
from data.pictures import load_picture, picture_references
from data.record import contents_of
from data.scenes import world

# Any data set.


def test_names_and_folders_are_checked(tmp_path):
    put(tmp_path / "here" / "file.txt", "x")
    refused("mnist", None, says=r"unknown data 'mnist'; there are scenes, nuswide")
    refused("flickr8k", None, says="flickr8k needs data_dir")
    refused("flickr8k", tmp_path / "nowhere", says=r"nowhere does not exist; .* holds here/")
    refused("flickr8k", tmp_path / "here" / "x" / "y", says=r"x/y does not .* holds file\.txt")
    refused("precomp", tmp_path / "here" / "file.txt", says=r"needs a folder, .* is a file")
    refused("scenes", None, limit=0, says="limit is 0; expected 1 or more")
    refused("scenes", None, validation_images=-1, says="validation_images is -1")
    for data in DATASETS:
        (tmp_path / "empty").mkdir(exist_ok=True)
        folder = tmp_path / ("here" if data == "scenes" else "empty")
        message = "drawn by the program" if data == "scenes" else "it holds nothing"
        refused(data, folder, says=message)


@pytest.mark.parametrize("collects", [True, False])
def test_reading_does_not_collect_garbage(tmp_path, monkeypatch, collects):
    put(tmp_path / "file.txt", "x")
    found = []

    def read(*_):
        found.append(gc.isenabled())
        raise ValueError("unreadable")

    monkeypatch.setattr(datasets, "reader_of", lambda _: read)
    (gc.enable if collects else gc.disable)()
    try:
        refused("precomp", tmp_path, says="unreadable")
        assert found == [False]
        assert gc.isenabled() == collects
    finally:
        gc.enable()


def test_nothing_heavy_is_imported():
    heavy = "{'tensorflow', 'keras', 'sklearn', 'matplotlib', 'data.scenes.world'}"
    code = f"import sys; from data import datasets; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def record(names, **values):
    return records.Records(list(names), [["a caption"] for _ in names], **values)


def test_checks_of_records():
    good = {"train": record("abc"), "validation": record("d"), "test": record("ef")}
    datasets.check_records(good)  # passes
    for test, says in (
        (record("axc"), "splits train and test share 2 images: a, c; each"),
        (record("xyx"), "split test names 1 images more than once: x"),
        (record(""), "split test has no images"),
        (records.Records(["x", "y"], [["one"], []]), "split test has 1 images without captions: y"),
        (records.Records(["x"], [["two", " \t"]]), "split test, image x: empty caption"),
        (record("xy", vectors=np.zeros((3, 4))), "split test has 3 rows of vectors for 2 images"),
    ):
        with pytest.raises(ValueError, match=says):
            datasets.check_records(good | {"test": test})


def test_sizes_of_vectors_must_agree():
    def splits(*widths):
        vectors = [None if width is None else np.zeros((2, width)) for width in widths]
        pairs = zip(records.SPLITS, ("ab", "cd", "ef"), vectors, strict=True)
        return {split: record(names, vectors=values) for split, names, values in pairs}

    datasets.check_records(splits(5, 5, 5))  # passes
    with pytest.raises(ValueError, match="vectors must have one size in all splits; got train 5, "):
        datasets.check_records(splits(5, 5, 6))
    with pytest.raises(ValueError, match="got train 5, validation none, test 5"):
        datasets.check_records(splits(5, None, 5))


def test_first_names_only():
    assert records.some("abc") == "a, b, c"
    assert records.some(range(9)) == "0, 1, 2, 3, 4, ..."


def test_lines_of_a_file(tmp_path):
    (tmp_path / "x").write_bytes("\ufeffone\r\ntwo\u2028still two\n\nthree \n \r\n\n".encode())
    lines = text.read_lines(tmp_path / "x")
    assert lines == ["one", "two\u2028still two", "", "three "]
    with pytest.raises(ValueError, match="cannot be read: "):
        text.read_lines(tmp_path)


def test_rows_stay_views_where_they_can():
    array = np.arange(20).reshape(10, 2)
    assert np.shares_memory(records.take_rows(array, range(3, 7)), array)
    np.testing.assert_array_equal(records.take_rows(array, [1, 3]), [[2, 3], [6, 7]])
    np.testing.assert_array_equal(records.take_rows(array, [2, 1]), [[4, 5], [2, 3]])


# scenes.


def test_scenes(tmp_path):
    splits = opened("scenes", None, cache_dir=tmp_path / "cache", limit=3)
    check_layout(splits, {"train": 3, "validation": 3, "test": 3})
    test = splits["test"]
    assert test.pictures.shape == (3, 64, 64, 3)
    assert test.pictures.dtype == np.uint8
    assert test.concepts.dtype == np.float32
    assert set(np.unique(test.concepts)) == {0, 1}
    fits = test.fits()
    assert fits.shape == (test.num_captions, 3)
    assert fits[np.arange(test.num_captions), test.caption_image].all()
    again = opened("scenes", None, cache_dir=tmp_path / "cache", limit=3)["test"]  # from the cache
    assert fingerprint(again) == fingerprint(test)
    assert len(kept_in(tmp_path / "cache")) == 3
    assert fingerprint(
        opened("scenes", None, cache_dir=tmp_path / "cache", limit=3, seed=1)["test"]
    ) != fingerprint(test)


def test_scenes_know_what_fits(tmp_path):
    split = opened("scenes", None, cache_dir=tmp_path, limit=30, seed=2)["validation"]
    drawn, captions = world.make_scenes("validation", 30, seed=2)
    flat = [caption for own in captions for caption in own]
    assert split.captions == [caption.text for caption in flat]
    fits = split.fits()
    np.testing.assert_array_equal(fits, world.fit_matrix(flat, drawn))
    assert fits.sum() > split.num_captions  # some captions fit several pictures


def test_scenes_are_drawn_again(tmp_path):
    split = opened("scenes", None, cache_dir=tmp_path / "cache", limit=2, seed=5)["validation"]
    references = picture_references(split)
    assert references == ["scenes:5:validation:0", "scenes:5:validation:1"]
    for reference, picture in zip(references, split.pictures, strict=True):
        np.testing.assert_array_equal(np.asarray(load_picture(reference)), picture)
    for wrong in ("scenes:5:validation", "scenes:5:nowhere:1", "scenes:5:test:x"):
        with pytest.raises(ValueError, match="expected scenes:<seed>:<split>:<index>"):
            load_picture(wrong)


# Fingerprints.


def test_fingerprint_sees_every_change(tmp_path):
    split = opened("precomp", precomp(tmp_path))["test"]
    kept = fingerprint(split)
    assert len(kept) == 64
    assert fingerprint(dataclasses.replace(split, vectors=np.array(split.vectors))) == kept
    assert fingerprint(dataclasses.replace(split, origin="elsewhere")) == kept
    vectors = np.array(split.vectors)
    vectors[2, 5] += 1
    rows = split.caption_image.copy()
    rows[4] = 1
    for changed in (
        {"vectors": vectors},
        {"vectors": None},
        {"caption_image": rows},
        {"captions": ["other", *split.captions[1:]]},
        {"captions": [split.captions[0] + split.captions[1], "", *split.captions[2:]]},
        {"image_names": ["other", *split.image_names[1:]]},
        {"concepts": np.ones((3, 2), np.float32)},
    ):
        assert fingerprint(dataclasses.replace(split, **changed)) != kept


def test_fingerprint_of_picture_files(tmp_path):
    here = opened("flickr8k", flickr(tmp_path / "here", pictures=True))["test"]
    there = opened("flickr8k", flickr(tmp_path / "there", pictures=True))["test"]
    assert fingerprint(here) == fingerprint(there)
    Image.new("RGB", (40, 40)).save(there.pictures[1])
    assert fingerprint(here) != fingerprint(there)


def test_fingerprint_of_picture_files_is_of_all_their_bytes(tmp_path):
    split = opened("flickr8k", flickr(tmp_path, pictures=True))["test"]
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8)
    picture = Path(split.pictures[1])
    Image.fromarray(noise).save(picture, format="PNG")  # of more bytes than pieces have
    found = {fingerprint(split): contents_of(split)}
    whole = picture.read_bytes()
    for at in (0, len(whole) // 3, len(whole) - 1):
        picture.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found[fingerprint(split)] = contents_of(split)
    assert len(found) == 4
    assert [len({own[row] for own in found.values()}) for row in range(3)] == [1, 4, 1]


# Pictures.


def test_pictures_of_every_mode(tmp_path):
    grey = np.full((2, 2), 0x8080, np.uint16)
    floats = np.array([[0.0, 0.5], [1.0, 1.0]], np.float32)
    files = {
        "grey.png": (Image.new("L", (2, 2), 128), (128, 128, 128)),
        "bits.png": (Image.new("1", (2, 2), 1), (255, 255, 255)),
        "deep.png": (Image.fromarray(grey), (128, 128, 128)),
        "wide.tif": (Image.fromarray(grey.astype(np.int32)), (128, 128, 128)),
        "floats.tif": (Image.fromarray(floats), (0, 0, 0)),
        "palette.gif": (Image.new("RGB", (2, 2), (255, 0, 0)).convert("P"), (255, 0, 0)),
        "clear.png": (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), (255, 255, 255)),
        "half.png": (Image.new("LA", (2, 2), (0, 51)), (204, 204, 204)),
        "print.tif": (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), (255, 0, 0)),
    }
    for name, (picture, colour) in files.items():
        picture.save(tmp_path / name)
        loaded = load_picture(name, tmp_path)
        assert loaded.mode == "RGB"
        assert loaded.getpixel((0, 0)) == colour, name


def test_orientation_is_applied(tmp_path):
    picture = Image.new("RGB", (6, 2))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was held upright
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert load_picture("turned.jpg", tmp_path).size == (2, 6)


def test_damaged_pictures_are_named(tmp_path):
    Image.effect_noise((50, 50), 90).save(tmp_path / "half.jpg")
    whole = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    for name, says in (
        ("half.jpg", r"half\.jpg is damaged or no picture \(.*truncated"),
        ("empty.jpg", r"empty\.jpg is empty \(0 bytes\)"),
        ("text.jpg", r"text\.jpg is damaged or no picture"),
        ("gone.jpg", r"gone\.jpg does not exist; was the data moved"),
    ):
        with pytest.raises(ValueError, match=says):
            load_picture(name, tmp_path)
