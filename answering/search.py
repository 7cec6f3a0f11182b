"""Answers from a run folder: the query tower, the gallery's nearest rows, and their pictures.

    encoder, gallery = QueryEncoder(run), Gallery(run)
    answers = nearest_images(gallery, encoder.encode(["a red circle"]), k=10)
    print(answer_table(answers, width=80))

NumPy and ONNX Runtime only, so that the first answer comes at once; the gallery is memory-mapped.

Shape letters: B queries of a batch, Q queries, D embedding, T tokens.
"""

import os
import re
from collections.abc import Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from answering.wording import Wording, read_query
from data.language.words import WORDS_ARE, Vocabulary, is_word
from data.pictures import load_picture
from gallery.nearest import top_k
from gallery.stored import Gallery
from run.console import columns, cut, printable, some_words
from run.folder import Run
from run.onnx_graphs import WRITTEN_BY, Tower

if TYPE_CHECKING:
    from PIL import Image

    from answering.pictures import PictureEncoder

PLACE = re.compile(r"(?i)\b(?:above|below|over|under|beneath|left of|right of|inside|behind)\b")
TOKENS_AT_ONCE = 1 << 16  # bounds the (B, T, hidden) words of a batch


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

    def encode_ordered(self, text: str) -> tuple[np.ndarray, str]:
        """A text -> (1, D) unit row, and its first word of place if the order plays no part.

        The model is asked about the same words in reverse order, too.
        """
        place = PLACE.search(text)
        if not place or self.vocabulary.pieces:
            return self.encode([text]), ""
        turned = " ".join(reversed(self.vocabulary.tokenise(text)))
        if self.ids(text) == self.ids(turned):
            return self.encode([text]), ""
        rows = self.encode([text, turned])
        return rows[:1], place[0].lower() if np.allclose(*rows, rtol=0, atol=1e-5) else ""


class Answer(NamedTuple):
    """One row of the answer to a query."""

    rank: int  # from 1
    score: float  # higher is nearer: a cosine in [-1, 1], or an order similarity in [-4, 0]
    image: int  # row of the image: the answer, or whose caption the answer is
    name: str  # of that image
    caption: str
    picture: str  # reference for `load_picture`, "" for none
    own: bool = False  # a caption of the very image that was asked with
    fits: bool | None = None  # whether the query is true of it; None where nobody knows
    weak: bool | None = None  # lower than nearly all right pairs; None where that is not judged


def make_answer(
    gallery: Gallery, rank: int, score: float, image: int, caption: str, own: bool = False
) -> Answer:
    """An answer about the image of a row of the gallery."""
    name, picture = gallery.image_names[image], gallery.pictures[image]
    return Answer(rank, float(score), int(image), name, caption, picture, own)


def nearest_images(gallery: Gallery, query: np.ndarray, k: int) -> list[Answer]:
    """The k images nearest to a (1, D) query, each with that of its captions nearest to it."""
    scores, rows = gallery.nearest_images(query, k)
    return [
        make_answer(gallery, rank, score, row, gallery.best_caption(row, query[0]))
        for rank, (score, row) in enumerate(zip(scores[0], rows[0], strict=True), 1)
    ]


def similar_images(
    gallery: Gallery, image: np.ndarray, k: int, asked: int | None = None
) -> list[Answer]:
    """The k images nearest to a (1, D) image by cosine, but for `asked`, its own row."""
    scores, rows = top_k(image, gallery.image, k if asked is None else k + 1)
    others = [pair for pair in zip(scores[0], rows[0], strict=True) if pair[1] != asked]
    return [
        make_answer(gallery, rank, score, row, "")
        for rank, (score, row) in enumerate(others[:k], 1)
    ]


def nearest_captions(
    gallery: Gallery, query: np.ndarray, k: int, asked: int | None = None
) -> list[Answer]:
    """The k captions nearest to a (1, D) image; `asked` is its row, if it is of the gallery."""
    scores, rows = top_k(query, gallery.text, k, similarity=gallery.similarity, among="captions")
    answers = []
    for rank, (score, row) in enumerate(zip(scores[0], rows[0], strict=True), 1):
        image = int(gallery.caption_image[row])
        own = image == asked
        answers.append(make_answer(gallery, rank, score, image, gallery.captions[row], own))
    return answers


def judge(
    gallery: Gallery, asked: "Asked", answers: list[Answer]
) -> tuple[list[Answer], np.ndarray | None]:
    """The answers, each knowing whether the query is true of it, and (N,) of which images it is.

    Of the built-in scenes, and where their language has the query; else nobody knows: None.
    """
    if "truth" not in gallery.arrays or not asked.wanted:
        return answers, None
    from answering import truth

    fits = truth.fitting(gallery, asked)
    if fits is None:
        return answers, None
    return [one._replace(fits=bool(fits[one.image])) for one in answers], fits


def count_fits(answers: Sequence[Answer], fits: np.ndarray | None) -> str:
    """` · 3 of 1,000 fit, 2 among these 10`; "" where nobody knows."""
    if fits is None:
        return ""
    number, among = int(fits.sum()), sum(bool(one.fits) for one in answers)
    verb = "fits" if number == 1 else "fit"
    return f" · {number:,} of {len(fits):,} {verb}, {among} among these {len(answers)}"


def answer_table(answers: Sequence[Answer], width: int) -> str:
    """Answers as lines of at most `width` columns of a terminal, at least 40; the rest is cut.

    The caption stands last, so that text from right to left moves no other column. In its place
    stands `weak` where answers have no captions; their names get the room.
    """
    width = max(width, 40)
    names = [printable(answer.name) for answer in answers]
    captioned = any(answer.caption for answer in answers)
    room = min(max([5, *map(columns, names)]), max(8, width // 3 if captioned else width - 21))
    rest = width - room - 17
    lines = [f"rank    score  {'image':{room}}{'  caption' * captioned}".rstrip()]
    for answer, whole in zip(answers, names, strict=True):
        mark = "*" if answer.own or answer.fits else " "
        name = cut(whole, room, keep_end=True)
        gap = " " * (room - columns(name) + 2)
        caption = cut(printable(answer.caption), rest) or ("weak" if answer.weak else "")
        lines.append(f"{answer.rank:4}{mark} {answer.score:7.4f}  {name}{gap}{caption}".rstrip())
    if any(answer.own for answer in answers):
        lines.append("* written for this picture")
    if any(answer.fits for answer in answers):
        lines.append("* fits the query")
    return "\n".join(lines)


# What is asked with, and what is shown.


class Asked(NamedTuple):
    """A sentence or a picture that is asked with, or several of them.

    Attributes:
      name: the sentence, or what the picture is called; vector: (1, D) unit row.
      is_text: pictures are looked for, not captions.
      wording: how the model reads the sentences.
      wanted, unwanted: sentences that an answer should fit, and should not, as they were read.
      row: of a picture of the gallery; picture: that is not of the gallery.
      more: what JSON shows besides.
      similar: pictures like the picture are asked for, because the gallery has no captions.
    """

    name: str
    vector: np.ndarray
    is_text: bool
    wording: Wording = Wording("", {}, [], [])
    wanted: Sequence[str] = ()
    unwanted: Sequence[str] = ()
    row: int | None = None
    picture: "Image.Image | None" = None
    more: Mapping[str, Any] = {}
    similar: bool = False

    @property
    def unknown(self) -> Sequence[str]:
        """Words that the model does not know."""
        return self.wording.unknown

    @property
    def finds_pictures(self) -> bool:
        """Whether the answers are pictures, not captions."""
        return self.is_text or self.similar

    def nearest(self, gallery: Gallery, k: int) -> tuple[list[Answer], str]:
        """The k nearest images of a sentence, or captions of a picture; and a line that says so."""
        if self.similar:
            answers, among = similar_images(gallery, self.vector, k, self.row), gallery.num_images
        elif self.is_text:
            answers, among = nearest_images(gallery, self.vector, k), gallery.num_images
        else:
            answers, among = (
                nearest_captions(gallery, self.vector, k, self.row),
                gallery.num_captions,
            )
        kind = "pictures" if self.finds_pictures else "captions"
        if self.is_text and gallery.index:
            kind += f" {gallery.index.told}"
        read = f" · read as {readings}" if (readings := self.wording.readings()) else ""
        return answers, f"{len(answers):,} nearest of {among:,} {kind}{read}"

    def facts(self) -> dict[str, Any]:
        """What JSON shows."""
        if not self.is_text:
            return {"image": self.name}
        _, folded, unknown, remarks = self.wording
        told = {"unknown_words": unknown, "folded": folded, "remarks": remarks}
        return {"query": self.name, **self.more, **told}


def ask_sentence(
    encoder: QueryEncoder, sentence: str, fold: bool = True, minus: bool = True
) -> Asked:
    """A sentence as the gallery is asked with it.

    Args:
      fold, minus: as of `read_query`.

    Raises:
      ValueError: the model knows none of its words.
    """
    wording = read_query(encoder.vocabulary, sentence, fold, minus)
    vector, ignored = encoder.encode_ordered(wording.text)
    if ignored:
        wording.remarks.append(
            f"the model ignores the order of words: it cannot tell what is {ignored} what"
        )
    return Asked(sentence, vector, is_text=True, wording=wording, wanted=(wording.text,))


def ask_picture(
    run: Run,
    gallery: Gallery,
    given: str,
    encoder: "PictureEncoder | None" = None,
    flag: str = "--image",
) -> Asked:
    """A picture of the gallery or a picture file as the gallery is asked with it.

    Args:
      given, flag: as of `find_image`; encoder: of the run, where it is open.

    Raises:
      ValueError: there is no such picture, or the run cannot describe it.
    """
    row = find_image(run, gallery, given, flag)
    similar = not gallery.num_captions
    if row is not None:
        name, vector = gallery.image_names[row], gallery.image[row : row + 1]
        return Asked(name, vector, is_text=False, row=row, similar=similar)
    from answering.pictures import PictureEncoder  # half a second that a sentence does without

    try:
        encoder = encoder or PictureEncoder(run)
    except ValueError as error:
        raise ValueError(
            f"{given} is not in the gallery, and {error}; ask with an image of the gallery, by "
            "name or number"
        ) from error
    picture, name = load_picture(given), Path(given).name
    return Asked(name, encoder([picture]), is_text=False, picture=picture, similar=similar)


def find_image(run: Run, gallery: Gallery, given: str, flag: str = "--image") -> int | None:
    """The gallery's row that --image means, or None for a picture file.

    Args:
      given: name or number of an image in the gallery, or a path; where all names are numbers, no
        other number. flag: that it was given with.

    Raises:
      ValueError: it is neither.
    """
    row = gallery.find_image(given)
    if row is not None:
        return row
    path = Path(given)
    if os.path.isfile(given):
        row = gallery.find_image(path.name)
        if row is None or not gallery.pictures[row]:
            return row  # of the same name in a gallery without pictures: taken for the same
        own = run.data_folder() / gallery.pictures[row]
        return row if os.path.isfile(own) and os.path.samefile(own, path) else None
    numbered = all(map(str.isdecimal, gallery.image_names))  # then a number is a name only
    if re.fullmatch("[0-9]{1,15}", given) and int(given) < gallery.num_images and not numbered:
        return int(given)
    names = ", ".join(islice(gallery.image_names, 3))
    raise ValueError(
        f"{flag} {given} is neither a picture file nor an image of the gallery: its "
        f"{gallery.num_images:,} images are called {names} ..."
        + ("" if numbered else ", or go by number from 0")
    )


class GalleryPictures:
    """Pictures of a gallery by row; None for one that is missing or damaged, or has none.

    Args:
      run, gallery: whose.
      folder: what picture references start from; by default the gallery's own, whose links are
        followed, or the folder of the run's data.
      anywhere: pictures that lie outside that folder are opened, too.
    """

    def __init__(
        self,
        run: Run,
        gallery: Gallery,
        folder: str | os.PathLike | None = None,
        anywhere: bool = False,
    ):
        self.run, self.gallery, self.folder, self.within = run, gallery, folder, not anywhere
        if folder is None and gallery.folder is not None:  # the person's choice, as are its links
            self.folder, self.within = gallery.folder, False
        self.failed: dict[int, str] = {}

    def __call__(self, row: int) -> "Image.Image | None":
        """The picture of one image."""
        reference = self.gallery.pictures[row]
        if not reference:
            return None
        if self.folder is None:
            self.folder = self.run.data_folder()
        try:
            return load_picture(reference, self.folder, self.within)
        except (ValueError, OSError) as error:
            self.failed[row] = str(error)
            return None

    def complaint(self) -> str:
        """One line about what could not be shown since the last one; "" where there is nothing."""
        failed, self.failed = list(self.failed.values()), {}
        if not failed:
            return ""
        more = f" (and {len(failed) - 1} more like this)" if len(failed) > 1 else ""
        words = "the captions" if self.gallery.num_captions else "their names"
        return f"{failed[0]}{more}; {words} stand for them"
