"""The order of an epoch: every unit once, no batch too short, captions of one length together."""

import numpy as np
import pytest
import tiny_settings

from training.order import SHORTEST, EpochOrder


def make_order(owner, lengths=None, **changes):
    settings = tiny_settings.make(**changes)
    return EpochOrder(owner, np.ones(len(owner), int) if lengths is None else lengths, settings)


@pytest.mark.parametrize("captions", ["all", "one", "together"])
def test_an_epoch_has_every_unit_once_and_no_short_batch(captions):
    rng = np.random.default_rng(0)
    for number in range(300):
        counts = rng.integers(1, 4, rng.integers(1, 90))
        owner = np.repeat(np.cumsum(rng.integers(1, 3, len(counts))), counts)  # some have none
        batch_size, bucket = int(rng.integers(1, 40)), int(rng.integers(0, 4))
        made = make_order(owner, captions=captions, batch_size=batch_size, bucket=bucket)
        batches = [made.batch(number, position) for position in range(made.steps)]
        units = np.sort(np.concatenate(batches))
        expected = len(owner) if captions == "all" else len(counts)
        np.testing.assert_array_equal(units, np.sort(made.units_of(number)))
        assert len(units) == made.units == expected and len(set(units.tolist())) == expected
        if captions == "one":
            np.testing.assert_array_equal(owner[units], np.unique(owner))
        sizes = [len(batch) for batch in batches]
        assert min(sizes) == made.smallest >= min(SHORTEST, made.size, expected)
        assert set(sizes[:-1]) <= {made.size} and sizes[-1] < made.size + SHORTEST


@pytest.mark.parametrize(
    ("number", "batch_size", "sizes"),
    [
        (32, 16, [16, 16]),
        (33, 16, [16, 17]),  # one pair would have no negatives
        (39, 16, [16, 23]),
        (40, 16, [16, 16, 8]),
        (3, 16, [3]),  # there is none to join
        (7, 3, [3, 4]),
        (5, 1, [1, 1, 1, 1, 1]),  # as it was asked for
    ],
)
def test_sizes_of_batches_by_eye(number, batch_size, sizes):
    made = make_order(np.arange(number), captions="all", batch_size=batch_size)
    assert [len(made.batch(0, position)) for position in range(made.steps)] == sizes


@pytest.mark.parametrize("number", [160, 163, 170])
def test_a_bucket_holds_captions_of_similar_length(number):
    lengths = np.random.default_rng(0).integers(1, 50, number)
    made = make_order(np.arange(number), lengths, captions="all", batch_size=16, bucket=5)
    plain = make_order(np.arange(number), captions="all", batch_size=16)
    batches = [made.batch(0, position) for position in range(made.steps)]

    def padded(order):
        return sum(lengths[order.batch(0, p)].max() * 16 for p in range(order.steps))

    assert padded(made) < 0.75 * padded(plain)
    middles = [lengths[batch].mean() for batch in batches]
    assert sorted(middles) != middles  # batches come in random order
    assert all((np.diff(lengths[batch]) < 0).any() for batch in batches[:-1])  # rows, too
    for batch in batches[: number // 80 * 5 - 1]:
        assert np.ptp(lengths[batch]) < 20
