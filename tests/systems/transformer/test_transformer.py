"""System 4: towers, padding, dropout, rates, weights, ONNX, and what is learned."""

import itertools
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tiny_settings
from keras import ops

import models
from data.language import word_pieces
from data.language.words import Tokens, Vocabulary
from run import files, folder
from run.files import file_hash
from settings.training import Facts
from systems import config
from systems.engine import backbone, encoding, hub, layers, optimization
from systems.engine.bag import BagOfWords
from systems.transformer import sizes, towers
from training import phases

SIZES = Facts(7, 20, train_images=6)
TOKENS = np.array([[2, 7, 9, 4, 3], [2, 5, 3, 0, 0]], np.int32)


def pictures(rows, height=32, width=32, seed=0):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (rows, height, width, 3)).astype(np.uint8)


def settings(**changes):
    small = {"model": "transformer", "features": "pixels", "cnn": "resnet_8", "text_size": "tiny"}
    small |= {"embed_dim": 6, "hidden_dim": 9, "dropout": 0.0, "image_size": 32, "captions": "all"}
    small |= {"loss": "cross_entropy", "reduction": "mean", "temperature": 0.1}
    small |= {"backbone_rate": 1.0}
    return tiny_settings.make(**{**small, **changes})


def build(**changes):
    keras.utils.set_random_seed(0)
    return models.build_model(settings(**changes), SIZES)


def network_of(model) -> Any:
    return backbone.find_backbone(model.image_tower)


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# ---- Towers -------------------------------------------------------------------------------------


def test_a_size_is_a_name_or_four_numbers():
    assert sizes.parse_size("base") == (6, 12, 768, 3072)
    assert sizes.parse_size("6,12,384,1536") == (6, 12, 384, 1536)
    for wrong in ("huge", "6,12,384", "6,12,384,x", "0,1,8,8"):
        with pytest.raises(ValueError, match="there are tiny, narrow, mini, small, base, or four"):
            sizes.parse_size(wrong)
    with pytest.raises(ValueError, match="5 heads cannot share 8"):
        sizes.parse_size("1,5,8,8")


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "distilbert", "n_layers": 6, "n_heads": 12, "dim": 384, "hidden_dim": 1536},
        {
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "hidden_size": 384,
            "intermediate_size": 1536,
        },
        {"config": {"num_layers": 6, "num_heads": 12, "hidden_dim": 384, "intermediate_dim": 1536}},
    ],
)
def test_auto_is_the_size_of_the_folder(config, tmp_path):
    files.write_json(tmp_path / "config.json", config)
    assert sizes.size_of(str(tmp_path)) == "6,12,384,1536"
    assert sizes.size_of("none") == sizes.size_of("distil_bert_base_en_uncased") == "base"
    files.write_json(tmp_path / "config.json", {"n_layers": "6"})
    with pytest.raises(ValueError, match=r"config\.json gives no sizes of a BERT"):
        sizes.size_of(str(tmp_path))


def test_the_image_tower_is_a_linear_map_of_the_mean_of_the_last_map():
    model = build()
    tower, seen = model.image_tower, pictures(2, 48, 32)
    maps = np.array(network_of(model)(seen, training=False))
    assert maps.shape == (2, 3, 2, 256)
    kernel, bias = tower.get_layer("image_head").get_weights()
    expected = unit(maps.mean((1, 2)) @ kernel + bias)
    np.testing.assert_allclose(np.array(tower(seen)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cnn", ["resnet_8", "small"])
def test_pictures_can_be_read_by_places(cnn):
    model = build(cnn=cnn, image_pooling="places")
    tower, seen = model.image_tower, pictures(1)
    assert tower.get_layer("pool").output.shape == (None, 9)
    turned = [np.array(tower(view)) for view in (seen, seen[:, :, ::-1])]
    assert np.abs(turned[0] - turned[1]).max() > 1e-3
    assert build(cnn=cnn, image_pooling="places", hidden_dim=0).count_params() > 0


def test_vectors_go_through_a_linear_map():
    model = build(features="auto")
    vectors = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    kernel, bias = model.image_tower.get_layer("image_head").get_weights()
    expected = unit(vectors @ kernel + bias)
    np.testing.assert_allclose(np.array(model.image_tower(vectors)), expected, rtol=1e-4)
    assert network_of(model) is None and model.parts.rates == {}
    scaled = build(features="auto", standardize=True).image_tower
    scaled.get_layer("standardize").adapt(vectors)
    assert np.abs(np.array(scaled(vectors)) - expected).max() > 1e-3


def test_the_norm_is_a_layer_of_its_own_and_the_last():
    model = build()
    for tower in (model.image_tower, model.text_tower):
        assert isinstance(tower.layers[-1], layers.UnitNorm)
        assert tower.layers[-2].name in ("image_head", "text_head")
    bare = keras.Model(model.text_tower.input, model.text_tower.layers[-2].output)
    rows = np.array(bare(TOKENS))
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).min() > 1e-2
    np.testing.assert_allclose(np.array(model.text_tower(TOKENS)), unit(rows), rtol=1e-5)


def test_a_bag_adds_the_rows_of_the_pieces():
    tower = build(bag=True).text_tower
    (bag,) = (layer for layer in tower.layers if isinstance(layer, BagOfWords))
    kernel = np.random.default_rng(3).normal(size=bag.kernel.shape).astype(np.float32)
    bag.kernel.assign(kernel)
    head = np.array(keras.Model(tower.input, tower.get_layer("text_head").output)(TOKENS))
    sums = [kernel[row[row > 0] - 1].sum(0) for row in TOKENS]
    np.testing.assert_allclose(np.array(tower(TOKENS)), unit(head + sums), rtol=1e-4)


@pytest.mark.parametrize("bag", [False, True])
def test_padding_has_no_influence(bag):
    tower = build(bag=bag).text_tower
    rows = np.array(tower(TOKENS))
    np.testing.assert_allclose(np.array(tower(np.pad(TOKENS, ((0, 0), (0, 27))))), rows, atol=1e-6)
    np.testing.assert_allclose(np.array(tower(TOKENS[1:, :3])), rows[1:], atol=1e-6)


@pytest.mark.parametrize("number", [1, 3, 4, 11])
def test_captions_are_read_by_length_in_training(number):
    """Rows and gradients are those of the padded batch; each part is no wider than its longest.

    None is empty: of fewer than four captions, some are read twice.
    """
    draw = np.random.default_rng(number)
    long = draw.integers(1, 9, number)
    tokens = draw.integers(1, 20, (number, 12)).astype("int32")
    tokens = np.where(np.arange(12) < long[:, None], tokens, 0).astype("int32")
    tower, seen = build().text_tower, []
    weights = tower.trainable_variables
    upstream = tf.constant(draw.normal(size=(number, 6)), "float32")

    def read(places, longest):
        part = ops.take(tokens, places, 0)[:, : int(longest)]
        seen.append(tuple(part.shape))
        return tower(part)

    with tf.GradientTape() as tape:
        rows = layers.by_length(read, ops.convert_to_tensor(tokens))
    found = tape.gradient(rows, weights, [upstream])
    with tf.GradientTape() as tape:
        expected = tower(tokens)
    np.testing.assert_allclose(np.array(rows), np.array(expected), atol=1e-6)
    for pair in zip(found, tape.gradient(expected, weights, [upstream]), strict=True):
        one, other = (np.array(tf.convert_to_tensor(gradient)) for gradient in pair)
        np.testing.assert_allclose(one, other, atol=1e-5)
    ends = itertools.pairwise(k * number // 4 for k in range(5))
    parts = [sorted(long)[start : max(end, start + 1)] for start, end in ends]
    assert seen == [(len(part), max(part)) for part in parts]


def test_a_model_in_training_reads_by_length(monkeypatch):
    seen = []
    model = build()

    def whole(read, tokens):
        seen.append(len(tokens))
        return read(np.arange(len(tokens)), tokens.shape[1])

    monkeypatch.setattr(towers, "by_length", whole)
    batch = {"image": pictures(2), "tokens": TOKENS}
    trained, asked = (np.array(model(batch, training=t)["text"]) for t in (True, False))
    assert seen == [2]
    np.testing.assert_allclose(trained, asked, atol=1e-6)


def test_dropout_is_for_training_alone():
    model = build(dropout=0.3, image_dropout=0.3)
    batch = {"image": pictures(2), "tokens": TOKENS}
    plain = build(image_dropout=0.3)
    plain.set_weights(model.get_weights())
    for side, rows in model(batch, training=False).items():
        np.testing.assert_allclose(rows, plain(batch, training=False)[side], atol=1e-6)
    first, second = (model(batch, training=True) for _ in range(2))
    for side in ("image", "text"):
        assert np.abs(np.array(first[side]) - np.array(second[side])).max() > 1e-3


def test_the_image_cnn_may_have_its_own_rate():
    assert build().parts.rates == {}
    model = build(backbone_rate=0.5)
    own = {weight.path for weight in network_of(model).trainable_weights}
    assert model.parts.rates == dict.fromkeys(own, 0.5) and len(own) == 27
    assert build(freeze_backbone=True, backbone_rate=0.5).parts.rates == {}


# ---- Word pieces --------------------------------------------------------------------------------


CAPTIONS = ["a red dog runs", "two dogs", "a blue bird , running", "birds"]


def test_a_vocabulary_of_pieces_remembers_how_many_it_reads(tmp_path):
    made = Vocabulary.from_captions(CAPTIONS, 60, "pieces", longest=5)
    made.save(tmp_path / "vocabulary.json")
    for vocabulary in (made, Vocabulary.load(tmp_path / "vocabulary.json")):
        ids = vocabulary.encode("a red dog runs two dogs")
        assert len(ids) == 5 and vocabulary.pieces is not None
        assert (ids[0], ids[-1]) == (vocabulary.pieces.start, vocabulary.pieces.end)
    assert max(Tokens(["dog " * 99], Vocabulary(made.words, "pieces")).lengths) == 32


# ---- Weights ------------------------------------------------------------------------------------


def test_weights_survive_their_file(tmp_path):
    first, second = build(), build()
    draw = np.random.default_rng(0)
    for weight in first.weights:
        weight.assign(weight + 0.1 * draw.uniform(size=weight.shape))
    first.save_weights(tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_published_weights_are_given_to_both_towers(tmp_path):
    network, text = (
        hub.resnet("resnet_8"),
        hub.transformer_tower(20, 6, sizes.parse_size("tiny")).get_layer("backbone"),
    )
    network.save_weights(tmp_path / "image.weights.h5")
    text.save_weights(tmp_path / "text.weights.h5")
    files = {"image_weights": str(tmp_path / "image.weights.h5")}
    files["text_weights"] = str(tmp_path / "text.weights.h5")
    model, again = build(), build()
    model.parts.load_published(settings(**files))
    made = network_of(model)
    for a, b in zip(network.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(
        text.get_weights(), model.text_tower.get_layer("backbone").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    before = again.get_weights()
    again.parts.load_published(settings(image_weights="none"))
    for a, b in zip(before, again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_file_of_text_weights_needs_its_word_pieces(tmp_path):
    (tmp_path / "w.weights.h5").write_bytes(b"")
    flags = ["train.py", "--model=transformer", f"--text_weights={tmp_path / 'w.weights.h5'}"]
    with pytest.raises(ValueError, match="give --word_pieces FILE too"):
        config.parse(flags)
    assert config.parse([*flags, "--word_pieces=vocab.txt"]).word_pieces == "vocab.txt"


def test_a_phase_on_pixels_takes_over_what_one_on_vectors_has_learned(tmp_path):
    run, own = folder.Run(tmp_path), settings(features="last")
    words = [*word_pieces.SPECIAL[1:], *"abcdefghijklmnop"]
    Vocabulary(words, "pieces").save(run.vocabulary)
    config.save(run, own, replace(SIZES, feature_dim=256))
    first = models.build_model(own, replace(SIZES, feature_dim=256))
    draw = np.random.default_rng(0)
    for weight in first.weights:
        weight.assign(draw.uniform(size=weight.shape))
    first.save_weights(run.best_weights)
    second = compiled()
    network = network_of(second)
    before = network.get_weights()
    assert phases.take_over(run, second) == file_hash(run.best_weights)
    heads = [model.image_tower.get_layer("image_head") for model in (first, second)]
    for one, other in ([first.text_tower, second.text_tower], heads):
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- Training -----------------------------------------------------------------------------------


def compiled(**changes):
    model, own = build(**changes), settings(**changes)
    optimizer = optimization.build_optimizer(own, 10, model.parts.rates)
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def test_eight_pictures_are_learned_by_heart():
    model = compiled(embed_dim=16, optimizer="adam", learning_rate=1e-3, schedule="constant")
    draw = np.random.default_rng(0)
    tokens = np.pad(draw.integers(4, 21, (8, 5)), ((0, 0), (1, 1)), constant_values=(2, 3))
    tokens = tokens.astype(np.int32)
    batch = {"image": pictures(8), "tokens": tokens, "image_id": np.arange(8, dtype=np.int32)}
    batch = {key: ops.convert_to_tensor(value) for key, value in batch.items()}
    losses = [float(model.train_on_batch(batch, return_dict=True)["loss"]) for _ in range(40)]
    assert losses[-1] < 0.1 * losses[0]
    outputs = encoding.encode_rows(model, batch["image"], tokens)
    scores = np.array(outputs["image"]) @ np.array(outputs["text"]).T
    assert (scores.argmax(axis=1) == np.arange(8)).all()
    assert (scores.argmax(axis=0) == np.arange(8)).all()


# ---- Export -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pooling", "bag"), [("mean", False), ("places", True)])
def test_both_towers_in_onnx_equal_keras(tmp_path, pooling, bag):
    model = build(image_pooling=pooling, bag=bag, text_pooling="layers" if bag else "cls")
    image, text = model.image_tower, model.text_tower
    image(pictures(2))
    image.export(tmp_path / "image.onnx", format="onnx", verbose=False)
    hub.export_text(text, tmp_path / "query.onnx")
    given = {
        "image.onnx": (image, [pictures(2), pictures(1, 40, 64)]),
        "query.onnx": (text, [TOKENS, TOKENS[:1, :2], np.ones((3, 32), np.int32)]),
    }
    for name, (tower, batches) in given.items():
        session = onnxruntime.InferenceSession(tmp_path / name)
        for batch in batches:
            rows = session.run(None, {session.get_inputs()[0].name: batch})[0]
            np.testing.assert_allclose(rows, np.array(tower(batch)), atol=1e-5)
