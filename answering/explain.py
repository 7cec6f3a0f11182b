"""Why a picture and a sentence match: what each word and each place of the picture contributes.

    explainer = Explainer(run, gallery, encoder)
    explanation = explainer(sentence, image_row, picture)

A word contributes what the score loses when the word is left out; a place, what it loses when a
patch of the picture's mean colour covers the place. Nothing is differentiated, so it holds for
every tower and every similarity, and NumPy and ONNX Runtime are enough.

Shape letters: B pictures or sentences of a batch, D embedding, G patches along a side.

References:
  Zheng et al., Dual-path convolutional image-text embeddings with instance loss, TOMM 2020: the
    change of the score where a word is removed.
  Zeiler, Fergus, Visualizing and understanding convolutional networks, ECCV 2014, section 4.2: the
    change where a grey square covers a part of the picture.
"""

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from answering import search
from answering.pictures import AT_ONCE, PictureEncoder
from data.language.words import is_word
from gallery import similarity, stored
from run import console
from run.folder import Run

GRID = 7
MOST_PIXELS = 1 << 20  # of a picture that is covered: a larger one is made smaller first
MOST_WORDS = 200  # of a sentence; each costs one encoding of it
LONGEST_PIECE = 80  # characters without a space in which words are looked for as they were written
UNKNOWN, ONLY = "unknown", "the only known word"

Tokeniser = Callable[[str], list[str]]


class Word(NamedTuple):
    """One word of a sentence."""

    text: str  # as it was written
    change: float | None  # score without the word, minus score with it: below 0 it supports
    note: str = ""  # why there is no number: UNKNOWN or ONLY


class Explanation(NamedTuple):
    """Why one picture and one sentence match.

    Attributes:
      image: name of the picture; sentence: as it was written; score: of the two.
      words: the first `MOST_WORDS` words of the sentence, in order; num_words: of all.
      places: (G, G) float64, score with a patch minus score without it, from the top left; below 0
        the place supports the match. None where the run reads no pictures.
      picture: itself, None where it cannot be shown.
    """

    image: str
    sentence: str
    score: float
    words: list[Word]
    num_words: int
    places: np.ndarray | None
    picture: Image.Image | None

    def facts(self) -> dict[str, Any]:
        """What JSON shows."""
        places = None if self.places is None else np.round(self.places, 7).tolist()
        words = [
            {"word": w.text, "change": w.change, **({"note": w.note} if w.note else {})}
            for w in self.words
        ]
        named = {"image": self.image, "sentence": self.sentence, "score": self.score}
        return {**named, "num_words": self.num_words, "words": words, "places": places}

    def table(self, width: int) -> str:
        """Words and places as lines for a terminal of `width` columns."""
        head = f"why {console.printable(self.image)}: {self.score:.4f} changes without a word by"
        lines = [head]
        texts = [console.cut(console.printable(word.text), 24) for word in self.words]
        room = max(map(console.columns, texts), default=0)
        largest = max((abs(w.change) for w in self.words if w.change is not None), default=0) or 1
        for word, text in zip(self.words, texts, strict=True):
            told = word.note
            if word.change is not None:
                length = round(abs(word.change) / largest * max(0, min(30, width - room - 13)))
                told = f"{word.change:+.4f}  {('-' if word.change < 0 else '+') * length}"
            lines.append(f"  {text}{' ' * (room - console.columns(text))}  {told}".rstrip())
        if self.num_words > len(self.words):
            lines.append(f"  (the first {len(self.words):,} of {self.num_words:,} words)")
        if self.places is not None:
            lines.append("and where a grey patch covers the picture by")
            cells = [[f"{value:+.3f}" for value in row] for row in self.places]
            wide = any(2 + sum(len(cell) + 1 for cell in row) > width + 1 for row in cells)
            lines += (
                ["  (too wide for this terminal: see the picture, or --json)"]
                if wide
                else [f"  {' '.join(row)}" for row in cells]
            )
        lines.append("below 0: that word or place supports the match")
        return "\n".join(console.cut(line, width) for line in lines)


class Explainer:
    """Explains matches of one run.

    Args:
      run: the run folder; gallery, encoder: what it was opened as.
      grid: G.
      tell: is told, once, why there will be no map of pictures.
    """

    def __init__(
        self,
        run: Run,
        gallery: stored.Gallery,
        encoder: search.QueryEncoder,
        grid: int = GRID,
        tell: Callable[[str], None] = print,
    ):
        self.encoder, self.grid = encoder, grid
        self.measure = similarity.choose(gallery.similarity)
        self.pictures: PictureEncoder | None = None
        try:
            self.pictures = PictureEncoder(run)
        except ValueError as error:
            tell(f"the words are explained, the picture is not: {error}")

    def __call__(
        self, name: str, sentence: str, image: np.ndarray, picture: Image.Image | None
    ) -> Explanation:
        """Explains why a sentence and a picture match.

        Args:
          name: of the picture; sentence: with at least one known word.
          image: (1, D) row of the picture; picture: itself, None where it cannot be shown.

        Raises:
          ValueError: the sentence has no known word, or a tower cannot be asked.
        """
        text = self.encoder.encode([sentence])
        words, num_words = word_changes(
            self.encoder, sentence, lambda texts: self.measure.pairs(texts, image)
        )
        places, encode = None, self.pictures
        if picture is not None and encode is not None:
            places = place_changes(
                lambda pictures: self.measure.pairs(text, encode(pictures)), picture, self.grid
            )
        score = float(self.measure.pairs(text, image)[0])
        return Explanation(name, sentence, score, words, num_words, places, picture)


# Words.


def word_changes(
    encoder: search.QueryEncoder, sentence: str, score: Callable[[np.ndarray], np.ndarray]
) -> tuple[list[Word], int]:
    """What the score changes by when a word is left out, for each word, one at a time.

    Punctuation stays in the sentence and is no word. A word that stands twice is left out at one
    place and then at the other.

    Args:
      encoder: of the run; its tokeniser says what a word is.
      sentence: with at least one known word.
      score: (B, D) sentences -> (B,) scores with the picture.

    Returns:
      The first `MOST_WORDS` words in order, and how many there are.

    Raises:
      ValueError: the sentence has no known word.
    """
    found = words_of(sentence, encoder.vocabulary.tokenise)
    tokens = [token for _, token in found]
    places = [place for place, token in enumerate(tokens) if is_word(token)]
    known = {place for place in places if encoder.vocabulary.knows(tokens[place])}
    whole = score(encoder.encode([sentence]))[0]
    words = []
    for place in tqdm(places[:MOST_WORDS], "words", delay=2, leave=False, disable=None):
        text = found[place][0]
        if place not in known:
            words.append(Word(text, None, UNKNOWN))
        elif len(known) == 1:
            words.append(Word(text, None, ONLY))
        else:
            without = encoder.encode([" ".join(tokens[:place] + tokens[place + 1 :])])
            words.append(Word(text, float(score(without)[0] - whole)))
    return words, len(places)


def words_of(sentence: str, tokenise: Tokeniser) -> list[tuple[str, str]]:
    """A sentence's tokens in order, each beside what was written: `[("Café", "cafe"), ...]`.

    A tokeniser does not tell where a token came from, so it is asked about parts of the sentence.
    Where that fails, a token stands for itself.
    """
    tokens = tokenise(sentence)
    found = [pair for piece in sentence.split() for pair in _written(piece, tokenise)]
    if [token for _, token in found] != tokens:
        return [(token, token) for token in tokens]
    return found


def _written(piece: str, tokenise: Tokeniser) -> Iterator[tuple[str, str]]:
    """`words_of` for a piece without spaces."""
    tokens, end = tokenise(piece), 0
    for count, token in enumerate(tokens, 1):
        before = end
        # The first beginning of the piece that holds the token, and the last end of that.
        stops = range(before + 1, len(piece) + 1) if len(piece) <= LONGEST_PIECE else ()
        end = next((e for e in stops if tokenise(piece[:e])[:count] == tokens[:count]), before)
        starts = range(end - 1, before - 1, -1)
        start = next((s for s in starts if tokenise(piece[s:end]) == [token]), None)
        while end < len(piece) and unicodedata.combining(piece[end]):
            end += 1  # an accent that the tokeniser drops
        yield (token if start is None else piece[start:end]), token


# Pictures.


def place_changes(
    score: Callable[[list[Image.Image]], np.ndarray], picture: Image.Image, grid: int = GRID
) -> np.ndarray:
    """What the score changes by when a patch covers the picture, for each place of the patch.

    The patch has the shape of the picture and its mean colour; neighbours overlap by half, so that
    G places need a patch of 2 / (G + 1) of the side.

    Args:
      score: B pictures of one size -> (B,) scores with the sentence.
      picture: RGB; one of more than `MOST_PIXELS` is made smaller first.
      grid: G.

    Returns:
      (G, G) float64, from the top left.
    """
    scale = (MOST_PIXELS / (picture.width * picture.height)) ** 0.5
    if scale < 1:
        size = [max(1, round(side * scale)) for side in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2)
    pixels = np.asarray(picture)
    colour = np.round(pixels.mean(axis=(0, 1))).astype(np.uint8)
    across, down = (patches(side, grid) for side in picture.size)
    corners = [(rows, columns) for rows in down for columns in across]

    def cover(rows: slice, columns: slice) -> Image.Image:
        covered = pixels.copy()
        covered[rows, columns] = colour
        return Image.fromarray(covered)

    whole, changes = score([picture])[0], []
    with tqdm(total=len(corners), desc="places", delay=2, leave=False, disable=None) as bar:
        for start in range(0, len(corners), AT_ONCE):
            batch = [cover(*corner) for corner in corners[start : start + AT_ONCE]]
            changes.append(score(batch) - whole)
            bar.update(len(batch))
    return np.concatenate(changes).reshape(grid, grid)


def patches(side: int, grid: int) -> list[slice]:
    """G equal patches, each half over the next, from end to end of a side of so many pixels."""
    length = -(-2 * side // (grid + 1))
    starts = np.round(np.linspace(0, side - length, grid)).astype(int).tolist()
    return [slice(start, start + length) for start in starts]
