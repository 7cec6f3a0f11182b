"""Towers and the dual encoder: shapes, parameter counts, and what they are equal to."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import reference
import reference_ranking
import tiny_settings
from conftest import ROOT
from keras import ops

import models
from data.language.words import Tokens, Vocabulary
from settings.training import Facts
from systems import SYSTEMS
from systems.engine import bag, encoding, layers, optimization
from systems.engine.parts import Sides

# {model: parameters, moving statistics included} for F = 7, V = 11, H = 5, D = 3, N = 6
PARAMETERS = {
    # image: 7*5+5, BN 4*5, 5*3+3 = 78; text: 11*5+5, BN 4*5, 5*3+3 = 98
    "projection": 78 + 98,
    # image: 7*3; words of 300: 12 rows; GRU: 9 columns of 300 + 3 + 1
    "gru": 7 * 3 + 12 * 300 + 9 * 304,
    # image: 7*5, BN 4*5, 5*3, BN 4*3 = 82; classifier: 3*6; text, channels 1/64 of the published:
    # words 11*300 + 300, BN 4*300 = 4,800; [in, middle, out] and its norms 4 (2 m + o), projected
    # i o + 4 o more: 2.1 [300 2 4] 1,864, 2.2-3 each [4 1 4] 34, 3.1 [4 8 8] 384, 3.2-4 each
    # [8 2 8] 88, 4.1 [8 16 16] 1,280, 4.2-6 each [16 4 16] 256, 5.1 [16 32 32] 4,608 = 9,748;
    # head 32*3, BN 4*3 = 108
    "dual_path": 82 + 18 + 4800 + 9748 + 108,
    # image: 7*3+3; text, width 128: 12 rows of words, 512 of positions, norm 2*128 = 67,328; each
    # of 2 layers: attention 4*(128*128+128), 128*512+512, 512*128+128, two norms of 2*128 =
    # 198,272; head 128*3+3
    "transformer": 24 + 67328 + 2 * 198272 + 387,
    # A = 4; ids 13. image: boxes 7*3+3, weights 3+1 = 28; text: words 13*300, LSTM 4 gates of
    # 300 + 3 + 1 columns, 3 units each = 3,900 + 3,648; writer: starts 3*20+20, attention LSTM
    # (5+3+3)*20 + 5*20 + 20, attention 3*4 + 5*4 + 4 + 1, generation LSTM (5+3)*20 + 5*20 + 20,
    # output 5*13+13 = 80 + 340 + 37 + 280 + 78
    "joint": 28 + 3900 + 3648 + 815,
}


def settings(**changes):
    small = {"hidden_dim": 5, "embed_dim": 3, "dropout": 0.0}
    if changes.get("model") == "dual_path":
        small |= {"features": "last", "pooling": "max", "text_width": 1 / 64}
    if changes.get("model") == "transformer":
        small |= {"text_size": "tiny"}
    if changes.get("model") == "joint":
        small |= {"attention_dim": 4}
    return tiny_settings.make(**{**small, **changes})


def build(**changes):
    keras.utils.set_random_seed(0)
    sizes = Facts(7, 11, 6, 6)
    return models.build_model(settings(**changes), sizes)


def random_batch(rows=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.standard_normal((rows, 7)).astype("float32"),
        "tokens": rng.integers(0, 12, (rows, 6)).astype("int32"),
        "image_id": np.arange(rows, dtype="int32"),
        "caption_id": np.arange(rows, dtype="int32"),
    }


def test_every_model_has_its_parameter_count():
    assert set(PARAMETERS) == set(SYSTEMS)
    for name, count in PARAMETERS.items():
        assert build(model=name).count_params() == count


def test_the_published_size_has_the_published_parameters():
    published = settings(hidden_dim=2048, embed_dim=32, standardize=False)
    model = models.build_model(published, Facts(2048, 1000))
    per_head = 4 * 2048 + 2048 * 32 + 32
    expected = (2048 * 2048 + 2048 + per_head) + (1000 * 2048 + 2048 + per_head)
    assert model.count_params() == expected


def test_the_published_size_of_system_5():
    sizes = {"embed_dim": 1024, "hidden_dim": 1000, "attention_dim": 512, "word_dim": 300}
    published = settings(model="joint", **sizes)
    model = models.build_model(published, Facts(2048, 10002))
    boxes, words = 2048 * 1024 + 1024 + 1025, 10004 * 300  # with unknown, end, start, padding
    reader = (300 + 1024 + 1) * 4096
    attend = (1000 + 1024 + 1024 + 1000 + 1) * 4000
    attention = 1024 * 512 + 1000 * 512 + 512 + 1
    write = (1000 + 1024 + 1000 + 1) * 4000
    starts, output = 4 * (1024 * 1000 + 1000), 1000 * 10004 + 10004
    assert model.count_params() == boxes + words + reader + attend + attention + write + (
        starts + output
    )


@pytest.mark.parametrize("scale", bag.SCALES)
def test_bag_of_words_is_a_dense_layer_on_counts(scale):
    layer = bag.BagOfWords(11, 5, scale=scale)
    tokens = np.array([[1, 4, 4, 11, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0]], "int32")
    got = ops.convert_to_numpy(layer(tokens))
    layer.bias.assign(np.arange(5.0))
    got = ops.convert_to_numpy(layer(tokens))
    counts = np.zeros((3, 11))
    for row, ids in enumerate(tokens):
        for i in ids[ids > 0]:
            counts[row, i - 1] += 1
    number = np.maximum(counts.sum(1, keepdims=True), 1)
    counts /= {"count": 1, "mean": number, "sqrt": np.sqrt(number)}[scale]
    kernel = ops.convert_to_numpy(layer.kernel)
    expected = reference.bag_of_words_dense(counts, kernel, np.arange(5.0))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_bag_of_words_gradient_is_that_of_the_dense_layer():
    import tensorflow as tf

    layer = bag.BagOfWords(6, 3)
    tokens = tf.constant([[1, 4, 4, 0], [6, 0, 0, 0]])
    weights = tf.constant([[1.0, 2, 3], [4, 5, 6]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(tokens) * weights)
    got = tf.convert_to_tensor(tape.gradient(total, layer.kernel.value)).numpy()
    counts = np.array([[1, 0, 0, 2, 0, 0], [0, 0, 0, 0, 0, 1]])
    np.testing.assert_allclose(got, counts.T @ weights.numpy())


def test_padding_has_no_influence():
    model = build()
    tokens = random_batch()["tokens"]
    longer = np.pad(tokens, ((0, 0), (0, 9)))
    short, long = (
        ops.convert_to_numpy(model.text_tower(t, training=False)) for t in (tokens, longer)
    )
    np.testing.assert_allclose(short, long, atol=1e-7)


def test_standardize_takes_mean_and_deviation_block_by_block():
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((3000, 4)) * [1, 5, 0, 2] + [0, 3, 7, -1]).astype(np.float16)
    layer = layers.Standardize()
    layer.build((None, 4))
    layer.adapt(vectors)
    got = ops.convert_to_numpy(layer(vectors.astype("float32")))
    np.testing.assert_allclose(got.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(got.std(0), [1, 1, 0, 1], atol=1e-5)  # a constant column stays 0


def test_word_dropout_leaves_words_out_in_training_only():
    layer = bag.BagOfWords(11, 5, word_dropout=0.5)
    tokens = np.arange(1, 12, dtype="int32")[None]
    still = [ops.convert_to_numpy(layer(tokens)) for _ in range(2)]
    moving = [ops.convert_to_numpy(layer(tokens, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    assert np.abs(moving[0] - moving[1]).max() > 0


def test_towers_return_unit_rows_also_for_odd_input():
    model = build()
    for tower in (model.image_tower, model.text_tower):
        tower.layers[-2].bias.assign([0.1, 0.2, 0.3])  # as after a step of training
    batch = random_batch()
    batch["image"][0] = 0
    batch["image"][1] = 1e4
    batch["tokens"][0] = 0
    for rows in model(batch, training=False).values():
        assert rows.shape == (4, 3)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_unit_norm_of_a_zero_row_has_a_bounded_gradient():
    import tensorflow as tf

    x = tf.Variable(tf.zeros((1, 4)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layers.UnitNorm()(x))
    assert np.abs(np.array(tape.gradient(total, x))).max() <= 1e4 * (1 + 1e-6)
    assert layers.UnitNorm(dtype="float16").compute_dtype == "float32"


def test_the_intramodal_mix_weighs_three_losses():
    batch = random_batch()
    model = build(beta=0.5, relevance="identity")
    outputs = model(batch, training=False)
    terms = {k: float(v) for k, v in model.loss_terms(batch, outputs).items()}
    relevance = reference.relevance(batch["image_id"])
    image, text = (ops.convert_to_numpy(outputs[k]).astype(float) for k in ("image", "text"))
    expected, _ = reference.mixed_loss(
        reference.modified_loss, relevance, image, text, (0.5, 0.25, 0.25), 0.7, 1.25
    )
    total = float(model.compute_loss(batch, y_pred=outputs))
    assert set(terms) == {"image_text", "image_image", "text_text"}
    assert total == pytest.approx(expected, rel=1e-5)
    assert total == pytest.approx(
        0.5 * terms["image_text"] + 0.25 * terms["image_image"] + 0.25 * terms["text_text"]
    )


def test_concepts_reach_the_loss():
    batch = random_batch()
    model = build()
    outputs = model(batch, training=False)
    plain = float(model.compute_loss(batch, y_pred=outputs))
    batch["concepts"] = np.ones((4, 2), "float32")  # all alike: no repulsion, all attraction
    squared = (
        2 - 2 * ops.convert_to_numpy(outputs["image"]) @ ops.convert_to_numpy(outputs["text"]).T
    )
    graded = float(model.compute_loss(batch, y_pred=outputs))
    assert graded == pytest.approx(0.3 * squared.sum(), rel=1e-5)
    assert plain != pytest.approx(graded, rel=1e-2)


def test_encoding_in_chunks_is_encoding_at_once():
    model = build()
    captions = ["aa bb", "cc", "", "aa aa aa cc", "bb"]
    tokens = Tokens(captions, Vocabulary(["aa", "bb", "cc"]))
    vectors = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float16)
    whole = encoding.encode_split(model, vectors, tokens)
    direct = model.image_tower(vectors.astype("float32"), training=False)
    np.testing.assert_allclose(whole[0], direct, atol=1e-6)
    np.testing.assert_allclose(
        whole[1], model.text_tower(tokens.pad(np.arange(5)), training=False), atol=1e-6
    )
    model.parts = replace(model.parts, chunks=Sides(2, 2))
    for workers in (1, 3):
        for a, b in zip(whole, encoding.encode_split(model, vectors, tokens, workers), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_weights_survive_their_file(tmp_path):
    first, second = build(), build()
    first.image_tower.layers[0].kernel.assign_add(np.ones((7, 5), "float32"))
    first.save_weights(tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    batch = random_batch()
    for key, rows in first(batch, training=False).items():
        np.testing.assert_array_equal(rows, second(batch, training=False)[key])


def test_sgd_with_l2_is_pytorchs():
    weights = np.array([1.0, -2.0, 3.0])
    gradients = [np.array([0.1, 0.2, -0.3]), np.array([1.0, 0.0, 0.5]), np.array([0.0, 1.0, 1.0])]
    rates = [0.1, 0.1, 0.05]
    expected = reference.sgd_momentum_l2(weights, gradients, rates, 0.9, 5e-2)
    variable = keras.Variable(weights.astype("float32"))
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.05])
    optimizer = optimization.SGDL2(schedule, momentum=0.9, l2=5e-2)
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient.astype("float32"))], [variable])
    np.testing.assert_allclose(ops.convert_to_numpy(variable), expected, rtol=1e-5)


def test_sgd_without_momentum_is_a_step_down_the_slope():
    variable = keras.Variable(np.array([1.0, -2.0], "float32"))
    optimizer = optimization.SGDL2(0.5, momentum=0.0, l2=0.1)
    for _ in range(2):
        optimizer.apply([ops.convert_to_tensor(np.array([0.2, 0.4], "float32"))], [variable])
    # 1 - 0.5 (0.2 + 0.1) = 0.85 - 0.5 (0.2 + 0.085); -2 - 0.5 (0.4 - 0.2) = -2.1 - 0.5 (0.4 - 0.21)
    np.testing.assert_allclose(variable, [0.7075, -2.195], rtol=1e-6)


def test_nesterov_is_pytorchs():
    gradients = [np.array([0.1, 0.2, -0.3]), np.array([1.0, 0.0, 0.5]), np.array([0.0, 1.0, 1.0])]
    weights, velocity = np.array([1.0, -2.0, 3.0]), np.zeros(3)
    variable = keras.Variable(weights.astype("float32"))
    decayed = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-2, "nesterov": True}
    optimizer = optimization.build_optimizer(
        settings(**decayed, schedule="constant", learning_rate=0.1), 1
    )
    for gradient in gradients:
        slope = gradient + 5e-2 * weights
        velocity = 0.9 * velocity + slope
        weights = weights - 0.1 * (slope + 0.9 * velocity)
        optimizer.apply([ops.convert_to_tensor(gradient.astype("float32"))], [variable])
    np.testing.assert_allclose(ops.convert_to_numpy(variable), weights, rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_weights_have_their_own_rates(name):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4)).astype("float32")
    gradients = rng.standard_normal((4, 4)).astype("float32")
    own = settings(
        optimizer=name, learning_rate=0.1, schedule="constant",
        weight_decay=0.5,
    )  # fmt: skip
    variables = [keras.Variable(row, name=f"w{i}") for i, row in enumerate(start)]
    rates = {variables[1].path: 0.0, variables[2].path: 0.25}
    optimizer = optimization.build_optimizer(own, 1, rates)
    alone = [keras.Variable(start[i]) for i in (0, 2)]
    whole = optimization.build_optimizer(own, 1)
    quarter = optimization.build_optimizer(settings(**{**vars(own), "learning_rate": 0.025}), 1)
    for gradient in gradients:
        tensor = ops.convert_to_tensor(gradient)
        optimizer.apply([tensor] * 3, variables)
        whole.apply([tensor], alone[:1])
        quarter.apply([tensor], alone[1:])
    got = [np.array(variable) for variable in variables]
    np.testing.assert_allclose(got[0], alone[0], rtol=1e-6)
    np.testing.assert_array_equal(got[1], start[1])  # its decay is that rate's, too
    np.testing.assert_allclose(got[2], alone[1], rtol=1e-6)
    assert np.abs(got[0] - start[0]).min() > 1e-3


def test_the_decay_of_adamw_is_keras_own():
    start = np.array([1.0, -2.0, 3.0], "float32")
    ours, theirs = keras.Variable(start), keras.Variable(start)
    fast = optimization.build_optimizer(
        settings(optimizer="adamw", learning_rate=0.1, weight_decay=0.3, schedule="constant"), 1
    )
    plain = keras.optimizers.AdamW(0.1, weight_decay=0.3)
    for gradient in np.random.default_rng(0).standard_normal((5, 3)).astype("float32"):
        for optimizer, variable in ((fast, ours), (plain, theirs)):
            optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_the_fast_step_is_that_of_keras():
    rng = np.random.default_rng(0)
    start = rng.standard_normal((4, 3)).astype("float32")
    ours, theirs = keras.Variable(start), keras.Variable(start)
    fast, plain = optimization.Adam(0.01), keras.optimizers.Adam(0.01)
    for _ in range(5):
        gradient = ops.convert_to_tensor(rng.standard_normal((4, 3)).astype("float32"))
        fast.apply([gradient], [ours])
        plain.apply([gradient], [theirs])
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(np.array(ours) - start).max() > 0.03
    np.testing.assert_allclose(fast.variables[-1], plain.variables[-1], rtol=1e-4)  # 1 - 0.999f


def test_gradients_are_clipped_weight_by_weight():
    gradients = [np.array([[3.0, 4.0]]), np.array([0.3, 0.4])]
    for gradient, expected in zip(
        gradients, reference_ranking.clip_by_norm(gradients, 2.0), strict=True
    ):
        got = optimization.clipped(ops.convert_to_tensor(gradient, "float32"), 2.0)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        free = optimization.clipped(ops.convert_to_tensor(gradient, "float32"), 0.0)
        np.testing.assert_allclose(free, gradient, rtol=1e-6)
    variable = keras.Variable(np.zeros((1, 2), "float32"))
    optimizer = optimization.build_optimizer(
        settings(optimizer="sgd", schedule="constant", learning_rate=1.0, clip_norm=2.0), 1
    )
    optimizer.apply([ops.convert_to_tensor(gradients[0].astype("float32"))], [variable])
    np.testing.assert_allclose(variable, [[-1.2, -1.6]], rtol=1e-6)


def test_sparse_rows_are_added_before_they_are_clipped():
    import tensorflow as tf

    twice = tf.IndexedSlices(tf.constant([[3.0], [3.0]]), tf.constant([1, 1]), tf.constant([3, 1]))
    got = np.array(optimization.clipped(twice, 2.0))
    np.testing.assert_allclose(got, [[0.0], [2.0], [0.0]])


def test_schedules_have_their_published_values():
    falls = {0: 1.0, 0.75: 1.0, 1: 0.9, 3.75: 0.9, 4: 0.81, 9.75: 0.81, 10: 0.729, 99: 0.729}
    kinds = {
        ("step", 0): {0: 1.0, 9: 1.0, 9.75: 1.0, 10: 0.9, 25: 0.81},
        ("multi_step", 0): falls,  # epochs; each has four steps
        ("cosine", 2): {0: 0.0, 2: 1.0, 100: 0.0},
        ("cosine", 0): {0: 1.0, 50: 0.5, 100: 0.0},
        ("constant", 0): {0: 1.0, 50: 1.0},
        ("step", 2): {0: 0.0, 1: 0.5, 2: 1.0, 9: 1.0, 10: 0.9},
        ("multi_step", 2): {**falls, 0: 0.0, 0.75: 0.375, 1: 0.45, 1.5: 0.675, 2: 0.9},
        ("constant", 2): {0: 0.0, 0.25: 0.125, 1: 0.5, 2: 1.0, 50: 1.0},
    }
    for (kind, warm), values in kinds.items():
        made = optimization.build_schedule(
            settings(schedule=kind, learning_rate=1.0, epochs=100, warmup_epochs=warm), 4
        )
        for epoch, expected in values.items():
            got: Any = made(round(epoch * 4)) if callable(made) else made
            assert float(got) == pytest.approx(expected, abs=1e-6), (kind, warm, epoch)


def test_what_nobody_asked_for_is_as_ever():
    """A rise of one epoch before a cosine, none before the others."""
    schedules = keras.optimizers.schedules
    made = {
        kind: optimization.build_schedule(settings(schedule=kind), 4)
        for kind in optimization.SCHEDULES
    }
    assert made["cosine"].warmup_steps == 4 and made["cosine"].decay_steps == 7 * 4
    assert isinstance(made["step"], schedules.ExponentialDecay)
    assert isinstance(made["multi_step"], schedules.PiecewiseConstantDecay)
    assert made["constant"] == settings().learning_rate


@pytest.mark.parametrize("text", ["", "1,x", "4,1", "1,1", "0,2", "nan", "1,,2"])
def test_odd_milestones_are_refused(text):
    with pytest.raises(ValueError, match="expected rising numbers of epochs, such as 1,4,10"):
        optimization.build_schedule(settings(schedule="multi_step", milestones=text), 4)


def test_the_decay_of_adam_is_pytorchs_l2():
    rng = np.random.default_rng(0)
    start = rng.standard_normal((2, 3)).astype("float32")
    gradients = rng.standard_normal((6, 2, 3)).astype("float32")
    rates = [0.05] * 3 + [0.02] * 3
    own = settings(
        optimizer="adam", weight_decay=0.3, learning_rate=0.05, schedule="multi_step",
        milestones="3", decay_rate=0.4,
    )  # fmt: skip
    variable = keras.Variable(start)
    optimizer = optimization.build_optimizer(own, 1)
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    expected = reference.adam_l2(start, list(gradients), rates, 0.3)
    np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-6)
    without = reference.adam_l2(start, list(gradients), rates, 0.0)
    assert np.abs(expected - without).max() > 0.04
    # By its own rate, and after clipping.
    still = keras.Variable(start)
    optimizer = optimization.build_optimizer(settings(**{**vars(own), "clip_norm": 0.1}), 1)
    optimizer.apply([ops.convert_to_tensor(gradients[0])], [still])
    short = gradients[0] * (0.1 / np.linalg.norm(gradients[0]))
    expected = reference.adam_l2(start, [short], rates[:1], 0.3)
    np.testing.assert_allclose(still, expected, atol=2e-4)  # TensorFlow adds epsilon elsewhere


def test_no_system_is_imported_before_it_is_chosen():
    code = (
        "import sys, models\nprint(*(name for name in sys.modules if name.startswith('systems.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found = {name.split(".")[1] for name in done.stdout.split()}
    assert not found & set(SYSTEMS)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="unknown model 'x'"):
        build(model="x")
    with pytest.raises(ValueError, match=r"beta is 1\.5"):
        build(beta=1.5)
    with pytest.raises(ValueError, match="unknown optimizer 'x': choose from sgd, adam, adamw"):
        optimization.build_optimizer(settings(optimizer="x"), 1)
    with pytest.raises(ValueError, match="scale is 'x'"):
        bag.BagOfWords(3, 2, scale="x")
