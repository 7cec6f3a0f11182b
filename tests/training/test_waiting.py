"""The clock of what training waits for: the same batches, the time of each."""

from typing import Any

import numpy as np
import pytest

from training import waiting


class Watch:
    """A clock that stands still but for what a test adds."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(waiting.time, "perf_counter", lambda: self.now)


def test_the_batches_are_the_same_and_all_are_noted(monkeypatch):
    import tensorflow as tf

    arrays: Any = {"image": np.arange(12.0).reshape(6, 2), "row": np.arange(6, dtype=np.int32)}
    source = tf.data.Dataset.from_tensor_slices(arrays).batch(2)
    clock = waiting.Clock()
    noted = []
    monkeypatch.setattr(clock, "ready", noted.append)
    assert (clock.waited, clock.used) == (0.0, False)
    made = waiting.timed(source, clock)
    assert clock.used
    assert made.element_spec == source.element_spec
    for batch, expected in zip(made, source, strict=True):
        for key, value in expected.items():
            np.testing.assert_array_equal(batch[key], value)
    assert noted == [0, 1, 2]
    noted.clear()
    list(waiting.timed(source.repeat(2), clock, parts=2))  # two replicas: a step is two batches
    assert noted == [0, 1, 2]


def test_a_step_waits_from_when_it_begins_until_its_batch_is_ready(monkeypatch):
    watch, clock = Watch(monkeypatch), waiting.Clock()
    clock.used = True
    clock.start()
    watch.now = 1.0
    clock.want()
    watch.now = 3.0
    clock.ready(0)  # two seconds late
    clock.ready(1)
    watch.now = 9.0
    clock.want()  # its batch has been there for six seconds
    assert clock.waited == pytest.approx(2.0)
    watch.now = 10.0
    clock.want()
    watch.now = 10.5
    clock.ready(2)
    assert clock.waited == pytest.approx(2.5)


def test_what_is_not_timed_has_not_waited(monkeypatch):
    watch, clock = Watch(monkeypatch), waiting.Clock()
    clock.start()
    clock.want()
    watch.now = 5.0
    clock.ready(0)
    assert (clock.waited, clock.used) == (0.0, False)
