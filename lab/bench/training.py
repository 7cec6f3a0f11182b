"""Benches of training steps: MLPs, a large classifier, published towers, Adam.

Shape letters: B batch, T tokens.
"""

from functools import partial

import numpy as np

from lab.bench.building import build_compiled, compile_model, step_of
from lab.bench.timing import Line, bench, take_lines
from lab.settings import settings_of

TOKENS = 32


@bench(
    "step", "TensorFlow's product ({batch} x {feature}) ({feature} x {hidden}), by rate",
    bounds="ratio >= 0.88", unasked=1, batch=1024, feature=2048, hidden=2048, embed=32,
    few=10_000, many=90_000,
)  # fmt: skip
def train_mlps(at):
    """A step of the published MLPs, batch {batch}, on vectors, words, in bfloat16; their layer."""
    import keras
    import tensorflow as tf

    import losses
    import models
    from systems.engine.parts import Parts
    from systems.projection import towers

    rng = np.random.default_rng(0)
    image, vectors = rng.standard_normal((2, at.batch, at.feature), np.float32)
    left, right = tf.constant(image), tf.Variable(tf.random.normal((at.feature, at.hidden)))
    multiply = tf.function(lambda: tf.matmul(left, right))

    def products():  # four take about as long as a step, so both meet the same noise
        for _ in range(4):
            multiply().numpy()

    # Forward and weight gradients of two layers, input gradient of the second: of two towers.
    gflop = 4e-9 * at.batch * (2 * at.feature * at.hidden + 3 * at.hidden * at.embed)
    work = gflop, 8e-9 * at.batch * at.feature * at.hidden
    for optimizer, words, precision in (
        ("sgd", 0, "float32"), ("adam", 0, "float32"), ("sgd", at.few, "float32"),
        ("sgd", at.many, "float32"), ("sgd", 0, "mixed_bfloat16"),
    ):  # fmt: skip
        keras.mixed_precision.set_global_policy(precision)
        settings = settings_of(
            "--schedule=constant", "--learning_rate=1e-6", optimizer=optimizer,
            weight_decay=5e-4 if optimizer == "sgd" else 0, hidden_dim=at.hidden,
            embed_dim=at.embed,
        )  # fmt: skip
        text = towers.text_projection(settings, words) if words else None
        text = text or towers.image_projection(settings, at.feature)  # reads vectors
        image_tower = towers.image_projection(settings, at.feature)
        model = models.DualEncoder(Parts(image_tower, text), losses.build_loss("modified"))
        ids = rng.integers(1, words, (at.batch, 12)).astype(np.int32) if words else vectors
        batch = {"image": image, "tokens": ids, "image_id": np.arange(at.batch)}
        step = step_of(compile_model(model, settings, 1), batch)
        what = f"step, {optimizer}, text: {f'{words:,} words' if words else 'vectors'}"
        what += ", bfloat16" if precision != "float32" else ""
        bounds = at.bounds if (optimizer, words) == ("sgd", 0) else ""
        line = Line(what, bounds, work=None if words else work)
        yield from take_lines(at, [step, products], line, turns=5 if words else 12)
    keras.mixed_precision.set_global_policy("float32")
    yield from bag_lines(at)


def bag_lines(at):
    """The layer of words by itself, forward and backward, beside a dense layer on counts."""
    import keras
    import tensorflow as tf

    from systems.engine import bag

    drawn = np.random.default_rng(0).integers(1, at.few, (at.batch, 12))
    tokens = tf.constant(drawn, tf.int32)
    counts = tf.math.bincount(tokens, minlength=at.few, maxlength=at.few, axis=-1, dtype=tf.float32)

    @tf.function
    def gradients(layer, inputs):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(layer(inputs, training=True)))
        return tape.gradient(total, layer.trainable_variables)

    bags = [bag.BagOfWords(words, at.hidden) for words in (at.few, at.many)]
    cases = [(bags[0], tokens), (bags[1], tokens), (keras.layers.Dense(at.hidden), counts)]
    for layer, inputs in cases:
        layer.build(inputs.shape)
    what = f"bag of %d words (floor: dense, {at.few})"
    lines = [Line(what % words, "", i, 2) for i, words in enumerate((at.few, at.many))]
    return take_lines(at, [partial(gradients, *case) for case in cases], *lines, turns=5)


@bench("optimiser", "keras.optimizers.Adam", unasked=1, rows=5000)
def step_optimiser(at):
    """Adam's step on 5 x {rows} x 1,000 weights, and with clipping."""
    import keras
    import tensorflow as tf

    from systems.engine import optimization

    gradients = tf.unstack(tf.random.normal((5, at.rows, 1000)))
    for norm in (0.0, 2.0):
        settings = settings_of("--recipe=mh_bl", clip_norm=norm)
        ours = optimization.build_optimizer(settings, 1)
        theirs = keras.optimizers.Adam(settings.learning_rate, clipnorm=norm or None)
        steps = []
        for optimizer in (ours, theirs):
            weights = [keras.Variable(gradient) for gradient in gradients]
            optimizer.build(weights)
            steps.append(tf.function(partial(optimizer.apply, gradients, weights)))
        what = f"Adam, {5 * at.rows * 1000 / 1e6:g} M weights{', clipped' if norm else ''}"
        yield from take_lines(at, steps, Line(f"{what} (floor: Keras)"), turns=10)


@bench("classifier", classes=113_287)
def train_classifier(at):
    """A step with a class for each of COCO's {classes} images, 2,048 numbers each; its memory."""
    # The paper's sizes but for the text path, which is narrow here: what is measured is W.
    settings = settings_of(
        "--recipe=dual_path_stage1", "--features=last", "--text_width=0.05", "--word_dim=25"
    )
    data = {"feature_dim": 2048, "vocabulary_size": 1000, "num_classes": at.classes}
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.standard_normal((32, 2048)).astype(np.float32),
        "tokens": rng.integers(1, 1001, (32, TOKENS)).astype(np.int32),
        "image_id": np.arange(32, dtype=np.int32),
        "label": rng.integers(0, at.classes, 32).astype(np.int32),
    }
    what = f"step with {at.classes:,} classes of 2,048 ({4e-9 * 2048 * at.classes:.2f} GB)"
    step = step_of(build_compiled(settings, **data), batch)
    yield from take_lines(at, [step], Line(what, floor=None), turns=12)


@bench("published_step", bounds="peak <= 6", pieces=(30_521, 64), side=(224, 32), pairs=(16, 4))
def train_published(at):
    """A step of ResNet-34 and DistilBERT, {pairs} pairs, {side} x {side}, all trained; memory."""
    settings = settings_of(
        "--recipe=transformer_scenes", "--features=pixels", "--image_pooling=mean",
        "--embed_dim=128", "--learning_rate=1e-6", "--backbone_rate=1",
        cnn="resnet_34" if at.scale == 1 else "resnet_8",
        text_size="base" if at.scale == 1 else "tiny",
    )  # fmt: skip
    model = build_compiled(settings, feature_dim=0, vocabulary_size=at.pieces)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (at.pairs, at.side, at.side, 3)).astype(np.uint8),
        "tokens": rng.integers(1, at.pieces + 1, (at.pairs, TOKENS)).astype(np.int32),
        "image_id": np.arange(at.pairs, dtype=np.int32),
    }
    millions = model.count_params() / 1e6
    what = f"step of {at.pairs} pairs, {at.side} x {at.side}, {millions:.1f} M weights"
    yield from take_lines(at, [step_of(model, batch)], Line(what, at.bounds, floor=None), turns=3)
