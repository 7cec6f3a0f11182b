"""A loss of one's own is one class: whole, in blocks, in training, in gradient caching."""

from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_settings
from loss_cases import SAME, batch, slopes

import losses
import models
from losses import PairLoss, ops
from settings.training import Facts
from systems.engine import blocks, learned, optimization


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """The class, entered in a table that is this test's."""
    monkeypatch.setattr(losses, "LOSSES", dict(losses.LOSSES))

    @losses.loss("squared_hinge")
    class SquaredHinge(PairLoss):
        """Squared hinges over each anchor's negatives."""

        margin: float = 0.2
        learnable = ("margin",)

        def terms(self, anchors, margin):
            hinges = ops.maximum(margin + anchors.scores - anchors.positive[:, None], 0.0)
            return ops.where(anchors.negative, ops.square(hinges), 0.0)


def loop(relevance, image, text, margin):
    """The sum of squared hinges of images and of texts as anchors."""
    total, size = 0.0, len(image)
    for i in range(size):
        for j in range(size):
            own, other = float(image[i] @ text[i]), float(image[i] @ text[j])
            if i != j and relevance[i][j] < SAME:
                total += max(0.0, margin + other - own) ** 2
            own, other = float(image[i] @ text[i]), float(image[j] @ text[i])
            if i != j and relevance[j][i] < SAME:
                total += max(0.0, margin + other - own) ** 2
    return total


@pytest.mark.parametrize(("reduction", "divisor"), [("sum", 1), ("mean", 98)])
def test_it_equals_its_loop(reduction, divisor):
    made = batch(0)
    loss = losses.build_loss("squared_hinge", SimpleNamespace(margin=0.5, reduction=reduction))
    total, found = slopes(loss, *made)
    assert total == pytest.approx(loop(*made, 0.5) / divisor, rel=3e-6)
    assert all(g.any() for g in found)
    other, _ = slopes(loss, *made, margin=0.3)  # a trained number
    assert other == pytest.approx(loop(*made, 0.3) / divisor, rel=3e-6)


def test_it_is_taken_in_blocks():
    relevance, *rows = batch(0)
    loss = losses.build_loss("squared_hinge")
    whole, expected = slopes(loss, relevance, *rows, margin=0.3)

    def part(cells):
        images, texts = (tf.range(7) if some is None else some for some in cells)
        return tf.gather(tf.gather(tf.constant(relevance, tf.float32), images), texts, axis=1)

    def in_blocks(_, image, text, **numbers):
        return blocks.in_blocks(loss, part, image, text, 3, numbers)

    parts, found = slopes(in_blocks, (), *rows, margin=0.3)
    assert loss.sides and parts == pytest.approx(whole, rel=1e-6)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max())


def trained(micro_batch, steps):
    """Losses of so many steps of a tiny model, and its weights after them."""
    own = {"model": "gru", "embed_dim": 6, "word_dim": 4, "dropout": 0.0, "loss": "squared_hinge"}
    own |= {"schedule": "constant", "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.01}
    own |= {"margin": 0.5, "micro_batch": micro_batch}
    settings = tiny_settings.make(**own)
    keras.utils.set_random_seed(0)
    model = models.build_model(settings, Facts(5, 9))
    model.micro_batch = micro_batch
    model.compile(optimization.build_optimizer(settings, 1), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    read = {
        "image": rng.standard_normal((13, 5)).astype("float32"),
        "tokens": rng.integers(1, 10, (13, 3)).astype("int32"),
        "image_id": np.minimum(np.arange(13), 11).astype("int32"),
        "caption_id": np.arange(13, dtype="int32"),
    }
    read = {key: tf.constant(value) for key, value in read.items()}
    step = partial(model.train_on_batch, read, return_dict=True)
    return [float(step()["loss"]) for _ in range(steps)], [
        np.array(weight) for weight in model.trainable_variables
    ]


def test_it_trains_whole_and_by_gradient_caching():
    seen, weights = trained(0, 8)
    assert seen[-1] < 0.8 * seen[0]
    cached, others = trained(4, 8)
    np.testing.assert_allclose(cached, seen, rtol=1e-5)
    for a, b in zip(others, weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_its_number_can_be_asked_for():
    loss = losses.build_loss("squared_hinge")
    assert learned.choose_learned("margin", loss, "squared_hinge") == {"margin": 0.2}
    assert losses.hyperparameters("squared_hinge") == {"reduction": "sum", "margin": 0.2}
