"""A misspelt word of a query to the word that was meant, of those that the model knows.

    Speller(vocabulary)("circel")     # "circle"

This file is read only where a query has an unknown word, as is the library that compares words.

References:
  Boytsov, Indexing methods for approximate dictionary searching, 2011, section 2.2: the distance
    of optimal string alignment, in which two swapped neighbours are one error.
  Kernighan, Church, Gale, A spelling correction program based on a noisy channel model, 1990.
"""

from math import log

from rapidfuzz import process
from rapidfuzz.distance import OSA

from data.language.words import Vocabulary, is_word

SHORTEST = 4  # letters; of a shorter word, one error leaves too little
LETTERS = 26  # of which a letter that is wrong, or one too many, is one
PLURALS = (("", "s"), ("y", "ies"), ("f", "ves"), ("fe", "ves"))
HISSES = ("s", "x", "z", "ch", "sh", "o")  # words that end so have -es in the plural


class Speller:
    """Folds words to known ones."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary

    def __call__(self, word: str) -> str | None:
        """The known word that an unknown one stands for, or None.

        In this order: the same word in other capitals, its singular or plural, a word that is one
        error away: a letter that is missing, added or wrong, or two that are swapped; the same of
        its singular or plural. Of several words the likeliest, where a word is met as often as its
        rank by frequency says (Zipf's law), and each of 26 letters is as likely to be added or put
        in another's place.
        """
        if self.vocabulary.pieces:
            return None  # spells any word by itself
        known = self.vocabulary.ids
        for form in (word.lower(), word.capitalize(), *other_numbers(word)):
            if form in known:
                return form
        near = (self.nearest(form) for form in (word, *other_numbers(word)))
        return next((form for form in near if form), None)

    def nearest(self, word: str) -> str | None:
        """The likeliest of the known words that are one error away, or None."""
        if len(word) < SHORTEST or not word.isalpha():
            return None
        words, known = self.vocabulary.words, self.vocabulary.ids
        near = process.extract(word, words, scorer=OSA.distance, score_cutoff=1, limit=None)
        ranked = [(unlikely(word, one, known[one]), one) for one, _, _ in near if is_word(one)]
        return min(ranked)[1] if ranked else None


def other_numbers(word: str) -> list[str]:
    """Singulars and plurals that an English word of three or more letters may have."""
    if len(word) < SHORTEST - 1:
        return []
    pairs = [*PLURALS, *((hiss, f"{hiss}es") for hiss in HISSES)]
    pairs = pairs[1:] if word.endswith("ss") else pairs  # a glass is no plural
    singulars = [word[: -len(many)] + one for one, many in pairs if word.endswith(many)]
    return singulars + [
        word[: len(word) - len(one)] + many for one, many in pairs if word.endswith(one)
    ]


def unlikely(word: str, meant: str, rank: int) -> float:
    """-log P(meant) - log P(word | meant), but for a constant; they are one error apart.

    Args:
      rank: of the meant word by frequency, from 1.
    """
    swapped = len(word) == len(meant) and sorted(word) == sorted(meant)
    return log(rank) + (0 if len(word) < len(meant) or swapped else log(LETTERS))
