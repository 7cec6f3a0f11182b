"""Towers by KerasHub: published sizes, padding, weights from files and folders, ONNX."""

import warnings

import keras
import numpy as np
import pytest
import scipy.special
from keras import ops

from systems.engine import hub
from systems.engine.backbone import Backbone

TOKENS = np.array([[2, 7, 9, 4, 3], [2, 5, 3, 0, 0]], np.int32)
TINY, BASE = (2, 2, 128, 512), (6, 12, 768, 3072)
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


@pytest.fixture
def tower():
    keras.utils.set_random_seed(0)
    return hub.transformer_tower(20, 6, TINY)


def resnet_backbone(name):
    """The network as backbone.make_backbone is to make it."""
    keras.utils.set_random_seed(0)
    return Backbone(*hub.resnet_graph(name), name="backbone")


def trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


# ---- Published sizes ----------------------------------------------------------------------------


def test_the_text_backbone_has_the_published_size(monkeypatch):
    monkeypatch.setattr(  # to draw 66 million numbers takes seconds
        keras.initializers, "TruncatedNormal", lambda stddev: keras.initializers.Zeros()
    )
    tower = hub.transformer_tower(30521, 128, BASE)
    assert tower.get_layer("backbone").count_params() == 66_362_880
    assert tower.count_params() == 66_362_880 + 768 * 128 + 128


RESNET_WEIGHTS = {
    "resnet_8": (1_232_704, 256),
    "resnet_18": (11_176_512, 512),
    "resnet_34": (21_284_672, 512),
    "resnet_50": (23_508_032, 2048),
}


def test_the_image_backbones_have_the_published_sizes(monkeypatch):
    monkeypatch.setattr(  # quicker than to draw them
        keras.initializers.GlorotUniform,
        "__call__",
        lambda _, shape, dtype: ops.zeros(shape, dtype),
    )
    assert set(RESNET_WEIGHTS) == set(hub.RESNETS)
    for name, (number, channels) in RESNET_WEIGHTS.items():
        made = resnet_backbone(name)
        assert trainable(made) == number, name
        side = 4 if name == "resnet_8" else 2
        assert made.compute_output_shape((1, 64, 64, 3)) == (1, side, side, channels)


# ---- Text ---------------------------------------------------------------------------------------


def test_padding_has_no_influence(tower):
    rows = np.array(tower(TOKENS))
    padded = np.array(tower(np.pad(TOKENS, ((0, 0), (0, 9)))))
    np.testing.assert_allclose(padded, rows, atol=2e-6)
    np.testing.assert_allclose(np.array(tower(TOKENS[1:, :3])), rows[1:], atol=2e-6)
    assert np.isfinite(np.array(tower(np.zeros((1, 4), np.int32)))).all()


def reference_rows(tower, tokens, heads):
    """DistilBERT as its paper and BERT's have it, one caption without padding, in float64."""
    backbone = tower.get_layer("backbone")
    weights = {variable.path: np.asarray(variable, np.float64) for variable in tower.weights}

    def find(end):
        (value,) = (value for path, value in weights.items() if path.endswith(end))
        return value

    def dense(x, name):
        kernel, bias = find(f"{name}/kernel"), find(f"{name}/bias")
        if name.endswith("attention_output"):
            kernel = kernel.reshape(-1, kernel.shape[-1])
        return x @ kernel.reshape(len(kernel), -1) + bias.reshape(-1)

    def norm(x, name):
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + 1e-12)
        return x * find(f"{name}/gamma") + find(f"{name}/beta")

    x = find("token_embedding/embeddings")[tokens]
    x = norm(x + find("position_embedding/embeddings")[: len(tokens)], "embeddings_layer_norm")
    for number in range(backbone.num_layers):
        layer = f"transformer_layer_{number}"
        own = f"{layer}/self_attention_layer"
        q, k, v = (
            dense(x, f"{own}/{part}").reshape(len(tokens), heads, -1)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
        shares = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        seen = np.einsum("hqk,khd->qhd", shares, v).reshape(len(tokens), -1)
        x = norm(x + dense(seen, f"{own}/attention_output"), f"{layer}/self_attention_layer_norm")
        y = dense(x, f"{layer}/feedforward_intermediate_dense")
        y = 0.5 * y * (1.0 + scipy.special.erf(y / np.sqrt(2.0)))
        y = dense(y, f"{layer}/feedforward_output_dense")
        x = norm(x + y, f"{layer}/feedforward_layer_norm")
    return dense(x[0], "text_head")


def test_the_tower_is_the_transformer_of_the_paper(tower):
    draw = np.random.default_rng(1)
    for variable in tower.weights:  # norms and biases too, which begin as 1 and 0
        variable.assign(variable + 0.1 * draw.normal(size=variable.shape))
    rows = np.array(tower(TOKENS))
    for row, tokens in zip(rows, TOKENS, strict=True):
        expected = reference_rows(tower, tokens[tokens > 0], heads=2)
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)


def test_words_and_their_order_have_influence(tower):
    rows = np.array(tower(np.array([[2, 5, 6, 3], [2, 6, 5, 3], [2, 5, 7, 3]], np.int32)))
    assert rows.shape == (3, 6)
    for one in range(3):
        assert np.abs(rows[one] - rows[one - 1]).max() > 1e-3


def test_every_weight_of_the_text_tower_is_trained(tower):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = ops.sum(ops.square(tower(TOKENS, training=True)))
    gradients = tape.gradient(loss, tower.trainable_variables)
    for variable, gradient in zip(tower.trainable_variables, gradients, strict=True):
        if not variable.path.endswith("key/bias"):  # a softmax does not see it
            assert np.abs(ops.convert_to_numpy(ops.convert_to_tensor(gradient))).max() > 0


def test_the_mean_of_the_pieces_heeds_no_padding():
    keras.utils.set_random_seed(0)
    mean = hub.transformer_tower(20, 6, TINY, pooling="mean")
    rows = mean.get_layer("backbone")(
        {"token_ids": TOKENS, "padding_mask": (TOKENS != 0).astype("int32")}
    )
    kernel, bias = mean.get_layer("text_head").get_weights()
    for own, caption, found in zip(np.array(rows), TOKENS, np.array(mean(TOKENS)), strict=True):
        expected = own[caption != 0].mean(0) @ kernel + bias
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_means_of_several_layers_stand_side_by_side():
    """Of four layers the last three, each asked by itself."""
    keras.utils.set_random_seed(0)
    deep = (4, *TINY[1:])
    network = hub.transformer_tower(20, 6, deep).get_layer("backbone")
    tower = hub.transformer_tower(20, 6, deep, pooling="layers")
    tower.get_layer("backbone").set_weights(network.get_weights())
    given = {"token_ids": TOKENS, "padding_mask": (TOKENS != 0).astype("int32")}
    kernel, bias = tower.get_layer("text_head").get_weights()
    means = []
    for layer in network.transformer_layers[1:]:
        rows = np.array(keras.Model(network.input, layer.output)(given))
        means.append([own[caption != 0].mean(0) for own, caption in zip(rows, TOKENS, strict=True)])
    expected = np.concatenate(means, axis=1) @ kernel + bias
    np.testing.assert_allclose(np.array(tower(TOKENS)), expected, rtol=1e-4, atol=1e-5)


def test_a_bert_becomes_a_transformer_of_its_size(tmp_path):
    import keras_hub

    keras.utils.set_random_seed(0)
    bert = keras_hub.models.BertBackbone(21, *TINY)
    bert.save_to_preset(str(tmp_path / "bert"))
    tower = hub.transformer_tower(20, 6, TINY)
    hub.load_text_weights(tower, str(tmp_path / "bert"))
    mask = (TOKENS != 0).astype("int32")
    inputs = {"token_ids": TOKENS, "padding_mask": mask}
    found = np.array(tower.get_layer("backbone")(inputs))
    expected = np.array(bert(inputs | {"segment_ids": 0 * TOKENS})["sequence_output"])
    np.testing.assert_allclose(found[mask == 1], expected[mask == 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_towers_are_finite_in_16_bits(policy):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        text, image = hub.transformer_tower(20, 6, TINY), resnet_backbone("resnet_8")
        rows = [text(np.pad(TOKENS, ((0, 1), (0, 2)))), image(PICTURES)]
    finally:
        keras.config.set_dtype_policy(before)
    for row in rows:
        assert keras.backend.standardize_dtype(row.dtype) == policy.removeprefix("mixed_")
        assert np.isfinite(np.array(ops.cast(row, "float32"))).all()
    assert {variable.dtype for variable in text.trainable_variables} == {"float32"}


# ---- Pictures -----------------------------------------------------------------------------------


def test_pictures_are_standardised_by_the_moments_of_imagenet():
    made, own = resnet_backbone("resnet_8"), hub.resnet("resnet_8")
    own.set_weights(made.get_weights())
    prepared = (PICTURES / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = np.array(own(prepared.astype("f")))
    np.testing.assert_allclose(np.array(made(PICTURES)), expected, rtol=1e-4, atol=1e-5)


# ---- Weights ------------------------------------------------------------------------------------


def test_the_weights_of_a_text_tower_come_from_a_file_or_a_folder(tower, tmp_path):
    own = tower.get_layer("backbone")
    own.save_weights(tmp_path / "own.weights.h5")
    own.save_to_preset(str(tmp_path / "folder"))
    for source in ("own.weights.h5", "folder"):
        other = hub.transformer_tower(20, 6, TINY).get_layer("backbone")
        assert np.abs(other.get_weights()[0] - own.get_weights()[0]).max() > 0
        hub.fill_network(other, str(tmp_path / source), "--text_weights")
        for a, b in zip(own.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    before = own.get_weights()[0].copy()
    hub.load_text_weights(tower, "none")
    np.testing.assert_array_equal(own.get_weights()[0], before)


def test_the_weights_of_a_resnet_come_from_a_file(tmp_path):
    source, made = hub.resnet("resnet_8"), resnet_backbone("resnet_8")
    source.save_weights(tmp_path / "own.weights.h5")
    hub.load_resnet_weights(made, "resnet_8", str(tmp_path / "own.weights.h5"))
    for a, b in zip(source.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_do_not_fit_are_refused(tower, tmp_path):
    small = hub.transformer_tower(10, 6, TINY).get_layer("backbone")
    small.save_weights(tmp_path / "small.weights.h5")
    small.save_to_preset(str(tmp_path / "small"))
    shallow = keras.Model(tower.input, tower.get_layer("backbone").embeddings(tower.input))
    shallow.save_weights(tmp_path / "shallow.weights.h5")
    (tmp_path / "text.h5").write_text("hello")
    for name in ("small.weights.h5", "shallow.weights.h5", "text.h5"):
        fresh = hub.transformer_tower(20, 6, TINY)
        with warnings.catch_warnings(), pytest.raises(ValueError, match="does not hold") as caught:
            warnings.simplefilter("error")
            hub.load_text_weights(fresh, str(tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"another size \(.*embeddings is \(11, 128\), not \(21,"):
        hub.load_text_weights(tower, str(tmp_path / "small"))
    with pytest.raises(ValueError, match=r"--text_weights a\.weights\.h5: there is no such file"):
        hub.load_text_weights(tower, "a.weights.h5")
    with pytest.raises(ValueError, match="there are no ImageNet weights of resnet_8"):
        hub.load_resnet_weights(resnet_backbone("resnet_8"), "resnet_8", "imagenet")


def test_weights_that_cannot_be_downloaded_give_one_line(tower, monkeypatch):
    import keras_hub

    def offline(preset):
        raise ConnectionError(f"no network for {preset}\nand so on")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", offline)
    monkeypatch.setattr(keras_hub.models.Tokenizer, "from_preset", offline)
    for ask in (lambda name: hub.load_text_weights(tower, name), hub.preset_vocabulary):
        with pytest.raises(ValueError, match=r"--text_weights some_preset cannot be had") as caught:
            ask("some_preset")
        assert "\n" not in str(caught.value)
        assert "no network for some_preset" in str(caught.value)


def test_a_preset_brings_its_vocabulary(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_text")
    import keras_hub

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"]
    for lowercase in (True, False):
        made = keras_hub.models.DistilBertTokenizer(vocabulary=words, lowercase=lowercase)
        folder = str(tmp_path / str(lowercase))
        hub.transformer_tower(6, 6, TINY).get_layer("backbone").save_to_preset(folder)
        made.save_to_preset(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(tmp_path / "True"), "~/True"):
        assert hub.preset_vocabulary(name) == (words[1:], False)
    assert hub.preset_vocabulary(str(tmp_path / "False")) == (words[1:], True)


# ---- Export -------------------------------------------------------------------------------------


def test_the_text_tower_in_onnx_equals_keras(tower, tmp_path):
    import onnxruntime

    hub.export_text(tower, tmp_path / "query.onnx")
    assert (tmp_path / "query.onnx").stat().st_size < 4.2 * tower.count_params()
    session = onnxruntime.InferenceSession(tmp_path / "query.onnx")
    for tokens in (TOKENS, TOKENS[:1, :2], np.pad(TOKENS, ((0, 0), (0, 30)))):
        rows = session.run(None, {session.get_inputs()[0].name: tokens})[0]
        np.testing.assert_allclose(rows, np.array(tower(tokens)), atol=1e-5)
