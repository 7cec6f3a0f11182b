"""Boxes as their authors hand them out: adaptive HDF5, 36 alike, columns of a TSV in any order."""

import base64
import itertools
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from tiny_data import karpathy, opened, put, replace

from data.formats import bottom_up

R, F = 3, 5
RNG = np.random.default_rng(0)
BOUNDS = [[0, 2], [2, 6], [6, 7]]
FEATURES = RNG.normal(size=(7, F)).astype(np.float32)


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


@pytest.mark.parametrize(
    "ids", [[42, 7, 391895], [b"42", b"7", b"391895"], ["000042.jpg", "7.jpg", "391895.jpg"]]
)
def test_adaptive_boxes_are_filled_up_with_zeros(tmp_path, ids):
    path = hdf5(
        tmp_path / "train.hdf5",
        image_features=FEATURES, pos_boxes=np.array(BOUNDS, np.int32), image_id=ids,
        image_bb=np.zeros((7, 4)), spatial_features=np.zeros((7, 6)),
    )  # fmt: skip
    boxes = bottom_up.open_boxes(path, tmp_path / "cache")
    assert boxes.rows == {"42": 0, "7": 1, "391895": 2} and boxes.array.shape == (3, 4, F)
    for row, (start, end) in enumerate(BOUNDS):
        assert np.array_equal(boxes.array[row, : end - start], FEATURES[start:end])
        assert not boxes.array[row, end - start :].any()


def test_several_adaptive_files_have_one_size(tmp_path):
    first = hdf5(tmp_path / "a.hdf5", image_features=FEATURES, pos_boxes=BOUNDS, image_id=[1, 2, 3])
    second = hdf5(
        tmp_path / "b.hdf5", image_features=FEATURES, pos_boxes=[[0, 6], [6, 7]], image_id=[4, 5]
    )
    boxes = bottom_up.open_boxes(f"{first},{second}", tmp_path / "cache")
    assert boxes.array.shape == (5, 6, F)
    assert np.array_equal(boxes.array[boxes.rows["4"]], FEATURES[:6])


def test_boxes_that_are_all_alike(tmp_path):
    values = RNG.normal(size=(4, 36, F)).astype(np.float32)
    path = hdf5(tmp_path / "train36.hdf5", image_features=values, image_bb=np.zeros((4, 36, 4)))
    said = r"train36\.hdf5 holds image_features of 4 images, but not of which: .* train36_ids\.txt"
    with pytest.raises(ValueError, match=said):
        bottom_up.open_boxes(path, tmp_path / "cache")
    put(tmp_path / "train36_ids.txt", ["42", "7", "9", "COCO_val2014_000000391895.jpg"])
    boxes = bottom_up.open_boxes(path, tmp_path / "cache")
    assert list(boxes.rows) == ["42", "7", "9", "391895"]
    assert np.array_equal(boxes.array, values)
    put(tmp_path / "train36_ids.txt", ["42", "7"])
    with pytest.raises(ValueError, match="2 ids for 4 images; expected one for each"):
        bottom_up.open_boxes(path, tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pos_boxes": [[0, 2], [2, 2], [6, 7]]}, r"pos_boxes row 1 is \[2, 2\]; expected first <"),
        ({"pos_boxes": [[0, 2], [2, 6], [6, 8]]}, "pos_boxes row 2 is .* last of 7 boxes"),
        ({"pos_boxes": [[-1, 2]]}, "pos_boxes row 0 is"),
        ({"pos_boxes": [0.5, 1]}, r"pos_boxes is \(2,\) float64; expected \(N, 2\)"),
        ({"image_id": [1, 2]}, "2 ids for 3 images"),
        ({"image_id": [[1, 2, 3]]}, r"image_id is \(1, 3\) int64; expected \(N,\) ids"),
        ({"image_id": [1, 2, 2]}, "image 2 stands in train.hdf5 already"),
        ({"image_features": FEATURES[0]}, r"pos_boxes row 1 is .* last of 5 boxes"),
        ({"image_features": np.full((7, F), np.nan)}, "image 1 holds NaN or infinity"),
        ({"image_features": np.array([b"a"] * 7)}, "image_features is"),
    ],
)
def test_adaptive_boxes_that_do_not_fit(tmp_path, change, said):
    arrays = {"image_features": FEATURES, "pos_boxes": BOUNDS, "image_id": [1, 2, 3]}
    path = hdf5(tmp_path / "train.hdf5", **(arrays | change))
    with pytest.raises(ValueError, match=said):
        bottom_up.open_boxes(path, tmp_path / "cache")


def test_nothing_is_read_from_outside_the_file(tmp_path):
    other = hdf5(tmp_path / "other.h5", x=FEATURES)
    (tmp_path / "raw.bin").write_bytes(FEATURES.tobytes())

    def links(file, kind):
        if kind == "outside":
            file["7"] = h5py.ExternalLink(other, "/x")
        elif kind == "circle":
            file["7"] = h5py.SoftLink("/7")
        elif kind == "raw":
            file.create_dataset(
                "7", (7, F), "f4", external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
            )
        elif kind == "virtual":
            layout = h5py.VirtualLayout((7, F), "f4")
            layout[:] = h5py.VirtualSource(other, "x", (7, F))
            file.create_virtual_dataset("7", layout)
        elif kind == "huge":
            file.create_dataset("7", (10**6, 10**6), "f4", chunks=(1, 1000))
        else:
            file.create_group("7")

    for kind, said in (
        ("outside", "'7' is a link: copy what it names into the file"),
        ("circle", "'7' is a link"),
        ("raw", "'7' lies in another file"),
        ("virtual", "'7' lies in another file"),
        ("huge", "'7' has the shape .* and no data"),
        ("group", "'7' is a group; expected a data set"),
    ):
        with h5py.File(tmp_path / f"{kind}.h5", "w") as file:
            links(file, kind)
        with pytest.raises(ValueError, match=said):
            bottom_up.open_boxes(tmp_path / f"{kind}.h5", tmp_path / "cache")


# Columns by their widths.


def columns(name, values):
    def text(array):
        return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()

    return [str(name), "640", "480", str(len(values)), text(np.zeros((len(values), 4))),
            text(values)]  # fmt: skip


@pytest.mark.parametrize("order", list(itertools.permutations(range(1, 6)))[::7])
def test_columns_of_a_tsv_in_another_order(tmp_path, order):
    values = RNG.normal(size=(4, R, F)).astype(np.float32)
    lines = [columns(name, own) for name, own in zip((42, 7, 9, 11), values, strict=True)]
    path = tmp_path / "boxes.tsv"
    put(path, ["\t".join([line[0], *(line[place] for place in order)]) for line in lines])
    boxes = bottom_up.open_boxes(path, tmp_path / "cache")
    assert np.array_equal(boxes.array, values)


def test_features_as_wide_as_boxes_keep_the_usual_order(tmp_path):
    values = RNG.normal(size=(R, 4)).astype(np.float32)
    put(tmp_path / "boxes.tsv", "\t".join(columns(5, values)))
    assert np.array_equal(bottom_up.open_boxes(tmp_path / "boxes.tsv", tmp_path).array[0], values)


def test_boxes_that_are_no_corners_are_refused(tmp_path):
    line = columns(5, RNG.normal(size=(R, F)))
    put(tmp_path / "boxes.tsv", ["\t".join(line), "\t".join([*line[:4], line[5], line[5]])])
    with pytest.raises(ValueError, match="line 2, image 5: 60 bytes of boxes are not four numbers"):
        bottom_up.open_boxes(tmp_path / "boxes.tsv", tmp_path / "cache")


def test_two_names_of_one_image_are_found(tmp_path, caplog):
    """1.jpg and 01.jpg are both image 1 of the boxes."""
    values = RNG.normal(size=(9, R, F)).astype(np.float32)
    put(tmp_path / "boxes.tsv", ["\t".join(columns(n, own)) for n, own in enumerate(values)])
    settings = SimpleNamespace(features_file=str(tmp_path / "boxes.tsv"), cache_dir=tmp_path / "c")
    path = tmp_path / "dataset_tiny.json"
    for new, said in (("01.jpg", "0"), ("03.jpg", "train image 3")):
        karpathy(path)
        replace(path, '"7.jpg"' if said != "0" else '"0.jpg"', f'"{new}"')
        splits = opened("karpathy", tmp_path)
        if said == "0":
            assert bottom_up.attach(splits, settings)["train"].vectors.shape == (4, R, F)
            assert "train split: 01.jpg and 1.jpg have the same boxes" in caplog.text
        else:
            with pytest.raises(ValueError, match=r"train image 3\.jpg and test image 03\.jpg have"):
                bottom_up.attach(splits, settings)
