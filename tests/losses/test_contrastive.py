"""The losses of pairs and Barlow Twins: by eye, by symmetry, against the loops, and degenerate."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import reference_contrastive as loops
from keras import ops
from reference import numerical_gradient
from reference_ranking import cosine_scores, info_nce

import losses
from losses import build_loss

TRIPLETS = ("sum_triplet", "max_triplet", "mean_triplet")
NAMES = (*TRIPLETS, "simclr", "sigmoid", "barlow")
SETTINGS = {"margin": 0.2, "temperature": 0.1, "bias": -3.0, "redundancy": 0.02}
# In eighths, margin 2 eighths. Hinges of image anchors (rows) and of text anchors (columns):
#   4 2 3     . 0 1      . 2 2
#   3 2 0     3 . 0      1 . 0
#   4 5 3     3 4 .      2 5 .
SCORES = np.array([[4, 2, 3], [3, 2, 0], [4, 5, 3]]) / 8
SAME_0_AND_2 = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def rows(rng, count, size=5):
    x = rng.standard_normal((count, size))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def batch(seed=0):
    """Relevance of seven pairs, of which two share an image, and two sets of unit rows."""
    rng = np.random.default_rng(seed)
    image_id = np.array([0, 1, 2, 1, 3, 4, 5])
    relevance = (image_id[:, None] == image_id).astype(float)
    relevance[0, 4] = relevance[4, 0] = 0.5  # alike, and still a negative
    return relevance, rows(rng, 7), rows(rng, 7)


def value(name, relevance, image, text, reduction="sum", numbers=(), **settings):
    loss = build_loss(name, reduction=reduction, **{**SETTINGS, **settings})
    inputs = {"image": np.asarray(image, "float32"), "text": np.asarray(text, "float32")}
    return float(loss(np.asarray(relevance, "float32"), {**inputs, **dict(numbers)}))


def loop(name, relevance, image, text, **settings):
    """The sum over the pairs by the loop references."""
    own = {**SETTINGS, **settings}
    scores, positive = cosine_scores(image, text), np.asarray(relevance) >= 1
    if name == "barlow":
        return loops.barlow(image, text, own["redundancy"])
    if name == "sigmoid":
        return loops.sigmoid(scores, positive, own["temperature"], own["bias"])[0]
    if name == "simclr":
        included = own.get("include_positive", False)
        return loops.simclr(scores, positive, own["temperature"], included)[0]
    return loops.triplet(scores, positive, own["margin"], name.removesuffix("_triplet"))[0]


def embeddings_of(scores):
    """Image rows and text columns whose products are `scores`; of any length."""
    return scores, np.eye(len(scores))


# ---- By eye -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "eighths", "among_two"),
    [
        ("sum_triplet", Fraction(11 + 12), Fraction(7 + 8)),
        ("max_triplet", Fraction(1 + 3 + 4 + 2 + 5 + 2), Fraction(0 + 3 + 4 + 1 + 5 + 0)),
        ("mean_triplet", Fraction(11 + 12, 2), Fraction(7 + 8, 2)),
    ],
)
def test_triplets_by_hand(name, eighths, among_two):
    image, text = embeddings_of(SCORES)
    for relevance, expected in ((np.eye(3), eighths), (SAME_0_AND_2, among_two)):
        got, wanted = value(name, relevance, image, text, margin=0.25), float(expected / 8)
        assert got == pytest.approx(wanted, rel=1e-6)
        assert loop(name, relevance, image, text, margin=0.25) == pytest.approx(wanted)
        mean = value(name, relevance, image, text, "mean", margin=0.25)
        assert mean == pytest.approx(wanted / 3, rel=1e-6)  # over the pairs


def test_the_mean_is_what_the_published_code_ran():
    for seed in range(3):
        _, image, text = batch(seed)
        expected = loops.triplet_as_it_ran(cosine_scores(image, text), 0.2)
        got = value("mean_triplet", np.eye(7), image, text, "mean")
        assert got == pytest.approx(expected, rel=2e-6)
        for name in TRIPLETS[:2]:
            assert abs(value(name, np.eye(7), image, text, "mean") - expected) > 0.1


def test_simclr_by_hand():
    # exp(s / t) in a table; own 4, 3, 2. Rows without them: 2 + 1, 1 + 2, 6 + 3; columns: 1 + 6,
    # 2 + 3, 1 + 2.
    table = np.array([[4.0, 2.0, 1.0], [1.0, 3.0, 2.0], [6.0, 3.0, 2.0]])
    image, text = embeddings_of(np.log(table) / 10)
    expected = Fraction(3 * 7, 4 * 4) * Fraction(3 * 5, 3 * 3) * Fraction(9 * 3, 2 * 2)
    assert value("simclr", np.eye(3), image, text) == pytest.approx(np.log(float(expected)), 1e-5)
    assert loop("simclr", np.eye(3), image, text) == pytest.approx(np.log(float(expected)))
    # Images 0 and 2 are one: below stand 2, 1 + 2 and 3; 1, 2 + 3 and 2. The value falls below 0.
    expected = Fraction(2 * 1, 4 * 4) * Fraction(3 * 5, 3 * 3) * Fraction(3 * 2, 2 * 2)
    assert expected < 1
    got = value("simclr", SAME_0_AND_2, image, text)
    assert got == pytest.approx(np.log(float(expected)), 1e-5)
    # With the own pairs: 7, 6, 11 and 11, 8, 5.
    expected = Fraction(7 * 11, 4 * 4) * Fraction(6 * 8, 3 * 3) * Fraction(11 * 5, 2 * 2)
    for run in (value, loop):
        got = run("simclr", np.eye(3), image, text, include_positive=True)
        assert got == pytest.approx(np.log(float(expected)), 1e-5)


def test_sigmoid_by_hand():
    # exp(s / t + b) in a table: a pair costs log(1 + 1 / e), a negative log(1 + e).
    table = np.array([[1.0, 3.0], [1.0, 4.0]])
    image, text = embeddings_of((np.log(table) + 3.0) / 10)
    expected = np.log(float((1 + Fraction(1, 1)) * (1 + 3) * (1 + 1) * (1 + Fraction(1, 4))))
    for run in (value, loop):
        assert run("sigmoid", np.eye(2), image, text) == pytest.approx(expected, rel=1e-5)
        alone = run("sigmoid", np.ones((2, 2)), image, text)  # two captions of one image
        assert alone == pytest.approx(np.log(2 * 1.25), rel=1e-5)
    assert value("sigmoid", np.eye(2), image, text, "mean") == pytest.approx(expected / 2, rel=1e-5)


def test_barlow_by_hand():
    # Columns of the image: a, b; of the text: a, -b. C = (1 0; 0 -1).
    a, b = np.array([1.0, 1, -1, -1]), np.array([1.0, -1, 1, -1])
    image, text = np.stack([a, b], 1), np.stack([a, -b], 1)
    for run in (value, loop):
        assert run("barlow", np.eye(4), image, text) == pytest.approx(4.0, abs=1e-3)
        assert run("barlow", np.eye(4), image, image) == pytest.approx(0.0, abs=1e-6)
        # The text has both columns equal to a: C = (1 1; 0 0).
        twice = np.stack([a, a], 1)
        assert run("barlow", np.eye(4), image, twice) == pytest.approx(1 + 0.02, abs=1e-3)


def test_the_cross_correlation_heeds_neither_length_nor_place():
    _, image, text = batch(1)
    plain = ops.convert_to_numpy(losses.cross_correlation(image, text))
    np.testing.assert_allclose(plain, loops.cross_correlation(image, text), atol=1e-6)
    moved = losses.cross_correlation(100 * image + 7.0, 50 * text - 3.0)
    np.testing.assert_allclose(ops.convert_to_numpy(moved), plain, atol=1e-3)
    assert np.abs(plain).max() <= 1


# ---- By symmetry --------------------------------------------------------------------------------


def test_equal_similarities_give_the_logarithm_of_the_number_of_negatives():
    one = np.tile(rows(np.random.default_rng(0), 1), (8, 1))
    assert value("simclr", np.eye(8), one, one, "mean") == pytest.approx(2 * np.log(7), rel=1e-6)
    got = value("simclr", np.eye(8), one, one, "mean", include_positive=True)
    assert got == pytest.approx(2 * np.log(8), rel=1e-6)
    pairs = np.kron(np.eye(4), np.ones((2, 2)))  # two captions of each image: six negatives
    assert value("simclr", pairs, one, one, "mean") == pytest.approx(2 * np.log(6), rel=1e-6)


def test_equal_embeddings_stand_on_the_plateau():
    one = np.tile(rows(np.random.default_rng(0), 1), (8, 1))
    for name, cells in zip(TRIPLETS, (14, 2, 2), strict=True):
        for reduction, pairs in (("sum", 8), ("mean", 1)):
            loss = build_loss(name, margin=0.2, reduction=reduction)
            assert loss.plateau(8) == pytest.approx(cells * pairs * 0.2)
            got = value(name, np.eye(8), one, one, reduction)
            assert got == pytest.approx(loss.plateau(8), rel=1e-5)
            assert loss.plateau(1) == 0.0
    # Nothing correlates with a column that is constant.
    assert value("barlow", np.eye(8), one, one) == pytest.approx(5.0, abs=1e-4)


def test_the_smooth_maximum_becomes_the_maximum_of_the_triplets():
    relevance, image, text = batch(2)
    cold = value("simclr", relevance, image, text, temperature=1e-4) * 1e-4
    # Hinges that a large margin keeps open: two directions, seven pairs.
    hinge = value("max_triplet", relevance, image, text, margin=9.0) - 2 * 7 * 9.0
    assert cold == pytest.approx(hinge, rel=1e-3)


# ---- Against the loops --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_the_loop_references(name, seed):
    relevance, image, text = batch(seed)
    for included in (False, True) if name == "simclr" else (False,):
        settings: dict[str, Any] = {"include_positive": included}
        expected = loop(name, relevance, image, text, **settings)
        got = value(name, relevance, image, text, **settings)
        assert got == pytest.approx(expected, rel=3e-6)
        mean = value(name, relevance, image, text, "mean", **settings)
        pairs = 1 if name == "barlow" else 7  # its loss is one number whatever the reduction
        assert mean == pytest.approx(expected / pairs, rel=3e-6)


@pytest.mark.parametrize("name", [*NAMES, "simclr included"])
def test_gradients_equal_central_differences_of_the_loop_references(name):
    import tensorflow as tf

    name, _, included = name.partition(" ")
    settings = {"include_positive": bool(included)}
    relevance, image, text = batch(4)
    numeric = np.array(
        numerical_gradient(
            lambda x: loop(name, relevance, x[0], x[1], **settings), np.stack([image, text])
        )
    )
    x, y = tf.Variable(image, dtype="float32"), tf.Variable(text, dtype="float32")
    loss = build_loss(name, reduction="sum", **SETTINGS, **settings)
    with tf.GradientTape() as tape:
        total = loss(relevance.astype("float32"), {"image": x, "text": y})
    analytic = np.stack([np.array(g) for g in tape.gradient(total, [x, y])])
    np.testing.assert_allclose(analytic, numeric, rtol=1e-4, atol=1e-4 * np.abs(numeric).max())


@pytest.mark.parametrize(
    ("name", "number"),
    [*((name, "margin") for name in TRIPLETS), ("simclr", "temperature"),
     ("sigmoid", "temperature"), ("sigmoid", "bias")],
)  # fmt: skip
def test_a_trained_number_counts_in_place_of_the_losss_own(name, number):
    import tensorflow as tf

    relevance, image, text = batch(5)
    inputs = {"image": image.astype("float32"), "text": text.astype("float32")}
    start, step = SETTINGS[number] * 1.5, 1e-4
    x = tf.constant(start, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = build_loss(name, reduction="sum", **SETTINGS)
        total = loss(relevance.astype("float32"), {**inputs, number: x})
    expected = loop(name, relevance, image, text, **{number: start})
    assert float(total) == pytest.approx(expected, rel=3e-6)
    high, low = (
        loop(name, relevance, image, text, **{number: start + way * step}) for way in (1, -1)
    )
    slope = float(tf.convert_to_tensor(tape.gradient(total, x)))
    assert slope == pytest.approx((high - low) / (2 * step), rel=1e-4)


# ---- Properties and equivalences ----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_there_are_no_sides_and_the_order_does_not_matter(name):
    relevance, image, text = batch(3)
    plain = value(name, relevance, image, text)
    assert value(name, relevance.T, text, image) == pytest.approx(plain, rel=3e-6)
    order = np.random.default_rng(1).permutation(7)
    moved = value(name, relevance[np.ix_(order, order)], image[order], text[order])
    assert moved == pytest.approx(plain, rel=3e-6)


@pytest.mark.parametrize("name", [*TRIPLETS, "simclr", "sigmoid"])
def test_another_caption_of_the_same_image_is_no_negative(name):
    relevance, image, text = batch(6)
    text[3] = image[1]  # the hardest negative of 1, were it not of the same image
    own = value(name, relevance, image, text)
    assert own == pytest.approx(loop(name, relevance, image, text), rel=3e-6)
    assert value(name, np.eye(7), image, text) > own + 0.1
    if name != "sigmoid":  # whose own pairs have terms too
        assert value(name, np.ones((2, 2)), image[[1, 3]], text[[1, 3]]) == 0.0


def test_cross_entropy_is_simclr_with_the_positive_included():
    relevance, image, text = batch(0)
    own = value("simclr", relevance, image, text, include_positive=True)
    assert own == pytest.approx(value("cross_entropy", relevance, image, text), rel=1e-6)
    expected, _ = info_nce(cosine_scores(image, text), relevance >= 1, 0.1)
    assert own == pytest.approx(expected, rel=3e-6)
    # The mean is over the pairs, of which each has two anchors.
    mean = value("simclr", relevance, image, text, "mean", include_positive=True)
    assert mean == pytest.approx(2 * value("cross_entropy", relevance, image, text, "mean"))
    assert own > value("simclr", relevance, image, text)


def test_sums_and_maxima_are_those_of_the_hinges():
    relevance, image, text = batch(0)
    for kind in ("sum", "max"):
        got = value(f"{kind}_triplet", relevance, image, text)
        assert got == pytest.approx(value(f"{kind}_hinge", relevance, image, text), rel=1e-6)
    literal = value("sum_triplet", relevance, image, text, literal=True)
    assert literal == pytest.approx(loop("sum_triplet", np.eye(7), image, text), rel=3e-6)


def test_functions_are_what_the_classes_sum():
    relevance, image, text = batch(0)
    image, text = image.astype("float32"), text.astype("float32")
    scores = image @ text.T
    terms = losses.sigmoid_terms(scores, relevance, 0.1, -3.0)
    assert float(ops.sum(terms)) == pytest.approx(value("sigmoid", relevance, image, text))
    terms = losses.cross_entropies(scores, relevance, 0.1, include_positive=False)
    assert float(ops.sum(terms)) == pytest.approx(value("simclr", relevance, image, text))


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_rebuilt_from_their_config(name):
    loss = build_loss(
        name, reduction="mean", margin=0.3, temperature=0.2, bias=-2.0, redundancy=0.5,
        similarity="order", include_positive=True, literal=True,
    )  # fmt: skip
    again = type(loss).from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
    chosen = {"simclr": ("include_positive", True), "barlow": ("redundancy", 0.5)}
    key, wanted = chosen.get(name, ("similarity", "order"))
    assert loss.get_config()[key] == wanted


def test_the_papers_settings_are_the_defaults():
    made = {name: build_loss(name).get_config() for name in NAMES}
    assert [made[name]["margin"] for name in TRIPLETS] == [0.2] * 3
    assert made["simclr"]["temperature"] == 0.07 and not made["simclr"]["include_positive"]
    assert (made["sigmoid"]["temperature"], made["sigmoid"]["bias"]) == (0.1, -10.0)
    assert made["barlow"]["redundancy"] == 0.005
    assert build_loss("simclr", temperature=None).temperature == 0.07  # a flag that was not given


# ---- Degenerate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["one pair", "one image", "zero rows", "collapsed", "far apart"])
def test_degenerate_batches_have_finite_values_and_gradients(name, case):
    import tensorflow as tf

    one = rows(np.random.default_rng(0), 1)
    image, relevance = {
        "one pair": (one, np.eye(1)),
        "one image": (rows(np.random.default_rng(1), 3), np.ones((3, 3))),
        "zero rows": (np.zeros((4, 5)), np.eye(4)),
        "collapsed": (np.tile(one, (4, 1)), np.eye(4)),
        "far apart": (np.concatenate([one, -one]), np.eye(2)),
    }[case]
    x = tf.Variable(image, dtype="float32")
    settings = {**SETTINGS, "temperature": 1e-3}
    with tf.GradientTape() as tape:
        loss = build_loss(name, reduction="mean", **settings)
        total = loss(relevance.astype("float32"), {"image": x, "text": x})
    gradient = np.array(tf.convert_to_tensor(tape.gradient(total, x)))
    assert np.isfinite(float(total)) and np.isfinite(gradient).all()
    if name not in ("sigmoid", "barlow") and case in ("one pair", "one image"):
        assert float(total) == 0.0 and not gradient.any()  # nobody has a negative
    if name == "barlow" and case in ("one pair", "zero rows", "collapsed"):
        assert float(total) == pytest.approx(5.0, abs=1e-5)  # no column says anything


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="choose sum or max or mean"):
        losses.PairHinge(negatives="least")
    with pytest.raises(ValueError, match="margin is 0"):
        losses.PairHinge(margin=0.0)
    with pytest.raises(ValueError, match="temperature is 0"):
        losses.SimCLR(temperature=0.0)
    with pytest.raises(ValueError, match="temperature is -1"):
        losses.Sigmoid(temperature=-1.0)
    with pytest.raises(ValueError, match="similarity is 'x'"):
        losses.Sigmoid(similarity="x")
    with pytest.raises(ValueError, match="redundancy is -1"):
        losses.BarlowTwins(redundancy=-1.0)
