"""Examples of what a graded run answers: the original first (good cases), and the worst ranks.

    write(run, {"text_to_image": ranks, "image_to_text": ranks}, 8, "test")

Which ones is no matter of taste: the good cases lie at equal steps through all queries of rank 1,
the bad ones are those of the largest ranks; each image stands there once at most.

No TensorFlow. What was predicted is found anew from the projections that `test.py` has saved.

Shape letters: Q queries, M captions.

Reference: Timofeev et al., Multi-modal retrieval with smooth weighting of negatives, EE-608
  project, 2021, the slides "Examples": query, predicted, original.
"""

import sys
from typing import NamedTuple

import numpy as np

from answering import example_pages, search
from data import datasets
from gallery import scan, similarity, stored
from run import console, files

PREDICTED = 5  # answers of each query
STEP = 4096  # captions compared at once
NO_PICTURES = "these data have no pictures: one of their captions stands for each"


class Example(NamedTuple):
    """A query and what came of it."""

    query: search.Answer  # the caption, or the picture, itself; its rank is that of the original
    predicted: list[search.Answer]  # best first; `own`: it is an original
    originals: list[search.Answer]  # best first, with the rank of each


def choose(ranks, owner, number):
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


def _once(rows, owner):
    """Of the rows of each image the first."""
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(int(owner[row]), int(row))
    return list(first.values())


def of_caption(gallery, row, rank):
    """A sentence, the pictures it finds and its own."""
    image = int(gallery.caption_image[row])
    answers = search.nearest_images(gallery, gallery.text[row : row + 1], PREDICTED)
    # The own picture is not told by the very sentence that it was asked with.
    others = [int(c) for c in gallery.captions_of(image) if c != row]
    told = gallery.captions[others[0]] if others else gallery.captions[row]
    answers = [
        answer._replace(own=True, caption=told) if answer.image == image else answer
        for answer in answers
    ]
    measure = similarity.choose(gallery.similarity)
    score = float(measure.pairs(gallery.text[row][None], gallery.image[image][None])[0])
    name, picture = gallery.image_names[image], gallery.pictures[image]
    original = search.Answer(int(rank), score, image, name, told, picture, own=True)
    return Example(original._replace(caption=gallery.captions[row]), answers, [original])


def of_image(gallery, row, rank):
    """A picture, the captions it finds and its own."""
    answers = search.nearest_captions(gallery, gallery.image[row : row + 1], PREDICTED, row)
    name, picture = gallery.image_names[row], gallery.pictures[row]
    originals = [
        search.Answer(place, score, row, name, gallery.captions[caption], picture, own=True)
        for caption, score, place in places_of_captions(gallery, row)
    ]
    query = originals[0]._replace(
        rank=int(rank), caption=gallery.captions[gallery.captions_of(row)[0]]
    )
    return Example(query, answers, originals)


def places_of_captions(gallery, row):
    """An image's own captions, best first: (row, score, place among all M captions, from 1).

    As in `metrics`, another image's caption of the same score stands before it.
    """
    measure = similarity.choose(gallery.similarity)
    scores = np.concatenate([
        measure.pairs(gallery.text[start : start + STEP], gallery.image[row][None])
        for start in range(0, gallery.num_captions, STEP)
    ])  # fmt: skip
    own = gallery.captions_of(row)
    others = np.delete(scores, own)
    tie = scan.TIE * measure.bound(1, 1)
    found = [(int(c), float(scores[c]), 1 + int((others >= scores[c] - tie).sum())) for c in own]
    found.sort(key=lambda one: -one[1])
    return [(c, score, place + ahead) for ahead, (c, score, place) in enumerate(found)]


OF_QUERY = {"text_to_image": of_caption, "image_to_text": of_image}


def write(run, ranks, number, split, data_dir=None):
    """Chooses, draws and lists examples of both directions.

    Args:
      run: the folder of a run that has been graded.
      ranks: {direction: (Q,) integers}, over the whole gallery.
      number: of each direction.
      split: its name, for the pages.
      data_dir: what picture references start from.

    Returns:
      The paths of two pages and of the list.
    """
    gallery = stored.Gallery(run)
    owner = {
        "text_to_image": gallery.caption_image,
        "image_to_text": np.unique(gallery.caption_image),
    }
    pictures = Pictures(gallery, data_dir)
    lines, paths = [f"# Examples: {run.folder.name}, {split} split"], []
    for direction, make in OF_QUERY.items():
        is_text = direction == "text_to_image"
        size = gallery.num_images if is_text else gallery.num_captions
        told = "text to image" if is_text else "image to text"
        chosen = choose(ranks[direction], owner[direction], number)
        cases = {
            kind: [
                make(gallery, row if is_text else int(owner[direction][row]), ranks[direction][row])
                for row in rows
            ]
            for kind, rows in zip(example_pages.KINDS, chosen, strict=True)
        }
        note = (
            f"{run} · {split} split · gallery of {size:,} {'pictures' if is_text else 'captions'}"
        )
        note += f" · {NO_PICTURES}" if not any(gallery.pictures) else ""
        paths.append(run / f"examples_{direction}.png")
        draw = example_pages.of_captions if is_text else example_pages.of_images
        draw(TITLES[direction], console.printable(note), cases, size, pictures, paths[-1])
        lines += ["", f"## {told[0].upper()}{told[1:]}", "", f"![{told}]({paths[-1].name})"]
        lines += _listed(cases, size, is_text)
    pictures.tell()
    paths.append(run / "examples.md")
    files.write_text(paths[-1], "\n".join(lines) + "\n")
    return paths


TITLES = {
    "text_to_image": "Text to image: which pictures answer a sentence",
    "image_to_text": "Image to text: which captions answer a picture",
}


def _listed(cases, size, is_text):
    """Examples as lines of Markdown."""
    lines = []
    for kind, title in example_pages.KINDS.items():
        lines += ["", f"### {title}", ""] + ([] if cases[kind] else ["None."])
        for example in cases[kind]:
            query = console.printable(example.query.caption if is_text else example.query.name)
            lines += [f"- **{query}**: rank {example.query.rank:,} of {size:,}"]
            for what, answers in (
                ("predicted", example.predicted),
                ("original", example.originals),
            ):
                for one in answers:
                    mark = " (an original)" if one.own and what == "predicted" else ""
                    told = f"{one.name}: {one.caption}"
                    lines.append(
                        f"  - {what} {one.rank:,}, {one.score:.3f}{mark}: {console.printable(told)}"
                    )
    return lines


class Pictures:
    """Pictures of a gallery by image, None for one that is missing or damaged; those are counted.

    Args:
      gallery: whose; data_dir: what references start from.
    """

    def __init__(self, gallery, data_dir):
        self.gallery, self.data_dir = gallery, data_dir
        self.missing: dict[int, str] = {}

    def __call__(self, image):
        """The picture of a row of the gallery."""
        reference = self.gallery.pictures[image]
        if not reference:
            return None
        try:
            return datasets.load_picture(reference, self.data_dir)
        except (ValueError, OSError) as error:
            self.missing[image] = str(error)
            return None

    def tell(self):
        """One line about what could not be shown."""
        if self.missing:
            more = f" (and {len(self.missing) - 1} more)" if len(self.missing) > 1 else ""
            first = next(iter(self.missing.values()))
            print(f"{first}{more}; captions stand for them", file=sys.stderr)
