"""Training without the images whose captions say certain pairs of words.

    splits = hold_out(splits, settings)      # of --heldout brown_dog,sit_cat or --heldout_file

The protocol of the system 5 paper: an image with any caption that says any of the pairs leaves the
training set and belongs to the validation set, so that the choice of the best epoch sees the pairs,
though training does not. The test split stays as it is. The vocabulary is made of the captions that
are left.

Shape letters: M captions, N images, P pairs.
"""

import dataclasses
import logging
from typing import Any

import numpy as np

from data.formats.records import take_rows
from data.pairs import finding

logger = logging.getLogger(__name__)


def hold_out(splits: dict[str, Any], settings: Any) -> dict[str, Any]:
    """Splits by the protocol of held-out pairs.

    Args:
        splits: {"train": `datasets.Split`, "validation": ..., "test": ...}.
        settings: with heldout, heldout_file, pair_finder and data.

    Returns:
        train without the images that say a pair; these as validation; test as it was. What was
        validation is left out.

    Raises:
        ValueError: a pair is not known; or no training image says one, or all do.
    """
    train = splits["train"]
    sought = finding.gather_pairs(settings.heldout, settings.heldout_file, settings.data)
    said = finding.contained(train.captions, [one.pair for one in sought], settings.pair_finder)
    counts = finding.count_images(train, said, sought)  # (N, P)
    held = (counts > 0).any(axis=1)  # (N,)
    names = ", ".join(one.pair.name for one in sought)
    number = train.num_images
    if not held.any() or held.all():
        raise ValueError(
            f"{'all' if held.any() else 'none'} of the {number:,} training images have captions "
            f"that say {names}: choose other pairs"
        )
    images = (counts > 0).sum(axis=0).tolist()
    told = ", ".join(f"{one.pair.name} {n:,}" for one, n in zip(sought, images, strict=True))
    logger.warning(
        "held out: %s of %s training images (%s); they are the validation set",
        *(f"{int(held.sum()):,}", f"{number:,}", told),
    )
    return {
        "train": take(train, np.flatnonzero(~held), "train"),
        "validation": take(train, np.flatnonzero(held), "validation"),
        "test": splits["test"],
    }


def take(split: Any, rows: np.ndarray, name: str) -> Any:
    """Some images of a split with their captions, as a split of another name.

    Args:
        split: a `datasets.Split`.
        rows: (n,) ascending rows of images.
        name: of the new split.
    """
    place = np.full(split.num_images, -1, np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    captions = np.flatnonzero(place[split.caption_image] >= 0)
    pictures, fits = split.pictures, split.fits
    if isinstance(pictures, list):
        pictures = [pictures[row] for row in rows]
    elif pictures is not None:
        pictures = take_rows(pictures, rows)
    return dataclasses.replace(
        split,
        name=name,
        image_names=[split.image_names[row] for row in rows],
        captions=[split.captions[row] for row in captions],
        caption_image=place[split.caption_image[captions]],
        vectors=None if split.vectors is None else take_rows(split.vectors, rows),
        pictures=pictures,
        concepts=None if split.concepts is None else take_rows(split.concepts, rows),
        fits=fits and (lambda: fits()[np.ix_(captions, rows)]),
    )
