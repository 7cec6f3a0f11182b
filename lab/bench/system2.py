"""What lab.bench measures of System 2: sentences, encode, extraction, optimiser.

Each takes the factor of its sizes and the number of threads (0: all cores) and gives lines of the
table (`timing.summarise`). It sets TensorFlow up, so that each wants a process of its own.

Shape letters: B batch, F feature, H units of the GRU, M captions, N images, T tokens, W word.
"""

import io
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data import datasets
from data.language.words import Tokens
from data.vision import activations, cnn, descriptors
from lab.bench.timing import peak_memory, scaled, summarise, take_turns
from run import recipes, replicas
from run.facts import Facts

MEAN, SPREAD, SHORTEST, LONGEST = 12.8, 3.8, 4, 38  # tokens of Flickr8k's captions, the end one too
PADDED = 32  # tokens
ROWS = 128  # of a batch of captions in their own order
RECIPE = {  # of the published baselines (recipes/mh_bl.flags)
    "model": "gru",
    "loss": "max_hinge",
    "margin": 0.2,
    "optimizer": "adam",
    "learning_rate": 2e-4,
    "schedule": "constant",
    "clip_norm": 2.0,
    "captions": "one",
    "bucket": 16,
    "weight_decay": 0.0,
    "standardize": False,
}
NETWORK = {
    "cnn": "MobileNetV2",
    "image_weights": "random",
    "resize": "squash",
    "pre_activation": False,
    "data_seed": 0,
    "features": "fne",
}


def make_settings(scale):
    """Recipe settings, their sizes times `scale`; and those of the data for `build_model`."""
    sizes = {"embed_dim": 1024, "word_dim": 300, "batch_size": 128}
    chosen = RECIPE | {name: scaled(size, scale) for name, size in sizes.items()}
    of_data = Facts(scaled(3328, scale), scaled(7000, scale))
    return recipes.Settings(**{**recipes.default_settings(), **chosen}), of_data


def make_tokens(count, num_ids):
    """Random captions, as long as those of Flickr8k and with as many different words in a batch.

    The lengths follow a log-normal distribution, whose quantiles are Flickr8k's to one token; the
    words a law of Zipf and Mandelbrot, (rank + 1)^-1.25: some 470 different ones in 1,664 tokens.

    Returns:
      `text.Tokens` of `count` captions, the longest of LONGEST tokens.
    """
    rng = np.random.default_rng(0)
    variance = np.log(1 + (SPREAD / MEAN) ** 2)
    drawn = rng.lognormal(np.log(MEAN) - variance / 2, variance**0.5, count)
    lengths = np.clip(np.rint(drawn), SHORTEST, LONGEST).astype(np.int64)
    lengths[count // 2] = LONGEST
    often = (np.arange(1, num_ids + 1) + 1.0) ** -1.25
    words = rng.choice(num_ids, lengths.sum(), p=often / often.sum()) + 1
    return Tokens.from_flat(words, lengths)


def keras_reader(settings, num_ids):
    """The text tower with Keras' own layer: (B, T) -> (B, H)."""
    import keras

    from systems.gru import towers

    tokens = keras.Input((None,), dtype="int32")
    words = keras.layers.Embedding(num_ids + 1, settings.word_dim)(tokens)
    row = keras.layers.GRU(settings.embed_dim)(words, mask=keras.ops.not_equal(tokens, 0))
    for layer in towers.last_steps(settings.absolute):
        row = layer(row)
    return keras.Model(tokens, row)


# ---- Sentences ----------------------------------------------------------------------------------


def sentences(scale, threads):
    """GRU training on captions of similar length, beside captions that are all padded alike.

    Also beside Keras' own layer on the same batches, and TensorFlow's matrix product.
    """
    tf = replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    import models
    from systems.engine import optimization
    from systems.engine.parts import Parts
    from systems.gru import towers
    from training.batches import TrainingBatches

    settings, sizes = make_settings(scale)
    rng, count = np.random.default_rng(0), settings.bucket * settings.batch_size
    vectors = rng.standard_normal((count, sizes.feature_dim), np.float32)
    tokens, owner = make_tokens(5 * count, sizes.vocabulary_size), np.repeat(np.arange(count), 5)
    batches = TrainingBatches(vectors, tokens, owner, settings)
    ours = models.build_model(settings, sizes)
    image = towers.image_map(settings, sizes.feature_dim)
    text = keras_reader(settings, sizes.vocabulary_size)
    with_keras = models.DualEncoder(Parts(image, text), ours.pair_loss)
    for model in (ours, with_keras):
        optimizer = optimization.build_optimizer(settings, batches.steps_per_epoch)
        model.compile(optimizer=optimizer, jit_compile=False)
        optimizer.build(model.trainable_variables)

    def pad(batch):
        rows = tf.pad(batch["tokens"], [[0, 0], [0, PADDED]])[:, :PADDED]
        return batch | {"tokens": rows}

    def epoch(model, padded=False):
        stream = batches.dataset()
        stream = stream.map(pad) if padded else stream
        model.fit(stream, shuffle=False, steps_per_epoch=batches.steps_per_epoch, verbose=0)

    left, right = tf.random.normal((scaled(2048, scale), 1024)), tf.random.normal((1024, 3072))
    product = tf.function(lambda: tf.matmul(left, right))

    def products():
        for _ in range(16):
            product().numpy()

    functions = [partial(epoch, ours), partial(epoch, ours, True), partial(epoch, with_keras)]
    functions[0]()
    peak = peak_memory()
    for function in (*functions[1:], products):  # TensorFlow traces them
        function()
    seconds = take_turns([*functions, products], 3)
    line = partial(summarise, work=(count, count), unit="captions/s")
    gflop = epoch_gflop(batches, settings, sizes), 16 * 2e-9 * len(left) * 1024 * 3072
    return [
        line("GRU training (floor: all padded to 32)", seconds[:, [0, 1]], "ratio >= 2", peak),
        line("GRU training (floor: Keras' GRU layer)", seconds[:, [0, 2]]),
        summarise("GRU training (floor: a product)", seconds[:, [0, 3]], work=gflop),
    ]


def epoch_gflop(batches, settings, sizes):
    """What the matrix products of an epoch's training steps take, padding included, in GFLOP."""
    units, words = settings.embed_dim, settings.word_dim
    shapes = [batches.share(step, 0, 1)["tokens"].shape for step in range(batches.steps_per_epoch)]
    # Forward, weight gradient, input gradient; there is none of the image vectors.
    reading = 6 * sum(rows * length for rows, length in shapes) * 3 * units * (units + words)
    return 1e-9 * (reading + 4 * batches.items * sizes.feature_dim * units)


# ---- Encoding -----------------------------------------------------------------------------------


def encode(scale, threads):
    """The captions of a split as test.py encodes them, beside all padded and in their own order.

    Both run as many chunks at a time as there are cores, each with one thread. What is padded to
    one length takes the same time chunk by chunk: a part of it is measured.
    """
    replicas.import_tensorflow()
    replicas.set_devices(threads=1, cpu_only=True)
    import models
    from systems.engine import encoding

    settings, sizes = make_settings(scale)
    count, workers = scaled(25000, scale), threads or os.cpu_count() or 1
    tokens = make_tokens(count, sizes.vocabulary_size)
    model = models.build_model(settings, sizes)
    keras_tower = keras_reader(settings, sizes.vocabulary_size)
    vectors = np.zeros((1, sizes.feature_dim), np.float32)  # test.py encodes images besides
    part, peaks = min(count, max(workers * ROWS, count // 10)), []

    def chunk(compute, start):
        rows = tokens.pad(np.arange(start, min(start + ROWS, part)))
        compute(np.pad(rows, ((0, 0), (0, LONGEST - rows.shape[1])))).numpy()

    def in_order(compute):
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(partial(chunk, compute), range(0, part, ROWS)))

    def ours():
        encoding.encode_split(model, vectors, tokens, workers)
        peaks.append(peak_memory())

    padded = [partial(in_order, model.encoders.text)]
    padded.append(partial(in_order, replicas.compiled(keras_tower)))
    few = Tokens.from_flat(tokens.flat[: tokens.starts[8]], tokens.lengths[:8])
    encoding.encode_split(model, vectors, few, workers)
    for function in padded:
        chunk(function.args[0], 0)
    seconds = take_turns([ours, *padded], 3)  # ours comes first
    seconds[:, 1:] *= count / part
    return [
        summarise(
            f"encode {count:,} captions (floor: {floor})",
            seconds[:, [0, column]],
            "ratio >= 3" if column == 1 else "",
            peaks[0] if column == 1 else None,
            (count, count),
            "captions/s",
        )
        for column, floor in ((1, "padded, unsorted"), (2, "so by Keras' GRU"))
    ]


# ---- Pictures -----------------------------------------------------------------------------------


def make_pictures(folder, count):
    """A split of JPEG files, 224 x 224, which show coarse colours and fine noise."""
    rng, contents, paths = np.random.default_rng(0), [], []
    for _ in range(min(count, 64)):  # so many that differ; the others are copies
        coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8)).resize((224, 224))
        pixels = np.asarray(coarse) * 0.9 + rng.integers(0, 25, (224, 224, 3))
        contents.append(io.BytesIO())
        Image.fromarray(pixels.astype(np.uint8)).save(contents[-1], "JPEG", quality=90)
    for row in range(count):
        paths.append(str(Path(folder) / f"{row:06d}.jpg"))
        Path(paths[-1]).write_bytes(contents[row % len(contents)].getvalue())
    return datasets.Split(
        name="train",
        image_names=[Path(path).name for path in paths],
        captions=["a picture"] * count,
        caption_image=np.arange(count, dtype=np.int32),
        pictures=paths,
        origin=str(folder),
    )


def extraction(scale, threads):
    """Full-network embeddings of picture files, beside the bare network on arrays in memory: as
    Keras runs it, and as our frozen graph, whose batch norms are folded into the convolutions.

    Read, cropped, described, standardised and written, all that extract.py does once the network
    is loaded. Then the peak of memory with four times as many pictures.
    """
    replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    lines = []
    for crops, count in ((1, scaled(500, scale)), (10, scaled(40, scale, 2))):
        settings = recipes.Settings(**NETWORK, crops=crops)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            split = make_pictures(folder, 4 * count if crops == 1 else count)
            cache, turns = Path(folder) / "cache", 5 if scale == 1 else 2
            lines += measure_extraction(split, settings, count, cache, turns)
    return lines


def bare_network(network, pixels, count):
    """A function that runs the network as Keras has it, with the same outputs, on `count` pictures.

    Args:
      pixels: (P, K, S, S, 3) uint8, as many pictures as go through at once.
    """
    tf = replicas.import_tensorflow()
    model, _ = cnn.open_network(network)
    batch = tf.constant(pixels.reshape(-1, *pixels.shape[2:]), tf.float32)
    read = tf.function(lambda rows: model(rows, training=False))

    def run():
        for start in range(0, count * network.crops, len(batch)):
            read(batch[: count * network.crops - start])

    read(batch)
    return run


def measure_extraction(split, settings, count, cache, turns):
    """Lines for the first `count` pictures of a split; of memory too, if it has more."""
    settings.cache_dir = cache
    network = cnn.describe_network(settings)
    runner = cnn.Runner(network)

    def extract(number):
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir()
        own = datasets.Split(
            split.name,
            split.image_names[:number],
            split.captions[:number],
            split.caption_image[:number],
            pictures=split.pictures[:number],
            origin=split.origin,
        )
        activations.fill(activations.Store(own, network, cache), runner)
        descriptors.image_vectors(own, descriptors.learn(own, settings), cache)

    pixels = np.random.default_rng(0).integers(
        0, 256, (runner.pictures, network.crops, network.size, network.size, 3), np.uint8
    )

    def alone():
        for start in range(0, count, runner.pictures):
            runner(pixels[: count - start])

    bare = bare_network(network, pixels, count)
    ours = partial(extract, count)
    extract(min(count, 2 * runner.pictures))
    ours()
    peak = peak_memory()
    seconds = take_turns([ours, bare, alone], turns)
    what = f"{settings.cnn}, {network.crops} crop{'s' * (network.crops > 1)}, {count:,} pictures"
    work, unit = (count, count), "pictures/s"
    lines = [
        summarise(what, seconds[:, [0, 1]], "ratio >= 0.85", peak, work, unit),
        summarise("the same (floor: our frozen graph)", seconds[:, [0, 2]], "", None, work, unit),
    ]
    if split.num_images > count and peak is not None:
        before = peak_memory()
        extract(split.num_images)
        both = np.array([[[peak_memory()] * 2, [before] * 2]])
        what = f"peak memory, {split.num_images:,} pictures (floor: {count:,})"
        lines.append(summarise(what, both, "ratio <= 1.05", unit="GB"))
    return lines


# ---- Optimiser ----------------------------------------------------------------------------------


def optimiser(scale, threads):
    """Adam's step with and without clipping, beside keras.optimizers.Adam."""
    tf = replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    import keras

    from systems.engine import optimization

    settings, _ = make_settings(scale)
    shape = (5, scaled(5000, scale), 1000)  # of weights and gradients
    gradients, lines = tf.unstack(tf.random.normal(shape)), []
    for norm in (0.0, settings.clip_norm):
        theirs = keras.optimizers.Adam(settings.learning_rate, clipnorm=norm or None)
        settings.clip_norm, steps = norm, []
        for optimizer in (optimization.build_optimizer(settings, 1), theirs):
            weights = [keras.Variable(gradient) for gradient in gradients]
            optimizer.build(weights)
            steps.append(tf.function(partial(optimizer.apply, gradients, weights)))
            steps[-1]()
        seconds = take_turns(steps, 10)
        what = f"Adam, {shape[0] * shape[1] * shape[2] / 1e6:g} M weights"
        lines.append(summarise(f"{what}{', clipped' if norm else ''} (floor: Keras)", seconds))
    return lines


BENCHES = sentences, encode, extraction, optimiser
