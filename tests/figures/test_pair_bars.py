"""Bars by pair: their intervals."""

from types import SimpleNamespace

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


def test_runs_stand_below_each_other_with_a_bar_for_each_kind_that_they_have(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(pair_bars.charts, "save", lambda figure, path: drawn.append(figure))
    cells = SimpleNamespace(hits=np.array([[1, 0], [0, 0]]), images=np.array([[2, 2], [0, 0]]))
    found = {"ranking": {"ranked": cells}, "joint": {"ranked": cells, "written": cells}}
    path = tmp_path / "runs.png"
    pair_bars.draw_run_bars(["a_b", "c_d"], found, ["ranked", "written"], path)
    panels = drawn[0].axes
    bars = [[bar.get_width() for bar in panel.patches] for panel in panels]
    assert bars == [[0.25, 0.25, 0.25], [], []]  # 1 of 4 images; no image says the second pair
    places = [round(bar.get_y() + bar.get_height() / 2, 3) for bar in panels[0].patches]
    assert places == [-0.2, 0.8, 1.2]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["ranking", "joint"]
    assert panels[0].get_ylim() == (1.6, -0.6)  # the first run is at the top
