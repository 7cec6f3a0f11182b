r"""A run's text tower for TensorFlow Serving: captions go in, unit rows come out.

    python test.py --export serving  # writes RUN/serving/1
    docker run -p 8501:8501 -v $PWD/RUN/serving:/models/query -e MODEL_NAME=query tensorflow/serving
    curl -d '{"instances": ["a red circle"]}' http://localhost:8501/v1/models/query:predict

The SavedModel tokenises inside its graph, so whoever asks needs none of our code. Its signature
`serving_default` takes `captions`, (B,) strings in UTF-8, and gives `embedding`, (B, D) float32:
what `query.onnx` makes of the ids of `Vocabulary.encode`, to 1e-5.

It needs TensorFlow's own operations only; with the tokeniser "pieces" those of tensorflow-text too,
which TensorFlow Serving is built with. In Python, import tensorflow_text before such a model.

A caption without a known word is not refused, as other captions may stand beside it: it gets the
row that the tower makes of no words. `retrieve.py` refuses such a query. Bytes that are no UTF-8
are read as U+FFFD.

Every tokeniser becomes a table, from each character to what it is spelt as, and a split at spaces.
The table is made by calling the very rules of `data/language`, so both sides agree whatever Unicode
version TensorFlow was built with.

Shape letters: B captions of a batch, D embedding, T tokens, P pages of the table, W characters that
one is spelt as at most.
"""

import functools
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.language import word_pieces, words
from run import replicas

PAGE = 256  # characters; pages that are equal are kept once
CHARACTERS = 0x110000
NOTHING, ITSELF = -1, -2  # in place of a code point of what a character is spelt as


def fold_for_bag(character: str) -> str:
    """What `words.bag_words` sees of a character: ASCII letters, digits and _; else spaces."""
    folded = unicodedata.normalize("NFKD", character.lower()).encode("ascii", "ignore").decode()
    return "".join(one if one.isalnum() or one == "_" else " " for one in folded)


def part_at_marks(character: str) -> str:
    """What `words.split_words` sees of a character: a space between words, else itself."""
    return character if words.split_words(character) else " "


def part_lowered(character: str) -> str:
    """What `words.lower_split_words` sees of a character, but for the last sigma of a word."""
    return part_at_marks(character.lower())


SPELLINGS: dict[str, Callable[[str], str]] = {
    "bag": fold_for_bag,
    "words": words.spell_in_word,
    "plain_words": words.spell_in_word,
    "split": part_at_marks,
    "lower_split": part_lowered,
    "pieces": word_pieces.spell_in_piece,
    "cased_pieces": word_pieces.spell_in_cased_piece,
}


@functools.cache
def spelling_pages(spell: Callable[[str], str]) -> tuple[np.ndarray, np.ndarray]:
    """A rule for single characters, asked about every one.

    Returns:
      (4352,) int32, the page of each 256 code points; (P * 256, W) int32 code points, ITSELF for
      that of the character, NOTHING behind the last.
    """
    spelt = [spell(chr(code)) for code in range(CHARACTERS)]
    width = max(map(len, spelt))
    table = np.full((CHARACTERS, width), NOTHING, np.int32)
    for code, text in enumerate(spelt):
        table[code, : len(text)] = [ITSELF if ord(one) == code else ord(one) for one in text]
    pages = table.reshape(-1, PAGE * width)
    kept, place = np.unique(pages, axis=0, return_inverse=True)
    return place.reshape(-1).astype(np.int32), kept.reshape(-1, width)


@functools.cache
def last_sigma() -> str:
    """A regular expression: a capital sigma that `str.lower` takes for the last letter of a word.

    It stands behind a letter that has cases and before none, whatever marks lie between: only then
    is its lower case another one, of all characters.
    """
    marks, cased = set(), set()
    for code in range(CHARACTERS):
        behind = [f"{start}{chr(code)}Σ".lower()[-1] == "ς" for start in "a "]
        if behind[0]:
            (cased if behind[1] else marks).add(code)
    mark, case = in_ranges(marks), in_ranges(cased)
    return f"([{case}][{mark}]*)Σ([{mark}]*(?:[^{case}{mark}]|$))"


def in_ranges(codes: set[int]) -> str:
    """Code points as what stands between the brackets of a regular expression."""
    starts = sorted(code for code in codes if code - 1 not in codes)
    stops = sorted(code for code in codes if code + 1 not in codes)
    return "".join(f"\\x{{{a:x}}}-\\x{{{b:x}}}" for a, b in zip(starts, stops, strict=True))


def spell_batch(captions, tokeniser: str):
    """(B,) strings -> (B, ragged) words, in a graph, before they are cut or looked up."""
    tf: Any = replicas.import_tensorflow()
    if tokeniser == "lower_split":
        captions = tf.strings.regex_replace(captions, last_sigma(), r"\1ς\2")
    places, spellings = spelling_pages(SPELLINGS[tokeniser])
    codes = tf.strings.unicode_decode(captions, "UTF-8")  # (B, ragged)
    rows = PAGE * tf.gather(places, codes.values // PAGE) + codes.values % PAGE
    spelt = tf.gather(spellings, rows)  # (characters, W)
    spelt = tf.where(spelt == ITSELF, codes.values[:, None], spelt)
    spelt = codes.with_values(spelt).merge_dims(1, 2)  # (B, ragged)
    texts = tf.strings.unicode_encode(tf.ragged.boolean_mask(spelt, spelt >= 0), "UTF-8")
    return tf.strings.split(texts)


def id_table(vocabulary: words.Vocabulary):
    """The lookup table of a vocabulary of words; id 0 is of tokens that leave no id."""
    tf: Any = replicas.import_tensorflow()
    ids = dict(vocabulary.ids)
    if vocabulary.tokeniser == "plain_words":  # punctuation is left out, and so is no unknown word
        spelt = {words.spell_in_word(chr(code)).strip() for code in range(CHARACTERS)}
        ids |= {one: 0 for one in spelt if one and not words.is_word(one)}
    keys = [word.encode("utf-8", "surrogatepass") for word in ids]
    entries = tf.lookup.KeyValueTensorInitializer(
        tf.constant(keys), tf.constant(list(ids.values()), tf.int64)
    )
    return tf.lookup.StaticHashTable(entries, vocabulary.unknown_id or 0)


def piece_reader(pieces: word_pieces.WordPieces, known: list[str]):
    """(B, ragged) words -> (B, ragged) int64 ids of their pieces, with a start and an end."""
    tf: Any = replicas.import_tensorflow()
    import tensorflow_text

    cutter = tensorflow_text.FastWordpieceTokenizer(
        [word_pieces.PADDING, *known],
        suffix_indicator=word_pieces.INSIDE,
        max_bytes_per_word=4 * word_pieces.LETTERS,  # UTF-8 has up to four to a letter
        unknown_token=word_pieces.UNKNOWN,
        no_pretokenization=True,
        token_out_type=tf.int64,
    )

    def read(found):
        # The vocabulary holds [UNK] itself, which no word is spelt like: brackets stand alone.
        letters = tf.strings.length(found.values, "UTF8_CHAR")
        long = letters > word_pieces.LETTERS
        found = found.with_values(tf.where(long, word_pieces.UNKNOWN, found.values))
        ids = cutter.tokenize(found).merge_dims(1, 2)[:, : pieces.longest - 2]
        ones = tf.ones((found.nrows(), 1), tf.int64)
        return tf.concat([pieces.start * ones, ids, pieces.end * ones], axis=1)

    return read


def make_reader(vocabulary: words.Vocabulary) -> tuple[Callable, list]:
    """The graph's `Vocabulary.encode`.

    Returns:
      A function from (B,) strings to (B, T) int32 ids as `Tokens.pad` gives them; and its lookup
      tables, which a SavedModel must hold.
    """
    tf: Any = replicas.import_tensorflow()
    tables = [] if vocabulary.pieces else [id_table(vocabulary)]
    end = [] if vocabulary.end_id is None else [vocabulary.end_id]

    def look_up(found):
        ids = tables[0].lookup(found)
        ids = tf.ragged.boolean_mask(ids, ids > 0)
        return tf.concat([ids, tf.tile(tf.constant([end], tf.int64), (ids.nrows(), 1))], axis=1)

    if vocabulary.pieces:
        look_up = piece_reader(vocabulary.pieces, vocabulary.words)

    def read(captions):
        ids = look_up(spell_batch(captions, vocabulary.tokeniser)).to_tensor()
        empty = tf.cast(tf.shape(ids)[1] == 0, tf.int32)
        return tf.cast(tf.pad(ids, [[0, 0], [0, empty]]), tf.int32)

    return read, tables


def export_serving(run, model, vocabulary: words.Vocabulary) -> Path:
    """Writes the text tower of a graded run with its tokeniser as a SavedModel.

    Args:
      run: `run.folder.Run`; model: a `DualEncoder` with its weights.

    Returns:
      RUN/serving/1: TensorFlow Serving is given RUN/serving, and takes the version 1 in it.

    Raises:
      ValueError: the tokeniser is of tensorflow-text, which this platform lacks.
    """
    tf: Any = replicas.import_tensorflow()
    tower, module = model.encoder_models.text, tf.Module()
    try:
        read, module.tables = make_reader(vocabulary)
    except ImportError:
        raise ValueError(
            "--export serving: word pieces are cut by tensorflow-text, which is not installed "
            "here; it is made for Linux"
        ) from None
    module.weights = [variable.value for variable in tower.weights]

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="captions")])
    def embed(captions):
        number = tf.size(captions)
        # Some processors answer a convolution over no rows with a wrong shape.
        filled = tf.concat([captions, tf.fill([tf.cast(number == 0, tf.int32)], "")], axis=0)
        rows = tower(read(filled), training=False)[:number]
        return {"embedding": tf.cast(rows, tf.float32)}

    path = run.folder / "serving" / "1"
    temporary = run.folder / "serving" / ".writing"
    shutil.rmtree(temporary, ignore_errors=True)
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel("ERROR")  # it warns of tables that it then saves
    try:
        tf.saved_model.save(module, str(temporary), signatures={"serving_default": embed})
    finally:
        logger.setLevel(before)
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    return path
