"""Which data a run knows: `data.json`, by which other data, and images trained on, are found.

    files.write_json(run.data, describe(splits))          # when a training begins
    check_split(run, split)                               # before anything is graded

Shape letters: N images, F feature.
"""

import hashlib
from typing import Any

import numpy as np

from data import datasets
from data.datasets import Split
from data.formats.identity import TELLING, content_of
from data.formats.records import some
from run import files
from run.folder import Run

FORMAT = 1  # of data.json
SAMPLE = 1024  # numbers of a row that are counted, evenly spaced
LENGTH = 16  # hexadecimal digits that tell an image's content
KEPT = ("images", "contents")  # of a split: names, and what tells contents


def contents_of(split: Split) -> list[str]:
    """For each of the N images the start of a hash of its content; "" where it is not known.

    Of pictures and vectors all bytes count. Rows of few different numbers, such as tags, say
    nothing.
    """
    if isinstance(split.pictures, list):
        return [content_of(path)[:LENGTH] for path in split.pictures]
    if split.pictures is not None:
        found = [np.ascontiguousarray(picture).tobytes() for picture in split.pictures]
    elif split.vectors is not None:
        step = max(1, int(np.prod(split.vectors.shape[1:])) // SAMPLE)
        rows = (np.ravel(row) for row in map(np.asarray, split.vectors))
        found = [row.tobytes() if len(np.unique(row[::step])) >= TELLING else b"" for row in rows]
    else:
        found = [b""] * split.num_images
    return [hashlib.sha256(one).hexdigest()[:LENGTH] if one else "" for one in found]


def describe(splits: dict[str, Split]) -> dict[str, Any]:
    """What is kept of the data: of each split its fingerprint, its images and their contents."""
    return {
        "format": FORMAT,
        "splits": {
            name: {
                "sha256": datasets.fingerprint(split),
                "captions": split.num_captions,
                "images": split.image_names,
                "contents": contents_of(split),
            }
            for name, split in splits.items()
        },
    }


def read_record(run: Run) -> dict[str, Any]:
    """A run's `data.json`, of `describe`.

    Raises:
      ValueError: it is missing, damaged, or none.
    """
    lost = "which data it knows was lost; train anew"
    found = files.read_json(run.require(run.data, lost), dict)
    splits = files.typed(found, "splits", dict, run.data)
    for name in datasets.SPLITS:
        split = files.typed(splits, name, dict, run.data)
        for key, kind in {"sha256": str, "captions": int, "images": list, "contents": list}.items():
            files.typed(split, key, kind, run.data)
    return found


def check_resumed(run: Run, now: dict[str, Any]) -> None:
    """Refuses to go on with other data than a run was begun with.

    Args:
      now: of `describe`, the data at hand.

    Raises:
      ValueError: says what differs.
    """
    known = read_record(run)["splits"]
    for name in ("train", "validation"):
        was, found = known[name], now["splits"][name]
        if was["sha256"] != found["sha256"]:
            raise ValueError(
                f"{run} was begun with other data: {difference(name, was, found)}; give the same "
                "--data_dir, or start a new run"
            )


def trained_on(run: Run) -> dict[str, list[str]]:
    """{"images", "contents"} of all that a run's weights were trained on, earlier runs' too."""
    found = read_record(run)
    parts = [found["splits"]["train"]]
    if "before" in found:  # of a run that started from another
        before = files.typed(found, "before", dict, run.data)
        parts.append({key: files.typed(before, key, list, run.data) for key in KEPT})
    return {key: [one for part in parts for one in part[key]] for key in KEPT}


def check_started(first: Run, now: dict[str, Any]) -> dict[str, Any]:
    """Refuses to start from a run that was trained on images which are validated or graded on now.

    Args:
      first: the run to start from; now: of `describe`, the data at hand.

    Returns:
      What is kept of the data, with what the first run's weights were trained on besides.

    Raises:
      ValueError: names the images.
    """
    before, known = trained_on(first), read_record(first)["splits"]
    for name in ("validation", "test"):
        split = now["splits"][name]
        if split["sha256"] == known[name]["sha256"]:
            continue  # was compared when that run was begun
        if seen := seen_images(split, before):
            raise ValueError(
                f"{len(seen)} of {len(split['images'])} images of the {name} split are images "
                f"that {first} was trained on: {some(seen)}; give the same splits as it had"
            )
    own = now["splits"]["train"]
    if set(before["images"]) <= set(own["images"]) and set(before["contents"]) <= set(
        own["contents"]
    ):
        return now
    return {**now, "before": before}


def seen_images(split: dict[str, Any], train: dict[str, list[str]]) -> list[str]:
    """Names of a split's images that a run was trained on: by content, else by name."""
    contents, names = set(train["contents"]) - {""}, set(train["images"])
    return [
        name
        for name, content in zip(split["images"], split["contents"], strict=True)
        if content in contents or (not content and name in names)
    ]


def check_split(run: Run, split: Split, other: bool = False) -> None:
    """Refuses a split that is not the run's own, and one with images that it was trained on.

    The run's own split has none: all were compared, by their whole bytes, when it was begun.

    Args:
      split: about to be graded; other: data that the run does not know are meant (--as).

    Raises:
      ValueError: says what differs, or names the images.
    """
    known = read_record(run)["splits"]
    now = describe({split.name: split})["splits"][split.name]
    if known[split.name]["sha256"] == now["sha256"]:
        return
    if seen := seen_images(now, trained_on(run)):
        raise ValueError(
            f"{len(seen)} of {split.num_images} images of the {split.name} split are images "
            f"that {run} was trained on: {some(seen)}; grade others"
        )
    if not other:
        told = difference(split.name, known[split.name], now)
        raise ValueError(
            f"{run} was trained beside other data: {told}; give --data_dir of the same data, or "
            "--as NAME to grade these beside its own score"
        )


def difference(name: str, was: dict[str, Any], now: dict[str, Any]) -> str:
    """How a split of another fingerprint differs, in words."""
    before, after = set(was["images"]), set(now["images"])
    new = [image for image in now["images"] if image not in before]
    gone = [image for image in was["images"] if image not in after]
    told = [f"{len(new)} images are new ({some(new, 3)})"] if new else []
    told += [f"{len(gone)} images are gone ({some(gone, 3)})"] if gone else []
    if not told:
        contents = dict(zip(was["images"], was["contents"], strict=True))
        pairs = zip(now["images"], now["contents"], strict=True)
        changed = [image for image, content in pairs if contents[image] != content]
        if changed:
            told = [f"{len(changed)} images have other contents ({some(changed, 3)})"]
        elif was["images"] != now["images"]:
            told = ["its images stand in another order"]
        else:
            told = ["its captions, concepts or vectors are others"]
    return f"of the {name} split {' and '.join(told)}"
