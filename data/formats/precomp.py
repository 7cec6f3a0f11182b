"""Reader of vectors and captions as VSE++ and SCAN lay them out.

Shape letters: N images, M captions, F feature.
"""

import logging
import re
from pathlib import Path

import numpy as np

from data.formats.identity import first_rows
from data.formats.pictures import find_pictures
from data.formats.records import ReadingOptions, Records, find_file, read_vectors, take_rows
from data.formats.text import read_captions, read_names, shown

logger = logging.getLogger(__name__)


def read_precomp(source: Path, options: ReadingOptions) -> dict[str, Records]:
    """`{train,dev,test}_ims.npy`, `_caps.txt` and, if there, `_ids.txt`, as VSE++ lays them out.

    The captions of image i stand together; their number is the ratio of lines to rows. With a row
    for each caption, equal rows are one image, in whatever order they stand: one of each is kept,
    and so said. Vectors stay memory-mapped where the order allows it. Pictures are searched by the
    names of `_ids.txt`. Of further folders (`options.beside`) the vectors alone are read; ids and
    captions beside them say whether their rows are of the same images.
    """
    files = {"train": "train", "validation": "dev", "test": "test"}
    folders = source, *options.beside
    return {split: _read_precomp_split(folders, word) for split, word in files.items()}


def side_by_side(parts: list[np.ndarray], paths: list[Path]) -> np.ndarray:
    """(N, F) of several arrays of N rows.

    Raises:
      ValueError: one has another number of rows, or several rows for each image.
    """
    for part, path in zip(parts, paths, strict=True):
        if part.ndim != 2 or len(part) != len(parts[0]):
            raise ValueError(
                f"{path} has shape {part.shape}, {paths[0]} {parts[0].shape}: side by side they "
                "need the same rows, one vector each"
            )
    return np.concatenate(parts, axis=1)


def check_same_order(folders: tuple[Path, ...], word: str, rows: int) -> None:
    """Refuses a further folder that itself says that its rows are of other images than the first's.

    Equal ids decide, or equal first captions, whatever their case and marks. Of a folder that holds
    neither nothing is known.

    Raises:
      ValueError: names the first row that is of another image.
    """
    known = _said_of_rows(folders[0], word, rows)
    for folder in folders[1:]:
        own = _said_of_rows(folder, word, rows)
        both = [name for name in known if name in own]
        if both and all(known[name] != own[name] for name in both):
            name = both[0]
            pairs = enumerate(zip(known[name], own[name], strict=True))
            row, (there, here) = next((row, pair) for row, pair in pairs if pair[0] != pair[1])
            raise ValueError(
                f"{folder / name}: row {row} (from 0) is of {shown(here)}, that of {folders[0]} of "
                f"{shown(there)}: side by side they need the same images in the same order; sort "
                f"the rows of {folder} as there"
            )


def _said_of_rows(folder: Path, word: str, rows: int) -> dict[str, list[str]]:
    """{file: what it says of each row}: ids, and letters of first captions, as far as known."""
    said: dict[str, list[str]] = {}
    readers = {f"{word}_ids.txt": read_names, f"{word}_caps.txt": read_captions}
    for name, read in readers.items():
        lines = read(folder / name) if (folder / name).is_file() else []
        each = len(lines) // rows
        if not lines or len(lines) % rows:
            continue
        if read is read_captions:
            said[name] = [re.sub(r"[\W_]+", " ", line).strip().lower() for line in lines[::each]]
        elif not _counts(lines, np.repeat(np.arange(rows), each)):
            said[name] = lines[::each]
    return said


def _read_precomp_split(folders: tuple[Path, ...], word: str) -> Records:
    source = folders[0]
    vectors_path = find_file(source, (f"{word}_ims.npy",), f"file of {word} vectors")
    captions_path = find_file(source, (f"{word}_caps.txt",), f"file of {word} captions")
    captions, vectors = read_captions(captions_path), read_vectors(vectors_path)
    if len(folders) > 1:
        name = (f"{word}_ims.npy",), f"file of {word} vectors"
        paths = [find_file(folder, *name) for folder in folders]
        vectors = side_by_side([read_vectors(path) for path in paths], paths)
        check_same_order(folders, word, len(vectors))
    rows = len(vectors)
    if not captions or len(captions) % rows:
        near = max(1, round(len(captions) / rows)) * rows
        raise ValueError(
            f"{captions_path} has {len(captions)} lines for the {rows} rows of "
            f"{vectors_path.name}: expected a multiple, such as {near}; "
            f"{abs(near - len(captions))} too {'few' if near > len(captions) else 'many'}?"
        )
    ids_path = source / f"{word}_ids.txt"
    ids = read_names(ids_path) if ids_path.exists() else []
    owner = np.repeat(np.arange(rows), len(captions) // rows)  # (M,)
    if rows == len(captions):
        told = len(ids) == rows and not _counts(ids, owner)
        owner = _images_of_rows(first_rows(vectors), ids if told else [""] * rows)
        kept = np.unique(owner, return_index=True)[1]
        if len(kept) < rows:
            logger.warning(
                "%s: equal rows are one image: %d rows, of which %d are kept",
                *(vectors_path, rows, len(kept)),
            )
            vectors = take_rows(vectors, kept)
    own: list[list[str]] = [[] for _ in range(len(vectors))]
    for image, caption in zip(owner.tolist(), captions, strict=True):
        own[image].append(caption)
    names = _names(ids, owner, len(vectors), ids_path) if ids else []
    pictures = find_pictures(names, source) if names else None
    names = names or [f"{word}-{row}" for row in range(len(vectors))]
    return Records(names, own, vectors=vectors, pictures=pictures)


def _images_of_rows(first: np.ndarray, ids: list[str]) -> np.ndarray:
    """(M,) the image of each row where there is a row for each caption.

    Ids that are repeated say it. Without them two images may have equal vectors: rows repeated in
    runs, or that follow one another in the same order again and again, tell them apart, and so do
    ids. Otherwise equal rows are one.

    Args:
      first: (M,) for each row the first that is equal to it.
      ids: M ids of the rows, all alike where they are not known.
    """
    rows = np.arange(len(first))
    keys = list(zip(first.tolist(), ids, strict=True))
    order = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    by_keys = np.array([order[key] for key in keys])
    if 1 < len(set(ids)) < len(ids):
        return by_keys
    if len(np.unique(first)) in (1, len(first)):  # of one vector only: nothing is known
        return rows
    runs = np.diff(np.flatnonzero(np.diff(first, prepend=-1, append=-1)))
    each = int(np.gcd.reduce(runs))
    if each > 1:
        return rows // each
    for period in range(len(np.unique(first)), len(first) // 2 + 1):
        if len(first) % period == 0 and (first.reshape(-1, period) == first[:period]).all():
            return rows % period
    return by_keys


def _counts(ids: list[str], owner: np.ndarray) -> bool:
    """Whether ids only count the images or the captions, from 0 or 1: every split has the same."""
    numbers = [name.lstrip("0") or "0" for name in ids]
    return any(
        numbers == list(map(str, counted))
        for start in (0, 1)
        for counted in (range(start, start + len(ids)), (owner + start).tolist())
    )


def _names(ids: list[str], owner: np.ndarray, num_images: int, path: Path) -> list[str]:
    """The id of each image, of ids of images or of captions; none where they only count.

    Raises:
      ValueError: there is another number of them, or the captions of one image have several.
    """
    if len(ids) not in (num_images, len(owner)):
        raise ValueError(
            f"{path} has {len(ids)} lines; expected {num_images}, one for each image, "
            f"or {len(owner)}, one for each caption"
        )
    if _counts(ids, owner):
        return []
    if len(ids) == num_images:
        return ids
    firsts = np.unique(owner, return_index=True)[1]
    names = [ids[row] for row in firsts]
    if len(set(ids)) == len(ids):  # of captions, each its own
        return names
    for line, (name, image) in enumerate(zip(ids, owner.tolist(), strict=True), 1):
        if names[image] != name:
            each = int((owner == image).sum())
            raise ValueError(
                f"{path}, line {line}: expected the same id {each} times, once for each caption; "
                f"got {names[image]}, {name}"
            )
    return names
