"""System 2's towers: the GRU against the loop reference and Keras', padding, pooling, options."""

import keras
import numpy as np
import pytest
import reference_ranking as loops
import tiny_settings
from keras import ops

import models
from run import replicas
from settings.training import Facts
from systems.engine import encoding
from systems.gru import towers

LENGTHS = [5, 1, 3]


def settings(**changes):
    small = {"model": "gru", "loss": "sum_hinge", "embed_dim": 6, "word_dim": 4, "hidden_dim": 5}
    return tiny_settings.make(**{**small, **changes})


def build(**changes):
    keras.utils.set_random_seed(3)
    return models.build_model(settings(**changes), Facts(7, 9))


def sentences(seed=0, size=4):
    """Words (B, T, W) and ids (B, T) of three sentences."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((3, 5), np.int32)
    for row, length in enumerate(LENGTHS):
        tokens[row, :length] = rng.integers(1, 10, length)
    return rng.standard_normal((3, 5, size)).astype("float32"), tokens


def inputs_of(layer, words, tokens):
    """What `SentenceGRU.call` makes of its inputs."""
    import tensorflow as tf

    projected = tf.transpose(words, (1, 0, 2)) @ layer.kernel + layer.bias
    return (
        projected,
        tf.cast(tokens.T[..., None] > 0, tf.float32),
        tf.convert_to_tensor(layer.recurrent.value),
    )


def make_layer(words, tokens, pooling="last", reverse=False):
    layer = towers.SentenceGRU(6, pooling, reverse)
    layer(words, tokens)
    layer.bias.assign(np.linspace(-1, 1, 18))
    return layer


def pool_by_eye(states, tokens, pooling, reverse):
    """Rows of sentences from states (B, T, H)."""
    real = [s[t > 0] for s, t in zip(states, tokens, strict=True)]
    pick = {"max": lambda s: s.max(0), "mean": lambda s: s.mean(0)}
    pick["last"] = lambda s: s[0 if reverse else -1]
    return np.stack([pick[pooling](s) for s in real])


@pytest.mark.parametrize("pooling", towers.POOLINGS)
@pytest.mark.parametrize("reverse", [True, False])
def test_the_gru_equals_the_loop_reference(pooling, reverse):
    words, tokens = sentences()
    layer = make_layer(words, tokens, pooling, reverse)
    kernel, recurrent_kernel, bias = (np.array(w, float) for w in layer.weights)
    turn = slice(None, None, -1 if reverse else 1)
    states = [
        np.array(loops.gru(x[turn], ids[turn] > 0, kernel, recurrent_kernel, bias))[turn]
        for x, ids in zip(words, tokens, strict=True)
    ]
    expected = pool_by_eye(states, tokens, pooling, reverse)
    for training in (True, False):
        got = ops.convert_to_numpy(layer(words, tokens, training=training))
        np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("reverse", [True, False])
def test_its_gradient_is_that_of_keras(reverse):
    import tensorflow as tf

    words, tokens = sentences(1)
    layer = make_layer(words, tokens, reverse=reverse)
    other = keras.layers.GRU(6, return_sequences=True, go_backwards=reverse)
    other(words[:, :2])
    bias = np.stack([np.array(layer.bias), np.zeros(18)])
    other.set_weights([np.array(layer.kernel), np.array(layer.recurrent), bias])
    # Where a sentence is padded the two give different, meaningless states: weight 0.
    weight = np.random.default_rng(2).standard_normal((3, 5, 6)) * (tokens > 0)[..., None]
    x = tf.constant(words)

    def gradients(states_of, variables):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(states_of() * weight.astype("float32"))
        return [np.array(g) for g in tape.gradient(total, [x, *variables])]

    def own_states():
        states = towers.gru_states(*inputs_of(layer, x, tokens), reverse=reverse)
        return ops.transpose(states, (1, 0, 2))

    def keras_states():
        states = other(x, mask=tf.constant(tokens > 0))
        return tf.reverse(states, [1]) if reverse else states

    np.testing.assert_allclose(own_states() * weight, keras_states() * weight, atol=1e-6)
    theirs = gradients(keras_states, other.weights)
    theirs[3] = theirs[3][0]  # the input bias
    for a, b in zip(gradients(own_states, layer.weights), theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.parametrize("pooling", towers.POOLINGS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_padding_changes_nothing(pooling, bidirectional):
    model = build(pooling=pooling, bidirectional=bidirectional)
    tokens = sentences()[1]
    together = model.text_tower(tokens, training=False)
    for row, length in enumerate(LENGTHS):
        alone = model.text_tower(tokens[row : row + 1, :length], training=False)
        np.testing.assert_allclose(together[row], alone[0], atol=1e-6)


def test_the_end_token_is_read():
    model = build()
    with_end = model.text_tower(np.array([[3, 4, 9]]), training=False)
    without = model.text_tower(np.array([[3, 4, 0]]), training=False)
    assert np.abs(np.array(with_end) - np.array(without)).max() > 1e-3


@pytest.mark.parametrize("absolute", [True, False])
def test_rows_have_norm_one_and_may_be_absolute(absolute):
    model = build(absolute=absolute)
    batch = {"image": np.random.default_rng(0).standard_normal((3, 7)).astype("float32")}
    outputs = model(batch | {"tokens": sentences()[1]}, training=False)
    for rows in map(np.array, outputs.values()):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        assert (rows >= 0).all() == absolute


def test_initial_weights_are_the_papers():
    gru = towers.SentenceGRU(64)
    gru(np.zeros((1, 1, 30), "float32"), np.ones((1, 1), np.int32))
    for gate in range(3):
        square = np.array(gru.recurrent)[:, 64 * gate : 64 * (gate + 1)]
        np.testing.assert_allclose(square @ square.T, np.eye(64), atol=1e-5)
    kernel = np.array(gru.kernel)
    assert 0.095 < np.abs(kernel).max() <= 0.1
    assert np.abs(kernel[:, :64] - kernel[:, 64:128]).max() > 0.01  # each gate has its own
    words = np.array(build().text_tower.get_layer("words").embeddings)
    assert 0.05 < np.abs(words).max() <= 0.1
    wide = towers.PerGate()((8, 24))
    np.testing.assert_allclose(
        np.array(wide)[:, :8] @ np.array(wide)[:, :8].T, np.eye(8), atol=1e-5
    )


def test_the_image_map_is_linear_without_a_bias():
    model = build()
    assert [tuple(w.shape) for w in model.image_tower.weights] == [(7, 6)]
    assert len(build(image_bias=True).image_tower.weights) == 2


def test_options_add_their_layers():
    rich = build(bag=True, bidirectional=True, standardize=True, image_dropout=0.1)
    assert rich.text_tower.output_shape == rich.image_tower.output_shape == (None, 6)
    words = np.array([[1, 2], [2, 1]])
    turned = np.array(build(bag=True).text_tower(words))
    assert np.abs(turned[0] - turned[1]).max() > 1e-3  # the GRU is still there
    noisy = build(word_dropout=0.5, embedding_dropout=0.5, dropout=0.0)
    tokens = sentences()[1]
    calm = [np.array(noisy.text_tower(tokens, training=False)) for _ in range(2)]
    np.testing.assert_array_equal(calm[0], calm[1])
    wild = [np.array(noisy.text_tower(tokens, training=True)) for _ in range(2)]
    assert np.abs(wild[0] - wild[1]).max() > 1e-3


def test_odd_settings_are_refused():
    with pytest.raises(ValueError, match="--embed_dim 7 cannot be shared"):
        build(embed_dim=7, bidirectional=True)
    with pytest.raises(ValueError, match="pooling is 'x'"):
        towers.SentenceGRU(2, "x")


def test_eight_pairs_are_learned_by_heart():
    model = build(embed_dim=32, word_dim=16, margin=0.2, loss="max_hinge")
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.standard_normal((8, 7)).astype("float32"),
        "tokens": np.append(rng.integers(1, 9, (8, 4)), np.full((8, 1), 9), 1).astype(np.int32),
        "image_id": np.arange(8, dtype=np.int32),
    }
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    batch = {key: ops.convert_to_tensor(value) for key, value in batch.items()}
    for _ in range(60):
        model.train_on_batch(batch)
    outputs = encoding.encode_rows(model, batch["image"], batch["tokens"])
    scores = np.array(outputs["image"]) @ np.array(outputs["text"]).T
    assert (scores.argmax(axis=1) == np.arange(8)).all()
    assert (scores.argmax(axis=0) == np.arange(8)).all()


def test_the_tower_exports_to_onnx(tmp_path):
    import onnxruntime

    model = build(bidirectional=True, pooling="max")
    tokens = sentences()[1]
    model.text_tower(tokens)
    model.text_tower.export(tmp_path / "query.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "query.onnx")
    for batch in (tokens, tokens[:1, :2]):
        rows = session.run(None, {session.get_inputs()[0].name: batch})[0]
        np.testing.assert_allclose(rows, replicas.compiled(model.text_tower)(batch), atol=1e-6)
