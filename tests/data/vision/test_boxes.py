"""Boxes as input: of drawn pictures, of a CNN's last map, in batches, and refused where unread."""

import types

import numpy as np
import pytest
from PIL import Image
from tiny_network import make_split

from data.language.words import Tokens, Vocabulary
from data.scenes import drawing, world
from data.vision import activations, boxes, cnn, descriptors, regions
from data.vision.network import Network, NetworkDescriptor
from run import recipes
from training.batches import TrainingBatches

CODES = {"colour": 24, "outline": 32, "texture": 16, "size": 9, "place": 16}


@pytest.fixture(scope="module")
def pictures():
    return drawing.draw_all(world.make_scenes("train", 70)[0])


@pytest.fixture(scope="module")
def descriptor(pictures):
    return boxes.BoxDescriptor.learn(pictures)


def test_boxes_are_regions_the_largest_first(pictures, descriptor):
    found = descriptor.describe(pictures[:3])
    assert found.dtype == np.float16 and found.shape == (3, *descriptor.row_shape)
    for row, picture in enumerate(pictures[:3]):
        own = regions.find_regions(picture[None], descriptor.regions.table)
        order = sorted(range(len(own.area)), key=lambda r: -own.area[r])[: boxes.BOXES]
        there = np.abs(found[row]).max(axis=1) > 0
        assert there.tolist() == [k < len(order) for k in range(boxes.BOXES)]
        for place, region in enumerate(order):
            told = found[row, place, -5:].astype(float) * [64, 64, 64, 64, 4096]
            np.testing.assert_allclose(told, [*own.box[region], own.area[region]], rtol=1e-3)
        frames = descriptor.frames(picture[None])[0]
        np.testing.assert_allclose(frames[: len(order)] * 64, own.box[order])


def test_each_part_of_a_box_has_norm_one(pictures, descriptor):
    rows = descriptor.describe(pictures).astype(np.float64)
    sizes = {
        name: part.shape[1]
        for name, part in descriptor.regions.codes(descriptor._nothing()).items()
    }
    assert set(sizes) == set(CODES)
    widths = [sizes[name] for name in boxes.SINGLE]
    widths += [sizes[a] * sizes[b] for a, b in boxes.JOINED]
    there = rows.any(axis=2)
    for part in np.split(rows, np.cumsum(widths), axis=2)[:-1]:
        np.testing.assert_allclose(np.linalg.norm(part, axis=2)[there], 1, atol=1e-2)
    assert not rows[~there].any()


def test_one_picture_is_described_as_among_others_and_after_a_file(pictures, descriptor, tmp_path):
    many = descriptor.describe(pictures[:5])
    descriptor.save(tmp_path / "boxes.npz")
    again = descriptors.load(tmp_path / "boxes.npz")
    assert isinstance(again, boxes.BoxDescriptor)
    assert again.fingerprint() == descriptor.fingerprint()
    np.testing.assert_array_equal(again.describe(pictures[3:4])[0], many[3])
    one = descriptors.describe_picture(again, Image.fromarray(pictures[3]), tmp_path)
    np.testing.assert_array_equal(one[0], many[3].astype(np.float32))
    descriptor.regions.save(tmp_path / "regions.npz")
    assert isinstance(descriptors.load(tmp_path / "regions.npz"), regions.RegionDescriptor)
    with pytest.raises(ValueError, match="train the run anew"):
        boxes.BoxDescriptor.load(tmp_path / "regions.npz")


def test_a_picture_of_one_colour_has_one_box(descriptor):
    rows = descriptor.describe(np.full((1, 64, 64, 3), 200, np.uint8))
    assert rows[0, 0].any() and not rows[0, 1:].any()
    assert descriptor.describe(np.zeros((0, 64, 64, 3), np.uint8)).shape[0] == 0


def test_a_split_is_described_once_and_mapped(descriptor, tmp_path):
    split = make_split(tmp_path, 70)
    vectors = descriptors.image_vectors(split, descriptor, tmp_path / "cache")
    assert isinstance(vectors, np.memmap) and vectors.shape == (70, *descriptor.row_shape)
    pixels = descriptors.read_all(split, np.arange(70))
    np.testing.assert_array_equal(vectors[66], descriptor.describe(pixels[66:67])[0])
    assert descriptors.size_of(vectors) == descriptor.row_shape[1]


# ---- A CNN's last map ---------------------------------------------------------------------------


def test_a_grid_by_loops():
    keras = pytest.importorskip("keras")
    maps = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    image = keras.Input((5, 7, 3))
    found = np.array(keras.Model(image, cnn.grid_means(image, 3))(maps)).reshape(2, 3, 3, 3)
    for row in range(3):
        for column in range(3):
            top, bottom = row * 5 // 3, -(-(row + 1) * 5 // 3)
            left, right = column * 7 // 3, -(-(column + 1) * 7 // 3)
            cells = maps[:, top:bottom, left:right]
            expected = cells.mean(axis=(1, 2))
            np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-5, atol=1e-6)
    frames = boxes.grid_frames(3)
    np.testing.assert_allclose(frames[5], [2 / 3, 1 / 3, 1, 2 / 3])


def test_a_grid_of_a_network_is_mapped_from_its_store_and_the_same_without_tensorflow(tmp_path):
    settings = types.SimpleNamespace(
        features="grid", grid=2, cnn="MobileNetV2", image_weights="none", data_seed=0, crops=10,
        resize="squash", pre_activation=True, cache_dir=tmp_path / "cache", image_size=32,
        model="dual_path",
    )  # fmt: skip
    network = cnn.describe_network(settings)
    assert (network.crops, network.grid, network.pre_activation) == (1, 2, False)
    split = make_split(tmp_path, 3)
    descriptor = descriptors.learn(split, settings)
    assert isinstance(descriptor, NetworkDescriptor)
    vectors = descriptors.image_vectors(split, descriptor, settings.cache_dir)
    assert vectors.shape == (3, 4, 1280) and isinstance(vectors, np.memmap)
    descriptor.save(tmp_path / "grid.npz")
    again = descriptors.load(tmp_path / "grid.npz")
    assert again is not None
    descriptors.export(again, settings.cache_dir)
    picture = activations.open_picture(split, 1)
    one = descriptors.describe_picture(again, picture, settings.cache_dir)
    largest = np.abs(vectors[1]).max()  # a network without weights hardly answers
    assert largest > 0
    np.testing.assert_allclose(one[0] / largest, vectors[1] / largest, atol=1e-3)


def test_a_grid_leaves_older_caches_and_files_as_they_are():
    facts = ("MobileNetV2", "none", "random 0", 32)
    plain = Network(*facts, crops=1)
    assert plain.fingerprint() != Network(*facts, crops=1, grid=2).fingerprint()
    assert "grid" not in str(sorted(set(vars(plain)) - {"grid"}))
    with pytest.raises(ValueError, match="a grid is of 1 crop"):
        Network(*facts, grid=2)
    settings = types.SimpleNamespace(features="grid", grid=2, cnn="VGG16")
    with pytest.raises(ValueError, match="VGG16 ends in dense layers"):
        cnn.describe_network(settings)


# ---- Batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("captions", ["all", "together"])
def test_batches_bring_boxes_of_a_memory_map(captions, tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float16)
    np.save(tmp_path / "boxes.npy", rows)
    mapped = np.load(tmp_path / "boxes.npy", mmap_mode="r")
    tokens = Tokens(["a b", "b", "c a", "a", "b b c"], Vocabulary(["a", "b", "c"], "plain_words"))
    settings = recipes.Settings(**{**recipes.default_settings(), "captions": captions})
    settings.batch_size = 2
    batches = TrainingBatches(mapped, tokens, np.arange(5), settings)
    batch = batches.share(0, 0, 1)
    assert batch["image"].shape == (2, 3, 4) and batch["image"].dtype == np.float32
    np.testing.assert_array_equal(batch["image"], rows[batch["image_id"]].astype(np.float32))
    found = next(iter(batches.dataset()))
    np.testing.assert_array_equal(found["image"], batch["image"])


@pytest.mark.parametrize(
    ("shape", "model", "says"),
    [
        ((2, 7), "joint", "this data has vectors of 7 numbers"),
        ((2, 3, 7), "gru", "this data has 3 boxes of 7 numbers: use --model joint"),
    ],
)
def test_boxes_and_vectors_go_to_those_who_read_them(shape, model, says):
    with pytest.raises(ValueError, match=says):
        descriptors.check_boxes(np.zeros(shape), model)
    descriptors.check_boxes(np.zeros((2, 3, 7)), "joint")
    descriptors.check_boxes(np.zeros((2, 7)), "gru")


def test_plain_words_end_and_know_no_punctuation():
    vocabulary = Vocabulary.from_captions(["A dog's ball, red."], 9, "plain_words")
    assert vocabulary.words == ["'s", "a", "ball", "dog", "red"]
    assert vocabulary.encode("a red, cat") == [2, 5, 6, 7]
    assert vocabulary.num_ids == 7
