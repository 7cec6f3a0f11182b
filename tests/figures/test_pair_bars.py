"""Bars by pair: their intervals."""

import numpy as np
import pytest

from figures import pair_bars


def test_the_interval_is_wilsons():
    """Wilson 1927: (p + z^2 / 2n +- z sqrt(p q / n + z^2 / 4 n^2)) / (1 + z^2 / n)."""
    below, above = pair_bars.interval_lengths(np.array([1, 3, 0]), np.array([1, 10, 4]))
    z, share = 1.959964, np.array([1.0, 0.3, 0.0])
    count = np.array([1.0, 10.0, 4.0])
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) * z / (1 + z**2 / count)
    assert share - below == pytest.approx(centre - half, abs=1e-6)
    assert share + above == pytest.approx(centre + half, abs=1e-6)
    assert below[0] > 0.7  # one image says little
    assert pair_bars.interval_lengths(np.zeros(0, int), np.zeros(0, int)).shape == (2, 0)
