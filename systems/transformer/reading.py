"""What system 4 reads of the training captions: word pieces, published or learned."""

from data.language import word_pieces
from data.language.words import Vocabulary
from data.vision import activations, cnn


def vocabulary(settings, captions):
    """Word pieces of --word_pieces, or those of --text_weights, or learned from the captions.

    Raises:
      ValueError: they cannot be had.
    """
    if settings.word_pieces:
        pieces = word_pieces.read_vocabulary(settings.word_pieces)
        cased = word_pieces.are_cased(pieces)
    elif settings.text_weights not in cnn.RANDOM:
        pieces, cased = activations.in_own_process(preset_pieces, settings.text_weights)
    else:
        counts = settings.max_words, "pieces", settings.min_count, settings.max_pieces
        return Vocabulary.from_captions(captions, *counts)
    return Vocabulary(pieces, "cased_pieces" if cased else "pieces", settings.max_pieces)


def preset_pieces(weights):
    """`hub.preset_vocabulary`, which begins with TensorFlow."""
    from systems.engine import hub

    return hub.preset_vocabulary(weights)
