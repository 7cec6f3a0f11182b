"""Cross entropy, SimCLR, the sigmoid loss, Barlow Twins: by hand, by symmetry, at their limits."""

from fractions import Fraction

import numpy as np
import pytest
from loss_cases import batch, loop, unit_rows, value

SAME_0_AND_2 = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def both(name, relevance, image, text, **settings):
    """The loss, and its loop reference."""
    return value(name, relevance, image, text, **settings), loop(
        name, relevance, image, text, **settings
    )[0]


def test_simclr_by_hand():
    # exp(s / t) in a table; own 4, 3, 2. Rows without them: 2 + 1, 1 + 2, 6 + 3; columns: 1 + 6,
    # 2 + 3, 1 + 2.
    table = np.array([[4.0, 2.0, 1.0], [1.0, 3.0, 2.0], [6.0, 3.0, 2.0]])
    rows = np.log(table) / 10, np.eye(3)
    own = Fraction(1, 4 * 4 * 3 * 3 * 2 * 2)
    # With the own pairs: 7, 6, 11 and 11, 8, 5. Where images 0 and 2 are one: below stand 2, 1 + 2
    # and 3; 1, 2 + 3 and 2, and the value falls below 0.
    for relevance, included, below in (
        (np.eye(3), False, 3 * 7 * 3 * 5 * 9 * 3),
        (np.eye(3), True, 7 * 11 * 6 * 8 * 11 * 5),
        (SAME_0_AND_2, False, 2 * 1 * 3 * 5 * 3 * 2),
    ):
        for got in both("simclr", relevance, *rows, include_positive=included):
            assert got == pytest.approx(np.log(float(below * own)), 1e-5)


def test_sigmoid_by_hand():
    # exp(s / t + b) in a table: a pair costs log(1 + 1 / e), a negative log(1 + e).
    table = np.array([[1.0, 3.0], [1.0, 4.0]])
    rows = (np.log(table) + 3.0) / 10, np.eye(2)
    expected = np.log(float((1 + Fraction(1, 1)) * (1 + 3) * (1 + 1) * (1 + Fraction(1, 4))))
    for got in both("sigmoid", np.eye(2), *rows):
        assert got == pytest.approx(expected, rel=1e-5)
    for got in both("sigmoid", np.ones((2, 2)), *rows):  # two captions of one image
        assert got == pytest.approx(np.log(2 * 1.25), rel=1e-5)


def test_equal_similarities_give_the_logarithm_of_the_number_of_candidates():
    one = np.tile(unit_rows(0, 1), (8, 1))
    twice = np.kron(np.eye(4), np.ones((2, 2)))  # two captions of each image: six negatives
    for relevance, name, included, candidates in (
        (np.eye(8), "simclr", False, 7),
        (np.eye(8), "simclr", True, 8),
        (twice, "simclr", False, 6),
        (np.eye(8), "cross_entropy", True, 8),
    ):
        got = value(name, relevance, one, one, include_positive=included)
        assert got == pytest.approx(16 * np.log(candidates), rel=1e-5)


def test_the_smooth_maximum_becomes_the_maximum_of_the_triplets():
    made = batch(2)
    cold = value("simclr", *made, temperature=1e-4) * 1e-4
    # Hinges that a large margin keeps open: two directions, seven pairs.
    hinge = value("max_triplet", *made, margin=9.0) - 2 * 7 * 9.0
    assert cold == pytest.approx(hinge, rel=1e-3)


def test_cross_entropy_is_simclr_with_the_positive_included():
    made = batch(0)
    own = value("simclr", *made, include_positive=True)
    assert own == pytest.approx(value("cross_entropy", *made), rel=1e-6)
    assert own > value("simclr", *made)
    # The mean is over the pairs, of which each has two anchors.
    mean = value("simclr", *made, include_positive=True, reduction="mean")
    assert mean == pytest.approx(2 * value("cross_entropy", *made, reduction="mean"))


# ---- Barlow Twins -------------------------------------------------------------------------------


def test_barlow_by_hand():
    # Columns of the image: a, b; of the text: a, -b. C = (1 0; 0 -1).
    a, b = np.array([1.0, 1, -1, -1]), np.array([1.0, -1, 1, -1])
    image = np.stack([a, b], 1)
    for got in both("barlow", (), image, np.stack([a, -b], 1)):
        assert got == pytest.approx(4.0, abs=1e-3)
    for got in both("barlow", (), image, image):
        assert got == pytest.approx(0.0, abs=1e-6)
    for got in both("barlow", (), image, np.stack([a, a], 1)):  # C = (1 1; 0 0)
        assert got == pytest.approx(1 + 0.02, abs=1e-3)


def test_barlow_heeds_neither_length_nor_place():
    _, image, text = batch(1)
    plain, expected = both("barlow", (), image, text)
    assert plain == pytest.approx(expected, rel=1e-6)
    moved = value("barlow", (), 100 * image + 7.0, 50 * text - 3.0)
    assert moved == pytest.approx(plain, rel=1e-3)
