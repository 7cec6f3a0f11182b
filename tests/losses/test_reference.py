"""The loop references themselves, on pairs placed on axes: every value is countable by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
import reference

EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)  # D^2: 0 to itself, 2 or 4 to others.
RELEVANCE = np.array([[1, 1 / 2], [0, 1]])
ALPHA = Fraction(1, 4)

# Squared distances (rows images):  0 2 0
#                                   2 0 2
#                                   4 2 4   and pairs 0 and 2 are the same image.
IMAGES, TEXTS = np.array([EAST, NORTH, WEST]), np.array([EAST, NORTH, EAST])
NEGATIVES = np.array([[1, 2, 1], [1, 0, 1]])


def same_0_and_2(s_01, s_12):
    """Relevance of three pairs of which 0 and 2 show the same image."""
    return np.array([[1, s_01, 1], [s_01, 1, s_12], [1, s_12, 1]], np.float64)


def unit_rows(rng, rows, columns):
    """Random rows of norm 1."""
    x = rng.normal(size=(rows, columns))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def random_batch(seed=0):
    """Relevance, image and text of five pairs; not symmetric, so that i and j cannot be swapped."""
    rng = np.random.default_rng(seed)
    relevance = rng.choice([0.0, 0.3, 0.8], size=(5, 5))
    np.fill_diagonal(relevance, 1.0)
    return relevance, unit_rows(rng, 5, 3), unit_rows(rng, 5, 3)


@pytest.mark.parametrize(("other", "expected"), [(EAST, 0), (NORTH, 2), (WEST, 4)])
def test_squared_distance_on_axes(other, expected):
    assert reference.squared_distance(EAST, other) == expected


def test_assignment_by_hand():
    # D^2 = 2 2 / 0 0:  3/4*1*2  +  3/4*1/2*2 (s > 0: no hinge)  +  1/4*(3 - 0)  +  0
    image, text = np.array([EAST, NORTH]), np.array([NORTH, NORTH])
    expected = Fraction(3, 2) + Fraction(3, 4) + Fraction(3, 4)
    assert reference.assignment_loss(RELEVANCE, image, text, ALPHA, 3) == (expected, 4)


def test_assignment_hinge_is_zero_beyond_the_margin():
    zero = np.zeros((1, 1))
    assert reference.assignment_loss(zero, [EAST], [NORTH], 0.5, 2) == (0.0, 1)
    assert reference.assignment_loss(zero, [EAST], [WEST], 0.5, 2) == (0.0, 1)


def test_modified_by_hand():
    # D = 2 2 / 0 0, c = 6:  3/4*4  +  1/4*(3 - 2)^2  +  1/4*(6 - 0)^2  +  0
    image, text = np.array([EAST, WEST]), np.array([WEST, WEST])
    expected = 3 + Fraction(1, 4) + 9
    assert reference.modified_loss(RELEVANCE, image, text, ALPHA, 6) == (expected, 4)
    # The misprint adds 1/4*(0 - 2)^2 to the s = 1 pair that stands apart.
    printed = reference.modified_loss_as_printed(RELEVANCE, image, text, ALPHA, 6)
    assert printed == (expected + 1, 4)


@pytest.mark.parametrize(("s", "expected"), [(1 - 1e-7, 2), (1 - 1e-5, 0)])
def test_modified_takes_almost_one_as_one(s, expected):
    # The far pair is outside its tiny margin: only a1 1[s = 1] D^2 = 1/2 * 4 is left.
    assert reference.modified_loss([[s]], [EAST], [WEST], 0.5, 1) == (expected, 1)


def test_printed_hinge_is_inert():
    # max(0, x^2) = x^2: the misprint is a parabola around (1 - s) c, at any batch.
    relevance, image, text = random_batch()
    parabola = 0.0
    for i in range(5):
        for j in range(5):
            d = math.dist(image[i], text[j])
            same = relevance[i, j] >= 1 - 1e-6
            parabola += 0.5 * same * d**2 + 0.5 * ((1 - relevance[i, j]) * 0.5 - d) ** 2
    printed, _ = reference.modified_loss_as_printed(relevance, image, text, 0.5, 0.5)
    assert printed == pytest.approx(parabola, rel=1e-12)
    assert printed > reference.modified_loss(relevance, image, text, 0.5, 0.5)[0]


def test_printed_form_pulls_far_pairs_back():
    # An unrelated pair at D = sqrt 2, beyond c = 1: the right loss lets it rest, the misprint
    # pulls the text towards the image, with gradient a2 * 2 (D - c) (t - x) / D.
    def gradient(loss):
        return reference.numerical_gradient(
            lambda t: loss([[0.0]], [EAST], t, ALPHA, 1)[0], [NORTH]
        )

    assert np.array_equal(gradient(reference.modified_loss), np.zeros((1, 2)))
    size = 0.25 * 2 * (math.sqrt(2) - 1) / math.sqrt(2)
    pull = gradient(reference.modified_loss_as_printed)
    assert pull == pytest.approx(np.array([[-size, size]]), rel=1e-8)
    # At D = (1 - s) c it rests: 1 - s = 1/4, c = 8, D = 2.
    assert reference.modified_loss_as_printed([[0.75]], [EAST], [WEST], ALPHA, 8) == (0.0, 1)


def test_printed_form_adds_squared_distance_to_same_pairs():
    for other, d2 in ((EAST, 0), (NORTH, 2), (WEST, 4)):
        right, _ = reference.modified_loss([[1.0]], [EAST], [other], ALPHA, 1)
        printed, _ = reference.modified_loss_as_printed([[1.0]], [EAST], [other], ALPHA, 1)
        assert right == pytest.approx(Fraction(3, 4) * d2, rel=1e-14)
        assert printed == pytest.approx(d2, rel=1e-14)


def test_mix_by_hand():
    # Assignment, c = 3, alpha = 1/4; image-text is 3 (above). Images: D^2 = 0 2 / 2 0 gives
    # 3/4*1/2*2 + 1/4*(3 - 2) = 1. Texts: D^2 = 0 everywhere gives 1/4*3 = 3/4.
    image, text = np.array([EAST, NORTH]), np.array([NORTH, NORTH])
    betas = (Fraction(1, 2), Fraction(3, 8), Fraction(1, 8))
    mixed = reference.mixed_loss(
        reference.assignment_loss, RELEVANCE, image, text, [float(b) for b in betas], ALPHA, 3
    )
    assert mixed == (betas[0] * 3 + betas[1] * 1 + betas[2] * Fraction(3, 4), 4)


@pytest.mark.parametrize("loss", [reference.assignment_loss, reference.modified_loss])
def test_mix_of_equal_sides_is_the_loss_itself(loss):
    relevance, image, _ = random_batch()
    mixed = reference.mixed_loss(loss, relevance, image, image, (0.5, 0.25, 0.25), 0.5, 0.75)
    assert mixed == pytest.approx(loss(relevance, image, image, 0.5, 0.75), rel=1e-14)


def test_random_triplets_by_hand():
    # c = 3. Image anchors: 3+0-2, 3+0-2, 3+4-2; text anchors: the same three.
    found = reference.triplet_loss(same_0_and_2(0, 0), IMAGES, TEXTS, 3, NEGATIVES)
    assert found == (14.0, 6)


def test_same_image_is_never_the_negative():
    # The image anchor 0 is offered text 2 of the same image: its term 1 of the 14 falls away.
    negatives = np.array([[2, 2, 1], [1, 0, 1]])
    found = reference.triplet_loss(same_0_and_2(0, 0), IMAGES, TEXTS, 3, negatives)
    assert found == (13.0, 5)
    assert reference.triplet_loss(np.ones((3, 3)), IMAGES, TEXTS, 3) == (0.0, 0)


def test_hardest_triplets_by_hand():
    # Rows images: 0 2 4 / 4 2 0 / 2 0 2, c = 1. Image anchors: 1+0-2 < 0, 1+2-0, 1+2-0;
    # text anchors (columns): 1+0-2 < 0, 1+2-0, 1+2-0.
    image, text = np.array([EAST, WEST, NORTH]), np.array([EAST, NORTH, WEST])
    assert reference.triplet_loss(np.eye(3), image, text, 1) == (12.0, 6)
    # Were 1 and 2 the same image, only pair 0 would be left as their negative:
    # 0, 1+2-4 < 0, 1+2-2 and 0, 1+2-2, 1+2-4 < 0.
    twins = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]])
    assert reference.triplet_loss(twins, image, text, 1) == (2.0, 6)


def test_soft_weight_by_hand():
    # The six terms 1 1 5, 1 1 5 times the s of their negatives 1/2 1/8 1/8, 1/2 1/2 1/8.
    relevance = same_0_and_2(1 / 2, 1 / 8)
    found = reference.triplet_loss(relevance, IMAGES, TEXTS, 3, NEGATIVES, "soft_weight")
    assert found == (Fraction(1, 2) + Fraction(1, 8) + Fraction(5, 8) + 1 + Fraction(5, 8), 6)


def test_soft_margin_by_hand():
    # c0 ln(1 + 1/2) = 3 is the plain margin; ln(1 + 0) = 0 leaves 0+4-2 of the two last anchors.
    c0 = 3 / math.log(1.5)
    halves, zeros = same_0_and_2(1 / 2, 1 / 2), same_0_and_2(0, 0)
    found = reference.triplet_loss(halves, IMAGES, TEXTS, c0, NEGATIVES, "soft_margin")
    assert found == (pytest.approx(14, rel=1e-14), 6)
    found = reference.triplet_loss(zeros, IMAGES, TEXTS, c0, NEGATIVES, "soft_margin")
    assert found == (4.0, 6)


def test_text_anchors_read_relevance_by_column():
    # Rows images, columns texts: image 0 weighs text 1 by 1/2, text 0 weighs image 1 by 1/8.
    relevance = np.array([[1, 1 / 2], [1 / 8, 1]])
    image, text = np.array([EAST, NORTH]), np.array([EAST, NORTH])
    swap = np.array([[1, 0], [1, 0]])
    # Every term is 3+0-2 = 1, weighed 1/2, 1/8 (images) and 1/8, 1/2 (texts).
    assert reference.triplet_loss(relevance, image, text, 3, swap, "soft_weight")[0] == 5 / 4
    only_text_0 = np.array([[-1, -1], [1, -1]])
    found = reference.triplet_loss(relevance, image, text, 3, only_text_0, "soft_weight")
    assert found == (1 / 8, 1)


@pytest.mark.parametrize(("squared", "expected"), [(True, 7), (False, 5)])
def test_squared_and_plain_distances(squared, expected):
    # D = 2 2 / 0 0, c = 1. Squared: 1+4-4, 1, 1+4-0, 1+0-4 < 0; plain: 1+2-2, 1, 1+2-0, 0.
    image, text = np.array([EAST, WEST]), np.array([WEST, WEST])
    swap = np.array([[1, 0], [1, 0]])
    found = reference.triplet_loss(np.eye(2), image, text, 1, swap, squared=squared)
    assert found == (expected, 4)


def test_swapping_sides_turns_relevance():
    relevance, image, text = random_batch()
    turned = relevance.T
    for loss in (reference.assignment_loss, reference.modified_loss):
        here, there = loss(relevance, image, text, 0.25, 1), loss(turned, text, image, 0.25, 1)
        assert here == pytest.approx(there, rel=1e-14)
    for variant in ("plain", "soft_weight", "soft_margin"):
        here = reference.triplet_loss(relevance, image, text, 1, variant=variant)
        there = reference.triplet_loss(turned, text, image, 1, variant=variant)
        assert here == pytest.approx(there, rel=1e-14)


def test_relevance_by_hand():
    # Captions 0 and 1 share image 7, which has no concept; the cosine of 110 and 011 is 1/2.
    concepts = [[0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 1]]
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0.5], [0, 0, 0.5, 1]]
    assert reference.relevance([7, 7, 3, 5], concepts) == pytest.approx(np.array(expected))
    literal = reference.relevance([7, 7, 3, 5], concepts, literal=True)
    assert np.array_equal(literal[:2, :2], np.zeros((2, 2)))  # The own pair pushed apart.
    assert np.array_equal(reference.relevance([4, 9, 4]), [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_bag_of_words_by_hand():
    # Two of word 0 and one of word 2; then no word at all, which leaves the bias.
    found = reference.bag_of_words_dense(
        [[2, 0, 1], [0, 0, 0]], [[1, 10], [2, 20], [3, 30]], [5, 7]
    )
    assert np.array_equal(found, [[5 + 2 + 3, 7 + 20 + 30], [5, 7]])


def test_sgd_by_hand():
    # w = 4, m = 1/2, decay 1/4. Step 1, lr 1: g = 1 + 1 = 2, v = 2, w = 2.
    # Step 2, lr 1/2: g = 0 + 1/2, v = 1 + 1/2, w = 2 - 3/4. The new rate also scales the old v.
    start, gradients = np.array([4.0]), [np.array([1.0]), np.array([0.0])]
    found = reference.sgd_momentum_l2(start, gradients, [1, 0.5], 0.5, 0.25)
    assert found == Fraction(5, 4)
    assert start[0] == 4.0


def test_numerical_gradient_of_a_cubic():
    x = np.array([[1.0, 2.0], [-3.0, 0.0]])
    found = reference.numerical_gradient(lambda z: float((z**3).sum()), x)
    assert found == pytest.approx(3 * x**2, rel=1e-8, abs=1e-11)
    assert np.array_equal(x, [[1.0, 2.0], [-3.0, 0.0]])


def test_numerical_gradient_of_assignment_by_hand():
    # One matching pair, a1 = 1/2: the gradient of 1/2 |x - t|^2 with respect to t is t - x.
    found = reference.numerical_gradient(
        lambda t: reference.assignment_loss([[1.0]], [EAST], t, 0.5, 1)[0], [NORTH]
    )
    assert found == pytest.approx(np.array([[-1.0, 1.0]]), rel=1e-8)


def test_unknown_triplet_variant_is_refused():
    with pytest.raises(ValueError, match="'soft': expected plain"):
        reference.triplet_loss(np.eye(3), IMAGES, TEXTS, 1, variant="soft")
