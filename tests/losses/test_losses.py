"""Every loss: by eye, by symmetry, against the loop references, by gradient, and degenerate."""

import itertools

import keras
import numpy as np
import pytest
import reference
from keras import ops

import losses
from run import options

COMPARED = [name for name in losses.LOSSES if name not in (*options.RANKING, "barlow")]  # distances
GRADED = ("soft_weight_triplet", "soft_margin_triplet")


def unit(rng, rows, size=6):
    x = rng.standard_normal((rows, size))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def batch(seed=0, rows=7):
    """Relevance with a shared image and graded values, and two sets of unit rows, float64."""
    rng = np.random.default_rng(seed)
    image_id = np.array([0, 1, 2, 1, 3, 4, 5, 6, 6, 7, 8][:rows])
    concepts = rng.integers(0, 2, (9, 4)).astype(float)[image_id]
    relevance = np.array(reference.relevance(image_id, concepts))
    return relevance, unit(rng, rows), unit(rng, rows)


def value(name, relevance, image, text, reduction="sum", **settings):
    loss = losses.build_loss(name, reduction=reduction, **settings)
    inputs = {"image": image.astype("float32"), "text": text.astype("float32")}
    return float(loss(relevance.astype("float32"), inputs))


def next_in_turn(relevance):
    """The first following item that is no positive, by loops; -1 where there is none."""
    size = len(relevance)
    chosen = np.full((2, size), -1)
    for side, matrix in enumerate((relevance, relevance.T)):
        for i in range(size):
            for step in range(1, size):
                j = (i + step) % size
                if matrix[i, j] < 1 - 1e-6:
                    chosen[side, i] = j
                    break
    return chosen


def loop_value(name, relevance, image, text, margin, alpha, squared):
    """(sum, number of terms) of the loss `name` by the loop references."""
    if name in ("modified", "assignment"):
        loop = getattr(reference, f"{name}_loss")
        return loop(relevance, image, text, alpha, margin)
    negatives = None if name == "hardest_triplet" else next_in_turn(relevance)
    variant = {g: g.removesuffix("_triplet") for g in GRADED}.get(name, "plain")
    return reference.triplet_loss(relevance, image, text, margin, negatives, variant, squared)


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("squared", [True, False])
def test_losses_equal_the_loop_references(name, seed, squared):
    relevance, image, text = batch(seed)
    for alpha, margin in ((0.5, 0.5), (0.25, 1.3)):
        expected, terms = loop_value(name, relevance, image, text, margin, alpha, squared)
        got = value(name, relevance, image, text, alpha=alpha, margin=margin, squared=squared)
        mean = value(
            name, relevance, image, text, "mean", alpha=alpha, margin=margin, squared=squared
        )
        assert got == pytest.approx(expected, rel=2e-6, abs=1e-6)
        assert mean == pytest.approx(expected / terms, rel=2e-6, abs=1e-6)
        assert got > 0


@pytest.mark.parametrize("name", COMPARED)
def test_gradients_equal_central_differences_of_the_loop_references(name):
    import tensorflow as tf

    relevance, image, text = batch(4)
    loss = losses.build_loss(name, alpha=0.4, margin=0.9)

    def loop(x):
        return loop_value(name, relevance, x[0], x[1], 0.9, 0.4, True)[0]

    # Away from unit length D^2 is not 2 - 2 x.y, so both sides differentiate along the sphere only.
    numeric = np.array(reference.numerical_gradient(loop, np.stack([image, text])))
    x, y = tf.Variable(image, dtype="float32"), tf.Variable(text, dtype="float32")
    with tf.GradientTape() as tape:
        total = loss(relevance.astype("float32"), {"image": x, "text": y})
    analytic = np.stack([np.array(g) for g in tape.gradient(total, [x, y])])
    for got, wanted, rows in zip(analytic, numeric, (image, text), strict=True):
        a, b = (g - (g * rows).sum(1, keepdims=True) * rows for g in (got, wanted))
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_modified_loss_by_eye():
    # Two pairs on two axes: own pairs at D = 0, foreign ones at D^2 = 2.
    relevance = np.eye(2)
    rows = np.eye(2)
    assert value("modified", relevance, rows, rows, alpha=0.5, margin=1.0) == pytest.approx(0)
    # Swapped: own pairs at D^2 = 2 (attraction 1/2 * 2 each), foreign at D = 0 (1/2 * 1 each).
    assert value("modified", relevance, rows, rows[::-1], alpha=0.5, margin=1.0) == pytest.approx(
        2 * (0.5 * 2) + 2 * 0.5, abs=2e-6
    )


def test_assignment_loss_by_eye():
    rows = np.eye(2)
    graded = np.array([[1.0, 0.25], [0.25, 1.0]])
    # 3/4 * (1/4 * 2) from each foreign pair, no repulsion because s is not 0.
    assert value("assignment", graded, rows, rows, alpha=0.25, margin=3.0) == pytest.approx(0.75)
    # s = 0: 1/4 * max(0, 3 - 2) each.
    assert value("assignment", np.eye(2), rows, rows, alpha=0.25, margin=3.0) == pytest.approx(0.5)


def test_the_misprinted_form_is_another_function():
    relevance, image, text = batch(1)
    wrong, _ = reference.modified_loss_as_printed(relevance, image, text, 0.5, 0.5)
    assert abs(value("modified", relevance, image, text) - wrong) > 0.1


@pytest.mark.parametrize("name", losses.LOSSES)
def test_swapping_the_sides_changes_nothing_but_the_roles(name):
    relevance, image, text = batch(2)
    swapped = value(name, relevance.T, text, image)
    assert value(name, relevance, image, text) == pytest.approx(swapped, rel=1e-6)


@pytest.mark.parametrize("name", ["modified", "assignment", "hardest_triplet"])
def test_the_order_of_the_batch_does_not_matter(name):
    relevance, image, text = batch(3)
    order = np.random.default_rng(0).permutation(len(image))
    shuffled = value(name, relevance[order][:, order], image[order], text[order])
    assert value(name, relevance, image, text) == pytest.approx(shuffled, rel=1e-6)


# The sigmoid loss has terms of own pairs as well, Barlow Twins knows no negatives.
@pytest.mark.parametrize("name", [n for n in losses.LOSSES if n not in ("sigmoid", "barlow")])
def test_another_caption_of_the_image_is_never_a_negative(name):
    rng = np.random.default_rng(0)
    rows = np.repeat(unit(rng, 1), 3, axis=0)  # one image, three captions, all at one point
    same = np.ones((3, 3))
    assert value(name, same, rows, rows, margin=1.0) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("case", ["collapsed", "one pair", "zero rows"])
def test_degenerate_batches_have_finite_values_and_gradients(name, case):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    rows = {
        "collapsed": np.repeat(unit(rng, 1), 4, axis=0),
        "one pair": unit(rng, 1),
        "zero rows": np.zeros((4, 6)),
    }[case]
    x = tf.Variable(rows, dtype="float32")
    with tf.GradientTape() as tape:
        total = losses.build_loss(name)(np.eye(len(rows), dtype="float32"), {"image": x, "text": x})
    gradient = np.array(tf.convert_to_tensor(tape.gradient(total, x)))
    assert np.isfinite(float(total)) and np.isfinite(gradient).all()


def test_random_negatives_are_uniform_over_shuffled_batches():
    counts = np.zeros(6)
    for order in map(np.array, itertools.permutations(range(6))):
        image_id = np.array([0, 0, 1, 2, 3, 4])[order]
        relevance = losses.relevance_matrix(image_id.astype("int32"))
        chosen = ops.convert_to_numpy(losses.next_negatives(relevance))
        counts[order[chosen[list(order).index(2)]]] += 1  # the negatives of item 2
    np.testing.assert_array_equal(counts, [144, 144, 0, 144, 144, 144])


def test_relevance_equals_the_loop_reference():
    rng = np.random.default_rng(0)
    image_id = np.array([3, 1, 3, 2, 0, 4])
    concepts = rng.integers(0, 2, (5, 6)).astype(float)
    concepts[2] = 0  # an image without any concept
    for given in (None, concepts[image_id]):
        for literal in (False, True):
            if literal and given is None:
                continue
            expected = reference.relevance(image_id, given, literal=literal)
            single = None if given is None else given.astype("float32")
            got = losses.relevance_matrix(image_id.astype("int32"), single, literal=literal)
            np.testing.assert_allclose(ops.convert_to_numpy(got), expected, atol=1e-6)


def test_exchanged_texts_belong_to_their_own_images():
    got = losses.relevance_matrix(np.array([4, 5, 6, 7]), text_id=np.array([4, 5, 4, 9]))
    np.testing.assert_array_equal(got, [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_relevance_takes_similarity_but_keeps_own_pairs():
    similarity = np.array([[0.2, 0.5], [0.5, 1.2]], np.float32)
    got = losses.relevance_matrix(np.array([0, 1], np.int32), similarity=similarity)
    np.testing.assert_allclose(ops.convert_to_numpy(got), [[1, 0.5], [0.5, 1]])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_are_rebuilt_from_their_config(name):
    loss = losses.build_loss(name, margin=0.7, alpha=0.3, squared=False)
    again = type(loss).from_config(loss.get_config())
    relevance, image, text = batch(5)
    inputs = {"image": image.astype("float32"), "text": text.astype("float32")}
    first, second = (float(item(relevance.astype("float32"), inputs)) for item in (loss, again))
    assert first == second


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="choose from modified"):
        losses.build_loss("contrast")
    with pytest.raises(ValueError, match="alpha is 2"):
        losses.build_loss("modified", alpha=2.0)
    with pytest.raises(ValueError, match="margin is 0"):
        losses.build_loss("hardest_triplet", margin=0.0)
    with pytest.raises(ValueError, match="negatives is 'easy'"):
        losses.Triplet(negatives="easy")
    with pytest.raises(ValueError, match="soft is 'x'"):
        losses.Triplet(soft="x")
    assert issubclass(losses.Triplet, keras.losses.Loss)
