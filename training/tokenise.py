"""Captions to ids in tf.data: the tokeniser "words" by tensorflow-text, for whole splits.

    tokens = tokenise(split.captions, vocabulary)

Gives the ids of `text.Tokens` and exists beside it so that captions can be read where TensorFlow
reads them. Both sides take each character's spelling from `text.spell` and then split at spaces,
so they agree by construction, whatever Unicode version the libraries were built with.

Shape letters: B captions of a batch, C characters of a batch, P code points of the table.
"""

from collections.abc import Sequence

import numpy as np

from data.language import word_pieces
from data.language.words import Tokens, Vocabulary, spell

BATCH = 2048  # captions that one thread tokenises at a time
LONGEST = 3  # characters that `text.spell` makes of one: a visible one between two spaces
SPACE = ord(" ")


def tokenise(captions: Sequence[str], vocabulary: Vocabulary) -> Tokens:
    """Ids of all captions, the same as `text.Tokens(captions, vocabulary)`.

    Runs a tf.data pipeline of tensorflow-text where there is one: it is made for Linux only.
    Elsewhere, and for the other tokenisers, `text.Tokens` gives the same ids.
    """
    if vocabulary.tokeniser not in ("words", "pieces") or not captions:
        return Tokens(captions, vocabulary)
    try:
        import tensorflow_text  # noqa: F401
    except ImportError:
        return Tokens(captions, vocabulary)
    dataset = (
        word_pieces.make_dataset(captions, vocabulary.words, vocabulary.pieces.longest)
        if vocabulary.pieces
        else make_dataset(captions, vocabulary)
    )
    parts = list(dataset.as_numpy_iterator())
    flat, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Tokens.from_flat(flat, lengths)


def make_dataset(captions: Sequence[str], vocabulary: Vocabulary):
    """The tf.data pipeline of `tokenise`.

    Returns:
      A dataset of (ids of B captions one after the other, int32; (B,) their lengths, int64).

    Raises:
      ValueError: the vocabulary's tokeniser is not "words".
    """
    import tensorflow as tf
    import tensorflow_text as tf_text

    unknown, end = vocabulary.unknown_id, vocabulary.end_id
    if unknown is None or end is None:
        raise ValueError(f'tf.data tokenises by "words", not by {vocabulary.tokeniser!r}')
    # A lone surrogate has no UTF-8: its bytes are ill-formed and are read as a space below.
    encoded = [caption.encode("utf-8", "surrogatepass") for caption in captions]
    words = [word.encode("utf-8", "surrogatepass") for word in vocabulary.words]
    numbers = tf.range(1, len(words) + 1, dtype=tf.int64)
    ids = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(words), numbers), unknown
    )
    spelling = tf.constant(spelling_table(set().union(*captions)))
    splitter = tf_text.WhitespaceTokenizer()

    def read(batch):
        spelt = _spell_batch(batch, spelling)
        found = ids.lookup(splitter.tokenize(spelt))  # (B, ragged)
        ends = tf.fill([tf.size(batch), 1], tf.constant(end, tf.int64))
        found = tf.concat([found, ends], axis=1)
        return tf.cast(found.values, tf.int32), found.row_lengths()

    dataset = tf.data.Dataset.from_tensor_slices(tf.constant(encoded)).batch(BATCH)
    return dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def spelling_table(characters: set[str]) -> np.ndarray:
    """`text.spell` as code points, for the characters at hand.

    Args:
      characters: every character that the captions hold. To take these only, and not all of
        Unicode, saves half a second.

    Returns:
      (P, 3) int32 from code point to spelling, filled up with 0, which no spelling holds.
    """
    # At least up to the space, as which ill-formed bytes are read.
    table = np.zeros((max(map(ord, characters | {" "})) + 1, LONGEST), np.int32)
    table[:, 0] = SPACE
    for character in characters:
        spelt = [ord(part) for part in spell(character)]
        table[ord(character)] = spelt + [0] * (LONGEST - len(spelt))
    return table


def _spell_batch(batch, spelling):
    """(B,) UTF-8 strings -> (B,) strings of which each character is spelt by the table."""
    import tensorflow as tf

    codes = tf.strings.unicode_decode(batch, "UTF-8", "replace", SPACE)  # (B, ragged)
    spelt = codes.with_values(tf.gather(spelling, codes.values))  # (B, ragged, 3)
    spelt = spelt.merge_dims(1, 2)  # (B, ragged)
    return tf.strings.unicode_encode(tf.ragged.boolean_mask(spelt, spelt > 0), "UTF-8")
