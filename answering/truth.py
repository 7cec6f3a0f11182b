"""Which pictures of the built-in scenes a query is true of: there, alone, the truth is known.

    fits = fitting(gallery, asked)        # (N,) bool, or None where nobody knows

`test.py` leaves tables of what is true of each scene beside the gallery's rows. Runs on other data
have none, and runs that an earlier version scored.

Shape letters: F facts, N scenes, S object slots (3).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from data.scenes import world
from gallery.stored import Gallery
from run import files

if TYPE_CHECKING:
    from answering.search import Asked

TABLES, FACTS = "truth", "facts"  # in projections.npz


def pack_truth(references: Sequence[str]) -> dict[str, np.ndarray]:
    """What projections.npz holds of the scenes: their tables, and which facts these are about.

    Args:
      references: N, each `scenes:<seed>:<split>:<index>`.
    """
    from tqdm import tqdm  # not needed for an answer

    parts = tqdm(references, desc="what is true of scenes", delay=2, leave=False, disable=None)
    tables = world.truth_tables([world.find_scene(reference) for reference in parts])
    rows = [table.reshape(-1, len(references)) for table in tables.values()]
    data, offsets = files.pack_strings(list(tables))
    return {TABLES: np.concatenate(rows), f"{FACTS}_data": data, f"{FACTS}_offsets": offsets}


def open_truth(gallery: Gallery) -> dict[str, np.ndarray] | None:
    """The tables of `world.truth_tables`, or None: there are none, or of another make."""
    arrays, tables = gallery.arrays, {}
    if TABLES not in arrays:
        return None
    shapes = {fact: table.shape for fact, table in world.truth_tables([]).items()}
    data, offsets = files.pack_strings(list(shapes))
    kept = [arrays.get(f"{FACTS}_{part}", np.empty(0)) for part in ("data", "offsets")]
    ends = np.cumsum([np.prod(shape[:-1], dtype=int) for shape in shapes.values()])
    rows = arrays[TABLES]
    alike = np.array_equal(kept[0], data) and np.array_equal(kept[1], offsets)
    if not alike or rows.dtype != bool or rows.shape != (ends[-1], gallery.num_images):
        return None
    for (fact, shape), end in zip(shapes.items(), ends, strict=True):
        start = end - np.prod(shape[:-1], dtype=int)
        tables[fact] = rows[start:end].reshape(*shape[:-1], gallery.num_images)
    return tables


def fitting(gallery: Gallery, asked: "Asked") -> np.ndarray | None:
    """Which pictures fit the query: all that is wanted is true of them, nothing unwanted is.

    Returns:
      (N,) bool; None where the data are no scenes, or the scenes' language lacks the query.
    """
    if not asked.wanted or TABLES not in gallery.arrays:
        return None
    text = "".join([*asked.wanted, *asked.unwanted])
    if any(one.isalnum() and not (one.isascii() and one.isalpha()) for one in text):
        return None  # digits, letters of other scripts: the scenes' language passes over them
    try:
        wanted, unwanted = (
            [world.read_sentence(text).meaning for text in texts]
            for texts in (asked.wanted, asked.unwanted)
        )
    except ValueError:  # no sentence of the grammar
        return None
    tables = open_truth(gallery)
    if tables is None:
        return None
    fits = np.ones(gallery.num_images, bool)
    for meaning in wanted:
        fits &= world.fit_scenes(meaning, tables)
    for meaning in unwanted:
        fits &= ~world.fit_scenes(meaning, tables)
    return fits
