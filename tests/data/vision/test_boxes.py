"""Boxes as input: of drawn pictures, of a CNN's last map, in batches, and refused where unread."""

import types

import numpy as np
import pytest
import tiny_settings
from PIL import Image
from tiny_network import make_split

from data.language.words import Tokens, Vocabulary
from data.scenes import drawing, world
from data.vision import boxes, cnn, descriptors, embedding, regions, rows
from data.vision.network import Layers, Network
from data.vision.pixels import PixelDescriptor
from training.batches import TrainingBatches

CODES = {"colour": 24, "outline": 32, "texture": 16, "size": 9, "place": 16}


@pytest.fixture(scope="module")
def pictures():
    return drawing.draw_all(world.make_scenes("train", 70)[0])


@pytest.fixture(scope="module")
def descriptor(pictures):
    return boxes.BoxDescriptor.learn(pictures)


def test_boxes_are_regions_the_largest_first(pictures, descriptor):
    found = descriptor.embed(pictures[:3])
    assert found.dtype == np.float16 and found.shape == (3, *descriptor.row_shape)
    for row, picture in enumerate(pictures[:3]):
        own = regions.find_regions(picture[None], descriptor.regions.table)
        order = sorted(range(len(own.area)), key=lambda r: -own.area[r])[: boxes.BOXES]
        there = np.abs(found[row]).max(axis=1) > 0
        assert there.tolist() == [k < len(order) for k in range(boxes.BOXES)]
        for place, region in enumerate(order):
            told = found[row, place, -5:].astype(float) * [64, 64, 64, 64, 4096]
            np.testing.assert_allclose(told, [*own.box[region], own.area[region]], rtol=1e-3)
        frames = descriptor.frames(Image.fromarray(picture))
        np.testing.assert_allclose(frames[: len(order)] * 64, own.box[order])


def test_each_part_of_a_box_has_norm_one(pictures, descriptor):
    rows = descriptor.embed(pictures).astype(np.float64)
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


def test_one_picture_is_described_as_among_others(pictures, descriptor):
    many = descriptor.embed(pictures[:5])
    np.testing.assert_array_equal(descriptor.describe([Image.fromarray(pictures[3])])[0], many[3])


def test_a_picture_of_one_colour_has_one_box(descriptor):
    rows = descriptor.embed(np.full((1, 64, 64, 3), 200, np.uint8))
    assert rows[0, 0].any() and not rows[0, 1:].any()
    assert descriptor.embed(np.zeros((0, 64, 64, 3), np.uint8)).shape[0] == 0


def test_a_split_is_described_once_and_mapped(descriptor, tmp_path):
    split = make_split(tmp_path, 70)
    vectors = descriptor.rows(split, types.SimpleNamespace(cache_dir=tmp_path / "cache"))
    assert isinstance(vectors, np.memmap) and vectors.shape == (70, *descriptor.row_shape)
    pixels = rows.read_all(split, np.arange(70))
    np.testing.assert_array_equal(vectors[66], descriptor.embed(pixels[66:67])[0])
    assert descriptor.feature_dim == vectors.shape[2]


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


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        # The middle 224 of 256 pixels, cut in 2 x 2: the lower right place.
        ((640, 480), "squash", [0.5, 0.5, 0.9375, 0.9375]),
        # 512 x 256 pixels, of which the middle 224 x 224.
        ((800, 400), "short_side", [0.5, 0.5, 0.71875, 0.9375]),
    ],
)
def test_frames_of_a_grid_lie_where_the_network_looked(size, resize, expected):
    network = Network("MobileNetV2", "none", "random 0", 224, 1, resize, grid=2)
    descriptor = embedding.NetworkDescriptor(network, Layers(["grid"], [12], (0, 12)), "grid")
    frames = descriptor.frames(Image.new("RGB", size))
    assert frames.shape == (4, 4)
    np.testing.assert_allclose(frames[3], expected, atol=1e-6)
    by_rows = frames[[1, 2]][:, [0, 1]] - frames[0][:2]
    np.testing.assert_allclose(by_rows > 0.1, [[True, False], [False, True]])


def test_a_grid_leaves_older_caches_and_files_as_they_are():
    facts = ("MobileNetV2", "none", "random 0", 32)
    plain = Network(*facts, crops=1)
    assert plain.fingerprint() != Network(*facts, crops=1, grid=2).fingerprint()
    assert "grid" not in str(sorted(set(vars(plain)) - {"grid"}))
    with pytest.raises(ValueError, match="a grid is of 1 crop"):
        Network(*facts, grid=2)
    settings = types.SimpleNamespace(grid=2, cnn="VGG16")
    with pytest.raises(ValueError, match="VGG16 ends in dense layers"):
        cnn.describe_network(settings, as_grid=True)


# ---- Batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("captions", ["all", "together"])
def test_batches_bring_boxes_of_a_memory_map(captions, tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float16)
    np.save(tmp_path / "boxes.npy", rows)
    mapped = np.load(tmp_path / "boxes.npy", mmap_mode="r")
    tokens = Tokens(["a b", "b", "c a", "a", "b b c"], Vocabulary(["a", "b", "c"], "plain_words"))
    settings = tiny_settings.make(captions=captions, batch_size=2)
    batches = TrainingBatches(mapped, tokens, np.arange(5), settings)
    batch = batches.share(0, 0, 1)
    assert batch["image"].shape == (2, 3, 4) and batch["image"].dtype == np.float32
    np.testing.assert_array_equal(batch["image"], rows[batch["image_id"]].astype(np.float32))
    found = next(iter(batches.dataset()))
    np.testing.assert_array_equal(found["image"], batch["image"])


@pytest.mark.parametrize(
    ("shape", "model", "says"),
    [
        ((7,), "joint", "this data has vectors of 7 numbers"),
        ((3, 7), "gru", "this data has 3 boxes of 7 numbers: use --model joint"),
    ],
)
def test_boxes_and_vectors_go_to_those_who_read_them(shape, model, says):
    descriptor = descriptors.ReadyVectors(shape)
    with pytest.raises(ValueError, match=says):
        descriptors.check_reads(descriptor, model, model == "joint")
    descriptors.check_reads(descriptor, "other", model != "joint")
    pixels = PixelDescriptor(64, 73)
    descriptors.check_reads(pixels, "dual_path", False)
    with pytest.raises(ValueError, match="this data has pictures"):
        descriptors.check_reads(pixels, "joint", True)


def test_plain_words_end_and_know_no_punctuation():
    vocabulary = Vocabulary.from_captions(["A dog's ball, red."], 9, "plain_words")
    assert vocabulary.words == ["'s", "a", "ball", "dog", "red"]
    assert vocabulary.encode("a red, cat") == [2, 5, 6, 7]
    assert vocabulary.num_ids == 7
