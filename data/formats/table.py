"""Reader of a student's own data: one table of captions, CSV or JSON lines.

Shape letters: N images, F feature, K concepts.
"""

import csv
import json
import posixpath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.formats.records import (
    Options,
    Records,
    cut_in_three,
    draw_validation,
    find_file,
    read_lines,
    read_vectors,
    split_word,
    take_rows,
)


class Row(NamedTuple):
    """One caption of a table."""

    line: int
    image: str
    caption: str
    split: str | None  # None: the table has no such column
    concepts: str  # names, joined by ;


def read_table(source: Path, options: Options) -> dict[str, Records]:
    """A `.csv` with a header (image, caption, split, concepts) or a `.jsonl` with the same keys.

    One caption on each line; lines with the same image are captions of one image. `image` is a
    picture file, relative to the table; or, when every image is a whole number and the folder holds
    `<table>.npy`, `features.npy` or a single `.npy`, a row of that file, counted from 0.
    `concepts` are names joined by `;` (a list in JSON) and may be left out. Without `split` the
    images are split by the seed, 80 / 10 / 10 percent; without validation images some are drawn
    from the training images.
    """
    path = find_file(source, ("*.csv", "*.jsonl"), "table of captions")
    rows = _json_rows(path) if path.suffix.lower() == ".jsonl" else _csv_rows(path)
    for row in rows:
        if not row.image or not row.caption:
            what = "caption" if row.image else "image"
            raise ValueError(f"{path}, line {row.line}: empty {what}; every line must hold one")
    if not rows:
        raise ValueError(f"{path} holds no captions")
    vectors = _table_vectors(path, rows)
    concepts = sorted({name for row in rows for name in _concept_names(row)})
    parts: dict[str, list[Row]] = {}
    for row in rows:
        word = "" if row.split is None else split_word(row.split, f"{path}, line {row.line}")
        parts.setdefault(word, []).append(row)
    records = {
        split: _table_records(path, part, vectors, concepts) for split, part in parts.items()
    }
    return _table_splits(path, records, options)


def _table_splits(path: Path, records: dict[str, Records], options: Options) -> dict[str, Records]:
    """Fills in the splits that the table itself does not name."""
    if "" in records:
        whole = records[""]
        order = np.random.default_rng(options.seed).permutation(len(whole.names))
        pieces = cut_in_three(order)
        return {split: whole.take(sorted(rows.tolist())) for split, rows in pieces.items()}
    absent = [split for split in ("train", "test") if split not in records]
    if absent:
        raise ValueError(
            f"{path}: no line has split {' or '.join(absent)}; add some, or leave the column out"
        )
    if "validation" not in records:
        train = records["train"]
        kept, drawn = draw_validation(len(train.names), options)
        records["train"], records["validation"] = (
            train.take(kept.tolist()),
            train.take(drawn.tolist()),
        )
    return records


def _table_records(
    path: Path, rows: list[Row], vectors: np.ndarray | None, concepts: list[str]
) -> Records:
    """Groups lines by image, in the order in which the images first appear."""
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row.image, []).append(row.caption)
    names = list(captions)
    column = {name: index for index, name in enumerate(concepts)}
    position = {name: index for index, name in enumerate(names)}
    hot = np.zeros((len(names), len(concepts)), np.float32)
    for row in rows:
        for name in _concept_names(row):
            hot[position[row.image], column[name]] = 1
    return Records(
        names=names,
        captions=list(captions.values()),
        vectors=None if vectors is None else take_rows(vectors, [int(name) for name in names]),
        pictures=[str(path.parent / name) for name in names] if vectors is None else None,
        concepts=hot if concepts else None,
    )


def _concept_names(row: Row) -> list[str]:
    return [name.strip() for name in row.concepts.split(";") if name.strip()]


def _table_vectors(path: Path, rows: list[Row]) -> np.ndarray | None:
    """The features that the images are rows of, or None where the images are picture files."""
    if not all(row.image.isdecimal() for row in rows):
        missing = [row for row in rows if not (path.parent / row.image).is_file()]
        if missing:
            raise ValueError(
                f"{path}, line {missing[0].line}: captions without images: no picture file "
                f"{missing[0].image} (paths start from {path.parent}); {len(missing)} such lines"
            )
        return None
    choices = [path.with_suffix(".npy"), path.parent / "features.npy"]
    own = next((choice for choice in choices if choice.exists()), None)
    features = own or find_file(path.parent, ("*.npy",), f"features that {path.name} numbers")
    vectors = read_vectors(features)
    for row in rows:
        if int(row.image) >= len(vectors):
            raise ValueError(
                f"{path}, line {row.line}: image {row.image} is no row of {features.name}, "
                f"which has rows 0 to {len(vectors) - 1}"
            )
    return vectors


def _csv_rows(path: Path) -> list[Row]:
    """Lines of a CSV table."""
    reader = csv.reader(line + "\n" for line in read_lines(path))
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not {"image", "caption"} <= set(header):
            raise ValueError(
                f"{path}, line 1: expected the header image,caption,split,concepts (the last two "
                f"may be left out); got {','.join(header)[:80] or 'nothing'}"
            )
        rows = []
        for cells in filter(None, reader):
            if len(cells) != len(header):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(cells)} columns, the header has "
                    f"{len(header)}; put a caption that holds a comma in double quotes"
                )
            rows.append(_row(reader.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    return rows


def _json_rows(path: Path) -> list[Row]:
    """Lines of a JSON lines table."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not valid JSON ({error.msg})") from error
        if not isinstance(value, dict) or not {"image", "caption"} <= set(value):
            raise ValueError(f"{path}, line {number}: expected an object with image and caption")
        concepts = value.get("concepts") or ""
        value["concepts"] = ";".join(concepts) if isinstance(concepts, list) else concepts
        rows.append(_row(number, value))
    splits = {row.split is None for row in rows}
    if len(splits) == 2:
        wrong = next(row for row in rows if row.split is None)
        raise ValueError(f"{path}, line {wrong.line}: no split, though other lines have one")
    return rows


def _row(line: int, cells: dict[str, Any]) -> Row:
    split = cells.get("split")
    image = str(cells["image"]).strip().replace("\\", "/")
    return Row(
        line=line,
        image=posixpath.normpath(image) if image else "",  # ./a.jpg is a.jpg
        caption=str(cells["caption"]).strip(),
        split=None if split is None else str(split),
        concepts=str(cells.get("concepts") or ""),
    )
