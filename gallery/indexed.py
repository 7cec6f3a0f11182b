"""The nearest images of a very large gallery by an index, instead of comparing them all.

    index = open_index(run)             # or None: it is of other rows
    scores, rows = index.nearest(query, image_rows, k)

The index keeps 4 bits of every two numbers of a row: by these it finds candidates, which are then
compared in full. So scores are exact, and only a row that was no candidate can be missed. How often
that happens was measured when `test.py --index` made it: `recall`.

Shape letters: R gallery rows, D embedding, C candidates.

Reference: André, Kermarrec, Le Scouarnec, Quicker ADC: unlocking the hidden potential of product
  quantization with SIMD, TPAMI 2019; the library faiss has it as IndexPQFastScan.
"""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gallery.nearest import best_of
from gallery.similarity import pair_by_cosine
from run import files, manifest
from run.folder import INDEX, INDEX_FACTS, Run

PAYS_FROM = 200_000  # images; below, comparing all is as fast
PACKAGE = "faiss-cpu"
FORMAT = 1


@dataclass(frozen=True)
class RowIndex:
    """An index that fits the rows of a run.

    Attributes:
      path: what faiss has written; candidates: C, for ten answers.
      recall: share of the exact ten nearest that it finds, in the mean over `num_queries`.
      unchanged: whether projections.npz has the size and time that it had then.
    """

    path: Path
    candidates: int
    recall: float
    num_queries: int
    unchanged: bool

    @property
    def told(self) -> str:
        """By what an answer was found."""
        return f"by an index of recall@10 {self.recall:.3f}"

    @property
    def facts(self) -> dict[str, Any]:
        """What JSON shows."""
        return {"engine": "index", "recall_at_10": self.recall}

    @cached_property
    def codes(self) -> Any:
        """The index itself, read. Raises ValueError: it is damaged."""
        faiss = load_faiss()
        try:
            return faiss.read_index(str(self.path))
        except RuntimeError as error:
            raise ValueError(
                f"{self.path} is no whole index ({files.reason(error)}): make it anew with "
                "python test.py --index"
            ) from None

    def nearest(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of what the index finds, as of `nearest.top_k` for one query.

        Args:
          query: (1, D) float32 unit row; rows: (R, D) of which the index was made.
          k: how many; of more than ten, candidates are taken in proportion.

        Returns:
          (1, min(k, R)) float64 scores and row numbers.
        """
        wanted = min(len(rows), self.candidates * -(-k // 10))
        numbers = find_candidates(self.codes, query, wanted)[0]
        near = fetch_rows(rows, numbers)
        places = np.arange(len(numbers))
        scores, best = best_of(lambda part: pair_by_cosine(query, part), near, places, k)
        return scores[None], numbers[best][None]


def fetch_rows(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Some rows of a mapped array, read from its file: mapping them would map their neighbours.

    Args:
      rows: (R, D); numbers: (C,) of the rows.

    Returns:
      (C, D).
    """
    if not isinstance(rows, np.memmap) or rows.filename is None or not rows.flags.c_contiguous:
        return rows[numbers]
    found = np.empty((len(numbers), rows.shape[1]), rows.dtype)
    with open(rows.filename, "rb", buffering=0) as file:
        for place, number in enumerate(numbers.tolist()):
            file.seek(rows.offset + number * rows.strides[0])
            file.readinto(memoryview(found[place]).cast("B"))
    return found


def load_faiss() -> Any:
    """The library. Raises ValueError: it is not installed."""
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells how it was loaded
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            f"an index needs the package {PACKAGE}: pip install {PACKAGE} ({error})"
        ) from None
    faiss.omp_set_num_threads(1)  # few rows at a time: waiting for threads costs more
    return faiss


def find_candidates(codes: Any, query: np.ndarray, count: int) -> np.ndarray:
    """Row numbers (Q, C), ascending, of what is nearest by the codes."""
    _, numbers = codes.search(np.ascontiguousarray(query, np.float32), count)
    return np.sort(numbers, axis=1)


def open_index(run: Run) -> RowIndex | None:
    """The index of a run that has `index.json`; None: it is of other rows than the run has.

    Raises:
      ValueError: it is damaged.
    """
    again = "python test.py --index makes it"
    found = files.read_json(run.require(run / INDEX_FACTS, again), dict)
    known = manifest.hashes_of(run.folder).get(run.projections.name, [])
    if found.get("format") != FORMAT or known != [found.get("rows")]:
        return None
    run.require(run / INDEX, again)
    whole = {name: files.typed(found, name, int, run / INDEX_FACTS) for name in COUNTS}
    recall = files.typed(found, "recall_at_10", float, run / INDEX_FACTS)
    unchanged = state_of(run.projections) == (whole["size"], whole["time"])
    return RowIndex(run / INDEX, whole["candidates"], recall, whole["queries"], unchanged)


COUNTS = ("candidates", "queries", "size", "time")


def state_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns
