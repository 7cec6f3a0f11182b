"""An assignment: data with a shuffled test split for students, and the key that stays with us.

    make_assignment(splits, Path("assignment"))

What is handed out says nothing of the key: images and captions of the test split stand in orders
drawn from the system's noise, under numbers; pictures are written anew from their pixels, without
name and metadata; all files have one time. Data that are public can still be looked up.

Shape letters: F feature, M captions, N images.
"""

import csv
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data import datasets, pictures, record
from data.datasets import Split
from data.formats import shuffled
from data.formats.records import blocks, write_header
from data.vision.decoding import progress
from grading.assignment import key as keys
from run import files

STUDENTS, KEY = "students", "key.npz"
TIME = 1_000_000_000  # of all files that are handed out: September 2001
QUALITY = 95  # of JPEG; with whole colours

FOR_STUDENTS = """\
# Assignment: images for captions, captions for images

`captions.csv` holds the images of {train} training and {validation} validation images with their
captions ({images}). The test split has {tests} images ({test_images}) and {captions} captions
(`test_captions.txt`). Which belong together is for your model to find: numbers and order say
nothing of it.

With Matchbox:

```
python train.py --data csv --data_dir students --exp mine --seed YOUR_NUMBER
python test.py --exp mine --split validation
python test.py --exp mine
```

The second line scores the validation split; choose your settings by it. The third writes
`exp/mine/submission.npz`. Hand in this file as `YOUR_NAME.npz`, or the folder `exp/mine`. Give a
seed of your own: two runs with the same settings and seed are equal, and look like a copy.

With other tools, hand in an `.npz` (`numpy.savez`) with

| array | shape | what |
|---|---|---|
| `image` | ({tests}, D) | row k: the embedding of test image k, counted from 0 |
| `text` | ({captions}, D) | row k: the embedding of line k of `test_captions.txt`, counted from 0 |

as float16, float32 or float64, D at most 8,192, each row of L2 norm 1. A score is the dot product.
Rows in another order need `image_ids` and `caption_ids`: the number of the image or line of each.
"""
FOR_TEACHER = """\
# The teacher's side of the assignment

- Hand out the folder `students/`, and nothing else.
- Keep `key.npz`: it says which test caption belongs to which test image.
- Collect the files into a folder, one a student, and grade them:

```
python compare.py --grade submissions --key {key} --reference exp/baseline --output grades.csv
```

`exp/baseline` is a run of your own on `students/` or on the data that this was made of; it may be
left out. `--pass "rsum>=280"` adds a column, and the exit status says whether all pass.
"""


def make_assignment(splits: dict[str, Split], out: Path) -> None:
    """Writes `out/students/`, `out/key.npz` and `out/README.md`.

    Args:
      splits: of `datasets.open_dataset`; vectors are handed out where there are any, else pictures.

    Raises:
      ValueError: `out` is not empty; or the data are drawn from a seed that anyone has, have
        neither vectors nor pictures, or are shuffled already.
    """
    test = splits["test"]
    test.check_paired()
    if test.origin.startswith("scenes:"):
        raise ValueError(
            "--data scenes: anyone draws these images with their captions; give other data"
        )
    if test.vectors is None and test.pictures is None:
        raise ValueError(f"{test.origin} has neither vectors nor pictures to hand out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: expected an empty folder, or a new one")
    folder = out / STUDENTS
    folder.mkdir(parents=True)
    image_rows, caption_rows, caption_image = keys.draw_orders(test)
    _write_training(splits["train"], splits["validation"], folder)
    _write_test(test, image_rows, caption_rows, folder)
    files.write_text(folder / "README.md", _readme(splits))
    with tempfile.TemporaryDirectory() as cache:
        handed_out = datasets.open_dataset("csv", folder, cache_dir=cache)["test"]
    if handed_out.captions != [test.captions[row] for row in caption_rows]:
        raise ValueError(f"{folder} does not read as it was written: a caption holds odd marks")
    contents = {*record.contents_of(test), *record.contents_of(handed_out)} - {""}
    key = keys.Key(
        caption_image=caption_image,
        image_rows=image_rows,
        caption_rows=caption_rows,
        image_names=test.image_names,
        contents=sorted(contents),
        data=datasets.fingerprint(handed_out),
        original=datasets.fingerprint(test),
    )
    keys.write_key(out / KEY, key)
    files.write_text(out / "README.md", FOR_TEACHER.format(key=out / KEY))
    _clear_times(folder)


def _readme(splits: dict[str, Split]) -> str:
    test, vectors = splits["test"], splits["test"].vectors is not None
    return FOR_STUDENTS.format(
        train=f"{splits['train'].num_images:,}",
        validation=f"{splits['validation'].num_images:,}",
        tests=test.num_images,
        captions=test.num_captions,
        images="rows of `captions.npy`" if vectors else "pictures in `images/`",
        test_images=f"rows of `{shuffled.VECTORS}`" if vectors else f"`{shuffled.PICTURES}/`",
    )


def _write_training(train: Split, validation: Split, folder: Path) -> None:
    """`captions.csv`, and `captions.npy` or `images/`, where an image is its row's number."""
    text, first = io.StringIO(), 0
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "caption", "split"])
    for split in (train, validation):
        for caption, image in zip(split.captions, split.caption_image.tolist(), strict=True):
            row = first + image
            name = str(row) if split.vectors is not None else f"images/{row:05d}.jpg"
            table.writerow([name, caption, split.name])
        if split.vectors is None:
            _write_pictures(split, range(split.num_images), folder / "images", first)
        first += split.num_images
    files.write_text(folder / "captions.csv", text.getvalue())
    if train.vectors is not None:
        parts = (train.vectors, validation.vectors)
        rows = (block for part in parts if part is not None for _, block in blocks(part))
        _write_vectors(folder / "captions.npy", rows, train, first)


def _write_test(split: Split, image_rows, caption_rows, folder: Path) -> None:
    captions = "".join(f"{split.captions[row]}\n" for row in caption_rows)
    files.write_text(folder / shuffled.CAPTIONS, captions)
    if split.vectors is None:
        _write_pictures(split, image_rows.tolist(), folder / shuffled.PICTURES)
        return
    rows = (split.vectors[part] for part in np.array_split(image_rows, -(-len(image_rows) // 1024)))
    _write_vectors(folder / shuffled.VECTORS, rows, split, len(image_rows))


def _write_vectors(path: Path, rows: Iterator[np.ndarray], like: Split, count: int) -> None:
    """An `.npy` of rows that come block by block."""
    kind = like.vectors if like.vectors is not None else np.empty((0, 0))
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
        write_header(file, kind.dtype, (count, *kind.shape[1:]))
        for block in rows:
            file.write(np.ascontiguousarray(block).data)


def _write_pictures(split: Split, rows, folder: Path, first: int = 0) -> None:
    """Pictures as JPEG under their numbers, from their pixels alone."""
    paths = split.pictures if isinstance(split.pictures, list) else []
    folder.mkdir(exist_ok=True)
    for place, row in enumerate(progress(rows, f"{split.name} pictures"), first):
        found = pictures.load_picture(str(paths[row]))
        found.info.clear()
        found.save(folder / f"{place:05d}.jpg", quality=QUALITY, subsampling=0)


def _clear_times(folder: Path) -> None:
    """Gives all files and folders one time, the inner ones first."""
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (TIME, TIME))
    os.utime(folder, (TIME, TIME))
