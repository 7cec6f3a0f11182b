"""Settings of several seeds: SciPy's t-tests at both ends, and which runs are put together."""

import numpy as np
import pytest
from drawn_ranks import drawn
from scipy import stats

from grading.comparison import paired, seeds
from grading.comparison.sources import Standing, setting_of
from grading.comparison.standings import join_seeds, value_of, what_differs
from lab.settings import settings_of
from run.folder import Run
from settings.training import Facts
from systems import config

RNG = np.random.default_rng(4)


def test_where_all_images_are_alike_it_is_the_t_test_of_the_seeds():
    first, second = RNG.normal(5, 1, 4), RNG.normal(4, 1, 3)
    shares = [np.repeat(own[:, None] / 50, 50, axis=1) for own in (first, second)]
    one = seeds.compare_shares(*shares)
    expected = stats.ttest_ind(first, second)
    interval = expected.confidence_interval()
    assert one["p"] == pytest.approx(expected.pvalue)
    assert (one["low"], one["high"]) == pytest.approx((interval.low, interval.high))


def test_where_all_seeds_are_alike_it_is_the_t_test_of_the_images():
    first, second = RNG.normal(0.01, 0.1, (2, 60))
    one = seeds.compare_shares(np.tile(first, (3, 1)), np.tile(second, (2, 1)))
    expected = stats.ttest_1samp(60 * (first - second), 0)
    interval = expected.confidence_interval()
    assert one["p"] == pytest.approx(expected.pvalue)
    assert (one["low"], one["high"]) == pytest.approx((interval.low, interval.high))
    assert one["needed_seeds"] in (None, 0)


def interval_of(monkeypatch, shares):
    """`mean_interval` of runs that have these shares (S, G) of rsum."""
    monkeypatch.setattr(paired, "image_shares", lambda own: {paired.RSUM: own})
    return seeds.mean_interval(list(shares))


def test_the_mean_of_one_setting_has_the_t_intervals_at_both_ends(monkeypatch):
    sums = RNG.normal(5, 1, 4)
    one = interval_of(monkeypatch, np.repeat(sums[:, None] / 50, 50, axis=1))
    expected = stats.ttest_1samp(sums, 0).confidence_interval()
    assert (one["low"], one["high"]) == pytest.approx((expected.low, expected.high))
    images = RNG.normal(1, 2, 60)
    for count in (1, 3):
        one = interval_of(monkeypatch, np.tile(images / 60, (count, 1)))
        expected = stats.ttest_1samp(images, 0).confidence_interval()
        assert (one["low"], one["high"]) == pytest.approx((expected.low, expected.high))


def test_the_share_of_each_run_of_its_own_is_counted_once():
    # Seeds differ by the noise of each image only; counted twice, 3 of 600 tries would be ahead.
    p = [seeds.compare_shares(*RNG.normal(0, 1, (2, 3, 400)))["p"] for _ in range(600)]
    assert 14 <= np.sum(np.array(p) < 0.05) <= 49


def test_of_two_runs_it_is_the_paired_test_and_more_seeds_agree_with_their_means():
    rng = np.random.default_rng(1)
    hard = rng.exponential(8, 40)
    first = [drawn(rng, 40, 0.0, hard) for _ in range(3)]
    second = [drawn(rng, 40, 0.3, hard) for _ in range(2)]
    assert seeds.compare_means(first[:1], second[:1]) == paired.compare_pair(first[0], second[0])
    one = seeds.compare_means(first, second)["text_to_image"]["mrr"]
    means = [np.mean([1 / run.found["text_to_image"].ranks for run in runs])
             for runs in (first, second)]  # fmt: skip
    assert one["value"] == pytest.approx(means[0] - means[1]) and one["seeds"] == (3, 2)
    told = paired.verdict(("a", "b"), one, 0.3, "mrr")
    assert "on these 40 images and 3 against 2 seeds" in told
    with pytest.raises(ValueError, match="different queries"):
        seeds.compare_means(first, [*second, drawn(rng, 41)])


def standing(name, *words, seed=0, data="a", rsum=1.0, facts=None):
    settings = settings_of(*words, f"--seed={seed}")
    figure = {"value": rsum, "low": rsum, "high": rsum}
    own = (settings.model, settings.loss, seed, {}, {"rsum": figure}, {}, data)
    run = Run(name)
    return Standing(run, *own, setting_of(settings, facts or Facts(), run))


def test_only_seeds_and_places_may_differ():
    rows = [
        standing("a_0", "--data_dir=x", rsum=1.0),
        standing("a_1", "--data_dir=y", seed=1, rsum=3.0),
        standing("again", seed=1),
        standing("other_loss", "--loss=simclr", seed=2),
        standing("other_data", seed=3, data="b"),
        standing("second", "--init_from=a_0", seed=4),
    ]
    found = {entry.name: [row.name for row in entry.runs] for entry in join_seeds(rows)}
    assert found.pop("a_* (2 seeds)") == ["a_0", "a_1"]
    assert list(found) == ["again", "other_loss", "other_data", "second"]
    both = join_seeds(rows)[0]
    assert value_of(both, "rsum") == {"value": 2.0, "spread": pytest.approx(2**0.5)}
    assert len(join_seeds(rows, seeds=False)) == 6


def test_names_without_a_shared_part_and_twice():
    rows = [standing("x"), standing("y", seed=1), standing("p/z", seed=1), standing("q/z", seed=1)]
    names = [entry.name for entry in join_seeds(rows)]
    assert names == ["x and others (2 seeds)", "p/z", "q/z"]


def together(*words, **more):
    """Whether runs of two seeds and of these flags, of each seed's own, are one entry."""
    rows = [
        standing(f"run_{seed}", *own, seed=seed, **{name: of[seed] for name, of in more.items()})
        for seed, own in enumerate(words)
    ]
    return len(join_seeds(rows)) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("word_vectors", ["--model=gru"]),
        ("text_weights", ["--model=transformer", "--recipe=simclr"]),
        ("word_pieces", ["--model=transformer"]),
        ("image_weights", ["--model=transformer"]),
        ("features_file", ["--model=joint", "--features=bottom_up"]),
    ],
)
def test_files_of_another_name_make_another_setting(name, words):
    given = [[*words, f"--{name}={path}"] for path in ("here/a", "there/a/", "there/b")]
    assert together(given[0], given[1]) and not together(given[0], given[2])


def test_words_are_the_same_by_the_hash_of_their_file():
    words = [["--model=gru", f"--word_vectors={path}"] for path in ("a.txt", "b.txt")]
    hashes = [Facts(word_vectors_hash=one) for one in ("1", "2")]
    assert together(*words, facts=[hashes[0], hashes[0]])
    assert not together(words[0], words[0], facts=hashes)


def test_runs_that_start_from_different_runs_are_different_settings(tmp_path):
    assert together(["--init_from=exp/a_0"], ["--init_from=there/a_1"])
    assert together(["--init_from=exp/a_0"], ["--init_from=exp/a_0"])
    assert not together(["--init_from=exp/a_0"], ["--init_from=exp/b_1"])
    own = "--first_phase=f8k_modified"
    assert together([own, "--init_from=exp/x-first"], [own, "--init_from=exp/y-first"])
    for name, loss in (("p", "modified"), ("q", "modified"), ("r", "simclr")):
        config.save(Run(tmp_path / name), settings_of(f"--loss={loss}"), Facts())
    p, q, r = ([f"--init_from={tmp_path / name}"] for name in "pqr")
    assert together(p, q) and not together(p, r)
    config.save(Run(tmp_path / "p"), settings_of(*q), Facts())  # one began from the other, twice
    config.save(Run(tmp_path / "q"), settings_of(*p), Facts())
    assert not together(p, r)


def test_a_first_run_is_told_unless_its_recipe_is():
    given = [{"init_from": "a_0"}, {"first_phase": "ph", "init_from": "c-first"}, {}]
    rows = [standing(name)._replace(settings=own) for name, own in zip("bcd", given, strict=True)]
    told = what_differs(join_seeds(rows, seeds=False))
    assert told == {"b": "--init_from=a_0", "c": "--first_phase=ph", "d": ""}


@pytest.mark.filterwarnings("error")
def test_one_image_gives_no_interval():
    one = [drawn(RNG, 1) for _ in range(3)]
    for call in (lambda: seeds.compare_means(one, one), lambda: seeds.mean_interval(one)):
        with pytest.raises(ValueError, match="1 test image, which says nothing of others: grade"):
            call()
