"""Every loss on random rows, and a training of each kind, on one device and on replicas.

Run by test_replicas.py:  python tests/replicas.py one|two|four|workers FOLDER
"""

import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tiny_settings

from data.language import word_pieces
from data.language.words import Tokens, Vocabulary
from run.replicas import (
    distribute,
    import_tensorflow,
    make_strategy,
    replicas_here,
    set_devices,
)
from run.tf_config import worker_index
from settings.training import Facts
from systems import config
from systems.system import Targets
from training.batches import TrainingBatches
from training.relevance import tfidf_rows

WORDS = [f"w{i}" for i in range(20)]
ROW, ROWS = 6, (13, 4)  # of 13 pairs some replicas get more than others
IMAGES, CAPTIONS, BATCH = 19, 35, 16  # batches of 16 and 19 captions, or of 9 and 10 images
PHRASES = 6
# Of devices in one process two show it for all but hard texts, which are chosen from each share.
# GradNorm is tried on workers, whose sums over replicas are the same calls.
NOT_ON_TWO = ("gradnorm",)
ON_FOUR = ("paired_hinge",)
ON_WORKERS = ("tfidf", "cached", "paired_hinge", "gradnorm")
EAGER = ("barlow", "gru", "views", "joint", "transformer")  # on two devices; others have a graph
# On four devices and on workers: sums and means, whole columns, distances, each kind of relevance.
FEW_LOSSES = ("modified", "mean modified", "mean cross_entropy", "barlow", "order", "similarity")


class Pictures:
    """Stands in for `pixels.Pictures`: 19 of them, mirrored at random."""

    def __init__(self, rng):
        # In squares: of noise all pictures look alike, and unlike by the rounding of 32 bits only.
        squares = rng.integers(0, 256, (IMAGES, 4, 4, 3)).astype(np.uint8)
        self.pixels = squares.repeat(8, axis=1).repeat(8, axis=2)

    def windows(self, images, rng):
        return np.zeros((len(images), 4), np.float32), rng.random(len(images)) < 0.5

    def read(self, images, windows, mirrored):
        import tensorflow as tf

        found = tf.gather(self.pixels, images)
        return tf.where(mirrored[:, None, None, None], tf.reverse(found, [2]), found)


def make_batches(settings):
    rng = np.random.default_rng(0)
    caption_image = np.sort(
        np.append(np.arange(IMAGES), rng.integers(0, IMAGES, CAPTIONS - IMAGES))
    )
    captions = [" ".join(rng.choice(WORDS, rng.integers(1, 8))) for _ in caption_image]
    vectors = rng.standard_normal((IMAGES, 12)).astype(np.float32)
    concepts = rng.integers(0, 2, (IMAGES, 5)).astype(np.float32)
    words = [*word_pieces.SPECIAL[1:], *WORDS] if settings.model == "transformer" else WORDS
    tokens = Tokens(captions, Vocabulary(words, config.sheet(settings.model).tokeniser(settings)))
    images = Pictures(rng) if settings.features == "pixels" else vectors
    if settings.model == "dual_path":
        classes: Any = np.arange(IMAGES, dtype=np.int32)
        if settings.classes == "phrases":  # of which an image has shares, or none
            shares = rng.random((IMAGES, PHRASES)) * (rng.random((IMAGES, PHRASES)) < 0.4)
            shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
            classes = scipy.sparse.csr_matrix(shares.astype(np.float32))
        return TrainingBatches(
            images,
            tokens,
            caption_image,
            settings,
            targets=Targets(classes, candidates=settings.hard_texts),
        )
    if settings.model == "joint":  # images of one to four boxes
        boxes = rng.standard_normal((IMAGES, 4, 12)).astype(np.float32)
        boxes[np.arange(4) > rng.integers(4, size=(IMAGES, 1))] = 0
        return TrainingBatches(boxes, tokens, caption_image, settings)
    if settings.model == "transformer":
        return TrainingBatches(images, tokens, caption_image, settings)
    if settings.relevance == "tfidf":
        tfidf = tfidf_rows(captions)
        return TrainingBatches(vectors, tokens, caption_image, settings, tfidf=tfidf)
    return TrainingBatches(vectors, tokens, caption_image, settings, concepts)


def rows_of(strategy, number):
    """The batch of so many pairs as this process' replicas get it, one after the other."""
    rng = np.random.default_rng(number)
    rows = rng.standard_normal((2, number, ROW)).astype(np.float32)
    rows[1] -= rows[0]  # pairs that are far apart, so that no hinge rests
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    alike = rng.random((number, number)) * (rng.random((number, number)) < 0.3)
    batch = {
        "image": rows[0],
        "text": rows[1],
        "image_id": np.append(rng.integers(0, number, number - 1), number).astype(np.int32),
        "concepts": rng.integers(0, 2, (number, 5)).astype(np.float32),
        "similarity": alike.astype(np.float32),
    }
    first, here, replicas = replicas_here(strategy)
    for part in np.array_split(np.arange(number), replicas)[first : first + here]:
        yield {key: value[part] for key, value in batch.items()}


def every_loss(strategy, chosen=()):
    """A model whose terms are losses, all or the chosen, each of its own columns of the rows."""
    import keras
    from keras import ops

    import losses
    from models import DualEncoder, relevance_of
    from systems.engine.layers import UnitNorm
    from systems.engine.parts import Parts

    kinds = {name: losses.build_loss(name) for name in losses.LOSSES}
    for name in ("modified", "cross_entropy"):
        kinds[f"mean {name}"] = losses.LOSSES[name](reduction="mean")
    kinds["order"] = losses.LOSSES["sum_hinge"](similarity="order")
    kinds["similarity"] = losses.build_loss("assignment")
    kinds = {name: kinds[name] for name in chosen or kinds}

    class EveryLoss(DualEncoder):
        names = tuple(kinds)

        def loss_terms(self, batch, outputs):
            image, text = (ops.split(outputs[s], len(kinds), axis=1) for s in ("image", "text"))
            found = {}
            for place, (name, loss) in enumerate(kinds.items()):
                self.pair_loss = loss
                left_out = "concepts" if name == "similarity" else "similarity"
                read = {key: value for key, value in batch.items() if key != left_out}
                found[name] = self.pair_term(relevance_of(self, read), image[place], text[place])
            return found

    numbers = keras.Input((ROW,))
    tower = keras.Model(numbers, UnitNorm()(numbers))  # is not asked
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = EveryLoss(Parts(tower, tower), losses.build_loss("modified"))
        model.term_weights = dict.fromkeys(kinds, 1.0)
    model.trackers = dict.fromkeys(kinds, SimpleNamespace(update_state=lambda *_, **__: None))
    return model


def try_losses(strategy, chosen=()):
    """Value of every loss or the chosen ones, and its gradient by random rows, of 13 and 4 pairs.

    All by one gather and without a graph, which would take longer than a training: of a loss
    replicas know no more than that they gather rows and that each adds its share.
    """
    import tensorflow as tf

    model = every_loss(strategy, chosen)
    copies = len(model.names)

    def share(batch):
        rows = {side: tf.tile(batch.pop(side), (1, copies)) for side in ("image", "text")}
        with tf.GradientTape() as tape:
            tape.watch(rows)
            values = model.shares(batch, rows)
            total: Any = sum(values.values())
        slopes = tape.gradient(total, [rows["image"], rows["text"]])
        return tf.stack([values[name] for name in model.names]), tf.stack(slopes, axis=1)

    def dataset():
        def parts():
            for number in ROWS:
                yield from rows_of(strategy, number)

        shapes = {"image": (None, ROW), "text": (None, ROW), "concepts": (None, 5)}
        shapes |= {"similarity": (None, None), "image_id": (None,)}
        signature = {
            key: tf.TensorSpec(shape, tf.int32 if key == "image_id" else tf.float32)
            for key, shape in shapes.items()
        }
        return tf.data.Dataset.from_generator(parts, output_signature=signature)

    batches, found = iter(distribute(strategy, dataset)), {}
    for number in ROWS:
        batch = next(batches)
        values, slopes = strategy.run(share, args=(batch,)) if strategy else share(batch)
        if strategy:
            values = strategy.reduce("SUM", values, axis=None)
            slopes = strategy.gather(slopes, axis=0)
        parts = np.split(np.array(slopes), copies, axis=2)  # each (B, 2, ROW)
        for name, value, part in zip(model.names, np.array(values), parts, strict=True):
            found |= {f"{name}, {number} rows/loss": value, f"{name}, {number} rows/0": part}
    return found


def small_network(x):
    """In place of the image network: with a batch norm, too, but of few operations to trace."""
    import keras

    from systems.engine.convolution import norm

    x = keras.layers.Conv2D(8, 8, 8, use_bias=False, name="small_1")(x)
    return keras.layers.ReLU()(norm("small_1_norm")(x))


def train(loss, strategy, eager=False, **changes):
    """Losses of an epoch of two steps; first gradient, and weights after both steps."""
    import keras

    import models
    from systems.dual_path import text_cnn
    from systems.engine import optimization, small_cnn

    text_cnn.STAGES = (text_cnn.STAGES[0]._replace(blocks=1),)  # the other blocks are alike
    small_cnn.small_network = small_network
    small = {"hidden_dim": 16, "embed_dim": 8, "dropout": 0.0, "batch_size": BATCH, "loss": loss}
    sgd = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "schedule": "step"}
    defaults: dict[str, Any] = {"captions": "all", "learning_rate": 1e-3}
    defaults["precision"] = "float64"  # batch norm over few rows magnifies the rounding of 32 bits
    settings = tiny_settings.make(**{**defaults, **small, **sgd, **changes})
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_global_policy(settings.precision)
    batches = make_batches(settings)
    with strategy.scope() if strategy else contextlib.nullcontext():
        classes = PHRASES if getattr(settings, "classes", "") == "phrases" else IMAGES
        facts = Facts(12, int(batches.tokens.flat.max()), IMAGES, classes)
        model = models.build_model(settings, facts)
        rates = model.parts.rates
        optimizer = optimization.build_optimizer(settings, batches.steps_per_epoch, rates)
        model.compile(optimizer=optimizer, jit_compile=False, run_eagerly=eager)
        model.optimizer.build(model.trainable_variables)
    found = {}

    def keep(step, logs):
        if step == 0:  # after one step the velocity is the gradient, plus l2 w
            values = [keras.ops.convert_to_numpy(v) for v in first_moments(model.optimizer)]
            found.update({f"gradient/{i}": value for i, value in enumerate(values)})

    history = model.fit(
        batches.dataset(strategy),
        steps_per_epoch=batches.steps_per_epoch,
        verbose=0,
        shuffle=False,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=keep)],
    )
    # Of the dual path its terms and errors, too, which each replica adds up for its own rows.
    several = settings.model in ("dual_path", "joint")
    names = sorted(history.history) if several else ["loss"]
    found["loss"] = np.array([history.history[name][0] for name in names])
    values = [keras.ops.convert_to_numpy(w) for w in model.weights]
    return found | {f"last/{i}": value for i, value in enumerate(values)}


def first_moments(optimizer):
    return optimizer._momentums if hasattr(optimizer, "_momentums") else optimizer.momentums


def trainings():
    """name -> (loss, settings that differ): of each kind one."""
    # Statistics of the whole batch; rows before their norm.
    means = {"relevance": "tfidf", "beta": 0.5, "reduction": "mean", "learning_rate": 0.02}
    runs: dict[str, tuple] = {"tfidf": ("modified", means), "barlow": ("barlow", {})}
    # Clipped by the norm of all replicas' gradient, not by that of one's share.
    gru = {"model": "gru", "word_dim": 6, "bag": True, "bidirectional": True, "bucket": 2}
    runs["gru"] = ("max_hinge", {**gru, "clip_norm": 0.1, "similarity": "order", "absolute": True})
    # Shares of 8 to 10 rows in parts of 4 or 5; the loss in blocks, and a number of it trained.
    # Without batch norm: Adam would blow up the rounding of a bias before it, whose gradient is 0.
    adam = {"clip_norm": 0.1, "optimizer": "adam", "weight_decay": 0.0}
    parts = {"micro_batch": 5, "beta": 0.5, "learn": "temperature", "reduction": "mean"}
    runs["cached"] = ("simclr", {"model": "gru", "word_dim": 6, **adam, **parts})
    # Replicas draw the masks of one device for other rows: this one only has to run.
    drops = {"dropout": 0.3, "word_dropout": 0.2, "micro_batch": 5}
    runs["drops"] = ("max_hinge", {"model": "gru", "word_dim": 6, **drops})
    # System 3. Pictures are read once for all their captions. Hard texts are chosen from shares of
    # 2, 2, 1 and 1 captions.
    dual = {"model": "dual_path", "features": "pixels", "cnn": "small", "image_size": 32}
    dual |= {"captions": "together", "margin": 1.0, "reduction": "mean"}
    dual |= {"word_dim": 6, "text_width": 1 / 16, "pooling": "max", "classifier_bias": True}
    runs["paired_hinge"] = ("paired_hinge", {**dual, "hard_texts": 6, "backbone_rate": 1.0})
    # Two crops and two places are compared, so that no dropout is needed.
    views = {"classes": "phrases", "image_pooling": "places", "views_weight": 0.5}
    runs["views"] = ("cross_entropy", {**dual, **views, "temperature": 0.5})
    # System 4, and a loss with numbers of its own.
    smooth = {"model": "transformer", "features": "pixels", "cnn": "small", "image_size": 32}
    smooth |= {"text_size": "1,2,16,32", "captions": "together", "reduction": "mean"}
    runs["transformer"] = ("sigmoid", {**smooth, "backbone_rate": 0.5})
    # System 5: words are counted over all replicas, and gradients' norms are the whole batch's.
    joint = {"model": "joint", "word_dim": 6, "attention_dim": 5, "margin": 0.2, "clip_value": 1.0}
    joint |= {"captions": "together", "reduction": "mean"}
    runs["joint"] = ("max_triplet", joint)
    runs["gradnorm"] = ("max_triplet", {**joint, "captions": "all", "balance": "gradnorm"})
    return runs


def save(path, strategy, names, eager=(), chosen=()):
    """Losses and the trainings `names` under a strategy; `eager` ones without a graph."""
    found = try_losses(strategy, chosen)
    for name in names:
        loss, changes = trainings()[name]
        values = train(loss, strategy, name in eager, **changes)
        found |= {f"{name}/{key}": value for key, value in values.items()}
    np.savez(path, **found)


def main(way, folder):
    """Saves what a way of training comes to: `one` (the reference), `two`, `four` or `workers`."""
    every, folder = list(trainings()), Path(folder)
    import_tensorflow().config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if way == "workers":
        strategy = make_strategy("multi_worker")
        save(folder / f"worker{worker_index()}.npz", strategy, ON_WORKERS, chosen=FEW_LOSSES)
        return
    set_devices(4 if way == "four" else 2)
    if way == "one":  # without a graph, which gradnorm alone needs
        every.remove("drops")  # has no equal
        save(folder / "one.npz", None, every, eager=set(every) - {"gradnorm"})
    if way == "two":
        names = [name for name in every if name not in NOT_ON_TWO]
        save(folder / "two.npz", make_strategy("mirrored", 2), names, eager=EAGER)
    if way == "four":
        strategy = make_strategy("mirrored", 4)
        save(folder / "four.npz", strategy, ON_FOUR, eager=ON_FOUR, chosen=FEW_LOSSES)


if __name__ == "__main__":
    main(*sys.argv[1:])
