"""Paired differences: SciPy's permutation test, Holm by hand, tries without a difference."""

import numpy as np
import pytest
from drawn_ranks import drawn
from scipy import stats

import metrics
from grading import intervals
from grading.comparison import paired
from run import files
from run.folder import Run


@pytest.mark.parametrize("images", [4, 9])
def test_few_images_have_scipys_exact_p_values(images):
    rng = np.random.default_rng(images)
    shares = rng.standard_normal((3, images))
    expected = [
        stats.permutation_test(
            (row,), np.sum, permutation_type="samples", n_resamples=np.inf
        ).pvalue
        for row in shares
    ]
    np.testing.assert_allclose(paired.permutation_p(shares), expected, rtol=1e-12)


def test_drawn_exchanges_come_near_scipys():
    shares = np.random.default_rng(3).normal(0.15, 1, (2, 60))
    expected = [
        stats.permutation_test((row,), np.sum, permutation_type="samples", rng=1).pvalue
        for row in shares
    ]
    np.testing.assert_allclose(paired.permutation_p(shares), expected, atol=0.02)


def test_a_pairs_p_value_is_scipys_of_the_images_sums():
    rng = np.random.default_rng(8)
    hard = rng.exponential(8, 11)
    first, second = drawn(rng, 11, 0.0, hard), drawn(rng, 11, 0.5, hard)
    sums = np.zeros(11)
    for side, captions in (("text_to_image", 2), ("image_to_text", 1)):
        for cutoff in metrics.CUTOFFS:
            hits = [
                run.found[side].ranks.reshape(11, captions) <= cutoff for run in (first, second)
            ]
            sums += 100 * (hits[0].mean(axis=1) - hits[1].mean(axis=1)) / 11
    expected = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    one = paired.compare_pair(first, second)["rsum"]
    assert one["value"] == pytest.approx(expected.statistic)
    assert one["p"] == pytest.approx(expected.pvalue, rel=1e-12)


def test_no_difference_at_all_has_p_1():
    one = drawn(np.random.default_rng(0), 30)
    found = paired.compare_pair(one, one)
    assert found["rsum"]["p"] == 1 and found["rsum"]["needed"] is None
    assert found["text_to_image"]["mrr"]["low"] == found["text_to_image"]["mrr"]["high"] == 0


def test_differences_are_means_over_queries_and_their_intervals_are_paired():
    rng = np.random.default_rng(1)
    hard = rng.exponential(8, 80)
    first, second = drawn(rng, 80, 0.0, hard), drawn(rng, 80, 0.4, hard)
    found = paired.compare_pair(first, second)
    sides = first.found["text_to_image"].ranks, second.found["text_to_image"].ranks
    expected = np.mean([1 / a - 1 / b for a, b in zip(*sides, strict=True)])
    one = found["text_to_image"]["mrr"]
    assert one["value"] == pytest.approx(expected, rel=1e-12)
    alone = [intervals.with_intervals(own.found)["text_to_image"]["mrr"] for own in (first, second)]
    apart = np.hypot(*(side["high"] - side["low"] for side in alone))
    assert one["high"] - one["low"] < 0.9 * apart
    both = sum(
        found[side][f"recall@{cutoff}"]["value"]
        for side in ("text_to_image", "image_to_text") for cutoff in metrics.CUTOFFS
    )  # fmt: skip
    assert found["rsum"]["value"] == pytest.approx(both)
    other = paired.compare_pair(second, first)
    assert other["rsum"]["value"] == -found["rsum"]["value"]
    assert other["rsum"]["p"] == found["rsum"]["p"]


def test_equal_runs_are_told_apart_in_one_try_of_twenty(monkeypatch):
    monkeypatch.setattr(paired, "PERMUTATIONS", 399)
    rng, hits = np.random.default_rng(7), 0
    for attempt in range(400):
        shares = rng.standard_t(4, (1, 40))
        hits += paired.permutation_p(shares, attempt)[0] < 0.05
    assert 10 <= hits <= 32  # 20 expected, the middle 99.5 % of the binomial law


def test_holm_by_hand():
    assert paired.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired.holm([0.6, 0.7]) == [1.0, 1.0]


def test_how_many_images_would_do():
    assert paired.needed_images(2.0, 2.0, 100) == int(np.ceil(100 * 2.801585**2))
    assert paired.needed_images(-1.0, 2.0, 100) == pytest.approx(4 * 100 * 2.801585**2, abs=1)


def test_verdicts():
    one = {"value": -3.0, "low": -5.0, "high": -1.0, "images": 1000, "needed": 900}
    assert paired.verdict(("a", "b"), one, 0.01, "rsum").startswith("b is ahead of a: -3 rsum")
    assert paired.verdict(("a", "b"), one, 0.01, "mean_rank").startswith("a is ahead of b: -3")
    told = paired.verdict(("a", "b"), one, 0.2, "rsum")
    assert told.startswith("a and b cannot be told apart on these 1,000 images")
    assert told.endswith("about 900 would be needed")


def test_other_queries_and_damaged_tables_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="graded on different queries"):
        paired.compare_pair(drawn(rng, 5), drawn(rng, 6))
    run = Run(tmp_path)
    for content in ("image,rank\na,x\n", "image\na\n", "image,rank\n", "image,rank\na,0\n"):
        files.write_text(run / "ranks_text_to_image.csv", content)
        with pytest.raises(ValueError, match=r"run python test\.py anew"):
            paired.read_ranks(run)
