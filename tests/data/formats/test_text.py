"""Text as people have it: what never becomes a caption, encodings, line ends, tables, JSON."""

import json

import numpy as np
import pytest
from tiny_data import captions_of, coco, flickr, karpathy, opened, precomp, put, put_picture

from data.datasets import fingerprint
from data.formats import text

LITERALS = [
    "nan", "NaN", "None", "null", "N/A", "12", "3.5e4", "-1", "inf",
    "b'A dog.'", 'b"A dog."', "['a', 'b']", '["a"]', "[u'a']", "[]", "[1, 2]", "{'raw': 'a'}",
]  # fmt: skip


@pytest.mark.parametrize("literal", LITERALS)
def test_literals_never_become_captions(tmp_path, literal):
    """In every reader of text; the entry is named."""
    with pytest.raises(ValueError, match=r"^here: caption "):
        text.caption_texts(literal, "here")
    put(tmp_path / "c" / "t.jsonl", json.dumps({"image": "a.png", "caption": ["x", literal]}))
    put_picture(tmp_path / "c" / "a.png")
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1: caption "):
        opened("csv", tmp_path / "c")
    folder = precomp(tmp_path / "p")
    put(folder / "dev_caps.txt", ["a caption"] * 9 + [literal])
    with pytest.raises(ValueError, match=r"dev_caps\.txt, line 10: caption "):
        opened("precomp", folder)
    flickr(tmp_path / "f")
    put(tmp_path / "f" / "Flickr8k.token.txt", f"t0.jpg#0\t{literal}\n")
    with pytest.raises(ValueError, match=r"token\.txt, line 1: caption "):
        opened("flickr8k", tmp_path / "f")


def test_what_only_looks_like_a_literal_is_a_caption():
    for caption in ("Nan holds a cat", "[sic] a dog", "b", "12 dogs", "'hi'", "no one", "+ 5"):
        assert text.caption_texts(caption, "") == [caption]


@pytest.mark.parametrize("value", [None, 12, True, 1.5, {}, [], ["a", None], [["a"]], " "])
def test_other_types_are_named(tmp_path, value):
    """JSON of every reader: one line, never a traceback, never what `str()` makes of it."""
    put(tmp_path / "c" / "t.jsonl", json.dumps({"image": "a.png", "caption": value}))
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1: (empty )?(caption|list)"):
        opened("csv", tmp_path / "c")
    images = karpathy(tmp_path / "k" / "dataset_tiny.json")
    images[4]["sentences"][1]["raw"] = value
    put(tmp_path / "k" / "dataset_tiny.json", json.dumps({"images": images}))
    with pytest.raises(ValueError, match=r"tiny\.json, image 4\.jpg: (empty )?(caption|list)"):
        opened("karpathy", tmp_path / "k")
    path = coco(tmp_path / "o" / "captions_val2017.json", range(5))
    content = json.loads(path.read_text())
    content["annotations"][7]["caption"] = value
    put(path, json.dumps(content))
    with pytest.raises(ValueError, match=r"entry 7 of annotations: (empty )?(caption|list)"):
        opened("coco", tmp_path / "o")


def test_a_list_of_texts_is_several_captions(tmp_path):
    rows = [{"image": f"{n}.png", "caption": [f"a {n}", f"b {n}"]} for n in range(4)]
    put(tmp_path / "t.jsonl", [json.dumps(row) for row in rows])
    for n in range(4):
        put_picture(tmp_path / f"{n}.png")
    for split in opened("csv", tmp_path).values():
        for row, name in enumerate(split.image_names):
            assert captions_of(split, row) == [f"a {name[0]}", f"b {name[0]}"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"filename": "0.jpg"', '"filename": 0', "entry 0 of images: filename 0; expected text"),
        ('"filename": "0.jpg"', r'"filename": "a\u0000"', "holds characters that no name has"),
        ('"split": "train"', '"split": null', r"image 0\.jpg: split null is none of train"),
        ('"filepath": "train2014"', '"filepath": []', r"image 0\.jpg: filepath \[\]; expected"),
        ('[{"raw": "Caption 0 of 0."}]', '"raw"', "missed 'sentences'"),
        ('[{"raw": "Caption 0 of 0."}]', "[null]", "missed 'raw' in entry 0 of sentences"),
        ('{"dataset"', '[{"dataset"', "not valid JSON"),
        ('"dataset": "tiny"', '"images": []', "'images' stands twice in one object"),
        ('"dataset": "tiny"', '"x": ' + "[" * 100_000, "nested too deeply"),
        ('"dataset": "tiny"', '"x": ' + "9" * 5000, r"not valid JSON \(Exceeds"),
    ],
)
def test_karpathy_of_odd_types(tmp_path, old, new, message):
    path = tmp_path / "dataset_tiny.json"
    karpathy(path)
    assert old in path.read_text()
    put(path, path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        opened("karpathy", tmp_path)


def test_coco_ids_as_texts_and_as_numbers(tmp_path):
    """Files that were merged by a script; "7" is 7."""
    whole = opened("coco", coco(tmp_path / "whole" / "captions_val2017.json", range(20)))
    path = coco(tmp_path / "mixed" / "captions_val2017.json", range(20))
    content = json.loads(path.read_text())
    for place, image in enumerate(content["images"]):
        image["id"] = [image["id"], str(image["id"]), float(image["id"])][place % 3]
    put(path, json.dumps(content))
    for name, split in opened("coco", path).items():
        assert fingerprint(split) == fingerprint(whole[name])
    for odd in (None, True, [], 1.5, ""):
        content["images"][3]["id"] = odd
        put(path, json.dumps(content))
        with pytest.raises(ValueError, match=r"entry 3 of images: id .*; expected a number"):
            opened("coco", path)


# Encodings and line ends.


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_change_nothing(tmp_path, encoding, newline):
    plain = opened("precomp", precomp(tmp_path / "plain"))
    folder = precomp(tmp_path / "other")
    for path in folder.glob("*.txt"):
        put(path, path.read_text(), newline, encoding)
    for name, split in opened("precomp", folder).items():
        assert fingerprint(split) == fingerprint(plain[name])


def test_encodings_that_are_refused_by_their_name(tmp_path):
    path = precomp(tmp_path) / "dev_caps.txt"
    whole = path.read_text()
    for content, message in (
        (whole.encode("utf-16-le"), "line 1: NUL bytes, as UTF-16 without its mark has them"),
        (whole.replace("dev 1 2", "dév").encode("utf-16-be"), "NUL bytes, as UTF-16 without"),
        (whole.encode("utf-16")[:-1], "is not UTF-16; save the file as UTF-8"),
        (whole.replace("dev 1 2", "dév").encode("latin-1"), "line 8: byte 0xe9 is not UTF-8"),
        (whole.replace("dev 0 1\n", "dev 0 1\r").encode(), "line 2: a carriage return inside"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"dev_caps\.txt, {message}|{message}"):
            opened("precomp", tmp_path)


# Tables.


def rows_of(folder, text_of_table, name="t.csv"):
    """A table of nine feature rows, opened."""
    np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(9, 8)))
    put(folder / name, text_of_table)
    return opened("csv", folder)


TABLE = ["image,caption,split", *[f"{n},caption {n},{'train' if n < 6 else 'test'}"
                                  for n in range(9)]]  # fmt: skip


def test_quotes_that_swallow_rows_are_refused(tmp_path):
    unclosed = [*TABLE[:4], '3,"Smile says the man,train', *TABLE[5:]]
    merged = [*unclosed[:7], '6,"Go" says a sign,test', *unclosed[8:]]
    closed_by_a_row = [*unclosed[:7], '6,Go" now,test', *unclosed[8:]]
    whole_rows_inside = [*TABLE[:4], '3,"a', "4,b,train", '5,c",train', *TABLE[7:]]
    for lines in (unclosed, merged, closed_by_a_row, whole_rows_inside):
        with pytest.raises(ValueError, match=r"t\.csv, line 5: the quote that opens a cell here"):
            rows_of(tmp_path, "\n".join(lines))
    with pytest.raises(ValueError, match=r"line 2: not valid CSV"):
        rows_of(tmp_path, "\n".join([TABLE[0], '0,"Go" says a sign,train', *TABLE[2:]]))


def test_a_row_of_names_without_numbers_is_not_swallowed(tmp_path):
    lines = ["image,caption,split", 'alpha,"a cat,train', 'beta,a dog of 5",train', "c,d,test"]
    says = r"line 2: the quote that opens .* \(line 3 looks like a row of its own\); close it right"
    with pytest.raises(ValueError, match=says):
        rows_of(tmp_path, "\n".join(lines))


def test_blanks_before_a_quoted_caption_are_no_part_of_it(tmp_path):
    splits = rows_of(tmp_path, "\n".join([TABLE[0], '0, "a cat, or two",train', *TABLE[2:]]))
    assert "a cat, or two" in [one for split in splits.values() for one in split.captions]
    says = r"line 2: not valid CSV .*; close it right before the next column, or write a quote"
    with pytest.raises(ValueError, match=says):
        rows_of(tmp_path, "\n".join([TABLE[0], '0, "a cat" ,train', *TABLE[2:]]))


def test_a_caption_of_two_lines_is_one(tmp_path):
    lines = [TABLE[0], '0,"A dog, a cat\nand, so a man said, ""go""",train', *TABLE[2:]]
    splits = rows_of(tmp_path, "\n".join(lines))
    captions = [caption for split in splits.values() for caption in split.captions]
    assert len(captions) == 9 and 'A dog, a cat and, so a man said, "go"' in captions


def test_columns_of_one_name_are_all_captions(tmp_path):
    for second in ("caption", "caption.1", "Caption_2"):
        lines = [f"{n},a {n},b {n},{'train' if n < 6 else 'test'}" for n in range(9)]
        splits = rows_of(tmp_path, "\n".join([f"image,caption,{second},split", *lines]))
        assert sum(split.num_captions for split in splits.values()) == 18
        assert captions_of(splits["test"], 0) == ["a 6", "b 6"]
    with pytest.raises(ValueError, match=r"line 1: 'split' stands twice in the header; leave one"):
        rows_of(tmp_path, "image,caption,split,split\n0,a,train,test\n")
    (tmp_path / "t.csv").unlink()
    with pytest.raises(ValueError, match=r"line 1: not valid JSON \('caption' stands twice"):
        rows_of(tmp_path, '{"image": 0, "caption": "a", "caption": "b"}', "t.jsonl")


@pytest.mark.parametrize("delimiter", ["\t", ";", "|", ","])
def test_separators_and_the_names_of_open_clip(tmp_path, delimiter):
    plain = rows_of(tmp_path, "\n".join(TABLE))
    renamed = ["filepath,title,split", *TABLE[1:]]
    other = rows_of(tmp_path, "\n".join(renamed).replace(",", delimiter))
    for name, split in other.items():
        assert fingerprint(split) == fingerprint(plain[name])


def test_row_numbers_are_numbers(tmp_path):
    """pandas writes 3.0, others 0003: one image each; across splits they are the same."""
    plain = rows_of(tmp_path, "\n".join(TABLE))
    floats = [TABLE[0], *[line.replace(",", ".0,", 1) for line in TABLE[1:]]]
    padded = [TABLE[0], *[f"000{line}" for line in TABLE[1:]]]
    for lines in (floats, padded):
        for name, split in rows_of(tmp_path, "\n".join(lines)).items():
            assert fingerprint(split) == fingerprint(plain[name])
    with pytest.raises(ValueError, match="train and test share 1 images: 0; each"):
        rows_of(tmp_path, "\n".join([*TABLE, "0000,again,test"]))


def test_a_line_that_is_no_row_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv, line 6: the header again; remove the line"):
        rows_of(tmp_path, "\n".join([*TABLE[:5], TABLE[0], *TABLE[5:]]))
    with pytest.raises(ValueError, match=r"line 6: image 'x' is no row number, as 9 other lines"):
        rows_of(tmp_path, "\n".join([*TABLE[:5], "x,caption,train", *TABLE[5:]]))
    with pytest.raises(ValueError, match=r"line 2: image 9 is no row of features\.npy"):
        rows_of(tmp_path, "\n".join([TABLE[0], "9,caption,train", *TABLE[1:]]))


@pytest.mark.parametrize("image", [None, [], True, {}, " ", "a\nb"])
def test_images_of_odd_types_are_named(tmp_path, image):
    put(tmp_path / "t.jsonl", json.dumps({"image": image, "caption": "x"}))
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1: image"):
        opened("csv", tmp_path)
    for key, value in (("concepts", 7), ("concepts", [7]), ("split", 7), ("split", [])):
        put(tmp_path / "t.jsonl", json.dumps({"image": "0", "caption": "x", key: value}))
        with pytest.raises(ValueError, match=rf"t\.jsonl, line 1: {key} "):
            opened("csv", tmp_path)


def test_messages_name_the_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(precomp(tmp_path / "data").parent)
    (tmp_path / "data" / "dev_caps.txt").unlink()
    with pytest.raises(ValueError, match=rf"no file of dev captions in {tmp_path}/data: "):
        opened("precomp", "data")
    with pytest.raises(ValueError, match=rf"data_dir {tmp_path}/nowhere does not exist"):
        opened("precomp", "nowhere")
