"""The image CNN that reads pictures: our small one, those of Keras, and their weights."""

import types

import keras
import numpy as np
import pytest

import backbone
import cnn
import distribution


def pictures(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(0)
    return backbone.make_backbone("small")


def test_the_small_one_reads_pictures_of_any_size(small):
    for height, width in ((32, 32), (64, 48), (33, 40)):
        maps = small(pictures(2, height, width), training=False)
        assert maps.shape == (2, -(-height // 8), -(-width // 8), 224)
    assert small.compute_output_shape((1, 64, 64, 3))[1:] == (8, 8, 224)
    assert small.name == "backbone"
    kernels = 5 * 5 * 3 * 32 + 9 * (32 * 64 + 64 * 128 + 128 * 128)
    kernels += 288 * 96 + 96 * 96
    assert small.count_params() == kernels + 4 * (32 + 64 + 128 + 128 + 96 + 96)


def mirrored(place, size):
    return -place if place < 0 else 2 * size - 2 - place if place >= size else place


@pytest.mark.parametrize("side", [1, 2])
def test_self_similarity_is_that_of_a_loop(side):
    x = np.random.default_rng(1).uniform(-1, 1, (2, 20, 32, 3))
    high, wide = 20 // side, 32 // side
    squares = x.reshape(2, high, side, wide, side, 3).mean(axis=(2, 4))
    middle = slice(1, 3) if side == 1 else slice(0, 4)  # pixels of a place
    own = x.reshape(2, 5, 4, 8, 4, 3)[:, :, middle, :, middle].mean(axis=(2, 4))
    expected = np.zeros((2, 5, 8, 12, 12))
    for b, row, column, i, j in np.ndindex(expected.shape):
        # Six squares on each side of a place's middle.
        top, left = ((4 * place + 2) // side - 6 for place in (row, column))
        near = mirrored(top + i, high), mirrored(left + j, wide)
        apart = ((squares[b, *near] - own[b, row, column]) ** 2).sum()
        expected[b, row, column, i, j] = np.exp(-apart / (2 * 0.35**2))
    layer = backbone.SelfSimilarity(side)
    got = layer(x.astype(np.float32))
    np.testing.assert_allclose(got, expected.reshape(2, 5, 8, 144), rtol=1e-4, atol=1e-6)
    assert layer.compute_output_shape((None, 20, None, 3)) == (None, 5, None, 144)


def test_self_similarity_shows_a_shape_whatever_its_colour():
    shapes = np.zeros((3, 32, 32, 3), np.float32)
    for one, (ground, colour) in zip(shapes, ((-1, 1), (1, -1), (0, [1, -1, 0])), strict=True):
        one[:] = ground
        one[8:20, 8:24] = colour
    alike = np.array(backbone.SelfSimilarity(2)(shapes))
    np.testing.assert_allclose(alike[1], alike[0], atol=1e-3)
    np.testing.assert_allclose(alike[2], alike[0], atol=1e-2)
    assert alike[0, 3, 3].min() < 1e-6 and alike[0, 3, 3].max() == 1.0


def test_grey_fills_the_last_cells():
    x = np.ones((1, 9, 16, 2), np.float32)
    whole = np.array(backbone.WholeCells(8)(x))
    assert whole.shape == (1, 16, 16, 2) and (whole[:, :9] == 1).all() and not whole[:, 9:].any()
    assert backbone.WholeCells(8).compute_output_shape((None, 9, None, 2)) == (None, 16, None, 2)


def test_its_residual_convolution_begins_as_nothing(small):
    scales = small.get_layer("small_more_norm").gamma
    assert (np.array(scales) == 0).all()
    plain = np.array(small(pictures(1, 32, 32)))
    layer = small.get_layer("small_more")  # whatever it holds
    layer.set_weights([np.ones_like(layer.get_weights()[0])])
    np.testing.assert_array_equal(small(pictures(1, 32, 32)), plain)
    scales.assign(np.ones(128))
    assert np.abs(np.array(small(pictures(1, 32, 32))) - plain).max() > 0.01
    scales.assign(np.zeros(128))


def test_its_pixels_run_from_minus_one_to_one():
    pixels = keras.Input((None, None, 3))
    network = keras.Model(pixels, backbone.small_network(pixels))
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
        module = getattr(keras.applications, cnn.module_of(name))
        monkeypatch.setattr(tiny, "__module__", f"keras.applications.{cnn.module_of(name)}")
        monkeypatch.setattr(keras.applications, name, tiny)
        got = np.array(backbone.make_backbone(name)(picture))
        expected = np.array(module.preprocess_input(picture.astype(np.float32)))
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert got.min() < -0.9
    assert made == {"weights": None, "include_top": False}


def test_unknown_networks_are_refused():
    for name in ("small", "VGG19", "ResNet152"):
        backbone.check_name(name)
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
    monkeypatch.setattr(cnn, "build", lambda described: (asked.append(described) or source, True))
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
@pytest.mark.parametrize(("name", "count"), [("resnet_8", 9), ("small", 6)])
def test_batch_norm_sees_all_replicas(monkeypatch, replicas, name, count):
    monkeypatch.setattr(distribution, "num_replicas", lambda: replicas)
    settings = types.SimpleNamespace(cnn=name, freeze_backbone=False, freeze_norm=True)
    made = backbone.image_backbone(settings)
    norms = [x for x in made.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == count
    assert {norm.synchronized for norm in norms} == {replicas > 1}
    assert {norm.momentum for norm in norms} == {0.95}
    assert made.still and made.trainable_weights
    settings.freeze_backbone = True
    assert not backbone.image_backbone(settings).trainable_weights
