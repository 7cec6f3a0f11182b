"""A student's own table: opened, then broken."""

import json

import numpy as np
import pytest
from tiny_data import check_layout, opened, put, put_picture, refused, replace

from data.datasets import fingerprint
from data.pictures import load_picture, picture_references


def table(folder, text, pictures=("a.jpg", "b.jpg", "c d.jpg")):
    put(folder / "data.csv", text)
    for name in pictures:
        put_picture(folder / name)
    return folder


TABLE = """image,caption,split,concepts
a.jpg,"one, two",train,cat; dog
b.jpg,three,validation,
c d.jpg,five,test,sky
a.jpg,four,train,dog;sky
"""


def test_csv_of_pictures(tmp_path):
    splits = opened("csv", table(tmp_path, TABLE))
    check_layout(splits, {"train": 1, "validation": 1, "test": 1})
    assert splits["train"].captions == ["one, two", "four"]
    assert splits["train"].concepts.tolist() == [[1, 1, 1]]  # cat, dog, sky
    assert splits["validation"].concepts.tolist() == [[0, 0, 0]]
    assert splits["test"].concepts.tolist() == [[0, 0, 1]]
    assert picture_references(splits["test"]) == ["c d.jpg"]
    assert load_picture("c d.jpg", tmp_path / "data.csv").size == (4, 3)


def test_jsonl_says_the_same(tmp_path):
    by_csv = opened("csv", table(tmp_path, TABLE) / "data.csv")
    lines = [
        {"image": "a.jpg", "caption": "one, two", "split": "train", "concepts": ["cat", "dog"]},
        {"image": "b.jpg", "caption": "three", "split": "val"},
        {"image": "c d.jpg", "caption": "five", "split": "test", "concepts": "sky"},
        {"image": "a.jpg", "caption": "four", "split": "train", "concepts": "dog;sky"},
    ]
    put(tmp_path / "data.jsonl", [json.dumps(line) for line in lines])
    for split, value in opened("csv", tmp_path / "data.jsonl").items():
        assert fingerprint(value) == fingerprint(by_csv[split])
    refused("csv", tmp_path, says=r"2 files in .* data\.csv, data\.jsonl; leave one")


def test_csv_of_feature_rows(tmp_path):
    np.save(tmp_path / "vectors.npy", np.arange(8, dtype=np.float32).reshape(4, 2))
    put(tmp_path / "t.csv", "image,caption,split\n3,x,train\n0,y,dev\n2,z,test\n1,w,train\n")
    splits = opened("csv", tmp_path)
    check_layout(splits, {"train": 2, "validation": 1, "test": 1})
    assert splits["train"].vectors.tolist() == [[6, 7], [2, 3]]
    assert splits["test"].vectors.tolist() == [[4, 5]]
    assert splits["train"].pictures is None
    np.save(tmp_path / "t.npy", np.zeros((4, 3), np.float16))  # the table's own name comes first
    assert opened("csv", tmp_path)["train"].vectors.shape == (2, 3)
    replace(tmp_path / "t.csv", "2,z", "4,z")
    refused("csv", tmp_path, says=r"line 4: image 4 is no row of t\.npy, .* rows 0 to 3")
    (tmp_path / "t.npy").unlink()
    (tmp_path / "vectors.npy").unlink()
    refused("csv", tmp_path, says=r"no features that t\.csv numbers in .* it holds t\.csv")


def test_csv_splits_itself_by_the_seed(tmp_path):
    np.save(tmp_path / "features.npy", np.arange(30, dtype=np.float32)[:, None])
    put(tmp_path / "t.csv", ["image,caption", *[f"{row},caption {row}" for row in range(30)]])
    splits = opened("csv", tmp_path)
    check_layout(splits, {"train": 26, "validation": 3, "test": 1})
    assert splits["train"].concepts is None
    for split in splits.values():
        assert split.vectors[:, 0].astype(int).astype(str).tolist() == split.image_names
    same, other = opened("csv", tmp_path), opened("csv", tmp_path, seed=1)
    assert same["test"].image_names == splits["test"].image_names
    assert other["test"].image_names != splits["test"].image_names


def test_csv_draws_validation_from_train(tmp_path):
    np.save(tmp_path / "features.npy", np.arange(30, dtype=np.float32)[:, None])
    lines = [f"{row},caption,{'train' if row < 20 else 'test'}" for row in range(30)]
    put(tmp_path / "t.csv", ["image,caption,split", *lines])
    splits = opened("csv", tmp_path)
    check_layout(splits, {"train": 18, "validation": 2, "test": 10})  # a tenth of the 20
    assert all(int(name) < 20 for name in splits["validation"].image_names)
    put(tmp_path / "t.csv", ["image,caption,split", *lines[:20]])
    refused("csv", tmp_path, says="no line has split test; add some, or leave")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"one, two"', "one, two", r"line 2: 5 columns, the header has 4; put .* double quotes"),
        ("five,test,sky", "five,test", r"line 4: 3 columns"),
        ("image,caption", "picture;text", r"line 1: expected the header .* got picture;text,split"),
        ("three", " ", r"line 3: empty caption"),
        ("b.jpg", "", r"line 3: empty image"),
        ("b.jpg", "e.jpg", r"line 3: captions without images: no picture file e\.jpg"),
        ("validation", "tset", r"line 3: split 'tset' is none of train"),
        ("a.jpg,four,train", "./a.jpg,four,test", r"train and test share 1 images: a\.jpg"),
        (TABLE, "", r"line 1: expected the header .* got nothing"),
        (TABLE, "image,caption\n", r"holds no captions"),
    ],
)
def test_csv_broken(tmp_path, old, new, message):
    table(tmp_path, TABLE)
    replace(tmp_path / "data.csv", old, new)
    refused("csv", tmp_path, says=message)


def test_jsonl_broken(tmp_path):
    good = '{"image": 0, "caption": "x", "split": "train"}'
    np.save(tmp_path / "features.npy", np.zeros((1, 2), np.float32))
    for line, message in (
        ("{", r"line 2: not valid JSON"),
        ("[1]", r"line 2: expected an object with image and caption"),
        ('{"image": 0}', r"line 2: expected an object with image and caption"),
        ('{"image": 0, "caption": "y"}', r"line 2: no split, though other lines have one"),
    ):
        put(tmp_path / "t.jsonl", [good, line])
        refused("csv", tmp_path, says=message)
