"""What a training reads, before TensorFlow is imported: splits, words, image rows, facts."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import record
from data.datasets import Split
from data.language.words import Tokens, Vocabulary, say_wordless
from data.vision import descriptors
from run import files
from settings.training import Facts
from systems import config
from systems.system import Targets
from training.relevance import choose_relevance
from training.starting import Start

LARGEST = 1e15  # of image vectors
SAMPLE = 1000  # of them, looked at


@dataclass(frozen=True)
class Inputs:
    """All that training reads.

    Attributes:
      settings: with nothing left to "auto"; facts: what the data have decided.
      splits: {"train", "validation"}; vocabulary: of the run.
      descriptor: of pictures, a `Descriptor`.
      images: {split name: (N, F) image vectors, (N, R, F) boxes, or `PixelRows`}.
      tokens: {split name: ids of its captions}.
      targets: what a batch brings besides, of the system.
      known: of `record.describe`, all data that the run knows.
    """

    settings: Any
    facts: Facts
    splits: dict[str, Split]
    vocabulary: Vocabulary
    descriptor: Any
    images: dict[str, Any]
    tokens: dict[str, Tokens]
    targets: Targets
    known: dict[str, Any]


def read_inputs(start: Start, splits: dict[str, Split]) -> Inputs:
    """Words and image rows of the splits that training reads; of the run that goes on, or that this
    one starts from.

    Args:
      splits: {"train", "validation", "test"}.

    Raises:
      ValueError: the data are not what the settings ask for, or not those of the run that goes on.
    """
    known = record.describe(splits)
    if start.resumed:
        record.check_resumed(start.run, known)
    if start.first:
        known = record.check_started(start.first, known)
    splits = {name: splits[name] for name in ("train", "validation")}
    check_trainable(splits["train"])
    settings = resolve(start.settings, splits["train"])
    source = start.run if start.resumed else start.first
    if start.first:
        from training import phases

        settings = phases.same_reading(start.first, settings, start.given)
        phases.check_vectors(start.first, settings)
    if source:
        lost = "it was lost; train anew with --overwrite"
        vocabulary = Vocabulary.load(source.require(source.vocabulary, lost))
        descriptor = known_descriptor(source, settings, splits["train"])
    else:
        vocabulary = make_vocabulary(settings, splits)
        # Files of boxes have become the data's own vectors.
        kind = "ready" if settings.features == "bottom_up" else settings.features
        descriptor = descriptors.learn_descriptor(kind, splits["train"], settings)
    images = {name: descriptor.rows(split, settings) for name, split in splits.items()}
    if descriptor.kind == "pixels":
        images["validation"].check()  # now, not after the first epoch
    system, made = config.sheet(settings.model), Targets()
    descriptors.check_reads(descriptor, settings.model, system.reads_boxes)
    if system.targets:
        make = config.find_function(system.targets)
        made = make(settings, splits["train"], images["train"], vocabulary, descriptor)
    facts = dataclasses.replace(
        start.facts,
        feature_dim=descriptor.feature_dim,
        vocabulary_size=vocabulary.num_ids,
        train_images=splits["train"].num_images,
        num_classes=made.num_classes,
    )
    if settings.word_vectors and not start.resumed:
        word_hash = files.file_hash(settings.word_vectors)
        facts = dataclasses.replace(facts, word_vectors_hash=word_hash)
    if start.first:
        from training import phases

        phases.check_sizes(start.first, settings, facts)
    tokens = {name: Tokens(split.captions, vocabulary) for name, split in splits.items()}
    for name, title in (("train", "training"), ("validation", "validation")):
        say_wordless(title, tokens[name], vocabulary)
    return Inputs(settings, facts, splits, vocabulary, descriptor, images, tokens, made, known)


def compared_data(inputs: Inputs) -> dict[str, Any]:
    """{name: value} of what all workers of a training must have read alike."""
    known = inputs.known["splits"]
    prints = {f"{name} data, SHA-256": split["sha256"] for name, split in known.items()}
    return {**prints, **dataclasses.asdict(inputs.facts)}


def check_trainable(train: Split) -> None:
    """Refuses a training split of which nothing can be learned.

    Raises:
      ValueError: it has one image, or one caption for all; or numbers that float32 cannot square.
    """
    if train.num_images < 2:
        raise ValueError(
            f"the training split has {train.num_images} image: expected two or more, as images "
            "are told apart"
        )
    if all(caption == train.captions[0] for caption in train.captions):
        raise ValueError(
            f"all {len(train.captions):,} training captions are the same, so no image can be told "
            f"from another: {train.captions[0][:60]!r}"
        )
    if train.vectors is not None and (size := largest(train.vectors)) > LARGEST:
        raise ValueError(
            f"image vectors of the training split reach {size:.2g}, whose squares no float32 "
            "holds: scale them"
        )


def largest(vectors) -> float:
    """The largest size among a sample of (N, F) rows; 0 of pictures."""
    if hasattr(vectors, "views"):
        return 0.0
    rows = vectors[np.arange(0, len(vectors), -(-len(vectors) // SAMPLE))]
    return float(np.abs(np.asarray(rows, np.float64)).max(initial=0))


def resolve(settings: Any, train: Split) -> Any:
    """The settings with what "auto" means for this data.

    Args:
      train: the training split.

    Raises:
      ValueError: the data have not what is asked for.
    """
    system = config.sheet(settings.model)
    usual = system.of_scenes if settings.data == "scenes" else system.of_photographs
    kind = descriptors.choose_features(settings, train, usual)
    features = "bottom_up" if settings.features == "bottom_up" else kind
    relevance = choose_relevance(settings, train.concepts)
    if system.resolve:
        settings = config.find_function(system.resolve)(settings)
    return dataclasses.replace(settings, features=features, relevance=relevance)


def known_descriptor(source: Any, settings: Any, split: Split) -> Any:
    """The picture descriptor of a run; that of pixels anew: the first may have read vectors.

    Raises:
      ValueError: it is lost.
    """
    if settings.features == "pixels":
        return descriptors.learn_descriptor("pixels", split, settings)
    path = source.require(source.features, "it was lost; train anew with --overwrite")
    return descriptors.load_descriptor(path)


def make_vocabulary(settings: Any, splits: dict[str, Split]) -> Vocabulary:
    """The words of the training captions, or what else the system makes of them.

    Raises:
      ValueError: a file that they are read from is not there.
    """
    if settings.word_vectors and not Path(settings.word_vectors).is_file():
        raise ValueError(f"--word_vectors {settings.word_vectors}: there is no such file")
    captions = splits["train"].captions
    if settings.vocabulary == "train+validation":
        captions = captions + splits["validation"].captions
    system = config.sheet(settings.model)
    if system.vocabulary:
        return config.find_function(system.vocabulary)(settings, captions)
    rule = system.tokeniser(settings)
    return Vocabulary.from_captions(captions, settings.max_words, rule, settings.min_count)


def fill_words(words: Any, settings: Any, inputs: Inputs) -> str:
    """Sets the words that --word_vectors has; returns the line that says how many these are.

    Args:
      words: `WordTable` of the model, or None.

    Raises:
      ValueError: the model has no word table, or the vectors are of another size.
    """
    import keras

    from data.language import word_vectors

    if words is None:
        raise ValueError(f"--word_vectors: --model {settings.model} has no table of words to fill")
    rows, found = word_vectors.read_word_vectors(settings.word_vectors, inputs.vocabulary.words)
    if rows.shape[1] != settings.word_dim:
        raise ValueError(
            f"{settings.word_vectors} has vectors of {rows.shape[1]} numbers, --word_dim is "
            f"{settings.word_dim}: give --word_dim {rows.shape[1]}"
        )
    values = keras.ops.convert_to_numpy(words.weights).copy()
    values[words.padding : len(rows) + words.padding][found] = rows[found]
    words.weights.assign(values)
    return word_vectors.coverage_line(found, inputs.tokens["train"].flat)
