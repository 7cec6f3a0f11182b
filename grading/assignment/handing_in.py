"""What a student hands in: an assignment's test split, encoded, rows in the order of its files."""

from typing import Any

import numpy as np

from data import datasets
from gallery.similarity import pack_similarity
from grading import encoding
from run import files
from run.folder import Run


def hand_in(finished: encoding.Finished, split: datasets.Split, place: Run, asked: Any) -> None:
    """Encodes a shuffled split into submission.npz of a run's folder, and says so.

    It holds `image` (N, D) and `text` (M, D) float32 unit rows; `similarity`, the name of their
    score; and `data`, the fingerprint of the split: both UTF-8 as uint8.

    Args:
      asked: the flags of `settings.grading`.

    Raises:
      ValueError: they ask for what needs the pairs.
    """
    if asked.examples or asked.pairs or asked.export or asked.folds > 1 or asked.output:
        split.check_paired()
    encoded = encoding.encode_finished(finished, split, 1, asked.threads, asked.batch_size)
    told = np.frombuffer(datasets.fingerprint(split).encode(), np.uint8)
    kind = pack_similarity(finished.settings.similarity)
    arrays = {"image": encoded.image, "text": encoded.text, "similarity": kind, "data": told}
    files.write_arrays(place.submission, arrays)
    print(
        f"{split.num_images:,} images and {split.num_captions:,} captions encoded; whose the "
        "captions are is not known here, so there is no score (--split validation has one)\n"
        f"written: {place.submission}: hand in this file, under your name"
    )
