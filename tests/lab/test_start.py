"""The bench of the start: its stages are functions that there are, and each time counts once."""

import importlib
import sys
import time
import types

import pytest

from lab.bench import start


@pytest.mark.parametrize("path", start.STAGES.values())
def test_a_stage_is_a_function_of_the_house(path):
    module, *names = path.rsplit(".", 1)
    try:
        place = importlib.import_module(module)
    except ModuleNotFoundError:  # it is a class
        module, *names = path.rsplit(".", 2)
        place = importlib.import_module(module)
    for name in names:
        place = getattr(place, name)
    assert callable(place)


def test_the_time_of_a_stage_is_without_those_in_it(monkeypatch):
    seconds = iter([0.0, 1.0, 4.0, 10.0])  # outer begins, inner, inner ends, outer
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    clock = start.Stopwatch()
    inner = clock.timed("validation", lambda: None)
    clock.timed("training after the first step", inner)()
    assert clock.seconds["validation"] == 3
    assert clock.seconds["training after the first step"] == 7
    assert not clock.inside


def test_a_watched_module_is_timed(monkeypatch):
    module = types.SimpleNamespace(learning_curves=lambda *_: "drawn", other=lambda: None)
    monkeypatch.setitem(sys.modules, "figures.charts", module)
    clock = start.Stopwatch()
    clock.watch("figures.charts")
    assert module.learning_curves(1) == "drawn"
    assert clock.seconds["drawing the charts"] > 0
    assert sum(value > 0 for value in clock.seconds.values()) == 1


def test_the_first_step_is_no_training(monkeypatch):
    class Pace:
        compiled = False

        def on_train_begin(self, logs):
            pass

        def on_train_batch_end(self, batch, logs):
            self.compiled = True

    seconds = iter([10.0, 14.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    clock = start.Stopwatch()
    clock.watch_first_step(Pace)
    pace = Pace()
    pace.on_train_begin(None)
    for batch in range(3):
        pace.on_train_batch_end(batch, None)
    assert clock.seconds[start.FIRST_STEP] == 4
    assert clock.seconds["training after the first step"] == -4  # of what fit adds
