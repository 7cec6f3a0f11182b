"""Tiny data sets of several formats, written for the tests of their readers."""

import json
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data import datasets
from run import manifest

SIZES = {"train": 4, "validation": 2, "test": 3}


def opened(data, folder, cache_dir=None, **options) -> dict[str, Any]:
    """Opens a data set with its cache inside its folder, unless `cache_dir` says otherwise."""
    return datasets.open_dataset(data, folder, cache_dir=cache_dir or f"{folder}/cache", **options)


def kept_in(cache) -> list[str]:
    """Names of the files in a cache folder, but for its manifest."""
    return sorted(path.name for path in cache.glob("*") if path.name != manifest.NAME)


def refused(*arguments, says, **options):
    """A data set that is not opened, and what is said of it."""
    with pytest.raises(ValueError, match=says):
        opened(*arguments, **options)


def put(path, text, newline="\n", encoding="utf-8"):
    """Writes a small text file, or one line for each item of a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text if isinstance(text, str) else "".join(f"{line}\n" for line in text)
    path.write_bytes(text.replace("\n", newline).encode(encoding))


def put_picture(path, colour=None):
    """A picture of one colour, another one for each name."""
    colour = colour or tuple(zlib.crc32(path.name.encode()).to_bytes(4, "big")[:3])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), colour).save(path)


def replace(path, old, new):
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new, 1), encoding="utf-8")


def check_layout(splits, sizes=SIZES):
    """What holds for every split of every format."""
    assert list(splits) == ["train", "validation", "test"]
    names = [name for split in splits.values() for name in split.image_names]
    assert len(names) == len(set(names))
    for name, split in splits.items():
        assert split.name == name
        assert split.num_images == sizes[name]
        assert split.caption_image.dtype == np.int32
        assert split.caption_image.shape == (split.num_captions,)
        assert np.all(np.diff(split.caption_image) >= 0)
        assert set(split.caption_image.tolist()) == set(range(split.num_images))
        for values in (split.vectors, split.pictures, split.concepts):
            assert values is None or len(values) == split.num_images


def captions_of(split, image):
    return [split.captions[row] for row in np.flatnonzero(split.caption_image == image)]


def flickr(folder, pictures=False, newline="\n"):
    """Images t0.jpg ...; image i of a split has i % 2 + 1 captions."""
    lines = []
    lists = {"train": "train", "validation": "dev", "test": "test"}
    for split, count in SIZES.items():
        names = [f"{split[0]}{index}.jpg" for index in range(count)]
        names = [f"x{name}" for name in names] if split == "test" else names
        put(folder / f"Flickr_8k.{lists[split]}Images.txt", names, newline)
        for index, name in enumerate(names):
            lines += [f"{name}#{k}\t{name} caption {k} ." for k in range(index % 2 + 1)]
            if pictures:
                put_picture(folder / "images" / name)
    put(folder / "Flickr8k.token.txt", lines, newline)
    return folder


def coco(path, ids, tag="COCO"):
    """Image i has 5 + i % 3 captions; the ids stand in falling order."""
    images = [{"id": i, "file_name": f"{tag}_{i:06d}.jpg"} for i in sorted(ids, reverse=True)]
    entries = [
        {"id": 100 * i + k, "image_id": i, "caption": f"caption {k}\nof {i}"}
        for k in range(8)
        for i in ids
        if k < 5 + i % 3
    ]
    put(path, json.dumps({"images": images, "annotations": entries}))
    return path


def karpathy(path):
    words = ["train", "restval", "train", "restval", "val", "val", "test", "test", "test"]
    images = [
        {
            "filename": f"{index}.jpg",
            "filepath": "val2014" if word == "restval" else "train2014",
            "split": word,
            "sentences": [{"raw": f"Caption {k} of {index}."} for k in range(1 + index % 3)],
        }
        for index, word in enumerate(words)
    ]
    put(path, json.dumps({"dataset": "tiny", "images": images}))
    return images


def precomp(folder, each=5, repeats=1, ids=True, dtype: type = np.float16):
    """Row i of a split holds i + 1 in every place; caption k of image i is `word i k`."""
    for word, count in (("train", 4), ("dev", 2), ("test", 3)):
        rows = np.repeat(np.arange(1, count + 1), repeats)
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{word}_ims.npy", np.tile(rows[:, None], (1, 6)).astype(dtype))
        captions = [f"{word} {i} {k}" for i in range(count) for k in range(each)]
        put(folder / f"{word}_caps.txt", captions)
        if ids:
            put(folder / f"{word}_ids.txt", [f"{word}{i}.jpg" for i in range(count)])
    return folder


def nus(folder, features=4):
    """20 training and 3 test images; image `key` has the vector (key, key + 0.25, ...)."""
    folder = folder / "NUS-WIDE-Lite"
    lines = []
    for part, keys in (("Train", range(100, 120)), ("Test", range(200, 203))):
        names = [f"{key % 7:04d}_{key}.jpg" for key in keys]
        path = folder / "image list" / f"{part}_imageOutPutFileList.txt"
        put(path, [f"cat{key % 3}\\{name}" for key, name in zip(keys, names, strict=True)], "\r\n")
        for index, concept in enumerate(("sky", "animal")):
            truth = folder / "NUS-WIDE-Lite_groundtruth" / f"Lite_Labels_{concept}_{part}.txt"
            put(truth, [str((key + index) % 2) for key in keys])
        for key, name in zip(keys, names, strict=True):
            lines.append(" ".join([name, *[f"{key + k / 4}" for k in range(features)]]))
    put(folder / "NUS-WIDE-Lite_groundtruth" / "Lite_GT_Train.txt", "not a concept")
    put(folder / "images" / "image_features.csv", ["", "other_999.jpg 0 0", *lines[::-1]])
    put(folder / "All_Tags.txt", [f"{key}      tags of {key} é" for key in (1, *range(100, 203))])
    return folder
