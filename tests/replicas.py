"""Trains every loss for a few steps under one strategy and saves losses and weights.

Run by test_distribution.py:  python tests/replicas.py STRATEGY DEVICES OUTPUT.npz [RUN ...]
"""

import contextlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import config
import distribution
import options
from data import TrainingBatches, tfidf_rows
from text import Tokens, Vocabulary

WORDS = [f"w{i}" for i in range(20)]
IMAGES, CAPTIONS, BATCH = 35, 67, 16  # the last batch has 3 rows: on four replicas one is empty


def make_batches(settings):
    rng = np.random.default_rng(0)
    caption_image = np.sort(
        np.append(np.arange(IMAGES), rng.integers(0, IMAGES, CAPTIONS - IMAGES))
    )
    captions = [" ".join(rng.choice(WORDS, rng.integers(1, 8))) for _ in caption_image]
    vectors = rng.standard_normal((IMAGES, 12)).astype(np.float32)
    concepts = rng.integers(0, 2, (IMAGES, 5)).astype(np.float32)
    tokens = Tokens(captions, Vocabulary(WORDS, config.tokeniser(settings)))
    if settings.relevance == "tfidf":
        tfidf = tfidf_rows(captions)
        return TrainingBatches(vectors, tokens, caption_image, settings, tfidf=tfidf)
    return TrainingBatches(vectors, tokens, caption_image, settings, concepts)


def train(loss, strategy, **changes):
    """Losses of two epochs of five steps; first gradient, and weights after all ten steps."""
    import keras

    import models
    import optimization

    small = {"hidden_dim": 16, "embed_dim": 8, "dropout": 0.0, "batch_size": BATCH, "loss": loss}
    sgd = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "schedule": "step"}
    defaults = {**config.default_settings(), "captions": "all", "learning_rate": 1e-3}
    settings = config.Settings(**{**defaults, **small, **sgd, **changes})
    keras.utils.set_random_seed(1)
    batches = make_batches(settings)
    with strategy.scope() if strategy else contextlib.nullcontext():
        sizes = {"feature_dim": 12, "vocabulary_size": int(batches.tokens.flat.max())}
        sizes["train_images"] = IMAGES
        model = models.build_model(settings, sizes)
        optimizer = optimization.build_optimizer(settings, batches.steps_per_epoch)
        model.compile(optimizer=optimizer, jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    found = {}

    def keep(step, logs):
        if step == 0 and not found:  # after one step the velocity is the gradient, plus l2 w
            values = [keras.ops.convert_to_numpy(v) for v in first_moments(model.optimizer)]
            found.update({f"gradient/{i}": value for i, value in enumerate(values)})

    history = model.fit(
        batches.dataset(strategy),
        steps_per_epoch=batches.steps_per_epoch,
        epochs=2,
        verbose=0,
        shuffle=False,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=keep)],
    )
    found["loss"] = np.array(history.history["loss"])
    values = [keras.ops.convert_to_numpy(w) for w in model.weights]
    return found | {f"last/{i}": value for i, value in enumerate(values)}


def first_moments(optimizer):
    return optimizer._momentums if hasattr(optimizer, "_momentums") else optimizer.momentums


def main(strategy_name, devices, output, *only):
    distribution.set_devices(int(devices))
    strategy = distribution.make_strategy(strategy_name, int(devices))
    found = {}
    runs = {name: (name, {}) for name in options.LOSSES}
    runs["mix"] = ("modified", {"beta": 0.5})
    # A mean gives the batch of 3 rows full weight, and batch norm over 3 rows magnifies rounding:
    # a larger rate would show that instead of the replicas.
    runs["mean"] = ("modified", {"reduction": "mean", "learning_rate": 0.02})
    runs["tfidf"] = ("modified", {"relevance": "tfidf"})
    # Of all replicas' gradient the first weights' norm is above 0.1, of one replica's share below.
    gru = {"model": "gru", "word_dim": 6, "bag": True, "bidirectional": True, "bucket": 2}
    runs["gru"] = ("max_hinge", {**gru, "clip_norm": 0.1, "similarity": "order", "absolute": True})
    # Without batch norm: Adam would blow up the rounding noise of a bias before it.
    runs["adam"] = (
        "sum_hinge",
        {"model": "gru", "word_dim": 6, "clip_norm": 0.1, "optimizer": "adam", "weight_decay": 0.0},
    )
    for name in only or runs:
        loss, changes = runs[name]
        values = train(loss, strategy, **changes)
        found |= {f"{name}/{key}": value for key, value in values.items()}
    if distribution.is_chief(strategy_name):
        np.savez(output, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
