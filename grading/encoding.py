"""A finished run and a split of its data, encoded: all that grading starts from."""

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from answering import truth
from data import datasets, pictures
from data.language.words import Tokens, Vocabulary, say_wordless
from data.vision import descriptors
from gallery import similarity
from grading import intervals
from grading import score as scores
from run import files, hdf5, replicas
from run.folder import Run
from settings.training import Facts
from systems import config


@dataclass(frozen=True)
class Finished:
    """What a finished run consists of, but for its weights."""

    run: Run
    settings: Any
    facts: Facts
    vocabulary: Vocabulary
    descriptor: Any


@dataclass(frozen=True)
class Encoded:
    """A split, encoded.

    Attributes:
      finished: the run; model: with its best weights; split: of its data.
      images: what the image tower read: vectors, boxes or `Pictures`.
      image: (N, D), text: (M, D) float32 unit rows.
    """

    finished: Finished
    model: Any
    split: datasets.Split
    images: Any
    image: np.ndarray
    text: np.ndarray


def open_finished(run: Run) -> Finished:
    """What a finished run consists of.

    Raises:
      ValueError: the run is half-written.
    """
    why = f"training has not ended an epoch; anew: python train.py --exp {run.folder.name}"
    run.require(run.best_weights, why)
    settings, facts = config.load(run)
    vocabulary = Vocabulary.load(run.require(run.vocabulary, "it was lost; train anew"))
    path = run.require(run.features, "how its pictures are described is lost; train anew")
    return Finished(run, settings, facts, vocabulary, descriptors.load_descriptor(path))


def with_settings(finished: Finished, **changed: Any) -> Finished:
    """The same with other settings. Raises ValueError where they mean nothing to its system."""
    known = {field.name for field in dataclasses.fields(finished.settings)}
    for name in changed.keys() - known:
        raise ValueError(f"--{name} means nothing to --model {finished.settings.model}")
    settings = dataclasses.replace(finished.settings, **changed)
    config.check(settings)
    return dataclasses.replace(finished, settings=settings)


def load_model(finished: Finished) -> Any:
    """The run's model with its best weights.

    Raises:
      ValueError: the weights are of another model or cut off.
    """
    import models

    run, model = finished.run, models.build_model(finished.settings, finished.facts)
    try:
        hdf5.load_weights(model, run.best_weights)
    except ValueError as error:
        raise ValueError(
            f"{run.best_weights} is damaged, or of another model than {run.config.name} describes "
            f"({str(error).splitlines()[0]}): train anew"
        ) from None
    return model


def encode_finished(
    finished: Finished, split: datasets.Split, folds: int, threads: int, batch_size: int
) -> Encoded:
    """Encodes a split by a run's towers, each operation on one thread, so that bits agree.

    Args:
      folds: refused now where the images cannot be shared out, not after the encoding.
      threads: chunks in work at a time; 0: of `batch_size` rows, or as many as cores.

    Raises:
      ValueError: the run, the split and the folds do not fit together.
    """
    intervals.fold_slices(split.num_images, folds)
    images = finished.descriptor.rows(split, finished.settings)
    replicas.set_devices(threads=1, cpu_only=True)
    model = load_model(finished)
    model.for_test()
    image, text = encode_with(model, images, split, finished.vocabulary, threads, batch_size)
    return Encoded(finished, model, split, images, image, text)


def encode_with(
    model: Any,
    images: Any,
    split: datasets.Split,
    vocabulary: Vocabulary,
    threads: int,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of a split by a model that is made for test, (N, D) and (M, D).

    Args:
      images: what the image tower reads of the split; threads, batch_size: as above.
    """
    from systems.engine import encoding

    cores = threads or -(-batch_size // model.parts.chunks.text) or os.cpu_count() or 1
    tokens = Tokens(split.captions, vocabulary)
    say_wordless(split.name, tokens, vocabulary)
    return encoding.encode_split(model, images, tokens, cores)


def save_projections(encoded: Encoded, place: Run) -> None:
    """projections.npz: what `retrieve.py` searches and `--verify` recomputes from."""
    split = encoded.split
    arrays = {"image": encoded.image, "text": encoded.text, "caption_image": split.caption_image}
    if split.concepts is not None:
        arrays["concepts"] = split.concepts
    strings = {
        "image_names": split.image_names,
        "captions": split.captions,
        "pictures": pictures.picture_references(split),
    }
    if split.origin.startswith("scenes:"):
        arrays |= truth.pack_truth(strings["pictures"])
    for name, values in strings.items():
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = files.pack_strings(values)
    digest = files.file_hash(encoded.finished.run.best_weights)
    arrays["weights"] = np.frombuffer(digest.encode(), np.uint8)
    arrays["similarity"] = similarity.pack_similarity(encoded.finished.settings.similarity)
    files.write_arrays(place.projections, arrays)


def hash_files(finished: Finished, data: str) -> dict[str, str]:
    """SHA-256 of all that a score depends on; `data`: of `datasets.fingerprint`."""
    hashes = {
        "data": data,
        "weights": files.file_hash(finished.run.best_weights),
        "config": config.config_hash(finished.settings, finished.facts),
    }
    learned = finished.descriptor.fingerprint()
    return {**hashes, "pictures": learned} if learned else hashes


def score_encoded(encoded: Encoded, folds: int, block_bytes: int) -> tuple[dict[str, Any], Any]:
    """The dict of score.json, and what was found in each fold."""
    settings, split = encoded.finished.settings, encoded.split
    score, found = scores.grade_embeddings(
        encoded.image,
        encoded.text,
        split.caption_image,
        split.concepts,
        split.fits() if split.fits else None,
        folds=folds,
        block_bytes=block_bytes,
        similarity=settings.similarity,
    )
    facts = scores.facts_of(settings, split.name) | dict(encoded.model.parts.protocol)
    graded = split.concepts is not None
    facts = scores.protocol(found, len(encoded.image), graded, settings.similarity, **facts)
    hashes = hash_files(encoded.finished, datasets.fingerprint(split))
    return {"protocol": facts, "hashes": hashes, **score}, found
