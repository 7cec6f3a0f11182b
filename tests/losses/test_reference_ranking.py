"""The loop references of the ranking losses, the GRU and the full-network embedding, by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
import reference_ranking as loops
from reference import numerical_gradient

# In eighths, margin 2 eighths. Hinges of image anchors (rows) and of text anchors (columns):
#   4 2 3     . 0 1      . 2 2
#   3 2 0     3 . 0      1 . 0
#   4 5 3     3 4 .      2 5 .
SCORES, MARGIN = np.array([[4, 2, 3], [3, 2, 0], [4, 5, 3]]) / 8, Fraction(2, 8)
NONE = np.eye(3, dtype=bool)  # No two pairs of the same image.
SAME_0_AND_2 = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)
HINGES = (loops.sum_of_hinges, loops.max_of_hinges, loops.max_of_hinges_wrong_axis)
LOSSES = (*HINGES, loops.info_nce)


def random_batch(seed=0, size=5):
    """Scores and same-image marks, neither of them symmetric, so that i and j cannot be swapped."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (size, size)), rng.random((size, size)) < 0.25


def unit_rows(seed, rows=4, columns=3):
    """Random rows of norm 1."""
    x = np.random.default_rng(seed).normal(size=(rows, columns))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_cosine_by_hand():
    # The angle between two unit vectors: 3/5 * 4/5 + 4/5 * 3/5 = 24/25.
    image, text = [[3 / 5, 4 / 5], [1, 0]], [[4 / 5, 3 / 5], [0, 1], [-1, 0]]
    expected = [[24 / 25, 4 / 5, -3 / 5], [4 / 5, 0, -1]]
    assert loops.cosine_scores(image, text) == pytest.approx(np.array(expected))


def test_order_scores_ask_the_picture_for_what_the_caption_says():
    # The picture holds all three things, the caption names the second one only.
    everything, one = [[1, 1, 1]], [[0, 1, 0]]
    assert loops.order_scores(everything, one) == [[0]]
    assert loops.order_scores(one, everything) == [[-2]]
    # Squared, not the root: (3/4 - 1/4)^2 + (1 - 0)^2; a negative difference counts nothing.
    assert loops.order_scores([[1 / 4, 0, 1]], [[3 / 4, 1, 0]]) == [[Fraction(-5, 4)]]
    # Two pictures against three captions: rows are the pictures.
    found = loops.order_scores([[0, 0], [1, 0]], [[0, 0], [1, 0], [1, 2]])
    assert np.array_equal(found, [[0, -1, -5], [0, 0, -4]])


def test_order_scores_of_both_roles_make_the_squared_distance():
    image, text = unit_rows(1), unit_rows(2)
    both = loops.order_scores(image, text) + loops.order_scores(text, image).T
    # |i - c|^2 = 2 - 2 i.c for unit rows.
    assert both == pytest.approx(2 * loops.cosine_scores(image, text) - 2, abs=1e-14)


def test_hinges_by_hand():
    rows, columns = 1 + 3 + 7, 3 + 7 + 2
    found = loops.sum_of_hinges(SCORES, NONE, MARGIN)
    assert found == (Fraction(rows + columns, 8), 18)
    rows, columns = 1 + 3 + 4, 2 + 5 + 2
    assert loops.max_of_hinges(SCORES, NONE, MARGIN) == (Fraction(rows + columns, 8), 6)


def test_wrong_axis_differs_by_hand():
    # Largest of each column of the left table, of each row of the right one.
    columns, rows = 3 + 4 + 1, 2 + 1 + 5
    found = loops.max_of_hinges_wrong_axis(SCORES, NONE, MARGIN)
    assert found == (Fraction(columns + rows, 8), 6)
    assert found[0] != loops.max_of_hinges(SCORES, NONE, MARGIN)[0]


def test_wrong_axis_hides_where_own_pairs_score_the_same():
    # Then the hinge tables of both sides are one and the same: no test of the axis may use it.
    scores, positive = random_batch()
    right, wrong = (f(scores, positive, 0.2)[0] for f in HINGES[1:])
    assert abs(right - wrong) > 0.1
    np.fill_diagonal(scores, 0.5)
    right, wrong = (f(scores, positive, 0.2)[0] for f in HINGES[1:])
    assert right == pytest.approx(wrong, rel=1e-14)


def test_same_image_is_never_the_negative():
    # The four corners fall away: rows 0, 3 + 0, 4 and columns 1, 2 + 5, 0.
    found = loops.sum_of_hinges(SCORES, SAME_0_AND_2, MARGIN)
    assert found == (Fraction(7 + 8, 8), 18)
    found = loops.max_of_hinges(SCORES, SAME_0_AND_2, MARGIN)
    assert found == (Fraction(7 + 6, 8), 6)
    # By column 3, 4, 0 and by row 2, 1, 5.
    found = loops.max_of_hinges_wrong_axis(SCORES, SAME_0_AND_2, MARGIN)
    assert found == (Fraction(7 + 8, 8), 6)


@pytest.mark.parametrize("loss", LOSSES)
def test_anchors_without_negatives_add_nothing(loss):
    assert loss(SCORES, np.ones((3, 3), bool), 0.25)[0] == 0.0
    assert loss([[-1.0]], [[True]], 0.25)[0] == 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_unmarked_own_pair_is_no_negative_either(loss):
    marked = loss(SCORES, NONE, 0.25)
    assert loss(SCORES, np.zeros((3, 3), bool), 0.25) == marked


def test_satisfied_margin_costs_nothing():
    # Own pairs 1, others 1/2: at margin 1/2 the hinges just close, at 5/8 each costs 1/8.
    scores = np.full((3, 3), 1 / 2) + np.eye(3) / 2
    for loss, cells in zip(HINGES, (12, 6, 6), strict=True):
        assert loss(scores, NONE, 1 / 2)[0] == 0.0
        assert loss(scores, NONE, 5 / 8)[0] == Fraction(cells, 8)


def test_one_negative_each_makes_sum_and_max_equal():
    scores, _ = random_batch(size=2)
    found = [loss(scores, np.eye(2), 0.7)[0] for loss in HINGES]
    assert found[0] == found[1] == pytest.approx(found[2], rel=1e-14) and found[0] > 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_swapping_sides_and_permuting_pairs(loss):
    scores, positive = random_batch(3)
    value = loss(scores, positive, 0.4)[0]
    assert loss(scores.T, positive.T, 0.4)[0] == pytest.approx(value, rel=1e-14)
    order = np.array([3, 0, 4, 1, 2])
    permuted = loss(scores[order][:, order], positive[order][:, order], 0.4)[0]
    assert permuted == pytest.approx(value, rel=1e-14)


def test_gradient_of_the_max_counts_hinges():
    # Each of the six anchors pulls its own pair and pushes one cell: (0,2) (1,0) (2,1) by the
    # images, (2,0) (2,1) (0,2) by the texts.
    found = numerical_gradient(lambda s: loops.max_of_hinges(s, NONE, 0.25)[0], SCORES)
    expected = np.array([[-2, 0, 2], [1, -2, 0], [1, 2, -2]])
    assert found == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_collapse(batch):
    for kind, loss in (("sum", HINGES[0]), ("max", HINGES[1])):
        for constant in (0.0, 1.0):  # Order similarity, cosine.
            scores = np.full((batch, batch), constant)
            found, _ = loss(scores, np.eye(batch), 0.25)
            assert found == loops.collapsed_loss(batch, 0.25, kind)


def test_collapse_by_hand():
    assert loops.collapsed_loss(128, 0.2, "max") == pytest.approx(51.2)
    assert loops.collapsed_loss(128, 0.2, "sum") == pytest.approx(51.2 * 127)
    with pytest.raises(ValueError, match="'mean': expected sum or max"):
        loops.collapsed_loss(2, 0.2, "mean")


def test_info_nce_by_hand():
    # e^(S / t) = 2 1 / 3 1. Rows 3/2 and 4/1, columns 5/2 and 2/1: their product is 30.
    scores = 0.5 * np.log([[2, 1], [3, 1]])
    total, terms = loops.info_nce(scores, np.eye(2), 0.5)
    assert (total, terms) == (pytest.approx(math.log(30), rel=1e-14), 4)


def test_info_nce_of_equal_scores_counts_candidates():
    equal = np.full((3, 3), 1000.0)  # e^1000 would overflow.
    total, _ = loops.info_nce(equal, NONE, 0.05)
    assert total == pytest.approx(6 * math.log(3), rel=1e-14)
    # Anchors 0 and 2 see two candidates each, anchor 1 sees three, on both sides.
    total, _ = loops.info_nce(equal, SAME_0_AND_2, 0.05)
    assert total == pytest.approx(4 * math.log(2) + 2 * math.log(3), rel=1e-14)


def test_cold_info_nce_is_the_max_of_hinges_without_margin():
    # t log(1 + sum_k e^((s_k - s) / t)) lies between max(0, max_k s_k - s) and that + t log B.
    scores, positive = random_batch(4)
    hinge, _ = loops.max_of_hinges(scores, positive, 0.0)
    for t in (0.1, 1e-4):
        cold = t * loops.info_nce(scores, positive, t)[0]
        assert hinge - 1e-12 <= cold <= hinge + 10 * t * math.log(5)


def test_absolute_unit_by_hand():
    found = loops.absolute_unit([[-3, 4], [0, -2], [0, 0]])
    assert found == pytest.approx(np.array([[3 / 5, 4 / 5], [0, 1], [0, 0]]))


def test_gru_by_hand():
    # sigmoid(log 3) = 3/4, tanh(log 2) = 3/5, tanh(log 3) = 4/5. One unit, z = 3/4, r = 1/2.
    # Step 1: 1/4 * 3/5 = 3/20; step 2 masked; step 3, input 0: r * U h = log 3 at h = 3/20, so
    # 3/4 * 3/20 + 1/4 * 4/5 = 5/16.
    kernel, bias = [[0, 0, math.log(2)]], [math.log(3), 0, 0]
    recurrent = [[0, 0, 2 * math.log(3) * 20 / 3]]
    found = loops.gru([[1], [7], [0]], [True, False, True], kernel, recurrent, bias)
    assert found == pytest.approx(np.array([[3 / 20], [3 / 20], [5 / 16]]), rel=1e-14)


def test_gru_resets_after_the_recurrent_product():
    # Units swap their states (U_h), r = (1, 1/2), z = 0: unit 0 receives all of unit 1, unit 1
    # half of unit 0. Reset before the product, unit 0 would receive half of unit 1.
    kernel = [[0, 0, 0, 0, math.log(2), math.log(3)]]
    recurrent = [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0]]
    bias = [-1000, -1000, 1000, 0, 0, 0]
    found = loops.gru([[1], [0]], [True, True], kernel, recurrent, bias)
    expected = [[3 / 5, 4 / 5], [math.tanh(4 / 5), math.tanh(3 / 10)]]
    assert found == pytest.approx(np.array(expected), rel=1e-14)


def test_gru_gates_come_in_the_order_z_r_h():
    # z = 1 keeps the state for ever; with r = 0 the second step forgets the first.
    weights = [[0, 0, math.log(2)]], [[0, 0, 5]]
    kept = loops.gru([[1], [1]], [True, True], *weights, [1000, 0, 0])
    assert np.array_equal(kept, [[0], [0]])
    forgot = loops.gru([[1], [1]], [True, True], *weights, [-1000, -1000, 0])
    assert forgot == pytest.approx(np.array([[3 / 5], [3 / 5]]), rel=1e-14)


def test_full_network_by_hand():
    # Feature 0: mean 0, std 1 (ddof 1 would give z = 0.16 / sqrt(6/5) < 0.15). Bounds are strict.
    # Feature 1: mean 10, std 2. Feature 2 never varies in training; a float mean of it may be off.
    train = [[-1, 8, 0.1], [1, 12, 0.1], [-1, 8, 0.1], [1, 12, 0.1], [-1, 8, 0.1], [1, 12, 0.1]]
    values = [[0.15, 10, 0.1], [0.16, 10.5, 9], [-0.25, 9.5, -9], [-0.3, 9.25, 0], [0, 10.25, 0]]
    expected = [[0, 0, 0], [1, 1, 0], [0, 0, 0], [-1, -1, 0], [0, 0, 0]]
    found = loops.full_network(train, values, -0.25, 0.15)
    assert found.dtype == np.int8 and np.array_equal(found, expected)


def test_clip_by_norm_by_hand():
    # |(3, 4)| = 5 and |(2, 4, 4)| = 6 shrink to 2, each alone; 1 and 0 and exactly 2 stay.
    given = [np.array([3.0, 4.0]), [[2, 4], [4, 0]], np.array(1.0), [0.0], [2.0]]
    expected = [[6 / 5, 8 / 5], [[2 / 3, 4 / 3], [4 / 3, 0]], 1, [0], [2]]
    for found, right in zip(loops.clip_by_norm(given, 2), expected, strict=True):
        assert found == pytest.approx(np.array(right, np.float64))
    assert np.array_equal(given[0], [3, 4])
