"""Hinges: by eye, on the plateau, along the right axis, and those of one negative each."""

from fractions import Fraction

import numpy as np
import pytest
import reference_contrastive as loops
import reference_dual_path as dual
from loss_cases import IDS, batch, build, loop, paired, slopes, unit_rows, value
from reference_ranking import cosine_scores, max_of_hinges_wrong_axis

TRIPLETS = ("sum_triplet", "max_triplet", "mean_triplet")
# In eighths, margin 2 eighths. Hinges of image anchors (rows) and of text anchors (columns):
#   4 2 3     . 0 1      . 2 2
#   3 2 0     3 . 0      1 . 0
#   4 5 3     3 4 .      2 5 .
SCORES = np.array([[4, 2, 3], [3, 2, 0], [4, 5, 3]]) / 8
SAME_0_AND_2 = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_hinges_by_eye():
    # Own pairs score 1 and 0, the foreign ones 0 and 1/2.
    image, text = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.5, 0.0]])
    # Image 0: 1/4 + 1/2 - 1 < 0. Image 1: 1/4 + 0 - 0. Text 0: 1/4 + 0 - 1. Text 1: 1/4 + 1/2 - 0.
    for name in ("sum_hinge", "max_hinge"):
        assert value(name, np.eye(2), image, text, margin=0.25) == pytest.approx(1.0)
    # -|max(0, text - image)|^2: own 0 and -1/4, image 0 with text 1: 0, image 1 with text 0: -1.
    # Image 0: 1/4 + 0 - 0. Image 1: 1/4 - 1 + 1/4. Text 0: 1/4 - 1. Text 1: 1/4 + 0 + 1/4.
    got = value("sum_hinge", np.eye(2), image, text, margin=0.25, similarity="order")
    assert got == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("name", "eighths", "among_two"),
    [
        ("sum_triplet", Fraction(11 + 12), Fraction(7 + 8)),
        ("max_triplet", Fraction(1 + 3 + 4 + 2 + 5 + 2), Fraction(0 + 3 + 4 + 1 + 5 + 0)),
        ("mean_triplet", Fraction(11 + 12, 2), Fraction(7 + 8, 2)),
    ],
)
def test_triplets_by_hand(name, eighths, among_two):
    for relevance, expected in ((np.eye(3), eighths), (SAME_0_AND_2, among_two)):
        made, wanted = (relevance, SCORES, np.eye(3)), float(expected / 8)
        assert value(name, *made, margin=0.25) == pytest.approx(wanted, rel=1e-6)
        assert loop(name, *made, margin=0.25)[0] == pytest.approx(wanted)
        mean = value(name, *made, margin=0.25, reduction="mean")
        assert mean == pytest.approx(wanted / 3, rel=1e-6)  # over the pairs


def test_the_mean_is_what_the_published_code_ran():
    for seed in range(3):
        _, image, text = batch(seed)
        expected = loops.triplet_as_it_ran(cosine_scores(image, text), 0.2)
        for name in TRIPLETS:
            got = value(name, np.eye(7), image, text, margin=0.2, reduction="mean")
            if name == "mean_triplet":
                assert got == pytest.approx(expected, rel=2e-6)
            else:
                assert abs(got - expected) > 0.1


def test_equal_embeddings_stand_on_the_plateau():
    one = np.tile(unit_rows(0, 1), (8, 1))
    for name, hinges, count in (  # of 8 pairs: hinges that are m, and what the mean divides by
        ("max_hinge", 16, 16), ("sum_hinge", 112, 128),
        ("max_triplet", 16, 8), ("sum_triplet", 112, 8), ("mean_triplet", 16, 8),
    ):  # fmt: skip
        for similarity in ("cosine", "order"):
            for reduction, divisor in (("sum", 1), ("mean", count)):
                own = {"margin": 0.2, "similarity": similarity, "reduction": reduction}
                loss = build(name, **own)
                assert loss.plateau(8) == pytest.approx(0.2 * hinges / divisor)
                assert value(name, np.eye(8), one, one, **own) == pytest.approx(loss.plateau(8))
                assert loss.plateau(1) == 0.0
    assert not hasattr(build("paired_hinge"), "plateau")


def test_the_maximum_is_over_each_anchors_negatives():
    relevance, image, text = batch(1)
    scores = cosine_scores(image, text)
    wrong, _ = max_of_hinges_wrong_axis(scores, relevance >= 1, 0.2)
    assert abs(value("max_hinge", relevance, image, text, margin=0.2) - wrong) > 0.01


def test_sums_and_maxima_over_pairs_are_those_over_anchors():
    made = batch(0)
    for kind in ("sum", "max"):
        for literal in (False, True):
            got, wanted = (
                value(f"{kind}_{what}", *made, paper_negatives=literal)
                for what in ("triplet", "hinge")
            )
            assert got == pytest.approx(wanted, rel=1e-6)


# ---- One negative to each anchor ----------------------------------------------------------------


def test_paired_hinges_by_eye():
    # Anchor 0 with S = 1/2; its negatives: text 1 with 1/4, image 1 with 0. Margin 1/2.
    image, text = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.5, 0.0], [0.25, 0.9]])
    got = value("paired_hinge", np.eye(2), image, text, margin=0.5)
    assert got == pytest.approx((0.5 - 0.5 + 0.25) + 0.0)
    got = value("paired_hinge", np.eye(2), image, text, margin=1.0)
    assert got == pytest.approx((1 - 0.5 + 0.25) + (1 - 0.5 + 0.0))


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_batches_of_any_size_have_two_halves(size):
    rows = unit_rows(size, size), unit_rows(size + 1, size)
    expected = paired(cosine_scores(*rows), 1.0, range(size), range(size))
    got = value("paired_hinge", np.eye(size), *rows, margin=1.0)
    assert got == pytest.approx(expected, rel=2e-6)
    assert (got > 0) == (size > 1)
    mean = value("paired_hinge", np.eye(size), *rows, margin=1.0, reduction="mean")
    assert mean == pytest.approx(expected / size, rel=2e-6)
    _, found = slopes(build("paired_hinge"), np.eye(size), *rows)
    assert all(bool(g[-1].any()) == (size % 2 == 0) for g in found)  # an odd row is neither


def test_equal_embeddings_and_the_margin():
    one = np.tile(unit_rows(0, 1), (9, 1))
    assert value("paired_hinge", np.eye(9), one, one, margin=1.0) == pytest.approx(8.0)  # 2 x 4
    apart = np.eye(8)
    assert value("paired_hinge", apart, apart, apart, margin=1.0) == 0.0  # ahead by just the margin


def test_the_own_pair_must_be_ahead_not_behind():
    relevance, image, text = batch(2)
    wrong, _ = dual.paired_hinge(image, text, IDS, IDS, 0.9, dual.distance)
    assert abs(value("paired_hinge", relevance, image, text) - wrong) > 0.1


def test_negatives_that_belong_to_the_anchor_count_nothing():
    rows = unit_rows(3, 6), unit_rows(4, 6)
    whole = value("paired_hinge", np.eye(6), *rows)
    # Image 3 is of anchor 0's; text 4 was exchanged for one of anchor 1's own.
    ids = [0, 1, 2, 0, 4, 5], [0, 1, 2, 3, 1, 5], list(range(6))
    for images, texts in ((ids[0], ids[1]), (ids[1], ids[2]), (ids[2], ids[1])):
        got = value("paired_hinge", np.equal.outer(images, texts), *rows)
        expected = paired(cosine_scores(*rows), 0.9, images, texts)
        assert got == pytest.approx(expected, rel=2e-6)
        assert got < whole - 0.1
