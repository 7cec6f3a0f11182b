"""Readers of the data formats, one function each: layout on disk -> records of each split.

  scenes                built in, drawn by `scenes.py`
  flickr8k, flickr30k   token file and split lists, with or without pictures
  coco                  captions JSON of the COCO challenge
  karpathy              dataset_*.json with the splits of Karpathy and Fei-Fei
  precomp               vectors and captions as VSE++ lays them out

NUS-WIDE-Lite and a student's own table have their own files, `nuswide.py` and `table.py`. What
holds for every format (no image in two splits, none without captions, vectors of one size) is
checked once, in `datasets.py`.

Shape letters: N images, M captions, F feature, K concepts.
"""

import hashlib
import logging
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from data.formats.records import (
    SPLITS,
    Options,
    Records,
    blocks,
    cut_in_three,
    draw_validation,
    find_file,
    find_pictures,
    join,
    picture_folders,
    read_annotations,
    read_captions,
    read_lines,
    read_names,
    read_vectors,
    some,
    split_word,
)
from run.files import PackedStrings, open_arrays, pack_strings, write_arrays

logger = logging.getLogger(__name__)

TOKEN_FILES = ("Flickr8k.token.txt", "results.token", "results_20130124.token")
COCO_APART, COCO_CAPTIONS = 5000, 5  # of --coco_split 5k
SPLIT_LISTS = {
    "train": ("Flickr_8k.trainImages.txt", "train_images.txt", "train.txt"),
    "validation": ("Flickr_8k.devImages.txt", "val_images.txt", "val.txt"),
    "test": ("Flickr_8k.testImages.txt", "test_images.txt", "test.txt"),
}


def read_scenes(source: Path | None, options: Options) -> dict[str, Records]:
    """The built-in data set: 4,000 / 500 / 1,000 drawn images (or `limit` of each), five captions.

    Drawing takes seconds, so it is done once; the cache file is named by the code that draws, the
    seed and the number, and pictures are memory-mapped from it.
    """
    return {split: _read_scene_split(split, options) for split in SPLITS}


def _read_scene_split(split: str, options: Options) -> Records:
    key = hashlib.sha256(f"{PIL.__version__} {options.seed} {options.limit}".encode())
    for code in sorted((Path(__file__).parents[1] / "scenes").glob("*.py")):
        key.update(code.read_bytes())
    path = options.cache_dir / f"scenes_{split}_{key.hexdigest()[:16]}.npz"
    if not path.exists():
        write_arrays(path, _draw_scenes(split, options))
    stored = open_arrays(path)
    texts = list(PackedStrings(stored["texts"], stored["offsets"]))
    ends = np.cumsum(stored["counts"]).tolist()
    return Records(
        names=[f"{split}-{index:05d}" for index in range(len(ends))],
        captions=[texts[start:end] for start, end in zip([0, *ends], ends, strict=False)],
        pictures=stored["pictures"],
        concepts=stored["concepts"],
        fits=partial(_scene_fits, split, len(ends), options.seed),
    )


def _draw_scenes(split: str, options: Options) -> dict[str, np.ndarray]:
    """What the cache holds of one split."""
    from tqdm import tqdm

    from data.scenes import drawing, world

    count = min(world.SPLITS[split], options.limit or world.SPLITS[split])
    drawn, captions = world.make_scenes(split, count, options.seed)
    texts, offsets = pack_strings([caption.text for own in captions for caption in own])
    parts = tqdm(range(0, count, 100), desc=f"drawing scenes ({split})", disable=None, leave=False)
    return {
        "pictures": np.concatenate(
            [drawing.draw_all(drawn[start : start + 100]) for start in parts]
        ),
        "concepts": np.stack([world.concepts(scene) for scene in drawn]),
        "counts": np.array([len(own) for own in captions]),
        "texts": texts,
        "offsets": offsets,
    }


def _scene_fits(split: str, count: int, seed: int) -> np.ndarray:
    """(M, N) bool, which captions are true of which scenes."""
    from data.scenes import world

    drawn, captions = world.make_scenes(split, count, seed)
    return world.fit_matrix([caption for own in captions for caption in own], drawn)


# Flickr8k and Flickr30k.


def read_flickr(source: Path, options: Options) -> dict[str, Records]:
    """Token file (`name.jpg#0<TAB>caption`) and one list of image names for each split.

    Captions of images that no list names are left out, with a word in the log: the official files
    hold some too (92 images of Flickr8k, 769 of Flickr30k).

    Raises:
      ValueError: a malformed line, a gap in the numbers of an image's captions, a picture missing.
    """
    captions = _read_tokens(find_file(source, TOKEN_FILES, "file of captions"))
    records, listed = {}, set()
    for split, patterns in SPLIT_LISTS.items():
        names = read_names(find_file(source, patterns, f"list of {split} images"))
        # Some lists of Flickr30k leave the suffix out.
        names = [f"{name}.jpg" if f"{name}.jpg" in captions else name for name in names]
        listed.update(names)
        records[split] = Records(
            names=names,
            captions=[captions.get(name, []) for name in names],
            pictures=find_pictures(names, picture_folders(source)),
        )
    unlisted = [name for name in captions if name not in listed]
    if unlisted:
        logger.warning(
            "%d images have captions in %s but stand in no split list; left out: %s",
            len(unlisted),
            source,
            some(unlisted),
        )
    return records


def _read_tokens(path: Path) -> dict[str, list[str]]:
    """Captions of each image, in the order of their numbers."""
    numbered: dict[str, dict[int, str]] = {}
    for number, line in enumerate(read_lines(path), 1):
        key, tab, caption = line.partition("\t")
        name, mark, digits = key.strip().rpartition("#")
        if not (tab and mark and name and digits.isdecimal() and caption.strip()):
            raise ValueError(
                f"{path}, line {number}: expected name.jpg#0, a tab, a caption; got {line[:60]!r}"
            )
        own = numbered.setdefault(name, {})
        if int(digits) in own:
            raise ValueError(f"{path}, line {number}: caption {key.strip()} stands there twice")
        own[int(digits)] = caption
    for name, own in numbered.items():
        gap = next((k for k in range(len(own)) if k not in own), None)
        if gap is not None:
            raise ValueError(
                f"{path}: caption {name}#{gap} is missing, though the image has later ones; "
                "was a line lost?"
            )
    counts = Counter(map(len, numbered.values()))
    usual = max(counts, key=lambda count: counts[count], default=0)
    short = [name for name, own in numbered.items() if len(own) < usual]
    if short:
        logger.warning(
            "%s: %d of %d images have fewer than the usual %d captions (is the file whole?): %s",
            *(path, len(short), len(numbered), usual, some(short)),
        )
    return {name: [own[k] for k in sorted(own)] for name, own in numbered.items()}


# COCO.


def read_coco(source: Path, options: Options) -> dict[str, Records]:
    """COCO captions JSON, in the folder or in its `annotations/`.

    With a train and a val file of the same year, `coco_split` says which images make which split:

      whole   test is the whole val file, validation is drawn by the seed from the train file
      5k      by ascending id: test is the first 5,000 of val, validation the last 5,000 of train,
              all others of both files train; the first five captions of each image, in the file's
              order. Of 2014: 113,287 / 5,000 / 5,000

    `whole` keeps every caption. With one file (or when `data_dir` points at one), the images
    are sorted by id: the first 80 % train, the next 10 % are validation, the last 10 % test.
    Pictures are looked for in `<split><year>/`, `images/<split><year>/` and `images/`.

    Reference: 5k is that of Timofeev et al., Multi-modal retrieval with smooth weighting of
      negatives, 2021, its authors' code.
    """
    files = _coco_files(source)
    if len(files) == 1 and options.coco_split == "5k":
        raise ValueError(
            f"{files[0]} is alone: --coco_split 5k needs the train and the val file of a year in "
            "one folder; or give --coco_split whole"
        )
    whole = [_read_coco_file(path) for path in files]
    if len(files) == 1:
        pieces = cut_in_three(range(len(whole[0].names)))
        return {split: whole[0].take(rows.tolist()) for split, rows in pieces.items()}
    if options.coco_split == "5k":
        return _coco_5k(*whole)
    train, test = whole
    kept, drawn = draw_validation(len(train.names), options)
    return {
        "train": train.take(kept.tolist()),
        "validation": train.take(drawn.tolist()),
        "test": test,
    }


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
    content = read_annotations(path)
    try:
        images = {image["id"]: image["file_name"] for image in content["images"]}
        rows = [(entry["image_id"], entry["caption"]) for entry in content["annotations"]]
        twice = len(content["images"]) - len(images)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a COCO captions file: expected images (id, file_name) and annotations "
            f"(image_id, caption); missed {error}"
        ) from error
    if twice:
        raise ValueError(f"{path}: {twice} image ids stand there twice; each must be unique")
    captions: dict[Any, list[str]] = {key: [] for key in sorted(images)}
    strangers = sorted({key for key, _ in rows if key not in images})
    if strangers:
        raise ValueError(
            f"{path}: captions without images: {len(strangers)} image ids of annotations are not "
            f"among images: {some(strangers)}"
        )
    for key, caption in rows:
        captions[key].append(str(caption))
    names = [images[key] for key in captions]
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    part = path.stem.removeprefix("captions_")  # train2014, ...
    folders = [root / part, root / "images" / part, *picture_folders(root)]
    return Records(names, list(captions.values()), pictures=find_pictures(names, folders))


# Karpathy.


def read_karpathy(source: Path, options: Options) -> dict[str, Records]:
    """`dataset_*.json`: images with `filename`, `split` and `sentences` (`raw`); restval trains.

    Raises:
      ValueError: the file is laid out otherwise, or an image's split is none of train, restval, val
        and test.
    """
    path = find_file(source, ("dataset*.json",), "dataset JSON (dataset_*.json)")
    content = read_annotations(path)
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    files: dict[str, list[str]] = {split: [] for split in SPLITS}
    captions: dict[str, list[list[str]]] = {split: [] for split in SPLITS}
    try:
        for image in content["images"]:
            split = split_word(image["split"], f"{path}, image {image['filename']}")
            names[split].append(image["filename"])
            files[split].append("/".join(filter(None, (image.get("filepath"), image["filename"]))))
            captions[split].append([sentence["raw"] for sentence in image["sentences"]])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a Karpathy dataset: expected images with filename, split and sentences "
            f"(raw); missed {error}"
        ) from error
    folders = [path.parent, *picture_folders(path.parent)]
    return {
        split: Records(names[split], captions[split], pictures=find_pictures(files[split], folders))
        for split in SPLITS
    }


# VSE++ vectors.


def read_precomp(source: Path, options: Options) -> dict[str, Records]:
    """`{train,dev,test}_ims.npy`, `_caps.txt` and, if there, `_ids.txt`, as VSE++ lays them out.

    The captions of image i stand together; their number is the ratio of lines to rows. Rows that
    are repeated once for each caption are recognised, and one of each is kept (a strided view).
    Vectors stay memory-mapped. Pictures are looked for in `images/` by the names of `_ids.txt`.
    """
    files = {"train": "train", "validation": "dev", "test": "test"}
    return {split: _read_precomp_split(source, word) for split, word in files.items()}


def _read_precomp_split(source: Path, word: str) -> Records:
    vectors_path = find_file(source, (f"{word}_ims.npy",), f"file of {word} vectors")
    captions_path = find_file(source, (f"{word}_caps.txt",), f"file of {word} captions")
    vectors, captions = read_vectors(vectors_path), read_captions(captions_path)
    repeats = _count_repeats(vectors, vectors_path) if len(vectors) == len(captions) else 1
    vectors = vectors[::repeats]
    num_images = len(vectors)
    if not captions or len(captions) % num_images:
        near = max(1, round(len(captions) / num_images)) * num_images
        raise ValueError(
            f"{captions_path} has {len(captions)} lines for the {num_images} rows of "
            f"{vectors_path.name}: expected a multiple, such as {near}; "
            f"{abs(near - len(captions))} too {'few' if near > len(captions) else 'many'}?"
        )
    each = len(captions) // num_images
    names = [f"{word}-{row}" for row in range(num_images)]
    pictures = None
    if (source / f"{word}_ids.txt").exists():
        names = _precomp_names(source / f"{word}_ids.txt", num_images, each) or names
        pictures = find_pictures(names, picture_folders(source))
    own = [captions[start : start + each] for start in range(0, len(captions), each)]
    return Records(names, own, vectors=vectors, pictures=pictures)


def _count_repeats(vectors: np.ndarray, path: Path) -> int:
    """How often each row is repeated: 1, or 5 where there is a row for each of five captions.

    Two images may share a vector, so the answer is the greatest common divisor of the run lengths.
    """
    if len(vectors) < 2 or not np.array_equal(vectors[0], vectors[1]):
        return 1
    changed = np.ones(len(vectors), bool)
    for start, block in blocks(vectors[1:]):
        differs = block != vectors[start : start + len(block)]
        changed[start + 1 : start + 1 + len(block)] = differs.reshape(len(block), -1).any(axis=1)
    starts = np.flatnonzero(changed)
    lengths = np.diff(np.append(starts, len(vectors)))  # (runs,)
    usual = int(np.median(lengths))
    repeats = int(np.gcd.reduce(lengths))
    if repeats == 1 and usual > 1:
        odd = starts[lengths % usual != 0][0]
        raise ValueError(
            f"{path}: most rows are repeated {usual} times, as if there were one for each caption, "
            f"but the run from row {odd} (counted from 0) is not; save one row for each image"
        )
    return repeats if repeats < len(vectors) else 1


def _precomp_names(path: Path, num_images: int, each: int) -> list[str] | None:
    """Names of the images, or None where the file only counts the rows."""
    ids = read_names(path)
    if len(ids) not in (num_images, num_images * each):
        raise ValueError(
            f"{path} has {len(ids)} lines; expected {num_images}, one for each image, "
            f"or {num_images * each}, one for each caption"
        )
    if ids == [str(row) for row in range(len(ids))]:
        return None  # row numbers: every split has the same ones
    groups = [ids[start : start + each] for start in range(0, len(ids), each)]
    if len(ids) == num_images:
        return ids
    if len(set(ids)) < len(ids) and any(len(set(group)) > 1 for group in groups):
        wrong = next(index for index, group in enumerate(groups) if len(set(group)) > 1)
        raise ValueError(
            f"{path}, line {wrong * each + 1}: expected the same id {each} times, once for each "
            f"caption; got {some(groups[wrong])}"
        )
    return [group[0] for group in groups]
