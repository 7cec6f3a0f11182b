"""Networks as readers of pictures: which layers, their values, weights, ONNX."""

import dataclasses
import types
import urllib.error

import numpy as np
import pytest
from conftest import SHARED
from PIL import Image
from tiny_network import make_split

from data.vision import cnn, tensors
from data.vision.descriptors import load_descriptor
from data.vision.embedding import NetworkDescriptor
from data.vision.network import Network, cut_crops
from data.vision.rows import open_picture
from run import replicas
from run.onnx_graphs import Tower

replicas.import_tensorflow()
import keras  # noqa: E402 - quietly
from keras import layers  # noqa: E402

SMALL = Network("MobileNetV2", "random", "random 0", 32)
REAL = SHARED / "weights" / "mobilenet_v2_1.0_224_imagenet_from_int8_ptq_notop.weights.h5"
# Where the paper's code finds VGG16's layers, conv1_1 to fc7.
VGG16 = [0, 64, 128, 256, 384, 640, 896, 1152, 1664, 2176, 2688, 3200, 3712, 4224, 8320]


def lazily(name, has_top):
    """The layers of a network whose weights are never made."""
    size = cnn.NETWORKS[name]
    with keras.StatelessScope(initialize_variables=False):
        model = getattr(keras.applications, name)(
            weights=None, include_top=has_top, input_shape=(size, size, 3)
        )
        return tensors.find_layers(model, has_top)


def widths(found):
    return [int(tensor.shape[-1]) for tensor in found.values()]


def starts_of(names, sizes):
    """First column of each layer."""
    return dict(zip(names, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))


# ---- Which layers -------------------------------------------------------------------------------


def test_all_networks_are_there():
    public = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(cnn.NETWORKS) == public


def test_vgg16_has_the_numbers_and_offsets_of_the_paper():
    found, last = lazily("VGG16", True)
    assert [0, *np.cumsum(widths(found)).tolist()] == [*VGG16, 12416]
    assert list(found)[-1] == "fc2" and last is found["fc2"]
    assert starts_of(list(found), widths(found))["block4_conv2"] == 1664


@pytest.mark.parametrize(
    ("name", "columns", "last"),
    [
        ("VGG19", 13696, "fc2"),
        ("ResNet50", 22720, "conv5_block3_out"),
        ("MobileNetV2", 17056, "out_relu"),
        ("Xception", 27264, "block14_sepconv2_act"),
        ("DenseNet121", 10240, "relu"),
    ],
)
def test_other_networks(name, columns, last):
    found, tensor = lazily(name, name in cnn.DENSE)
    assert sum(widths(found)) == columns
    assert tensors._producer(tensor).name == last


def hand_made(has_top=True):
    """One of each way in which layers and activations follow each other."""
    pixels = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="fused")(pixels)
    x = layers.Conv2D(5, 3, padding="same", use_bias=False, name="plain")(x)
    x = layers.ReLU(name="plain_relu")(layers.BatchNormalization(name="plain_bn")(x))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = layers.Activation("relu", name="depthwise_relu")(layers.ZeroPadding2D(0)(y))
    y = layers.SeparableConv2D(5, 3, padding="same", name="bottleneck")(y)
    y = layers.Add(name="sum")([x, layers.BatchNormalization(name="bottleneck_bn")(y)])
    z = layers.Conv2D(6, 1, name="left")(y)
    y = layers.Conv2D(6, 1, name="right")(y)
    y = layers.BatchNormalization(name="right_bn")(y)
    y = layers.ReLU(name="joined_relu")(layers.Add()([z, y]))
    y = layers.Conv2D(7, 1, name="bare")(y)
    y = layers.MaxPooling2D(name="pool")(y)
    if has_top:
        y = layers.Dense(8, activation="relu", name="hidden")(layers.Flatten()(y))
        y = layers.Dropout(0.5)(y)
        y = layers.Dense(9, activation="softmax", name="predictions")(y)
    return keras.Model(pixels, y)


def test_layers_are_read_behind_their_activation_each_once():
    found, last = tensors.find_layers(hand_made(), True)
    assert list(found) == [
        "fused", "plain_relu", "depthwise_relu", "bottleneck_bn", "joined_relu", "bare", "hidden",
    ]  # fmt: skip
    assert last is found["hidden"]
    found, last = tensors.find_layers(hand_made(False), False)
    assert "hidden" not in found and tensors._producer(last).name == "pool"


def test_before_the_activation_layers_give_what_the_activation_is_given():
    keras.utils.set_random_seed(0)  # of some weights, no number before the ReLU is below 0
    model = hand_made()
    split = tensors.split_activations(model)
    found, last = tensors.find_layers(split, True, pre_activation=True)
    assert list(found) == [
        "fused", "plain", "depthwise", "bottleneck", "right", "left", "bare", "hidden",
    ]  # fmt: skip
    assert tensors._producer(last).name == "hidden_activation"
    pixels = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("f")
    np.testing.assert_allclose(split(pixels), model(pixels), rtol=1e-6)
    names = ("fused", "hidden")
    before = keras.Model(split.input, [found[name] for name in names])(pixels)
    after = keras.Model(model.input, [model.get_layer(name).output for name in names])(pixels)
    for pre, post in zip(before, after, strict=True):
        assert np.min(pre) < 0
        np.testing.assert_allclose(np.maximum(pre, 0), post, rtol=1e-6)


# ---- Values -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runner():
    return cnn.Runner(SMALL)


@pytest.fixture(scope="module")
def crops():
    shape = (3, 10, 32, 32, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def by_hand(crops):
    """Means over space and crops of what single layers answer, with MobileNetV2's preprocessing."""
    base, _ = cnn.load_network(SMALL)
    names = ["Conv1_relu", "expanded_conv_project_BN", "block_3_depthwise_relu", "out_relu"]
    model = keras.Model(base.input, [base.get_layer(name).output for name in names])
    rows = []
    for picture in crops:
        outputs = model(picture.astype("f") / 127.5 - 1, training=False)
        rows.append({n: np.mean(o, axis=(0, 1, 2)) for n, o in zip(names, outputs, strict=True)})
    return rows


def test_activations_are_means_over_space_and_crops(runner, crops):
    rows = np.concatenate([runner(crops[:2][:1]), runner(crops[1:2])])
    assert rows.shape == (2, 17056) and rows.dtype == np.float32
    starts = starts_of(runner.layers.names, runner.layers.widths)
    for row, wanted in zip(rows, by_hand(crops[:2]), strict=True):
        for name, values in wanted.items():
            own = row[starts[name] : starts[name] + len(values)]
            np.testing.assert_allclose(own, values, atol=1e-5 * np.abs(values).max())
        np.testing.assert_array_equal(row[slice(*runner.layers.last)], row[-1280:])


def test_a_picture_alone_is_as_among_others():
    one = dataclasses.replace(SMALL, crops=1)
    run = cnn.Runner(one)
    pictures = np.random.default_rng(1).integers(0, 256, (8, 1, 32, 32, 3)).astype(np.uint8)
    whole = run(pictures[: run.pictures])
    np.testing.assert_array_equal(run(pictures[:3]), whole[:3])
    np.testing.assert_array_equal(run(pictures[5:6]), whole[5:6])


def test_exported_network_gives_the_same(monkeypatch, tmp_path):
    model = hand_made(False)  # MobileNetV2 takes 10 s to export
    monkeypatch.setattr(cnn, "load_network", lambda _: (model, False))
    network = dataclasses.replace(SMALL, size=12)
    runner = cnn.Runner(network)
    last, settings = (
        NetworkDescriptor(network, runner.layers, "last"),
        types.SimpleNamespace(cache_dir=tmp_path),
    )
    last.export(settings)
    pixels = np.random.default_rng(2).integers(0, 256, (2, 20, 30, 3)).astype(np.uint8)
    pictures = [Image.fromarray(one) for one in pixels]
    crops = cut_crops(pictures[0], network)
    rows = runner(crops[None])
    answer = Tower(last.exported(settings))(crops.astype("f"))
    assert answer.shape == (10, runner.layers.num_columns)
    np.testing.assert_allclose(answer.mean(axis=0), rows[0], atol=1e-4)
    last.open(settings)
    vectors = last.describe(pictures)
    assert vectors.shape == (2, 7) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[:1], last.embed(rows), atol=1e-4)
    mean = rows[0, : runner.layers.feature_dim] - np.where(np.arange(32) % 2, 1, -1)
    fne = NetworkDescriptor(network, runner.layers, "fne", mean, np.ones(32))
    fne.open(settings)
    vector = fne.describe(pictures[:1])
    assert vector.dtype == np.int8
    np.testing.assert_array_equal(vector[0], np.where(np.arange(32) % 2, 1, -1))
    settings.cache_dir = tmp_path / "none"
    with pytest.raises(ValueError, match=r"\.onnx is missing: python test\.py writes it"):
        last.open(settings)


def test_a_grid_is_mapped_from_its_store_and_the_same_without_tensorflow(monkeypatch, tmp_path):
    model = hand_made(False)  # ends in a map of 5 x 5 places
    monkeypatch.setattr(cnn, "load_network", lambda _: (model, False))
    settings = types.SimpleNamespace(
        grid=2, cnn="MobileNetV2", image_weights="none", data_seed=0, crops=10, resize="squash",
        pre_activation=True, cache_dir=tmp_path / "cache", image_size=12, reads_pixels=True,
    )  # fmt: skip
    network = cnn.describe_network(settings, as_grid=True)
    assert (network.crops, network.grid, network.pre_activation) == (1, 2, False)
    split = make_split(tmp_path, 3)
    descriptor = NetworkDescriptor.from_split(split, settings, "grid")
    vectors = descriptor.rows(split, settings)
    assert vectors.shape == (3, 4, 7) and isinstance(vectors, np.memmap)
    descriptor.save(tmp_path / "grid.npz")
    again = load_descriptor(tmp_path / "grid.npz")
    again.export(settings)
    again.open(settings)
    one = again.describe([open_picture(split, 1)])
    assert np.abs(vectors[1]).max() > 0.01
    np.testing.assert_allclose(one[0], vectors[1], atol=1e-5)


@pytest.mark.parametrize("reads_pixels", [True, False])
def test_the_last_layer_is_as_a_tower_of_pixels_has_it_where_there_may_be_one(
    monkeypatch, tmp_path, reads_pixels
):
    model = hand_made(False)
    monkeypatch.setattr(cnn, "load_network", lambda _: (model, False))
    monkeypatch.setattr(cnn, "_input_side", lambda _: 12)
    settings = types.SimpleNamespace(
        grid=0, cnn="MobileNetV2", image_weights="none", data_seed=0, crops=1, resize="squash",
        pre_activation=False, cache_dir=tmp_path / "cache", image_size=12,
        reads_pixels=reads_pixels,
    )  # fmt: skip
    split = make_split(tmp_path, 3)
    descriptor = NetworkDescriptor.from_split(split, settings, "last")
    rows = descriptor.rows(split, settings)
    crops = np.stack([cut_crops(open_picture(split, n), descriptor.network) for n in range(3)])
    found = cnn.Runner(descriptor.network)(crops)[:, slice(*descriptor.layers.last)]
    norms = np.linalg.norm(found, axis=1)
    assert np.abs(norms - 1).min() > 0.01
    wanted = found if reads_pixels else found / norms[:, None]
    np.testing.assert_allclose(rows, wanted, atol=1e-5)
    descriptor.save(tmp_path / "last.npz")
    again = load_descriptor(tmp_path / "last.npz")
    again.export(settings)
    again.open(settings)
    np.testing.assert_allclose(again.describe([open_picture(split, 1)]), wanted[1:2], atol=1e-5)
    assert again.fingerprint() == descriptor.fingerprint()


@pytest.mark.skipif(not REAL.exists(), reason="the real weights are not at hand")
def test_real_weights_know_what_they_see():
    weights = str(REAL)
    network = Network("MobileNetV2", weights, cnn.weights_id(weights), 224, crops=1)
    model, found = cnn.open_network(network)
    flat = np.full((1, 224, 224, 3), 127.5, np.float32)
    last = np.asarray(model(flat))[:, slice(*found.last)]
    assert found.feature_dim == 17056 and last.shape == (1, 1280)
    assert last.min() >= 0 and last.max() <= 6  # ReLU6


# ---- Weights ------------------------------------------------------------------------------------


def test_random_weights_follow_the_seed(monkeypatch):
    monkeypatch.setattr(keras.applications, "MobileNetV2", lambda **_: hand_made(False))

    def first(identity):
        model, _ = cnn.load_network(dataclasses.replace(SMALL, weights_id=identity))
        return model.get_weights()[0]

    np.testing.assert_array_equal(first("random 0"), first("random 0"))
    assert not np.array_equal(first("random 0"), first("random 1"))


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """MobileNetV2 with its classifier, weights of seed 7."""
    path = tmp_path_factory.mktemp("weights") / "own.weights.h5"
    keras.utils.set_random_seed(7)
    model = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3))
    model.save_weights(path)
    return path, model.get_weights()[0]


def from_file(path, name="MobileNetV2"):
    return Network(name, str(path), cnn.weights_id(str(path)), 32)


def test_weights_of_a_file_with_or_without_classifier(weights_file):
    path, kernel = weights_file
    model, _ = cnn.load_network(from_file(path))
    np.testing.assert_array_equal(model.get_weights()[0], kernel)


@pytest.mark.parametrize("name", ["VGG19", "MobileNet"])
def test_weights_of_another_network_are_refused(weights_file, name, monkeypatch):
    monkeypatch.setattr(cnn, "DENSE", ())  # VGG19 has no classifier at 32 pixels that is cheap
    small = keras.applications.VGG19 if name == "VGG19" else keras.applications.MobileNet
    cheap = {"weights": None, "include_top": False, "input_shape": (32, 32, 3)}
    monkeypatch.setattr(keras.applications, name, lambda **_: small(**cheap))
    with pytest.raises(ValueError, match=f"does not hold weights of {name} .*is --cnn right") as e:
        cnn.load_network(from_file(weights_file[0], name))
    assert "\n" not in str(e.value)


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    path = tmp_path / "bad.weights.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.weights\.h5 does not hold weights of MobileNetV2"):
        cnn.load_network(from_file(path))


def test_a_file_that_was_exchanged_is_refused(weights_file):
    network = dataclasses.replace(from_file(weights_file[0]), weights_id="0" * 64)
    with pytest.raises(ValueError, match="holds other weights than those"):
        cnn.load_network(network)


def test_without_a_network_connection_one_line_says_what_to_put_where(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = r"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1\.0_224_no_top\.h5"
    said = rf"fetch https://\S+/{file} and put it into \S+ as {file}, or .*--image_weights PATH$"
    with pytest.raises(ValueError, match=said) as error:
        cnn.load_network(Network("MobileNetV2", "imagenet", "imagenet", 224))
    assert str(tmp_path / "models") in str(error.value)


def test_some_files_have_another_name_in_the_cache():
    def make(**_):
        raise RuntimeError("URL fetch failure on https://x/NASNet-mobile-no-top.h5: None -- none")

    with pytest.raises(ValueError, match=r"x/NASNet-mob\S+ and put .* as nasnet_mobile_no_top\.h5"):
        cnn._download(make, "NASNetMobile", False, (224, 224, 3))


def test_settings_name_a_network(tmp_path):
    settings = types.SimpleNamespace(
        cnn="Xception", image_weights="random", data_seed=3, crops=10, resize="squash",
        pre_activation=False,
    )  # fmt: skip
    network = cnn.describe_network(settings)
    assert (network.weights_id, network.size) == ("random 3", 299)
    settings.image_weights = str(tmp_path / "none.h5")
    with pytest.raises(ValueError, match=r"none\.h5: there is no such file"):
        cnn.describe_network(settings)
    settings.cnn = "VGG17"
    with pytest.raises(ValueError, match=r"unknown --cnn 'VGG17'; there are .*VGG16"):
        cnn.describe_network(settings)
