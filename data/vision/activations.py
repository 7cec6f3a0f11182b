"""A network's activations for the pictures of a split: computed once, kept on disk.

A store in the cache folder holds, for a split and a network,

  activations-KEY.npy    (N, C) float32; called .partial until every picture is in it
  activations-KEY.json   what the columns are
  activations-KEY.done   16 bytes for each picture: which file, of what size and time, its row is of

so a killed program goes on where it stopped, and a picture that is mended is the only one that is
read again. Rows are read and written in blocks: memory does not grow with their number.

Shape letters: N images, n images of a batch, C columns, K crops, S side of the network's input.
"""

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from data import datasets
from data.formats.records import write_header
from data.vision import cnn
from data.vision.network import Layers, Network, cut_crops, read_layers
from data.vision.rows import open_picture, refuse_broken
from run import caches, files, manifest

FORMAT = 1  # of stores; another number leaves old ones alone
MARK = 16  # bytes of a picture's mark in .done; zeros: not there yet
READERS = min(8, 1 + (os.cpu_count() or 1))  # threads that read pictures and ask the network
AHEAD = 2 * READERS  # batches that are begun before their rows are asked for
SAVE_SECONDS = 2.0  # what a kill may cost, beside the batches in work
BLOCK_BYTES = 1 << 24  # of activations in memory at once
Result = TypeVar("Result")


class ActivationStore:
    """The activations of one split and one network.

    Args:
      split: with pictures.
      network: what describes them.
      cache_dir: folder of the files.
    """

    def __init__(self, split: datasets.Split, network: Network, cache_dir: str | os.PathLike):
        self.split, self.network = split, network
        origin = split.origin
        if isinstance(split.pictures, list):  # other pictures may bear the same names elsewhere
            origin = os.path.abspath(origin)
        facts = (FORMAT, network.fingerprint(), split.name, origin, split.image_names)
        key = hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self.whole = Path(cache_dir) / f"activations-{key}.npy"
        self.partial, self.facts, self.done, self.lock = (
            self.whole.with_suffix(suffix) for suffix in (".partial", ".json", ".done", ".lock")
        )

    def marks(self) -> np.ndarray:
        """(N, MARK) uint8: what each picture's row should be of."""
        marks = np.zeros((self.split.num_images, MARK), np.uint8)
        for row, source in enumerate(self.split.pictures):  # pyright: ignore[reportArgumentType]
            if isinstance(source, str):
                if not os.path.exists(source):
                    continue
                facts = os.stat(source)
                content = f"{facts.st_size} {facts.st_mtime_ns}".encode()
            else:
                content = np.ascontiguousarray(source).tobytes()
            digest = hashlib.sha256(content).digest()[:MARK]
            marks[row] = np.frombuffer(digest, np.uint8)
        return marks

    def missing(self) -> np.ndarray:
        """Rows that are still to be computed, ascending."""
        if not self.done.is_file() or not self.facts.is_file():
            return np.arange(self.split.num_images)
        if not self.whole.is_file() and not self.partial.is_file():
            return np.arange(self.split.num_images)
        there = np.fromfile(self.done, np.uint8)
        if there.size != self.split.num_images * MARK:
            return np.arange(self.split.num_images)
        there, wanted = there.reshape(-1, MARK), self.marks()
        return np.flatnonzero((there != wanted).any(axis=1) | ~wanted.any(axis=1))

    def is_whole(self) -> bool:
        """Whether nothing is missing or damaged; what is damaged is removed, and so said."""
        there = [caches.is_whole(path) for path in (self.whole, self.facts)]
        return all(there) and not len(self.missing())

    def layers(self) -> Layers:
        """What the columns are."""
        return read_layers(files.read_json(self.facts, dict))

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, (n, C) float32 each; plain reads, as a map would stay in memory."""
        count, columns = self.split.num_images, self.layers().num_columns
        step = max(1, BLOCK_BYTES // (4 * columns))
        with open(self.whole, "rb") as file:
            file.seek(_header_size(self.whole))
            for start in range(0, count, step):
                rows = min(step, count - start)
                yield np.fromfile(file, np.float32, rows * columns).reshape(rows, columns)

    def ensure(self) -> tuple[int, float]:
        """Computes what is missing: see `ensure_all`."""
        return ensure_all([self])[0]


def ensure_all(stores: Sequence[ActivationStore]) -> list[tuple[int, float]]:
    """Computes what is missing in stores of one network.

    Returns:
      For each how many pictures were missing, and how many seconds the network took over them.

    Raises:
      ValueError: some pictures cannot be read, the others are kept; or the weights cannot.
    """
    with contextlib.ExitStack() as locks:
        lacking = []
        for store in stores:
            if store.is_whole():
                continue
            store.whole.parent.mkdir(parents=True, exist_ok=True)
            locks.enter_context(locked(store.lock))
            if not store.is_whole():  # another program may have filled it in the meantime
                lacking.append(store)
        if not lacking:
            return [(0, 0.0)] * len(stores)
        bare = [  # what the other process needs
            dataclasses.replace(s.split, captions=[], vectors=None, concepts=None, fits=None)
            for s in lacking
        ]
        folder = str(stores[0].whole.parent)
        told = in_own_process(fill_with_network, bare, stores[0].network, folder)
    by_path = {store.whole: facts for store, facts in zip(lacking, told, strict=True)}
    return [by_path.get(store.whole, (0, 0.0)) for store in stores]


def fill_with_network(
    splits: list[datasets.Split], network: Network, cache_dir: str
) -> list[tuple[int, float]]:
    """Computes what the stores of splits lack, with the network itself: see `ensure_all`."""
    runner = cnn.Runner(network)
    return [fill_store(ActivationStore(split, network, cache_dir), runner) for split in splits]


def fill_store(store: ActivationStore, runner) -> tuple[int, float]:
    """Computes what a store lacks.

    Args:
      runner: `cnn.Runner`.

    Returns:
      How many pictures were missing, and how many seconds the network took over them.

    Raises:
      ValueError: some pictures cannot be read, or the network answers NaN; the rows of the others
        are kept.
    """
    split, missing, wanted = store.split, store.missing(), store.marks()
    begin_store(store, runner.layers, len(missing) == split.num_images)
    broken: dict[int, str] = {}

    turns = threading.Semaphore(runner.at_once)

    def read(rows: np.ndarray) -> tuple[list[int], np.ndarray]:
        good, crops = [], []
        for row in rows.tolist():
            try:
                crops.append(cut_crops(open_picture(split, row), store.network))
                good.append(row)
            except ValueError as error:
                broken[row] = str(error)
        if not good:
            return good, np.zeros(0, np.float32)
        pixels = np.stack(crops)
        with turns:
            return good, runner(pixels)

    bar = tqdm(
        desc=f"{store.network.cnn} on {split.name}",
        total=split.num_images,
        initial=split.num_images - len(missing),
        unit=" pictures",
        leave=False,
        disable=None,
    )
    began, size = time.perf_counter(), runner.pictures
    parts = [missing[start : start + size] for start in range(0, len(missing), size)]
    with bar, RowWriter(store, runner.layers.num_columns, wanted) as writer:
        for (good, values), part in zip(read_ahead(read, parts), parts, strict=True):
            if good:
                writer.write(good, values)
            bar.update(len(part))
    refuse_broken(split, broken)
    with manifest.renaming(store.whole, store.partial):
        os.replace(store.partial, store.whole)
    return len(missing), time.perf_counter() - began


def begin_store(store: ActivationStore, layers: Layers, anew: bool) -> None:
    """Lays out the files of a store, or opens a whole one again because pictures have changed."""
    if store.whole.is_file() and not anew:
        os.replace(store.whole, store.partial)
    if store.partial.is_file() and not anew:
        return
    for path in (store.done, store.whole, store.partial):
        path.unlink(missing_ok=True)
    files.write_json(store.facts, dataclasses.asdict(layers))
    shape = (store.split.num_images, layers.num_columns)
    with files.atomic_path(store.partial) as temporary, open(temporary, "wb") as file:
        write_header(file, np.float32, shape)
        file.truncate(file.tell() + 4 * shape[0] * shape[1])  # a hole
    with files.atomic_path(store.done) as temporary:
        temporary.write_bytes(bytes(store.split.num_images * MARK))


class RowWriter:
    """Puts rows into a store, and marks them as done once they are on the disk."""

    def __init__(self, store: ActivationStore, columns: int, marks: np.ndarray):
        self.split, self.columns, self.marks = store.split, columns, marks
        self.start = _header_size(store.partial)
        self.rows, self.done = open(store.partial, "r+b"), open(store.done, "r+b")  # noqa: SIM115
        self.waiting: list[int] = []
        self.saved = time.monotonic()

    def write(self, rows: list[int], values: np.ndarray) -> None:
        """Rows and their (n, C) activations.

        Raises:
          ValueError: they are not finite.
        """
        for row, value in zip(rows, np.ascontiguousarray(values, np.float32), strict=True):
            if not np.isfinite(value).all():
                raise ValueError(
                    f"the network answers NaN or infinity for picture "
                    f"{self.split.image_names[row]}: are its weights right?"
                )
            self.rows.seek(self.start + 4 * self.columns * row)
            self.rows.write(value.data)
        self.waiting += rows
        if time.monotonic() > self.saved + SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Marks what was written as done."""
        self.rows.flush()
        os.fsync(self.rows.fileno())
        for row in self.waiting:
            self.done.seek(MARK * row)
            self.done.write(self.marks[row].data)
        self.done.flush()
        os.fsync(self.done.fileno())
        self.waiting, self.saved = [], time.monotonic()

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.save()
        finally:
            self.rows.close()
            self.done.close()


def read_ahead(read: Callable, parts: list) -> Iterator:
    """`read` of each part, in order, in threads, at most AHEAD of what has been asked for."""
    with ThreadPoolExecutor(READERS) as pool:
        try:
            waiting = deque(pool.submit(read, part) for part in parts[:AHEAD])
            for index in range(len(parts)):
                result = waiting.popleft().result()
                if index + AHEAD < len(parts):
                    waiting.append(pool.submit(read, parts[index + AHEAD]))
                yield result
        finally:  # after a failure, or Ctrl-C, what has not begun does not begin
            pool.shutdown(wait=False, cancel_futures=True)


def _header_size(path: Path) -> int:
    """Bytes before the numbers of an `.npy` file."""
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return file.tell()


# ---- Processes ----------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time. The system lifts the lock when its holder ends, however it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting: another program describes the same pictures ({path})", file=sys.stderr)
        lock.acquire(poll_interval=1)
    try:
        yield
    finally:
        lock.release()


def in_own_process(function: Callable[..., Result], *arguments: object) -> Result:
    """Calls a function in a process of its own, unless this one has TensorFlow already.

    train.py and test.py set TensorFlow up for their own work after this, which can be done only
    before its first operation; and the network's memory goes back with its process.
    """
    if "tensorflow" in sys.modules:
        return function(*arguments)
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, context, initializer=_end_with_parent) as pool:
            try:
                return pool.submit(function, *arguments).result()
            except KeyboardInterrupt:  # or the pool would wait until the work is done
                for child in multiprocessing.active_children():
                    child.kill()
                raise
    except BrokenProcessPool:
        raise ValueError(
            "the process that ran the network was stopped (was memory short?): what it had "
            "computed is kept, so run the same command again"
        ) from None


def _end_with_parent() -> None:
    """Ends this process when its parent does, also by a kill; Ctrl-C is the parent's to tell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
