"""NUS-WIDE-Lite: opened, cached, then broken."""

import numpy as np
import pytest
from tiny_data import check_layout, nus, opened, put, put_picture, refused, replace

from data.datasets import fingerprint
from data.formats import nuswide
from data.pictures import load_picture, picture_references

FEATURES = "images/image_features.csv"
LIST = "image list/Test_imageOutPutFileList.txt"
TRUTH = "NUS-WIDE-Lite_groundtruth/Lite_Labels_sky_Test.txt"


def test_nuswide(tmp_path):
    nus(tmp_path)
    splits = opened("nuswide", tmp_path)
    check_layout(splits, {"train": 18, "validation": 2, "test": 3})
    train, test = splits["train"], splits["test"]
    assert test.image_names == ["0004_200.jpg", "0005_201.jpg", "0006_202.jpg"]
    assert test.captions == ["tags of 200 é", "tags of 201 é", "tags of 202 é"]
    assert test.vectors.tolist() == [[k, k + 0.25, k + 0.5, k + 0.75] for k in (200, 201, 202)]
    assert isinstance(test.vectors, np.memmap)
    assert test.concepts.tolist() == [[1, 0], [0, 1], [1, 0]]  # animal, sky
    assert train.vectors[:, 0].astype(int).tolist() == [
        int(name[5:8]) for name in train.image_names
    ]
    seeded = opened("nuswide", tmp_path / "NUS-WIDE-Lite", seed=3)
    assert seeded["validation"].image_names != splits["validation"].image_names
    assert fingerprint(seeded["test"]) == fingerprint(test)


def test_the_second_part_has_a_list_of_its_own(tmp_path):
    folder = nus(tmp_path)
    refused("nuswide", tmp_path, nuswide_test="subset", says="no list of some test images")
    put(folder / "image list/NUS_Test_Subset.txt", [r"cat1\0006_202.jpg", "0004_200.jpg"], "\r\n")
    whole, some = (opened("nuswide", tmp_path, nuswide_test=n) for n in ("all", "subset"))
    assert some["test"].image_names == ["0004_200.jpg", "0006_202.jpg"]
    assert some["test"].captions == ["tags of 200 é", "tags of 202 é"]
    assert some["test"].caption_image.tolist() == [0, 1]
    assert some["test"].vectors.tolist() == whole["test"].vectors[[0, 2]].tolist()
    assert some["test"].concepts.tolist() == [[1, 0], [1, 0]]
    assert fingerprint(some["train"]) == fingerprint(whole["train"])
    put(folder / "image list/NUS_Test_Subset.txt", ["0004_200.jpg", "0009_9.jpg"])
    says = r"NUS_Test_Subset\.txt: 1 of 2 .* 0009_9\.jpg"
    refused("nuswide", tmp_path, nuswide_test="subset", says=says)


def test_nuswide_is_parsed_once(tmp_path, monkeypatch):
    nus(tmp_path)
    first = opened("nuswide", tmp_path)
    parse = nuswide.parse_features
    monkeypatch.setattr(nuswide, "parse_features", lambda *_: pytest.fail("parsed again"))
    for name, split in opened("nuswide", tmp_path).items():
        assert fingerprint(split) == fingerprint(first[name])
    monkeypatch.setattr(nuswide, "parse_features", parse)
    nus(tmp_path, features=3)  # a new file is noticed
    assert opened("nuswide", tmp_path)["test"].vectors.shape == (3, 3)


def test_nuswide_pictures(tmp_path):
    folder = nus(tmp_path)
    assert opened("nuswide", tmp_path)["test"].pictures is None
    put_picture(folder / "images" / "cat2" / "0004_200.jpg")
    references = picture_references(opened("nuswide", tmp_path)["test"])
    assert references[0] == "NUS-WIDE-Lite/images/cat2/0004_200.jpg"
    assert load_picture(references[0], tmp_path).size == (4, 3)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (FEATURES, "0004_200.jpg", "x.jpg", r"no row for 1 of 23 .* 0004_200\.jpg"),
        (FEATURES, " 201.25 ", " x1.25 ", r"line 4: expected numbers .* 'x1\.25'"),
        (FEATURES, " 201.25 ", " nan ", r"csv, line 4: NaN or infinity at number 2"),
        (FEATURES, " 201.25 ", " ", r"line 4: 3 numbers, the lines before have 4"),
        ("All_Tags.txt", "201      tags of 201 é", "201      ", r"without captions: 0005_201\.jpg"),
        (LIST, "0005_", "", r"List\.txt, line 2: expected cate"),
        (LIST, "0005_201", "0004_200", r"more than once: 0004_"),
        (TRUTH, "0\n", "", r"2 lines; expected 3"),
        (TRUTH, "1", "7", r"line 2: expected 0 or 1"),
    ],
)
def test_nuswide_broken(tmp_path, name, old, new, message):
    replace(nus(tmp_path) / name, old, new)
    refused("nuswide", tmp_path, says=message)
    left = list((tmp_path / "cache").glob(".*")) if (tmp_path / "cache").exists() else []
    assert left == []  # nothing half-written


def test_nuswide_missing_files(tmp_path):
    folder = nus(tmp_path)
    (folder / "NUS-WIDE-Lite_groundtruth" / "Lite_Labels_sky_Test.txt").unlink()
    refused("nuswide", tmp_path, says="one of the two is missing for Lite_Labels_sky")
    (folder / "images" / "image_features.csv").unlink()
    nus_files = (folder / "NUS-WIDE-Lite_groundtruth").glob("*.txt")
    for path in nus_files:
        path.unlink()
    refused("nuswide", tmp_path, says="of each concept; it holds nothing")
    (folder / "All_Tags.txt").unlink()
    refused("nuswide", tmp_path, says=r"no file of tags .* expected All_Tags\.txt; it holds NUS-")
