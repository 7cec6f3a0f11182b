"""The image CNN that reads pictures: our small one, those of Keras, and their weights."""

import types

import keras
import numpy as np
import pytest

import backbone
import cnn


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
    kernels += (144 + 149) * 96 + 96 * 96
    assert small.count_params() == kernels + 4 * (32 + 64 + 128 + 128 + 96 + 96)


def mirrored(place, size):
    return -place if place < 0 else 2 * size - 2 - place if place >= size else place


def test_self_similarity_is_that_of_a_loop():
    x = np.random.default_rng(1).uniform(-1, 1, (2, 20, 32, 3))
    expected = np.zeros((2, 5, 8, 12, 12))
    for b, row, column, i, j in np.ndindex(expected.shape):
        y, z = 4 * row, 4 * column
        own = x[b, y + 1 : y + 3, z + 1 : z + 3].mean(axis=(0, 1))
        near = mirrored(y - 4 + i, 20), mirrored(z - 4 + j, 32)  # six on each side of the middle
        expected[b, row, column, i, j] = np.exp(-((x[b, *near] - own) ** 2).sum() / (2 * 0.35**2))
    layer = backbone.SelfSimilarity()
    got = layer(x.astype(np.float32))
    np.testing.assert_allclose(got, expected.reshape(2, 5, 8, 144), rtol=1e-4, atol=1e-6)
    assert layer.compute_output_shape((None, 20, None, 3)) == (None, 5, None, 144)


def test_self_similarity_shows_a_shape_whatever_its_colour():
    shapes = np.zeros((3, 32, 32, 3), np.float32)
    for one, (ground, colour) in zip(shapes, ((-1, 1), (1, -1), (0, [1, -1, 0])), strict=True):
        one[:] = ground
        one[8:20, 8:24] = colour
    alike = np.array(backbone.SelfSimilarity()(shapes))
    np.testing.assert_allclose(alike[1], alike[0], atol=1e-3)
    np.testing.assert_allclose(alike[2], alike[0], atol=1e-2)
    assert alike[0, 2, 2].min() < 1e-6 and alike[0, 2, 2].max() == 1.0


def silhouette(picture, row, column):
    """(144,) likeness and 5 numbers of one place, by loops over (S, S, 3) pixels."""
    cells = [(i, j) for i in range(len(picture) // 4) for j in range(len(picture[0]) // 4)]
    colours = {
        (i, j): picture[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean(axis=(0, 1)) for i, j in cells
    }
    own = picture[4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3].mean(axis=(0, 1))
    weight = {}
    for i, j in cells:
        apart, steps = ((colours[i, j] - own) ** 2).sum(), (i - row) ** 2 + (j - column) ** 2
        weight[i, j] = np.exp(-apart / (2 * 0.35**2) - steps / (2 * 3.0**2))
    area = sum(weight.values())
    middle = np.sum([weight[i, j] * np.array([j, i]) for i, j in cells], axis=0) / area
    spread = np.sum([weight[i, j] * (np.array([j, i]) - middle) ** 2 for i, j in cells], axis=0)
    extent = np.sqrt(spread / area + 1 / 12)
    reach, alike = 2 * extent.max(), []
    for v in range(12):
        for u in range(12):
            x, y = (
                int(np.floor(4 * (m + 0.5 + reach * ((k + 0.5) / 6 - 1))))
                for m, k in zip(middle, (u, v), strict=True)
            )
            seen = picture[min(max(y, 0), len(picture) - 1), min(max(x, 0), len(picture[0]) - 1)]
            alike.append(np.exp(-((seen - own) ** 2).sum() / (2 * 0.35**2)))
    size = np.array([len(picture[0]) // 4, len(picture) // 4])
    return np.array([*alike, area / 9, *(2 * (middle + 0.5) / size - 1), *(extent / 3)])


def test_a_silhouette_is_that_of_a_loop():
    x = np.random.default_rng(1).uniform(-1, 1, (2, 20, 32, 3))
    x[:, 6:15, 9:22] = [0.9, -0.8, 0.1]
    layer = backbone.Silhouette(dtype="float64")
    got = np.array(layer(x))
    assert got.shape == (2, 5, 8, 149)
    assert layer.compute_output_shape((None, 20, None, 3)) == (None, 5, None, 149)
    for place in ((0, 0), (2, 3), (2, 4), (4, 7)):
        np.testing.assert_allclose(got[1][place], silhouette(x[1], *place), rtol=1e-6, atol=1e-9)


def test_a_silhouette_is_the_same_elsewhere_in_another_colour_and_nearly_so_in_another_size():
    shapes = np.zeros((4, 64, 64, 3), np.float32)
    for one, (top, left, high, wide, colour) in zip(
        shapes, ((8, 8, 8, 12, 1), (40, 32, 8, 12, 1), (8, 8, 8, 12, -1), (8, 8, 16, 24, 1)),
        strict=True,
    ):  # fmt: skip
        one[top : top + high, left : left + wide] = colour
    found = np.array(backbone.Silhouette()(shapes))
    places = found[0, 2, 3], found[1, 10, 9], found[2, 2, 3], found[3, 3, 4]
    windows, numbers = zip(*((one[:144], one[144:]) for one in places), strict=True)
    np.testing.assert_allclose(windows[1], windows[0], atol=1e-3)
    np.testing.assert_allclose(windows[2], windows[0], atol=1e-3)
    plain = np.array(backbone.SelfSimilarity()(shapes))
    unlike = np.abs(windows[3] - windows[0]).mean()
    assert unlike < 0.5 * np.abs(plain[3, 3, 4] - plain[0, 2, 3]).mean()
    area, x, y, *extents = np.array(numbers).T
    assert area[3] > 2 * area[0] and all(each[3] > 1.5 * each[0] for each in extents)
    np.testing.assert_allclose([area[1], x[1] - x[0], y[1] - y[0]], [area[0], 0.75, 1.0], atol=1e-3)


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
