"""Examples of what a graded run answers: the original first (good cases), and the worst ranks.

    write_examples(run, {"text_to_image": ranks, "image_to_text": ranks}, 8, "test")

Which ones is no matter of taste: the good cases lie at equal steps through all queries of rank 1,
the bad ones are those of the largest ranks; each image stands there once at most.

No TensorFlow. What was predicted is found anew from the projections that `test.py` has saved.

Shape letters: Q queries, M captions.

Reference: Timofeev et al., Multi-modal retrieval with smooth weighting of negatives, EE-608
  project, 2021, the slides "Examples": query, predicted, original.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from answering import example_pages
from answering.search import Answer, GalleryPictures, make_answer, nearest_captions, nearest_images
from gallery.scan import TIE
from gallery.similarity import choose
from gallery.stored import Gallery
from run.console import printable
from run.files import write_text
from run.folder import Run

PREDICTED = 5  # answers of each query
STEP = 4096  # captions compared at once
TITLES = {
    "text_to_image": "Text to image: which pictures answer a sentence",
    "image_to_text": "Image to text: which captions answer a picture",
}
NO_PICTURES = "these data have no pictures: one of their captions stands for each"


class Example(NamedTuple):
    """A query and what came of it.

    Attributes:
      query: the caption, or the picture, itself; its rank is that of the original.
      predicted: best first; `own`: it is an original.
      originals: best first, with the rank of each.
    """

    query: Answer
    predicted: list[Answer]
    originals: list[Answer]


def choose_queries(
    ranks: np.ndarray, owner: np.ndarray, number: int
) -> tuple[list[int], list[int]]:
    """Rows of good and of bad queries.

    Args:
      ranks: (Q,) integers from 1; owner: (Q,) the image of each query.
      number: of both together; of an odd number one more is good.

    Returns:
      Two lists of rows, good and bad; shorter where there are not so many.
    """
    num_bad = number // 2
    best = _once(np.flatnonzero(ranks == 1), owner)
    places = np.linspace(0, max(0, len(best) - 1), min(number - num_bad, len(best)))
    good = [best[round(place)] for place in places]
    worst = np.lexsort((np.arange(len(ranks)), -ranks))  # of equal ranks the first
    bad = _once([row for row in worst if ranks[row] > 1], owner)
    return good, bad[:num_bad]


def _once(rows: Iterable[int], owner: np.ndarray) -> list[int]:
    """Of the rows of each image the first."""
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(int(owner[row]), int(row))
    return list(first.values())


def of_caption(gallery: Gallery, row: int, rank: int) -> Example:
    """A sentence, the pictures it finds and its own."""
    image = int(gallery.caption_image[row])
    answers = nearest_images(gallery, gallery.text[row : row + 1], PREDICTED)
    # The own picture is not told by the very sentence that it was asked with.
    others = [int(c) for c in gallery.captions_of(image) if c != row]
    told = gallery.captions[others[0]] if others else gallery.captions[row]
    answers = [
        answer._replace(own=True, caption=told) if answer.image == image else answer
        for answer in answers
    ]
    measure = choose(gallery.similarity)
    score = float(measure.pairs(gallery.text[row][None], gallery.image[image][None])[0])
    original = make_answer(gallery, int(rank), score, image, told, own=True)
    return Example(original._replace(caption=gallery.captions[row]), answers, [original])


def of_image(gallery: Gallery, row: int, rank: int) -> Example:
    """A picture, the captions it finds and its own."""
    answers = nearest_captions(gallery, gallery.image[row : row + 1], PREDICTED, row)
    originals = [
        make_answer(gallery, place, score, row, gallery.captions[caption], own=True)
        for caption, score, place in places_of_captions(gallery, row)
    ]
    told = gallery.captions[gallery.captions_of(row)[0]]
    return Example(originals[0]._replace(rank=int(rank), caption=told), answers, originals)


def places_of_captions(gallery: Gallery, row: int) -> list[tuple[int, float, int]]:
    """An image's own captions, best first: (row, score, place among all M captions, from 1).

    As in `metrics`, another image's caption of the same score stands before it.
    """
    measure = choose(gallery.similarity)
    scores = np.concatenate([
        measure.pairs(gallery.text[start : start + STEP], gallery.image[row][None])
        for start in range(0, gallery.num_captions, STEP)
    ])  # fmt: skip
    own = gallery.captions_of(row)
    others = np.delete(scores, own)
    tie = TIE * measure.bound(1, 1)
    found = [(int(c), float(scores[c]), 1 + int((others >= scores[c] - tie).sum())) for c in own]
    found.sort(key=lambda one: -one[1])
    return [(c, score, place + ahead) for ahead, (c, score, place) in enumerate(found)]


def write_examples(
    run: Run,
    ranks: Mapping[str, np.ndarray],
    number: int,
    split: str,
    data_dir: str | os.PathLike | None = None,
) -> list[Path]:
    """Chooses, draws and lists examples of both directions.

    Args:
      run: the folder of a run that has been graded.
      ranks: {direction: (Q,) integers}, over the whole gallery.
      number: of each direction.
      split: its name, for the pages.
      data_dir: what picture references start from; by default the folder of the run's data.

    Returns:
      The paths of two pages and of the list.
    """
    gallery = Gallery(run)
    pictures = GalleryPictures(run, gallery, data_dir, anywhere=True)  # of data just read
    lines, paths = [f"# Examples: {run.folder.name}, {split} split"], []
    for direction in TITLES:
        is_text = direction == "text_to_image"
        size, answers = gallery.num_captions, "captions"
        owner, make, draw = np.unique(gallery.caption_image), of_image, example_pages.draw_images
        if is_text:
            size, answers = gallery.num_images, "pictures"
            owner, make, draw = gallery.caption_image, of_caption, example_pages.draw_sentences
        chosen = choose_queries(ranks[direction], owner, number)
        cases = {
            kind: [
                make(gallery, row if is_text else int(owner[row]), ranks[direction][row])
                for row in rows
            ]
            for kind, rows in zip(example_pages.KINDS, chosen, strict=True)
        }
        note = f"{run} · {split} split · gallery of {size:,} {answers}"
        note += f" · {NO_PICTURES}" if not any(gallery.pictures) else ""
        paths.append(run / f"examples_{direction}.png")
        draw(TITLES[direction], printable(note), cases, size, pictures, paths[-1])
        told = direction.replace("_", " ")
        lines += ["", f"## {told.capitalize()}", "", f"![{told}]({paths[-1].name})"]
        lines += _listed(cases, size, is_text)
    if complaint := pictures.complaint():
        print(complaint, file=sys.stderr)
    paths.append(run / "examples.md")
    write_text(paths[-1], "\n".join(lines) + "\n")
    return paths


def _listed(cases: Mapping[str, list[Example]], size: int, is_text: bool) -> list[str]:
    """Examples as lines of Markdown."""
    lines = []
    for kind, title in example_pages.KINDS.items():
        lines += ["", f"### {title}", ""] + ([] if cases[kind] else ["None."])
        for query, predicted, originals in cases[kind]:
            asked = printable(query.caption if is_text else query.name)
            lines += [f"- **{asked}**: rank {query.rank:,} of {size:,}"]
            marked = [("predicted", one, " (an original)" if one.own else "") for one in predicted]
            for what, one, mark in [*marked, *(("original", one, "") for one in originals)]:
                told = printable(f"{one.name}: {one.caption}")
                lines.append(f"  - {what} {one.rank:,}, {one.score:.3f}{mark}: {told}")
    return lines
