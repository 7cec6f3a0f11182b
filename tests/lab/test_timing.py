"""Turns and the lines of a table. No timing."""

import numpy as np

from lab.bench import timing


def test_turns_are_taken_in_rotation():
    order = []
    seconds = timing.take_turns([lambda: order.append("a"), lambda: order.append("b")], 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert seconds.shape == (3, 2, 2) and (seconds >= 0).all()


def test_the_ratio_is_that_of_turns_and_is_judged():
    # A turn in which the machine was four times as slow changes both, hence no ratio.
    seconds = np.array([[[3.0, 1], [2, 1]], [[12, 4], [8, 4]], [[3, 1], [2, 1]]])
    line = timing.summarise("it", seconds, "ratio <= 1.5, peak <= 0.6", peak=0.5)
    assert (line["ours"], line["floor"], line["ratio"], line["by_cpu"]) == (3, 2, 1.5, 1)
    assert line["met"] is True
    assert timing.summarise("it", seconds, "ratio <= 1.4, peak <= 0.6", peak=0.5)["met"] is False
    assert timing.summarise("it", seconds, "ratio <= 1.5, peak <= 0.4", peak=0.5)["met"] is False
    assert timing.summarise("it", seconds, "peak <= 0.4")["met"] is None  # it could not be told
    alone = timing.summarise("it", seconds[:, :1], "ours <= 2")
    assert alone["floor"] is None and alone["ratio"] is None and alone["met"] is False
    # As rates: 12 GFLOP in 3 s against 10 in 2 s.
    rates = timing.summarise("it", seconds, "ratio >= 0.85", work=(12, 10))
    assert (rates["ours"], rates["floor"], rates["ratio"], rates["met"]) == (4, 5, 0.8, False)
    assert timing.summarise("it", seconds, "ratio >= 0.8", work=(12, 10))["met"] is True
    named = timing.summarise("it", seconds, unit="GB")
    assert (named["ours"], named["unit"]) == (3, "GB")


def test_sizes_have_a_least():
    assert timing.scaled(300, 0.5) == 150
    assert timing.scaled(300, 0.001) == 8 and timing.scaled(300, 0.001, 2) == 2
    assert timing.scaled(3, 0.5, 1) == 2
