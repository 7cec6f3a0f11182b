"""What several benches are made of: rows, captions, photos and compiled models. Imports no Keras.

Shape letters: B batch, D embedding, M captions, N images.
"""

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data import datasets
from data.language.words import Tokens
from settings.training import Facts

CAPTIONS = 5  # of each image
MEAN, SPREAD, SHORTEST, LONGEST = 12.8, 3.8, 4, 38  # tokens of Flickr8k's captions, the end one too
SHARPNESS, NOISE, QUALITY = 16, 40, 75  # 224 x 224 pixels take 15 kB, Flickr8k's small ones 13


def make_embeddings(num_images, dim):
    """Unit rows: images, and captions that lie near their image but for much noise.

    Returns:
      image (N, D) float32, text (M, D) float32, caption_image (M,) int32.
    """
    owner = np.repeat(np.arange(num_images, dtype=np.int32), CAPTIONS)
    rng = np.random.default_rng(0)
    image, text = (rng.standard_normal((n, dim), np.float32) for n in (num_images, len(owner)))
    for side in (image, text):
        for start in range(0, len(side), 1024):  # in place, block by block: memory is measured
            rows = side[start : start + 1024]
            if side is text:
                rows += image[owner[start : start + 1024]] * dim**0.5 / 8
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return image, text, owner


def make_tokens(count, num_ids):
    """Random captions, as long as those of Flickr8k and with as many different words in a batch.

    The lengths follow a log-normal distribution, whose quantiles are Flickr8k's to one token; the
    words a law of Zipf and Mandelbrot, (rank + 1)^-1.25: some 470 different ones in 1,664 tokens.

    Returns:
      `Tokens` of `count` captions, the longest of LONGEST tokens.
    """
    rng = np.random.default_rng(0)
    variance = np.log(1 + (SPREAD / MEAN) ** 2)
    drawn = rng.lognormal(np.log(MEAN) - variance / 2, variance**0.5, count)
    lengths = np.clip(np.rint(drawn), SHORTEST, LONGEST).astype(np.int64)
    lengths[count // 2] = LONGEST
    often = (np.arange(1, num_ids + 1) + 1.0) ** -1.25
    words = rng.choice(num_ids, lengths.sum(), p=often / often.sum()) + 1
    return Tokens.from_flat(words, lengths)


def make_photos(folder, height, width, count):
    """A split of JPEG files with coarse colours and fine noise, which take a photo's bytes."""
    rng, contents, paths = np.random.default_rng(0), [], []
    for _ in range(min(count, 64)):  # so many that differ; the others are copies
        grid = (height // SHARPNESS, width // SHARPNESS, 3)
        coarse = Image.fromarray(rng.integers(0, 256, grid, np.uint8)).resize((width, height))
        pixels = np.asarray(coarse) * 0.84 + rng.integers(0, NOISE, (height, width, 1))
        contents.append(io.BytesIO())
        Image.fromarray(pixels.astype(np.uint8)).save(contents[-1], "JPEG", quality=QUALITY)
    for row in range(count):
        paths.append(str(Path(folder) / f"{height}-{row:06d}.jpg"))
        Path(paths[-1]).write_bytes(contents[row % len(contents)].getvalue())
    return datasets.Split(
        name="train",
        image_names=[Path(path).name for path in paths],
        captions=["a picture"] * count,
        caption_image=np.arange(count, dtype=np.int32),
        pictures=paths,
        origin=str(folder),
    )


def build_compiled(settings, steps=10, **facts):
    """A model with fresh weights, compiled as train.py does.

    Args:
      settings: of the training; steps: of an epoch; facts: of the data, as `models.build_model`
        takes them.
    """
    import models

    return compile_model(models.build_model(settings, Facts(**facts)), settings, steps)


def compile_model(model, settings, steps=10):
    """The model, compiled as train.py does: with the optimiser that the settings name."""
    from systems.engine import optimization

    optimizer = optimization.build_optimizer(settings, steps, model.parts.rates)
    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    return model


def step_of(model, batch):
    """A function that takes one training step on a batch dict."""
    import keras

    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in batch.items()}
    return partial(model.train_on_batch, tensors)
