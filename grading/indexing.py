"""What finds images of a very large gallery, and how often it finds the exact answer.

    build_index(run)                 # test.py --index
    fill_database(run, "x.db")       # test.py --export milvus --uri x.db

Its recall is measured with the run's own captions as queries and written beside it, so that every
answer can say how far it is to be trusted.
"""

from typing import Any

import numpy as np
from tqdm import tqdm

from gallery import indexed, milvus, nearest
from gallery.stored import Gallery
from run import files
from run.folder import INDEX, INDEX_FACTS, Run

AT_ONCE = 1 << 16  # rows that are added at a time
LEAST = 256  # rows, of which the codes are learned
LEARNED_FROM = 1 << 14  # rows, evenly spaced
QUERIES, SAMPLE = 200, 20  # captions that the recall is of; of a database, which may be slow
WANTED = 0.995  # recall at 10, up to which more candidates are taken
FEWEST, MOST = 250, 1 << 15  # candidates


def check_asked_engines(run: Run, similarity: str, asked: Any) -> None:
    """Refuses what cannot be made, before anything is encoded. Raises ValueError.

    Args:
      asked: the parsed flags of `test.py`.
    """
    if asked.index:
        check_possible(run, similarity)
    if asked.export == "milvus":
        check_database(run, similarity)


def make_engines(run: Run, asked: Any) -> None:
    """Makes what the parsed flags ask for."""
    if asked.index:
        build_index(run)
    if asked.export == "milvus":
        fill_database(run, asked.uri)


def build_index(run: Run) -> None:
    """Writes the index and what is known of it; prints its recall.

    Raises:
      ValueError: the run has no cosine, too few images, or the package is missing.
    """
    gallery = Gallery(run)
    faiss = check_possible(run, gallery.similarity)
    rows, num = gallery.image, gallery.num_images
    if num < LEAST:
        raise ValueError(f"--index needs {LEAST} images, the gallery has {num}")
    codes = learn_codes(faiss, rows)
    steps = tqdm(range(0, num, AT_ONCE), "index", delay=2, leave=False, disable=None)
    for start in steps:
        codes.add(np.ascontiguousarray(rows[start : start + AT_ONCE], np.float32))
    candidates, recall, asked = measure_recall(codes, gallery)
    with files.atomic_path(run / INDEX) as path:
        faiss.write_index(codes, str(path))
    size, time = indexed.state_of(run.projections)
    facts = {
        "format": indexed.FORMAT,
        "package": f"{indexed.PACKAGE} {faiss.__version__}",
        "images": num,
        "rows": files.file_hash(run.projections),
        "size": size,
        "time": time,
        "candidates": candidates,
        "queries": asked,
        "recall_at_10": recall,
    }
    files.write_json(run / INDEX_FACTS, facts)
    small = num < indexed.PAYS_FROM
    note = f"; below {indexed.PAYS_FROM:,} images exact answers are as fast" if small else ""
    print(
        f"index: {run / INDEX}, recall@10 {recall:.4f} of {asked} captions with {candidates:,} "
        f"candidates of {num:,} images{note}"
    )


def check_possible(run: Run, similarity: str):
    """The library, where a run that compares so can have an index.

    Raises:
      ValueError: it cannot, or the package is missing.
    """
    if similarity != "cosine":
        raise ValueError(f"--index is for cosine: {run} compares by {similarity} similarity")
    return indexed.load_faiss()


def fill_database(run: Run, uri: str | None) -> None:
    """Fills a Milvus database with the images' rows, and compares its answers with the exact ones.

    Args:
      uri: as of `milvus.Collection`; None: a file in the run's folder.

    Raises:
      ValueError: as of `check_database`; or the database refuses.
    """
    gallery = Gallery(run)
    check_database(run, gallery.similarity)
    store = milvus.open_collection(run, uri)
    sent, num = store.fill(gallery), gallery.num_images
    query = np.asarray(gallery.text[:: max(1, gallery.num_captions // SAMPLE)][:SAMPLE])
    k = min(10, num)
    _, exact = nearest.top_k(query, gallery.image, k)
    found = [store.nearest(one[None], gallery.image, k)[1][0] for one in query]
    store.close()
    recall = np.mean([np.isin(one, own).mean() for one, own in zip(exact, found, strict=True)])
    print(
        f"Milvus: {store.uri}, {num:,} rows, {sent:,} of them sent now; recall@10 {recall:.4f} of "
        f"{len(query)} captions"
    )


def check_database(run: Run, similarity: str) -> None:
    """Refuses a run that cannot be asked by a database, or a missing package. Raises ValueError."""
    if similarity != "cosine":
        raise ValueError(f"--export milvus is for cosine: {run} compares by {similarity}")
    milvus.load_pymilvus()


def learn_codes(faiss, rows: np.ndarray):
    """An empty index whose codes fit the rows (R, D): 4 bits of two numbers; of one if D is odd."""
    dim = rows.shape[1]
    parts = dim // 2 if dim % 2 == 0 else dim
    codes = faiss.index_factory(dim, f"PQ{parts}x4fs", faiss.METRIC_INNER_PRODUCT)
    some = rows[:: max(1, len(rows) // LEARNED_FROM)]
    codes.train(np.ascontiguousarray(some, np.float32))
    return codes


def measure_recall(codes, gallery: Gallery) -> tuple[int, float, int]:
    """How many candidates are taken, what recall at 10 these give, and of how many captions."""
    step = max(1, gallery.num_captions // QUERIES)
    query = np.asarray(gallery.text[::step][:QUERIES])
    k = min(10, gallery.num_images)
    exact = np.concatenate(
        [
            nearest.top_k(query[i : i + 20], gallery.image, k)[1]
            for i in tqdm(range(0, len(query), 20), "recall", delay=2, leave=False, disable=None)
        ]
    )
    candidates, recall = FEWEST, 0.0
    while True:
        candidates = min(candidates, gallery.num_images)
        found = indexed.find_candidates(codes, query, candidates)
        hits = [np.isin(one, other).mean() for one, other in zip(exact, found, strict=True)]
        recall = float(np.mean(hits))
        if recall >= WANTED or candidates >= min(MOST, gallery.num_images):
            return candidates, recall, len(query)
        candidates *= 2
