"""Which queries differ: lists by hand, groups by definition, words planted and of noise."""

import numpy as np
import pytest
from drawn_ranks import made
from scipy import stats

from grading.comparison import paired, queries

SIDE = "text_to_image"


def test_lists_by_hand():
    first = made(([1, 10, 11, 3, 40, 2], [1, 1, 1]))
    second = made(([11, 90, 11, 5, 2, 1], [1, 1, 1]))
    assert queries.answered(first, second, SIDE).tolist() == [1, 0]
    assert queries.answered(second, first, SIDE).tolist() == [4]
    assert queries.gains(first, second, SIDE).tolist() == [1, 1, 0, 0, -1, 0]
    assert queries.widest(first, second, SIDE)[:3].tolist() == [4, 0, 1]  # 20, 11 and 9 times


def test_of_several_seeds_a_query_has_its_median_rank():
    runs = [made(([rank, 1], [1])) for rank in (3, 50, 8)]
    assert queries.middle(runs).found[SIDE].ranks.tolist() == [8, 1]


def test_groups_have_recalls_and_an_interval_over_images():
    rng = np.random.default_rng(0)
    ranks = rng.integers(1, 30, (2, 120))
    first, second = (
        made((own, np.ones(40, int)), owner=np.repeat(np.arange(40), 3)) for own in ranks
    )
    band = np.repeat(np.arange(40) % 2, 3)
    found = queries.by_group(first, second, SIDE, (band, ["even", "odd"]))
    gain = ((ranks[0] <= 10).astype(float) - (ranks[1] <= 10)).reshape(40, 3)[::2].mean(axis=1)
    one = found[0]
    assert (one["group"], one["queries"]) == ("even", 60)
    assert one["first"] - one["second"] == pytest.approx(100 * gain.mean())
    error = 100 * stats.sem(gain)  # three captions an image: the mean of the images' means
    assert one["difference"]["high"] - one["difference"]["value"] == pytest.approx(1.96 * error)


def test_bands_are_named_by_their_ends():
    counts = np.array([3, 9, 4, 3, 12, 5, 5, 9])
    band, names = queries.bands(counts, "words", parts=2)
    assert names == ["3 to 5 words", "9 to 12 words"]
    assert band.tolist() == [0, 1, 0, 0, 1, 0, 0, 1]


def worded(rng, planted):
    """Two runs on 300 images of two captions; in one, captions with `red` are answered less."""
    owner, words = np.repeat(np.arange(300), 2), [f"w{i}" for i in range(60)]
    captions = [" ".join(rng.choice(words, 5)) + " red" * (i % 5 == 0) for i in range(600)]
    own = [1 + rng.poisson(9, 600) for _ in range(2)]
    own[1] = own[1] + planted * (np.arange(600) % 5 == 0)
    runs = [made((ranks, np.ones(300, int)), owner=owner) for ranks in own]
    asked = {SIDE: list(zip(map(str, owner), captions, strict=True)),
             "image_to_text": runs[0].queries["image_to_text"]}  # fmt: skip
    return [paired.Ranks(asked, run.found) for run in runs]


def test_a_planted_word_is_found_with_its_counts():
    first, second = worded(np.random.default_rng(2), 8)
    (one,) = queries.telling_words(first, second, draws=999)
    gain = queries.gains(first, second, SIDE)[::5]
    assert one["word"] == "red" and one["captions"] == 120 and one["p"] < 0.01
    assert (one["gained"], one["lost"]) == ((gain > 0).sum(), (gain < 0).sum())
    assert one["difference"] > 10


def test_words_of_noise_are_seldom_listed():
    rng = np.random.default_rng(6)
    pairs = [worded(rng, 0) for _ in range(40)]
    told = [queries.telling_words(first, second, draws=299) for first, second in pairs]
    assert sum(map(bool, told)) <= 6  # 2 expected; 7 or more have a chance of 0.3 %
