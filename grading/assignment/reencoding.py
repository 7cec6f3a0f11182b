"""Whether a run's weights give what it was graded by: its data are encoded anew.

    verify_weights(run)

`grading.verify` says that a run's files agree with each other; here the towers run again. Neither
says what the weights were trained on: data.json was written where the run was.
"""

import logging
from typing import Any

import numpy as np

from data import datasets, record
from gallery import scan
from gallery.similarity import of_arrays
from grading import encoding, verify
from run import files
from run.folder import Run

CLOSE = 1e-6  # difference of a number of unit rows that other machines' rounding explains


def verify_weights(run: Run, data_dir: str | None = None) -> None:
    """Says that the weights give score.json, and the submission of an assignment.

    Embeddings are equal where no number differs by more than 1e-6, or where every rank is the same.

    Args:
      data_dir: where the data lie, if they have moved.

    Raises:
      ValueError: they do not give it; there is neither; or a file is missing or damaged.
    """
    if not (run.score.is_file() or run.submission.is_file()):
        raise ValueError(f"{run} has no score.json and no submission.npz: {verify.AGAIN}")
    finished, told = encoding.open_finished(run), []
    if run.score.is_file():
        written = verify.read_score(run)
        verify.check_files(run, data_dir)
        facts = written["protocol"]
        if isinstance(facts.get("shifts"), str):
            finished = encoding.with_settings(finished, test_shifts=facts["shifts"])
        told.append((run.score, run.projections, facts["split"], facts["folds"]))
    if run.submission.is_file():
        told.append((run.submission, run.submission, "test", 1))
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # two encodings: it tells of retracing
    splits = datasets.open_run_data(finished.settings, data_dir)
    for shown, path, split, folds in told:
        record.check_split(run, splits[split])
        encoded = encoding.encode_finished(finished, splits[split], folds, 0, 0)
        print(f"{shown} is what the weights give: {agreement(encoded, run, path)}")


def agreement(encoded: encoding.Encoded, run: Run, path: Any) -> str:
    """How near the embeddings in a file are to those that the weights give.

    Raises:
      ValueError: they are others.
    """
    arrays = files.open_arrays(run.require(path, verify.AGAIN))
    anew, far = {"image": encoded.image, "text": encoded.text}, 0.0
    for side, rows in anew.items():
        kept = arrays.get(side, np.empty(0))
        if kept.shape != rows.shape or kept.dtype.kind != "f":
            raise ValueError(f"{path}: {side} is {kept.shape}, the weights give {rows.shape}")
        difference = np.abs(rows.astype(np.float64) - kept).max()
        far = max(far, float(difference) if np.isfinite(difference) else np.inf)
    if far <= CLOSE:
        told = f"differ by at most {far:.1g}" if far else "are equal to the last bit"
        return f"{encoded.split.name} embeddings {told}"
    owner, kind = encoded.split.caption_image, of_arrays(arrays, path)
    ranks = [
        np.concatenate(scan.rank_all(scan.Pairs(one["image"], one["text"], owner, kind)))
        for one in (anew, arrays)
    ]
    changed = int((ranks[0] != ranks[1]).sum())
    told = f"embeddings differ by up to {far:.1g}, {changed:,} of {len(ranks[0]):,} ranks"
    if changed or not np.isfinite(far):
        raise ValueError(f"{path} is not what the weights of {run} give: {told} do")
    return f"{encoded.split.name} {told}"
