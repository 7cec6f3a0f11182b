"""System 3's text path: each layer and the whole tower against loops, and the sum over shifts."""

# What a tape gives may be nested or None, by its types; here it is an array.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalCall=false
# pyright: reportPossiblyUnboundVariable=false

import types

import keras
import numpy as np
import pytest
import reference_dual_path as loops
from keras import ops

from data.language.words import POSITIONS
from systems.dual_path import text_cnn

WORDS = 7  # V
PARTS = {"in": "conv1", "middle": "conv2", "out": "conv3", "shortcut": "shortcut"}
NORMS = {"in": "norm1", "middle": "norm2", "out": "norm3", "shortcut": "shortcut_norm"}
STATISTICS = ("scale", "shift", "mean", "variance")  # the order of Keras


def settings(**changes):
    small = {"word_dim": 5, "word_range": 0.1, "word_dropout": 0.0, "text_width": 1 / 64}
    small |= {"pooling": "max", "zero_init": False, "embed_dim": 6}
    return types.SimpleNamespace(**{**small, **changes})


def scatter(model, seed=0):
    """Sets all weights to numbers as after some training: no mean is 0, no variance 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.standard_normal(weight.shape)
        if "norm" in weight.path:  # scales and variances stay above 0
            near = {"gamma": 1.0, "moving_variance": 1.0}.get(weight.name, 0.0)
            value = near + 0.3 * rng.uniform(-1, 1, weight.shape)
        elif len(weight.shape) > 1 and weight.name != "embeddings":
            value *= np.sqrt(2.0 / np.prod(weight.shape[:-1]))
        weight.assign(value)


def reference_arrays(tower):
    """(name of the reference, array) of all weights of a tower."""
    for layer in tower.layers:
        values = [np.asarray(value, np.float64) for value in layer.get_weights()]
        if layer.name == "words":
            yield "word/kernel", values[0][None]
            yield "word/bias", values[1]
        elif layer.name == "text_head":
            yield "head", values[0][None]
        elif layer.name.startswith("text_") or layer.name == "words_norm":
            name = layer.name.removesuffix("_norm")
            own = {"words": "word_norm", "text_head": "head_norm"}.get(name)
            if own is None:
                _, stage, block, part = name.split("_")
                names = NORMS if layer.name.endswith("_norm") else PARTS
                own = f"{stage}.{block}/{names[part]}"
            if len(values) == 1:
                yield own, values[0]
            else:
                yield from zip((f"{own}/{s}" for s in STATISTICS), values, strict=True)


@pytest.fixture(scope="module")
def tower():
    keras.utils.set_random_seed(0)
    made = text_cnn.text_cnn(settings(), WORDS)
    scatter(made)
    return made


def sentences():
    """(3, 32): five words from the third place on, a full row, and none."""
    rng = np.random.default_rng(1)
    rows = rng.integers(1, WORDS + 1, (3, POSITIONS)).astype(np.int32)
    rows[0, :3], rows[0, 8:], rows[2] = 0, 0, 0
    return rows


def test_the_whole_tower_is_the_documents_network(tower):
    weights = loops.nest(reference_arrays(tower))
    tokens = sentences()
    got = ops.convert_to_numpy(tower(tokens, training=False))
    expected = [loops.text_forward(row, weights) for row in tokens]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(np.diff(got, axis=0)).max(axis=1).min() > 0.1  # the words matter


def test_every_weight_has_the_documents_shape(tower, monkeypatch):
    own = sorted((name, array.shape) for name, array in reference_arrays(tower))
    assert own == sorted(loops.text_layers(WORDS, 5, 1 / 64, 6))
    monkeypatch.setattr(text_cnn, "he_normal", lambda: "zeros")  # quicker
    whole = text_cnn.text_cnn(settings(text_width=1, word_dim=300, embed_dim=2048), 20_074)
    trained, moments = loops.text_parameter_count(20_074, 300)
    assert whole.count_params() == trained + moments
    assert sum(int(np.prod(w.shape)) for w in whole.trainable_weights) == trained
    lengths = {layer.name: layer.output.shape[1] for layer in whole.layers}
    places = [lengths[f"text_{stage}_1_out"] for stage in (2, 3, 4, 5)]
    assert places == [32, 16, 8, 8]


def test_a_kernel_of_two_sees_its_place_and_the_one_on_its_left():
    row = np.arange(1.0, 9.0, dtype=np.float32)[None, :, None]
    kernel = np.array([10.0, 1.0]).reshape(2, 1, 1)
    for stride, expected in ((1, [1, 12, 23, 34, 45, 56, 67, 78]), (2, [1, 23, 45, 67])):
        made = keras.Input((8, 1))
        model = keras.Model(made, text_cnn.conv(made, 1, 2, stride, "c"))
        model.get_layer("c").set_weights([kernel])
        got = ops.convert_to_numpy(model(row))[0] * np.sqrt(1 + 1e-3)  # behind a fresh norm
        np.testing.assert_allclose(got[:, 0], expected, rtol=1e-6)
        np.testing.assert_allclose(got, loops.conv1d_left(row[0], kernel, stride), rtol=1e-6)


def test_in_training_the_norm_takes_the_moments_of_batch_and_places():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 3)).astype(np.float32) * 3 + 1
    x[1, 4:] = 0  # padding counts
    made = keras.Input((6, 3))
    model = keras.Model(made, text_cnn.conv(made, 2, 2, 1, "c"))
    scatter(model)
    kernel = model.get_layer("c").get_weights()[0]
    scale, shift, mean, variance = model.get_layer("c_norm").get_weights()
    before = np.stack([loops.conv1d_left(row, kernel) for row in x])
    expected, means, variances = loops.batch_norm_training(before, scale, shift)
    np.testing.assert_allclose(model(x, training=True), expected, rtol=1e-4, atol=1e-5)
    after = model.get_layer("c_norm").get_weights()[2:]
    moved = [0.95 * mean + 0.05 * np.array(means), 0.95 * variance + 0.05 * np.array(variances)]
    np.testing.assert_allclose(after, moved, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("stride", "projected"), [(1, False), (1, True), (2, True)])
def test_a_block_is_the_documents_block(stride, projected):
    rng = np.random.default_rng(2)
    x = np.abs(rng.standard_normal((1, 8, 4))).astype(np.float32)
    made = keras.Input((8, 4))
    out = 6 if projected else 4
    for zero in (False, True):
        block = text_cnn.residual_block(made, 3, out, stride, projected, zero, "text_2_1")
        model = keras.Model(made, block)
        if zero:  # its first norm leaves the shortcut alone
            got = ops.convert_to_numpy(model(x, training=False))
            assert (model.get_layer("text_2_1_out_norm").get_weights()[0] == 0).all()
            if not projected:
                np.testing.assert_array_equal(got, x)
            continue
        scatter(model)
        weights = loops.nest(reference_arrays(model))["2.1"]
        expected = loops.residual_block(x[0], weights, stride, projected)
        assert (expected > 0).mean() > 0.2
        np.testing.assert_allclose(model(x, training=False)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_block_that_begins_as_its_shortcut_reads_every_word():
    made = keras.Input((8, 4))
    model = keras.Model(made, text_cnn.residual_block(made, 3, 5, 2, True, True, "text_3_1"))
    kernel = np.abs(np.random.default_rng(0).standard_normal((1, 4, 5)))
    model.get_layer("text_3_1_shortcut").set_weights([kernel])
    x = np.random.default_rng(1).uniform(size=(2, 8, 4)).astype(np.float32)
    pairs = x.reshape(2, 4, 2, 4).mean(axis=2)  # the mean of two neighbours
    expected = pairs @ kernel[0] / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(model(x, training=False), expected, rtol=1e-5)


def test_words_are_rows_of_a_convolution_of_one_hot_words():
    import tensorflow as tf

    layer = text_cnn.Words(WORDS, 3)
    tokens = np.array([[0, 7, 1, 7], [0, 0, 0, 0]], np.int32)
    assert layer.compute_output_shape((2, 4)) == (2, 4, 3)
    layer(tokens)
    layer.bias.assign([1.0, 2.0, 3.0])
    slope = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        rows = layer(tokens)
        total = tf.reduce_sum(rows * slope)
    kernel, bias = (ops.convert_to_numpy(w) for w in (layer.embeddings, layer.bias))
    one_hot = np.stack([loops.one_hot(row, WORDS) for row in tokens])
    expected = [loops.conv1d_left(row, kernel[None], 1, bias) for row in one_hot]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    np.testing.assert_array_equal(rows[1], np.tile([1.0, 2.0, 3.0], (4, 1)))  # the bias is left
    of_rows, of_bias = tape.gradient(total, [layer.embeddings.value, layer.bias.value])
    dense = np.array(tf.convert_to_tensor(of_rows))
    np.testing.assert_allclose(dense, np.einsum("btv,btw->vw", one_hot, slope), rtol=1e-5)
    np.testing.assert_allclose(of_bias, slope.sum((0, 1)), rtol=1e-5)


def test_gradients_equal_central_differences_of_the_loop_reference(tower):
    import tensorflow as tf

    tokens, rng = sentences()[:1], np.random.default_rng(3)
    slope = rng.standard_normal(6)
    weights = dict(reference_arrays(tower))
    read = {
        "word/kernel": "words",
        "2.1/conv2": "text_2_1_middle",
        "3.1/shortcut": "text_3_1_shortcut",
        "5.1/norm2/scale": "text_5_1_middle_norm",
    }
    variables = [tower.get_layer(layer).weights[0].value for layer in read.values()]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tower(tokens, training=False)[0] * slope.astype(np.float32))
    found = tape.gradient(total, variables)
    for name, rows in zip(read, found, strict=True):
        gradient = np.array(tf.convert_to_tensor(rows)).reshape(weights[name].shape)
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        ends = []
        for step in (1e-4, -1e-4):
            moved = {key: value.copy() for key, value in weights.items()}
            moved[name][place] += step
            ends.append(loops.text_forward(tokens[0], loops.nest(moved.items())) @ slope)
        numeric = (ends[0] - ends[1]) / 2e-4
        assert abs(numeric) > 1e-2
        assert gradient[place] == pytest.approx(numeric, rel=1e-3), name


def test_the_strides_leave_the_last_three_places_unread(tower):
    tokens = np.full((5, POSITIONS), 3, np.int32)
    for row, place in enumerate((31, 30, 29, 28), start=1):
        tokens[row, place] = 5
    got = ops.convert_to_numpy(tower(tokens, training=False))
    np.testing.assert_array_equal(got[1:4], got[[0, 0, 0]])
    assert np.abs(got[4] - got[0]).max() > 1e-3


def test_the_last_places_are_pooled_by_maximum_or_mean(monkeypatch):
    monkeypatch.setattr(text_cnn, "STAGES", ())  # all 32 words are left
    most, mean = (text_cnn.text_cnn(settings(pooling=how), WORDS) for how in ("max", "mean"))
    scatter(most)
    mean.set_weights(most.get_weights())
    places = ops.convert_to_numpy(
        keras.Model(most.input, most.get_layer("words_norm").output)(sentences())
    )
    head, norm = most.get_layer("text_head").get_weights()[0], most.get_layer("text_head_norm")
    for model, pooled in ((most, places.max(axis=1)), (mean, places.mean(axis=1))):
        got = model(sentences(), training=False)
        np.testing.assert_allclose(got, norm(pooled @ head), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="--pooling last: dual_path takes max or mean"):
        text_cnn.text_cnn(settings(pooling="last"), WORDS)


def test_words_are_left_out_whole_and_in_training_only(monkeypatch):
    monkeypatch.setattr(text_cnn, "STAGES", ())
    keras.utils.set_random_seed(0)
    model = text_cnn.text_cnn(settings(word_dropout=0.5), WORDS)
    dropout = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
    rows = ops.convert_to_numpy(dropout(np.ones((2, POSITIONS, 5)), training=True))
    assert set(np.unique(rows.sum(axis=2))) == {0.0, 10.0}  # all of a word, or nothing
    still = [ops.convert_to_numpy(model(sentences(), training=False)) for _ in range(2)]
    np.testing.assert_array_equal(*still)


# ---- Shifts -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy():
    """(B, 32) ids -> (B, 4), not linear, and another row for every place of a caption."""
    keras.utils.set_random_seed(5)
    tokens = keras.Input((POSITIONS,), dtype="int32")
    x = keras.layers.Embedding(9, 3, embeddings_initializer="normal")(tokens)
    return keras.Model(tokens, keras.layers.Dense(4, "tanh")(keras.layers.Flatten()(x)))


CAPTIONS = [[1, 2, 3], [], [4] * 31, [5, 6] * 16, [7, 8, 1, 2, 3] * 8, [6]]
LENGTHS = [3, 0, 31, 32, 32, 1]  # of the last but one the first 32 are read


def padded(captions):
    rows = np.zeros((len(captions), max(map(len, captions)) + 2), np.int32)
    for row, ids in zip(rows, captions, strict=True):
        row[: len(ids)] = ids
    return rows


def placed(toy, caption, offsets):
    """The toy's rows of a caption at some places."""
    return ops.convert_to_numpy(toy(np.array([loops.place(caption[:32], o) for o in offsets])))


def test_captions_are_summed_over_all_their_shifts(toy):
    got = ops.convert_to_numpy(text_cnn.ShiftSum(toy)(padded(CAPTIONS)))
    assert got.dtype == np.float32 and got.shape == (6, 4)
    for row, caption, length in zip(got, CAPTIONS, LENGTHS, strict=True):
        offsets = list(loops.shift_law(length))
        assert len(offsets) == 33 - length
        np.testing.assert_allclose(row, placed(toy, caption, offsets).sum(0), rtol=1e-4, atol=1e-5)
    forward = lambda tokens: ops.convert_to_numpy(toy(np.array([tokens])))[0]  # noqa: E731
    expected = loops.text_at_test_time(CAPTIONS[2] + [0], 31, forward)
    np.testing.assert_allclose(loops.unit(got[2]), expected, atol=1e-6)


@pytest.mark.parametrize("shifts", [1, 2, 3, 7, 32])
def test_some_shifts_are_spread_evenly_and_none_counts_twice(toy, shifts):
    got = ops.convert_to_numpy(text_cnn.ShiftSum(toy, shifts)(padded(CAPTIONS)))
    for row, caption, length in zip(got, CAPTIONS, LENGTHS, strict=True):
        last = 32 - length
        offsets = {last // 2}
        if shifts > 1:
            offsets = {int(k * last / (shifts - 1) + 1e-9) for k in range(shifts)}
            assert {0, last} <= offsets and len(offsets) == min(shifts, last + 1)
        np.testing.assert_allclose(row, placed(toy, caption, offsets).sum(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shifts", [0, 1, 5])
def test_a_caption_has_the_same_row_in_any_company(toy, shifts):
    layer, tokens = text_cnn.ShiftSum(toy, shifts), padded(CAPTIONS)
    whole = ops.convert_to_numpy(layer(tokens))
    wider = ops.convert_to_numpy(layer(np.pad(tokens, ((0, 0), (0, 9)))))
    np.testing.assert_allclose(wider, whole, atol=1e-5)
    for row, ids in enumerate(CAPTIONS):
        alone = np.array([ids], np.int32)
        np.testing.assert_allclose(layer(alone)[0], whole[row], atol=1e-5)
    assert layer.compute_output_shape(tokens.shape) == (6, 4)


def test_the_tower_is_read_as_after_training(monkeypatch):
    monkeypatch.setattr(text_cnn, "STAGES", ())
    model = text_cnn.text_cnn(settings(word_dropout=0.5), WORDS)
    before = model.get_weights()
    layer, tokens = text_cnn.ShiftSum(model, 3), sentences()
    np.testing.assert_array_equal(layer(tokens, training=True), layer(tokens))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
