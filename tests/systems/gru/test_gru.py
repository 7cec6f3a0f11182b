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
from systems.gru import prefixes, towers

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
        turn = slice(None, None, -1 if reverse else 1)
        table = tf.reshape(x, (-1, 4)) @ layer.kernel + layer.bias
        places = tf.transpose(tf.reshape(tf.range(15), (3, 5)))
        recurrent = tf.convert_to_tensor(layer.recurrent.value)
        given = table, places[turn], tf.constant(tokens.T > 0)[turn], recurrent
        states = prefixes.read_states(*given, shared=False, every=True)
        return ops.transpose(states[turn], (1, 0, 2))

    def keras_states():
        states = other(x, mask=tf.constant(tokens > 0))
        return tf.reverse(states, [1]) if reverse else states

    np.testing.assert_allclose(own_states() * weight, keras_states() * weight, atol=1e-6)
    theirs = gradients(keras_states, other.weights)
    theirs[3] = theirs[3][0]  # the input bias
    for a, b in zip(gradients(own_states, layer.weights), theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


SHARED = np.array(  # three begin alike, one has a hole; the last two are the same
    [[1, 2, 3, 9], [1, 2, 9, 0], [1, 4, 4, 9], [5, 0, 2, 9], [7, 9, 0, 0], [7, 9, 0, 0]], np.int32
)


@pytest.mark.parametrize("pooling", towers.POOLINGS)
@pytest.mark.parametrize("reverse", [True, False])
def test_shared_words_and_beginnings_change_no_value_and_no_gradient(pooling, reverse):
    import tensorflow as tf

    distinct, places = towers.DistinctWords()(SHARED, training=True)
    assert sorted(np.array(distinct)) == [0, 1, 2, 3, 4, 5, 7, 9]
    vectors = np.random.default_rng(4).standard_normal((10, 4)).astype("float32")
    layer = make_layer(vectors[SHARED], SHARED, pooling, reverse)
    weight = np.random.default_rng(5).standard_normal((6, 6)).astype("float32")

    def found(share):
        table = tf.Variable(tf.constant(vectors))
        with tf.GradientTape() as tape:
            words = tf.gather(table, distinct if share else SHARED)
            rows = layer(words, SHARED, *([places] if share else []), training=True)
            total = tf.reduce_sum(rows * weight)
        gradients = tape.gradient(total, [table, *layer.trainable_variables])
        return [rows, *map(tf.convert_to_tensor, gradients)]

    alone = layer(vectors[SHARED], SHARED, training=False)
    np.testing.assert_allclose(found(True)[0], alone, atol=1e-6)
    for one, other in zip(found(True), found(False), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_each_distinct_beginning_is_one_node():
    ids = SHARED.T  # its own places in a table of ten rows
    shared = prefixes.grow(ids, ids > 0, 10, True, "float32")
    assert [len(shared.word.read(t)) for t in range(4)] == [3, 4, 5, 5]
    # Words follow nodes "1", "7" and "5 _" alike; what only padding follows is not multiplied.
    assert [len(shared.fork.read(t)) for t in range(1, 4)] == [2, 3, 3]
    np.testing.assert_array_equal(shared.node.read(1), [0, 0, 1, 2, 3, 3])
    apart = prefixes.grow(ids, ids > 0, 10, False, "float32")
    assert [len(apart.word.read(t)) for t in range(4)] == [6] * 4


def test_words_are_shared_only_where_no_dropout_tells_them_apart():
    def kinds(**changes):
        return {type(layer) for layer in build(**changes).text_tower.layers}

    assert towers.DistinctWords in kinds()
    for dropped in ("word_dropout", "embedding_dropout"):
        assert towers.DistinctWords not in kinds(**{dropped: 0.5})


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
