"""Whether anything in a folder fits a query: what is usual of the run's validation captions.

    verdict = Judge(run, own_gallery, tell).judge(asked, answers)
    verdict.answers[0].weak, verdict.told()

Of any folder some picture is the nearest. Two things tell that it does not fit: its score is lower
than the best score of nearly every validation caption; or the query is of words that the run has
seldom seen, of which its scores mean little. The second tells more: see `docs/asking.md`.

A query's words are as usual as the mean log probability of each, by their counts in the training
captions, one added to each: the perplexity of a model of single words.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from answering.search import Answer, Asked
from data.language.words import Vocabulary, is_word
from gallery.nearest import top_k
from gallery.stored import Gallery
from run import files, manifest
from run.folder import Run
from run.onnx_graphs import WRITTEN_BY

SCORE_BELOW = 5  # percentile of the best scores of validation captions: lower ones are weak
WORDS_BELOW = 10  # percentile of how usual the words of validation captions are


class Verdict(NamedTuple):
    """What is thought of the answers to a query.

    Attributes:
      answers: as given, each with `weak`.
      best: score of the first; own: the best score that the query has in the run's own gallery.
      floor: scores below it are weak; rare: the words are, so that all answers are.
    """

    answers: list[Answer]
    best: float
    own: float
    floor: float
    rare: bool

    def told(self) -> str:
        """One line."""
        line = f"best {self.best:.3f}, of the run's own pictures {self.own:.3f}"
        if self.rare:
            return f"{line}; weak: the run has seldom seen these words"
        if self.best < self.floor:
            return f"{line}; nothing here fits: below {self.floor:.3f}"
        return line

    def facts(self) -> dict[str, Any]:
        """What JSON shows."""
        told = {"best": self.best, "best_of_own_gallery": self.own}
        return told | {"weak_below": self.floor, "rare_words": self.rare}


class Judge:
    """Judges the answers of a run.

    Args:
      run: that test.py has scored; own: its own gallery.
      tell: is told, once, why nothing is judged.
    """

    def __init__(self, run: Run, own: Gallery, tell: Callable[[str], None]):
        self.own, self.fit = own, None
        try:
            self.fit = read_fit(run)
        except ValueError as error:
            tell(f"answers are not judged: {error}")
            return
        self.vocabulary = Vocabulary.load(run.require(run.vocabulary, "train.py writes it"))

    def judge(self, asked: Asked, answers: Sequence[Answer]) -> Verdict | None:
        """What is thought of the answers to a sentence.

        None where nothing is known of the run, of pictures, and of several parts: what their mean
        scores is not measured.
        """
        if self.fit is None or not asked.is_text or asked.more:
            return None
        scores, _ = top_k(asked.vector, self.own.image, 1, similarity=self.own.similarity)
        floor = self.fit["weak_below"]
        words = words_in(self.vocabulary, asked.wording.text)
        rare = usualness(words, self.fit["words"]) < self.fit["rare_below"]
        judged = [one._replace(weak=bool(rare or one.score < floor)) for one in answers]
        return Verdict(judged, answers[0].score, float(scores[0, 0]), floor, rare)


def read_fit(run: Run) -> dict[str, Any]:
    """A run's `fit.json`. Raises ValueError where there is none of its weights."""
    found = files.read_json(run.require(run.fit, WRITTEN_BY), dict)
    for name in ("weak_below", "rare_below"):
        files.typed(found, name, float, run.fit)
    words = files.typed(found, "words", dict, run.fit)
    if not all(type(count) is int and count > 0 for count in words.values()):
        raise ValueError(f"{run.fit}: words are no counts: was it edited?")
    known = manifest.hashes_of(run.folder).get(run.best_weights.name, [])
    if found.get("weights") not in known:
        raise ValueError(f"{run.fit} is of other weights than {run} has now; {WRITTEN_BY}")
    return found


def words_in(vocabulary: Vocabulary, text: str) -> list[str]:
    """The words of a text, without punctuation, known or not."""
    return [word for word in vocabulary.tokenise(text) if is_word(word)]


def usualness(words: Sequence[str], counts: Mapping[str, int]) -> float:
    """Mean log probability of words by their counts, one added to each; minus infinity for none."""
    if not words:
        return -math.inf
    total = math.log(sum(counts.values()) + len(counts) + 1)
    return sum(math.log(counts.get(word, 0) + 1) - total for word in words) / len(words)
