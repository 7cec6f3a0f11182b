"""Networks of KerasHub by a preset's folder: read, scaled, described and trained."""

import json
import shutil

import numpy as np
import pytest
import tiny_settings
from tiny_network import make_split

from data.vision import cnn, presets
from data.vision.embedding import NetworkDescriptor
from data.vision.rows import open_picture
from run import replicas
from systems.engine import backbone

replicas.import_tensorflow()
import keras_hub  # noqa: E402 - quietly

SIDE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny EfficientNet with an image converter, as KerasHub saves a preset."""
    path = tmp_path_factory.mktemp("presets") / "tiny_eff"
    network = keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 2, stackwise_depth_coefficients=[1.0] * 2,
        stackwise_kernel_sizes=[3, 3], stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8], stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 2], stackwise_squeeze_and_excite_ratios=[0.0, 0.0],
        stackwise_strides=[1, 2], stackwise_block_types=["v1", "unfused"], depth_divisor=8,
        min_depth=8, dropout=0.0, input_shape=(None, None, 3), stackwise_force_input_filters=[0, 0],
        include_stem_padding=False, use_depth_divisor_as_min_depth=False, stem_conv_padding="same",
        cap_round_filter_decrease=False, batch_norm_momentum=0.9,
    )  # fmt: skip
    network.save_to_preset(path)
    converter = keras_hub.layers.EfficientNetImageConverter(
        image_size=(SIDE, SIDE), scale=1 / 128, offset=[-1.0, -0.5, 0.0]
    )
    converter.save_to_preset(path)
    return path


def settings_of(folder, **changes):
    return tiny_settings.make(
        model="dual_path", features="pixels", cnn=str(folder), image_size=SIDE, **changes
    )


def scaled(pixels):
    return pixels.astype(np.float32) / 128 + np.array([-1.0, -0.5, 0.0], np.float32)


def test_what_is_a_preset(folder, tmp_path):
    for name in (str(folder), "densenet_121_imagenet", "hf://timm/resnet34.a1_in1k"):
        assert presets.is_preset(name)
    for name in ("MobilNetV2", "small", "resnet_35", str(tmp_path / "none")):
        assert not presets.is_preset(name)
        with pytest.raises(ValueError, match=r"unknown --cnn .* there are ConvNeXtTiny"):
            cnn.check_known(name)


def test_a_preset_is_known_by_its_files_not_by_where_they_lie(folder, tmp_path):
    network = cnn.describe_network(settings_of(folder))
    assert (network.cnn, network.size, network.weights) == ("tiny_eff", SIDE, str(folder))
    moved = shutil.copytree(folder, tmp_path / "tiny_eff")
    again = cnn.describe_network(settings_of(moved))
    assert again.fingerprint() == network.fingerprint()
    (moved / presets.CONVERTER).write_text((moved / presets.CONVERTER).read_text() + " ")
    assert presets.identity(str(moved)) != network.weights_id
    with pytest.raises(ValueError, match="holds other weights than those"):
        cnn.load_network(again)


def test_layers_are_means_of_what_the_preset_makes_of_scaled_pixels(folder):
    model, layers = cnn.open_network(cnn.describe_network(settings_of(folder)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    rows = np.asarray(model(pixels))
    network = keras_hub.models.Backbone.from_preset(str(folder))
    expected = np.asarray(network(scaled(pixels))).mean(axis=(1, 2))
    np.testing.assert_allclose(rows[:, slice(*layers.last)], expected, atol=1e-5)
    assert [name for name in layers.names if name.startswith("block2")]  # blocks count as layers
    assert layers.last[1] == layers.num_columns == rows.shape[1]


def test_pictures_are_described_and_asked_without_tensorflow_alike(folder, tmp_path):
    own = settings_of(folder, crops=1, cache_dir=str(tmp_path))
    split = make_split(tmp_path, 4)
    descriptor = NetworkDescriptor.from_split(split, own, "last")
    rows = descriptor.rows(split, own)
    descriptor.export(own)
    descriptor.open(own)
    pictures = [open_picture(split, row) for row in range(split.num_images)]
    np.testing.assert_allclose(descriptor.describe(pictures), rows, atol=1e-5)


def test_a_backbone_reads_bytes_has_the_presets_weights_and_runs_still(folder):
    settings = settings_of(folder, freeze_norm=True)
    made = backbone.image_backbone(settings)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    drawn = np.asarray(made(pixels))
    backbone.load_backbone(made, settings)
    network = keras_hub.models.Backbone.from_preset(str(folder))
    expected = np.asarray(network(scaled(pixels)))
    np.testing.assert_allclose(made(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(made(pixels, training=True), expected, atol=1e-5)
    assert np.abs(drawn - expected).max() > 1e-3
    norms = [x for x in made._flatten_layers() if type(x).__name__ == "BatchNormalization"]
    assert len(norms) > 4 and {norm.momentum for norm in norms} == {backbone.NORM_MOMENTUM}


def test_what_is_no_preset_of_pictures_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json is not in that folder; expected a preset"):
        presets.identity(str(tmp_path))
    other = shutil.copytree(folder, tmp_path / "other")
    found = json.loads((other / presets.CONVERTER).read_text())
    found["config"]["image_size"] = [32, "x"]
    (other / presets.CONVERTER).write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"names no side of its pictures, but \[32, 'x'\]"):
        presets.side_of(str(other))
    (other / presets.WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(ValueError, match="is not a whole HDF5 file"):
        presets.load_preset(str(other))
    (other / presets.ARCHITECTURE).write_text('{"registered_name": "os>system"}')
    with pytest.raises(ValueError, match=r"cannot be had .* expected a preset of KerasHub"):
        presets.load_preset(str(other))
    with pytest.raises(ValueError, match="brings its own weights"):
        cnn.describe_network(settings_of(folder, image_weights="none"))
