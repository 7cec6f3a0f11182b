"""Word pieces: captions as BERT reads them, without TensorFlow.

    pieces = WordPieces(read_vocabulary("vocab.txt"))  # or learn_pieces(captions, 8000)
    pieces.encode("a surfboarder")                     # [101, 1037, 14175, 6277, 2121, 102]

Each character is spelt by itself, whatever stands beside it (`spell_in_piece`), as the library
`tokenizers` spells it for BERT; then captions are split at spaces, and words into the longest
pieces that the vocabulary holds.

Shape letter: V pieces of the vocabulary.

Reference:
  [BERT] Devlin et al., BERT, NAACL 2019, and the authors' code (tokenization.py): uncased, which
         folds case and accents, and cased, which keeps both.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from data.language.words import LONGEST, Spelling

PADDING, UNKNOWN, START, END, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
INSIDE = "##"  # begins a piece that does not begin a word
LETTERS = 100  # of a word; a longer one is unknown
BYTES = 256  # of a piece in UTF-8: tensorflow-text, which serves queries, takes no longer one


@cache
def _rules(cased: bool):
    """BERT's own normaliser and splitter."""
    from tokenizers.normalizers import BertNormalizer  # 40 ms, not needed for --help
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return BertNormalizer(lowercase=not cased), BertPreTokenizer()


def spell_in_piece(character: str, cased: bool = False) -> str:
    """What a character becomes before its caption is split at spaces, whatever stands beside it.

    Letters in lower case and without their accents; Hangul in its jamo; punctuation and Chinese
    characters between two spaces; marks, control and unassigned characters and lone surrogates
    nothing. Cased: letters, marks and Hangul as they are.
    """
    normalise, split = _rules(cased)
    if "\ud800" <= character <= "\udfff":
        return ""
    # Between two letters, or spaces at its ends would not be seen.
    parts = split.pre_tokenize_str(f"a{normalise.normalize_str(character)}a")
    return " ".join(part for part, _ in parts)[1:-1]


def spell_in_cased_piece(character: str) -> str:
    """`spell_in_piece` of a cased vocabulary."""
    return spell_in_piece(character, cased=True)


_SPELLINGS = {False: Spelling(spell_in_piece), True: Spelling(spell_in_cased_piece)}


def are_cased(pieces: Iterable[str]) -> bool:
    """Whether pieces tell capital letters from small ones: one of them has a capital."""
    return any(piece != piece.lower() for piece in pieces if piece not in SPECIAL)


def bert_words(caption: str, cased: bool = False) -> list[str]:
    """Words and punctuation marks of a caption, in order, before they are cut.

    In lower case, unless `cased`.

    Differs from the paper: where a letter bears several marks that BERT keeps (some scripts have
    such), they stay in the order in which they came.
    """
    return caption.translate(_SPELLINGS[cased]).split()


class WordPieces:
    """Cuts captions into pieces.

    Args:
      words: the V pieces whose ids are 1, 2, ... V. Id 0 is [PAD]: with BERT's vocabulary these are
        the lines of its file from the second one on.
      longest: pieces of a caption at most, its start and its end counted.
      cased: whether captions keep capital letters and accents.

    Attributes:
      start, end, unknown: ids of [CLS], [SEP] and [UNK]; special: the pieces that are no words.

    Raises:
      ValueError: [UNK], [CLS] or [SEP] is missing.

    Reference: [BERT]; Wu et al., Google's neural machine translation system, 2016, section 4.1.
    """

    special = SPECIAL

    def __init__(self, words: Sequence[str], longest: int = LONGEST, cased: bool = False):
        from tokenizers import Tokenizer, models, pre_tokenizers

        ids = {word: number for number, word in enumerate(words, start=1)}
        missing = [word for word in (UNKNOWN, START, END) if word not in ids]
        if missing:
            raise ValueError(
                f"the vocabulary of {len(ids):,} word pieces lacks {' and '.join(missing)}: "
                "expected one of BERT's, or what learn_pieces made"
            )
        self.start, self.end, self.unknown = ids[START], ids[END], ids[UNKNOWN]
        self.longest, self._spelling = longest, _SPELLINGS[cased]
        model = models.WordPiece(
            ids,
            unk_token=UNKNOWN,
            max_input_chars_per_word=LETTERS,
            continuing_subword_prefix=INSIDE,
        )
        self._tokeniser = Tokenizer(model)
        self._tokeniser.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]

    def cut(self, caption: str) -> list[str]:
        """All pieces of a caption, in order, without start and end; of a word that cannot be spelt
        it is [UNK].
        """
        return self._tokeniser.encode(caption.translate(self._spelling)).tokens

    def encode(self, caption: str) -> list[int]:
        """Ids of [CLS], the first `longest` - 2 pieces at most, and [SEP]: 2 or more of them."""
        ids = self._tokeniser.encode(caption.translate(self._spelling)).ids
        return [self.start, *ids[: self.longest - 2], self.end]

    def knows(self, word: str) -> bool:
        """Whether the vocabulary can spell a word of `bert_words`."""
        return UNKNOWN not in self.cut(word)


def read_vocabulary(path: str | Path) -> list[str]:
    """The pieces of a vocab.txt of BERT's, from the second line on; the first is [PAD], id 0.

    Raises:
      ValueError: the file is missing, or is not such a vocabulary.
    """
    path = Path(path).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): expected BERT's vocab.txt, one word piece a line"
        ) from error
    lines = [line.removesuffix("\r") for line in lines]
    missing = [word for word in (UNKNOWN, START, END) if word not in lines]
    if lines[0] != PADDING or missing:
        fault = "lacks " + " and ".join(missing) if missing else f"begins with {lines[0][:30]!r}"
        raise ValueError(
            f"{path} {fault}: expected the vocabulary of a BERT, which begins with "
            f"{PADDING} and holds {', '.join(SPECIAL[1:4])}"
        )
    if damaged := [word for word in lines if not word or len(word.encode()) > BYTES]:
        raise ValueError(
            f"{path}, line {lines.index(damaged[0]) + 1}: a word piece of "
            f"{len(damaged[0].encode())} bytes; expected 1 to {BYTES}: is it damaged?"
        )
    twice = [word for word, count in Counter(lines).items() if count > 1]
    if twice:
        raise ValueError(f"{path} holds {twice[0]!r} more than once: is it damaged?")
    return lines[1:]


def learn_pieces(captions: Iterable[str], size: int, min_count: int = 1) -> list[str]:
    """Learns word pieces from the TRAINING captions: pairs of pieces are joined, the most frequent
    first, until there are enough.

    The same captions in any order give the same pieces on any number of cores. Every word of their
    characters can be spelt: each stands alone and inside a word. A word that is too long to be read
    whole adds nothing but its characters.

    Args:
      captions: the training captions.
      size: how many ids at most, that of [PAD] counted.
      min_count: pairs that occur less often are not joined.

    Returns:
      The pieces 1 to V, V < size.

    Raises:
      ValueError: there is no caption with a word, or the characters alone are more than `size`.

    Reference: [BERT]; the library's trainer joins by frequency, as byte pair encoding does
      (Sennrich et al., ACL 2016).
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    spelt = [caption.translate(_SPELLINGS[False]) for caption in captions]
    letters = sorted(set().union(*spelt) - {" "})
    if not letters:
        raise ValueError("no caption has a word: is the file right?")
    # Given in order, or the library would number them as its hash table lists them, anew in every
    # process, and break ties by these numbers.
    given = [*SPECIAL, *letters, *(INSIDE + letter for letter in letters)]
    if len(given) > size:
        raise ValueError(
            f"{size:,} word pieces are too few: the captions have {len(letters):,} different "
            f"characters, which alone need {len(given):,}; raise max_words"
        )
    tokeniser = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokeniser.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_count,
        show_progress=False,
        special_tokens=given,
        continuing_subword_prefix=INSIDE,
    )
    words = (word for caption in spelt for word in caption.split())
    whole = (word for word in words if len(word) <= LETTERS and len(word.encode()) <= BYTES)
    tokeniser.train_from_iterator(whole, trainer)
    found = tokeniser.get_vocab()
    return sorted(found, key=lambda word: found[word])[1:]
