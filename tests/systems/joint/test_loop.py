"""The loop over words: values and gradients are those of steps one after the other."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from systems.joint import loop

T, B, H, R = 5, 3, 4, 2
ZERO = tf.UnconnectedGradients.ZERO


def step(states, x, multiply, others):
    """A state that is changed by a shared weight, a weight of each row, and a shift."""
    h, total = states
    (shift,) = others
    h = tf.tanh(x + multiply("shared", h) + shift)
    seen = multiply("own", h[:, :R])
    return (h, total + seen), h * seen


def one_by_one(inputs, h, total, shared, own, shift):
    """The same in plain steps."""
    found = []
    for x in tf.unstack(inputs):
        h = tf.tanh(x + h @ shared + shift)
        seen = tf.einsum("bi,bij->bj", h[:, :R], own)
        total = total + seen
        found.append(h * seen)
    return tf.stack(found)


def draw():
    shapes = (T, B, H), (B, H), (B, H), (H, H), (B, R, H), (H,)
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=shape), tf.float64) for shape in shapes]


def looped(inputs, h, total, shared, own, shift):
    return loop.over_words(step, (h, total), inputs, {"shared": shared, "own": own}, (shift,))


def gradients(function, given, times) -> tuple[Any, Any]:
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        rows = function(*given)
        losses = [tf.reduce_sum(tf.sin(rows * (k + 1))) for k in range(times)]
    return rows, [tape.gradient(loss, given, unconnected_gradients=ZERO) for loss in losses]


@pytest.mark.parametrize("graph", [False, True])
def test_values_and_gradients_are_those_of_single_steps(graph):
    """Also of a second loss of the same rows, as GradNorm asks for."""
    given = draw()
    asked: Any = tf.function(gradients) if graph else gradients
    rows, found = asked(looped, given, 2)
    expected, wanted = gradients(one_by_one, given, 2)
    np.testing.assert_allclose(np.array(rows), np.array(expected), rtol=1e-12)
    for one, other in zip(found, wanted, strict=True):
        for gradient, right in zip(one, other, strict=True):
            np.testing.assert_allclose(gradient, right, rtol=1e-9, atol=1e-12)
    assert np.abs(found[0][3]).min() > 0 and np.abs(found[0][2]).max() == 0  # `total` is not told
