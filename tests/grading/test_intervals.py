"""intervals.py: the bootstrap against drawing by hand."""

import json

import numpy as np
import pytest
import reference_metrics as reference

import metrics
from grading import intervals
from grading.intervals import with_intervals

METRICS = {
    "mrr", "mrr@10", "recall@1", "recall@5", "recall@10", "median_rank", "mean_rank",
    "map@10", "ndcg@10",
}  # fmt: skip


def both_ways(seed=0, num_images=12, num_captions=40):
    """A result of chance embeddings with unequal numbers of captions."""
    rng = np.random.default_rng(seed)
    image, text = rng.standard_normal((num_images, 5)), rng.standard_normal((num_captions, 5))
    owner = rng.integers(0, num_images - 1, num_captions)
    return metrics.evaluate(image, text, owner, rng.random((num_images, 4)) < 0.4)


def one_way(ranks, query_image=None):
    """A result that holds ranks alone."""
    ranks = np.asarray(ranks, np.int64)
    images = np.arange(len(ranks)) if query_image is None else np.asarray(query_image, np.int64)
    return metrics.Retrieval(ranks, images, int(ranks.max()))


def numbers(report):
    """Every number of a report, by its path."""
    for key, value in report.items():
        if isinstance(value, dict):
            yield from ((f"{key}/{path}", number) for path, number in numbers(value))
        else:
            yield key, value


def width(interval):
    """The width of an interval."""
    return interval["high"] - interval["low"]


def test_report_holds_every_metric_as_plain_numbers():
    report = with_intervals(both_ways(), 20)
    assert set(report) == {"text_to_image", "image_to_text", "rsum"}
    for direction in ("text_to_image", "image_to_text"):
        assert set(report[direction]) == METRICS
    assert json.loads(json.dumps(report)) == report
    assert all(type(number) is float for _, number in numbers(report))


def test_values_are_those_of_the_loops():
    found = both_ways()
    report = with_intervals(found, 20)
    for direction, of in found.items():
        expected = reference.summary(of.ranks.tolist())
        expected |= {name: of.values()[name].mean() for name in ("map@10", "ndcg@10")}
        values = {name: interval["value"] for name, interval in report[direction].items()}
        assert values == pytest.approx(expected, rel=1e-13)
        assert metrics.summarise(of.ranks).items() <= values.items()


def test_intervals_hold_their_values():
    for seed in range(5):
        report = with_intervals(both_ways(seed), 50)
        intervals_of = [*report["text_to_image"].values(), *report["image_to_text"].values()]
        for interval in [*intervals_of, report["rsum"]]:
            assert interval["low"] <= interval["value"] <= interval["high"]
        assert width(report["text_to_image"]["mrr"]) > 0


@pytest.mark.parametrize("num_resamples", [1, 70])
def test_equals_drawing_images_by_hand(num_resamples):
    found = both_ways(1)
    report = with_intervals(found, num_resamples, seed=4)
    images = sorted(set(found["text_to_image"].query_image.tolist()))
    generator = np.random.default_rng((4, 0))
    drawn = [generator.integers(0, len(images), len(images)) for _ in range(num_resamples)]
    sums = np.zeros(num_resamples)
    for direction, of in found.items():
        samples = []
        for resample in drawn:
            queries = [q for g in resample for q in np.flatnonzero(of.query_image == images[g])]
            sample = reference.summary(of.ranks[queries].tolist())
            graded = ("map@10", "ndcg@10")
            samples.append(sample | {name: of.values()[name][queries].mean() for name in graded})
        for name in METRICS:
            low, high = np.quantile([sample[name] for sample in samples], (0.025, 0.975))
            interval = report[direction][name]
            assert interval["low"] == pytest.approx(min(low, interval["value"]), rel=1e-12)
            assert interval["high"] == pytest.approx(max(high, interval["value"]), rel=1e-12)
        recalls = [[sample[f"recall@{k}"] for k in (1, 5, 10)] for sample in samples]
        sums += np.sum(recalls, axis=1)
    low, high = np.quantile(sums, (0.025, 0.975))
    value = report["rsum"]["value"]
    assert report["rsum"]["low"] == pytest.approx(min(low, value), rel=1e-12)
    assert report["rsum"]["high"] == pytest.approx(max(high, value), rel=1e-12)


def test_captions_of_one_image_are_not_more_evidence():
    ranks = np.random.default_rng(0).integers(1, 50, 80)
    once = with_intervals({"text_to_image": one_way(ranks)}, 200)
    five = one_way(np.repeat(ranks, 5), np.repeat(np.arange(80), 5))
    assert dict(numbers(with_intervals({"text_to_image": five}, 200))) == pytest.approx(
        dict(numbers(once)), rel=1e-12
    )


def test_intervals_shrink_with_the_root_of_the_images():
    rng = np.random.default_rng(1)
    few, many = (
        with_intervals({"text_to_image": one_way(rng.integers(1, 30, size))})["text_to_image"]
        for size in (400, 6400)
    )
    for name in ("mrr", "recall@5", "mean_rank"):
        assert width(few[name]) / width(many[name]) == pytest.approx(4, rel=0.15)


def test_interval_of_a_mean_is_that_of_the_normal_law():
    ranks = np.random.default_rng(2).integers(1, 30, 2000)
    interval = with_intervals({"text_to_image": one_way(ranks)}, 4000)["text_to_image"]["mean_rank"]
    assert width(interval) == pytest.approx(2 * 1.96 * ranks.std() / 2000**0.5, rel=0.05)


def test_equal_queries_have_no_width():
    report = with_intervals({"image_to_text": one_way([3] * 7)}, 100)
    for interval in report["image_to_text"].values():
        assert interval["low"] == pytest.approx(interval["value"], rel=1e-15)
        assert interval["high"] == pytest.approx(interval["value"], rel=1e-15)
    assert "rsum" not in report


def test_a_single_pair_has_an_interval():
    report = with_intervals(metrics.evaluate([[1.0]], [[1.0]], [0]), 10)
    assert report["rsum"] == {"value": 600, "low": 600, "high": 600}


def test_seed_decides_and_memory_does_not(monkeypatch):
    found = both_ways(2)
    first = with_intervals(found, 100, seed=1)
    assert with_intervals(found, 100, seed=1) == first
    assert with_intervals(found, 100, seed=2) != first
    monkeypatch.setattr(intervals, "AT_ONCE", 7)
    assert with_intervals(found, 100, seed=1) == first


def test_folds_are_averaged():
    parts = [both_ways(seed) for seed in range(4)]
    report = with_intervals(parts, 300)
    alone = [with_intervals(part, 300) for part in parts]
    means = {path: np.mean([dict(numbers(r))[path] for r in alone]) for path, _ in numbers(report)}
    values = {path: number for path, number in numbers(report) if path.endswith("value")}
    assert values == pytest.approx({path: means[path] for path in values}, rel=1e-12)


def test_folds_are_resampled_on_their_own():
    found = both_ways(5, 40, 120)
    narrower = width(with_intervals([found] * 4)["rsum"]) / width(with_intervals(found)["rsum"])
    assert narrower == pytest.approx(0.5, rel=0.1)


def test_one_fold_is_the_whole():
    found = both_ways(3)
    assert with_intervals([found], 50) == with_intervals(found, 50)


def test_fold_slices():
    assert intervals.fold_slices(6, 3) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert intervals.fold_slices(5, 1) == [slice(0, 5)]
    for num_images, folds in ((7, 2), (3, 0), (0, 1), (3, 5)):
        with pytest.raises(ValueError, match="cannot be cut"):
            intervals.fold_slices(num_images, folds)


def test_nothing_to_resample_is_refused():
    with pytest.raises(ValueError, match="at least one of each"):
        with_intervals(both_ways(), 0)
    with pytest.raises(ValueError, match="at least one of each"):
        with_intervals([])


def test_an_interval_has_no_negative_zero():
    found = intervals.interval(np.array([-0.0, -0.0, 0.0, -0.0]))
    assert [str(found[key]) for key in ("value", "low", "high")] == ["0.0"] * 3
