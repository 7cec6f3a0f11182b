"""The bench of gradient caching compares what it says. No timing."""

import numpy as np
import pytest

from lab.bench import gradient_caching


def test_all_train_on_the_same_captions(monkeypatch):
    import keras

    seen, whole = [], keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda model, *a, **b: seen.append((model, b)) or whole(model, *a, **b)
    )
    for way in gradient_caching.WAYS:
        gradient_caching.make_training(0.01, 0, "max_hinge", way)()
    assert [step["steps_per_epoch"] for _, step in seen] == [
        1,
        17,
        1,
    ]  # 82 pairs; 16 of 5, and 2; 82
    assert [model.micro_batch for model, _ in seen] == [5, 0, 0]
    counts = [model.count_params() for model, _ in seen]
    assert counts[0] == counts[1] == counts[2]


def test_lines_and_their_bounds(monkeypatch):
    peaks = iter([2.0, 1.0, 4.0] * 2)
    monkeypatch.setattr(gradient_caching, "make_training", lambda *given: lambda: None)
    monkeypatch.setattr(gradient_caching, "raised_peak", lambda *given: next(peaks))
    monkeypatch.setattr(
        gradient_caching,
        "take_turns",
        lambda functions, turns: np.array([[[3.0, 3], [2.0, 2], [6.0, 6]]]),
    )
    lines = gradient_caching.gradient_caching(0.01, 1)
    assert [line["what"].split(",")[0] for line in lines] == [
        name for loss in gradient_caching.LOSSES for name in (loss, "its memory") * 2
    ]
    assert [line["ratio"] for line in lines[:4]] == pytest.approx([2 / 3, 2, 2, 0.5])
    assert lines[0]["unit"] == "captions/s" and lines[2]["what"].endswith("(floor: whole)")
    assert [line["met"] for line in lines[:4]] == [False, False, True, None]
