"""The flags of `test.py`: what is graded, and what is made beside the score."""

import re
from dataclasses import dataclass
from typing import Any

from gallery import similarity
from run.options import Options, option

NAME = re.compile(r"\w[\w.-]{0,63}")  # of --as


@dataclass(frozen=True)
class GradeOptions(Options):
    """What is graded, and what is made beside the score."""

    title = "Grade"
    split: str = option(
        "test", "Split to encode and score.", choices=("train", "validation", "test")
    )
    data_dir: str | None = option(None, "Folder of the data, where it has moved since training.")
    as_: str | None = option(
        None,
        "Grade data that the run does not know, into the folder as/NAME of the run, beside its own "
        "score.",
    )
    folds: int = option(1, "Average over so many disjoint galleries.", least=1)
    block_size: int = option(16, "Megabytes of scores at a time: speed and memory only.", least=1)
    threads: int = option(
        0, "Chunks encoded at the same time; 0: as many as cores. Speed only.", least=0
    )
    batch_size: int = option(
        0, "Rows in work at a time, where --threads is 0. Speed only.", least=0
    )
    examples: int = option(
        0,
        "Draw so many examples of each direction too, half of them good and half bad, and list "
        "them: examples_*.png, examples.md.",
        least=0,
        most=50,
    )
    verify: bool = option(False, "Recompute the metrics from projections.npz and compare.")
    embeddings: str | None = option(None, "Score this .npz: image, text, caption_image.")
    normalize: bool = option(False, "Divide the rows of --embeddings by their norms first.")
    merge_equal: bool | None = option(
        None, "Make equal image rows of --embeddings one image. Without the flag: only say so."
    )
    similarity: str | None = option(
        None,
        "How --embeddings are compared. Without the flag: as the file says, else cosine. A run "
        "knows its own.",
        choices=tuple(similarity.SIMILARITIES),
    )
    test_shifts: str | None = option(
        None,
        "dual_path: over how many shifts of a caption to add up, all or a number. Without the "
        "flag: as the run.",
    )
    pairs: str | None = option(
        None,
        "How often pairs such as brown_dog,sit_cat are found, too. Without the flag: those held "
        "out of training (paper: the nine of the document).",
    )
    cumulative: bool = option(False, "--pairs: tables of n or more captions, not of exactly n.")
    export: str | None = option(
        None,
        "Write serving/1, too: a SavedModel that TensorFlow Serving loads.",
        choices=("serving",),
    )
    output: str | None = option(None, "Write the score to this file, too.")


def check_asked(asked: Any) -> None:
    """Refuses flags that mean nothing together.

    Args:
      asked: the parsed flags.

    Raises:
      ValueError: says which to leave out.
    """
    name, elsewhere = asked["as"].value, asked.verify or asked.embeddings
    if asked.examples and (elsewhere or asked.folds > 1 or name):
        raise ValueError(
            "--examples is for the whole gallery of a run: leave --verify, --embeddings and "
            "--folds out, and --as"
        )
    if asked.pairs is not None and elsewhere:
        raise ValueError(
            "--pairs is for a run that is encoded: leave --verify and --embeddings out"
        )
    if asked.embeddings is not None and (asked.verify or asked.exp or name):
        raise ValueError("--embeddings is scored by itself: leave --exp, --as and --verify out")
    if asked.similarity is not None and asked.embeddings is None:
        raise ValueError("--similarity is for --embeddings: a run is compared as it was trained")
    if name is not None and (asked.verify or asked.export or not NAME.fullmatch(name)):
        raise ValueError(
            f"--as {name}: expected a name of letters, digits, _, - and ., without --verify and "
            "--export"
        )
