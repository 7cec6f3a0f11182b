"""What system 3 reads of the training split: its dictionary, and the classes of its classifier."""

import dataclasses

import numpy as np
import scipy.sparse

from data.language import word_vectors
from data.language.words import Vocabulary
from systems.system import Targets

PHRASE_CAPTIONS = 20  # that a phrase must stand in to be a class


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
        images = cluster_rows(descriptor, split, images, settings)
    classes = instance_classes(settings, images, split.num_images)
    number = settings.num_classes or split.num_images
    return Targets(classes, number, settings.hard_texts)


def cluster_rows(descriptor, split, rows, settings) -> np.ndarray:
    """(N, F) vectors of a split for k-means: its rows, or of pictures the last layer of --cnn.

    Raises:
      ValueError: pictures are read by a network that has not been trained before.
    """
    if descriptor.kind != "pixels":
        return rows
    from data.vision import activations, cnn, presets
    from data.vision.embedding import NetworkDescriptor

    known = settings.cnn in cnn.NETWORKS or presets.is_preset(settings.cnn)
    if not known or settings.image_weights in cnn.RANDOM:
        raise ValueError(
            f"--num_classes {settings.num_classes}: k-means needs a trained network; --cnn "
            f"{settings.cnn} --image_weights {settings.image_weights} is none"
        )
    network = dataclasses.replace(cnn.describe_network(settings), crops=1)
    store = activations.ActivationStore(split, network, settings.cache_dir)
    store.ensure()
    return NetworkDescriptor(network, store.layers(), "last", unit=False).rows(split, settings)


def instance_classes(settings, vectors, number: int) -> np.ndarray:
    """The classes of the training images: each its own, or K pseudo classes by k-means.

    Args:
      settings: with num_classes (K, 0: each its own) and data_seed.
      vectors: (N, F) image vectors, for k-means; each divided by its norm.
      number: N.

    Returns:
      (N,) int32.

    Raises:
      ValueError: there are fewer images than classes.

    Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
      section 5.4 (K-means clusters as pseudo classes).
    """
    if not settings.num_classes:
        return np.arange(number, dtype=np.int32)
    if not 2 <= settings.num_classes <= number:
        raise ValueError(
            f"--num_classes {settings.num_classes}: expected 2 to {number:,}, the training images"
        )
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.preprocessing import normalize

    rows = normalize(np.asarray(vectors, np.float32))
    model = MiniBatchKMeans(
        settings.num_classes,
        random_state=settings.data_seed,
        batch_size=max(1024, 3 * settings.num_classes),
        n_init=1,
    )
    return model.fit_predict(rows).astype(np.int32)


def phrase_classes(captions: list[str], caption_image, vocabulary):
    """The words and pairs of neighbouring words that an image's captions say, as its classes.

    A phrase weighs log(M / m) - 1 where m of M captions say it: one of over a third of them weighs
    nothing, and one of less than 20 is no class.

    Args:
      captions: M of them; caption_image: (M,) their images, sorted; vocabulary: of the run.

    Returns:
      (N, K) SciPy sparse float32; rows sum to 1, or to 0 where an image's captions say none.

    Raises:
      ValueError: there is no such phrase.

    Reference: Joulin et al., Learning visual features from large weakly supervised data, ECCV 2016
      (words of captions as the classes of a softmax); Li et al., Learning visual n-grams from web
      data, ICCV 2017. Not in the paper of system 3.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    counter = CountVectorizer(
        tokenizer=vocabulary.tokenise, token_pattern=None, lowercase=False, ngram_range=(1, 2),
        binary=True, dtype=np.float32,
    )  # fmt: skip
    said = counter.fit_transform(captions)  # (M, phrases)
    often = np.asarray(said.sum(axis=0))[0]
    weights = np.log(len(captions) / often) - 1
    kept = np.flatnonzero((often >= PHRASE_CAPTIONS) & (weights > 0))
    if not len(kept):
        raise ValueError(
            f"--classes phrases: no phrase stands in {PHRASE_CAPTIONS} of the {len(captions):,} "
            "training captions; use --classes images"
        )
    rows = (caption_image, np.arange(len(captions)))
    own = scipy.sparse.csr_matrix((np.ones(len(captions), np.float32), rows))  # (N, M)
    found = (own @ said[:, kept]).minimum(1) @ scipy.sparse.diags(weights[kept])
    return normalize(found.tocsr(), norm="l1").astype(np.float32)
