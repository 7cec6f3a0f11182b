"""Splits that a data set lacks, drawn by a hash of each image's name, never of its position.

    u = SHA-256("<seed> <name>") as a fraction of 1

So rows may be sorted, taken away or added without any other image changing sides:

  three splits   u < 0.1 is test, u < 0.2 validation, the rest trains. The sizes are near a tenth of
                 the images; of few images each split gets at least one, the nearest.
  validation     of a given training split: the N images of the smallest u, so that the size is
                 exact. An image that is added moves at most one other, back to training.

A name is a file's name as the data set writes it, or a row number; where the data lie does not
matter. Images that are one picture (`identity.first_pictures`) share their smallest u.
"""

import hashlib
import logging
from dataclasses import replace

import numpy as np

from data.formats.identity import first_pictures, same_vectors
from data.formats.records import SPLITS, ReadingOptions, Records

logger = logging.getLogger(__name__)

SHARE = 0.1  # of the images that test and validation get, each


def fraction(name: str, seed: int) -> float:
    """A number in [0, 1) that only the name and the seed decide."""
    digest = hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _groups(records: Records, options: ReadingOptions) -> tuple[list[np.ndarray], list[float]]:
    """Rows of the images that are one, in the order of their fractions, and these."""
    first = np.arange(len(records.names))
    if isinstance(records.pictures, list):
        first = first_pictures(records.pictures, options.cache_dir)
    elif records.vectors is not None:
        again, sure = same_vectors(records.vectors)
        first = np.where(sure, again, first)
    rows: dict[int, list[int]] = {}
    for row, of in enumerate(first.tolist()):
        rows.setdefault(of, []).append(row)
    own = [fraction(name, options.seed) for name in records.names]
    order = sorted((min(own[row] for row in group), group) for group in rows.values())
    return [np.array(group) for _, group in order], [u for u, _ in order]


def draw_three(records: Records, options: ReadingOptions, where: str) -> dict[str, Records]:
    """Train, validation and test of a data set without splits; said in one line.

    Args:
      records: all images; where: file or folder, for the line.

    Raises:
      ValueError: there are fewer than three images.
    """
    groups, fractions = _groups(records, options)
    if len(groups) < 3:
        raise ValueError(
            f"{where}: {len(groups)} images are too few to make three splits; at least 3 needed"
        )
    tested = max(1, min(int(np.searchsorted(fractions, SHARE)), len(groups) - 2))
    held = int(np.searchsorted(fractions, 2 * SHARE))
    held = max(tested + 1, min(held, len(groups) - 1))
    rows = {"train": groups[held:], "validation": groups[tested:held], "test": groups[:tested]}
    drawn = f"drawn by a hash of each image's name, seed {options.seed}"
    found = {split: _taken(records, rows[split], drawn) for split in SPLITS}
    sizes = ", ".join(f"{split} {len(own.names):,}" for split, own in found.items())
    logger.warning("%s names no splits; %s: %s images", where, drawn, sizes)
    return found


def draw_apart(
    records: Records, size: int, options: ReadingOptions, where: str
) -> dict[str, Records]:
    """Test and validation of `size` images each, by the smallest u; the rest trains.

    Args:
      records: all images; where: file or folder, for the line.

    Raises:
      ValueError: that leaves no image to train on.
    """
    groups, _ = _groups(records, options)
    upto = np.cumsum([len(group) for group in groups])
    tested, held = (int(np.searchsorted(upto, count)) + 1 for count in (size, 2 * size))
    if held >= len(groups):
        raise ValueError(
            f"{where}: {len(records.names):,} images are too few to set {size:,} apart for test "
            "and as many for validation"
        )
    rows = {"train": groups[held:], "validation": groups[tested:held], "test": groups[:tested]}
    drawn = f"{size:,} each drawn by a hash of each image's name, seed {options.seed}"
    return {split: _taken(records, rows[split], drawn) for split in SPLITS}


def draw_validation(
    records: Records, options: ReadingOptions, where: str
) -> tuple[Records, Records]:
    """Sets training images aside for validation: `validation_images`, but at most a tenth.

    Args:
      records: the training split; where: file or folder, for the line that is said.

    Returns:
      What stays and what is set aside, in the order of the records.

    Raises:
      ValueError: there are fewer than two images.
    """
    groups, _ = _groups(records, options)
    if len(groups) < 2:
        raise ValueError(
            f"{where}: {len(groups)} training images are too few to set one aside for validation"
        )
    wanted = min(options.validation_images, max(1, len(records.names) // 10))
    upto = np.cumsum([len(group) for group in groups])
    cut = min(int(np.searchsorted(upto, wanted)) + 1, len(groups) - 1)
    drawn = f"drawn of the training images by a hash of each one's name, seed {options.seed}"
    kept, aside = _taken(records, groups[cut:], ""), _taken(records, groups[:cut], drawn)
    logger.warning(
        "%s names no validation images; %s: %s of %s",
        *(where, drawn, f"{len(aside.names):,}", f"{len(records.names):,}"),
    )
    return kept, aside


def _taken(records: Records, groups: list[np.ndarray], drawn: str) -> Records:
    return replace(records.take(np.sort(np.concatenate(groups)).tolist()), drawn=drawn)
