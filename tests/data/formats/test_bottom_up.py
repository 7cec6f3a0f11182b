"""Bottom-up features: both layouts, lines cut off, wrong sizes, memory, as vectors of data."""

import base64
import logging
import tracemalloc
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from tiny_data import coco, kept_in, opened

from data import datasets
from data.formats import bottom_up, records

R, F = 3, 4


def boxes_of(count, seed=0, shape=(R, F)):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def line(name, values, number=None):
    number = len(values) if number is None else number
    place = base64.b64encode(np.zeros((len(values), 4), "<f4").tobytes()).decode()
    features = base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
    return f"{name}\t640\t480\t{number}\t{place}\t{features}\n"


@pytest.fixture
def tsv(tmp_path):
    values = boxes_of(5)
    path = tmp_path / "boxes.tsv"
    names = zip((42, 7, 391895, 9, 1), values, strict=True)
    path.write_text("".join(line(name, own) for name, own in names))
    return path, values


def test_a_tsv_is_read_once_into_a_memory_map(tsv, tmp_path, monkeypatch):
    path, values = tsv
    boxes = bottom_up.open_boxes(path, tmp_path / "cache")
    assert isinstance(boxes.array, np.memmap) and boxes.array.dtype == np.float32
    assert np.array_equal(boxes.array, values)
    assert boxes.rows == {"42": 0, "7": 1, "391895": 2, "9": 3, "1": 4}

    def refuse(*_):
        raise AssertionError("read twice")

    monkeypatch.setattr(bottom_up, "_read_tsv", refuse)
    assert np.array_equal(bottom_up.open_boxes(path, tmp_path / "cache").array, values)
    path.write_text(path.read_text() + line(3, values[0]))  # changed: read anew
    with pytest.raises(AssertionError, match="read twice"):
        bottom_up.open_boxes(path, tmp_path / "cache")


def test_hdf5_gives_the_same(tsv, tmp_path):
    path, values = tsv
    with h5py.File(tmp_path / "boxes.hdf5", "w") as file:
        for name, own in zip(("42", "7", "391895", "9", "1"), values, strict=True):
            file[name] = own
    first = bottom_up.open_boxes(path, tmp_path / "a")
    second = bottom_up.open_boxes(tmp_path / "boxes.hdf5", tmp_path / "b")
    assert set(first.rows) == set(second.rows)
    for name, row in first.rows.items():
        assert np.array_equal(first.array[row], second.array[second.rows[name]])


def test_several_files_are_one_array(tsv, tmp_path):
    path, values = tsv
    more = boxes_of(2, 1)
    other = tmp_path / "more.tsv"
    other.write_text(line(100, more[0]) + "\r\n" + line(101, more[1]).replace("\n", "\r\n"))
    boxes = bottom_up.open_boxes(f"{path},{other}", tmp_path)
    assert np.array_equal(boxes.array, np.concatenate([values, more]))
    assert boxes.rows["101"] == 6


@pytest.mark.parametrize("kept", [5, 30, -1, -2, -9, -33, -40])
def test_a_last_line_that_is_cut_off_is_named_and_left_out(tsv, tmp_path, caplog, kept):
    path, values = tsv
    last = line(12345678901, boxes_of(1)[0])
    with open(path, "a") as file:
        file.write(last[:kept])
    with caplog.at_level(logging.WARNING):
        boxes = bottom_up.open_boxes(path, tmp_path)
    if kept == -1:  # the line end alone is missing
        assert len(boxes.array) == 6 and not caplog.records
    else:
        assert np.array_equal(boxes.array, values)
        name = last[:kept].split("\t")[0]
        assert f"boxes.tsv, line 6, image {name} is cut off" in caplog.text


def other_shape(text):
    return text + line(5, boxes_of(1, shape=(R + 1, F))[0])


def wide(text):
    return text + line(5, boxes_of(1, shape=(R, F + 1))[0])


def cut_within(text):
    lines = text.splitlines(keepends=True)
    return "".join([lines[0], lines[1][:40] + "\n", *lines[2:]])


def not_finite(text):
    values = boxes_of(1)[0]
    values[1, 2] = np.nan
    return text + line(5, values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_shape, "line 6, image 5 has 4 x 4 numbers, those before it 3 x 4 numbers"),
        (wide, "line 6, image 5 has 3 x 5 numbers"),
        (cut_within, "line 2, image 7: "),
        (not_finite, "line 6, image 5 holds NaN or infinity"),
        (lambda text: text + line(42, boxes_of(1)[0]), "image 42 stands in boxes.tsv already"),
        (lambda text: text + line(5, boxes_of(1)[0], 5), "48 bytes of features are no whole rows"),
        (lambda text: text.replace("\t640", "\t640\t0"), "line 1, image 42: expected the columns"),
        (lambda text: text.replace("\t", ","), "line 1, image .*: 1 columns"),
        (lambda text: "", "no boxes of any image"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(tsv, tmp_path, change, said):
    path, _ = tsv
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=said):
        bottom_up.open_boxes(path, tmp_path / "cache")
    assert kept_in(tmp_path / "cache") == []  # nothing half-written


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.tsv: there is no such file"):
        bottom_up.open_boxes(tmp_path / "nowhere.tsv", tmp_path)
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ValueError, match=r"a name ending in \.tsv, \.h5, \.hdf5"):
        bottom_up.open_boxes(tmp_path / "a.csv", tmp_path)
    (tmp_path / "a.h5").write_text("no HDF5")
    with pytest.raises(ValueError, match=r"a\.h5 is not a whole HDF5 file"):
        bottom_up.open_boxes(tmp_path / "a.h5", tmp_path)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["5"] = np.zeros(7)
    with pytest.raises(ValueError, match=r"b\.h5, image 5 is \(7,\); expected"):
        bottom_up.open_boxes(tmp_path / "b.h5", tmp_path)


def test_memory_does_not_grow_with_the_file(tmp_path):
    path, one = tmp_path / "large.tsv", boxes_of(1, shape=(36, 256))[0]
    with open(path, "w") as file:
        file.writelines(line(name, one) for name in range(400))
    tracemalloc.start()
    boxes = bottom_up.open_boxes(path, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert boxes.array.nbytes == 400 * one.nbytes
    assert peak < boxes.array.nbytes / 10


def test_as_vectors_of_a_data_set(tmp_path, monkeypatch):
    coco(tmp_path / "captions_val2017.json", range(20), "COCO_val2017")
    values = boxes_of(25)
    path = tmp_path / "boxes.tsv"
    order = np.random.default_rng(0).permutation(25)
    path.write_text("".join(line(name, values[name]) for name in order))
    settings = SimpleNamespace(
        data="coco", data_dir=str(tmp_path / "captions_val2017.json"), cache_dir=tmp_path / "c",
        validation_images=2, data_seed=0, limit=0, features="bottom_up", features_file=str(path),
        coco_split="whole", nuswide_test="all",
    )  # fmt: skip
    for large in (1 << 30, 0):  # copied, or read where they are indexed
        monkeypatch.setattr(records, "LARGE_BYTES", large)
        splits = datasets.open_run_data(settings)
        for split in splits.values():
            assert split.vectors is not None
            assert split.vectors.shape == (split.num_images, R, F)
            ids = [int(records.image_id(name)) for name in split.image_names]
            assert np.array_equal(split.vectors[np.arange(len(ids))], values[ids])
    before = datasets.fingerprint(splits["test"])
    monkeypatch.setattr(records, "LARGE_BYTES", 1 << 30)
    assert datasets.fingerprint(datasets.open_run_data(settings)["test"]) == before
    settings.features_file = None
    with pytest.raises(ValueError, match="give --features_file FILE"):
        datasets.open_run_data(settings)


def test_images_without_boxes_are_counted_and_named(tsv, tmp_path):
    coco(tmp_path / "captions_val2017.json", range(20), "COCO_val2017")
    splits = opened("coco", tmp_path / "captions_val2017.json", tmp_path)
    settings = SimpleNamespace(features_file=str(tsv[0]), cache_dir=tmp_path)
    with pytest.raises(
        ValueError, match=r"lacks 13 of 15 images of the train split: COCO_val2017_0"
    ):
        bottom_up.attach(splits, settings)
