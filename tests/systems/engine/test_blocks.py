"""A loss by blocks of anchors is that of the whole batch, and never holds a B x B matrix."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from loss_cases import CASES, WITHOUT, build

import losses
from systems.engine import blocks

KINDS = [(name, changes) for name, changes in CASES if name != "barlow"]
TRAINED = {"margin": 0.7, "temperature": 0.3, "bias": -2.0}


def unit_rows(number, seed):
    rows = np.random.default_rng(seed).standard_normal((number, 5))
    return tf.constant((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))


def relevance_of(number):
    rng = np.random.default_rng(3)
    concepts = rng.integers(0, 2, (number, 3)).astype(np.float32)
    ids = tf.constant(rng.integers(0, number - 3, number).astype(np.int32))
    other = tf.where(tf.range(number) % 5 == 4, tf.roll(ids, 1, 0), ids)  # exchanged texts

    def make(cells=(None, None)):
        return losses.relevance_matrix(ids, concepts, text_id=other, cells=cells)

    return make


@pytest.mark.parametrize(("name", "changes"), KINDS)
@pytest.mark.parametrize(("size", "reduction"), [(5, "sum"), (99, "mean")])
def test_blocks_are_the_whole(name, changes, size, reduction):
    loss = build(name, **changes, reduction=reduction)
    image, text, relevance = unit_rows(13, 0), unit_rows(13, 1), relevance_of(13)
    can = {key: tf.constant(TRAINED[key]) for key in loss.learnable}
    for numbers in (can, {}) if can else ({},):
        with tf.GradientTape(persistent=True) as tape:
            sources = [image, text, *numbers.values()]
            tape.watch(sources)
            whole = 3.0 * loss(relevance(), image, text, **numbers)
            parts = 3.0 * blocks.in_blocks(loss, relevance, image, text, size, numbers)
        assert float(whole) != 0
        assert float(parts) == pytest.approx(float(whole), rel=1e-5)
        pairs = [tape.gradient(value, sources) for value in (whole, parts)]
        for a, b in zip(*pairs, strict=True):
            assert float(tf.reduce_max(tf.abs(a))) > 0
            np.testing.assert_allclose(b, a, atol=1e-5 * float(tf.reduce_max(tf.abs(a))))


@pytest.mark.parametrize("name", [name for name in losses.LOSSES if name not in WITHOUT])
@pytest.mark.parametrize("size", [1, 2])
def test_without_a_negative_there_is_nothing(name, size):
    loss, one = build(name, reduction="mean"), unit_rows(2, 0)[:size]
    same = partial(losses.relevance_matrix, tf.zeros(size, tf.int32))
    parts = blocks.in_blocks(loss, same, one, one[::-1], 1)
    assert float(parts) == float(loss(same(), one, one[::-1])) == 0


@pytest.mark.parametrize(("similarity", "most"), [("cosine", 4), ("order", 1)])
def test_no_more_than_a_block_is_made_at_once(similarity, most, monkeypatch):
    loss = build("max_hinge", similarity=similarity)
    seen, terms = [], loss.terms
    monkeypatch.setattr(loss, "terms", lambda one, **given: seen.append(one) or terms(one, **given))
    blocks.in_blocks(loss, relevance_of(13), unit_rows(13, 0), unit_rows(13, 1), 4)
    shapes = {tuple(matrix.shape) for one in seen for matrix in (one.scores, one.relevance)}
    assert {shape[1] for shape in shapes} == {13} and max(shapes)[0] == most
    own = np.concatenate([one.own for one in seen])
    np.testing.assert_array_equal(own, np.tile(np.arange(13), 2))  # every anchor, of both sides


def test_every_loss_but_one_takes_part():
    able = {name for name in losses.LOSSES if losses.build_loss(name).sides}
    assert able == set(losses.LOSSES) - {"barlow"}
