"""Pictures as the image tower reads them: by descriptors, by a network, as pixels."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image
from tiny_network import LAYERS, NETWORK
from tiny_run import make_run, pixel_run, unit, write_image_tower, write_model

from answering.albums import open_album
from answering.pictures import PictureEncoder
from data import datasets
from data.scenes import world
from data.vision.embedding import NetworkDescriptor
from data.vision.network import cut_crops
from data.vision.pixels import PixelDescriptor, PixelRows
from data.vision.regions import COLOURS, OUTLINES, SECTORS, STEPS, TEXTURES, RegionDescriptor
from data.vision.rows import squeeze
from run import files, onnx_graphs


def described_run(folder, descriptor):
    run = make_run(folder)
    settings = files.read_json(run.config) | {"cache_dir": str(folder / "cache")}
    files.write_json(run.config, settings)
    descriptor.save(run.features)
    kernel = np.random.default_rng(0).normal(size=(descriptor.feature_dim, 7))
    write_image_tower(run.image_tower, kernel)
    return run, SimpleNamespace(cache_dir=folder / "cache")


def made_up_regions():
    """A region descriptor whose words are made up: to learn some takes seconds."""
    rng = np.random.default_rng(0)
    palette = rng.uniform(-100, 200, (COLOURS, 3)).astype(np.float32)
    outlines = rng.normal(size=(OUTLINES, SECTORS + 9)).astype(np.float32)
    textures = rng.normal(size=(TEXTURES, len(STEPS) + 1)).astype(np.float32)
    one = np.array(1, np.float32)
    return RegionDescriptor(palette, outlines, one, textures, one, np.ones(len(STEPS) + 1, "f"))


def write_network(path):
    """(n, S, S, 3) crops -> (n, C) activations: some function of the means of their colours."""
    kernel = np.random.default_rng(1).normal(size=(3, LAYERS.num_columns)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["crops"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "kernel"], ["out"]),
    ]
    crops = helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", "S", "S", 3])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_model(path, nodes, {"kernel": kernel}, [crops], LAYERS.num_columns)


@pytest.mark.parametrize("kind", ["regions", "last", "fne"])
def test_pictures_are_read_as_by_features(tmp_path, kind):
    shown = [Image.fromarray(world.draw_scene(world.make_scene("train", i))) for i in range(20)]
    network = dataclasses.replace(NETWORK, crops=10)
    if kind == "regions":
        descriptor = made_up_regions()
    else:
        moments = (np.zeros(LAYERS.feature_dim), np.full(LAYERS.feature_dim, 200.0))
        descriptor = NetworkDescriptor(network, LAYERS, kind, *moments)
    run, settings = described_run(tmp_path / "run", descriptor)
    if isinstance(descriptor, NetworkDescriptor):
        with pytest.raises(ValueError, match=r"onnx is missing: python test\.py writes it"):
            PictureEncoder(run)
        path = descriptor.exported(settings)
        write_network(path)
        crops = [cut_crops(picture, network).astype("f") for picture in shown]
        means = [onnx_graphs.Tower(path)(one).mean(axis=0) for one in crops]
        vectors = descriptor.embed(np.stack(means))
    else:
        vectors = descriptor.embed(np.stack([squeeze(picture) for picture in shown]))
    encoder, tower = PictureEncoder(run), onnx_graphs.Tower(run.image_tower)
    rows = encoder(shown)
    np.testing.assert_allclose(rows, tower(vectors.astype("f")), atol=1e-5)
    assert rows.shape == (20, 7) and len(np.unique(rows.round(5), axis=0)) > 3


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
def test_a_tower_that_reads_pixels_is_shown_the_whole_picture(tmp_path, kind):
    encoder = PictureEncoder(pixel_run(tmp_path / "run", kind))
    gradient = np.zeros((50, 100, 3), np.uint8)
    gradient[:, :, 0], gradient[:, :, 1] = 200, np.linspace(0, 200, 100)
    picture = Image.fromarray(gradient)
    assert encoder.inputs([picture]).shape == (1, 28, 56, 3)
    expected = unit(np.array([[200, 100, 0, 0, 0, 0, 0]], np.float64))
    np.testing.assert_allclose(encoder([picture] * 40), expected.repeat(40, 0), atol=5e-3)


def test_where_training_crops_the_whole_picture_is_larger(tmp_path):
    encoder = PictureEncoder(pixel_run(tmp_path / "run", crop_area=0.8))
    for size, shape in (((60, 30), (32, 64)), ((10, 10), (32, 32)), ((1, 900), (96, 32))):
        assert encoder.inputs([Image.new("RGB", size)]).shape == (1, *shape, 3)


@pytest.mark.parametrize("shape", [(37, 90), (200, 64), (8, 8), (1, 50), (31, 33)])
@pytest.mark.parametrize("crop_area", [0.8, 1.0])
def test_a_view_is_what_the_gallery_was_made_of(shape, crop_area):
    drawn = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
    split = datasets.Split("t", ["a", "b"], ["x", "y"], np.arange(2), pictures=drawn)
    side = 32 if crop_area < 1 else 28
    views = PixelRows(split, 28, crop_area, view_side=side).views([0, 1])
    descriptor = PixelDescriptor(28, side, crop_area)
    ours = descriptor.describe([Image.fromarray(one) for one in drawn])
    assert ours.shape == views.shape and abs(ours - views.astype(int)).max() <= 1
    assert (ours != views).mean() < 1e-3


@pytest.mark.parametrize("size", [(300, 500), (37, 90), (1000, 1100)])
def test_a_file_is_viewed_as_in_training(tmp_path, size):
    """At the scale at which it is decoded there; the largest could be made smaller twice."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8))
    path = str(tmp_path / "photo.jpg")
    small.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    split = datasets.Split("t", ["a"], ["x"], np.arange(1), pictures=[path], origin=str(tmp_path))
    views = PixelRows(split, 28, cache="none", cache_dir=tmp_path).views([0])
    descriptor = PixelDescriptor(28, 28)
    ours = descriptor.describe([descriptor.load(path)])
    assert ours.shape == views.shape and abs(ours - views.astype(int)).max() <= 1


def test_a_folder_is_described_as_a_split_of_the_same_files(tmp_path):
    descriptor = made_up_regions()
    run, settings = described_run(tmp_path / "run", descriptor)
    names = [f"{i}.png" for i in range(9)]
    (tmp_path / "photos").mkdir()
    for i, name in enumerate(names):
        drawn = Image.fromarray(world.draw_scene(world.make_scene("train", i)))
        drawn.resize((90 + i, 70)).save(tmp_path / "photos" / name)
    paths = [str(tmp_path / "photos" / name) for name in names]
    split = datasets.Split("t", names, ["x"] * 9, np.arange(9), pictures=paths, origin="photos")
    rows = np.asarray(descriptor.rows(split, settings)).astype("f")
    album = open_album(run, tmp_path / "photos", tell=lambda line: None)
    np.testing.assert_allclose(album.image, onnx_graphs.Tower(run.image_tower)(rows), atol=1e-6)


def test_pictures_of_different_sizes_keep_their_places(tmp_path):
    encoder = PictureEncoder(pixel_run(tmp_path / "run"))
    sizes, colours = [(40, 30), (30, 40), (40, 30)], ["red", "blue", "lime"]
    pictures = [Image.new("RGB", *one) for one in zip(sizes, colours, strict=True)]
    rows = encoder.of_any_size(pictures)
    np.testing.assert_allclose(rows[:, :3], [[1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-6)
