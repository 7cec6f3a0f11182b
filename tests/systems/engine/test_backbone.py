"""The image CNN that reads pictures: our small one, those of Keras, and their weights."""

import types

import keras
import numpy as np
import pytest

from data.vision import cnn
from run import replicas as run_replicas
from systems.engine import backbone, small_cnn


def pictures(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(0)
    return backbone.make_backbone("small")


def test_the_small_one_reads_pictures_of_any_size(small):
    for height, width in ((32, 32), (64, 48), (33, 40)):
        maps = small(pictures(2, height, width), training=False)
        assert maps.shape == (2, -(-height // 8), -(-width // 8), 128)
    assert small.compute_output_shape((1, 64, 64, 3))[1:] == (8, 8, 128)
    assert small.name == "backbone"
    kernels = (4 * 3 + 144 + 149 + 309) * 128 + 128 * 128
    assert small.count_params() == kernels + 4 * (128 + 128)


def test_its_pixels_run_from_minus_one_to_one():
    pixels = keras.Input((None, None, 3))
    network = keras.Model(pixels, small_cnn.small_network(pixels))
    own = backbone.make_backbone("small")
    network.set_weights(own.get_weights())
    picture = pictures(1, 32, 32)
    expected = network(picture.astype(np.float32) / 127.5 - 1.0, training=False)
    np.testing.assert_allclose(own(picture, training=False), expected, rtol=1e-4, atol=1e-5)


def test_one_that_is_still_runs_as_after_training_in_whatever_calls_it(small):
    pixels = keras.Input((None, None, 3), dtype="uint8")
    whole, batch = keras.Model(pixels, small(pixels)), pictures(4, 32, 32)
    calm = np.array(small(batch, training=False))
    norm = small.get_layer("small_1_norm")
    before = norm.get_weights()
    small.still = True
    np.testing.assert_array_equal(whole(batch, training=True), calm)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    small.still = False
    assert np.abs(np.array(whole(batch, training=True)) - calm).max() > 0.01
    norm.set_weights(before)


def test_networks_of_keras_bring_their_own_preprocessing(monkeypatch):
    made = {}

    def tiny(weights, include_top, input_tensor):
        """Stands for a network: its first layer shows what it is given."""
        made.update(weights=weights, include_top=include_top)
        image = keras.utils.get_source_inputs(input_tensor)
        return keras.Model(image, keras.layers.Identity()(input_tensor))

    picture = pictures(1, 8, 8)
    for name in ("MobileNetV2", "ResNet50"):
        path = getattr(keras.applications, name).__module__
        module = getattr(keras.applications, path.rsplit(".", 1)[1])
        monkeypatch.setattr(tiny, "__module__", path)
        monkeypatch.setattr(keras.applications, name, tiny)
        got = np.array(backbone.make_backbone(name)(picture))
        expected = np.array(module.preprocess_input(picture.astype(np.float32)))
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert got.min() < -0.9
    assert made == {"weights": None, "include_top": False}


def test_unknown_networks_are_refused():
    for name in ("small", "VGG19", "ResNet152"):
        cnn.check_known(name, (backbone.SMALL,))
    with pytest.raises(ValueError, match="unknown --cnn 'x'; there are small, resnet_8"):
        backbone.make_backbone("x")


def test_weights_are_taken_layer_by_layer(monkeypatch):
    def network(channels, name):
        image = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(channels, 1, name=f"{name}_a")(image)
        x = keras.layers.BatchNormalization(name=f"{name}_b")(x)
        return image, x

    image, x = network(4, "own")
    own = keras.Model(image, x, name="backbone")
    image, x = network(4, "file")
    x = keras.layers.Dense(2, name="classifier")(keras.layers.GlobalAveragePooling2D()(x))
    source = keras.Model(image, x)  # a dense layer follows, as in VGG19
    for weight in source.weights:
        weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    asked = []
    monkeypatch.setattr(cnn, "describe_network", lambda settings: settings.cnn)
    monkeypatch.setattr(
        cnn, "load_network", lambda described: (asked.append(described) or source, True)
    )
    settings = types.SimpleNamespace(cnn="VGG19", image_weights="none")
    before = own.get_weights()
    for nothing in cnn.RANDOM:
        settings.image_weights = nothing
        backbone.load_backbone(own, settings)
    for old, new in zip(before, own.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    settings.image_weights = "file.h5"
    backbone.load_backbone(own, settings)
    for given, new in zip(source.get_weights()[:6], own.get_weights(), strict=True):
        np.testing.assert_array_equal(given, new)
    assert asked == ["VGG19"]
    image, x = network(5, "other")
    with pytest.raises(ValueError, match="file_a does not fit other_a of VGG19"):
        backbone.load_backbone(keras.Model(image, x), settings)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(("name", "count"), [("resnet_8", 9), ("small", 2)])
def test_batch_norm_sees_all_replicas(monkeypatch, replicas, name, count):
    monkeypatch.setattr(run_replicas, "num_replicas", lambda: replicas)
    settings = types.SimpleNamespace(cnn=name, freeze_backbone=False, freeze_norm=True)
    made = backbone.image_backbone(settings)
    norms = [x for x in made.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == count
    assert {norm.synchronized for norm in norms} == {replicas > 1}
    assert {norm.momentum for norm in norms} == {0.95}
    assert made.still and made.trainable_weights
    settings.freeze_backbone = True
    assert not backbone.image_backbone(settings).trainable_weights
