"""A network of NumPy, for tests of what is done with activations."""

import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

from data import datasets
from data.vision.network import Layers, Network, cut_crops
from data.vision.rows import open_picture

NETWORK = Network("MobileNetV2", "random", "random 0", 8, crops=1)
LAYERS = Layers(["first", "second"], [4, 6], (4, 10))


class Counter:
    """Means over space and crops of some functions of the pixels; counts the pictures.

    Args:
      factor: of all activations.
      stop: raise an error at this batch, counted from 1.
      sleep_after: stand still after so many batches, and write the file `flag`.
    """

    layers = LAYERS
    pictures = 3
    at_once = 2

    def __init__(self, factor=1.0, stop=0, sleep_after=0, flag: Path | None = None):
        self.factor, self.stop, self.sleep_after, self.flag = factor, stop, sleep_after, flag
        self.seen = self.batches = 0

    def __call__(self, crops):
        if self.flag is not None and self.batches == self.sleep_after:
            self.flag.write_text("now")
            time.sleep(60)
        self.batches += 1
        if self.batches == self.stop:
            raise InterruptedError
        self.seen += len(crops)
        means = crops.astype(np.float32).mean(axis=(1, 2, 3))  # (n, 3)
        columns = [means, means * 2, np.maximum(means - 100, 0), means[:, :1] ** 2]
        return self.factor * np.concatenate(columns, axis=1)


def make_split(folder, count, anew=True, name="train", seed=0):
    """A split of picture files, 12 x 12 pixels each, of one colour and noise."""
    rng, paths = np.random.default_rng(seed), []
    for row in range(count):
        paths.append(str(Path(folder) / f"{row}.bmp"))
        pixels = rng.integers(0, 256, (1, 1, 3)) // 2 + rng.integers(0, 100, (12, 12, 3))
        if anew:
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return datasets.Split(
        name=name,
        image_names=[f"{row}.bmp" for row in range(count)],
        captions=["a picture"] * count,
        caption_image=np.arange(count, dtype=np.int32),
        pictures=paths,
        origin=str(folder),
    )


def answers(split):
    """(N, C) of the network, picture by picture."""
    pictures = [open_picture(split, row) for row in range(split.num_images)]
    return np.concatenate([Counter()(cut_crops(one, NETWORK)[None]) for one in pictures])


def sleep_and_tell(flag):
    """Writes its process number and stands still."""
    Path(flag).write_text(str(os.getpid()))
    time.sleep(60)
