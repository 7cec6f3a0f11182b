"""Captions to word ids: tokenise, Vocabulary, encode and pad.

Imports neither TensorFlow nor scikit-learn, so that a query is read the same way, at once, by
`retrieve.py`.

Shape letters: M captions, T tokens, V vocabulary.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import experiment

_WORD = re.compile(r"(?u)\b\w\w+\b")
PAD = 0


def bag_words(caption: str) -> list[str]:
    """Words of a caption by the rules of scikit-learn's CountVectorizer.

    Lower case, accents stripped to ASCII (what has no ASCII form is dropped), words of two or more
    word characters: CountVectorizer(strip_accents="ascii") with its default pattern.

    Reference: IRSE assignment code, bag of words (SYSTEMS.md, System 1 (d)).
    """
    folded = unicodedata.normalize("NFKD", caption.lower()).encode("ascii", "ignore")
    return _WORD.findall(folded.decode("ascii"))


TOKENISERS = {"bag": bag_words}


class Vocabulary:
    """Words and their ids: 1..V in order of falling frequency; 0 pads.

    Args:
      words: the V distinct words, most frequent first.
      tokeniser: name of the rule in `TOKENISERS` that splits captions.
    """

    def __init__(self, words: Sequence[str], tokeniser: str = "bag"):
        if tokeniser not in TOKENISERS:
            raise ValueError(f"unknown tokeniser {tokeniser!r}: choose from {sorted(TOKENISERS)}")
        self.words = list(words)
        self.tokeniser = tokeniser
        self.ids = {word: i for i, word in enumerate(self.words, start=1)}

    def __len__(self) -> int:
        """Number of words, the padding id not counted."""
        return len(self.words)

    @classmethod
    def from_captions(
        cls, captions: Iterable[str], max_words: int, tokeniser: str = "bag"
    ) -> "Vocabulary":
        """Counts the words of the TRAINING captions and keeps the `max_words` most frequent.

        Equal counts stand in alphabetical order, so the ids depend on nothing else.

        Raises:
          ValueError: no caption has a word.
        """
        counts = Counter(word for c in captions for word in TOKENISERS[tokeniser](c))
        if not counts:
            raise ValueError("no caption has a word of two or more letters: is the file right?")
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ordered[:max_words], tokeniser)

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads what `save` wrote. Raises ValueError where it is not that."""
        value = experiment.read_json(path)
        words = value.get("words") if isinstance(value, dict) else None
        if not isinstance(words, list) or not words or "tokeniser" not in value:
            raise ValueError(f"{path} is no vocabulary: expected a tokeniser and a list of words")
        return cls(value["words"], value["tokeniser"])

    def save(self, path: str | Path) -> None:
        experiment.write_json(path, {"tokeniser": self.tokeniser, "words": self.words})

    def encode(self, caption: str) -> list[int]:
        """Ids of the caption's known words, in order; unknown words are dropped."""
        found = (self.ids.get(word) for word in TOKENISERS[self.tokeniser](caption))
        return [i for i in found if i is not None]

    def unknown(self, caption: str) -> list[str]:
        """The caption's words that the vocabulary does not hold, in order, each once."""
        words = TOKENISERS[self.tokeniser](caption)
        return list(dict.fromkeys(word for word in words if word not in self.ids))


class Tokens:
    """Ids of M captions of unequal length, in one flat array; `pad` makes batches of them."""

    def __init__(self, captions: Iterable[str], vocabulary: Vocabulary):
        lists = [vocabulary.encode(caption) for caption in captions]
        self.lengths = np.array([len(ids) for ids in lists], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])[:-1]
        self.flat = np.fromiter((i for ids in lists for i in ids), np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.starts[row] : self.starts[row] + self.lengths[row]]

    def pad(self, rows: np.ndarray) -> np.ndarray:
        """Ids of some captions, padded with 0 on the right to the longest of them.

        Args:
          rows: (B,) caption numbers.

        Returns:
          (B, T) int32, T at least 1.
        """
        lengths = self.lengths[rows]
        columns = np.arange(max(1, lengths.max(initial=0)))  # (T,)
        inside = columns < lengths[:, None]  # (B, T)
        places = np.where(inside, self.starts[rows][:, None] + columns, 0)
        flat = self.flat if len(self.flat) else np.zeros(1, np.int32)
        return np.where(inside, flat[places], PAD).astype(np.int32)
