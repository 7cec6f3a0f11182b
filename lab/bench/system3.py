"""What lab.bench measures of System 3's pictures: the pipeline beside the bare decoder.

Each takes the factor of its sizes and the number of threads (0: all cores) and gives lines of the
table (`timing.summarise`). It sets TensorFlow up, so that each wants a process of its own.
`bench_dual_path.py` has the model.

Shape letters: S side of the tower's input.
"""

import io
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data import datasets
from data.vision.pixels import PixelRows, decode_band
from lab.bench import dual_path
from lab.bench.timing import peak_memory, scaled, summarise, take_turns
from run import replicas

SIDE, BATCH = 128, 32
KINDS = {(224, 224): 2000, (375, 500): 500}  # height and width of pictures, and how many
SHARPNESS, NOISE, QUALITY = 16, 40, 75  # 224 x 224 pixels take 15 kB, Flickr8k's small ones 13


def make_photos(folder: Path, height: int, width: int, count: int) -> list[str]:
    """Paths of JPEG files with coarse colours and fine noise, which take a photo's bytes."""
    rng, contents, paths = np.random.default_rng(0), [], []
    for _ in range(min(count, 64)):  # so many that differ; the others are copies
        grid = (height // SHARPNESS, width // SHARPNESS, 3)
        coarse = Image.fromarray(rng.integers(0, 256, grid, np.uint8)).resize((width, height))
        pixels = np.asarray(coarse) * 0.84 + rng.integers(0, NOISE, (height, width, 1))
        contents.append(io.BytesIO())
        Image.fromarray(pixels.astype(np.uint8)).save(contents[-1], "JPEG", quality=QUALITY)
    for row in range(count):
        paths.append(str(folder / f"{height}-{row:06d}.jpg"))
        Path(paths[-1]).write_bytes(contents[row % len(contents)].getvalue())
    return paths


def make_split(paths: list[str]) -> datasets.Split:
    """A split of picture files."""
    return datasets.Split(
        name="train",
        image_names=paths,
        captions=["a picture"] * len(paths),
        caption_image=np.arange(len(paths), dtype=np.int32),
        pictures=paths,
    )


def picture_reading(scale, threads, data_dir=None):
    """Crops read by tf.data, beside TensorFlow's decoder alone on the same files.

    Args:
      data_dir: a folder of JPEG files; None: drawn ones, small and as large as a photo site's.
    """
    replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    lines = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        if data_dir:
            paths = sorted(map(str, Path(data_dir).glob("*.jp*g")))[: scaled(2000, scale)]
            return measure_reading("files", paths, folder, 7)
        for (height, width), count in KINDS.items():
            paths = make_photos(folder, height, width, scaled(count, scale, BATCH))
            lines += measure_reading(f"{width} x {height}", paths, folder, 7 if scale == 1 else 2)
    return lines


def measure_reading(what: str, paths: list[str], folder: Path, turns: int) -> list[dict]:
    """Lines for picture files: cropped, also resized to S and mirrored, and so from each cache."""
    count, split = len(paths), make_split(paths)
    made = {
        cache: PixelRows(split, SIDE, 0.8, True, cache, folder)
        for cache in ("none", "memory", "disk")
    }
    windows, mirrored = made["none"].windows(np.arange(count), np.random.default_rng(0))
    functions = [partial(run_through, crops(made["none"], windows))]
    functions += [partial(run_through, batches(one, windows, mirrored)) for one in made.values()]
    functions.append(partial(run_through, bare_decoder(paths)))
    for function in functions:
        function()
    peak = peak_memory()
    seconds = take_turns(functions, turns)
    to = f"{what}: decode, crop, resize to {SIDE}, mirror"
    names = f"{what}: decode and crop", to, "the same, kept in memory", "the same, kept on disk"
    return [
        summarise(
            name,
            seconds[:, [place, -1]],
            "ratio >= 0.9" if place == 0 else "",
            peak if place == 1 else None,
            (count, count),
            "pictures/s",
        )
        for place, name in enumerate(names)
    ]


def bare_decoder(paths: list[str]):
    """A tf.data dataset that decodes files, as TensorFlow's manual has it."""
    import tensorflow as tf

    files = tf.data.Dataset.from_tensor_slices(paths)
    return files.map(
        lambda file: tf.io.decode_jpeg(tf.io.read_file(file), channels=3), tf.data.AUTOTUNE
    ).prefetch(BATCH)


def crops(pictures: PixelRows, windows: np.ndarray):
    """A tf.data dataset that decodes the cropped part of files of one scale, and does no more."""
    import tensorflow as tf

    y, x, height, width = windows.T
    none = np.zeros_like(x)
    band = np.stack([y, none, height, pictures.decoded.shapes[:, 1]], axis=1)
    start, size = np.stack([none, x, none], 1), np.stack([height, width, none + 3], 1)
    decoded = pictures.decoded
    places, scale = [list(decoded.files), band, start, size], decoded.scales[0]

    def read(file, band, start, size):
        return tf.slice(decode_band(tf.io.read_file(file), band, scale), start, size)

    files = tf.data.Dataset.from_tensor_slices(tuple(places))
    return files.map(read, tf.data.AUTOTUNE, deterministic=True).prefetch(BATCH)


def batches(pictures: PixelRows, windows: np.ndarray, mirrored: np.ndarray):
    """A tf.data dataset of batches as training reads them."""
    import tensorflow as tf

    rows = np.arange(len(pictures), dtype=np.int32)
    places = tf.data.Dataset.from_tensor_slices((rows, windows, mirrored)).batch(BATCH)
    return places.map(pictures.read, tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def run_through(dataset) -> None:
    """Reads a dataset to its end, without Python."""
    dataset.reduce(np.int64(0), lambda count, _: count + 1).numpy()


def picture_eating(scale, threads):
    """Batches of pictures, beside the training step that eats them: stage I, its CNN frozen.

    That is the quickest step that reads pixels; MobileNetV2, an eighth of the text width.
    """
    tf = replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    height, width = next(iter(KINDS))
    count, times = scaled(4 * BATCH, scale, BATCH), 10  # a stream takes a moment to begin
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        split = make_split(make_photos(Path(temporary), height, width, count))
        pictures = PixelRows(split, SIDE, 0.8, True, "none", temporary)
        dataset = batches(pictures, *pictures.windows(np.arange(count), np.random.default_rng(0)))
        step = dual_path.training_step("pixels", 1000, count)
        rows = np.arange(BATCH, dtype=np.int32)
        batch = {
            "image": tf.zeros((BATCH, SIDE, SIDE, 3), tf.uint8),
            "tokens": tf.ones((BATCH, 32), tf.int32),
            "image_id": tf.constant(rows),
            "label": tf.constant(rows),
            "image_row": tf.constant(rows),
        }

        def train():
            for _ in range(-(-count // BATCH)):
                step(batch)

        functions = [partial(run_through, dataset.repeat(times)), train]
        for function in functions:
            function()
        seconds = take_turns(functions, 7 if scale == 1 else 2)
    seconds[:, 0] /= times
    what = f"{count} pictures read (floor: trained on, stage I)"
    return [summarise(what, seconds, "ratio <= 1")]


BENCHES = (picture_reading, picture_eating)
