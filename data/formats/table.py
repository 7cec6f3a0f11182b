"""Reader of a student's own data: one table of captions, CSV or JSON lines.

Also of the tables in which captions are downloaded: open_clip's TSV (`filepath`, `title`), Kaggle's
Flickr8k (`captions.txt`) and Flickr30k (`results.csv`, bars between the columns).

Shape letters: N images, F feature, K concepts.
"""

import csv
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.formats.drawing import draw_three, draw_validation
from data.formats.pictures import SUFFIX, locate
from data.formats.records import (
    ReadingOptions,
    Records,
    find_file,
    read_vectors,
    split_word,
    take_rows,
)
from data.formats.shuffled import read_shuffled
from data.formats.text import caption_texts, composed, name_text, read_lines, shown
from run import files
from run.console import printable

logger = logging.getLogger(__name__)

TABLES = ("*.csv", "*.tsv", "*.jsonl")
QUOTE_IT = "put a caption that holds a {} in double quotes"
DELIMITERS = {
    ",": QUOTE_IT.format("comma"),
    "\t": QUOTE_IT.format("tab"),
    ";": QUOTE_IT.format("semicolon"),
    "|": "a caption between bars holds none itself",
}
# What the columns are called, the first name that is there counts.
HEADERS = {
    "image": ("image", "filepath", "filename", "file_name", "image_name", "image_path", "image_id"),
    "caption": ("caption", "title", "comment", "text", "sentence"),
    "split": ("split",),
    "concepts": ("concepts",),
}
_NUMBER = re.compile(r"([0-9]{1,18})(?:\.0*)?")  # pandas writes row numbers as 3.0


class TableRow(NamedTuple):
    """One line of a table."""

    line: int
    image: str
    captions: list[str]
    split: str | None  # None: the table has no such column
    concepts: list[str]


def read_table(source: Path, options: ReadingOptions) -> dict[str, Records]:
    """A `.csv` with a header (image, caption, split, concepts) or a `.jsonl` with the same keys.

    One caption on each line, or several: columns of the same name, a list in JSON; lines with the
    same image are captions of one image. `image` is a picture file, searched as everywhere
    (`pictures.py`); or, when every image is a whole number and the folder holds `<table>.npy`,
    `features.npy` or a single `.npy`, a row of that file, counted from 0. `concepts` are names
    joined by `;` (a list in JSON) and may be left out. Columns are separated by commas, tabs,
    semicolons or bars. What the table does not split is drawn (`drawing.py`). The test split of an
    assignment lies beside the table (`shuffled.py`).
    """
    kaggle = source / "captions.txt"
    alone = kaggle.is_file() and not any(list(source.glob(pattern)) for pattern in TABLES)
    path = kaggle if alone else find_file(source, TABLES, "table of captions")
    rows = read_rows(path)
    vectors, places = _images(path, rows)
    concepts = sorted({name for row in rows for name in row.concepts})
    parts: dict[str, list[TableRow]] = {}
    for row in rows:
        word = "" if row.split is None else split_word(row.split, f"{path}, line {row.line}")
        parts.setdefault(word, []).append(row)
    records = {
        split: _table_records(part, vectors, places, concepts) for split, part in parts.items()
    }
    handed_out = read_shuffled(path.parent)
    if handed_out and {"", "test"} & set(records):
        raise ValueError(
            f"{path} and {path.parent}: both hold test images; take one of them away, or give the "
            "lines of the table the splits train and validation"
        )
    if handed_out:
        records["test"] = handed_out
    if "" in records:
        return draw_three(records[""], options, str(path))
    absent = [split for split in ("train", "test") if split not in records]
    if absent:
        raise ValueError(
            f"{path}: no line has split {' or '.join(absent)}; add some, or leave the column out"
        )
    if "validation" not in records:
        drawn = draw_validation(records["train"], options, str(path))
        records["train"], records["validation"] = drawn
    return records


def read_rows(path: Path) -> list[TableRow]:
    """All lines of a table, checked.

    Raises:
      ValueError: names the line that is none.
    """
    jsonl = path.suffix.lower() == ".jsonl"
    rows = list(_json_rows(path) if jsonl else _csv_rows(path))
    if not rows:
        raise ValueError(f"{path} holds no captions")
    without = next((row for row in rows if row.split is None), None)
    if without and any(row.split is not None for row in rows):
        raise ValueError(f"{path}, line {without.line}: no split, though other lines have one")
    return rows


def _table_records(
    rows: list[TableRow], vectors: np.ndarray | None, places: dict[str, str], concepts: list[str]
) -> Records:
    """Groups lines by image, in the order in which the images first appear."""
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row.image, []).extend(row.captions)
    names = list(captions)
    column = {name: index for index, name in enumerate(concepts)}
    position = {name: index for index, name in enumerate(names)}
    hot = np.zeros((len(names), len(concepts)), np.float32)
    for row in rows:
        for name in row.concepts:
            hot[position[row.image], column[name]] = 1
    return Records(
        names=names,
        captions=list(captions.values()),
        vectors=None if vectors is None else take_rows(vectors, [int(name) for name in names]),
        pictures=[places[name] for name in names] if vectors is None else None,
        concepts=hot if concepts else None,
    )


def _images(path: Path, rows: list[TableRow]) -> tuple[np.ndarray | None, dict[str, str]]:
    """The features that the images are rows of, or the picture file of each image.

    TableRow numbers become the same text however they are written: 0000 and 0.0 are 0.
    """
    numbers = [_NUMBER.fullmatch(row.image) for row in rows]
    choices = [path.with_suffix(".npy"), path.parent / "features.npy"]
    features = next((choice for choice in choices if choice.exists()), None)
    odd = [row for row, number in zip(rows, numbers, strict=True) if not number]
    if features and odd and len(odd) < len(rows) / 2:
        raise ValueError(
            f"{path}, line {odd[0].line}: image {odd[0].image!r} is no row number, as "
            f"{len(rows) - len(odd)} other lines have for {features.name}"
        )
    if not odd:
        for index, (row, number) in enumerate(zip(rows, numbers, strict=True)):
            rows[index] = row._replace(image=number[1] if number else row.image)
    if odd or not (features or any(path.parent.glob("*.npy"))):
        places = _picture_files(path, rows, needed=bool(odd))
        if places:
            return None, places
    features = features or find_file(path.parent, ("*.npy",), f"features that {path.name} numbers")
    vectors = read_vectors(features)
    for index, row in enumerate(rows):
        if int(row.image) >= len(vectors):
            raise ValueError(
                f"{path}, line {row.line}: image {row.image} is no row of {features.name}, "
                f"which has rows 0 to {len(vectors) - 1}"
            )
        rows[index] = row._replace(image=str(int(row.image)))
    return vectors, {}


def _picture_files(path: Path, rows: list[TableRow], needed: bool) -> dict[str, str]:
    """The picture file of each image; none where none is found and none is needed."""
    start = f"{path.parent}/"
    for index, row in enumerate(rows):
        rows[index] = row._replace(image=row.image.removeprefix(start))
    names = list(dict.fromkeys(row.image for row in rows))
    _, found = locate(names, path.parent) or ("", [None] * len(names))
    missing = {name for name, file in zip(names, found, strict=True) if file is None}
    if missing and (needed or len(missing) < len(names)):
        lines = [row for row in rows if row.image in missing]
        raise ValueError(
            f"{path}, line {lines[0].line}: captions without images: no picture file "
            f"{lines[0].image} in {path.parent} or the folders in it; lines like it: {len(lines)}"
        )
    return {name: file for name, file in zip(names, found, strict=True) if file and not missing}


# CSV.


def _columns(header: list[str]) -> dict[str, list[int]]:
    """The places of image, caption, split and concepts in a header; {} where it is none.

    Raises:
      ValueError: one that must be alone stands there twice.
    """
    names = [name.strip().lower() for name in header]
    columns: dict[str, list[int]] = {}
    for role, known in HEADERS.items():
        ending = r"(?:[ _.]?\d+)?" if role == "caption" else ""  # pandas writes caption.1
        for name in known:
            places = [n for n, one in enumerate(names) if re.fullmatch(name + ending, one)]
            if places:
                if len(places) > 1 and role != "caption":
                    raise ValueError(f"{name!r} stands twice in the header")
                columns[role] = places
                break
    return columns if {"image", "caption"} <= set(columns) else {}


def _csv_rows(path: Path) -> Iterator[TableRow]:
    """Lines of a table of columns."""
    lines = read_lines(path)
    first = lines[0] if lines else ""
    for delimiter in DELIMITERS:
        loose = {**_dialect(delimiter), "strict": False}
        header = next(csv.reader([first], **loose), [])
        try:
            columns = _columns(header)
        except ValueError as error:
            raise ValueError(f"{path}, line 1: {error}; leave one") from error
        if columns:
            break
    else:
        raise ValueError(
            f"{path}, line 1: expected the header image,caption,split,concepts (the last two "
            f"may be left out), or filepath and title; got {printable(first[:80]) or 'nothing'}"
        )
    for line, read in _csv_cells(path, lines, delimiter, columns["image"][0], len(header)):
        lacks_bar = delimiter == "|" and len(read) == len(header) - 1
        cells = _mend_bar(path, line, read) if lacks_bar else read
        if len(cells) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(cells)} columns, the header has {len(header)}; "
                + DELIMITERS[delimiter]
            )
        if line == 1:
            continue
        if cells == header:
            raise ValueError(f"{path}, line {line}: the header again; remove the line")
        values = {role: [cells[n].strip() for n in places] for role, places in columns.items()}
        captions = [text for text in values["caption"] if text] or [""]
        split = values["split"][0] if "split" in values else None
        concepts = values.get("concepts", [""])[0]
        yield _row(f"{path}, line {line}", line, values["image"][0], captions, split, concepts)


def _csv_cells(
    path: Path, lines: list[str], delimiter: str, image: int, width: int
) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, cells) of each row; what a quote may hide is refused.

    Raises:
      ValueError: a quote is not closed, or closed where the cell does not end; or a quoted cell
        holds a line that looks like a row.
    """
    feed = (line + "\n" for line in lines)
    reader = csv.reader(feed, **_dialect(delimiter))
    start, images = 1, set()
    try:
        for cells in reader:
            for place in range(start, reader.line_num):  # lines inside a cell
                parts = lines[place].split(delimiter)
                name = parts[image].strip() if len(parts) >= width else " "
                seen = name in images or SUFFIX.search(name) or re.search(r"\d", name)
                if (seen or (name and len(parts) == width)) and not re.search(r"\s", name):
                    raise csv.Error(f"line {place + 1} looks like a row of its own")
            if cells:
                yield start, cells
                images.add(cells[min(image, len(cells) - 1)].strip())
            start = reader.line_num + 1
    except csv.Error as error:
        what = f"not valid CSV ({error})"
        if reader.line_num > start or "end of data" in str(error):
            what = f"the quote that opens a cell here is not closed in its place ({error})"
        raise ValueError(
            f"{path}, line {start}: {what}; close it right before the next column, or write a "
            "quote inside a quoted cell twice"
        ) from error


def _dialect(delimiter: str) -> dict[str, Any]:
    """How `csv.reader` reads cells; a quote may open one behind blanks.

    Kaggle's captions between bars hold quotes that are no quotes of cells.
    """
    quoting = csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL
    return {"delimiter": delimiter, "strict": True, "quoting": quoting, "skipinitialspace": True}


def _mend_bar(path: Path, line: int, cells: list[str]) -> list[str]:
    """The cells of a row that lacks its last bar, as one row of Kaggle's Flickr30k does."""
    found = re.fullmatch(r"\s*(\d+)\s+(.*\S)\s*", cells[-1])
    if not found:
        return cells
    logger.warning(
        "%s, line %d: a bar is missing; read as number %s and caption %r",
        path,
        line,
        *found.groups(),
    )
    return [*cells[:-1], *found.groups()]


# JSON lines.


def _json_rows(path: Path) -> Iterator[TableRow]:
    """Lines of a JSON lines table; blank ones are passed over."""
    for number, line in enumerate(read_lines(path), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        value = files.parse_json(line, where)
        value = value if isinstance(value, dict) else {}
        keys = list(value)
        try:
            columns = _columns(keys)
        except ValueError as error:
            raise ValueError(f"{where}: {error}; leave one") from error
        if not columns:
            raise ValueError(f"{where}: expected an object with image and caption")
        cells = {role: [value[keys[place]] for place in own] for role, own in columns.items()}
        image, split = cells["image"][0], cells.get("split", [None])[0]
        if isinstance(image, int | float) and not isinstance(image, bool):
            image = str(image)
        captions = [text for own in cells["caption"] for text in caption_texts(own, where)]
        yield _row(where, number, image, captions, split, cells.get("concepts", [""])[0])


def _row(
    where: str, line: int, image: Any, captions: list[str], split: Any, concepts: Any
) -> TableRow:
    """One line of either kind of table, checked."""
    if image == "":
        raise ValueError(f"{where}: empty image; every line must hold one")
    image = posixpath.normpath(name_text(image, where, "image").replace("\\", "/"))
    concepts = "" if concepts is None else concepts
    named = concepts.split(";") if isinstance(concepts, str) else concepts
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ValueError(f"{where}: concepts {shown(concepts)}; expected names joined by ;")
    split = None if split is None else name_text(split, where, "split")
    names = [composed(name.strip()) for name in named if name.strip()]
    return TableRow(line, image, caption_texts(captions, where), split, names)
