"""Hinges and cross entropy: by eye, by symmetry, against the loop references, and degenerate."""

import numpy as np
import pytest
import reference
import reference_dual_path as dual
import reference_ranking as loops

import losses
from losses import build_loss

NAMES = ("sum_hinge", "max_hinge", "cross_entropy")


def rows(rng, count, size=6, absolute=False):
    x = rng.standard_normal((count, size))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.abs(x) if absolute else x


def batch(seed=0, absolute=False):
    """Relevance of seven pairs, of which two share an image, and two sets of unit rows."""
    rng = np.random.default_rng(seed)
    image_id = np.array([0, 1, 2, 1, 3, 4, 5])
    relevance = (image_id[:, None] == image_id).astype(float)
    relevance[0, 4] = relevance[4, 0] = 0.5  # alike, and still a negative
    return relevance, rows(rng, 7, absolute=absolute), rows(rng, 7, absolute=absolute)


def value(name, relevance, image, text, **settings):
    loss = build_loss(name, **{"reduction": "sum", **settings})
    inputs = {"image": image.astype("float32"), "text": text.astype("float32")}
    return float(loss(np.asarray(relevance, "float32"), inputs))


def loop(name, relevance, image, text, similarity, margin=0.2, temperature=0.1):
    """(sum, terms) by the loop references."""
    scores = getattr(loops, f"{similarity}_scores")(image, text)
    positive = np.asarray(relevance) >= 1
    if name == "cross_entropy":
        return loops.info_nce(scores, positive, temperature)
    make = loops.sum_of_hinges if name == "sum_hinge" else loops.max_of_hinges
    return make(scores, positive, margin)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("similarity", ["cosine", "order"])
@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_the_loop_references(name, similarity, seed):
    relevance, image, text = batch(seed, absolute=similarity == "order")
    settings = {"similarity": similarity, "margin": 0.2, "temperature": 0.1}
    expected, terms = loop(name, relevance, image, text, similarity)
    assert value(name, relevance, image, text, **settings) == pytest.approx(expected, rel=2e-6)
    mean = value(name, relevance, image, text, **settings, reduction="mean")
    assert mean == pytest.approx(expected / terms, rel=2e-6)
    assert expected > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("similarity", ["cosine", "order"])
def test_gradients_equal_central_differences_of_the_loop_references(name, similarity):
    import tensorflow as tf

    relevance, image, text = batch(4, absolute=similarity == "order")
    loss = build_loss(name, similarity=similarity, margin=0.2, temperature=0.1, reduction="sum")
    numeric = np.array(
        reference.numerical_gradient(
            lambda x: loop(name, relevance, x[0], x[1], similarity)[0], np.stack([image, text])
        )
    )
    x, y = tf.Variable(image, dtype="float32"), tf.Variable(text, dtype="float32")
    with tf.GradientTape() as tape:
        total = loss(relevance.astype("float32"), {"image": x, "text": y})
    analytic = np.stack([np.array(g) for g in tape.gradient(total, [x, y])])
    np.testing.assert_allclose(analytic, numeric, rtol=1e-4, atol=1e-4 * np.abs(numeric).max())


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


def test_equal_embeddings_stand_on_the_plateau():
    one = np.tile(rows(np.random.default_rng(0), 1), (8, 1))
    for name, expected in (("max_hinge", 2 * 8 * 0.2), ("sum_hinge", 2 * 8 * 7 * 0.2)):
        for similarity in ("cosine", "order"):
            for reduction in ("sum", "mean"):
                settings = {"margin": 0.2, "similarity": similarity, "reduction": reduction}
                got = value(name, np.eye(8), one, one, **settings)
                assert got == pytest.approx(build_loss(name, **settings).plateau(8), rel=1e-5)
        assert build_loss(name, margin=0.2, reduction="sum").plateau(8) == pytest.approx(expected)
    # All candidates alike: the logarithm of their number, for each of 2 x 8 anchors.
    assert value("cross_entropy", np.eye(8), one, one) == pytest.approx(16 * np.log(8), rel=1e-5)


def test_the_maximum_is_over_each_anchors_negatives():
    relevance, image, text = batch(1)
    scores = loops.cosine_scores(image, text)
    wrong, _ = loops.max_of_hinges_wrong_axis(scores, relevance >= 1, 0.2)
    assert abs(value("max_hinge", relevance, image, text, margin=0.2) - wrong) > 0.01


def test_a_second_caption_of_an_image_is_a_negative_only_if_literal():
    relevance, image, text = batch(2)
    own, literal = (
        value("sum_hinge", relevance, image, text, margin=0.2, literal=flag)
        for flag in (False, True)
    )
    expected, _ = loop("sum_hinge", np.eye(7), image, text, "cosine")
    assert literal == pytest.approx(expected, rel=2e-6)
    assert literal > own + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_order_of_the_batch_does_not_matter_and_cosine_has_no_sides(name):
    relevance, image, text = batch(3)
    order = np.random.default_rng(1).permutation(7)
    plain = value(name, relevance, image, text, margin=0.2)
    moved = value(name, relevance[np.ix_(order, order)], image[order], text[order], margin=0.2)
    assert moved == pytest.approx(plain, rel=2e-6)
    assert value(name, relevance, text, image, margin=0.2) == pytest.approx(plain, rel=2e-6)
    one = value(name, relevance, np.abs(image), np.abs(text), margin=0.2, similarity="order")
    other = value(name, relevance, np.abs(text), np.abs(image), margin=0.2, similarity="order")
    assert abs(one - other) > 1e-3  # a caption lies below its image, not the other way


@pytest.mark.parametrize("name", NAMES)
def test_one_pair_and_zero_rows_have_finite_gradients(name):
    import tensorflow as tf

    for image in (np.ones((1, 4)) / 2, np.zeros((3, 4))):
        relevance = np.ones((len(image), len(image)))
        x = tf.constant(image, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = build_loss(name, margin=0.2, reduction="sum")
            total = loss(relevance.astype("float32"), {"image": x, "text": x})
        assert float(total) == pytest.approx(0.0, abs=1e-6)  # nobody has a negative
        assert np.isfinite(np.array(tape.gradient(total, x))).all()


@pytest.mark.parametrize("name", NAMES)
def test_settings_survive(name):
    loss = build_loss(name, margin=0.3, temperature=0.2, similarity="order", literal=True)
    again = type(loss).from_config(loss.get_config())
    assert again.get_config() == loss.get_config()


def test_odd_settings_are_refused():
    with pytest.raises(ValueError, match="margin is 0"):
        losses.Hinge(margin=0.0)
    with pytest.raises(ValueError, match="similarity is 'x'"):
        losses.Hinge(similarity="x")
    with pytest.raises(ValueError, match="negatives is 'x'"):
        losses.Hinge(negatives="x")
    with pytest.raises(ValueError, match="temperature is 0"):
        losses.CrossEntropy(temperature=0.0)
    with pytest.raises(ValueError, match="similarity is 'x'"):
        losses.CrossEntropy(similarity="x")


# ---- One negative to each anchor ----------------------------------------------------------------


def paired(image, text, image_id, text_id=None, margin: float = 1.0, **settings):
    """The loss with images of `image_id` and texts of `text_id`, and the loop reference's sum."""
    text_id = image_id if text_id is None else text_id
    relevance = (np.asarray(image_id)[:, None] == np.asarray(text_id)).astype(float)
    got = value("paired_hinge", relevance, image, text, margin=margin, **settings)
    return got, dual.paired_hinge(image, text, image_id, text_id, margin)[0]


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_paired_hinges_equal_the_loop_reference(size, margin):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        image, text = rows(rng, size), rows(rng, size)
        got, expected = paired(image, text, list(range(size)), margin=margin)
        assert got == pytest.approx(expected, rel=2e-6, abs=1e-7)
        mean, _ = paired(image, text, list(range(size)), margin=margin, reduction="mean")
        assert mean == pytest.approx(expected / size, rel=2e-6, abs=1e-7)
        assert (expected > 0) == (size > 1)


def test_paired_hinges_by_eye():
    # Anchor 0 with S = 1/2; its negatives: text 1 with 1/4, image 1 with 0. Margin 1/2.
    image, text = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.5, 0.0], [0.25, 0.9]])
    got, _ = paired(image, text, [0, 1], margin=0.5)
    assert got == pytest.approx((0.5 - 0.5 + 0.25) + 0.0)
    got, _ = paired(image, text, [0, 1], margin=1.0)
    assert got == pytest.approx((1 - 0.5 + 0.25) + (1 - 0.5 + 0.0))


def test_equal_embeddings_and_the_margin():
    one = np.tile(rows(np.random.default_rng(0), 1), (9, 1))
    assert paired(one, one, list(range(9)))[0] == pytest.approx(8.0)  # 2 x 4 hinges of 1
    own = rows(np.random.default_rng(1), 8)
    got, expected = paired(own, np.roll(own, 4, axis=0), list(range(8)))  # texts of the other half
    assert got == pytest.approx(expected, rel=2e-6) and got > 8.0
    apart = np.eye(8)
    assert paired(apart, apart, list(range(8)))[0] == 0.0  # ahead by just the margin


def test_the_own_pair_must_be_ahead_not_behind():
    rng = np.random.default_rng(2)
    image, text = rows(rng, 6), rows(rng, 6)
    wrong, _ = dual.paired_hinge(image, text, range(6), range(6), 1.0, dual.distance)
    assert abs(paired(image, text, list(range(6)))[0] - wrong) > 0.1


def test_negatives_that_belong_to_the_anchor_count_nothing():
    rng = np.random.default_rng(3)
    image, text = rows(rng, 6), rows(rng, 6)
    # Image 3 is of anchor 0's; text 4 was exchanged for one of anchor 1's own.
    got, expected = paired(image, text, [0, 1, 2, 0, 4, 5], [0, 1, 2, 3, 1, 5])
    assert got == pytest.approx(expected, rel=2e-6)
    whole, _ = paired(image, text, list(range(6)))
    assert got < whole - 0.5
    for swapped in range(2):  # only one of the two sides is left out
        ids = [list(range(6)), [0, 1, 2, 3, 1, 5]]
        images, texts = ids[::-1] if swapped else ids
        got, expected = paired(image, text, images, texts)
        assert got == pytest.approx(expected, rel=2e-6)


def test_paired_hinges_have_no_sides_and_know_their_halves():
    rng = np.random.default_rng(4)
    image, text = rows(rng, 8), rows(rng, 8)
    plain, _ = paired(image, text, list(range(8)))
    assert paired(text, image, list(range(8)))[0] == pytest.approx(plain, rel=2e-6)
    order = np.array([2, 0, 3, 1])
    order = np.append(order, order + 4)  # anchors and negatives alike
    moved, _ = paired(image[order], text[order], list(range(8)))
    assert moved == pytest.approx(plain, rel=2e-6)


def test_paired_gradients_equal_central_differences():
    import tensorflow as tf

    rng = np.random.default_rng(5)
    image, text = rows(rng, 7), rows(rng, 7)
    ids = [0, 1, 2, 3, 1, 5, 6]

    def unnormalised(x):  # the loss itself divides by no norm
        product = lambda a, b: float(np.dot(a, b))  # noqa: E731
        return dual.paired_hinge(x[0], x[1], ids, ids, 0.7, product)[0]

    numeric = np.array(reference.numerical_gradient(unnormalised, np.stack([image, text])))
    x, y = tf.Variable(image, dtype="float32"), tf.Variable(text, dtype="float32")
    relevance = (np.array(ids)[:, None] == ids).astype("float32")
    with tf.GradientTape() as tape:
        total = losses.PairedHinge(0.7, reduction="sum")(relevance, {"image": x, "text": y})
    analytic = np.stack([np.array(tf.convert_to_tensor(g)) for g in tape.gradient(total, [x, y])])
    np.testing.assert_allclose(analytic, numeric, atol=1e-4)
    assert not analytic[:, 6].any()  # the odd row is neither anchor nor negative


def test_paired_hinge_settings_survive_and_odd_ones_are_refused():
    loss = build_loss("paired_hinge", margin=0.3, similarity="order", reduction="sum")
    again = type(loss).from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
    with pytest.raises(ValueError, match="margin is 0"):
        losses.PairedHinge(margin=0.0)
    with pytest.raises(ValueError, match="similarity is 'x'"):
        losses.PairedHinge(similarity="x")
