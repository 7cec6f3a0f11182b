"""The full-network embedding: against loops from the paper, thresholds, crops, its file."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from reference_ranking import full_network

from data.vision.embedding import NetworkDescriptor, discretise, moments
from data.vision.network import RESIZES, Layers, Network, cut_crops

NETWORK = Network("VGG16", "/somewhere/weights.h5", "a1b2", 224)
LAYERS = Layers(["one", "two"], [3, 4], (3, 7))


def descriptor_of(train, kind="fne"):
    mean, std = moments([train[:, : LAYERS.feature_dim]])
    return NetworkDescriptor(NETWORK, LAYERS, kind, mean, std)


@pytest.fixture
def train():
    rows = np.random.default_rng(0).gamma(1.0, 2.0, (40, 7)).astype(np.float32)
    rows[:, 2] = 0.1  # a dead channel
    return rows


def test_embedding_is_the_papers(train):
    others = np.random.default_rng(1).gamma(1.0, 2.0, (30, 7)).astype(np.float32)
    for pictures in (train, others):  # with the training pictures' statistics, both
        vectors = descriptor_of(train).embed(pictures)
        assert vectors.dtype == np.int8
        assert vectors.tolist() == full_network(train, pictures).tolist()
    assert {-1, 0, 1} == set(vectors.ravel().tolist())
    assert not vectors[:, 2].any()  # a constant channel says nothing, also of other pictures


def test_thresholds_are_exclusive():
    z = np.array([[0.15, np.nextafter(0.15, 1), -0.25, np.nextafter(-0.25, -1), 0.0]])
    assert discretise(z).tolist() == [[0, 1, 0, -1, 0]]


@pytest.mark.parametrize("size", [1, 7, 40])
def test_moments_in_blocks_are_those_of_the_whole(train, size):
    mean, std = moments(train[i : i + size] for i in range(0, 40, size))
    np.testing.assert_allclose(mean, train.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, train.std(axis=0, dtype=np.float64), rtol=1e-12)
    assert mean[2] == np.float32(0.1) and std[2] == 0  # to the last bit, or z would be noise


def test_no_pictures_have_no_mean():
    with pytest.raises(ValueError, match="no pictures"):
        moments([])


def test_last_layer_has_length_one(train):
    train[0] = 0
    vectors = descriptor_of(train, "last").embed(train)
    assert vectors.dtype == np.float32
    assert vectors.shape == (40, 4)
    np.testing.assert_allclose(np.linalg.norm(vectors[1:], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(vectors[5], train[5, 3:] / np.linalg.norm(train[5, 3:]), rtol=1e-6)
    assert not vectors[0].any()


# ---- Crops --------------------------------------------------------------------------------------


def map_of(width, height):
    """A picture whose red is its column and whose green is its row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Image.fromarray(pixels)


def test_ten_crops_are_corners_and_centre_mirrored():
    crops = cut_crops(map_of(256, 256), NETWORK)
    assert crops.shape == (10, 224, 224, 3)
    corners = [tuple(crop[0, 0, :2].tolist()) for crop in crops]
    plain = [(16, 16), (0, 0), (32, 0), (0, 32), (32, 32)]  # column and row of the first pixel
    assert corners == plain + [(x + 223, y) for x, y in plain]
    np.testing.assert_array_equal(crops[5:], crops[:5, :, ::-1])
    assert crops[0, 223, 223, :2].tolist() == [239, 239]


def test_one_crop_is_the_centre():
    one = dataclasses.replace(NETWORK, crops=1)
    crops = cut_crops(map_of(256, 256), one)
    np.testing.assert_array_equal(crops, cut_crops(map_of(256, 256), NETWORK)[:1])


def test_squashed_or_with_its_shape():
    wide = map_of(256, 128)
    squashed = cut_crops(wide, NETWORK)
    np.testing.assert_allclose(squashed[0, :, 0, 1], (np.arange(16, 240) - 0.5) / 2, atol=1)
    kept = cut_crops(wide, dataclasses.replace(NETWORK, resize="short_side"))
    assert kept[0, 0, 0, 0] == pytest.approx((512 - 224) / 4, abs=1)  # of 512 columns, every other
    assert kept[0, 0, 0, 1] == squashed[0, 0, 0, 1]


def test_other_sizes_keep_the_ratio_of_the_crop():
    large = dataclasses.replace(NETWORK, size=299)
    crops = cut_crops(map_of(342, 342).resize((342, 342)), large)
    assert crops.shape == (10, 299, 299, 3)
    assert crops[2, 0, 0, 0] == 43  # 342 - 299


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000)])
def test_odd_pictures_are_cropped(resize, size):
    network = dataclasses.replace(NETWORK, resize=resize, size=32)
    crops = cut_crops(Image.new("RGB", size, (9, 8, 7)), network)
    assert np.unique(crops.reshape(-1, 3), axis=0).tolist() == [[9, 8, 7]]


@pytest.mark.parametrize("wrong", [{"crops": 5}, {"resize": "stretch"}])
def test_unknown_ways_of_cropping_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*expected"):
        dataclasses.replace(NETWORK, **wrong)


# ---- The record ---------------------------------------------------------------------------------


def test_fingerprint_is_of_all_but_where_the_weights_lie(train):
    marks = {descriptor_of(train).fingerprint(), descriptor_of(train, "last").fingerprint()}
    marks.add(descriptor_of(train[:20]).fingerprint())
    assert len(marks) == 3
    changes = {"cnn": "VGG19", "weights_id": "c3", "size": 32, "crops": 1, "resize": "short_side"}
    own = {dataclasses.replace(NETWORK, **{k: v}).fingerprint() for k, v in changes.items()}
    own |= {NETWORK.fingerprint(), dataclasses.replace(NETWORK, pre_activation=True).fingerprint()}
    assert len(own) == 7
    assert dataclasses.replace(NETWORK, weights="/moved").fingerprint() == NETWORK.fingerprint()


def test_layers_know_their_columns():
    assert (LAYERS.feature_dim, LAYERS.num_columns) == (7, 7)
    behind = dataclasses.replace(LAYERS, last=(7, 12))  # a last layer that is none of the others
    assert (behind.feature_dim, behind.num_columns) == (7, 12)
