"""A loss by blocks of anchors is that of the whole batch, and never holds a B x B matrix."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import losses
from systems.engine import blocks

KINDS = [
    ("modified", {}),
    ("assignment", {"reduction": "mean"}),
    ("random_triplet", {}),
    ("hardest_triplet", {"squared": False}),
    ("soft_weight_triplet", {"reduction": "mean"}),
    ("soft_margin_triplet", {}),
    ("sum_hinge", {"similarity": "order"}),
    ("max_hinge", {"literal": True}),
    ("max_hinge", {"reduction": "mean"}),
    ("cross_entropy", {"reduction": "sum"}),
    ("cross_entropy", {"similarity": "order", "reduction": "mean", "temperature": 0.2}),
    ("paired_hinge", {"reduction": "mean"}),
    ("sum_triplet", {"reduction": "mean"}),
    ("max_triplet", {"literal": True}),
    ("mean_triplet", {"reduction": "mean", "similarity": "order"}),
    ("mean_triplet", {"reduction": "sum"}),
    ("simclr", {"reduction": "mean", "temperature": 0.2}),
    ("simclr", {"include_positive": True, "reduction": "sum"}),
    ("sigmoid", {"reduction": "mean", "bias": -3.0}),
]
WITHOUT = ("modified", "assignment", "sigmoid", "barlow")  # have a value without a negative
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


@pytest.mark.parametrize(("name", "options"), KINDS)
@pytest.mark.parametrize("size", [5, 99])
def test_blocks_are_the_whole(name, options, size):
    loss = losses.build_loss(name, **options)
    image, text, relevance = unit_rows(13, 0), unit_rows(13, 1), relevance_of(13)
    can = {key: tf.constant(TRAINED[key]) for key in getattr(loss, "learnable", ())}
    for numbers in (can, {}) if can else ({},):
        with tf.GradientTape(persistent=True) as tape:
            sources = [image, text, *numbers.values()]
            tape.watch(sources)
            whole = 3.0 * loss(relevance(), {"image": image, "text": text, **numbers})
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
    loss, one = losses.build_loss(name, reduction="mean"), unit_rows(2, 0)[:size]
    same = partial(losses.relevance_matrix, tf.zeros(size, tf.int32))
    parts = blocks.in_blocks(loss, same, one, one[::-1], 1)
    assert float(parts) == float(loss(same(), {"image": one, "text": one[::-1]})) == 0


@pytest.mark.parametrize(("similarity", "most"), [("cosine", 4), ("order", 1)])
def test_no_more_than_a_block_is_made_at_once(similarity, most, monkeypatch):
    loss = losses.build_loss("max_hinge", similarity=similarity)
    shapes, measured = [], loss.anchor_terms
    monkeypatch.setattr(
        loss, "anchor_terms", lambda *given: shapes.append(given) or measured(*given)
    )
    blocks.in_blocks(loss, relevance_of(13), unit_rows(13, 0), unit_rows(13, 1), 4)
    assert {matrix.shape[1] for given in shapes for matrix in given[:2]} == {13}
    assert max(matrix.shape[0] for given in shapes for matrix in given[:2]) == most
    own = np.concatenate([given[2] for given in shapes])
    np.testing.assert_array_equal(own, np.tile(np.arange(13), 2))  # every anchor, of both sides


def test_cells_of_the_relevance_are_rows_and_columns_of_it():
    rng = np.random.default_rng(0)
    rows, columns = np.array([4, 0]), np.array([1, 2, 4])
    ids, concepts = rng.integers(0, 3, 6), rng.integers(0, 2, (6, 4)).astype(np.float32)
    alike = rng.random((6, 6)).astype(np.float32)
    kinds: list[dict[str, Any]] = [{}, {"concepts": concepts}, {"similarity": alike}]
    for given in kinds:
        whole = np.array(losses.relevance_matrix(ids, **given))
        for cells in ((rows, columns), (rows, None), (None, columns)):
            part = np.array(losses.relevance_matrix(ids, **given, cells=cells))
            wanted = whole[rows] if cells[0] is not None else whole
            wanted = wanted[:, columns] if cells[1] is not None else wanted
            np.testing.assert_allclose(part, wanted, atol=1e-7)


def test_every_loss_but_one_takes_part():
    able = {name for name in losses.LOSSES if blocks.can_block(losses.build_loss(name))}
    assert able == set(losses.LOSSES) - {"barlow"} == {name for name, _ in KINDS}
