"""Data sets as people download and unpack them; pictures are searched alike in every reader."""

import logging
import unicodedata

import pytest
from tiny_data import (
    captions_of,
    check_layout,
    coco,
    flickr,
    karpathy,
    nus,
    opened,
    precomp,
    put,
    put_picture,
)

from data.datasets import fingerprint
from data.pictures import picture_references

NAMES = [f"p{n:02d}.jpg" for n in range(12)]
HEADER = "image_name| comment_number| comment"


def kaggle8k(folder):
    """Kaggle's Flickr8k: `captions.txt`, pictures in `Images/`."""
    lines = [
        line
        for name in NAMES
        for line in (f'{name},"A dog , a cat in {name} ."', f'{name},"""Go"" says a man ."')
    ]
    put(folder / "captions.txt", ["image,caption", *lines])
    for name in NAMES:
        put_picture(folder / "Images" / name)
    return folder


def pooled(splits):
    """{image: its captions} of all splits."""
    return {
        name: captions_of(split, row)
        for split in splits.values()
        for row, name in enumerate(split.image_names)
    }


@pytest.mark.parametrize(
    ("data", "name"),
    [("flickr8k", "captions.txt"), ("csv", "captions.txt"), ("csv", "captions.csv")],
)
def test_kaggles_flickr8k(tmp_path, data, name, caplog):
    folder = kaggle8k(tmp_path / "here")
    (folder / "captions.txt").rename(folder / name)
    splits = opened(data, folder)
    assert pooled(splits) == {
        name: [f"A dog , a cat in {name} .", '"Go" says a man .'] for name in NAMES
    }
    assert "names no splits; drawn by a hash of each image's name, seed 0: train " in caplog.text
    assert all(split.drawn for split in splits.values())
    reference = picture_references(splits["train"])[0]
    assert reference == f"Images/{splits['train'].image_names[0]}"
    if data == "csv":
        by_file = opened(data, folder / name, tmp_path / "cache")
        assert fingerprint(by_file["test"]) == fingerprint(splits["test"])


def test_kaggles_flickr30k(tmp_path, caplog):
    """Bars, quotes that quote nothing, and the one row without its second bar."""
    lines = [f'{name}| {k}| A "dog , {k} .' for name in NAMES for k in range(2)]
    lines[7] = "p03.jpg| 1   A cat looks ."
    folder = tmp_path / "flickr30k_images"
    put(folder / "results.csv", [HEADER, *lines])
    for name in NAMES:
        put_picture(folder / "flickr30k_images" / name)
    for top in (tmp_path, folder):
        captions = pooled(opened("flickr30k", top))
        assert captions["p03.jpg"] == ['A "dog , 0 .', "A cat looks ."]
        assert captions["p04.jpg"] == ['A "dog , 0 .', 'A "dog , 1 .']
    assert "results.csv, line 9: a bar is missing; read as number 1 and caption 'A cat" in (
        caplog.text
    )
    for word, names in (("train", NAMES[:8]), ("val", NAMES[8:10]), ("test", NAMES[10:])):
        put(folder / f"{word}.txt", [name.removesuffix(".jpg") for name in names])
    splits = opened("flickr30k", folder)
    check_layout(splits, {"train": 8, "validation": 2, "test": 2})
    assert not any(split.drawn for split in splits.values())
    put(folder / "results.csv", [HEADER, *lines[:3], "p01.jpg", *lines[4:]])
    with pytest.raises(ValueError, match=r"results\.csv, line 5: 1 columns, the header has 3"):
        opened("flickr30k", folder)


def test_what_is_no_token_file_is_explained(tmp_path):
    flickr(tmp_path)
    (tmp_path / "Flickr8k.token.txt").rename(tmp_path / "Flickr8k.lemma.token.txt")
    with pytest.raises(
        ValueError,
        match=r"expected Flickr8k\.token\.txt or .*captions\.txt or results\.csv; it holds .*lemma",
    ):
        opened("flickr8k", tmp_path)


def test_flickr_without_lists_is_drawn(tmp_path, caplog):
    for path in flickr(tmp_path, pictures=True).glob("Flickr_8k*"):
        path.unlink()
    splits = opened("flickr8k", tmp_path)
    assert len(pooled(splits)) == 9
    assert f"{tmp_path} names no splits" in caplog.text


def move_pictures(folder, places, rename=str):
    for path in (folder / "images").iterdir():
        target = folder / places / rename(path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    (folder / "images").rmdir()


PLACES = [
    ".", "Images", "Flickr8k_Dataset/Flicker8k_Dataset", "flickr30k_images/flickr30k_images",
    "anything", "anything/inside",
]  # fmt: skip


@pytest.mark.parametrize("places", PLACES)
def test_pictures_are_searched_alike_in_every_reader(tmp_path, places):
    folders = {"flickr8k": flickr(tmp_path / "flickr8k", pictures=True)}
    folders["coco"] = tmp_path / "coco"
    coco(folders["coco"] / "captions_val2017.json", range(20))
    folders["karpathy"] = tmp_path / "karpathy"
    files = {"coco": [f"COCO_{n:06d}.jpg" for n in range(20)], "flickr8k": []}
    karpathy(folders["karpathy"] / "dataset_tiny.json")
    text = (folders["karpathy"] / "dataset_tiny.json").read_text()
    put(folders["karpathy"] / "dataset_tiny.json", text.replace('"filepath"', '"unused"'))
    files["karpathy"] = [f"{n}.jpg" for n in range(9)]
    folders["precomp"] = precomp(tmp_path / "precomp")
    sizes = (("train", 4), ("dev", 2), ("test", 3))
    files["precomp"] = [f"{word}{n}.jpg" for word, count in sizes for n in range(count)]
    folders["csv"] = tmp_path / "csv"
    put(folders["csv"] / "t.csv", ["image,caption", *[f"{name},a" for name in NAMES]])
    files["csv"] = NAMES
    for data, folder in folders.items():
        for name in files[data]:
            put_picture(folder / "images" / name)
        move_pictures(folder, places)
        for split in opened(data, folder, tmp_path / "cache").values():
            assert split.pictures is not None, data
            for name, path in zip(split.image_names, split.pictures, strict=True):
                assert path.endswith(name) and places.strip(".") in path


def test_pictures_of_nuswide_are_searched_too(tmp_path):
    folder = nus(tmp_path)
    put_picture(folder / "photos" / "cat2" / "0004_200.jpg")
    references = picture_references(opened("nuswide", tmp_path)["test"])
    assert references[0] == "NUS-WIDE-Lite/photos/cat2/0004_200.jpg"


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace(".jpg", ".JPG"),
        str.upper,
        lambda name: name.replace(".jpg", ".jpeg"),
        lambda name: name.replace(".jpg", ".png"),
    ],
)
def test_names_in_another_case_or_with_another_suffix(tmp_path, rename):
    plain = opened("flickr8k", flickr(tmp_path, pictures=True))
    move_pictures(tmp_path, "pictures", rename)
    (tmp_path / "pictures").rename(tmp_path / "images")
    for name, split in opened("flickr8k", tmp_path).items():
        assert split.image_names == plain[name].image_names
        found = [path.rpartition("/")[2] for path in split.pictures]
        assert found == [rename(one) for one in split.image_names]


def test_two_that_could_be_meant_are_none(tmp_path):
    flickr(tmp_path, pictures=True)
    (tmp_path / "images" / "t1.jpg").rename(tmp_path / "images" / "t1.JPG")
    put_picture(tmp_path / "images" / "T1.jpg")
    with pytest.raises(ValueError, match=r"1 of 4 images have no picture in .*images: t1\.jpg"):
        opened("flickr8k", tmp_path)
    flickr(tmp_path / "two", pictures=True)
    (tmp_path / "two" / "images").rename(tmp_path / "two" / "a")
    flickr(tmp_path / "two", pictures=True)
    (tmp_path / "two" / "images").rename(tmp_path / "two" / "b")
    with pytest.raises(ValueError, match=r"pictures named .* lie in .*a, .*b: leave one folder"):
        opened("flickr8k", tmp_path / "two")


@pytest.mark.parametrize(("listed", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_one(tmp_path, listed, written):
    """macOS writes é as two characters; names may hold # too."""
    flickr(tmp_path, pictures=True)
    for path in [*tmp_path.glob("*.txt")]:
        form = written if "token" in path.name else listed
        put(path, unicodedata.normalize(form, path.read_text().replace("t1.jpg", "é#1.jpg")))
    for path in [*(tmp_path / "images").glob("*t1.jpg")]:
        name = unicodedata.normalize(written, path.name.replace("t1.jpg", "é#1.jpg"))
        path.rename(path.with_name(name))
    splits = opened("flickr8k", tmp_path)
    check_layout(splits)
    assert "é#1.jpg" in splits["train"].image_names
    assert captions_of(splits["test"], 1)[0] == unicodedata.normalize(
        written, "xé#1.jpg caption 0 ."
    )


def test_open_clip_is_read_as_it_is(tmp_path, caplog):
    put(tmp_path / "train.csv", ["filepath\ttitle", *[f"images/{n}\tA dog ." for n in NAMES]])
    for name in NAMES:
        put_picture(tmp_path / "images" / name)
    with caplog.at_level(logging.WARNING):
        splits = opened("csv", tmp_path)
    assert sorted(pooled(splits)) == [f"images/{name}" for name in NAMES]
    assert "train.csv names no splits; drawn" in caplog.text


def test_csv_says_where_it_looked(tmp_path):
    put(tmp_path / "t.csv", "image,caption\na.jpg,x\nb.jpg,y\n")
    with pytest.raises(
        ValueError, match=rf"line 2: .* a\.jpg in {tmp_path} or the folders in it; lines like it: 2"
    ):
        opened("csv", tmp_path)
    put(tmp_path / "t.csv", "image,caption\n1,x\n2,y\n3,z\n")  # numbers that are pictures
    for name in ("1.jpg", "2.jpg", "3.png"):
        put_picture(tmp_path / "images" / name)
    assert sorted(pooled(opened("csv", tmp_path))) == ["1", "2", "3"]
