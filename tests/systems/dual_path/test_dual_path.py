"""System 3: one classifier for both paths, hard texts, rates, towers and what is kept still."""

# What a tape gives may be nested or None, by its types; here it is an array.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalCall=false
# pyright: reportOptionalMemberAccess=false
# pyright: reportPossiblyUnboundVariable=false
import keras
import numpy as np
import pytest
import reference_dual_path as loops
import tiny_settings
from keras import ops
from reference import numerical_gradient

import models
from data.language.words import Tokens
from losses import build_loss
from settings.training import Facts
from systems.dual_path import head, text_cnn, towers
from systems.engine import backbone, encoding, optimization

SIZES = Facts(7, 9, 11, 11)
PLAIN = {"optimizer": "sgd", "schedule": "constant", "momentum": 0.0, "learning_rate": 0.1}
PARTS = ("image_path", "text_tower", "classifier")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Two of the text path's 14 blocks: `test_text_cnn` has them all."""
    stages = tuple(stage._replace(blocks=1) for stage in text_cnn.STAGES[:2])
    monkeypatch.setattr(text_cnn, "STAGES", stages)


def settings(**changes):
    small = {"model": "dual_path", "features": "last", "pooling": "max", "text_width": 1 / 64}
    small |= {"embed_dim": 5, "hidden_dim": 4, "word_dim": 3, "dropout": 0.0, "cnn": "small"}
    small |= {"loss": "paired_hinge", "margin": 1.0, "reduction": "mean", "image_size": 32}
    return tiny_settings.make(**{**small, **PLAIN, **changes})


def build(facts=SIZES, **changes):
    keras.utils.set_random_seed(4)
    return models.build_model(settings(**changes), facts)


def compiled(eager=True, **changes):
    model, own = build(**changes), settings(**changes)
    optimizer = optimization.build_optimizer(own, 10, model.parts.rates)
    model.compile(optimizer=optimizer, jit_compile=False, run_eagerly=eager)
    model.optimizer.build(model.trainable_variables)
    return model


def toy(lambdas=(1.0, 1.0, 1.0), size=5, **changes):
    """A model whose features are the image vectors, and the table's rows of the first word."""
    keras.utils.set_random_seed(4)
    vectors = keras.Input((size,))
    tokens = keras.Input((32,), dtype="int32")
    rows = keras.layers.Embedding(
        10, size, embeddings_initializer=keras.initializers.RandomNormal(), name="words"
    )(tokens)[:, 0]
    own = settings(lambdas=":".join(map(str, lambdas)), optimizer="adam", **changes)
    loss = build_loss(own.loss, own)
    image, text = keras.Model(vectors, keras.layers.Identity()(vectors)), keras.Model(tokens, rows)
    return models.DualEncoder(towers.two_paths(image, text, 11, own, loss), loss)


def make_batch(rows=6, size=7, seed=0, pixels=False):
    rng = np.random.default_rng(seed)
    tokens = np.zeros((rows, 32), np.int32)
    tokens[:, :6] = rng.integers(1, 10, (rows, 6))
    image = rng.standard_normal((rows, size)).astype(np.float32)
    if pixels:
        image = rng.integers(0, 256, (rows, 32, 32, 3)).astype(np.uint8)
    places = np.arange(rows, dtype=np.int32)
    return {"image": image, "tokens": tokens, "image_id": places + 20, "label": places % 11}


def make_pool(batch, ids, seed=1):
    """The batch with candidates, one for each of the image numbers `ids`."""
    tokens = np.zeros((len(ids), 32), np.int32)
    tokens[:, :4] = np.random.default_rng(seed).integers(1, 10, (len(ids), 4))
    ids = np.array(ids, np.int32)
    pool = {"pool": tokens, "pool_id": ids, "pool_label": ids - 20}
    return {**batch, **pool, "row": np.arange(len(batch["image_id"]), dtype=np.int32)}


def tensors(batch):
    return {key: ops.convert_to_tensor(value) for key, value in batch.items()}


def reference_total(model, image, text, batch, lambdas, text_id=None, text_label=None):
    """The loss of features before the last ReLU, by loops."""
    image, text = np.maximum(image, 0), np.maximum(text, 0)
    ids = batch["image_id"]
    text_id = ids if text_id is None else text_id
    text_label = batch["label"] if text_label is None else text_label
    rank, _ = loops.paired_hinge(image, text, ids, text_id, 1.0)
    weights = [np.asarray(w, np.float64) for w in model.heads[0].classifier.get_weights()]
    kernel, bias = weights[0], weights[1] if len(weights) > 1 else None
    visual, _ = loops.instance_loss(image, kernel, bias, batch["label"])
    textual, _ = loops.instance_loss(text, kernel, bias, text_label)
    return loops.total(*lambdas, *(value / len(image) for value in (rank, visual, textual)))


def table_of(model):
    return np.asarray(model.text_tower.get_layer("words").get_weights()[0], np.float64)


# ---- Instance loss ------------------------------------------------------------------------------


def test_instance_terms_by_eye_and_by_symmetry():
    # exp: 1, 3, 4 of 8; then three equal classes.
    logits = np.log(np.array([[1.0, 3.0, 4.0], [2.0, 2.0, 2.0]], np.float32))
    got = head.instance_terms(logits, np.array([2, 1]))
    np.testing.assert_allclose(got, [np.log(2), np.log(3)], rtol=1e-6)
    moved = head.instance_terms(logits + 1000, np.array([2, 1]))
    np.testing.assert_allclose(moved, got, atol=1e-4)
    far = head.instance_terms(np.array([[0.0, 1e4]], np.float16), np.array([0]))
    assert float(far[0]) == pytest.approx(1e4) and far.dtype == "float32"
    none = head.instance_terms(np.zeros((0, 3), np.float32), np.zeros(0, np.int32))
    assert none.shape == (0,)


def test_instance_terms_equal_the_loop_reference():
    rng = np.random.default_rng(0)
    features, kernel, bias = rng.random((5, 4)), rng.standard_normal((4, 7)), rng.standard_normal(7)
    labels = np.array([3, 0, 0, 6, 5])
    logits = loops.logits(features, kernel, bias)
    expected, terms = loops.instance_loss(features, kernel, bias, labels)
    got = ops.convert_to_numpy(head.instance_terms(logits.astype(np.float32), labels))
    assert got.sum() == pytest.approx(expected, rel=1e-5) and len(got) == terms
    order = rng.permutation(5)
    moved = head.instance_terms(logits[order].astype(np.float32), labels[order])
    np.testing.assert_allclose(moved, got[order], rtol=1e-6)


def test_both_paths_end_in_one_matrix_of_weights():
    import tensorflow as tf

    model, batch = build(classifier_bias=True, lambdas="0:1:0.5"), make_batch()
    of_classes = [tuple(w.shape) for w in model.weights if 11 in w.shape]
    assert of_classes == [(5, 11), (11,)]
    assert sum(w is model.heads[0].classifier.kernel for w in model.trainable_weights) == 1
    std = float(ops.std(build(embed_dim=400).heads[0].classifier.kernel))
    assert std == pytest.approx(0.1 * np.sqrt(2 / 400), rel=0.05)
    model.heads[0].classifier.bias.assign(np.linspace(-1, 1, 11))
    with tf.GradientTape() as tape:
        outputs = model(tensors(batch), training=True)
        loss = model.compute_loss(x=tensors(batch), y_pred=outputs)
    kernel, bias = (np.asarray(w, np.float64) for w in model.heads[0].classifier.get_weights())
    sides = [
        weight * loops.instance_gradient(outputs[side].numpy(), kernel, bias, batch["label"]) / 6
        for side, weight in (("visual", 1.0), ("textual", 0.5))
    ]
    assert min(np.abs(side).max() for side in sides) > 0.01  # each path pulls at it
    found = tape.gradient(loss, [w.value for w in model.heads[0].classifier.trainable_variables])
    np.testing.assert_allclose(found[0], sides[0] + sides[1], rtol=1e-4, atol=1e-6)
    assert np.abs(found[1]).max() > 0.01


def test_equal_classes_give_the_logarithm_of_their_number():
    model, batch = toy((0.0, 1.0, 1.0)), make_batch(size=5)
    model.heads[0].classifier.kernel.assign(np.zeros((5, 11)))
    outputs = model(batch)
    terms = model.heads[0].row_terms(batch, outputs)
    for side in ("visual", "textual"):
        np.testing.assert_allclose(terms[side], np.full(6, np.log(11)), rtol=1e-6)
    loss = model.compute_loss(x=batch, y_pred=outputs)
    assert float(loss) == pytest.approx(2 * np.log(11), rel=1e-6)


# ---- The whole loss -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [6, 7, 1])
def test_the_loss_is_the_documents(rows):
    lambdas = (2.0, 1.0, 0.1)
    model, batch = toy(lambdas), make_batch(rows, 5)
    text = table_of(model)[batch["tokens"][:, 0]]
    outputs = model(batch)
    for side, features in (("visual", batch["image"]), ("textual", text)):
        np.testing.assert_allclose(outputs[side], np.maximum(features, 0), rtol=1e-6)
    for side, features in (("image", batch["image"]), ("text", text)):
        expected = [loops.unit(np.maximum(row, 0)) for row in features]
        np.testing.assert_allclose(outputs[side], expected, rtol=1e-5, atol=1e-6)
    expected = reference_total(model, batch["image"], text, batch, lambdas)
    loss = float(model.compute_loss(x=batch, y_pred=outputs))
    assert loss == pytest.approx(expected, rel=1e-5)
    shown = model.get_metrics_result()
    terms = {"ranking", "visual", "textual", "visual_error", "textual_error"}
    assert set(shown) == terms | {"loss"}
    assert float(shown["loss"]) == pytest.approx(loss, rel=1e-6)
    kernel = np.asarray(model.heads[0].classifier.kernel, np.float64)
    for side, features in (("visual", batch["image"]), ("textual", text)):
        scores = loops.logits(np.maximum(features, 0), kernel)
        error = loops.training_error(scores, batch["label"])
        assert float(shown[f"{side}_error"]) == pytest.approx(error, rel=1e-6)
    if rows == 1:
        assert float(shown["ranking"]) == 0.0  # nobody to rank it above


def test_the_gradient_equals_central_differences_of_the_loop_reference():
    import tensorflow as tf

    lambdas = (1.0, 0.7, 0.3)
    model, batch = toy(lambdas), make_batch(6, 5)
    batch["tokens"][:, 0] = [1, 2, 3, 4, 5, 6]  # each its own row of the table
    image = tf.Variable(batch["image"])
    words = model.text_tower.get_layer("words").weights[0]
    with tf.GradientTape() as tape:
        outputs = model({**batch, "image": image}, training=True)
        loss = model.compute_loss(x=batch, y_pred=outputs)
    found = tape.gradient(loss, [image, words.value])
    of_image, of_words = (np.array(tf.convert_to_tensor(gradient)) for gradient in found)
    found = np.stack([of_image, of_words[1:7]])
    numeric = numerical_gradient(
        lambda x: reference_total(model, x[0], x[1], batch, lambdas),
        np.stack([batch["image"].astype(np.float64), table_of(model)[1:7]]),
    )
    np.testing.assert_allclose(found, numeric, rtol=1e-3, atol=1e-5)


def test_terms_of_weight_zero_are_not_there():
    batch = make_batch(size=5)
    ranking = toy((1.0, 0.0, 0.0))
    assert ranking.heads[0].classifier is None and len(ranking.weights) == 1
    assert set(ranking(batch)) == {"image", "text"} and ranking.heads[0].row_terms(batch, {}) == {}
    assert set(ranking.trackers) == {"ranking"}
    stage = toy((0.0, 1.0, 1.0))
    assert stage.loss_terms(batch, {}) == {} and "ranking" not in stage.trackers
    visual = toy((0.0, 1.0, 0.0))
    outputs = visual(batch)
    assert "textual" not in outputs and set(visual.heads[0].row_terms(batch, outputs)) == {
        "visual", "visual_error",
    }  # fmt: skip


def test_what_is_compared_can_be_what_is_before_the_relu():
    model, batch = toy(compare_relu=False), make_batch(size=5)
    outputs = model(batch)
    expected = [loops.unit(row) for row in batch["image"]]
    np.testing.assert_allclose(outputs["image"], expected, rtol=1e-5, atol=1e-6)
    assert float(ops.min(outputs["text"])) < 0 <= float(ops.min(outputs["textual"]))


def test_dropout_is_before_the_classifier_alone():
    model, batch = toy(dropout=0.5), make_batch(size=5)
    calm, wild = model(batch), model(batch, training=True)
    for key in ("image", "text"):
        np.testing.assert_array_equal(calm[key], wild[key])
    for key in ("visual", "textual"):
        kept = np.array(wild[key]) > 0
        assert 0 < kept.sum() < (np.array(calm[key]) > 0).sum()
        np.testing.assert_allclose(np.array(wild[key])[kept], 2 * np.array(calm[key])[kept])


def test_features_that_collapsed_have_a_finite_loss_and_gradient():
    import tensorflow as tf

    for value, rank in ((0.5, 1.0), (-1.0, 1.0), (0.0, 1.0)):  # all alike, or all behind the ReLU
        model, batch = toy(), make_batch(size=5)
        image = tf.Variable(np.full((6, 5), value, np.float32))
        words = model.text_tower.get_layer("words").weights[0]
        words.assign(np.full((10, 5), value))
        with tf.GradientTape() as tape:
            outputs = model({**batch, "image": image}, training=True)
            loss = model.compute_loss(x=batch, y_pred=outputs)
        # Each of 2 x 3 hinges is the margin, and they are divided by six rows.
        assert float(model.get_metrics_result()["ranking"]) == pytest.approx(rank)
        gradients = tape.gradient(
            loss, [image, words.value, model.heads[0].classifier.kernel.value]
        )
        assert all(np.isfinite(np.array(tf.convert_to_tensor(g))).all() for g in gradients)


def test_a_picture_of_several_captions_is_read_once():
    model, batch = build(), make_batch(5)
    owner = np.array([0, 0, 1, 2, 2], np.int32)
    together = {**batch, "image": batch["image"][:3], "image_row": owner}
    apart = {**batch, "image": batch["image"][owner]}
    for one in (together, apart):
        one["label"] = np.array([3, 3, 0, 1, 1], np.int32)
    once, often = model(together), model(apart)
    assert once["visual"].shape[0] == 3
    for key, rows in once.items():
        expected = np.array(often[key])[[0, 2, 3]] if key == "visual" else often[key]
        np.testing.assert_allclose(rows, expected, atol=1e-6)
    terms, expected = (
        model.heads[0].row_terms(together, once),
        model.heads[0].row_terms(apart, often),
    )
    assert set(terms) == set(expected) == {"visual", "textual", "visual_error", "textual_error"}
    for name, term in terms.items():
        np.testing.assert_allclose(term, expected[name], rtol=1e-5)


# ---- Hard texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_hardest_text_is_the_loop_references(seed):
    rng = np.random.default_rng(seed)
    anchors, pool = rng.standard_normal((4, 3)), rng.standard_normal((9, 3))
    anchors, pool = (np.stack([loops.unit(row) for row in x]) for x in (anchors, pool))
    ids, of_pool = rng.integers(0, 3, 4), rng.integers(0, 3, 9)
    expected = loops.hardest_texts(anchors, ids, pool, of_pool)
    got = head.hardest_texts(*(x.astype(np.float32) for x in (anchors,)), ids, pool, of_pool)
    assert got.numpy().tolist() == expected
    free = loops.hardest_texts(anchors, ids + 50, pool, of_pool)
    assert free != expected  # an own text would have been the nearest


@pytest.mark.parametrize("rows", [6, 7])
def test_the_second_half_gets_the_hardest_texts_of_the_pool(rows):
    lambdas, half = (1.0, 1.0, 1.0), rows // 2
    model = toy(lambdas)
    batch = make_pool(make_batch(rows, 5), [20, 21, 22, 24, 25, 29, 30, 20])
    table = table_of(model)
    hidden = [loops.unit(np.maximum(row, 0)) for row in table[batch["pool"][:, 0]]]
    anchors = [loops.unit(np.maximum(row, 0)) for row in batch["image"][:half]]
    chosen = loops.hardest_texts(anchors, batch["image_id"], hidden, batch["pool_id"])
    first, text_id, label = (batch[key].copy() for key in ("tokens", "image_id", "label"))
    first, place = first[:, 0], slice(half, 2 * half)
    first[place], text_id[place] = batch["pool"][chosen, 0], batch["pool_id"][chosen]
    label[place] = batch["pool_label"][chosen]
    outputs = model(batch, training=True)
    np.testing.assert_array_equal(outputs["text_id"], text_id)
    np.testing.assert_array_equal(outputs["text_label"], label)
    np.testing.assert_allclose(outputs["textual"], np.maximum(table[first], 0), rtol=1e-5)
    expected = reference_total(model, batch["image"], table[first], batch, lambdas, text_id, label)
    loss = float(model.compute_loss(x=batch, y_pred=outputs))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_texts_of_the_anchors_own_images_are_no_negatives():
    model = toy((1.0, 0.0, 0.0))
    alone = make_batch(2, 5)
    batch = make_pool(alone, [20, 20, 20])  # nothing else to choose
    outputs = model(batch)
    assert outputs["text_id"].numpy().tolist() == [20, 20]
    own, text = np.array(outputs["image"]), np.array(outputs["text"])
    # The text's hinge is left: 1 - S(I_0, T_0) + S(I_1, T_0), divided by two rows.
    expected = max(0.0, 1 - own[0] @ text[0] + own[1] @ text[0]) / 2
    loss = float(model.compute_loss(x=batch, y_pred=outputs))
    assert loss == pytest.approx(expected, rel=1e-5)
    single = model(make_pool(make_batch(1, 5), [20, 21]))
    assert single["text_id"].numpy().tolist() == [20]  # a batch of one has no second half


def test_the_pool_leaves_no_gradient_and_no_statistics():
    import tensorflow as tf

    found = []
    for mined in (True, False):
        model = build()
        for weight in model.weights:
            if weight.name == "beta":  # or padding alone would decide
                weight.assign(np.linspace(-0.5, 0.7, weight.shape[0]))
        batch = make_pool(make_batch(6), [22, 23, 25, 26, 27, 28])
        if not mined:  # what was chosen, as a batch of its own
            image = model.readers.image(batch["image"], True)["rows"]
            batch = {**make_batch(6), "tokens": model.parts.prepare(tensors(batch), image)[0]}
        with tf.GradientTape() as tape:
            outputs = model(tensors(batch), training=True)
            total = sum(tf.reduce_sum(outputs[key] ** 2) for key in ("visual", "textual"))
        slopes = tape.gradient(total, model.text_tower.trainable_variables)
        values = [np.array(tf.convert_to_tensor(slope)) for slope in slopes]
        found.append(values + model.text_tower.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


# ---- Towers -------------------------------------------------------------------------------------


def test_the_head_is_two_convolutions_summed_over_the_positions():
    head = towers.image_head(3, settings())
    rng = np.random.default_rng(0)
    for weight in head.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        if weight.name == "kernel":
            weight.assign(rng.standard_normal(weight.shape))
    maps = rng.standard_normal((2, 2, 3, 3)).astype(np.float32)
    values = {layer.name: layer.get_weights() for layer in head.layers}
    names = ("scale", "shift", "mean", "variance")
    rows = []
    for picture in maps:
        x = picture.reshape(6, 3)
        for part in ("image_hidden", "image_head"):
            norm = dict(zip(names, values[f"{part}_norm"], strict=True))
            x = loops.batch_norm(loops.conv1d_left(x, values[part][0][0]), **norm)
            if part == "image_hidden":
                x = loops.relu(x)
        rows.append(x.reshape(2, 3, -1))
    got = np.array(head(maps, training=False))
    np.testing.assert_allclose(got, np.sum(rows, axis=(1, 2)), rtol=1e-4)
    for row, expected in zip(got, rows, strict=True):
        np.testing.assert_allclose(loops.unit(row), loops.image_at_test_time(expected), rtol=1e-4)
    assert towers.image_head(6, settings(hidden_dim=0)).get_layer("image_hidden").filters == 6


def test_dropout_of_image_vectors_is_for_training_and_is_no_weight():
    plain, dropped = (towers.image_head(200, settings(image_dropout=p)) for p in (0.0, 0.99))
    dropped.set_weights(plain.get_weights())
    ones = np.ones((1, 1, 1, 200), np.float32)
    np.testing.assert_array_equal(dropped(ones, training=False), plain(ones, training=False))
    hidden = {
        name: np.array(
            keras.Model(head.input, head.get_layer("image_hidden").output)(ones, training=True)
        )
        for name, head in (("plain", plain), ("dropped", dropped))
    }
    assert np.abs(hidden["dropped"] - hidden["plain"]).max() > 0.1


def test_pictures_of_the_training_size_are_vectors_of_the_backbone():
    pixels, vectors = build(features="pixels"), build(Facts(128, 9, 11, 11))
    source = backbone.find_backbone(pixels.image_tower)
    path = pixels.image_tower.get_layer("image_path")
    assert backbone.find_backbone(vectors.image_tower) is None
    batch = make_batch(3, pixels=True)
    maps = np.array(source(batch["image"], training=False))
    assert maps.shape == (3, 4, 4, 128)
    got = pixels.image_tower(batch["image"], training=False)
    np.testing.assert_allclose(got, path(maps.mean((1, 2), keepdims=True)), rtol=1e-4, atol=1e-5)
    # A larger one: windows of 4 x 4, one beside the other, are summed.
    large = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3)).astype(np.uint8)
    maps = np.array(source(large, training=False))
    means = np.stack([maps[0, :, x : x + 4].mean((0, 1)) for x in range(5)])[:, None, None]
    expected = np.array(path(means, training=False)).sum(0)
    got = pixels.image_tower(large, training=False)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_vectors_can_be_standardised_before_they_are_read():
    plain, standard = (build(Facts(4, 9, 11, 11), standardize=s) for s in (False, True))
    rows = np.random.default_rng(0).normal(7, 3, (50, 4)).astype(np.float32)
    standard.image_tower.get_layer("standardize").adapt(rows)
    path = standard.image_tower.get_layer("image_path")
    path.set_weights(plain.image_tower.get_layer("image_path").get_weights())
    expected = plain.image_tower((rows - rows.mean(0)) / rows.std(0), training=False)
    got = standard.image_tower(rows, training=False)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_places_know_where_they_are():
    layer = backbone.Places()
    got = np.array(layer(np.full((2, 2, 4, 1), 7.0, np.float32)))
    assert got.shape == (2, 2, 4, 13) == layer.compute_output_shape((2, 2, 4, 1))
    # Middles at 1/4 and 3/4 of the height, lines at 0, 1/5 ... 1: 2 (1 - 5 |middle - line|).
    down = [[0, 1.5, 0.5, 0, 0, 0], [0, 0, 0, 0.5, 1.5, 0]]
    np.testing.assert_allclose(got[0, :, 0, 1:7], down, atol=1e-6)
    np.testing.assert_allclose(got[1, 0, 0, 7:], [0.75, 1.25, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(got[1, 0, :, 7:], got[0, 0, ::-1, :6:-1], atol=1e-6)
    np.testing.assert_array_equal(got[..., 0], np.full((2, 2, 4), 7.0))
    model = build(features="pixels", image_pooling="places")
    picture = make_batch(1, pixels=True)["image"]
    rows = [model.image_tower(view, training=False) for view in (picture, picture[:, :, ::-1])]
    assert np.abs(np.array(rows[0]) - np.array(rows[1])).max() > 1e-3
    assert model.image_tower(np.zeros((1, 48, 32, 3), np.uint8)).shape == (1, 5)


def test_use_reads_unit_rows_before_the_relu_and_testing_adds_mirror_and_shifts():
    model, batch = build(features="pixels", test_shifts="3"), make_batch(2, pixels=True)
    rows = np.array(model.image_tower(batch["image"], training=False))
    assert rows.min() < 0
    encoded = encoding.encode_rows(model, batch["image"], batch["tokens"])
    unit = [loops.unit(row) for row in rows]
    np.testing.assert_allclose(encoded["image"], unit, rtol=1e-4, atol=1e-6)
    middle = text_cnn.ShiftSum(model.text_tower, 1)(batch["tokens"])
    unit = [loops.unit(row) for row in np.array(middle)]
    np.testing.assert_allclose(encoded["text"], unit, rtol=1e-4, atol=1e-6)
    model.for_test()
    encoded = encoding.encode_rows(model, batch["image"], batch["tokens"])
    mirrored = np.array(model.image_tower(batch["image"][:, :, ::-1], training=False))
    expected = [
        loops.image_at_test_time(a[None, None], b[None, None])
        for a, b in zip(rows, mirrored, strict=True)
    ]
    np.testing.assert_allclose(encoded["image"], expected, rtol=1e-4, atol=1e-6)
    some = np.array(text_cnn.ShiftSum(model.text_tower, 3)(batch["tokens"]))
    unit = [loops.unit(row) for row in some]
    np.testing.assert_allclose(encoded["text"], unit, rtol=1e-4, atol=1e-6)
    vectors = build(mirror=True)
    vectors.for_test()  # vectors have no mirror
    one = np.array(vectors.encoders.image(make_batch(2)["image"]))
    rows = np.array(vectors.image_tower(make_batch(2)["image"], training=False))
    np.testing.assert_allclose(one, [loops.unit(row) for row in rows], rtol=1e-4, atol=1e-6)
    every = np.array(vectors.encoders.text(batch["tokens"]))
    expected = np.array(text_cnn.ShiftSum(vectors.text_tower)(batch["tokens"]))
    unit = [loops.unit(row) for row in expected]
    np.testing.assert_allclose(every, unit, rtol=1e-4, atol=1e-6)


def test_weights_survive_their_file(tmp_path):
    first, second = build(classifier_bias=True), build(classifier_bias=True)
    for weight in first.weights:
        weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    first.save_weights(tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    for key, rows in first(make_batch()).items():
        np.testing.assert_array_equal(rows, second(make_batch())[key])
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_lambdas():
    assert towers.parse_lambdas("2:1:0.1") == (2.0, 1.0, 0.1)
    assert towers.parse_lambdas("0:1:1") == (0.0, 1.0, 1.0)
    for odd in ("1:1", "", "a:1:1", "0:0:0", "1:-1:1", "nan:1:1", "1:inf:1", "1:1:1:1"):
        with pytest.raises(ValueError, match="expected three weights"):
            towers.parse_lambdas(odd)


# ---- Training -----------------------------------------------------------------------------------


def moved(model, before):
    """{"backbone", "rest": whether [trained weights, moving statistics] have changed}."""
    found = {"backbone": [False, False], "rest": [False, False]}
    for weight, old in zip(model.weights, before, strict=True):
        part = found["backbone" if "small_" in weight.path else "rest"]
        part[weight.name.startswith("moving")] |= bool(np.abs(weight.numpy() - old).max() > 0)
    return found


@pytest.mark.parametrize(
    ("changes", "weights", "statistics"),
    [({}, True, True), ({"freeze_norm": True}, True, False), ({"freeze_backbone": True}, 0, 0)],
)
def test_what_is_frozen_does_not_move(changes, weights, statistics):
    model = compiled(features="pixels", backbone_rate=1.0, **changes)
    before = [w.numpy() for w in model.weights]
    model.train_on_batch(tensors(make_batch(6, pixels=True)))
    found = moved(model, before)
    assert found == {"backbone": [bool(weights), bool(statistics)], "rest": [True, True]}
    trained = {w.path for w in model.trainable_weights}
    assert any("small_" in path for path in trained) == bool(weights)


def test_parts_have_their_rates():
    own = {"word_rate": 0.5, "classifier_rate": 0.25, "backbone_rate": 0.125}
    model = build(features="pixels", classifier_bias=True, **own)
    rates = model.parts.rates
    by_path = {w.path: w for w in model.trainable_weights}
    assert set(rates) <= set(by_path)
    for path, weight in by_path.items():
        expected = 2.0 if weight.name == "gamma" else 1.0
        if "small_" in path:
            expected = 0.125
        elif weight is model.text_tower.get_layer("words").embeddings:
            expected = 0.5
        elif weight is model.text_tower.get_layer("words").bias:
            expected = 20.0
        elif any(weight is own for own in model.heads[0].classifier.weights):
            expected = 0.25
        assert rates.get(path, 1.0) == expected, path
    adam = {"optimizer": "adamw", "word_rate": 1.0, "classifier_rate": 1.0}
    assert build(**adam).parts.rates == {}  # these are for sgd


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_rate_of_zero_leaves_a_weight_in_any_precision(precision):
    keras.mixed_precision.set_global_policy(precision)
    try:
        model = compiled(word_rate=0.0, classifier_rate=0.0)
        before = [w.numpy() for w in model.weights]
        for _ in range(3 if precision == "float32" else 8):  # until its loss is scaled to fit
            found = model.train_on_batch(tensors(make_batch()), return_dict=True)
        outputs = model(tensors(make_batch()))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(float(found["loss"]))
    words = model.text_tower.get_layer("words")
    for weight, old in zip(model.weights, before, strict=True):
        still = weight is words.embeddings or weight is model.heads[0].classifier.kernel
        assert weight.dtype == "float32"
        assert (np.abs(weight.numpy() - old).max() == 0) == still, weight.path
    types = {key: keras.backend.standardize_dtype(rows.dtype) for key, rows in outputs.items()}
    assert (types["image"], types["text"]) == ("float32", "float32")
    assert types["visual"] == types["textual"] == precision.removeprefix("mixed_")


def test_eight_pictures_are_learned_by_heart():
    model = compiled(
        eager=False, optimizer="adam", learning_rate=0.01, text_width=1 / 8, embed_dim=16,
        hidden_dim=16, word_rate=1.0, classifier_rate=1.0, dropout=0.2,
    )  # fmt: skip
    for layer in (*model.image_tower.get_layer("image_path").layers, *model.text_tower.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # 60 steps are few
    batch, rng = make_batch(8), np.random.default_rng(0)
    captions = Tokens.from_flat(batch["tokens"][:, :6].ravel(), np.full(8, 6))
    for _ in range(60):
        batch["tokens"] = captions.shifted(np.arange(8), rng)
        found = model.train_on_batch(tensors(batch), return_dict=True)
    assert float(found["visual_error"]) <= 0.25
    model.for_test()
    outputs = encoding.encode_rows(model, batch["image"], captions.pad(np.arange(8)))
    scores = np.array(outputs["image"]) @ np.array(outputs["text"]).T
    assert (scores.argmax(axis=1) == np.arange(8)).all()
    assert (scores.argmax(axis=0) == np.arange(8)).all()


def test_backbone_weights_are_given_to_the_model():
    model = build(features="pixels")
    before = model.get_weights()
    model.parts.load_published(settings(image_weights="none"))
    build().parts.load_published(settings(image_weights="nowhere"))  # nothing to give them to
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert backbone.find_backbone(model.image_tower).name == backbone.make_backbone("small").name
