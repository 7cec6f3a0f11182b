"""similarity.py: by eye, against the loops, in any block and with any number of threads."""

import tracemalloc
import warnings

import numpy as np
import pytest
import reference_metrics as reference

from gallery import similarity
from gallery.similarity import SIMILARITIES, pair_by_order, score_by_order


def rows(seed, count, dim, dtype: type = np.float64):
    """Random unit rows."""
    found = np.random.default_rng(seed).standard_normal((count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(dtype)


# By eye


def test_an_image_that_says_all_of_its_caption_loses_nothing():
    captions = np.array([[0.5, 0.25], [1.0, 0.0]])
    images = np.array([[0.5, 0.5], [0.0, 0.0], [1.0, 0.25]])
    expected = [[0, -(1 / 4 + 1 / 16), 0], [-1 / 4, -1, 0]]
    assert score_by_order(captions, images).tolist() == expected
    assert score_by_order(images, captions).tolist() == [
        [-1 / 16, -1 / 4],
        [0, 0],
        [-1 / 4, -1 / 16],
    ]
    assert pair_by_order(captions, images[1:]).tolist() == [-5 / 16, 0]
    assert pair_by_order(captions[:1], images).tolist() == expected[0]
    assert SIMILARITIES["cosine"].scores(captions, images).tolist() == [
        [3 / 8, 0, 9 / 16],
        [0.5, 0, 1],
    ]


def test_nothing_lost_is_zero_and_never_minus_zero():
    same = rows(0, 4, 3)
    assert not np.signbit(np.diagonal(score_by_order(same, same))).any()
    assert not np.signbit(pair_by_order(same, same)).any()


def test_bounds_are_reached_and_kept():
    order, cosine = SIMILARITIES["order"], SIMILARITIES["cosine"]
    one = np.array([[1.0, 0.0]])
    assert order.scores(2 * one, -3 * one) == -order.bound(2, 3) == -25
    assert cosine.scores(2 * one, 3 * one) == cosine.bound(2, 3) == 6
    captions, images = rows(1, 20, 5), rows(2, 30, 5)
    assert score_by_order(captions, images).min() >= -order.bound(1, 1)
    assert score_by_order(abs(captions), abs(images)).min() >= -1


# Against the loops


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 7), (40, 1, 7), (13, 11, 3), (9, 9, 50)])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_equals_the_loops(name, shape):
    count, others, dim = shape
    captions, images = rows(3, count, dim), rows(4, others, dim)
    loops = reference.scores(captions.tolist(), images.tolist(), name)
    found = SIMILARITIES[name].scores(captions, images)
    np.testing.assert_allclose(found, loops, rtol=0, atol=1e-15)
    pairs = SIMILARITIES[name].pairs(captions[:1], images)
    np.testing.assert_allclose(pairs, loops[0], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(pairs, SIMILARITIES[name].swapped().pairs(images, captions[:1]))
    back = SIMILARITIES[name].swapped().scores(images, captions)
    np.testing.assert_allclose(back, found.T, rtol=0, atol=1e-15)


def test_float32_stays_float32_and_errs_no_more_than_it_may():
    captions, images = rows(5, 30, 700, np.float32), rows(6, 40, 700, np.float32)
    single = score_by_order(captions, images)
    double = score_by_order(captions.astype(np.float64), images.astype(np.float64))
    assert single.dtype == np.float32 and double.dtype == np.float64
    assert abs(single - double).max() <= 4 * (700 + 4) * 2.0**-24
    assert pair_by_order(captions[:1], images).tobytes() == double[0].tobytes()


def test_what_is_lost_both_ways_is_the_distance():
    captions, images = rows(7, 12, 6), rows(8, 15, 6)
    both = score_by_order(captions, images) + score_by_order(images, captions).T
    distance = ((captions[:, None] - images) ** 2).sum(axis=-1)
    np.testing.assert_allclose(both, -distance, rtol=1e-14)
    assert abs(score_by_order(captions, images) - score_by_order(images, captions).T).max() > 0.1


# One result, however it is computed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [5, 256, 1023])
def test_tiles_threads_and_blocks_give_identical_bytes(monkeypatch, dtype, dim):
    captions, images = rows(9, 37, dim, dtype), rows(10, 61, dim, dtype)
    whole = score_by_order(captions, images)
    for size in (1, 3000, 50_000):
        monkeypatch.setattr(similarity, "TILE_BYTES", size)
        for threads in (1, 2, 5):
            assert score_by_order(captions, images, threads).tobytes() == whole.tobytes()
    for few, many in ((slice(0, 1), slice(20, 61)), (slice(3, 36), slice(7, 9))):
        part = score_by_order(captions[few], images[many])
        np.testing.assert_array_equal(part, whole[few, many])
    np.testing.assert_array_equal(
        score_by_order(-images, -captions), whole.T
    )  # the other side goes


def test_memory_is_that_of_the_scores():
    captions, images = rows(11, 600, 400), rows(12, 500, 400)
    tracemalloc.start()
    try:
        scores = score_by_order(captions, images, threads=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < scores.nbytes + 2e6  # where captions x images x D numbers are 960 MB


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_not_finite_shows_without_a_warning(value, count):
    good, bad = rows(13, 3, 4), rows(14, count, 4)
    bad[-1, 2] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scores in (score_by_order(good, bad).T, score_by_order(bad, good)):
            assert not np.isfinite(scores[-1]).any() and np.isfinite(scores[:-1]).all()


# Names


def test_names_go_into_files_and_come_back():
    for name in SIMILARITIES:
        assert (
            similarity.of_arrays({"similarity": similarity.pack_similarity(name)}, "a.npz") == name
        )
        assert similarity.of_arrays({"similarity": np.array(name)}, "a.npz") == name
    assert similarity.of_arrays({"image": np.zeros(1)}, "a.npz") == "cosine"
    for wrong in (
        similarity.pack_similarity("angle"),
        np.array("angle"),
        np.array([b"\xff"]),
        np.eye(2),
    ):
        with pytest.raises(ValueError, match=r"a\.npz is made for .* cosine, order"):
            similarity.of_arrays({"similarity": wrong}, "a.npz")


def test_an_unknown_similarity_is_refused():
    with pytest.raises(ValueError, match="similarity is 'angle', expected one of cosine, order"):
        similarity.choose("angle")
