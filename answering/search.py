"""Answers from a run folder: the query tower, the gallery, and the exact nearest rows.

    encoder, gallery = QueryEncoder(run), Gallery(run)
    scores, rows = top_k(encoder.encode(["a red circle"]), gallery.image, k=10)

NumPy and ONNX Runtime only, so that the first answer comes at once; the gallery is memory-mapped.

Shape letters: Q queries, N images, M captions, R rows of either, D embedding, F feature, T tokens.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from data.language.words import WORDS_ARE, Vocabulary, is_word
from gallery.nearest import top_k
from gallery.stored import Gallery
from run.console import columns, cut, printable, some_words
from run.folder import Run
from run.graphs import WRITTEN_BY, Tower

TOKENS_AT_ONCE = 1 << 16  # bounds the (B, T, hidden) words of a batch


# The towers.


class QueryEncoder:
    """A run's vocabulary and text tower.

    Raises:
      ValueError: the run folder lacks one of them, or it is damaged.
    """

    def __init__(self, run: Run):
        self.vocabulary = Vocabulary.load(run.require(run.vocabulary, "python train.py writes it"))
        self.tower = Tower(run.require(run.query_tower, WRITTEN_BY))

    def unknown(self, query: str) -> list[str]:
        """The query's words that the model does not know, in order, each once."""
        return [word for word in self.vocabulary.unknown(query) if is_word(word)]

    def ids(self, query: str) -> list[int]:
        """Ids of the query, which has at least one known word.

        Known punctuation is not enough: it says nothing about a picture.

        Raises:
          ValueError: there is no known word; says which words there were.
        """
        tokens = self.vocabulary.tokenise(query)
        if any(is_word(token) and self.vocabulary.knows(token) for token in tokens):
            return self.vocabulary.encode(query)
        if not query.strip():
            raise ValueError("the query is empty: write what the picture should show")
        unknown = self.unknown(query)
        if not unknown:
            raise ValueError(
                "the query has no word that the model could know: words are "
                f"{WORDS_ARE[self.vocabulary.tokeniser]}"
            )
        raise ValueError(f"the model knows no word of the query ({some_words(unknown)})")

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """Texts -> (Q, D) float32 unit rows.

        Texts of equal length go through the tower together, so nothing is padded: a text of 10,000
        words among short ones costs its own length only.

        Raises:
          ValueError: a query is empty, or the model knows none of its words.
        """
        if isinstance(queries, str):
            raise ValueError("encode takes a list of texts, not one text: [query]")
        lists = [self.ids(query) for query in queries]
        order = sorted(range(len(lists)), key=lambda row: len(lists[row]))
        found: dict[int, np.ndarray] = {}
        for length, group in groupby(order, key=lambda row: len(lists[row])):
            same = list(group)
            step = max(1, TOKENS_AT_ONCE // length)
            for batch in (same[i : i + step] for i in range(0, len(same), step)):
                tokens = np.array([lists[row] for row in batch], np.int32)  # (B, T)
                found.update(zip(batch, self.tower(tokens), strict=True))
        if not found:
            raise ValueError("there is no query to encode: the list is empty")
        return np.stack([found[row] for row in range(len(lists))])


# The gallery.


# The nearest rows.


# Answers.


class Answer(NamedTuple):
    """One row of the answer to a query."""

    rank: int  # from 1
    score: float  # higher is nearer: a cosine in [-1, 1], or an order similarity in [-4, 0]
    image: int  # row of the image: the answer, or whose caption the answer is
    name: str  # of that image
    caption: str
    picture: str  # reference for `datasets.load_picture`, "" for none
    own: bool = False  # a caption of the very image that was asked with


def nearest_images(gallery: Gallery, query: np.ndarray, k: int) -> list[Answer]:
    """The k images nearest to a (1, D) query, each with that of its captions nearest to it."""
    scores, rows = top_k(query, gallery.image, k, similarity=gallery.similarity)
    return [
        Answer(
            rank,
            float(score),
            int(row),
            gallery.image_names[row],
            gallery.best_caption(row, query[0]),
            gallery.pictures[row],
        )
        for rank, (score, row) in enumerate(zip(scores[0], rows[0], strict=True), 1)
    ]


def nearest_captions(
    gallery: Gallery, query: np.ndarray, k: int, asked: int | None = None
) -> list[Answer]:
    """The k captions nearest to a (1, D) image; `asked` is its row, if it is of the gallery."""
    scores, rows = top_k(query, gallery.text, k, similarity=gallery.similarity, among="captions")
    answers = []
    for rank, (score, row) in enumerate(zip(scores[0], rows[0], strict=True), 1):
        image = int(gallery.caption_image[row])
        name, picture = gallery.image_names[image], gallery.pictures[image]
        caption = gallery.captions[row]
        answers.append(
            Answer(rank, float(score), image, name, caption, picture, own=image == asked)
        )
    return answers


def table(answers: Sequence[Answer], width: int) -> str:
    """Answers as lines of at most `width` columns of a terminal, at least 40; the rest is cut.

    The caption stands last, so that text from right to left moves no other column.
    """
    width = max(width, 40)
    names = [printable(answer.name) for answer in answers]
    room = min(max([5, *map(columns, names)]), max(8, width // 3))
    rest = width - room - 17
    lines = [f"rank    score  {'image':{room}}  caption"]
    for answer, whole in zip(answers, names, strict=True):
        mark = "*" if answer.own else " "
        name = cut(whole, room, keep_end=True)
        gap = " " * (room - columns(name) + 2)
        caption = cut(printable(answer.caption), rest)
        lines.append(f"{answer.rank:4}{mark} {answer.score:7.4f}  {name}{gap}{caption}".rstrip())
    if any(answer.own for answer in answers):
        lines.append("* written for this picture")
    return "\n".join(lines)
