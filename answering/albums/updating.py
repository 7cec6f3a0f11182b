"""Brings the index of a folder up to date: describes what is new or changed, forgets what is gone.

    index = update(run, folder, found, place, facts, tell)

A picture whose bytes are known is not described again, whatever its name and time. Rows are kept in
parts while the work goes on, so that a kill costs seconds; batches are the same ones after it, and
so are the bytes of the index.

Shape letters: N pictures, D embedding.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from answering.albums import index as indexes
from answering.albums.comparing import Known, is_current
from answering.albums.describing import Batch, describe_files, digest_of
from answering.albums.index import NEVER, Index
from answering.albums.scanning import Found
from data.vision.activations import locked
from run import console, files, manifest
from run.folder import Run

SAVE_SECONDS = 2.0  # what a kill may cost, beside the batches in work

State = tuple[int, int]  # size and time of a file


def update(
    run: Run, folder: Path, found: Found, place: Path, facts: dict, tell: Callable[[str], None]
) -> Index:
    """The index of the pictures that were found; one process at a time.

    Args:
      place, facts: of `index.place_of` and `index.facts_of_run`.
      tell: is told how it went.

    Raises:
      ValueError: the run cannot describe pictures, or none of them can be read.
    """
    place.mkdir(parents=True, exist_ok=True)
    with locked(place / indexes.LOCK):
        files.remove_leftovers(place)
        old = _usable(place, facts)
        if old is not None and is_current(old, folder, found):
            return old  # another process has done it in the meantime
        console.when_stopped(lambda: "what is described is kept: give the same command again")
        known = Known([one for one in (old, *_read_parts(place, facts)) if one is not None])
        missing, digests = known.missing(folder, found), {}
        if old is not None and missing:
            same, digests = _known_contents(folder, found, missing, old)
            known.add(same)
            moved = set(same.names)
            missing = [name for name in missing if name not in moved]
        for part in _describe_parts(run, folder, found, missing, digests, place, facts, tell):
            known.add(part)
        del old  # Windows replaces no file that is mapped
        _write_whole(known, found, place, facts)
        return indexes.read_file(place / indexes.NAME)[0]


def _usable(place: Path, facts: dict) -> Index | None:
    """The index that lies there if it is whole and of these facts."""
    try:
        kept = indexes.read_index(place)
    except ValueError:
        (place / manifest.NAME).unlink(missing_ok=True)
        (place / indexes.NAME).unlink(missing_ok=True)
        return None
    return kept[0] if kept is not None and kept[1] == facts else None


def _read_parts(place: Path, facts: dict) -> Iterator[Index]:
    """What a stopped description has left; what is damaged, or of other facts, is removed."""
    folder = place / indexes.PARTS
    files.remove_leftovers(folder)
    for path in sorted(folder.glob("*.part")):
        try:
            files.read_arrays(path, list(files.array_heads(path)))  # compares the checksums
            part, of = indexes.read_file(path)
        except ValueError:
            part, of = None, None
        if part is None or of != facts:
            path.unlink()
            continue
        yield part


def _known_contents(
    folder: Path, found: Found, missing: list[str], old: Index
) -> tuple[Index, dict[str, bytes]]:
    """Those of the missing pictures whose bytes the old index knows; and the digests of all."""
    rows = {digest.tobytes(): row for row, digest in enumerate(np.asarray(old.digests))}
    digests: dict[str, bytes] = {}
    for name in tqdm(missing, "comparing", delay=2, leave=False, disable=None, unit=" pictures"):
        console.heed_signals()
        try:
            digests[name] = digest_of(folder / name)
        except OSError:
            continue  # describing it will say why
    names = [name for name in missing if digests.get(name) in rows]
    image = old.image[[rows[digests[name]] for name in names]]
    batch = Batch(names, image, [digests[name] for name in names], {})
    return _to_index([batch], _states(found), folder), digests


def _describe_parts(run, folder, found, missing, digests, place, facts, tell) -> Iterator[Index]:
    """Describes the missing pictures; each part is on the disk before it is given."""
    if not missing:
        return
    states, waiting, began = _states(found), [], time.monotonic()
    saved, number = began, 1 + max(map(int, _part_numbers(place)), default=-1)
    bar = tqdm(
        desc=f"describing {console.cut(console.printable(folder.name), 30)}",
        total=len(found.names),
        initial=len(found.names) - len(missing),
        unit=" pictures",
        leave=False,
        disable=None,
    )
    with bar:
        for batch in describe_files(run, folder, missing, digests):
            waiting.append(batch)
            bar.update(len(batch.names) + len(batch.broken))
            if time.monotonic() > saved + SAVE_SECONDS:
                yield _save(waiting, states, folder, place, facts, number)
                waiting, saved, number = [], time.monotonic(), number + 1
        if waiting:
            yield _save(waiting, states, folder, place, facts, number)
    seconds = time.monotonic() - began
    rate = f"{len(missing) / seconds:,.1f} pictures/s" if seconds > 0 else "at once"
    tell(f"described {len(missing):,} pictures in {seconds:,.1f} s, {rate}")


def _part_numbers(place: Path) -> list[str]:
    return [path.stem for path in (place / indexes.PARTS).glob("*.part")]


def _save(waiting, states, folder, place, facts, number) -> Index:
    """Writes a part of the index."""
    path = place / indexes.PARTS / f"{number:06}.part"
    indexes.write(path, _to_index(waiting, states, folder), facts)
    return indexes.read_file(path)[0]


def _states(found: Found) -> dict[str, State]:
    facts = zip(found.sizes.tolist(), found.times.tolist(), strict=True)
    return dict(zip(found.names, facts, strict=True))


def _to_index(batches: list[Batch], states: dict[str, State], folder: Path) -> Index:
    """Batches as (a part of) an index."""
    names = [name for batch in batches for name in batch.names]
    broken = {name: why for batch in batches for name, why in batch.broken.items()}
    image = [batch.image for batch in batches if len(batch.names)]
    found = np.array([states[name] for name in names], np.int64).reshape(-1, 2)
    lost = np.array([states[name] for name in broken], np.int64).reshape(-1, 2)
    for row, name in enumerate(broken):
        if not os.access(folder / name, os.R_OK):
            lost[row, 1] = NEVER
    digests = b"".join(digest for batch in batches for digest in batch.digests)
    return Index(
        indexes.pack(names),
        np.concatenate(image) if image else np.zeros((0, 0), np.float32),
        found[:, 0],
        found[:, 1],
        np.frombuffer(digests, np.uint8).reshape(-1, 32),
        indexes.pack(list(broken)),
        indexes.pack(list(broken.values())),
        lost[:, 0],
        lost[:, 1],
    )


def _write_whole(known: Known, found: Found, place: Path, facts: dict) -> None:
    """Writes the index of all pictures, sorted by name, and removes the parts."""
    good = [place_ for place_, name in enumerate(found.names) if name in known.rows]
    names = [found.names[row] for row in good]
    lost = [row for row, name in enumerate(found.names) if name in known.broken]
    broken = {found.names[row]: known.broken[found.names[row]] for row in lost}
    if not names:
        first = next(iter(broken.items()))
        told = f"{console.printable(first[0])}: {console.printable(first[1][2])}"
        raise ValueError(f"none of the {len(broken):,} pictures can be read ({told})")
    dim = next(source.image.shape[1] for source in known.sources if len(source.names))
    rows_path = place / f".{os.getpid()}.rows"  # on the disk: memory does not grow with the folder
    try:
        image = np.memmap(rows_path, np.float32, "w+", shape=(len(names), dim))
        digests = np.empty((len(names), 32), np.uint8)
        for row, name in enumerate(names):
            source, own = known.rows[name]
            image[row] = known.sources[source].image[own]
            digests[row] = known.sources[source].digests[own]
        whole = Index(
            indexes.pack(names), image, found.sizes[good], found.times[good], digests,
            indexes.pack(list(broken)), indexes.pack([why for _, _, why in broken.values()]),
            np.array([size for size, _, _ in broken.values()], np.int64),
            np.array([changed for _, changed, _ in broken.values()], np.int64),
        )  # fmt: skip
        known.sources.clear()
        manifest.begin(place)
        indexes.write(place / indexes.NAME, whole, facts)
        del image, whole
    finally:
        rows_path.unlink(missing_ok=True)
    shutil.rmtree(place / indexes.PARTS, ignore_errors=True)
