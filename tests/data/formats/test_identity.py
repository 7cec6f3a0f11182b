"""One image under two names, and splits that follow the names."""

import dataclasses
import logging
import os
import random

import numpy as np
import pytest
from tiny_data import coco, flickr, karpathy, nus, opened, precomp, put, put_picture

from data import datasets
from data.formats import drawing, identity, records
from run import manifest
from run.manifest import check as check_strictly  # without the exception of conftest.py

NAMES = [f"p{n:02d}.jpg" for n in range(12)]
SPLIT = dict(zip(NAMES, ["train"] * 8 + ["val"] * 2 + ["test"] * 2, strict=True))


def table(folder, extra=(), split=True):
    """Twelve pictures in `images/` and a table of them."""
    head = "image,caption,split" if split else "image,caption"
    rows = [f"images/{n},a {n}" + (f",{SPLIT[n]}" if split else "") for n in NAMES]
    put(folder / "t.csv", [head, *rows, *extra])
    for name in NAMES:
        if not (folder / "images" / name).exists():
            put_picture(folder / "images" / name)
    return folder


def test_a_picture_under_another_path_is_found(tmp_path):
    folder = table(tmp_path)
    (folder / "copy").symlink_to("images")
    os.link(folder / "images" / "p02.jpg", folder / "images" / "hard.jpg")
    (folder / "images" / "soft.jpg").symlink_to("p03.jpg")
    for name, said in (
        (f"{folder}/images/p00.jpg", r"train and test share 1 images: images/p00\.jpg"),
        ("./images//p00.jpg", r"train and test share 1 images: images/p00\.jpg"),
        ("copy/p01.jpg", r"one picture\): train images/p01\.jpg = test copy/p01\.jpg"),
        ("images/hard.jpg", r"train images/p02\.jpg = test images/hard\.jpg"),
        ("images/soft.jpg", r"train images/p03\.jpg = test images/soft\.jpg"),
        (f"{tmp_path}/copy/../copy/p04.jpg", r"train images/p04\.jpg = test copy/p04\.jpg"),
    ):
        table(folder, [f"{name},again,test"])
        with pytest.raises(ValueError, match=said):
            opened("csv", folder)


@pytest.mark.parametrize("kind", ["flickr8k", "karpathy", "coco", "precomp", "nuswide", "csv"])
def test_equal_bytes_in_two_splits_are_refused_in_every_reader(tmp_path, kind, monkeypatch):
    folder = {
        "flickr8k": lambda: flickr(tmp_path, pictures=True),
        "karpathy": lambda: karpathy(tmp_path / "dataset_tiny.json") and tmp_path,
        "coco": lambda: coco(tmp_path / "captions_val2017.json", range(20)).parent,
        "precomp": lambda: precomp(tmp_path),
        "nuswide": lambda: nus(tmp_path).parent,
        "csv": lambda: table(tmp_path),
    }[kind]()
    splits = opened(kind, folder, tmp_path / "cache")
    pictures = [split.pictures for split in splits.values()]
    if pictures[0] is None:
        places = {"karpathy": "train2014", "nuswide": "NUS-WIDE-Lite/images/cat"}.get(
            kind, "images"
        )
        for split in splits.values():
            for name in split.image_names:
                if kind == "nuswide":
                    put_picture(folder / f"{places}{int(name[5:8]) % 3}" / name)
                else:
                    put_picture(folder / places / name)
                    put_picture(folder / "val2014" / name)
        splits = opened(kind, folder, tmp_path / "cache")
    first, other = splits["train"].pictures[0], splits["test"].pictures[0]
    with open(first, "rb") as one, open(other, "wb") as two:
        two.write(one.read())
    if kind == "coco":  # drawn splits keep what is one image together
        again = opened(kind, folder, tmp_path / "cache")
        sides = [name for name, split in again.items() if {first, other} & set(split.pictures)]
        assert len(sides) == 1
        return
    with pytest.raises(ValueError, match=r"1 images stand in two splits .*\(one picture\): train "):
        opened(kind, folder, tmp_path / "cache")


def test_twins_within_a_split_are_named(tmp_path, caplog):
    folder = table(tmp_path)
    (folder / "images" / "p01.jpg").write_bytes((folder / "images" / "p00.jpg").read_bytes())
    with caplog.at_level(logging.WARNING):
        assert opened("csv", folder)["train"].num_images == 8
    assert "in one split under two names (one picture): images/p00.jpg = images/p01.jpg" in (
        caplog.text
    )


def test_equal_vectors_are_found(tmp_path, caplog):
    rows = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    rows[11], rows[5] = rows[2], rows[4]
    folder = tmp_path
    np.save(folder / "features.npy", rows)
    lines = [f"{n},a,{SPLIT[name]}" for n, name in enumerate(NAMES)]
    put(folder / "t.csv", ["image,caption,split", *lines])
    with pytest.raises(ValueError, match=r"1 images .*\(equal vectors\): train 2 = test 11; take"):
        opened("csv", folder)
    put(folder / "t.csv", ["image,caption,split", *lines[:11]])
    opened("csv", folder)
    assert "1 images stand in one split under two names (equal vectors): 4 = 5" in caplog.text
    # Tags and the like are equal by chance: named, not refused.
    np.save(folder / "features.npy", np.eye(12, 8, dtype=np.float32))
    put(folder / "t.csv", ["image,caption,split", *lines])
    opened("csv", folder)
    assert "in two splits under two names (equal vectors): 8 = 10, 8 = 11" in caplog.text


def test_first_rows_of_any_order_type_and_block(monkeypatch):
    rng = np.random.default_rng(0)
    for dtype in (np.float16, np.float32, np.int8):
        rows = rng.integers(-9, 9, (40, 3, 50)).astype(dtype)
        again = rows[rng.integers(0, 40, 25)]
        expected = [
            next(j for j, two in enumerate([*rows, *again]) if np.array_equal(one, two))
            for one in [*rows, *again]
        ]
        for size in (1 << 24, 300):
            monkeypatch.setattr(records, "BLOCK_BYTES", size)
            assert identity.first_rows(rows, again).tolist() == expected
    zeros = np.zeros((2, 20), np.float32)
    zeros[1] *= -1
    assert identity.first_rows(zeros).tolist() == [0, 0]  # -0 is 0


def test_first_pictures_reads_on_where_pieces_are_equal(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(manifest, "check", check_strictly)
    size = 3 << 15
    paths = []
    for n, (place, byte) in enumerate([(0, 1), (0, 1), (9, 1), (size - 1, 1), (0, 2), (0, 1)]):
        content = bytearray(size)
        content[place] = byte
        paths.append(str(tmp_path / f"{n}.bin"))
        (tmp_path / f"{n}.bin").write_bytes(content)
    paths += [str(tmp_path / "nowhere"), str(tmp_path / "nowhere")]
    expected = [0, 0, 2, 3, 4, 0, 6, 7]
    assert identity.first_pictures(paths).tolist() == expected
    monkeypatch.setattr(identity, "MANY", 1)
    cache = tmp_path / "cache"
    assert identity.first_pictures(paths, cache).tolist() == expected
    (kept,) = cache.glob("same-pictures-*")
    with monkeypatch.context() as patch:
        patch.setattr(identity, "_join_equal", lambda *_: pytest.fail("read again"))
        assert identity.first_pictures(paths, cache).tolist() == expected
    for damage in ("", "[[0]]", "[[0, 99]]", '{"a": 1}', "[[-1, 0]]", "[[4, 0]]"):
        kept.write_text(damage)
        assert identity.first_pictures(paths, cache).tolist() == expected
        assert "it is made anew" in caplog.text
        caplog.clear()
    os.utime(paths[4], ns=(1, 1))  # touched: looked at anew
    identity.first_pictures(paths, cache)
    assert len(list(cache.glob("same-pictures-*"))) == 2


# Drawing.


def sides(splits):
    return {name: split for split, own in splits.items() for name in own.image_names}


def test_rows_may_be_sorted_and_added(tmp_path):
    np.save(tmp_path / "features.npy", np.random.default_rng(0).normal(size=(400, 8)))
    rows = [f"{n},caption {n}" for n in range(300)]
    put(tmp_path / "t.csv", ["image,caption", *rows])
    before = sides(opened("csv", tmp_path))
    sizes = {side: list(before.values()).count(side) for side in records.SPLITS}
    assert 15 <= sizes["test"] <= 45 and 15 <= sizes["validation"] <= 45
    random.Random(0).shuffle(rows)
    added = [f"{n},caption {n}" for n in range(300, 400)]
    for lines in (rows, sorted(rows), added + rows, rows + added, rows[:30]):
        put(tmp_path / "t.csv", ["image,caption", *lines])
        after = sides(opened("csv", tmp_path))
        same = after.keys() & before.keys()
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
    other = sides(opened("csv", tmp_path, seed=1))
    assert other != after


def test_a_draw_knows_names_not_places(tmp_path):
    """The same on every machine: the fraction is written out."""
    assert drawing.fraction("p00.jpg", 0) == pytest.approx(0.87598, abs=1e-5)
    assert drawing.fraction("0", 7) != drawing.fraction("0", 8)
    found = [sides(opened("csv", table(tmp_path / where, split=False))) for where in "ab"]
    assert found[0] == found[1]
    lines = [f"{tmp_path}/a/images/{name},a {name}" for name in NAMES]
    put(tmp_path / "a" / "t.csv", ["image,caption", *lines])
    assert sides(opened("csv", tmp_path / "a")) == found[0]


def test_validation_of_a_training_split_moves_one_at_most(tmp_path):
    options = records.ReadingOptions(tmp_path, 25, 0, None)

    def drawn(count):
        own = records.Records([str(n) for n in range(count)], [["a"]] * count)
        kept, aside = drawing.draw_validation(own, options, "here")
        assert not set(kept.names) & set(aside.names)
        assert len(kept.names) + len(aside.names) == count
        return set(aside.names)

    assert [len(drawn(count)) for count in (2, 9, 20, 249, 250, 251, 900)] == [
        1, 1, 2, 24, 25, 25, 25
    ]  # fmt: skip
    for count in range(250, 300):
        assert len(drawn(count) - drawn(count + 1)) <= 1
    with pytest.raises(ValueError, match="here: 1 training images are too few to set one aside"):
        drawn(1)


@pytest.mark.parametrize("count", range(3, 14))
def test_few_images_make_three_splits(tmp_path, count):
    options = records.ReadingOptions(tmp_path, 25, 0, None)
    own = records.Records([str(n) for n in range(count)], [["a"]] * count)
    for seed in range(20):
        found = drawing.draw_three(own, dataclasses.replace(options, seed=seed), "here")
        assert all(split.names and split.drawn for split in found.values())
        assert sorted(name for split in found.values() for name in split.names) == sorted(own.names)
    with pytest.raises(ValueError, match="here: 2 images are too few to make three splits"):
        drawing.draw_three(own.take([0, 1]), options, "here")


def test_what_is_one_image_is_drawn_together(tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    rows[200:] = rows[100:200]
    own = records.Records([str(n) for n in range(300)], [["a"]] * 300, vectors=rows)
    options = records.ReadingOptions(tmp_path, 30, 0, None)
    whole = drawing.draw_three(own, options, "here")
    kept, aside = drawing.draw_validation(own, options, "here")
    for found in (whole, {"train": kept, "validation": aside}):
        where = {name: side for side, split in found.items() for name in split.names}
        assert all(where[str(n)] == where[str(n + 100)] for n in range(100, 200))
    assert 30 <= len(aside.names) <= 31
    datasets.check_records(whole)  # passes


def test_every_draw_is_said(tmp_path, caplog):
    coco(tmp_path / "captions_train2014.json", range(40), tag="train")
    coco(tmp_path / "captions_val2014.json", range(50, 57), tag="val")
    splits = opened("coco", tmp_path, validation_images=3)
    said = "names no validation images; drawn of the training images by a hash of each one's name"
    assert f"{tmp_path} {said}, seed 0: 3 of 40" in caplog.text
    assert (splits["train"].drawn, splits["test"].drawn) == ("", "")
    assert splits["validation"].drawn == (
        "drawn of the training images by a hash of each one's name, seed 0"
    )
    nus(tmp_path / "nus")
    assert opened("nuswide", tmp_path / "nus")["validation"].drawn
