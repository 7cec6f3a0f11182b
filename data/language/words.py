"""Captions to word ids, the one tokenisation of training, grading and queries.

    vocabulary = Vocabulary.from_captions(captions, 10_000)
    tokens = Tokens(captions, vocabulary)

Imports neither TensorFlow nor scikit-learn, so that `retrieve.py` reads a query at once. What
`test.py --export serving` builds into its graph is made of these rules (`grading/serving.py`).

Shape letters: M captions, B captions of a batch, T tokens, V vocabulary, L ids of all captions.
"""

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from run import files

logger = logging.getLogger(__name__)

_WORD = re.compile(r"(?u)\b\w\w+\b")
PAD = 0
POSITIONS = 32  # of a caption that a convolutional tower reads
LONGEST = 32  # word pieces of a caption, its start and its end counted, unless told otherwise


class Spelling(dict):
    """For `str.translate`: what a rule makes of each character, asked once in a process."""

    def __init__(self, spell: Callable[[str], str]):
        super().__init__()
        self.spell = spell

    def __missing__(self, code: int) -> str:
        self[code] = self.spell(chr(code))
        return self[code]


def bag_words(caption: str) -> list[str]:
    """Words of a caption by the rules of scikit-learn's CountVectorizer.

    Lower case, accents stripped to ASCII (what has no ASCII form is dropped), words of two or more
    word characters: CountVectorizer(strip_accents="ascii") with its default pattern.

    Reference: M. Sijmkens, IRSE project report, 2021, and the assignment's code.
    """
    folded = unicodedata.normalize("NFKD", caption.lower()).encode("ascii", "ignore")
    return _WORD.findall(folded.decode("ascii"))


def spell_in_word(character: str) -> str:
    """What a character becomes before its caption is split at spaces, whatever stands beside it.

    By its Unicode category: letters (L) and digits (N) in lower case; marks (M) as they are, so
    that they stay with their letter; other visible characters (P, S) between two spaces, so that
    each is a token; an apostrophe only after a space, so that man's is man 's, as the captions of
    Flickr have it. Variation selectors and formatting characters (Cf: joiners, soft hyphens,
    directions) become nothing; all else (Z, C, the zero-width space, lone surrogates) a space.

    Lower case is the case folding of Python where that is one character. So a sigma is the same
    wherever it stands in a word, as is an I with a dot: both depend on place or language elsewhere.
    """
    if character in "'\u2019":  # ASCII and typographic
        return " '"
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
        return ""
    category = unicodedata.category(character)
    if category[0] in "LN":
        folded = character.casefold()
        return folded if len(folded) == 1 else character.lower()[0]
    if category[0] == "M":
        return character
    if category[0] in "PS":
        return f" {character} "
    return "" if category == "Cf" and character != "\u200b" else " "


_SPELLING = Spelling(spell_in_word)


def word_tokens(caption: str) -> list[str]:
    """Words and punctuation of a caption, in lower case, in order.

    Words are runs of letters, marks and digits; every other visible character is a token by itself
    (`spell_in_word`). There is no dictionary, no locale and no look at the neighbours, so that the
    graph of `grading/serving.py` can do the very same by a table. Accents written as marks of their
    own are not joined to their letters: captions should be in Unicode's composed form.

    Reference: Vilalta et al., Studying the impact of the full-network embedding on multimodal
      pipelines, 2019, section 4.3.2.
    Differs from the paper: NLTK also takes "don't" apart as do n't (here: don 't), and keeps "..."
    and numbers such as 3.5 together.
    """
    return caption.translate(_SPELLING).split()


def is_word(token: str) -> bool:
    """Whether a token is a word, not a punctuation mark.

    Whatever is longer than one character is a word: `word_tokens` never joins punctuation.
    """
    return len(token) > 1 or token.isalnum()


_SEPARATORS = re.compile(r"[\s\-.,()?]+")


def split_words(caption: str) -> list[str]:
    """What stands between spaces, hyphens, full stops, commas, parentheses and question marks.

    Case is kept: "Apple" and "apple" are two words.

    Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
      the authors' code (its question mark is COCO's only).
    """
    return [word for word in _SEPARATORS.split(caption) if word]


def lower_split_words(caption: str) -> list[str]:
    """`split_words` of the caption in lower case."""
    return split_words(caption.lower())


def plain_words(caption: str) -> list[str]:
    """`word_tokens` without punctuation marks."""
    return [token for token in word_tokens(caption) if is_word(token)]


def piece_words(caption: str) -> list[str]:
    """`word_pieces.bert_words`; that file is read only where pieces are."""
    from data.language import word_pieces

    return word_pieces.bert_words(caption)


def cased_piece_words(caption: str) -> list[str]:
    """The same for a vocabulary with capital letters."""
    from data.language import word_pieces

    return word_pieces.bert_words(caption, cased=True)


TOKENISERS = {
    "bag": bag_words,
    "words": word_tokens,
    "split": split_words,
    "lower_split": lower_split_words,
    "pieces": piece_words,
    "cased_pieces": cased_piece_words,
    "plain_words": plain_words,
}
PIECES = ("pieces", "cased_pieces")  # captions are cut into BERT's word pieces
ENDED = ("words", "plain_words")  # captions are read in order and end with a mark
WORDS_ARE = {
    "bag": "two or more of a-z, 0-9 and _",
    "words": "letters and digits of any script",
    "split": "what stands between spaces and - . , ( ) ?",
    "lower_split": "what stands between spaces and - . , ( ) ?",
    "pieces": "what can be spelt with the pieces of the vocabulary",
    "cased_pieces": "what can be spelt with the pieces of the vocabulary",
    "plain_words": "letters and digits of any script",
}


class Vocabulary:
    """Words and their ids: 1..V in order of falling frequency; 0 pads.

    With the tokeniser "words", V + 1 stands for every word that is not in the vocabulary, and
    V + 2 ends every caption. With `PIECES` the words are BERT's word pieces, and `word_pieces` cuts
    captions into them. With the others there is neither: unknown words are dropped.

    Args:
      words: the V distinct words, most frequent first.
      tokeniser: name of the rule in `TOKENISERS` that splits captions.
      longest: with "pieces", how many of a caption are read at most.

    Attributes:
      ids: {word: id}; unknown_id, end_id: the two ids of "words", None with the others.

    Reference: Vilalta et al. 2019 (see `word_tokens`), section 4.3.2 and its code.
    Differs from the paper: its ids are 0 for the end and 1 for unknown words; here 0 pads, as in
    all systems.
    """

    def __init__(self, words: Sequence[str], tokeniser: str = "bag", longest: int = LONGEST):
        if tokeniser not in TOKENISERS:
            raise ValueError(f"unknown tokeniser {tokeniser!r}: choose from {sorted(TOKENISERS)}")
        self.words = list(words)
        self.tokeniser = tokeniser
        self.ids = {word: i for i, word in enumerate(self.words, start=1)}
        size = len(self.words)
        in_order = tokeniser in ENDED
        self.unknown_id, self.end_id = (size + 1, size + 2) if in_order else (None, None)
        self.pieces: Any = None
        if tokeniser in PIECES:
            from data.language import word_pieces

            cased = tokeniser == "cased_pieces"
            self.pieces = word_pieces.WordPieces(self.words, longest, cased)

    def __len__(self) -> int:
        """Number of words; padding, unknown words and the end are not counted."""
        return len(self.words)

    @property
    def num_ids(self) -> int:
        """The largest id: a tower's word table holds so many rows, and one for the padding."""
        return self.end_id or len(self.words)

    @classmethod
    def from_captions(
        cls,
        captions: Iterable[str],
        max_words: int,
        tokeniser: str = "bag",
        min_count: int = 1,
        longest: int = LONGEST,
    ) -> "Vocabulary":
        """Counts the words of the TRAINING captions and keeps the `max_words` most frequent.

        Equal counts stand in alphabetical order, so the ids depend on nothing else.

        Args:
          captions: the training captions.
          max_words: how many words are kept at most.
          tokeniser: name of the rule in `TOKENISERS`.
          min_count: words that occur less often are left out. With "words" and 1 the unknown word
            is never trained; 2 or more trains it on the words left out.
          longest: with "pieces", how many of a caption are read at most.

        Raises:
          ValueError: no caption has a word, or none occurs `min_count` times.
        """
        if tokeniser not in TOKENISERS:
            raise ValueError(f"unknown tokeniser {tokeniser!r}: choose from {sorted(TOKENISERS)}")
        if tokeniser in PIECES:
            from data.language import word_pieces

            words = word_pieces.learn_pieces(captions, max_words, min_count)
            return cls(words, tokeniser, longest)
        counts = Counter(word for c in captions for word in TOKENISERS[tokeniser](c))
        if not any(is_word(word) for word in counts):
            raise ValueError(
                f"no caption has a word (words are {WORDS_ARE[tokeniser]}): is the file right?"
            )
        kept = [word for word, count in counts.items() if count >= min_count]
        if not kept:
            raise ValueError(
                f"no word occurs {min_count:,} times in the training captions: lower min_count"
            )
        return cls(sorted(kept, key=lambda word: (-counts[word], word))[:max_words], tokeniser)

    def only(self, kept: Sequence[bool] | np.ndarray) -> "Vocabulary":
        """The same without the words whose place in `kept` (V,) is False.

        Raises:
          ValueError: none is left.
        """
        words = [word for word, stays in zip(self.words, kept, strict=True) if stays]
        if not any(map(is_word, words)):
            raise ValueError("no word of the captions is left: is it the right language and file?")
        return Vocabulary(words, self.tokeniser)

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads what `save` wrote. Raises ValueError where it is not that."""
        value = files.read_json(path, dict)
        words, longest = value.get("words"), value.get("longest", LONGEST)
        texts = isinstance(words, list) and all(isinstance(word, str) for word in words)
        if not words or not texts or not isinstance(value.get("tokeniser"), str):
            raise ValueError(f"{path} is no vocabulary: expected a tokeniser and a list of words")
        if len(set(words)) < len(words):
            raise ValueError(f"{path} holds a word twice: was it edited?")
        if type(longest) is not int or not 2 <= longest <= 2**31:
            raise ValueError(f"{path}: longest is {str(longest)[:30]}; expected 2 or more")
        return cls(words, value["tokeniser"], longest)

    def save(self, path: str | Path) -> None:
        longest = {"longest": self.pieces.longest} if self.pieces else {}
        kept = {"tokeniser": self.tokeniser, **longest, "words": self.words}
        files.write_json(path, kept)

    def tokenise(self, caption: str) -> list[str]:
        """The caption's words, known or not, in order; with "pieces" before they are cut."""
        return TOKENISERS[self.tokeniser](caption)

    def encode(self, caption: str) -> list[int]:
        """Ids of the caption's tokens, in order.

        Unknown words are dropped; but with "words" they are `unknown_id`, and `end_id` ends the
        list, so that it is never empty.
        """
        if self.pieces:
            return self.pieces.encode(caption)
        if self.unknown_id is None or self.end_id is None:
            found = (self.ids.get(word) for word in self.tokenise(caption))
            return [i for i in found if i is not None]
        unknown = self.unknown_id
        return [self.ids.get(word, unknown) for word in self.tokenise(caption)] + [self.end_id]

    def unknown(self, caption: str) -> list[str]:
        """The caption's tokens that the vocabulary does not hold, in order, each once."""
        words = dict.fromkeys(self.tokenise(caption))
        return [word for word in words if not self.knows(word)]

    def knows(self, token: str) -> bool:
        """Whether a token of `tokenise` has an id, or can be spelt with pieces."""
        return self.pieces.knows(token) if self.pieces else token in self.ids


class Tokens:
    """Ids of M captions of unequal length, in one flat array; `pad` makes batches of them.

    Attributes:
      flat: (L,) int32, the ids of all captions, one caption after the other.
      lengths, starts: (M,) int64, how many ids each caption has and where they begin.
    """

    def __init__(self, captions: Iterable[str], vocabulary: Vocabulary):
        lists = [vocabulary.encode(caption) for caption in captions]
        self._hold(
            np.fromiter(chain.from_iterable(lists), np.int32),
            np.array([len(ids) for ids in lists], np.int64),
        )

    @classmethod
    def from_flat(cls, flat: np.ndarray, lengths: np.ndarray) -> "Tokens":
        """Tokens of ids that are known already.

        Args:
          flat: (L,) the ids of all captions; lengths: (M,) how many each has.

        Raises:
          ValueError: the lengths do not add up to L.
        """
        tokens = cls.__new__(cls)
        tokens._hold(np.asarray(flat, np.int32), np.asarray(lengths, np.int64))
        if len(tokens.flat) != tokens.lengths.sum() or (tokens.lengths < 0).any():
            raise ValueError(
                f"{len(tokens.flat):,} ids do not fit {len(tokens.lengths):,} lengths that add up "
                f"to {tokens.lengths.sum():,}: expected one length for each caption"
            )
        return tokens

    def _hold(self, flat: np.ndarray, lengths: np.ndarray) -> None:
        self.flat, self.lengths = flat, lengths
        self.starts = np.cumsum(lengths) - lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.starts[row] : self.starts[row] + self.lengths[row]]

    def order(self) -> np.ndarray:
        """(M,) caption rows from the shortest to the longest; equal lengths keep their order."""
        return np.argsort(self.lengths, kind="stable")

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

    def shifted(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Ids of some captions in rows of 32, each caption at a random place; 0 pads.

        A caption of L words starts at 0 to 32 - L, evenly; of longer ones the first 32 are kept.

        Args:
          rows: (B,) caption numbers; rng: a draw for each row is taken from it.

        Returns:
          (B, 32) int32.

        Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss,
          2017, position shift.
        """
        lengths = np.minimum(self.lengths[rows], POSITIONS)
        starts = rng.integers(POSITIONS - lengths + 1)[:, None]
        places = np.arange(POSITIONS) - starts  # (B, 32)
        inside = (places >= 0) & (places < lengths[:, None])
        flat = self.flat if len(self.flat) else np.zeros(1, np.int32)
        found = flat[np.where(inside, self.starts[rows][:, None] + places, 0)]
        return np.where(inside, found, PAD).astype(np.int32)


def say_wordless(name: str, tokens: Tokens, vocabulary: Vocabulary) -> int:
    """How many captions hold no known word, said in one line where there are any.

    Punctuation, unknown words and the marks of beginning and end are no known words. The captions
    that hold none all get the same embedding.

    Args:
      name: of the split; tokens: of its captions; vocabulary: that made them.
    """
    special = vocabulary.pieces.special if vocabulary.pieces else ()
    known = [is_word(word) and word not in special for word in vocabulary.words]
    says = np.array([False, *known, False, False])  # by id; padding, unknown words, the end
    caption = np.repeat(np.arange(len(tokens)), tokens.lengths)
    hits = np.bincount(caption, weights=says[tokens.flat], minlength=len(tokens))
    if silent := int((hits == 0).sum()):
        logger.warning(
            "%d of %d %s captions hold no word that the run knows", silent, len(tokens), name
        )
    return silent
