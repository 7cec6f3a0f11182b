"""Benches of pictures: files to crops, to vectors, and the training that eats them.

Shape letters: B batch, F feature, K crops, P pictures, S side of the network's input.
"""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from data.vision import activations, cnn, descriptors
from data.vision.pixels import PixelRows, decode_band
from lab.bench.building import build_compiled, make_photos, step_of
from lab.bench.timing import Line, bench, line_of, peak_memory, take_lines, temporary_folder
from lab.settings import settings_of

SIDE, BATCH = 128, 32
SMALL, LARGE = (224, 224), (375, 500)  # height and width of pictures


# ---- Files to crops -----------------------------------------------------------------------------


@bench(
    "picture_reading", "tf.io.decode_jpeg alone", bounds="ratio >= 0.9",
    small=(2000, BATCH), large=(500, BATCH),
)  # fmt: skip
def read_pictures(at):
    """{small} small, {large} large JPEG files decoded, cropped, resized, mirrored; from caches."""
    for (height, width), count in ((SMALL, at.small), (LARGE, at.large)):
        with temporary_folder() as folder:
            split = make_photos(folder, height, width, count)
            yield from reading_lines(at, f"{width} x {height}", split, folder)


def reading_lines(at, what, split, folder):
    """Lines for picture files: cropped, also resized to S and mirrored, and so from each cache."""
    count = split.num_images
    made = [PixelRows(split, SIDE, 0.8, True, kept, folder) for kept in ("none", "memory", "disk")]
    windows, mirrored = made[0].windows(np.arange(count), np.random.default_rng(0))
    streams = [crops(made[0], windows), *(batches(one, windows, mirrored) for one in made)]
    functions = [partial(run_through, one) for one in (*streams, bare_decoder(split.pictures))]
    to = f"{what}: decode, crop, resize to {SIDE}, mirror"
    names = f"{what}: decode and crop", to, "the same, kept in memory", "the same, kept on disk"
    work = {"work": (count, count), "unit": "pictures/s"}
    lines = [Line(name, "" if i else at.bounds, i, 4, **work) for i, name in enumerate(names)]
    return take_lines(at, functions, *lines, turns=7)


def bare_decoder(paths):
    """A tf.data dataset that decodes files, as TensorFlow's manual has it."""
    import tensorflow as tf

    return (
        tf.data.Dataset.from_tensor_slices(list(paths))
        .map(lambda file: tf.io.decode_jpeg(tf.io.read_file(file), channels=3), tf.data.AUTOTUNE)
        .prefetch(BATCH)
    )


def crops(pictures, windows):
    """A tf.data dataset that decodes the cropped part of files of one scale, and does no more."""
    import tensorflow as tf

    y, x, height, width = windows.T
    none = np.zeros_like(x)
    band = np.stack([y, none, height, pictures.decoded.shapes[:, 1]], axis=1)
    start, size = np.stack([none, x, none], 1), np.stack([height, width, none + 3], 1)
    places, scale = [list(pictures.decoded.files), band, start, size], pictures.decoded.scales[0]

    def read(file, band, start, size):
        return tf.slice(decode_band(tf.io.read_file(file), band, scale), start, size)

    stream = tf.data.Dataset.from_tensor_slices(tuple(places))
    return stream.map(read, tf.data.AUTOTUNE, deterministic=True).prefetch(BATCH)


def batches(pictures, windows, mirrored):
    """A tf.data dataset of batches as training reads them."""
    import tensorflow as tf

    rows = np.arange(len(pictures), dtype=np.int32)
    places = tf.data.Dataset.from_tensor_slices((rows, windows, mirrored)).batch(BATCH)
    return places.map(pictures.read, tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def run_through(dataset):
    """Reads a dataset to its end, without Python."""
    dataset.reduce(np.int64(0), lambda count, _: count + 1).numpy()


# ---- Files to vectors ---------------------------------------------------------------------------


@bench(
    "extraction", "the network alone, arrays in memory, as Keras runs it and as our frozen graph",
    bounds="ratio >= 0.85", unasked=0.1, once=500, tenfold=(40, 2),
)  # fmt: skip
def extract_vectors(at):
    """{once} JPEG files to full-network embeddings, MobileNetV2; {tenfold} by 10 crops.

    Read, cropped, described, standardised and written, all that data.vision.extract does once the
    network is loaded. Then the peak of memory with four times as many pictures.
    """
    for crops_each, count, most in ((1, at.once, 4 * at.once), (10, at.tenfold, at.tenfold)):
        with temporary_folder() as folder:
            split, cache = make_photos(folder, *SMALL, most), Path(folder) / "cache"
            settings = settings_of(
                "--cnn=MobileNetV2", "--image_weights=random", "--features=fne",
                crops=crops_each, cache_dir=cache,
            )  # fmt: skip
            yield from extraction_lines(at, split, settings, count)


def extraction_lines(at, split, settings, count):
    """Lines for the first `count` pictures of a split; of memory too, if it has more."""
    network, cache = cnn.describe_network(settings), settings.cache_dir
    runner = cnn.Runner(network)

    def extract(number):
        shutil.rmtree(cache, ignore_errors=True)
        Path(cache).mkdir()
        names = "image_names", "captions", "caption_image", "pictures"
        own = replace(split, **{name: getattr(split, name)[:number] for name in names})
        store = activations.ActivationStore(own, network, cache)
        store.is_whole()  # begins the cache's manifest, without which the rows would be made anew
        activations.fill_store(store, runner)
        descriptors.learn_descriptor("fne", own, settings).rows(own, settings)

    shape = runner.pictures, network.crops, network.size, network.size, 3
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def alone():
        for start in range(0, count, runner.pictures):
            runner(pixels[: count - start])

    extract(min(count, 2 * runner.pictures))
    what = f"{settings.cnn}, {network.crops} crop{'s' * (network.crops > 1)}, {count:,} pictures"
    work = {"work": (count, count), "unit": "pictures/s"}
    yield from take_lines(
        at,
        [partial(extract, count), bare_network(network, pixels, count), alone],
        Line(what, at.bounds, **work),
        Line("the same (floor: our frozen graph)", floor=2, **work),
        turns=5,
    )
    before = peak_memory()
    if split.num_images > count and before is not None:
        extract(split.num_images)
        both = np.array([[[peak_memory()] * 2, [before] * 2]])
        what = f"peak memory, {split.num_images:,} pictures (floor: {count:,})"
        yield line_of(what, both, "ratio <= 1.05", unit="GB")


def bare_network(network, pixels, count):
    """A function that runs the network as Keras has it, with the same outputs, on `count` pictures.

    Args:
      pixels: (P, K, S, S, 3) uint8, as many pictures as go through at once.
    """
    import tensorflow as tf

    model, _ = cnn.open_network(network)
    batch = tf.constant(pixels.reshape(-1, *pixels.shape[2:]), tf.float32)
    read = tf.function(lambda rows: model(rows, training=False))

    def run_all():
        for start in range(0, count * network.crops, len(batch)):
            read(batch[: count * network.crops - start])

    return run_all


# ---- Stage I of System 3 ------------------------------------------------------------------------


def stage_epoch(features, image, vocabulary, each=1):
    """A function that trains an epoch of stage I, in batches, on `each` captions of each image.

    Args:
      features: pixels, or last: the cached vectors of the CNN's last layer; image: (P, ...) these.
    """
    settings = settings_of(
        "--recipe=dual_path_stage1", "--cnn=MobileNetV2", "--text_width=0.125", "--embed_dim=512",
        "--word_dim=25", "--optimizer=adamw", features=features, image_size=SIDE,
    )  # fmt: skip
    data = {"feature_dim": 1280, "vocabulary_size": vocabulary, "num_classes": len(image)}
    model, steps = build_compiled(settings, **data), []
    for first in range(0, len(image), BATCH):
        part = image[first : first + BATCH]
        rows = np.repeat(np.arange(first, first + len(part), dtype=np.int32), each)
        tokens = np.random.default_rng(first).integers(1, vocabulary + 1, (len(rows), 32), np.int32)
        batch = {"image": part, "image_row": rows - first, "tokens": tokens}
        steps.append(step_of(model, batch | {"image_id": rows, "label": rows}))
    return lambda: [step() for step in steps]


@bench(
    "stage_one", "the same on its cached vectors", bounds="ratio >= 5", images=(128, 32),
    vocabulary=7000,
)  # fmt: skip
def train_stage_one(at):
    """An epoch of stage I on {images} pictures, the frozen CNN run in it.

    The same model and captions; with one caption of each image, as published, and with five.
    """
    pictures = np.random.default_rng(0).integers(0, 256, (at.images, SIDE, SIDE, 3), np.uint8)
    inputs = {"pixels": pictures, "last": np.zeros((at.images, 1280), np.float32)}
    for each, bounds in ((1, at.bounds), (5, "")):
        epochs = [stage_epoch(*of, at.vocabulary, each) for of in inputs.items()]
        what = f"stage I of {at.images} images, {each} captions: CNN run / cached"
        yield from take_lines(at, epochs, Line(what, bounds), turns=3)


@bench(
    "picture_eating", "the quickest training on them, stage I with MobileNetV2",
    bounds="ratio <= 1", images=(4 * BATCH, BATCH),
)  # fmt: skip
def eat_pictures(at):
    """{images} pictures read in batches."""
    times = 10  # a stream takes a moment to begin
    with temporary_folder() as folder:
        split = make_photos(folder, *SMALL, at.images)
        pictures = PixelRows(split, SIDE, 0.8, True, "none", folder)
        windows = pictures.windows(np.arange(at.images), np.random.default_rng(0))
        stream = batches(pictures, *windows).repeat(times)
        image = np.zeros((at.images, SIDE, SIDE, 3), np.uint8)
        functions = [partial(run_through, stream), stage_epoch("pixels", image, 1000)]
        line = Line(f"{at.images} pictures read (floor: trained on, stage I)", at.bounds)
        yield from take_lines(at, functions, line, turns=7, factors=(1 / times, 1))
