"""What lab.bench measures of System 3's model: text towers, stage I from a cache, the classifier.

Each takes the factor of its sizes and the number of threads (0: all cores) and gives lines of the
table (`timing.summarise`). It sets TensorFlow up, so that each wants a process of its own.
`bench_system3.py` has the pictures.

Shape letters: B batch, D embedding, F feature, K classes.
"""

from functools import partial

import numpy as np

from lab.bench import system2
from lab.bench.timing import peak_memory, scaled, summarise, take_turns
from run import recipes, replicas
from run.facts import Facts

CLASSES = 113_287  # training images of COCO
WORDS = 20_074  # of the published dictionary
SIDE = 128


def make_settings(recipe, **changes):
    """The settings of a recipe with some changed."""
    given = [f"--{name}={value}" for name, value in changes.items()]
    return recipes.settings_of(["train.py", f"--recipe={recipe}", *given])


def text_towers(scale, threads):
    """Captions that the convolutional tower encodes, beside the GRU of the same embedding size.

    The published widths, once by one shift as in validation, and at an eighth of the width; the GRU
    reads captions sorted by length, as `encode_split` has them.
    """
    replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    import models

    size, count, words = scaled(1024, scale), scaled(2048, scale), scaled(WORDS, scale)
    tokens = system2.make_tokens(count, words)
    of_data = Facts(8, words, train_images=8)
    gru = make_settings("mh_bl", embed_dim=size, word_dim=300)
    found = []
    reader = models.build_model(gru, of_data)
    for width in (1.0, 0.25, 0.125):
        own = {"embed_dim": size, "word_dim": 300, "text_width": width * min(1.0, scale)}
        settings = make_settings("dual_path_stage1", features="last", lambdas="1:0:0", **own)
        model = models.build_model(settings, of_data)
        encoders = [partial(encode_texts, one, tokens) for one in (model, reader)]
        for encode in encoders:
            encode()
        seconds = take_turns(encoders, 3)
        what = f"captions/s: conv, width {width:g}, beside GRU of {size}"
        found.append(summarise(what, seconds, work=(count, count), unit="captions/s"))
    return found


def encode_texts(model, tokens):
    """Encodes captions as `encode_split` does, one chunk at a time."""
    order, chunk = tokens.order(), model.parts.chunks.text
    for start in range(0, len(order), chunk):
        part = order[start : start + chunk]
        filled = np.concatenate([part, np.full(chunk - len(part), part[0])])
        model.encoders.text(tokens.pad(filled))


def stage_one(scale, threads):
    """An epoch of stage I with the frozen MobileNetV2 in it, beside one on its cached vectors.

    The same model and captions, at 128 pixels and an eighth of the text width; with one caption of
    each image, as published, and with five.
    """
    tf = replicas.import_tensorflow()
    replicas.set_devices(threads=threads)

    images, words = scaled(128, scale, 32), scaled(7000, scale)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (images, SIDE, SIDE, 3)).astype(np.uint8)
    inputs = {"pixels": pictures, "last": np.zeros((images, 1280), np.float32)}
    steps = {features: training_step(features, words, images) for features in inputs}
    lines = []
    for each, bounds in ((1, "ratio >= 5"), (5, "")):
        common = {
            "tokens": rng.integers(1, words + 1, (each * images, 32)).astype(np.int32),
            "image_id": np.repeat(np.arange(images, dtype=np.int32), each),
        }
        common["label"] = common["image_id"]
        epochs = [
            partial(one_epoch, tf, steps[features], image, common, each)
            for features, image in inputs.items()
        ]
        for epoch in epochs:
            epoch()
        what = f"stage I of {images} images, {each} captions: CNN run / cached"
        lines.append(summarise(what, take_turns(epochs, 3), bounds))
    return lines


def training_step(features, words, images):
    """A compiled step of stage I on pixels or vectors: batch dict -> loss."""
    import tensorflow as tf

    import models
    from systems.engine import optimization

    settings = make_settings(
        "dual_path_stage1",
        cnn="MobileNetV2",
        features=features,
        text_width=0.125,
        embed_dim=512,
        word_dim=25,
        image_size=SIDE,
        optimizer="adamw",
    )
    sizes = Facts(1280, words, images)
    model = models.build_model(settings, sizes)
    optimizer = optimization.build_optimizer(settings, 10, model.parts.rates)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=batch, y_pred=model(batch, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step


def one_epoch(tf, step, image, common, each, size=32):
    """All batches of `size` images with `each` captions."""
    for start in range(0, len(image), size):
        rows = slice(each * start, each * (start + size))
        batch = {name: tf.constant(values[rows]) for name, values in common.items()}
        batch["image"] = tf.constant(image[start : start + size])
        here = len(image[start : start + size])
        batch["image_row"] = tf.constant(np.repeat(np.arange(here, dtype=np.int32), each))
        step(batch)


def classifier(scale, threads):
    """A training step of the classifier over all of COCO's images, and what it holds in memory."""
    tf = replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    import models
    from systems.engine import optimization

    images, size = scaled(CLASSES, scale), 2048
    # The paper's sizes but for the text path, which is narrow here: what is measured is W.
    settings = make_settings("dual_path_stage1", features="last", text_width=0.05, word_dim=25)
    sizes = Facts(size, 1000, images)
    model = models.build_model(settings, sizes)
    optimizer = optimization.build_optimizer(settings, 10, model.parts.rates)
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.standard_normal((32, size)).astype(np.float32),
        "tokens": rng.integers(1, 1001, (32, 32)).astype(np.int32),
        "image_id": np.arange(32, dtype=np.int32),
        "label": rng.integers(0, images, 32).astype(np.int32),
    }
    step = partial(
        model.fit, tf.data.Dataset.from_tensors(batch).repeat(), steps_per_epoch=4, verbose=0
    )
    step(shuffle=False)
    seconds = take_turns([partial(step, shuffle=False)], 3) / 4
    matrix = 4e-9 * size * images
    what = f"step with {images:,} classes of {size:,} ({matrix:.2f} GB)"
    return [summarise(what, seconds, peak=peak_memory())]


BENCHES = (text_towers, stage_one, classifier)
