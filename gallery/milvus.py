"""A gallery in Milvus, a vector database: Milvus Lite in a local file, or a server by its address.

    store = Collection("gallery.db", rows_hash)
    store.fill(gallery)                       # what is there already stays
    scores, rows = store.nearest(query, gallery.image, k)

A collection holds the rows of one projections.npz and is named by its hash, so answers never come
from other rows. What the database finds is scored again in full, as an index's candidates are.

Shape letters: R gallery rows, D embedding.

Reference: Wang et al., Milvus: a purpose-built vector data management system, SIGMOD 2021.
"""

# pyright: reportMissingImports=false
# The packages are optional.

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from gallery.indexed import fetch_rows
from gallery.nearest import best_of
from gallery.similarity import pair_by_cosine
from run import files, manifest
from run.folder import Run

PACKAGES = "pymilvus milvus-lite"
AT_ONCE = 5_000  # rows of an insertion: 5 MB of 256 numbers each
MOST_BYTES = 60_000  # of an image's captions in UTF-8; Milvus takes 65,535
PATIENCE = 20.0  # seconds until a server has answered
SPARE = 10  # more candidates than answers, as the database compares in float32


class Collection:
    """The rows of one run in a database.

    Args:
      uri: a local file that ends in .db, or a server such as http://localhost:19530. The
        environment variable MILVUS_TOKEN has the server's token, if it wants one.
      rows_hash: SHA-256 of projections.npz.

    Raises:
      ValueError: the package is missing, or the database cannot be opened.
    """

    def __init__(self, uri: str, rows_hash: str):
        self.uri, self.name = uri, f"matchbox_{rows_hash[:32]}"
        self.told, self.facts = f"by Milvus at {uri}", {"engine": "milvus", "uri": uri}
        self.local = "://" not in uri
        if self.local and not uri.endswith(".db"):
            raise ValueError(f"--uri {uri}: expected a local file that ends in .db, or http://...")
        self.milvus = load_pymilvus()
        with self.errors():
            token = os.environ.get("MILVUS_TOKEN", "")
            self.client = self.milvus.MilvusClient(uri=uri, token=token, timeout=PATIENCE)

    @contextmanager
    def errors(self):
        """What the database refuses becomes one ValueError."""
        try:
            yield
        except self.milvus.MilvusException as error:
            said = files.reason(error)
            if "Open local milvus failed" in said:
                said = "the file cannot be opened: is another process using it, or is it no Milvus?"
            raise ValueError(f"Milvus at {self.uri}: {said}") from None

    def count(self, where: str = "") -> int:
        """Number of rows, of those that a filter says."""
        found = self.client.query(
            self.name, filter=where, output_fields=["count(*)"], consistency_level="Strong"
        )
        return int(found[0]["count(*)"])

    def fill(self, gallery: Any) -> int:
        """Inserts the images of a gallery, and counts them; batches that are there are not sent.

        Returns:
          Rows that were sent.

        Raises:
          ValueError: the database refuses, or holds another number of rows in the end.
        """
        num, sent = gallery.num_images, 0
        with self.errors():
            self.create(gallery.image.shape[1])
            order = np.argsort(gallery.caption_image, kind="stable")
            ends = np.searchsorted(gallery.caption_image[order], np.arange(num + 1))
            batches = list(self.missing(0, num))
            for start, held in tqdm(batches, "Milvus", delay=2, leave=False, disable=None):
                stop = min(num, start + AT_ONCE)
                rows = np.asarray(gallery.image[start:stop])
                own = [order[ends[row] : ends[row + 1]] for row in range(start, stop)]
                records = [
                    {
                        "id": start + place,
                        "row": row,
                        "captions": shorten([gallery.captions[number] for number in own[place]]),
                    }
                    for place, row in enumerate(rows)
                ]
                send = self.client.upsert if held else self.client.insert  # the quicker one
                send(self.name, records)
                sent += len(records)
            self.client.flush(self.name)
            held = self.count()
        if held != num:
            raise ValueError(f"Milvus at {self.uri} holds {held:,} of {num:,} rows: fill it again")
        return sent

    def missing(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Batches of rows that are not all there: (first row, rows that are), by halving.

        A count may take seconds, and what a kill has left are whole batches up to one place.
        """
        held = self.count(f"id >= {start} and id < {stop}") if start or self.count() else 0
        if held == stop - start:
            return
        if not held or stop - start <= AT_ONCE:
            yield from ((first, held) for first in range(start, stop, AT_ONCE))
            return
        middle = start + max(1, (stop - start) // (2 * AT_ONCE)) * AT_ONCE
        yield from self.missing(start, middle)
        yield from self.missing(middle, stop)

    def create(self, dim: int) -> None:
        """Makes the collection if there is none, and loads it."""
        types = self.milvus.DataType
        if not self.client.has_collection(self.name):
            schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", types.INT64, is_primary=True)
            schema.add_field("row", types.FLOAT_VECTOR, dim=dim)
            schema.add_field("captions", types.VARCHAR, max_length=65_535)
            index = self.client.prepare_index_params()
            kind = "FLAT" if self.local else "AUTOINDEX"  # a server has memory for a graph
            index.add_index("row", index_type=kind, metric_type="IP")
            self.client.create_collection(self.name, schema=schema, index_params=index)
        self.client.load_collection(self.name)

    def open(self, num: int) -> None:
        """Refuses a database that does not hold all `num` rows. Raises ValueError."""
        with self.errors():
            held = 0
            if self.client.has_collection(self.name):
                self.client.load_collection(self.name)
                held = self.count()
        if held != num:
            raise ValueError(
                f"Milvus at {self.uri} holds {held:,} of the run's {num:,} rows: fill it with "
                f"python test.py --export milvus --uri {self.uri}"
            )

    def close(self) -> None:
        """Lets go of the database: a local file serves one process at a time."""
        self.client.close()
        if self.local:  # its server goes on, and holds the file, until the process ends
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.uri)

    def nearest(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest that the database finds, as of `nearest.top_k` for one query.

        Args:
          query: (1, D) float32 unit row; rows: (R, D) that the collection was filled with.

        Returns:
          (1, min(k, R)) float64 scores and row numbers.
        """
        limit = min(len(rows), k + SPARE)
        with self.errors():
            hits = self.client.search(self.name, data=[query[0].tolist()], limit=limit)[0]
        numbers = np.sort([hit["id"] for hit in hits])
        near, places = fetch_rows(rows, numbers), np.arange(len(numbers))
        scores, best = best_of(lambda part: pair_by_cosine(query, part), near, places, k)
        return scores[None], numbers[best][None]


def shorten(captions: list[str]) -> str:
    """Captions as lines, at most `MOST_BYTES` in UTF-8."""
    text = "\n".join(captions).encode("utf-8", "replace")[:MOST_BYTES]
    return text.decode("utf-8", "ignore")


def load_pymilvus() -> Any:
    """The client's library. Raises ValueError: it is not installed."""
    # They tell how they were loaded, and by a traceback what becomes an error of one line here.
    for name in ("faiss", "milvus_lite", "grpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        import pymilvus
    except ImportError as error:
        raise ValueError(f"Milvus needs packages: pip install {PACKAGES} ({error})") from None
    return pymilvus


def open_collection(run: Run, uri: str | None) -> Collection:
    """The collection of a run's rows; uri None: Milvus Lite in the run's folder."""
    known = manifest.hashes_of(run.folder).get(run.projections.name, [""])
    return Collection(uri or str(run / "milvus.db"), known[0])
