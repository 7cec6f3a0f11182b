"""Captions written word by word: beam search over a step function, many images at a time.

    speaker = Speaker(first, following)       # of a model, or of files: `open_speaker(run)`
    found = write_beam(speaker, boxes, vocabulary, width=5)
    found[0][0].text, found[0][0].score

NumPy only: `retrieve.py --caption` writes without TensorFlow.

Shape letters: B images of a batch, n hypotheses of all of them, K width of the beam, V ids, R
boxes, F feature, D embedding, T tokens.

Reference: System 5, the authors' code: summed log probabilities, no length normalisation; finished
  hypotheses leave the beam and make it narrower; unfinished ones top the list up.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from data.language.words import PAD, Vocabulary

MEMORY = 1 << 26  # bytes of embedded boxes that one step may copy
NOTHING = -np.inf  # score of what cannot be


class Hypothesis(NamedTuple):
    """Ids of a caption, the end among them where it is finished, and the sum of their log p."""

    ids: tuple[int, ...]
    score: float
    finished: bool


class WrittenCaption(NamedTuple):
    """A written caption."""

    text: str
    score: float  # sum of log p; or its mean, where lengths are normalised; or a cosine
    ids: tuple[int, ...]  # of its words


class Speaker:
    """What writes: two functions of `writer.use_models`.

    Args:
      first: (B, R, F) boxes -> four arrays of memory, four of states.
      following: ids (n,), images (n,), memory, six states -> log p (n, V), shares (n, R), six
        states.
    """

    def __init__(self, first: Callable[..., Any], following: Callable[..., Any]):
        self.first, self.following = first, following

    def begin(self, images: np.ndarray) -> tuple[list[Any], list[np.ndarray]]:
        """(B, R, F) boxes -> what is kept of the images, and the six states before the first id.

        Memory stays as it comes: tensors need not be copied back and forth.
        """
        memory = list(self.first(np.asarray(images, np.float32)))
        states = [np.asarray(state) for state in memory[4:]]
        unread = np.zeros((len(images), memory[0].shape[-1]), states[0].dtype)
        return memory[:4], [unread, unread, *states]

    def step(
        self, ids: np.ndarray, rows: np.ndarray, memory: list[Any], states: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """One id of each hypothesis is read.

        Args:
          ids: (n,); rows: (n,) the image of each; memory: of the images; states: (n, ...) each.

        Returns:
          log p of the next id (n, V), shares of the boxes (n, R), the states.
        """
        numbers = (ids.astype(np.int32), rows.astype(np.int32))
        scores, shares, *states = self.following(*numbers, *memory, *states)
        return np.asarray(scores), np.asarray(shares), [np.asarray(state) for state in states]


def best_ids(scores: np.ndarray, count: int) -> np.ndarray:
    """The ids of the `count` highest scores of each row (n, V), falling; equal ones by their id."""
    count = min(count, scores.shape[1])
    if count == 1:
        return scores.argmax(axis=1)[:, None]
    found = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def beam_search(
    speaker: Any,
    images: np.ndarray,
    width: int,
    marks: tuple[int, int],
    most: int,
    barred: Sequence[int] = (),
    normalise: bool = False,
) -> list[list[Hypothesis]]:
    """The most probable captions that a beam finds, for all images at once.

    From each image's hypotheses, one at first, the best `width` continuations go on; one that ends
    leaves the beam, and makes it narrower by one. What is unfinished after `most` ids is added.

    Args:
      speaker: with `begin` and `step`, as `Speaker`.
      images: (B, ...), what `begin` takes.
      width: K; 1 is greedy. marks: the ids that begin and end a caption.
      most: ids of a caption, at most.
      barred: ids that are never written.
      normalise: compare the means of log p over a caption's ids at last, not the sums.

    Returns:
      For each image at most K hypotheses, the best first; `score` is what was compared.
    """
    start, end = marks
    memory, states = speaker.begin(images)
    rows, ids = np.arange(len(images)), np.full(len(images), start)
    totals, written = np.zeros(len(images)), np.zeros((len(images), 0), np.int64)
    left = np.full(len(images), width)
    found: list[list[Hypothesis]] = [[] for _ in images]
    for _ in range(most):
        if not len(rows):
            break
        scores, _, states = speaker.step(ids, rows, memory, states)
        scores = scores.astype(np.float64)
        scores[:, list(barred)] = NOTHING
        parents, ids, totals = continued(rows, totals, scores, left)
        written = np.concatenate([written[parents], ids[:, None]], axis=1)
        rows, ends = rows[parents], ids == end
        for place in np.flatnonzero(ends):
            own = tuple(written[place].tolist())
            found[rows[place]].append(Hypothesis(own, float(totals[place]), True))
        left = left - np.bincount(rows[ends], minlength=len(left))
        goes_on = np.flatnonzero(~ends)
        parents, ids, totals = parents[goes_on], ids[goes_on], totals[goes_on]
        rows, written = rows[goes_on], written[goes_on]
        states = [state[parents] for state in states]
    for row, own, total in zip(rows, written, totals, strict=True):
        found[row].append(Hypothesis(tuple(own.tolist()), float(total), False))
    if normalise:
        found = [[h._replace(score=h.score / len(h.ids)) for h in own] for own in found]
    return [sorted(own, key=lambda h: -h.score) for own in found]


def continued(
    rows: np.ndarray, totals: np.ndarray, scores: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best continuations of each image's hypotheses.

    Args:
      rows: (n,) the image of each hypothesis, ascending; totals: (n,) their scores so far.
      scores: (n, V) of what may come next; left: (B,) how many continuations an image may have.

    Returns:
      (m,) each: the hypothesis, the id, and the new score; image by image, the best first.
    """
    most = max(1, int(left.max(initial=1)))
    ids = best_ids(scores, most)  # (n, k)
    sums = totals[:, None] + np.take_along_axis(scores, ids, axis=1)
    images, first, sizes = np.unique(rows, return_index=True, return_counts=True)
    place = np.arange(len(rows)) - np.repeat(first, sizes)  # of a hypothesis in its image
    table = np.full((len(images), sizes.max(), ids.shape[1]), NOTHING)
    table[np.repeat(np.arange(len(images)), sizes), place] = sums
    table = table.reshape(len(images), -1)
    order = np.argsort(-table, axis=1, kind="stable")[:, :most]
    best = np.take_along_axis(table, order, axis=1)
    kept = (np.arange(order.shape[1]) < left[images][:, None]) & (best > NOTHING)
    parents = first[:, None] + order // ids.shape[1]
    chosen = ids[np.where(kept, parents, 0), order % ids.shape[1]]
    return parents[kept], chosen[kept], best[kept]


def write_beam(
    speaker: Any,
    images: Any,
    vocabulary: Vocabulary,
    width: int = 1,
    most: int = 20,
    normalise: bool = False,
) -> list[list[WrittenCaption]]:
    """The captions of images, the best first: at most `width` of each.

    The unknown word is never written.

    Args:
      images: (N, R, F) boxes, may be memory-mapped.
      most: words of a caption.
      others: see `beam_search`.

    Raises:
      ValueError: the vocabulary has no mark of the end.
    """
    if vocabulary.end_id is None or vocabulary.unknown_id is None:
        raise ValueError(f"captions by {vocabulary.tokeniser!r} have no end: they are not written")
    end = vocabulary.end_id
    marks, barred = (end + 1, end), (PAD, vocabulary.unknown_id, end + 1)
    found: list[list[WrittenCaption]] = []
    one = speaker.begin(np.asarray(images[:1]))[0]
    step = max(1, MEMORY // max(1, width * sum(np.asarray(part).nbytes for part in one)))
    for at in tqdm(range(0, len(images), step), "captions", delay=2, leave=False, disable=None):
        part = np.asarray(images[at : at + step])
        for own in beam_search(speaker, part, width, marks, most, barred, normalise):
            found.append([as_caption(hypothesis, vocabulary) for hypothesis in own])
    return found


def as_caption(hypothesis: Hypothesis, vocabulary: Vocabulary) -> WrittenCaption:
    """A hypothesis as words."""
    ids = hypothesis.ids[: -1 if hypothesis.finished else None]
    text = " ".join(vocabulary.words[number - 1] for number in ids)
    return WrittenCaption(text, hypothesis.score, ids)


def rerank(
    captions: list[list[WrittenCaption]],
    images: np.ndarray,
    encode: Callable[[list[str]], np.ndarray],
    keep: int = 5,
) -> list[list[WrittenCaption]]:
    """The captions of each image that are nearest to it, the nearest first; `score` is the cosine.

    Args:
      captions: of N images, such as those of a beam of 100; images: (N, D) unit rows.
      encode: texts -> (M, D) unit rows; those without a word are left out.
      keep: how many of each.

    Reference: System 5, the authors' later code (beam of 100, 5 kept).
    """
    found = []
    for written, image in zip(captions, images, strict=True):
        own = [caption for caption in written if caption.text]
        rows = encode([caption.text for caption in own]) if own else np.zeros((0, len(image)))
        scores = np.asarray(rows, np.float64) @ np.asarray(image, np.float64)
        order = np.argsort(-scores, kind="stable")[:keep]
        found.append([own[place]._replace(score=float(scores[place])) for place in order])
    return found


def attention(
    speaker: Any, image: np.ndarray, ids: Sequence[int], vocabulary: Vocabulary
) -> np.ndarray:
    """Where a caption looks: the shares of the boxes before each word is written, (T, R).

    Args:
      image: (R, F) boxes; ids: of the T words.
    """
    memory, states = speaker.begin(np.asarray(image)[None])
    shares, row = [], np.zeros(1, np.int64)
    for number in [(vocabulary.end_id or 0) + 1, *ids][: len(ids)]:
        _, seen, states = speaker.step(np.array([number]), row, memory, states)
        shares.append(seen[0])
    return np.stack(shares)


# ---- From a run's folder ------------------------------------------------------------------------
