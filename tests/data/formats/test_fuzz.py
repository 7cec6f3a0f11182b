"""Random damage and random types for every reader: a right result, or one line of what is wrong.

MATCHBOX_FUZZ=2000 tries so many inputs of each; the suite tries a few, always the same.
"""

import base64
import csv
import gzip
import io
import itertools
import json
import re
import shutil
import unicodedata

import h5py
import numpy as np
import pytest
from fuzzing import DAMAGE, PART, VALUES, attempt, damaged, fuzz, replaced, retyped
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_data import coco, flickr, karpathy, nus, precomp, put, put_picture

from data import datasets
from data.formats import bottom_up
from data.language import word_vectors
from data.pairs import finding
from data.pictures import load_picture
from grading import score

COUNTER = itertools.count()


def opened(data, folder):
    """A data set, read with a new cache."""
    cache = f"{folder}-cache{next(COUNTER)}"
    try:
        return attempt(lambda: datasets.open_dataset(data, folder, cache_dir=cache))
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def lines_of(content):
    """Lines of a file as simple as can be; None where it is no plain text."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if "\0" in text or ("\r" in text and "\n" not in text):
        return None
    lines = [line.rstrip("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def captions_in(splits):
    return [caption for split in splits.values() for caption in split.captions]


def check_captions(splits):
    """None of the texts that are no captions has become one."""
    for caption in captions_in(splits):
        assert caption.strip() and caption.lower() not in ("nan", "null", "none")
        assert (caption[:2], caption[-1]) != ("b'", "'") and (caption[:2], caption[-1]) != (
            "['",
            "]",
        )
    names = [name for split in splits.values() for name in split.image_names]
    assert len(names) == len(set(names)) == len({unicodedata.normalize("NFC", n) for n in names})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A whole small data set of each format."""
    home = tmp_path_factory.mktemp("fuzz")
    flickr(home / "flickr")
    coco(home / "coco" / "captions_val2017.json", range(12))
    karpathy(home / "karpathy" / "dataset_tiny.json")
    precomp(home / "precomp")
    nus(home / "nus", features=2)
    rows = [
        f'{n},"caption, {n} {k}",{"train" if n < 6 else "test"}' for n in range(9) for k in "ab"
    ]
    put(home / "table" / "t.csv", ["image,caption,split", *rows])
    np.save(home / "table" / "features.npy", np.random.default_rng(0).normal(size=(9, 8)))
    objects = [
        {"image": f"{n}.png", "caption": [f"a {n}", "b"], "split": "train" if n < 6 else "test"}
        for n in range(9)
    ]
    put(home / "jsonl" / "t.jsonl", [json.dumps(value) for value in objects])
    for n in range(9):
        put_picture(home / "jsonl" / f"{n}.png")
    put(
        home / "kaggle" / "results.csv",
        ["image_name| comment_number| comment"]
        + [f"{n}.jpg| {k}| a caption {n} ." for n in range(9) for k in range(2)],
    )
    whole = (("flickr8k", "flickr"), ("flickr30k", "kaggle"), ("csv", "table"), ("csv", "jsonl"))
    for data, folder in (*whole, *((f, f) for f in ("coco", "karpathy", "precomp"))):
        assert opened(data, home / folder)
    assert opened("nuswide", home / "nus")
    return home


@fuzz
@given(st.sampled_from(["Flickr8k.token.txt", "Flickr_8k.testImages.txt"]), DAMAGE)
def test_flickr(home, name, damage):
    path = home / "flickr" / name
    content = damaged(path.read_bytes(), damage)
    with replaced(path, content):
        splits = opened("flickr8k", home / "flickr")
    if splits:
        check_captions(splits)
        if name.endswith("token.txt") and (lines := lines_of(content)) is not None:
            assert len(captions_in(splits)) <= len(lines)  # of images in no list some are left out


@fuzz
@given(DAMAGE)
def test_kaggle(home, damage):
    path = home / "kaggle" / "results.csv"
    content = damaged(path.read_bytes(), damage)
    with replaced(path, content):
        splits = opened("flickr30k", home / "kaggle")
    if splits:
        check_captions(splits)
        lines = lines_of(content)
        assert lines is None or len(captions_in(splits)) == len([one for one in lines if one]) - 1


@fuzz
@given(st.sampled_from(["t.csv", "features.npy"]), DAMAGE)
def test_csv(home, name, damage):
    path = home / "table" / name
    content = damaged(path.read_bytes(), damage)
    with replaced(path, content):
        splits = opened("csv", home / "table")
    if splits and name == "t.csv":
        check_captions(splits)
        assert not any(re.search(r'\d,"?caption,', one) for one in captions_in(splits))
        if (lines := lines_of(content)) is not None:
            rows = [row for row in csv.reader(f"{line}\n" for line in lines) if row]
            assert len(captions_in(splits)) == len(rows) - 1


@fuzz
@given(DAMAGE, st.integers(0, 8), PART, VALUES, st.booleans())
def test_jsonl(home, damage, line, where, new, types):
    path = home / "jsonl" / "t.jsonl"
    content = damaged(path.read_bytes(), damage)
    if types:
        lines = path.read_text().splitlines()
        lines[line] = json.dumps(retyped(json.loads(lines[line]), where, new))
        content = "\n".join(lines).encode()
    with replaced(path, content):
        splits = opened("csv", home / "jsonl")
    if splits:
        check_captions(splits)
        rows = map(json.loads, filter(str.strip, content.decode("utf-8-sig").splitlines()))
        texts = [
            text
            for row in rows
            for key in row
            if key.strip().lower().startswith("caption")  # caption_1 is one too
            for text in (row[key] if isinstance(row[key], list) else [row[key]])
        ]
        assert len(captions_in(splits)) == len(texts)


def json_file(home, data, name, count, damage, where, new, types):
    path = home / data / name
    content = damaged(path.read_bytes(), damage)
    if types:
        content = json.dumps(retyped(json.loads(path.read_text()), where, new)).encode()
    with replaced(path, content):
        splits = opened(data, home / data)
    if splits:
        check_captions(splits)
        value = json.loads(content.decode("utf-8-sig"))
        assert len(captions_in(splits)) == count(value)
        assert sum(split.num_images for split in splits.values()) == len(value["images"])


def texts_of(value):
    return len(value) if isinstance(value, list) else 1


@fuzz
@given(DAMAGE, PART, VALUES, st.booleans())
def test_coco(home, damage, where, new, types):
    json_file(
        home, "coco", "captions_val2017.json",
        lambda value: sum(texts_of(one["caption"]) for one in value["annotations"]),
        damage, where, new, types,
    )  # fmt: skip


@fuzz
@given(DAMAGE, PART, VALUES, st.booleans())
def test_karpathy(home, damage, where, new, types):
    json_file(
        home, "karpathy", "dataset_tiny.json",
        lambda value: sum(texts_of(s["raw"]) for one in value["images"] for s in one["sentences"]),
        damage, where, new, types,
    )  # fmt: skip


@fuzz
@given(st.sampled_from(["train_ims.npy", "dev_caps.txt", "test_ids.txt"]), DAMAGE)
def test_precomp(home, name, damage):
    path = home / "precomp" / name
    content = damaged(path.read_bytes(), damage)
    with replaced(path, content):
        splits = opened("precomp", home / "precomp")
    if splits:
        check_captions(splits)
        lines = lines_of(content)
        if name == "dev_caps.txt" and lines is not None:
            assert splits["validation"].num_captions == len(lines)


@fuzz
@given(
    st.sampled_from(
        [
            "image list/Test_imageOutPutFileList.txt",
            "All_Tags.txt",
            "NUS-WIDE-Lite_groundtruth/Lite_Labels_sky_Train.txt",
            "images/image_features.csv",
        ]
    ),
    DAMAGE,
)
def test_nuswide(home, name, damage):
    path = home / "nus" / "NUS-WIDE-Lite" / name
    with replaced(path, damaged(path.read_bytes(), damage)):
        splits = opened("nuswide", home / "nus")
    if splits:
        assert splits["train"].num_images + splits["validation"].num_images == 20
        assert all(split.num_captions == split.num_images for split in splits.values())
        assert all(np.isfinite(np.asarray(split.vectors)).all() for split in splits.values())


def boxes_tsv():
    rng = np.random.default_rng(0)
    lines = []
    for name in (42, 7, 391895, 9):
        blobs = [
            base64.b64encode(rng.normal(size=size).astype("<f4").tobytes()).decode()
            for size in ((3, 4), (3, 5))
        ]
        lines.append("\t".join([str(name), "640", "480", "3", *blobs]) + "\n")
    return "".join(lines).encode()


def read_boxes(path, cache):
    try:
        return attempt(lambda: bottom_up.open_boxes(path, cache))
    finally:
        shutil.rmtree(cache, ignore_errors=True)


@fuzz
@given(DAMAGE)
def test_boxes_in_tsv(home, damage):
    path = home / f"boxes{next(COUNTER)}.tsv"
    content = damaged(boxes_tsv(), damage)
    path.write_bytes(content)
    boxes = read_boxes(path, home / f"boxes-cache{next(COUNTER)}")
    path.unlink()
    if boxes:
        count = len([line for line in content.split(b"\n") if line.strip()])
        assert count - 1 <= len(boxes.rows) <= count  # a last line may be cut off
        assert len(boxes.array) == len(boxes.rows)


@fuzz
@given(st.sampled_from(["alone", "adaptive", "alike"]), DAMAGE)
def test_boxes_in_hdf5(home, layout, damage):
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if layout == "alone":
            for name in ("42", "7", "9"):
                file[name] = rng.normal(size=(3, 5))
        else:
            shape = (9, 5) if layout == "adaptive" else (3, 3, 5)
            file["image_features"] = rng.normal(size=shape)
            file["image_id"] = [42, 7, 9]
        if layout == "adaptive":
            file["pos_boxes"] = [[0, 4], [4, 6], [6, 9]]
    path = home / f"boxes{next(COUNTER)}.hdf5"
    path.write_bytes(damaged(buffer.getvalue(), damage))
    boxes = read_boxes(path, home / f"boxes-cache{next(COUNTER)}")
    path.unlink()
    if boxes:
        assert len(boxes.rows) == len(boxes.array) <= 3


@fuzz
@given(DAMAGE, st.booleans())
def test_embeddings(home, damage, compressed):
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    image, text = rng.normal(size=(4, 6)), rng.normal(size=(8, 6))
    save = np.savez_compressed if compressed else np.savez
    save(buffer, image=image, text=text, caption_image=np.repeat(np.arange(4), 2))
    path = home / f"embeddings{next(COUNTER)}.npz"
    path.write_bytes(damaged(buffer.getvalue(), damage))
    found = attempt(lambda: score.read_embeddings(path))
    path.unlink()
    if found:
        np.testing.assert_array_equal(found["image"], image)
        np.testing.assert_array_equal(found["text"], text)
        assert found["caption_image"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@fuzz
@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]), DAMAGE)
def test_pictures(home, kind, damage):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    path = home / f"picture{next(COUNTER)}"
    path.write_bytes(damaged(buffer.getvalue(), damage))
    picture = attempt(lambda: load_picture(str(path)))
    path.unlink()
    assert picture is None or picture.mode == "RGB"


@fuzz
@given(st.sampled_from(["glove", "word2vec", "binary", "gzip"]), DAMAGE)
def test_word_vectors(home, kind, damage):
    words = ["a", "dog", "über", "cat"]
    rows = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    content = b"" if kind in ("glove", "gzip") else b"4 3\n"
    for word, row in zip(words, rows, strict=True):
        numbers = row.tobytes() if kind == "binary" else " ".join(map(str, row)).encode()
        content += word.encode() + b" " + numbers + b"\n"
    content = gzip.compress(content, mtime=0) if kind == "gzip" else content
    path = home / f"words{next(COUNTER)}"
    path.write_bytes(damaged(content, damage))
    found = attempt(lambda: word_vectors.read_word_vectors(path, words))
    path.unlink()
    if found:
        assert len(found[0]) == len(found[1]) == 4
        assert np.isfinite(found[0]).all() and not found[0][~found[1]].any()


@fuzz
@given(DAMAGE, PART, VALUES, st.booleans())
def test_occurrences_of_pairs(home, damage, where, new, types):
    counts = {str(key): {"pair_occurrences": key % 3} for key in range(4)}
    whole = {"nouns": ["dog"], "adjectives": ["brown"], finding.DATA_KEY: counts}
    content = damaged(json.dumps(whole).encode(), damage)
    if types:
        content = json.dumps(retyped(whole, where, new)).encode()
    path = home / f"brown_dog{next(COUNTER)}.json"
    path.write_bytes(content)
    found = attempt(lambda: finding.read_occurrences(path))
    path.unlink()
    assert found is None or all(isinstance(count, int) for count in found[1].values())
