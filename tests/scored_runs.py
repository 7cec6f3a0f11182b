"""Scored runs for tests of comparisons: folders with all that compare.py reads, nothing trained."""

import numpy as np

from data.record import FORMAT
from grading import score as scores
from lab.settings import settings_of
from run import files
from settings.training import Facts
from systems import config

OWNER = np.repeat(np.arange(30), 2)
CAPTIONS = [f"caption {i}" for i in range(59)] + ["<script>alert(1)</script> & \u202eso on"]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embed(noise, seed=5):
    """Rows of images and captions: captions are their images with so much noise."""
    rng = np.random.default_rng(5)
    image = unit(rng.standard_normal((30, 8)))
    rng = np.random.default_rng(seed)
    return image, unit(image[OWNER] + noise * rng.standard_normal((60, 8)))


def leave(run, noise, *words, data="a", seed=0, facts=None):
    """Leaves a scored run."""
    image, text = embed(noise, seed)
    score, found = scores.grade_embeddings(image, text, OWNER)
    config.save(run, settings_of(*words, f"--seed={seed}"), facts or Facts())
    files.write_text(run.best_weights, "weights")
    names = [f"{i}.jpg" for i in range(30)]
    scores.write_ranks(run.folder, found, CAPTIONS, names)
    protocol = {"data": "csv", "split": "test", "images": 30}
    hashes = {"data": data, "weights": files.file_hash(run.best_weights)}
    files.write_json(run.score, {"protocol": protocol, "hashes": hashes, **score})
    files.write_text(run.history, f"epoch,val_rsum\n1,{100 - seed}\n2,120\n3,130\n4,125\n")
    split = {"sha256": "", "captions": 60, "images": names, "contents": names}
    splits = dict.fromkeys(("train", "validation", "test"), split)
    files.write_json(run.data, {"format": FORMAT, "splits": splits})
    run.log("61 s; best epoch 3 of 4: val_rsum 1; curves in x; next: y")
    return run


def rescore(run, **parts):
    """Replaces parts of a run's score.json."""
    files.write_json(run.score, {**files.read_json(run.score), **parts})
