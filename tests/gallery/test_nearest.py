"""The exact nearest rows: against sorting them all, with ties and near ties, in any block."""

import itertools
import warnings

import numpy as np
import pytest
import reference_metrics as reference
from tiny_run import unit

from gallery import nearest
from gallery.similarity import SIMILARITIES


def sorted_whole(query: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Row numbers by float64 scores, each reckoned by itself, ties in order."""
    scores = [[float((q * row).sum()) for row in rows.astype(np.float64)] for q in query]
    order = [sorted(range(len(rows)), key=lambda i: (-own[i], i))[:k] for own in scores]
    return np.array(order).reshape(len(query), min(k, len(rows)))


def sides(query: np.ndarray, rows: np.ndarray, among: str) -> tuple[np.ndarray, np.ndarray]:
    """Captions and images."""
    return (query, rows) if among == "images" else (rows, query)


def sorted_by_order(query: np.ndarray, rows: np.ndarray, k: int, among: str) -> list[list[int]]:
    """Row numbers for one query by order similarity, from the loops, ties in order."""
    captions, images = sides(query, rows, among)
    scores = np.ravel(reference.scores(captions.tolist(), images.tolist(), "order"))
    return [sorted(range(len(rows)), key=lambda i: (-scores[i], i))[:k]]


@pytest.mark.parametrize("among", ["images", "captions"])
@pytest.mark.parametrize("block_rows", [1, 7, 8192])
@pytest.mark.parametrize("k", [1, 5, 1000])
def test_top_k_by_order_similarity_is_what_sorting_gives(block_rows, k, among):
    rng = np.random.default_rng(k)
    rows, query = unit(rng.normal(size=(150, 16))), unit(rng.normal(size=(1, 16)))
    rows[60:] = rows[rng.integers(0, 60, size=90)]  # ties
    scores, found = nearest.top_k(query, rows, k, block_rows, "order", among)
    assert found.tolist() == sorted_by_order(query, rows, k, among)
    pairs = SIMILARITIES["order"].pairs(*sides(query, rows[found[0]], among))
    np.testing.assert_array_equal(scores[0], pairs)


@pytest.mark.parametrize("among", ["images", "captions"])
@pytest.mark.parametrize("block_rows", [1, 10, 8192])
def test_near_ties_of_order_similarity_are_settled_in_float64(block_rows, among):
    # A row's numbers in another order lose as much beside an even query, but for rounding.
    rng, every = np.random.default_rng(1), np.arange(300)
    query, one = np.full((1, 512), 512**-0.5, np.float32), unit(rng.normal(size=(1, 512)))[0]
    rows = np.stack([rng.permutation(one) for _ in every])
    place = rows.argmin(axis=1) if among == "images" else rows.argmax(axis=1)
    rows[every, place] *= (1 + 1e-7 * rng.permutation(300)).astype(np.float32)
    expected = sorted_by_order(query, rows, 10, among)
    single = SIMILARITIES["order"].scores(*sides(query, rows, among)).ravel()
    assert np.argsort(-single, kind="stable")[:10].tolist() != expected[0]
    assert nearest.top_k(query, rows, 10, block_rows, "order", among)[1].tolist() == expected


@pytest.mark.parametrize("block_rows", [1, 7, 64, 8192])
@pytest.mark.parametrize("k", [1, 5, 150, 1000])
def test_top_k_is_what_sorting_gives(block_rows, k):
    rng = np.random.default_rng(k)
    rows, query = unit(rng.normal(size=(150, 16))), unit(rng.normal(size=(3, 16)))
    scores, numbers = nearest.top_k(query, rows, k, block_rows)
    assert scores.dtype == np.float64 and numbers.dtype == np.int64
    np.testing.assert_array_equal(numbers, sorted_whole(query.astype(np.float64), rows, k))
    whole = np.take_along_axis(query.astype(np.float64) @ rows.T.astype(np.float64), numbers, 1)
    np.testing.assert_allclose(scores, whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize("block_rows", [1, 3, 50, 8192])
def test_ties_stand_in_gallery_order(block_rows):
    rng = np.random.default_rng(0)
    few = unit(rng.normal(size=(3, 300)))
    rows = few[rng.integers(0, 3, size=200)]
    numbers = nearest.top_k(few[:1], rows, 120, block_rows)[1]
    np.testing.assert_array_equal(numbers, sorted_whole(few[:1].astype(np.float64), rows, 120))
    collapsed = np.repeat(few[:1], 100, axis=0)
    assert nearest.top_k(few, collapsed, 4, block_rows)[1].tolist() == [[0, 1, 2, 3]] * 3


def near_ties() -> tuple[np.ndarray, np.ndarray]:
    """A query and rows on all sides of it at one angle: float32 errs by more than they differ."""
    rng = np.random.default_rng(1)
    query = unit(rng.normal(size=(1, 512)))
    exact = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    aside = rng.normal(size=(300, 512))
    aside -= aside @ exact.T * exact
    return query, unit(0.6 * exact + 0.8 * aside / np.linalg.norm(aside, axis=1, keepdims=True))


@pytest.mark.parametrize("block_rows", [1, 10, 64, 8192])
def test_near_ties_are_settled_in_float64(block_rows):
    query, rows = near_ties()
    expected = sorted_whole(query.astype(np.float64), rows, 10)
    assert (rows @ query[0]).argsort()[::-1][:10].tolist() != expected[0].tolist()
    np.testing.assert_array_equal(nearest.top_k(query, rows, 10, block_rows)[1], expected)


@pytest.mark.parametrize("block_rows", [1, 2])
def test_a_near_tie_in_a_later_block_is_not_passed_over(block_rows):
    query, rows = near_ties()
    pairs = rows.reshape(150, 2, 512)
    found = [nearest.top_k(query, pair, 1, block_rows)[1].item() for pair in pairs]
    assert found == [sorted_whole(query.astype(np.float64), pair, 1).item() for pair in pairs]


def test_many_queries_are_answered_in_parts(monkeypatch):
    rng = np.random.default_rng(2)
    rows, query = unit(rng.normal(size=(40, 8))), unit(rng.normal(size=(11, 8)))
    scores, numbers = nearest.top_k(query, rows, 3)
    monkeypatch.setattr(nearest, "QUERIES_AT_ONCE", 4)
    again = nearest.top_k(query, rows, 3)
    np.testing.assert_array_equal(again[0], scores)
    np.testing.assert_array_equal(again[1], numbers)
    assert [part.shape for part in nearest.top_k(query[:0], rows, 3)] == [(0, 3), (0, 3)]


def test_top_k_refuses_what_makes_no_sense():
    rows, query = unit(np.ones((4, 3))), unit(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"\(1, 2\) do not fit gallery rows of shape \(4, 3\)"):
        nearest.top_k(query[:, :2], rows, 1)
    with pytest.raises(ValueError, match="must be 1 or more"):
        nearest.top_k(query, rows, 0)
    with pytest.raises(ValueError, match="query holds NaN"):
        nearest.top_k(query * np.nan, rows, 1)
    with pytest.raises(ValueError, match="similarity is 'angle', expected one of cosine, order"):
        nearest.top_k(query, rows, 1, similarity="angle")
    with pytest.raises(ValueError, match="among is 'text', expected images or captions"):
        nearest.top_k(query, rows, 1, among="text")
    rows[2, 1] = np.nan
    with pytest.raises(ValueError, match="gallery row 2 holds NaN"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        nearest.top_k(query, rows, 1, 2)
    for value, among in itertools.product((np.nan, np.inf, -np.inf), ("images", "captions")):
        rows[2, 1] = value
        with pytest.raises(ValueError, match="gallery row 2 holds NaN or infinity"):
            nearest.top_k(query, rows, 1, 2, "order", among)
