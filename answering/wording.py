"""How the model reads a query: words folded to known ones, and what it cannot read at all.

    wording = read_query(vocabulary, "two circels without a star")
    wording.text        # "two circles without a star"
    wording.folded      # {"circels": "circles"}
    wording.remarks     # one line about "without"

Only what is certain is said. A misspelt word that the model knows, too, is not seen.
"""

import re
from typing import NamedTuple

from data.language.words import Vocabulary, is_word

NEGATION = re.compile(
    r"\b(?:not|no|without|never|neither|nor|none|nothing|nobody|cannot)\b|\b\w+n['\u2019]t\b",
    re.IGNORECASE,
)
DIGITS = re.compile(r"(?<![\w.,])[0-9]+(?:[.,][0-9]+)*(?!\w)")
SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip
NUMBERS = {
    *SMALL, "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred",
    "thousand",
}  # fmt: skip
MOST = 100  # unknown words of a query that are looked at; each is compared with every known word


class Wording(NamedTuple):
    """A query as the model reads it.

    Attributes:
      text: with the words that were folded in their new form.
      folded: {word of the query: known word}.
      unknown: words that the model does not know, in order, each once.
      remarks: lines about what the query says and the model cannot read.
    """

    text: str
    folded: dict[str, str]
    unknown: list[str]
    remarks: list[str]

    def readings(self) -> str:
        """ "circel: circle, 2: two"; "" where nothing was folded."""
        return ", ".join(f"{word}: {known}" for word, known in self.folded.items())


def read_query(
    vocabulary: Vocabulary, query: str, fold: bool = True, minus: bool = True
) -> Wording:
    """Reads a query as the model will.

    Word pieces spell any word, so a model that reads these knows all words: nothing is folded.

    Args:
      vocabulary: of the run.
      fold: whether unknown words become known ones that are near.
      minus: whether --minus is of use, for a remark.
    """
    text, folded, unread = read_digits(vocabulary, query, fold)
    unknown = [word for word in vocabulary.unknown(text) if is_word(word)]
    numbers = [word for word in unknown if word.lower() in NUMBERS]
    if fold and unknown and not vocabulary.pieces:
        chosen = fold_words(vocabulary, [word for word in unknown if word not in numbers][:MOST])
        text = replace_words(vocabulary, text, chosen)
        folded |= chosen
        unknown = [word for word in unknown if word not in chosen]
    remarks = [remark_number(word) for word in dict.fromkeys([*unread, *numbers])]
    negations = dict.fromkeys(found[0].lower() for found in NEGATION.finditer(query))
    remarks += [remark_negation(vocabulary, word, minus) for word in list(negations)[:1]]
    return Wording(text, folded, unknown, remarks)


def read_digits(
    vocabulary: Vocabulary, query: str, fold: bool
) -> tuple[str, dict[str, str], list[str]]:
    """The query with digits as words where the model knows only these; those; digits not read."""
    folded: dict[str, str] = {}
    unread: list[str] = []

    def spell(found: re.Match[str]) -> str:
        digits = found[0]
        if any(map(vocabulary.knows, vocabulary.tokenise(digits))):
            return digits
        small = len(digits) <= 2 and digits.isdecimal() and int(digits) < len(SMALL)
        word = SMALL[int(digits)] if small else ""
        if fold and word and vocabulary.knows(word):
            return folded.setdefault(digits, word)
        unread.append(digits)
        return digits

    return DIGITS.sub(spell, query), folded, unread


def fold_words(vocabulary: Vocabulary, words: list[str]) -> dict[str, str]:
    """{unknown word: known word}, of those that are near one. Words of negation stay."""
    from answering.spelling import Speller  # 25 ms that a query of known words does without

    speller = Speller(vocabulary)
    found = {word: speller(word) for word in words if not NEGATION.fullmatch(word)}
    return {word: known for word, known in found.items() if known}


def replace_words(vocabulary: Vocabulary, text: str, chosen: dict[str, str]) -> str:
    """The text with other words, as it was written where a word is found so, else as tokens."""
    tokens = [chosen.get(token, token) for token in vocabulary.tokenise(text)]
    written = text
    for word, known in chosen.items():
        pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
        written = re.sub(pattern, lambda _, known=known: known, written, flags=re.IGNORECASE)
    return written if vocabulary.tokenise(written) == tokens else " ".join(tokens)


def remark_number(word: str) -> str:
    """A line about a number that has no place in the vocabulary."""
    shown = word if len(word) <= 30 else word[:29] + "…"
    return f'the model cannot read the number "{shown}": how many there are plays no part'


def remark_negation(vocabulary: Vocabulary, word: str, minus: bool) -> str:
    """A line about a word that negates."""
    shown = word if len(word) <= 30 else word[:29] + "…"
    use = '; use --minus "what is not wanted"' if minus else ""
    if any(map(vocabulary.knows, vocabulary.tokenise(word))):
        return f'the model reads "{shown}" as a word, not as a negation{use}'
    return f'the model does not know "{shown}": what follows is looked for, not left out{use}'
