"""chance.py: chance and the oracle against listing every order, and against simulated readers."""

import tracemalloc
from dataclasses import replace
from math import comb, fsum, log2

import numpy as np
import pytest
import reference_metrics as reference

import metrics
from grading.chance import chance, oracle
from grading.intervals import with_intervals


def harmonic(n):
    """H_n = 1 + 1/2 + ... + 1/n."""
    return fsum(1 / k for k in range(1, n + 1))


def tiny(seed):
    """At most five candidates either way, so that every order can be listed."""
    rng = np.random.default_rng(seed)
    owner = np.array([0, 0, 1, 3, 3])[: 5 - seed % 2]
    fits = rng.random((len(owner), 4)) < 0.5
    fits[np.arange(len(owner)), owner] = True
    concepts = [None, rng.random((4, 5)) < 0.4, rng.integers(0, 3, (4, 5))][seed % 3]
    return fits, owner, concepts


def tiers_of(fits, image):
    """Captions by what they say of an image: those that fit it by m ascending, then the others."""
    reach = [int(row.sum()) for row in fits]
    levels = sorted({reach[c] for c in range(len(fits)) if fits[c, image]})
    tiers = [[c for c in range(len(fits)) if fits[c, image] and reach[c] == m] for m in levels]
    return [*tiers, [c for c in range(len(fits)) if not fits[c, image]]]


def listed_captions(fits, owner, image, lists):
    """Every order of the captions for one image, beginning with those that say most."""
    gains = [reference.relevance(image, other, lists) for other in owner.tolist()]
    return reference.every_order((owner == image).tolist(), tiers_of(fits, image), gains)


@pytest.mark.parametrize("seed", range(6))
def test_oracle_equals_listing_every_order(seed):
    fits, owner, concepts = tiny(seed)
    lists = None if concepts is None else concepts.astype(int).tolist()
    found = oracle(fits, owner, concepts)
    report = with_intervals(found, 10)
    forward = [
        reference.every_order(
            [i == image for i in range(4)],
            [np.flatnonzero(fits[caption]), np.flatnonzero(~fits[caption])],
            [reference.relevance(image, i, lists) for i in range(4)],
        )
        for caption, image in enumerate(owner.tolist())
    ]
    backward = [listed_captions(fits, owner, i, lists) for i in sorted(set(owner.tolist()))]
    for direction, listed in (("text_to_image", forward), ("image_to_text", backward)):
        for name, value in found[direction].values().items():
            np.testing.assert_allclose(value, [of[name] for of in listed], rtol=1e-12, atol=1e-15)
        median = reference.expected_median([of["ranks"] for of in listed])
        assert report[direction]["median_rank"]["value"] == median


@pytest.mark.parametrize("graded", [False, True])
def test_tiers_beyond_the_tenth_place_equal_listing_every_order(graded):
    rng = np.random.default_rng(2)
    owner = np.append(np.arange(8), [0, 0, 2, 5, 5])
    reach = np.arange(13) % 5 + 4  # five tiers at the most, and the captions that do not fit
    fits = rng.random((13, 8)).argsort(axis=1) < reach[:, None]
    fits[np.arange(13), owner] = True
    concepts = rng.integers(0, 3, (8, 3))
    lists = concepts.tolist() if graded else None
    found = oracle(fits, owner, concepts if graded else None)["image_to_text"]
    cut = []
    for image in range(8):
        sizes = [len(tier) for tier in tiers_of(fits, image)]
        cut.append(10 not in np.cumsum(sizes))  # the tenth place lies within a tier
        listed = listed_captions(fits, owner, image, lists)
        for name, value in found.values().items():
            assert value[image] == pytest.approx(listed[name], rel=1e-12), (image, name)
    assert set(cut) == {True, False}


def test_oracle_equals_simulated_readers():
    rng = np.random.default_rng(6)
    owner = np.sort(rng.integers(0, 18, 50))
    fits = rng.random((50, 20)) < rng.random((50, 1))
    fits[np.arange(50), owner] = True
    concepts = rng.random((20, 6)) < 0.3
    says = fits * (21.0 - fits.sum(axis=1, keepdims=True))  # 0 where it does not fit, else 1 to 20
    draws = []
    for _ in range(400):  # a reader whose scores say what fits and how much, and nothing more
        report = metrics.evaluate(np.eye(20), says + 0.5 * rng.random(fits.shape), owner, concepts)
        draws.append({d: {k: v.mean() for k, v in of.values().items()} for d, of in report.items()})
    for direction, of in oracle(fits, owner, concepts).items():
        for name, expected in of.values().items():
            sample = np.array([draw[direction][name] for draw in draws])
            error = sample.std() / len(sample) ** 0.5
            assert abs(sample.mean() - expected.mean()) <= 4 * error + 1e-12, (direction, name)


def test_oracle_by_hand():
    fits = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 1], [1, 1, 1]], bool)  # m = 2, 1, 3, 3
    found = oracle(fits, [0, 0, 1, 2])["image_to_text"]
    assert [found.before.tolist(), found.tied.tolist(), found.own.tolist()] == [
        [0, 0, 1],  # only picture 2 has a caption that says more than its own
        [1, 2, 2],
        [1, 1, 1],
    ]
    values = found.values()
    assert values["mrr"].tolist() == pytest.approx([1, 3 / 4, 5 / 12], rel=1e-15)
    assert values["mrr@10"].tolist() == pytest.approx([1, 3 / 4, 5 / 12], rel=1e-15)
    assert values["recall@1"].tolist() == [100, 50, 0]
    assert values["recall@5"].tolist() == [100, 100, 100]
    assert values["mean_rank"].tolist() == [1, 3 / 2, 5 / 2]
    assert values["map@10"].tolist() == pytest.approx([1, 3 / 4, 5 / 12], rel=1e-15)
    second, third = 1 / log2(3), 1 / 2
    ndcg = [1, (1 + second) / 2, (second + third) / 2]
    assert values["ndcg@10"].tolist() == pytest.approx(ndcg, rel=1e-15)
    assert with_intervals({"image_to_text": found}, 5)["image_to_text"]["median_rank"]["value"] == 1


@pytest.mark.parametrize(("per_image", "reach"), [(1, 4), (3, 2), (5, 7), (2, 9)])
def test_captions_that_say_equally_much_stand_in_random_order(per_image, reach):
    owner = np.repeat(np.arange(9), per_image)
    fits = (np.arange(9) - owner[:, None]) % 9 < reach  # each caption fits the next images round
    found = oracle(fits, owner)["image_to_text"]
    assert not found.before.any()
    tied = per_image * reach
    survival = [comb(tied - k, per_image) / comb(tied, per_image) for k in range(tied + 1)]
    at = -np.diff(survival)  # P(rank = 1), P(rank = 2), ...
    values = found.values()
    np.testing.assert_allclose(values["mrr"], at @ (1 / np.arange(1, tied + 1)), rtol=1e-12)
    np.testing.assert_allclose(values["recall@5"], 100 * at[:5].sum(), rtol=1e-12)
    np.testing.assert_allclose(values["mean_rank"], (tied + 1) / (per_image + 1), rtol=1e-12)


def test_candidates_above_add_to_the_ranks():
    fits = np.random.default_rng(8).random((60, 20)) < 0.4
    owner = np.arange(60) % 20
    fits[np.arange(60), owner] = True
    plain = replace(oracle(fits, owner)["image_to_text"], before=np.zeros(20, np.int64))
    everyone = np.ones((1, 20), np.int64), np.arange(20)
    last = plain.values()
    for above in (1, 4, 5, 9, 30):
        lower = replace(plain, before=plain.before + above)
        values = lower.values()
        np.testing.assert_allclose(values["mean_rank"], plain.values()["mean_rank"] + above)
        assert lower.median(*everyone) == plain.median(*everyone) + above
        for name in ("mrr", "mrr@10", "recall@1", "recall@5", "recall@10"):
            assert (values[name] <= last[name]).all() and values["mrr"][0] < last["mrr"][0]
        last = values
        for worse, better in ((5, 1), (10, 5), (10, 1)):
            if above == worse - better:
                shifted = plain.values()[f"recall@{better}"]
                np.testing.assert_allclose(values[f"recall@{worse}"], shifted, rtol=1e-12)
    assert last["mrr@10"].max() == last["recall@10"].max() == 0


def test_median_of_queries_with_unequal_numbers_above():
    tied, own = np.array([2, 2, 2]), np.array([1, 1, 1])
    of = oracle(np.eye(3, dtype=bool), np.arange(3))["image_to_text"]
    for above, median in (([0, 0, 10], 2), ([0, 10, 10], 11), ([9, 0, 4], 5), ([0, 0, 0], 1)):
        queries = replace(of, before=np.array(above), tied=tied, own=own)
        assert queries.median(np.ones((1, 3), np.int64), np.arange(3)).tolist() == [median]


def test_tiers_do_not_depend_on_blocks(monkeypatch):
    rng = np.random.default_rng(9)
    owner = rng.integers(0, 20, 70)
    fits = rng.random((70, 20)) < rng.choice([0.1, 0.5], (70, 1))
    fits[np.arange(70), owner] = True
    concepts = rng.random((20, 5)) < 0.3
    whole = oracle(fits, owner, concepts)
    monkeypatch.setattr("grading.chance.BLOCK_BYTES", 3 * 32 * 20)  # three captions at a time
    for direction, of in oracle(fits, owner, concepts).items():
        for name, value in of.values().items():
            np.testing.assert_allclose(value, whole[direction].values()[name], rtol=1e-13)


def test_a_telling_caption_finds_its_image():
    owner = np.repeat(np.arange(30), 5)
    fits = np.ones((150, 30), bool)
    fits[::5] = np.eye(30, dtype=bool)  # one caption of each image fits it alone, four fit all
    found = oracle(fits, owner)["image_to_text"].values()
    assert (found["recall@1"] == 100).all() and (found["mean_rank"] == 1).all()


def test_an_oracle_of_unambiguous_captions_is_perfect():
    owner = np.array([0, 0, 1, 2, 2, 2])
    report = with_intervals(oracle(owner[:, None] == np.arange(3), owner), 10)
    assert report["rsum"]["value"] == 600
    for direction in ("text_to_image", "image_to_text"):
        values = {name: interval["value"] for name, interval in report[direction].items()}
        hundred = {f"recall@{k}": 100.0 for k in (1, 5, 10)}
        assert values == pytest.approx(dict.fromkeys(values, 1.0) | hundred, rel=1e-15)


@pytest.mark.parametrize(("size", "printed"), [(256, 0.024), (27808, 3.9e-4)])
def test_chance_of_one_in_n_is_harmonic(size, printed):
    found = chance(size, np.arange(size))
    for of in found.values():
        mrr = of.values()["mrr"]
        np.testing.assert_allclose(mrr, harmonic(size) / size, rtol=1e-11)
        assert mrr[0] == pytest.approx(printed, rel=0.015)
        assert of.values()["recall@5"][0] == pytest.approx(500 / size, rel=1e-12)
        assert of.values()["mean_rank"][0] == (size + 1) / 2
        assert of.values()["map@10"][0] == pytest.approx(harmonic(10) / size, rel=1e-12)


@pytest.mark.parametrize("concepts", [False, True])
def test_chance_is_an_oracle_whom_everything_fits(concepts):
    rng = np.random.default_rng(7)
    owner = rng.integers(0, 13, 40)
    vectors = rng.random((15, 6)) < 0.3 if concepts else None
    a = with_intervals(chance(15, owner, vectors), 40)
    b = with_intervals(oracle(np.ones((40, 15), bool), owner, vectors), 40)
    assert a["rsum"] == pytest.approx(b["rsum"], rel=1e-12)
    for direction in ("text_to_image", "image_to_text"):
        for name, interval in a[direction].items():
            assert interval == pytest.approx(b[direction][name], rel=1e-12), name


def test_chance_medians_of_five_captions_an_image():
    report = with_intervals(chance(5000, np.repeat(np.arange(5000), 5)), 5)
    assert report["text_to_image"]["median_rank"]["value"] == 2500
    median = report["image_to_text"]["median_rank"]["value"]
    assert median == pytest.approx(25000 * (1 - 0.5**0.2), rel=0.001)  # about 3,235
    assert report["image_to_text"]["mean_rank"]["value"] == pytest.approx(25001 / 6, rel=1e-12)


def test_chance_of_a_big_gallery_needs_no_matrix():
    owner = np.repeat(np.arange(40504), 5)  # as a matrix of booleans: 8 GB
    tracemalloc.start()
    try:
        found = chance(40504, owner)
        mrr = found["text_to_image"].values()["mrr"].mean()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mrr == pytest.approx(harmonic(40504) / 40504, rel=1e-11)
    assert peak < 200e6


@pytest.mark.parametrize(
    ("fits", "owner", "message"),
    [
        (np.eye(3, dtype=bool), [0, 2, 1], "caption 1 does not fit its own image 2"),
        (np.eye(3, dtype=bool), [0, 1], "3 rows for 2 captions"),
        (np.eye(3), [0, 1, 2], "type float64, expected .* booleans"),
        (np.ones(3, bool), [0, 1, 2], r"shape \(3,\)"),
        (np.eye(3, dtype=bool), [0, 1, 5], r"caption_image\[2\] is 5, expected 0 to 2"),
    ],
)
def test_what_cannot_be_expected_is_refused(fits, owner, message):
    with pytest.raises(ValueError, match=message):
        oracle(fits, owner)
