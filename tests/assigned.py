"""What the tests of assignments share: a key, and embeddings that it fits."""

import dataclasses

import numpy as np

from grading.assignment.key import Key
from run import files

IMAGES, EACH, WIDTH = 60, 2, 48
OWNER = np.repeat(np.arange(IMAGES), EACH)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def system(seed, noise=0.5):
    """Embeddings as two-layer towers of this seed give them: of one truth, each in its own way."""
    truth, rng = np.random.default_rng(0).standard_normal((IMAGES, 12)), np.random.default_rng(seed)
    first, second = rng.standard_normal((12, 96)) / 3, rng.standard_normal((96, WIDTH))
    texts = truth[OWNER] + noise * rng.standard_normal((len(OWNER), 12))
    return tuple(unit(np.tanh(rows @ first) @ second) for rows in (truth, texts))


def key(**changed):
    """A key of 60 images, two captions each, shuffled."""
    rng = np.random.default_rng(9)
    image_rows, caption_rows = rng.permutation(IMAGES), rng.permutation(len(OWNER))
    made = Key(
        caption_image=np.argsort(image_rows)[OWNER[caption_rows]],
        image_rows=image_rows,
        caption_rows=caption_rows,
        image_names=[f"{i}.jpg" for i in range(IMAGES)],
        contents=["a" * 16],
        data="d" * 64,
        original="o" * 64,
    )
    return dataclasses.replace(made, **changed)


def shuffled(of, rows):
    """(image, text) in the order of a key."""
    return rows[0][of.image_rows], rows[1][of.caption_rows]


def put(path, image, text, **others):
    """A submission as numpy.savez writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, image=image, text=text, **others)
    return path


def leave_run(run, of, image, text, **changed):
    """A student's run: its submission, and the record of its data."""
    splits = {
        name: {"sha256": name, "captions": 1, "images": ["x"], "contents": ["b" * 16]}
        for name in ("train", "validation", "test")
    }
    splits["test"]["sha256"] = of.data
    splits["train"] |= changed
    files.write_json(run.data, {"format": 1, "splits": splits})
    files.write_arrays(run.submission, {"image": image, "text": text})
    return run
