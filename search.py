"""Answers from a run folder: the query tower, the gallery, and the exact nearest rows.

    encoder, gallery = QueryEncoder(run), Gallery(run)
    scores, rows = top_k(encoder.encode(["a red circle"]), gallery.image, k=10)

NumPy and ONNX Runtime only, so that the first answer comes at once; the gallery is memory-mapped.

Shape letters: Q queries, N images, M captions, R rows of either, D embedding, F feature, T tokens.
"""

import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import experiment
import similarity as similarities
from experiment import Experiment
from similarity import Similarity
from text import WORDS_ARE, Vocabulary, is_word

THREADS = 2  # of ONNX Runtime: one query is small, more threads only cost their start
TOKENS_AT_ONCE = 1 << 16  # bounds the (B, T, hidden) words of a batch
BLOCK_ROWS = 8192  # gallery rows compared at once
QUERIES_AT_ONCE = 1024
FEW_ROWS = 1024  # of the first block, which bound its best
WRITTEN_BY = "python test.py writes it"


# The towers.


class Graph:
    """A part of the model, as `test.py` exported it to ONNX.

    Args:
      path: an ONNX file.

    Raises:
      ValueError: the file is no whole ONNX model.
    """

    def __init__(self, path: Path):
        import onnxruntime  # not needed for --help or for an image of the gallery

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
        self.path = path
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise ValueError(f"{path} is not a whole ONNX model ({_first_line(error)})") from error

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Its outputs for its inputs, both in their order.

        Raises:
          ValueError: the inputs do not fit, or an output holds NaN.
        """
        names = [one.name for one in self.session.get_inputs()]
        try:
            found = self.session.run(None, dict(zip(names, inputs, strict=True)))
        except Exception as error:
            raise ValueError(
                f"{self.path} cannot take a batch of shape {inputs[0].shape} "
                f"({_first_line(error)}): was the run trained on other data? {WRITTEN_BY}"
            ) from error
        found = [np.asarray(one) for one in found]
        if not all(np.isfinite(one).all() for one in found):
            raise ValueError(f"{self.path} answers NaN or infinity: did the training diverge?")
        return found


class Tower(Graph):
    """One side of the model: a batch, (B, T) int32 or (B, F) float32, -> (B, D) unit rows."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.run(batch)[0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class QueryEncoder:
    """A run's vocabulary and text tower.

    Raises:
      ValueError: the run folder lacks one of them, or it is damaged.
    """

    def __init__(self, run: Experiment):
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


def some_words(words: Sequence[str], limit: int = 8) -> str:
    """`zebra, giraffe and 12 more`: the first few words, for a message of one line."""
    shown = ", ".join(word if len(word) <= 30 else word[:29] + "…" for word in words[:limit])
    return f"{shown} and {len(words) - limit:,} more" if len(words) > limit else shown


# The gallery.


class Gallery:
    """What `test.py` scored last, memory-mapped.

    Attributes:
      image: (N, D) float32 unit rows; text: (M, D) float32 unit rows.
      caption_image: (M,) row of each caption's image.
      image_names: N; captions: M; pictures: N references for `datasets.load_picture`, "" for none.
      similarity: which of `similarity.SIMILARITIES` the rows are made for.

    Raises:
      ValueError: the run has no projections, or they are damaged or do not fit together.
    """

    def __init__(self, run: Experiment):
        self.path = run.require(run.projections, WRITTEN_BY)
        self.arrays = experiment.open_arrays(self.path)
        self.similarity = similarities.of_arrays(self.arrays, self.path)
        self.image, self.text = self._array("image"), self._array("text")
        self.caption_image = np.asarray(self._array("caption_image"))
        self.image_names, self.captions = self._strings("image_names"), self._strings("captions")
        self.pictures = self._strings("pictures")
        self._check()

    def _array(self, name: str) -> Any:
        if name not in self.arrays:
            raise ValueError(f"{self.path} has no {name!r}: it is of another make; {WRITTEN_BY}")
        return self.arrays[name]

    def _strings(self, name: str) -> experiment.PackedStrings:
        # as plain arrays: slicing a memmap object is ten times slower
        data, offsets = self._array(f"{name}_data"), self._array(f"{name}_offsets")
        return experiment.PackedStrings(np.asarray(data), np.asarray(offsets))

    def _check(self) -> None:
        shapes = self.image.shape, self.text.shape
        captions = {self.num_captions, len(self.caption_image), len(self.captions)}
        images = {self.num_images, len(self.image_names), len(self.pictures)}
        fits = len(captions) == len(images) == 1 and self.image.ndim == self.text.ndim == 2
        fits = fits and self.image.shape[1] == self.text.shape[1] and all(map(all, shapes))
        if not fits or not 0 <= self.caption_image.min() <= self.caption_image.max() < len(
            self.image
        ):
            raise ValueError(
                f"{self.path} does not fit together (image {shapes[0]}, text {shapes[1]}, names "
                f"{len(self.image_names)}, captions {len(self.captions)}); {WRITTEN_BY}"
            )

    @property
    def num_images(self) -> int:
        return len(self.image)

    @property
    def num_captions(self) -> int:
        return len(self.text)

    def find_image(self, name: str) -> int | None:
        """Row of the image of this name, or None."""
        names = self.image_names
        key = name.encode("utf-8", "surrogatepass")
        same_length = np.flatnonzero(np.diff(names.offsets) == len(key))
        return next((int(row) for row in same_length if names[row] == name), None)

    def captions_of(self, image: int) -> np.ndarray:
        """Rows of an image's own captions, ascending."""
        return np.flatnonzero(self.caption_image == image)

    def best_caption(self, image: int, query: np.ndarray) -> str:
        """The image's own caption that is nearest to a (D,) sentence; "" where it has none.

        By order similarity it is the one that says the most of what the sentence says.
        """
        own = self.captions_of(image)
        if not len(own):
            return ""
        nearness = similarities.choose(self.similarity).pairs(query[None], self.text[own])
        return self.captions[own[np.argmax(nearness)]]


# The nearest rows.

Candidates = tuple[np.ndarray, np.ndarray]  # scores and row numbers


def top_k(
    query: np.ndarray,
    rows: np.ndarray,
    k: int,
    block_rows: int = BLOCK_ROWS,
    similarity: str = "cosine",
    among: str = "images",
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of the highest similarity with each query, exactly, without sorting them all.

    The rows are compared in float32, block by block. A row that could still belong to the best k,
    by what float32 may err, is kept; the kept ones are compared again in float64, row by row, so
    the answer is the same for any block size and number of threads. Ties stand in gallery order.

    Args:
      query: (Q, D) unit rows, finite.
      rows: (R, D) float32 unit rows; may be memory-mapped.
      k: how many; more than R gives all R.
      block_rows: rows compared at once: speed and memory only.
      similarity: a name of `similarity.SIMILARITIES`.
      among: "images" where the queries are sentences, "captions" where they are images. The order
        similarity is not symmetric, so it must know.

    Returns:
      scores (Q, min(k, R)) float64, falling, and row numbers (Q, min(k, R)) int64.

    Raises:
      ValueError: the sizes do not fit, or there are values that are not finite.
    """
    query = np.asarray(query)
    if query.ndim != 2 or rows.ndim != 2 or query.shape[1] != rows.shape[1]:
        raise ValueError(
            f"queries of shape {query.shape} do not fit gallery rows of shape {rows.shape}: were "
            f"towers and projections written by one run? {WRITTEN_BY}"
        )
    if k < 1 or block_rows < 1:
        raise ValueError(f"k is {k} and block_rows {block_rows}; both must be 1 or more")
    if among not in ("images", "captions"):
        raise ValueError(f"among is {among!r}, expected images or captions")
    if not np.isfinite(query).all():
        raise ValueError("a query holds NaN or infinity: did the training diverge?")
    measure = similarities.choose(similarity)
    measure = measure.swapped() if among == "captions" else measure
    shape = (len(query), min(k, len(rows)))
    parts = [
        _top_k(query[i : i + QUERIES_AT_ONCE], rows, k, block_rows, measure)
        for i in range(0, len(query), QUERIES_AT_ONCE)
    ]
    best = [pair for part in parts for pair in part]
    scores = np.array([scores for scores, _ in best]).reshape(shape)
    return scores, np.array([numbers for _, numbers in best], np.int64).reshape(shape)


def _top_k(
    query: np.ndarray, rows: np.ndarray, k: int, block_rows: int, measure: Similarity
) -> list[Candidates]:
    """`top_k` of some queries, one pair for each."""
    # For unit rows a dot product in float32 is wrong by at most D 2^-24, in whatever order it is
    # summed; an order similarity, which rounds what it squares and may be as large as 4, by
    # 4 (D + 4) 2^-24. Both the k-th best and a row that rivals it may err by that; twice as much
    # leaves room for rounding the query itself.
    margin = np.float32(4 * measure.bound(1, 1) * (query.shape[1] + 4) * 2.0**-24)
    kept: list[Candidates] = [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(query)
    for start in range(0, len(rows), block_rows):
        block = np.asarray(rows[start : start + block_rows])
        scores = measure.scores(query.astype(np.float32), block)  # (Q, block)
        if not np.isfinite(scores.sum()):  # one number is quicker to look at than all
            bad = np.flatnonzero(~np.isfinite(scores).all(axis=0))
            if len(bad):
                row = start + int(bad[0])
                raise ValueError(
                    f"gallery row {row} holds NaN or infinity: did the training diverge?"
                )
        numbers = np.arange(start, start + len(block))
        for q, own in enumerate(scores):
            kept[q] = _keep(kept[q], (own, numbers), k, margin)
    return [
        _best(partial(measure.pairs, one[None]), rows, numbers, k)
        for one, (_, numbers) in zip(query, kept, strict=True)
    ]


def _keep(kept: Candidates, new: Candidates, k: int, margin: np.float32) -> Candidates:
    """What may still be among the best k."""
    scores, numbers = new
    bar = None  # most of a block is far below the k-th best of what is kept, or of its own begin
    if len(kept[0]) >= k:
        bar = kept[0].min()
    elif k <= FEW_ROWS < len(scores):
        bar = np.partition(scores[:FEW_ROWS], FEW_ROWS - k)[FEW_ROWS - k]
    if bar is not None:
        near = scores >= bar - margin
        scores, numbers = scores[near], numbers[near]
    scores, numbers = np.concatenate([kept[0], scores]), np.concatenate([kept[1], numbers])
    if len(scores) <= k:
        return scores, numbers
    stay = scores >= np.partition(scores, len(scores) - k)[len(scores) - k] - margin
    return scores[stay], numbers[stay]


def _best(
    score: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, numbers: np.ndarray, k: int
) -> Candidates:
    """The best k of some rows by float64 scores, each summed by itself; ties in gallery order."""
    scores = np.empty(len(numbers))
    for i in range(0, len(numbers), 1024):
        scores[i : i + 1024] = score(rows[numbers[i : i + 1024]])
    order = np.lexsort((numbers, -scores))[:k]
    return scores[order], numbers[order]


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


def printable(text: str) -> str:
    """One line of text that no terminal and no font stumbles over.

    Control characters become spaces, invisible marks (direction, joiners) go, and what is no
    character, such as half a surrogate pair, becomes the replacement character.
    """
    shown = (_SHOWN.get(unicodedata.category(character), character) for character in text)
    return " ".join("".join(shown).replace("\ufe0f", "").split())


_SHOWN = {"Cc": " ", "Zl": " ", "Zp": " ", "Cf": "", "Cs": "\ufffd", "Co": "\ufffd", "Cn": "\ufffd"}


def columns(text: str) -> int:
    """How many columns of a terminal printable text takes."""
    return sum(map(_column, text))


def _column(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int, keep_end: bool = False) -> str:
    """Printable text within `width` columns; an ellipsis stands for what is left out."""
    if columns(text) <= width:
        return text
    kept, used = [], 1
    for character in reversed(text) if keep_end else text:
        used += _column(character)
        if used > width:
            break
        kept.append(character)
    return "…" + "".join(reversed(kept)) if keep_end else "".join(kept).rstrip() + "…"
