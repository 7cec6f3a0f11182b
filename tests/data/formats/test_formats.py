"""Readers of caption files: each format opened, then broken in the ways that users break it."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tiny_settings
from conftest import SHARED
from tiny_data import (
    captions_of,
    check_layout,
    coco,
    flickr,
    karpathy,
    opened,
    precomp,
    put,
    put_picture,
    refused,
    replace,
)

from data.datasets import fingerprint, open_run_data
from data.formats import coco as coco_json
from data.formats import records
from data.pictures import load_picture, picture_references

# Flickr8k and Flickr30k.


def test_flickr8k(tmp_path):
    splits = opened("flickr8k", flickr(tmp_path))
    check_layout(splits)
    test = splits["test"]
    assert test.image_names == ["xt0.jpg", "xt1.jpg", "xt2.jpg"]
    assert captions_of(test, 1) == ["xt1.jpg caption 0 .", "xt1.jpg caption 1 ."]
    assert test.pictures is None
    assert picture_references(test) == ["", "", ""]
    with pytest.raises(ValueError, match="came without pictures"):
        load_picture("")


def test_flickr30k_names_without_suffix(tmp_path):
    flickr(tmp_path)
    (tmp_path / "Flickr8k.token.txt").rename(tmp_path / "results_20130124.token")
    for old, new in (("train", "train"), ("dev", "val"), ("test", "test")):
        path = tmp_path / f"Flickr_8k.{old}Images.txt"
        put(tmp_path / f"{new}.txt", path.read_text().replace(".jpg", ""))
        path.unlink()
    splits = opened("flickr30k", tmp_path)
    check_layout(splits)
    assert splits["validation"].image_names == ["v0.jpg", "v1.jpg"]


def test_flickr_pictures(tmp_path):
    splits = opened("flickr8k", flickr(tmp_path / "data", pictures=True))
    check_layout(splits)
    references = picture_references(splits["test"])
    assert references == ["images/xt0.jpg", "images/xt1.jpg", "images/xt2.jpg"]
    assert load_picture(references[0], tmp_path / "data").size == (4, 3)
    assert load_picture(splits["test"].pictures[0]).size == (4, 3)
    (tmp_path / "data" / "images" / "t2.jpg").unlink()
    refused("flickr8k", tmp_path / "data", says=r"1 of 4 images have no pic.*: t2\.jpg")


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    plain = opened("flickr8k", flickr(tmp_path / "plain"))
    windows = flickr(tmp_path / "windows", newline="\r\n")
    for path in windows.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")
    for split, value in opened("flickr8k", windows).items():
        assert fingerprint(value) == fingerprint(plain[split])


def test_flickr_broken(tmp_path):
    token = tmp_path / "Flickr8k.token.txt"

    for old, new, says in (
        ("t1.jpg#0\t", "t1.jpg 0 ", r"line 2: expected name\.jpg#0, a tab.*got 't1\.jpg 0"),
        ("t0.jpg caption 0 .", " ", r"token\.txt, line 1: expected name"),
        ("t1.jpg#1", "t1.jpg#0", r"line 3: caption t1\.jpg#0 stands there twice"),
        ("t1.jpg#0\tt1.jpg caption 0 .\n", "", r"t1\.jpg#0 is missing, though.* was a line lost"),
        ("t0.jpg#0\tt0.jpg caption 0 .\n", "", r"split train has 1 images without capt.*: t0\.jpg"),
    ):
        flickr(tmp_path)
        replace(token, old, new)
        refused("flickr8k", tmp_path, says=says)
    flickr(tmp_path)
    token.write_bytes(token.read_bytes().replace(b"t1.jpg caption 1", b"caf\xe9"))
    refused("flickr8k", tmp_path, says=r"token\.txt, line 3: byte 0xe9 is not UTF-8; save")
    flickr(tmp_path)
    replace(tmp_path / "Flickr_8k.testImages.txt", "xt1.jpg", "t1.jpg")
    refused("flickr8k", tmp_path, says=r"train and test share 1 images: t1\.jpg")
    (tmp_path / "Flickr_8k.devImages.txt").unlink()
    refused("flickr8k", tmp_path, says=r"no list of validation images.*devImages\.txt or val_im")
    put(tmp_path / "results.token", "")
    refused("flickr8k", tmp_path, says=r"2 files in .* could be the file of captions: Flickr8k")


def test_flickr_warns_of_images_in_no_list(tmp_path, caplog):
    flickr(tmp_path)
    put(tmp_path / "Flickr_8k.trainImages.txt", ["t0.jpg", "t1.jpg", "t2.jpg"])
    with caplog.at_level(logging.WARNING):
        splits = opened("flickr8k", tmp_path)
    assert splits["train"].num_images == 3
    assert "1 images have captions" in caplog.text
    assert "left out: t3.jpg" in caplog.text


def test_flickr_warns_of_a_lost_last_line(tmp_path, caplog):
    flickr(tmp_path)
    lines = [f"{name}#{k}\tcaption" for name in ("t0.jpg", "t1.jpg", "t2.jpg") for k in range(5)]
    lines += [
        f"{name}.jpg#{k}\tcaption" for name in ["v0", "v1", "xt0", "xt1", "xt2"] for k in range(5)
    ]
    put(tmp_path / "Flickr8k.token.txt", [*lines, *[f"t3.jpg#{k}\tcaption" for k in range(4)]])
    with caplog.at_level(logging.WARNING):
        opened("flickr8k", tmp_path)
    assert "1 of 9 images have fewer than the usual 5 captions" in caplog.text
    assert "t3.jpg" in caplog.text


def test_limit_keeps_the_first(tmp_path):
    whole = opened("flickr8k", flickr(tmp_path, pictures=True))["train"]
    first = opened("flickr8k", tmp_path, limit=2)["train"]
    assert first.image_names == whole.image_names[:2]
    assert first.pictures == whole.pictures[:2]
    assert first.captions == whole.captions[:3]
    assert first.caption_image.tolist() == [0, 1, 1]


# COCO.


def test_coco_one_file(tmp_path):
    coco(tmp_path / "captions_val2017.json", range(20))
    splits = opened("coco", tmp_path)
    check_layout(splits, {"train": 15, "validation": 1, "test": 4})
    names = [name for split in splits.values() for name in split.image_names]
    assert sorted(names) == [f"COCO_{i:06d}.jpg" for i in range(20)]
    two = splits["train"].image_names.index("COCO_000002.jpg")
    assert captions_of(splits["train"], two) == [f"caption {k} of 2" for k in range(7)]
    by_file = opened("coco", tmp_path / "captions_val2017.json")
    assert fingerprint(by_file["test"]) == fingerprint(splits["test"])


def test_coco_train_and_val(tmp_path):
    coco(tmp_path / "annotations" / "captions_train2014.json", range(40), tag="train")
    coco(tmp_path / "annotations" / "captions_val2014.json", range(50, 57), tag="val")
    for i in range(50, 57):
        put_picture(tmp_path / "val2014" / f"val_{i:06d}.jpg")
    splits = opened("coco", tmp_path, validation_images=3)
    check_layout(splits, {"train": 37, "validation": 3, "test": 7})
    assert all(name.startswith("train") for name in splits["validation"].image_names)
    assert picture_references(splits["test"])[0] == "val2014/val_000050.jpg"
    other = opened("coco", tmp_path, validation_images=3, seed=1)
    assert other["validation"].image_names != splits["validation"].image_names
    assert other["test"].image_names == splits["test"].image_names
    coco(tmp_path / "annotations" / "captions_train2017.json", range(3))
    refused("coco", tmp_path, says=r"holds captions_train2014\.json, .*train and val of a year")


def test_coco_as_system_4_splits_it(tmp_path, monkeypatch):
    """Ids in falling order in the files; image i has 5 + i % 3 captions."""
    monkeypatch.setattr(coco_json, "COCO_APART", 4)
    folder = tmp_path / "annotations"
    coco(folder / "captions_train2014.json", [2, 30, 31, 4, 50, 60, 70], tag="train")
    val = coco(folder / "captions_val2014.json", [1, 3, 5, 29, 32, 71], tag="val")
    splits = opened("coco", tmp_path, coco_split="5k")

    def ids(name):
        return [int(own[-10:-4]) for own in splits[name].image_names]

    assert ids("train") == [2, 4, 30, 32, 71] and ids("test") == [1, 3, 5, 29]
    assert ids("validation") == [31, 50, 60, 70]
    assert splits["train"].image_names[2:4] == ["train_000030.jpg", "val_000032.jpg"]
    assert captions_of(splits["test"], 2) == [f"caption {k} of 5" for k in range(5)]  # of seven
    assert all(np.bincount(split.caption_image).tolist() == [5] * n
               for split, n in zip(splits.values(), (5, 4, 4), strict=True))  # fmt: skip
    assert fingerprint(opened("coco", tmp_path, coco_split="5k", seed=3)["train"]) == fingerprint(
        splits["train"]
    )
    settings = tiny_settings.make(data="coco", coco_split="5k")
    by_run = open_run_data(settings, tmp_path)
    assert fingerprint(by_run["test"]) == fingerprint(splits["test"])
    for i in (1, 3, 5, 29, 32, 71):
        put_picture(tmp_path / "val2014" / f"val_{i:06d}.jpg")
    refused("coco", tmp_path, coco_split="5k", says=r"in_000002\.jpg, .* no pic.*, but val_0")
    for i in (2, 30, 31, 4, 50, 60, 70):
        put_picture(tmp_path / "train2014" / f"train_{i:06d}.jpg")
    references = picture_references(opened("coco", tmp_path, coco_split="5k")["train"])
    assert references[2:4] == ["train2014/train_000030.jpg", "val2014/val_000032.jpg"]
    refused("coco", val, coco_split="5k", says=r"_val2014\.json is alone: --coco_split 5k")
    monkeypatch.setattr(coco_json, "COCO_APART", 6)
    refused("coco", tmp_path, coco_split="5k", says="has 6 images; --coco_split 5k sets 6 of")


def test_coco_as_systems_2_and_3_split_it(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_json, "COCO_APART", 2)
    monkeypatch.setattr(coco_json, "FIRST", 2)
    folder = tmp_path / "annotations"
    coco(folder / "captions_train2014.json", [2, 30, 31, 4], tag="train")
    val = coco(folder / "captions_val2014.json", [1, 3, 5, 29, 32], tag="val")

    def ids(coco_split):
        splits = opened("coco", tmp_path, coco_split=coco_split).items()
        return {name: [int(one[-10:-4]) for one in own.image_names] for name, own in splits}

    assert ids("1k") == {"train": [2, 4, 30, 31], "validation": [1, 3], "test": [5, 29]}
    drawn = ids("random")
    assert [len(drawn[name]) for name in ("train", "validation", "test")] == [5, 2, 2]
    assert sorted(i for own in drawn.values() for i in own) == [1, 2, 3, 4, 5, 29, 30, 31, 32]
    assert ids("random") == drawn
    for name in ("1k", "random"):
        refused("coco", val, coco_split=name, says=f"is alone: --coco_split {name} needs")
    monkeypatch.setattr(coco_json, "FIRST", 3)
    refused("coco", tmp_path, coco_split="1k", says="has 5 images; --coco_split 1k takes 6")
    monkeypatch.setattr(coco_json, "COCO_APART", 5)
    refused("coco", tmp_path, coco_split="random", says="9 images are too few to set 5 apart")


def test_karpathys_lists_as_system_2_cuts_them(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_json, "FIRST", 1)
    karpathy(tmp_path / "dataset_tiny.json")
    splits = opened("karpathy", tmp_path, coco_split="1k")
    names = {name: own.image_names for name, own in splits.items()}
    assert names == {"train": ["0.jpg", "2.jpg"], "validation": ["4.jpg"], "test": ["6.jpg"]}
    refused("karpathy", tmp_path, coco_split="5k", says="--coco_split 5k is for --data coco")


def test_the_sizes_of_coco_as_system_4_splits_it():
    def of(tag, count):
        return records.Records([f"{tag}{i}" for i in range(count)], [["a b"]] * count)

    splits = coco_json._coco_5k(of("t", 82783), of("v", 40504))
    assert {name: len(own.names) for name, own in splits.items()} == {
        "train": 113287,
        "validation": 5000,
        "test": 5000,
    }
    assert splits["test"].names[-1] == "v4999" and splits["validation"].names[0] == "t77783"


def test_coco_broken(tmp_path):
    path = coco(tmp_path / "captions_val2017.json", range(9))
    content = json.loads(path.read_text())
    content["images"] = content["images"][1:]
    put(path, json.dumps(content))
    refused("coco", tmp_path, says=r"captions without images: 1 image ids .* images: 8")
    content["images"].append({"id": 77, "file_name": "lonely.jpg"})
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] < 8]
    put(path, json.dumps(content))
    refused("coco", tmp_path, says=r"1 images without captions: lonely\.jpg")
    content["images"].append(content["images"][0])
    put(path, json.dumps(content))
    refused("coco", tmp_path, says="1 image ids stand there twice")
    put(path, json.dumps({"images": []}))
    refused("coco", tmp_path, says=r"not a COCO captions file.*missed 'annotations'")
    put(path, '{"images": [\n{"id": 1,}]}')
    refused("coco", tmp_path, says=r"val2017\.json, line 2: not valid JSON")
    coco(path, range(2))
    refused("coco", tmp_path, says="2 images are too few to make three splits")


# Karpathy.


def test_karpathy(tmp_path):
    images = karpathy(tmp_path / "dataset_tiny.json")
    splits = opened("karpathy", tmp_path)
    check_layout(splits)
    assert splits["train"].image_names == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert captions_of(splits["train"], 2) == [f"Caption {k} of 2." for k in range(3)]
    for image in images:
        put_picture(tmp_path / "images" / image["filepath"] / image["filename"])
    references = picture_references(opened("karpathy", tmp_path / "dataset_tiny.json")["train"])
    assert references[:2] == ["images/train2014/0.jpg", "images/val2014/1.jpg"]
    assert load_picture(references[1], tmp_path / "dataset_tiny.json").size == (4, 3)


def test_karpathy_broken(tmp_path):
    path = tmp_path / "dataset_tiny.json"
    karpathy(path)
    replace(path, '"split": "test"', '"split": "testing"')
    refused("karpathy", tmp_path, says=r"image 6\.jpg: split 'testing' is none of train, restval")
    karpathy(path)
    replace(path, '"sentences"', '"captions"')
    refused("karpathy", tmp_path, says=r"not a Karpathy dataset.*missed 'sentences'")
    karpathy(path)
    replace(path, "Caption 0 of 0.", "")
    with pytest.raises(ValueError, match=r"tiny\.json, image 0\.jpg: empty caption"):
        opened("karpathy", tmp_path)
    karpathy(path)
    replace(path, '"7.jpg"', '"0.jpg"')
    refused("karpathy", tmp_path, says=r"train and test share 1 images: 0\.jpg")


# VSE++ vectors.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8])
def test_precomp(tmp_path, dtype):
    splits = opened("precomp", precomp(tmp_path, dtype=dtype))
    check_layout(splits)
    train = splits["train"]
    assert isinstance(train.vectors, np.memmap)
    assert train.vectors.dtype == dtype
    assert train.vectors[:, 0].tolist() == [1, 2, 3, 4]
    assert train.image_names[3] == "train3.jpg"
    assert captions_of(train, 3) == [f"train 3 {k}" for k in range(5)]


def test_precomp_rows_repeated_for_each_caption(tmp_path):
    once = opened("precomp", precomp(tmp_path / "once"))
    splits = opened("precomp", precomp(tmp_path / "five", repeats=5))
    check_layout(splits)
    for name, split in splits.items():
        np.testing.assert_array_equal(split.vectors, once[name].vectors)
        assert isinstance(split.vectors, np.memmap)
        assert split.captions == once[name].captions


def test_precomp_twins_are_two_images(tmp_path):
    precomp(tmp_path, repeats=5)
    np.save(
        tmp_path / "train_ims.npy", np.tile(np.repeat([[1.0], [1], [2], [3]], 5, axis=0), (1, 6))
    )
    assert opened("precomp", tmp_path)["train"].vectors[:, 0].tolist() == [1, 1, 2, 3]


def test_precomp_one_caption_each_and_no_ids(tmp_path):
    splits = opened("precomp", precomp(tmp_path, each=1, ids=False, dtype=np.float64))
    check_layout(splits)
    assert splits["validation"].image_names == ["dev-0", "dev-1"]
    assert splits["validation"].vectors.dtype == np.float32
    assert splits["validation"].captions == ["dev 0 0", "dev 1 0"]


def test_precomp_ids(tmp_path):
    precomp(tmp_path)
    put(tmp_path / "dev_ids.txt", [name for name in ("x", "y") for _ in range(5)])
    assert opened("precomp", tmp_path)["validation"].image_names == ["x", "y"]
    put(tmp_path / "dev_ids.txt", ["0", "1"])  # mere row numbers
    assert opened("precomp", tmp_path)["validation"].image_names == ["dev-0", "dev-1"]
    put(tmp_path / "dev_ids.txt", ["x"] * 4 + ["y"] * 6)
    with pytest.raises(ValueError, match=r"dev_ids\.txt, line 5: expected the same id 5 times"):
        opened("precomp", tmp_path)
    put(tmp_path / "dev_ids.txt", ["x", "y", "z"])
    refused("precomp", tmp_path, says=r"dev_ids\.txt has 3 lines; expected 2.* or 10")
    put(tmp_path / "dev_ids.txt", ["train1.jpg", "y"])
    refused("precomp", tmp_path, says=r"train and validation share 1 images: train1\.jpg")


def test_precomp_lines_do_not_fit(tmp_path):
    lines = [f"line {k}" for k in range(20)]
    precomp(tmp_path)
    put(tmp_path / "train_caps.txt", lines[:19])
    refused("precomp", tmp_path, says=r"19 lines for the 4 rows .* such as 20; 1 too few\?")
    put(tmp_path / "train_caps.txt", [*lines, "line 20"])
    refused("precomp", tmp_path, says=r"21 lines for the 4 rows .* such as 20; 1 too many\?")
    put(tmp_path / "train_caps.txt", [*lines[:7], "", *lines[8:]])
    refused("precomp", tmp_path, says=r"train_caps\.txt, line 8: empty caption")
    precomp(tmp_path, repeats=5)
    put(tmp_path / "train_caps.txt", lines[:19])
    with pytest.raises(ValueError, match="19 lines for the 20 rows"):
        opened("precomp", tmp_path)


def test_precomp_bad_vectors(tmp_path):
    path = precomp(tmp_path) / "test_ims.npy"
    good = np.load(path)
    for value in (np.nan, np.inf):
        bad = good.copy()
        bad[1, 5] = value
        np.save(path, bad)
        refused("precomp", tmp_path, says=r"test_ims\.npy: 1 of 3 rows hold NaN .* first row 1 ")
    np.save(path, good[:, :5])
    refused("precomp", tmp_path, says="one size in all splits; got train 6, validation 6, test 5")
    np.save(path, good.astype(str))
    refused("precomp", tmp_path, says="expected float16, float32 or int8")
    np.save(path, good[:, 0])
    refused("precomp", tmp_path, says=r"holds \(3,\); expected one row for each image")
    np.save(path, np.array([{}, {}]), allow_pickle=True)
    refused("precomp", tmp_path, says=r"test_ims\.npy is not a whole \.npy file")
    np.save(path, good)
    path.write_bytes(path.read_bytes()[:-3])
    refused("precomp", tmp_path, says=r"test_ims\.npy is not a whole \.npy file")
    path.write_bytes(b"")
    refused("precomp", tmp_path, says=r"test_ims\.npy is not a whole \.npy file")
    path.unlink()
    refused("precomp", tmp_path, says=r"no file of test vectors .* it holds dev_caps\.txt, dev_id")


def test_nan_is_found_beyond_the_first_block(monkeypatch):
    monkeypatch.setattr(records, "BLOCK_BYTES", 64)
    vectors = np.zeros((50, 3), np.float32)
    vectors[[17, 40], 2] = np.nan
    with pytest.raises(ValueError, match="2 of 50 rows hold NaN or infinity, first row 17 "):
        records.check_finite(vectors, Path("x.npy"))


# Real data, where it is at hand.


@pytest.mark.parametrize(
    ("data", "folder", "images", "captions"),
    [
        ("flickr8k", "flickr8k", (5000, 1000, 1000), 35000),
        ("flickr30k", "flickr30k", (29000, 1014, 1000), 155070),
        ("precomp", "f8k_precomp", (5000, 1000, 1000), 35000),
        ("coco", "coco", (4003, 508, 489), 25014),
    ],
)
def test_real_data(tmp_path, data, folder, images, captions):
    folder = SHARED / "data" / folder
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not at hand")
    splits = opened(data, folder)
    check_layout(splits, dict(zip(records.SPLITS, images, strict=True)))
    assert sum(split.num_captions for split in splits.values()) == captions
