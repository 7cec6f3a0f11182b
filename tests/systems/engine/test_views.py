"""What the loss compares: raw rows for those that ask for them, and second views of a side."""

from typing import Any

import keras
import numpy as np
import pytest
import reference_contrastive as loops
import tiny_settings
from keras import ops
from reference_ranking import cosine_scores

import models
from settings.training import Facts
from systems.dual_path import text_cnn
from systems.engine import encoding
from systems.engine.layers import UnitNorm, before_norm

SIZES = Facts(4, 5, 5, 5)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """One of the text path's 14 blocks: `test_text_cnn` has them all."""
    monkeypatch.setattr(text_cnn, "STAGES", (text_cnn.STAGES[0]._replace(blocks=1),))


def build(**changes) -> Any:
    own = {"model": "projection", "embed_dim": 3, "hidden_dim": 24, "word_dim": 2, "dropout": 0.0}
    own |= {"loss": "simclr", "reduction": "mean"}
    if changes.get("model") == "dual_path":
        own |= {"features": "last", "text_width": 1 / 64, "pooling": "max", "lambdas": "1:0:0"}
    settings = tiny_settings.make(**{**own, **changes})
    keras.utils.set_random_seed(3)
    return models.build_model(settings, SIZES)


def batch() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((5, 4)).astype("float32"),
        "tokens": rng.integers(1, 6, (5, 3)).astype("int32"),
        "image_id": np.arange(5, dtype="int32"),
    }


def arrays(outputs):
    return {key: ops.convert_to_numpy(value) for key, value in outputs.items()}


def wide(made):
    """A batch with captions of 32 places."""
    return {**made, "tokens": np.pad(made["tokens"], ((0, 0), (0, 29)))}


# ---- Raw rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"model": "gru", "absolute": True, "bag": True}])
def test_barlow_reads_the_rows_before_the_norm(changes):
    raw, unit = build(loss="barlow", **changes), build(**changes)
    rows, ends = arrays(raw(batch())), arrays(unit(batch()))
    for side in ("image", "text"):
        norms = np.linalg.norm(rows[side], axis=1, keepdims=True)
        assert np.abs(norms - 1).min() > 1e-3
        made = rows[side] / norms
        made = np.abs(made) if "absolute" in changes else made
        np.testing.assert_allclose(made, ends[side], atol=1e-6)
    sides = [[(w.name, w.shape) for w in model.weights] for model in (raw, unit)]
    assert sides[0] == sides[1]  # nothing is added to the towers
    # What is made after training is of norm 1, whatever the loss read.
    used = arrays(encoding.encode_rows(raw, batch()["image"], batch()["tokens"]))
    for side in ("image", "text"):
        np.testing.assert_allclose(used[side], ends[side], atol=1e-6)


def test_the_term_is_that_of_the_raw_rows():
    model = build(loss="barlow")
    outputs = model(batch(), training=True)
    rows = arrays(outputs)
    expected = loops.barlow(rows["image"], rows["text"], 0.005)
    got = float(model.compute_loss(x=batch(), y_pred=outputs))
    assert got == pytest.approx(expected, rel=1e-5)
    lengths = [np.linalg.norm(rows[side], axis=1, keepdims=True) for side in ("image", "text")]
    unit = loops.barlow(rows["image"] / lengths[0], rows["text"] / lengths[1], 0.005)
    assert abs(expected - unit) > 1e-2  # unit rows have another correlation


@pytest.mark.parametrize("relu", [True, False])
def test_the_dual_path_has_raw_rows_too(relu):
    made = wide(batch())
    raw = arrays(build(model="dual_path", loss="barlow", compare_relu=relu)(made))
    unit = arrays(build(model="dual_path", compare_relu=relu)(made))
    for side in ("image", "text"):
        norms = np.maximum(np.linalg.norm(raw[side], axis=1, keepdims=True), 1e-4)
        np.testing.assert_allclose(raw[side] / norms, unit[side], atol=1e-5)
        assert (raw[side].min() >= 0) == relu
        assert np.abs(norms - 1).max() > 0.1


def test_a_tower_without_a_norm_stays_and_raw_rows_are_single_precision():
    vectors = keras.Input((4,))
    plain = keras.Sequential([vectors, keras.layers.Dense(3)])
    assert before_norm(plain) is plain
    assert before_norm(keras.Sequential([plain, UnitNorm()])) is not plain
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        rows = build(loss="barlow")(batch())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {keras.backend.standardize_dtype(row.dtype) for row in rows.values()} == {"float32"}


# ---- Two views of a side ------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["simclr", "barlow"])
def test_each_side_is_compared_with_a_second_view_of_itself(loss):
    model = build(loss=loss, dropout=0.5, views_weight=0.25, temperature=0.5)
    made = {**batch(), "image_id": np.array([0, 1, 2, 1, 3], np.int32)}
    outputs = model(made, training=True)
    rows = arrays(outputs)
    terms = {}
    for name, one, other in (
        ("image_text", "image", "text"),
        ("image_views", "image", "image_view"),
        ("text_views", "text", "text_view"),
    ):
        if name != "image_text":
            assert np.abs(rows[one] - rows[other]).max() > 0.01  # another dropout
        positive = made["image_id"][:, None] == made["image_id"]
        scores = cosine_scores(rows[one], rows[other])
        terms[name] = loops.simclr(scores, positive, 0.5)[0] / 5
        if loss == "barlow":
            terms[name] = loops.barlow(rows[one], rows[other], 0.005)
    expected = terms["image_text"] + 0.25 * (terms["image_views"] + terms["text_views"])
    assert float(model.compute_loss(x=made, y_pred=outputs)) == pytest.approx(expected, rel=1e-5)
    shown = {name: float(tracker.result()) for name, tracker in model.trackers.items()}
    assert shown == {name: pytest.approx(value, rel=1e-5) for name, value in terms.items()}


def test_views_of_the_batch_are_read_where_it_brings_some():
    plain = build()
    model = models.DualEncoder(plain.parts, plain.pair_loss, views_weight=1.0)
    made = batch()
    plain = arrays(model(made))
    np.testing.assert_array_equal(plain["image"], plain["image_view"])
    again = {"image_view": made["image"][::-1], "tokens_view": made["tokens"][::-1]}
    moved = arrays(model({**made, **again}))
    for side in ("image", "text"):
        np.testing.assert_allclose(moved[f"{side}_view"], plain[side][::-1], atol=1e-6)
    # Read once for all its captions, also in its second view.
    row = np.array([1, 0, 0, 2, 1])
    shared = {**made, "image": made["image"][:3], "image_row": row}
    rows = arrays(model({**shared, "image_view": made["image"][2:]}))
    np.testing.assert_allclose(rows["image_view"], plain["image"][2:][row], atol=1e-6)
    assert tiny_settings.make(views_weight=1.0).drawn_views == ()
    dual = {"model": "dual_path", "features": "pixels", "views_weight": 1.0}
    assert tiny_settings.make(**dual).drawn_views == ("image", "text")
    still = {"mirror": False, "crop_area": 1.0}
    assert tiny_settings.make(**dual, **still).drawn_views == ("text",)
    assert tiny_settings.make(**{**dual, "views_weight": 0.0}).drawn_views == ()


def test_the_dual_path_compares_views_beside_its_own_terms():
    model = build(
        model="dual_path", image_dropout=0.4, views_weight=0.5, lambdas="0:1:1", temperature=0.5
    )
    made = wide(batch())
    made |= {"label": made["image_id"], "tokens_view": np.roll(made["tokens"], 3, axis=1)}
    outputs = model(made, training=True)
    total = float(model.compute_loss(x=made, y_pred=outputs))
    shown = {name: float(tracker.result()) for name, tracker in model.trackers.items()}
    rows = arrays(outputs)
    for side in ("image", "text"):
        scores = cosine_scores(rows[side], rows[f"{side}_view"])
        expected = loops.simclr(scores, np.eye(5), 0.5)[0] / 5
        assert shown[f"{side}_views"] == pytest.approx(expected, rel=1e-4)
    parts = {"visual": 1.0, "textual": 1.0, "image_views": 0.5, "text_views": 0.5}
    assert total == pytest.approx(sum(w * shown[name] for name, w in parts.items()), rel=1e-5)
    assert "ranking" not in shown


def test_sides_without_anything_random_are_refused():
    for changes, side in (
        ({}, "image"),
        ({"image_dropout": 0.1}, "text"),
        ({"model": "gru", "dropout": 0.5}, "image"),
        ({"model": "dual_path"}, "image"),
    ):
        with pytest.raises(ValueError, match=f"nothing on the {side} side of this model"):
            build(**changes, views_weight=0.5)
    for changes in (
        {"image_dropout": 0.1, "word_dropout": 0.1},
        {"model": "gru", "image_dropout": 0.1, "embedding_dropout": 0.1},
        {"model": "dual_path", "image_dropout": 0.1},
    ):
        assert build(**changes, views_weight=0.5).views_weight == 0.5
