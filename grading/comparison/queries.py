"""Which queries two runs differ in: those that only one answers, by length, by concepts, by words.

    first, second = middle(ranks of A), middle(ranks of B)
    gained = answered(first, second, "text_to_image")          # A does, B does not: widest first
    telling_words(first, second)                               # whose captions A gains or loses

A query is answered if its right answer is among the first K. Of several seeds a query has its
median rank.

Shape letters: G images, P draws of signs, Q queries, W words.

References:
  Westfall and Young, Resampling-based multiple testing, 1993 (the largest of all statistics).
  Cameron, Gelbach, Miller, Bootstrap-based improvements for inference with clustered errors, 2008
    (signs drawn by cluster).
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.language.words import is_word, word_tokens
from grading.comparison.paired import Ranks
from metrics import Retrieval

WITHIN = 10  # K
LEAST = 10  # images of a group, captions of a word that changed hands: of fewer nothing is told
MOST_WORDS = 1000  # the most frequent of them
DRAWS, AT_ONCE = 4999, 500  # of signs; held in memory together
LEVEL = 0.05


def middle(runs: Sequence[Ranks]) -> Ranks:
    """The runs of one setting as one: each query's median rank, rounded up."""
    if len(runs) == 1:
        return runs[0]
    found = {}
    for side, one in runs[0].found.items():
        ranks = np.ceil(np.median([run.found[side].ranks for run in runs], axis=0)).astype(np.int64)
        found[side] = Retrieval(ranks, one.query_image, one.gallery_size)
    return Ranks(runs[0].queries, found)


def answered(first: Ranks, second: Ranks, side: str, within: int = WITHIN) -> np.ndarray:
    """Rows of the queries that `first` answers and `second` does not, the widest change first."""
    one, other = first.found[side].ranks, second.found[side].ranks
    rows = np.flatnonzero((one <= within) & (other > within))
    return rows[np.lexsort((rows, one[rows] - other[rows]))]


def widest(first: Ranks, second: Ranks, side: str) -> np.ndarray:
    """All rows, those first whose rank is most times as high with one run as with the other."""
    change = np.log(first.found[side].ranks) - np.log(second.found[side].ranks)
    return np.lexsort((np.arange(len(change)), -np.abs(change)))


def gains(first: Ranks, second: Ranks, side: str, within: int = WITHIN) -> np.ndarray:
    """(Q,) 1 where only `first` answers, -1 where only `second` does, else 0."""
    one, other = ((run.found[side].ranks <= within).astype(np.float64) for run in (first, second))
    return one - other


def by_group(
    first: Ranks,
    second: Ranks,
    side: str,
    groups: tuple[np.ndarray, Sequence[str]],
    within: int = WITHIN,
) -> list[dict[str, Any]]:
    """Recall of both in each group of queries, and the difference with its 95 % interval.

    Args:
      groups: (Q,) number of each query's group, and the groups' names, of `bands`.

    Returns:
      A dict for each group of LEAST images or more: "group", "queries", "first", "second": recall
      in percent, "difference": {"value", "low", "high"}.
    """
    gain, owner = gains(first, second, side, within), first.found[side].query_image
    found = []
    for number, name in enumerate(groups[1]):
        rows = np.flatnonzero(groups[0] == number)
        if len(np.unique(owner[rows])) < LEAST:
            continue
        value, error = _mean_by_image(gain[rows], owner[rows])
        recalls = [100 * np.mean(run.found[side].ranks[rows] <= within) for run in (first, second)]
        one = {"group": name, "queries": len(rows), "first": recalls[0], "second": recalls[1]}
        ends = {"low": 100 * (value - 1.96 * error), "high": 100 * (value + 1.96 * error)}
        found.append(one | {"difference": {"value": 100 * value, **ends}})
    return found


def _mean_by_image(values: np.ndarray, owner: np.ndarray) -> tuple[float, float]:
    """A mean over queries and its standard error, where those of an image belong together."""
    mean = float(values.mean())
    sums = np.bincount(np.unique(owner, return_inverse=True)[1], values - mean)
    few = len(sums) / max(1, len(sums) - 1)
    return mean, float(np.sqrt(few * (sums**2).sum())) / len(values)


def bands(counts: np.ndarray, what: str, parts: int = 4) -> tuple[np.ndarray, list[str]]:
    """(Q,) numbers of groups of about as many queries each, and names such as "9 to 11 words"."""
    edges = np.unique(np.quantile(counts, np.arange(1, parts) / parts, method="lower"))
    band = np.unique(np.searchsorted(edges, counts), return_inverse=True)[1]
    ends = [(int(own.min()), int(own.max())) for n in range(band.max() + 1)
            if len(own := counts[band == n])]  # fmt: skip
    return band, [
        f"{low} {what}" if low == high else f"{low} to {high} {what}" for low, high in ends
    ]


def telling_words(
    first: Ranks, second: Ranks, within: int = WITHIN, draws: int = DRAWS
) -> list[dict[str, Any]]:
    """Words whose captions change hands more, or less, than all captions do.

    A caption's gain less the mean of all is added up by image over the captions with a word. Under
    the hypothesis that the word has no part in it, each image's sum may have either sign. p is the
    share of draws in which any word's studentised sum is as large: with so many words one in twenty
    would be listed by chance.

    Returns:
      A dict for each word with p < 0.05, the surest first: "word", "captions", "gained": only
      `first` answers, "lost": only `second`, "difference": mean gain in percent beyond that of all
      captions, "p".
    """
    side = "text_to_image"
    gain, owner = gains(first, second, side, within), first.found[side].query_image
    words = _frequent_words([caption or "" for _, caption in first.queries[side]], gain != 0)
    if not words:
        return []
    centred = gain - gain.mean()
    width = int(owner.max()) + 1
    sums = np.stack([np.bincount(owner[rows], centred[rows], width) for rows in words.values()])
    norms = np.sqrt((sums**2).sum(axis=1)) + 1e-12
    told = np.abs(sums.sum(axis=1)) / norms
    largest = _largest(sums / norms[:, None], draws)
    p = (1 + (largest[:, None] >= told - 1e-9).sum(axis=0)) / (1 + draws)
    found = [
        {"word": word, "captions": len(rows), "gained": int((gain[rows] > 0).sum()),
         "lost": int((gain[rows] < 0).sum()), "difference": 100 * float(centred[rows].mean()),
         "p": float(own)}
        for (word, rows), own in zip(words.items(), p, strict=True) if own < LEVEL
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one["p"], -abs(one["difference"])))


def _frequent_words(captions: Sequence[str], changed: np.ndarray) -> dict[str, np.ndarray]:
    """{word: rows of the captions that say it}, where not all do and LEAST of them changed."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, caption in enumerate(captions):
        for word in dict.fromkeys(filter(is_word, word_tokens(caption))):
            rows[word].append(row)
    frequent = sorted(rows, key=lambda word: (-len(rows[word]), word))
    found = {word: np.array(rows[word]) for word in frequent if len(rows[word]) < len(captions)}
    kept = [word for word, own in found.items() if changed[own].sum() >= LEAST]
    return {word: found[word] for word in kept[:MOST_WORDS]}


def _largest(parts: np.ndarray, draws: int) -> np.ndarray:
    """(P,) the largest of all words' |sum| of (W, G) parts with signs drawn by image."""
    draw, found = np.random.default_rng(0), []
    parts = parts[:, parts.any(axis=0)].astype(np.float32)
    for start in range(0, draws, AT_ONCE):
        rows = min(AT_ONCE, draws - start)
        signs = 1 - 2 * draw.integers(0, 2, (rows, parts.shape[1]), dtype=np.int8)
        found.append(np.abs(signs.astype(np.float32) @ parts.T).max(axis=1))
    return np.concatenate(found)
