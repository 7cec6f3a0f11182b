"""Trains every loss for a few steps under one strategy and saves losses and weights.

Run by test_distribution.py:  python tests/replicas.py STRATEGY DEVICES OUTPUT.npz
"""

import contextlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import config
import distribution
from data import TrainingBatches
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
    tokens = Tokens(captions, Vocabulary(WORDS))
    return TrainingBatches(vectors, tokens, caption_image, settings, concepts)


def train(loss, strategy, **changes):
    """Losses of two epochs of five steps; the weights after the first step and after all ten."""
    import keras

    import models

    small = {"hidden_dim": 16, "embed_dim": 8, "dropout": 0.0, "batch_size": BATCH, "loss": loss}
    defaults = config.default_settings()
    settings = config.Settings(**{**defaults, **small, "captions": "all", **changes})
    keras.utils.set_random_seed(1)
    batches = make_batches(settings)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = models.build_model(settings, {"feature_dim": 12, "vocabulary_size": len(WORDS)})
        model.compile(optimizer=keras.optimizers.SGD(1e-3, momentum=0.9), jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    found = {}

    def keep(step, logs):
        if step == 0 and not found:  # one step of SGD: the weights hold the gradient
            values = [keras.ops.convert_to_numpy(w) for w in model.weights]
            found.update({f"first/{i}": value for i, value in enumerate(values)})

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


def main(strategy_name, devices, output):
    distribution.set_devices(int(devices))
    strategy = distribution.make_strategy(strategy_name, int(devices))
    found = {}
    for loss, beta in [*((name, 0.0) for name in config.LOSSES), ("modified", 0.5)]:
        values = train(loss, strategy, beta=beta)
        found |= {f"{loss} {beta}/{key}": value for key, value in values.items()}
    if distribution.is_chief(strategy_name):
        np.savez(output, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
