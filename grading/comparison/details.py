"""Which queries two entries differ in, put together for a page or a terminal, with pictures.

found = details_of(difference, entries, number=4)
"""

import base64
import io
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from answering.search import GalleryPictures, nearest_captions, nearest_images
from data.language.words import word_tokens
from gallery.scan import DIRECTIONS
from gallery.stored import Gallery
from grading.comparison import queries
from grading.comparison.differences import Difference
from grading.comparison.paired import Ranks
from grading.comparison.standings import Entry

SIDE = 160  # pixels of a thumbnail
ASKED = {"text_to_image": "Text to image", "image_to_text": "Image to text"}


class Answered(NamedTuple):
    """A query that two entries answer differently.

    Attributes:
      query: the caption, or the image's name; ranks: with the first and with the second.
      picture: of the query's image, a data: URI, "" for none.
      firsts: what each puts first: (caption or image's name, picture), ("", "") where not known.
    """

    query: str
    ranks: tuple[int, int]
    picture: str
    firsts: tuple[tuple[str, str], tuple[str, str]]


class Details(NamedTuple):
    """What is told of a pair's queries.

    Attributes:
      names: of the pair; runs: whose first answers the examples have, of each the first seed's.
      examples: (title, some of them) of each list; tables: (title, rows for `tables`).
    """

    names: tuple[str, str]
    runs: tuple[str, str]
    examples: list[tuple[str, list[Answered]]]
    tables: list[tuple[str, list[dict[str, Any]]]]

    def tabled(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """All of it as tables; lists without an example are left out."""
        listed = [
            (title, [_ranked(one.query, self.names, one.ranks) for one in examples])
            for title, examples in self.examples
        ]
        return [(title, rows) for title, rows in (*listed, *self.tables) if rows]


def details_of(difference: Difference, entries: Sequence[Entry], number: int) -> Details:
    """Lists, groups and words of a pair.

    Args:
      entries: among them the pair's, whose first runs give pictures where these can be opened.
      number: of examples in each list.
    """
    known = {entry.name: entry.first for entry in entries}
    views = [View(known[name].run) for name in difference.names]
    first, second = map(queries.middle, difference.ranks)
    examples, tables = [], []
    for side in DIRECTIONS:
        for one, other, name, than in (
            (first, second, *difference.names),
            (second, first, *difference.names[::-1]),
        ):
            rows = queries.answered(one, other, side)
            told = f"{ASKED[side]}: {name} answers, {than} does not ({len(rows):,} of "
            told += f"{len(one.found[side].ranks):,} queries, the widest changes first)"
            examples.append((told, [
                _answered(first, second, views, side, int(row)) for row in rows[:number]
            ]))  # fmt: skip
        rows = queries.widest(first, second, side)[: 2 * number]
        tables.append((f"{ASKED[side]}: the widest changes of rank", [
            _ranked(_query(first, side, row), difference.names, _ranks(first, second, side, row))
            for row in rows
        ]))  # fmt: skip
    tables += _group_tables(first, second, views, difference.names)
    for view in views:
        if view.pictures and (told := view.pictures.complaint()):
            print(f"note: {told}", file=sys.stderr)
    runs = known[difference.names[0]].name, known[difference.names[1]].name
    return Details(difference.names, runs, examples, [one for one in tables if one[1]])


def _group_tables(
    first: Ranks, second: Ranks, views: Sequence["View"], names: tuple[str, str]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Tables by length, by number of concepts, by word."""
    recall = f"recall@{queries.WITHIN}"
    asked = first.queries["text_to_image"]
    groups = []
    if all(caption is not None for _, caption in asked):
        words = np.array([len(word_tokens(caption or "")) for _, caption in asked])
        groups.append(("text_to_image", "length of the caption", queries.bands(words, "tokens")))
    for side in DIRECTIONS:
        counts = views[0].concept_counts([image for image, _ in first.queries[side]])
        if counts is not None:
            groups.append((side, "concepts of the image", queries.bands(counts, "concepts")))
    for side, what, bands in groups:
        title = f"{ASKED[side]}: {recall} in percent by {what}"
        yield title, [
            {"group": one["group"], "queries": one["queries"],
             f"{recall}, {names[0]}": f"{one['first']:.1f}",
             f"{recall}, {names[1]}": f"{one['second']:.1f}",
             "difference (95 % interval)": "{value:+.1f} ({low:+.1f} to {high:+.1f})".format(
                 **one["difference"])}
            for one in queries.by_group(first, second, side, bands)
        ]  # fmt: skip
    title = f"Words whose captions {names[0]} gains or loses, beyond what it does of all captions"
    yield title, [
        {"word": one["word"], "captions": one["captions"], f"only {names[0]}": one["gained"],
         f"only {names[1]}": one["lost"], "beyond all captions": f"{one['difference']:+.1f} %",
         "p, corrected for all words": f"{one['p']:.2g}"}
        for one in queries.telling_words(first, second)
    ]  # fmt: skip


def _ranked(query: str, names: tuple[str, str], ranks: tuple[int, int]) -> dict[str, Any]:
    """A query's row in a table."""
    return {"query": query} | {f"rank, {n}": rank for n, rank in zip(names, ranks, strict=True)}


def _ranks(first: Ranks, second: Ranks, side: str, row: int) -> tuple[int, int]:
    return int(first.found[side].ranks[row]), int(second.found[side].ranks[row])


def _query(ranks: Ranks, side: str, row: int) -> str:
    image, caption = ranks.queries[side][row]
    return caption or image


def _answered(
    first: Ranks, second: Ranks, views: Sequence["View"], side: str, row: int
) -> Answered:
    image, caption = first.queries[side][row]
    shown = next((found for view in views if (found := view.picture(image))), "")
    firsts = [view.nearest(side, row, image, caption) for view in views]
    ranks = _ranks(first, second, side, row)
    return Answered(caption or image, ranks, shown, (firsts[0], firsts[1]))


class View:
    """What a run's gallery shows: thumbnails, first answers; nothing where there is none to open.

    Args:
      run: a run, or what only has its place.
    """

    def __init__(self, run: Any):
        self.gallery = self.pictures = None
        if run.projections.is_file():
            self.gallery = Gallery(run)
            self.pictures = GalleryPictures(run, self.gallery)

    def picture(self, image: str) -> str:
        """The image's picture as a data: URI, "" for none."""
        row = self.gallery.find_image(image) if self.gallery else None
        return "" if row is None else self._thumbnail(row)

    def _thumbnail(self, row: int) -> str:
        picture = self.pictures(row) if self.pictures else None
        if picture is None:
            return ""
        picture.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=85)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")

    def nearest(self, side: str, row: int, image: str, caption: str | None) -> tuple[str, str]:
        """What the run puts first for a query, and its picture."""
        gallery = self.gallery
        if gallery is None:
            return "", ""
        if side == "text_to_image":
            if len(gallery.captions) <= row or gallery.captions[row] != caption:
                return "", ""
            best = nearest_images(gallery, gallery.text[row : row + 1], 1)[0]
            return best.name, self._thumbnail(best.image)
        place = gallery.find_image(image)
        if place is None:
            return "", ""
        best = nearest_captions(gallery, gallery.image[place : place + 1], 1, place)[0]
        return best.caption, ""

    def concept_counts(self, images: Sequence[str]) -> np.ndarray | None:
        """(Q,) how many concepts each image has; None where the data have none."""
        if self.gallery is None or "concepts" not in self.gallery.arrays:
            return None
        rows = {name: row for row, name in enumerate(self.gallery.image_names)}
        if not set(images) <= rows.keys():
            return None
        counts = (np.asarray(self.gallery.arrays["concepts"]) > 0).sum(axis=1)
        return counts[[rows[image] for image in images]]
