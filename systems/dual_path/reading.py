"""What system 3 reads of the training split: its dictionary, and the classes of its classifier."""

from data.language import word_vectors
from data.language.words import Vocabulary
from data.vision import descriptors
from systems.system import Targets


def vocabulary(settings, captions):
    """The words of the captions; with --dictionary word_vectors those of them that the file has."""
    rule = "lower_split" if settings.lowercase else "split"
    found = Vocabulary.from_captions(captions, settings.max_words, rule, settings.min_count)
    if settings.dictionary == "word_vectors":
        _, known = word_vectors.read_word_vectors(settings.word_vectors, found.words)
        found = found.only(known)
    return found


def targets(settings, split, images, vocabulary, descriptor):
    """The classes of the training images, and how many captions hard texts are chosen from.

    Raises:
      ValueError: there are fewer images than classes, or no phrases.
    """
    if settings.classes == "phrases":
        classes = phrase_classes(split.captions, split.caption_image, vocabulary)
        return Targets(classes, classes.shape[1])
    if settings.num_classes:
        images = descriptors.cluster_rows(descriptor, split, images, settings)
    classes = instance_classes(settings, images, split.num_images)
    number = settings.num_classes or split.num_images
    return Targets(classes, number, settings.hard_texts)
