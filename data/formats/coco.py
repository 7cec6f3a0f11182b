"""Captions in JSON: layout on disk -> records of each split.

  coco       captions JSON of the COCO challenge
  karpathy   dataset_*.json with the splits of Karpathy and Fei-Fei

What holds for every format (no image in two splits, none without captions, vectors of one size) is
checked once, in `datasets.py`.

Shape letters: N images, M captions, F feature, K concepts.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from data.formats.drawing import draw_apart, draw_three, draw_validation
from data.formats.pictures import Shelf, find_pictures
from data.formats.records import SPLITS, ReadingOptions, Records, find_file, join, some, split_word
from data.formats.text import caption_texts, json_entries, name_text, read_json_text, shown

COCO_APART, COCO_CAPTIONS = 5000, 5  # of --coco_split 5k and random
FIRST = 1000  # of --coco_split 1k


# COCO.


def read_coco(source: Path, options: ReadingOptions) -> dict[str, Records]:
    """COCO captions JSON, in the folder or in its `annotations/`.

    With a train and a val file of the same year, `coco_split` says which images make which split:

      whole   test is the whole val file, validation is drawn from the train file
      5k      by ascending id: test is the first 5,000 of val, validation the last 5,000 of train,
              all others of both files train; the first five captions of each image, in the file's
              order. Of 2014: 113,287 / 5,000 / 5,000
      random  5,000 images of both files are drawn for test, 5,000 for validation (`drawing.py`),
              all others train. Of 2014: 113,287 / 5,000 / 5,000
      1k      by ascending id: validation is the first 1,000 of val, test the next 1,000, all of
              train trains. Of 2014: 82,783 / 1,000 / 1,000

    All but `5k` keep every caption. With one file (or where `data_dir` is one), the splits are
    drawn (`drawing.py`). Pictures are looked for in `<split><year>/`, `images/<split><year>/`, and
    then as everywhere.

    Reference: 5k is that of Timofeev et al., Multi-modal retrieval with smooth weighting of
      negatives, 2021, its authors' code; random that of Zheng et al., Dual-path convolutional
      image-text embeddings with instance loss, 2017; 1k has the sizes of Vilalta et al., 2019.
    Differs from the papers: random draws other images than MATLAB's rng(1); 1k of Vilalta et al. is
      the first 1,000 of Karpathy's lists, which `--data karpathy --coco_split 1k` reads.
    """
    files, chosen = _coco_files(source), options.coco_split
    if len(files) == 1 and chosen != "whole":
        raise ValueError(
            f"{files[0]} is alone: --coco_split {chosen} needs the train and the val file of a "
            "year in one folder; or give --coco_split whole"
        )
    whole = [_read_coco_file(path) for path in files]
    if len(files) == 1:
        return draw_three(whole[0], options, str(files[0]))
    train, test = whole
    if chosen == "5k":
        return _coco_5k(train, test)
    if chosen == "random":
        return draw_apart(join(train, test), COCO_APART, options, str(source))
    if chosen == "1k":
        return _coco_1k(train, test)
    train, validation = draw_validation(train, options, str(source))
    return {"train": train, "validation": validation, "test": test}


def _coco_5k(train: Records, val: Records) -> dict[str, Records]:
    """`--coco_split 5k` of the two files, images ascending by id."""
    for file, own in (("train", train), ("val", val)):
        if len(own.names) <= COCO_APART:
            raise ValueError(
                f"the {file} file has {len(own.names):,} images; --coco_split 5k sets "
                f"{COCO_APART:,} of each file apart and trains on the rest: give --coco_split whole"
            )
    train, val = (
        replace(own, captions=[captions[:COCO_CAPTIONS] for captions in own.captions])
        for own in (train, val)
    )
    last = len(train.names) - COCO_APART
    return {
        "train": join(train.take(range(last)), val.take(range(COCO_APART, len(val.names)))),
        "validation": train.take(range(last, len(train.names))),
        "test": val.take(range(COCO_APART)),
    }


def _coco_1k(train: Records, val: Records) -> dict[str, Records]:
    """`--coco_split 1k` of the two files, images ascending by id."""
    if len(val.names) < 2 * FIRST:
        raise ValueError(
            f"the val file has {len(val.names):,} images; --coco_split 1k takes {2 * FIRST:,} of "
            "them: give --coco_split whole"
        )
    validation, test = (val.take(range(start, start + FIRST)) for start in (0, FIRST))
    return {"train": train, "validation": validation, "test": test}


def _coco_files(source: Path) -> list[Path]:
    """The one file, or the train and the val file of one year."""
    if source.is_file():
        return [source]
    for pattern in ("captions_*.json", "annotations/captions_*.json"):
        files = sorted(source.glob(pattern))
        if len(files) == 2 and files[0].name.replace("train", "val") == files[1].name:
            return files
        if len(files) > 1:
            names = some(path.name for path in files)
            raise ValueError(
                f"{source} holds {names}; expected one captions file, or train and val of a year. "
                "Let data_dir point at one file, or move the others away"
            )
        if files:
            return files
    return [find_file(source, ("*.json",), "captions JSON (captions_*.json)")]


def _read_coco_file(path: Path) -> Records:
    """Images of one captions file, ascending by id."""
    refuse = _refusal(
        path, "COCO captions file", "images (id, file_name) and annotations (image_id, caption)"
    )
    content = read_json_text(path)
    images: dict[int | str, str] = {}
    captions: dict[int | str, list[str]] = {}
    twice = 0
    for place, image in enumerate(json_entries(content, "images", ("id", "file_name"), refuse)):
        where = f"{path}, entry {place} of images"
        key = _coco_id(image["id"], where)
        twice += key in images
        images[key] = name_text(image["file_name"], where, "file_name")
    if twice:
        raise ValueError(f"{path}: {twice} image ids stand there twice; each must be unique")
    needs = ("image_id", "caption")
    for place, entry in enumerate(json_entries(content, "annotations", needs, refuse)):
        where = f"{path}, entry {place} of annotations"
        own = captions.setdefault(_coco_id(entry["image_id"], where), [])
        own += caption_texts(entry["caption"], where)
    strangers = sorted((key for key in captions if key not in images), key=_numbers_first)
    if strangers:
        raise ValueError(
            f"{path}: captions without images: {len(strangers)} image ids of annotations are not "
            f"among images: {some(strangers)}"
        )
    keys = sorted(images, key=_numbers_first)
    names = [images[key] for key in keys]
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    part = path.stem.removeprefix("captions_")  # train2014, ...
    pictures = find_pictures(names, root, (root / part, root / "images" / part))
    return Records(names, [captions.get(key, []) for key in keys], pictures=pictures)


def _coco_id(value: Any, where: str) -> int | str:
    """An id as a number, also where it is written as text; other texts as they are."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip():
        text = name_text(value, where, "id")
        return int(text) if text.isdecimal() and len(text) < 19 else text
    raise ValueError(f"{where}: id {shown(value)}; expected a number")


def _numbers_first(key: int | str) -> tuple[bool, int, str]:
    """What ids are sorted by where some are texts."""
    return (True, 0, key) if isinstance(key, str) else (False, key, "")


def _refusal(path: Path, what: str, expected: str) -> Callable[[str], ValueError]:
    """Makes the error of a JSON file that is laid out otherwise."""
    return lambda missed: ValueError(
        f"{path} is not a {what}: expected {expected}; missed {missed}"
    )


# Karpathy.


def read_karpathy(source: Path, options: ReadingOptions) -> dict[str, Records]:
    """`dataset_*.json`: images with `filename`, `split` and `sentences` (`raw`); restval trains.

    With `coco_split` 1k restval is left out, and of val and test only the first 1,000 images are
    kept: of COCO 82,783 / 1,000 / 1,000, as in Vilalta et al., 2019. 5k and random are of COCO
    files.

    Raises:
      ValueError: the file is laid out otherwise, or an image's split is none of train, restval, val
        and test; `coco_split` is for other files.
    """
    if options.coco_split not in ("whole", "1k"):
        raise ValueError(
            f"--coco_split {options.coco_split} is for --data coco; expected whole or 1k"
        )
    path = find_file(source, ("dataset*.json",), "dataset JSON (dataset_*.json)")
    refuse = _refusal(path, "Karpathy dataset", "images with filename, split and sentences (raw)")
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    files: dict[str, list[str]] = {split: [] for split in SPLITS}
    captions: dict[str, list[list[str]]] = {split: [] for split in SPLITS}
    needs, shelf = ("filename", "split", "sentences"), cache(Shelf)
    for place, image in enumerate(json_entries(read_json_text(path), "images", needs, refuse)):
        name = name_text(image["filename"], f"{path}, entry {place} of images", "filename")
        where = f"{path}, image {name}"
        split = split_word(image["split"], where)
        if options.coco_split == "1k" and (
            image["split"].strip().lower() == "restval"
            or (split != "train" and len(names[split]) == FIRST)
        ):
            continue
        folder = image.get("filepath")
        inside = f"{name_text(folder, where, 'filepath')}/" if folder not in (None, "") else ""
        names[split].append(name)
        files[split].append(f"{inside}{name}")
        sentences = json_entries(image, "sentences", ("raw",), refuse)
        captions[split].append(
            [text for one in sentences for text in caption_texts(one["raw"], where)]
        )
    return {
        split: Records(
            names[split],
            captions[split],
            pictures=find_pictures(files[split], path.parent, shelf=shelf),
        )
        for split in SPLITS
    }
