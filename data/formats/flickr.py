"""Reader of Flickr8k and Flickr30k, as their authors and as Kaggle hand them out.

  token file    Flickr8k.token.txt, results.token: lines `name.jpg#0<TAB>caption`
  Kaggle        captions.txt (image,caption), results.csv (image_name| comment_number| comment)
  lists         Flickr_8k.trainImages.txt, train_images.txt, train.txt and the like; without any the
                splits are drawn (`drawing.py`)

All may lie in folders below, as archives unpack. Pictures are searched as everywhere.
"""

import logging
import os
import re
from collections import Counter
from functools import cache
from itertools import chain
from pathlib import Path

from data.formats.drawing import draw_three
from data.formats.pictures import Shelf, find_pictures, folded
from data.formats.records import ReadingOptions, Records, find_file, some, subfolders
from data.formats.table import read_rows
from data.formats.text import caption_texts, name_text, read_lines, read_names

logger = logging.getLogger(__name__)

TOKEN_FILES = ("Flickr8k.token.txt", "results.token", "results_20130124.token")
KAGGLE_FILES = ("captions.txt", "results.csv")
SPLIT_LISTS = {
    "train": ("Flickr_8k.trainImages.txt", "train_images.txt", "train.txt"),
    "validation": ("Flickr_8k.devImages.txt", "val_images.txt", "val.txt"),
    "test": ("Flickr_8k.testImages.txt", "test_images.txt", "test.txt"),
}


def read_flickr(source: Path, options: ReadingOptions) -> dict[str, Records]:
    """Captions of each image, and one list of image names for each split.

    Captions of images that no list names are left out, with a word in the log: the official files
    hold some too (92 images of Flickr8k, 769 of Flickr30k). Without any list, splits are drawn.

    Raises:
      ValueError: a malformed line, a gap in the numbers of an image's captions, a picture missing.
    """
    there, lists = set(os.listdir(source)), set(chain(*SPLIT_LISTS.values()))
    if not (there & lists and there & {*TOKEN_FILES, *KAGGLE_FILES}):
        there.update(name for folder in subfolders(source) for name in os.listdir(folder))
    names = TOKEN_FILES if there & set(TOKEN_FILES) else (*TOKEN_FILES, *KAGGLE_FILES)
    path = find_file(source, names, "file of captions", True)
    if path.name in KAGGLE_FILES:
        captions: dict[str, list[str]] = {}
        for row in read_rows(path):
            captions.setdefault(row.image, []).extend(row.captions)
    else:
        captions = _read_tokens(path)
    if not there & lists:
        others = [name for name in sorted(there) if re.search(r"(train|test).*\.txt$", name)]
        if others:
            raise ValueError(
                f"{source} holds {some(others)}, which are no names of split lists: call them "
                f"{', '.join(names[-1] for names in SPLIT_LISTS.values())}, or move them away to "
                "have the splits drawn"
            )
        names = list(captions)
        whole = Records(names, list(captions.values()), pictures=find_pictures(names, source))
        return draw_three(whole, options, str(source))
    # Lists may leave the suffix out, or write a name in another case.
    known = {folded(name): name for name in captions}
    records, listed, shelf = {}, set(), cache(Shelf)
    for split, patterns in SPLIT_LISTS.items():
        names = read_names(find_file(source, patterns, f"list of {split} images", True))
        names = [name if name in captions else known.get(folded(name), name) for name in names]
        listed.update(names)
        records[split] = Records(
            names=names,
            captions=[captions.get(name, []) for name in names],
            pictures=find_pictures(names, source, shelf=shelf),
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
    start = str(path)
    for number, line in enumerate(read_lines(path), 1):
        where = f"{start}, line {number}"
        key, tab, caption = line.partition("\t")
        name, mark, digits = key.strip().rpartition("#")
        number_there = digits.isdecimal() and len(digits) < 10
        if not (tab and mark and name and number_there and caption.strip()):
            raise ValueError(f"{where}: expected name.jpg#0, a tab, a caption; got {line[:60]!r}")
        if (own := numbered.get(name)) is None:
            own = numbered.setdefault(name_text(name, where), {})
        if int(digits) in own:
            raise ValueError(f"{where}: caption {key.strip()} stands there twice")
        own[int(digits)] = caption_texts(caption, where)[0]
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
