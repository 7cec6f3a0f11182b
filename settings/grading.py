"""The flags of `test.py`: what is graded, and what is made beside the score."""

import re
from dataclasses import dataclass
from typing import Any

from losses import SIMILARITIES
from settings.options import Options, option

NAME = re.compile(r"\w[\w.-]{0,63}")  # of --as


@dataclass(frozen=True)
class GradeOptions(Options):
    """What is graded, and what is made beside the score."""

    title = "Grade"
    split: str = option(
        "test", "Split to encode and score.", choices=("train", "validation", "test")
    )
    data_dir: str | None = option(None, "Folder of the data, if it has moved since training.")
    as_: str | None = option(
        None,
        "Score data that the run does not know. The results go to as/NAME in the run's folder; "
        "the run's own score stays.",
    )
    folds: int = option(
        1, "Mean over this many disjoint galleries; 5 for the 1K figures of COCO.", least=1
    )
    block_size: int = option(
        16, "Megabytes of scores computed at a time. It changes speed and memory only.", least=1
    )
    threads: int = option(
        0, "Batches encoded at the same time; 0: as many as cores. It changes speed only.", least=0
    )
    batch_size: int = option(
        0, "Rows encoded at a time, if --threads is 0; 0: chosen. It changes speed only.", least=0
    )
    examples: int = option(
        0,
        "Draw this many examples of each direction, half of them good and half bad: "
        "examples_*.png, and examples.md, which lists them.",
        least=0,
        most=50,
    )
    verify: bool = option(
        False, "Recompute the metrics from projections.npz and compare them with score.json."
    )
    embeddings: str | None = option(
        None, "Score embeddings of another model: an .npz with image, text and caption_image."
    )
    normalize: bool = option(False, "Divide the rows of --embeddings by their L2 norms first.")
    merge_equal: bool | None = option(
        None,
        "Merge equal image rows of --embeddings into one image. Without the flag they are only "
        "reported.",
    )
    similarity: str | None = option(
        None,
        "Score of two rows of --embeddings: cosine, or order (order embeddings). Without the "
        "flag: what the file says, else cosine. A run's own is in its settings.",
        choices=tuple(SIMILARITIES),
    )
    test_shifts: str | None = option(
        None,
        "dual_path: number of shifts of a caption to average over, or all. Without the flag: as "
        "in training.",
    )
    pairs: str | None = option(
        None,
        "Also measure how often captions that say these pairs of words, such as "
        "brown_dog,sit_cat, are found. Without the flag: the pairs held out of training. paper: "
        "the nine of the system 5 paper.",
    )
    cumulative: bool = option(False, "--pairs: group by at least n captions, not by exactly n.")
    export: str | None = option(
        None,
        "serving: also write serving/1, a SavedModel for TensorFlow Serving. milvus: also fill a "
        "Milvus database with the images' rows. Needs the packages pymilvus and milvus-lite.",
        choices=("serving", "milvus"),
    )
    uri: str | None = option(
        None,
        "With --export milvus: a local file that ends in .db, or a server's address. Without the "
        "flag: milvus.db in the run's folder.",
        when="export=milvus",
    )
    index: bool = option(
        False,
        "Also make an index of the images, by which retrieve.py answers at once from a very large "
        "gallery (200,000 images and more). Needs the package faiss-cpu.",
    )
    output: str | None = option(None, "Also write the score to this file.")


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
    if asked.uri is not None and asked.export != "milvus":
        raise ValueError("--uri is of a Milvus database: give --export milvus, too")
    if asked.index and (elsewhere or name):
        raise ValueError(
            "--index is for a run that is encoded: leave --verify, --embeddings and --as out"
        )
    if name is not None and (asked.verify or asked.export or not NAME.fullmatch(name)):
        raise ValueError(
            f"--as {name}: expected a name of letters, digits, _, - and ., without --verify and "
            "--export"
        )
