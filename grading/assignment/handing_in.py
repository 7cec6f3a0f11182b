"""What a student hands in: an assignment's test split, encoded, rows in the order of its files."""

from pathlib import Path

import numpy as np

from data import datasets
from gallery.similarity import pack_similarity
from grading import encoding
from run import files
from run.folder import Run


def write_submission(
    finished: encoding.Finished, split: datasets.Split, place: Run, threads: int, batch_size: int
) -> Path:
    """Encodes a shuffled split and writes submission.npz into a run's folder.

    It holds `image` (N, D) and `text` (M, D) float32 unit rows; `similarity`, the name of their
    score; and `data`, the fingerprint of the split: both UTF-8 as uint8.

    Args:
      threads, batch_size: as of `encoding.encode_finished`.
    """
    encoded = encoding.encode_finished(finished, split, 1, threads, batch_size)
    told = np.frombuffer(datasets.fingerprint(split).encode(), np.uint8)
    kind = pack_similarity(finished.settings.similarity)
    arrays = {"image": encoded.image, "text": encoded.text, "similarity": kind, "data": told}
    files.write_arrays(place.submission, arrays)
    return place.submission
