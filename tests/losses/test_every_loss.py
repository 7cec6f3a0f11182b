"""Every loss on the same rungs: loop references, gradients, symmetries, degenerate batches."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from loss_cases import (
    ATTRACTING,
    CASES,
    DISTANCES,
    REFERENCES,
    WITHOUT,
    batch,
    build,
    loop,
    slopes,
    unit_rows,
    value,
)
from reference import numerical_gradient

import losses

PULLED_APART = "sigmoid", "barlow"  # are not 0 where all are equal
NEIGHBOURS = ("random_triplet", "soft_weight_triplet", "soft_margin_triplet", "paired_hinge")


def test_every_loss_has_a_reference():
    assert set(REFERENCES) == set(losses.LOSSES), "tests/loss_cases.py holds the references"


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_losses_equal_the_loop_references(name, changes):
    for seed, margin in ((0, 0.2), (1, 1.3), (2, 0.5)):
        own = {**changes, "margin": margin}
        made = batch(seed, own.get("similarity", "cosine"))
        expected, divisor = loop(name, *made, **own)
        assert value(name, *made, **own) == pytest.approx(expected, rel=3e-6)
        mean = value(name, *made, **own, reduction="mean")
        assert mean == pytest.approx(expected / divisor, rel=3e-6)
        assert expected != 0


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_gradients_equal_central_differences_of_the_loop_references(name, changes):
    relevance, *rows = batch(4, changes.get("similarity", "cosine"))
    _, found = slopes(build(name, **changes), relevance, *rows)
    numeric = numerical_gradient(lambda x: loop(name, relevance, *x, **changes)[0], np.stack(rows))
    pairs = list(zip(found, numeric, strict=True))
    if name in DISTANCES:  # off the sphere D^2 is not 2 - 2 x.y: compare along it
        sides = zip(pairs, rows, strict=True)
        pairs = [[g - (g * x).sum(1, keepdims=True) * x for g in pair] for pair, x in sides]
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(numeric).max())


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name in losses.LOSSES for number in build(name).learnable],
)
def test_a_trained_number_counts_in_place_of_the_losss_own(name, number):
    made, loss, step = batch(5), build(name), 1e-4
    start = getattr(loss, number) * 1.5
    key = "logit_bias" if number == "bias" else number
    total, (*_, slope) = slopes(loss, *made, **{number: start})
    assert total == pytest.approx(loop(name, *made, **{key: start})[0], rel=3e-6)
    assert total == pytest.approx(value(name, *made, **{key: start}), rel=1e-6)
    high, low = (loop(name, *made, **{key: start + way * step})[0] for way in (1, -1))
    assert slope == pytest.approx((high - low) / (2 * step), rel=1e-4)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_cosines_have_no_sides_and_the_batch_no_order(name):
    relevance, image, text = batch(2)
    plain = value(name, relevance, image, text)
    assert value(name, relevance.T, text, image) == pytest.approx(plain, rel=3e-6)
    order = np.random.default_rng(1).permutation(7)
    if name == "paired_hinge":  # anchors stay anchors, each with its negative
        order = np.array([2, 0, 1, 5, 3, 4, 6])
    if name not in NEIGHBOURS or name == "paired_hinge":
        moved = value(name, relevance[np.ix_(order, order)], image[order], text[order])
        assert moved == pytest.approx(plain, rel=3e-6)
    if "similarity" in losses.hyperparameters(name):  # a caption lies below its image
        made = relevance, np.abs(image), np.abs(text)
        turned = relevance.T, np.abs(text), np.abs(image)
        one, other = (value(name, *sides, similarity="order") for sides in (made, turned))
        assert abs(one - other) > 1e-3


@pytest.mark.parametrize("name", [name for name in losses.LOSSES if name not in PULLED_APART])
def test_another_caption_of_the_image_is_never_a_negative(name):
    rows = np.repeat(unit_rows(0, 1), 3, axis=0)  # one image, three captions, all at one point
    assert value(name, np.ones((3, 3)), rows, rows) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in losses.LOSSES if name not in ATTRACTING])
def test_the_own_pair_is_no_negative_even_where_its_relevance_is_none(name):
    relevance, image, text = batch(3)  # with --literal_relevance, of images without a concept
    marked = value(name, relevance, image, text)
    np.fill_diagonal(relevance, 0)
    assert value(name, relevance, image, text) == marked


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("case", ["one pair", "one image", "zero rows", "collapsed", "far apart"])
def test_degenerate_batches_have_finite_values_and_gradients(name, case):
    one = unit_rows(0, 1)
    rows, relevance = {
        "one pair": (one, np.eye(1)),
        "one image": (unit_rows(1, 3), np.ones((3, 3))),
        "zero rows": (np.zeros((4, 5)), np.eye(4)),
        "collapsed": (np.repeat(one, 4, axis=0), np.eye(4)),
        "far apart": (np.concatenate([one, -one]), np.eye(2)),
    }[case]
    for reduction in ("sum", "mean"):
        total, found = slopes(
            build(name, temperature=1e-3, reduction=reduction), relevance, rows, rows
        )
        assert np.isfinite(total) and all(np.isfinite(g).all() for g in found)
        if name not in WITHOUT and case in ("one pair", "one image"):
            assert total == 0.0 and not any(g.any() for g in found)  # nobody has a negative
        if name == "barlow" and case in ("one pair", "zero rows", "collapsed"):
            assert total == pytest.approx(5.0, abs=1e-5)  # no column says anything


# ---- The table ----------------------------------------------------------------------------------


def test_the_table_is_read_without_keras():
    code = (
        "import sys, losses; print([losses.hyperparameters(name) for name in losses.LOSSES]);"
        "losses.build_loss('modified'); sys.exit('keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_hyperparameters_have_the_papers_values_unless_the_settings_have_others():
    margins = {name: losses.hyperparameters(name).get("margin") for name in losses.LOSSES}
    hinges = ("sum_hinge", "max_hinge", "sum_triplet", "max_triplet", "mean_triplet")
    published = dict.fromkeys(DISTANCES, 1.25) | dict.fromkeys(hinges, 0.2) | {"paired_hinge": 1.0}
    assert {name: margins[name] for name in published} == published
    assert losses.hyperparameters("simclr") == {
        "reduction": "mean", "temperature": 0.07, "similarity": "cosine", "include_positive": False
    }  # fmt: skip
    assert losses.build_loss("cross_entropy").temperature == 0.05
    assert losses.hyperparameters("barlow")["barlow_lambda"] == 0.005
    given = SimpleNamespace(temperature=None, logit_bias=-2.0, margin=3.0, negatives="max")
    loss = losses.build_loss("sigmoid", given)  # no margin, no negatives
    assert (loss.temperature, loss.bias, loss.reduction) == (0.1, -2.0, "mean")
    assert losses.build_loss("sum_hinge", given).negatives == "sum"
    assert losses.build_loss("sum_hinge", given).margin == 3.0


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("contrast", {}, "unknown loss 'contrast': choose from .*modified"),
        ("modified", {"alpha": 2.0}, "alpha is 2.0; expected a number from 0 to 1"),
        ("hardest_triplet", {"margin": 0.0}, "margin is 0.0; expected a number above 0"),
        ("paired_hinge", {"margin": float("nan")}, "margin is nan"),
        ("simclr", {"temperature": 0.0}, "temperature is 0.0; expected a number above 0"),
        ("sigmoid", {"similarity": "x"}, "similarity is 'x'; expected cosine or order"),
        ("barlow", {"barlow_lambda": -1.0}, "barlow_lambda is -1.0; expected a number of 0"),
        ("max_hinge", {"reduction": "all"}, "reduction is 'all'; expected sum or mean"),
    ],
)
def test_bad_settings_are_refused(name, settings, said):
    with pytest.raises(ValueError, match=said):
        losses.build_loss(name, SimpleNamespace(**settings))


def test_unknown_kinds_of_negatives_are_refused():
    with pytest.raises(ValueError, match="negatives is 'mean'; expected sum or max"):
        losses.Hinge(negatives="mean")
    with pytest.raises(ValueError, match="negatives is 'easy'; expected random or hardest"):
        losses.Triplet(negatives="easy")


@pytest.mark.parametrize("name", losses.LOSSES)
def test_whatever_the_towers_compute_in_the_loss_is_float32(name):
    relevance, image, text = batch(0)
    image, text = image.astype(np.float16), text.astype(np.float16)
    loss = build(name)
    numbers = {key: getattr(loss, key) for key in loss.learnable}
    single = {key: np.float32(number) for key, number in numbers.items()}
    expected = loss(*(x.astype(np.float32) for x in (relevance, image, text)), **single)
    got = loss(relevance, image, text, **{key: np.float64(x) for key, x in numbers.items()})
    assert got.dtype == expected.dtype == "float32" and float(got) == float(expected)
