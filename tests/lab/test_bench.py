"""Every bench in a tiny size: it runs, says what it should, and judges as it should. No timing."""

import json

import numpy as np
import pytest
import starter
from absl.testing import flagsaver

import metrics
from grading import intervals
from lab.bench import core, timing


@pytest.fixture
def parsed():
    """The flags with their defaults, whatever pytest was called with."""
    with flagsaver.flagsaver():
        core.FLAGS(["bench.py"])
        yield core.FLAGS


LINES = {
    "metrics": ("rank_both, 50 x 250", "evaluate, 50 x 250"),
    "bootstrap": ("bootstrap, 250 queries, 10 resamples",),
    "csv": ("CSV of 11 MB", "the same from its cache"),
    "metrics_large": ("evaluate, 405 x 2,025",),
    "query": ("retrieve.py, 310 images",),
    "query_pieces": ("retrieve.py, 310 images, DistilBERT",),
    "published_step": ("step of 4 pairs, 32 x 32, 1.",),
    "order": ("rank_both, order, 10 x 50",),
    "sentences": (
        "GRU training (floor: all padded to 32)",
        "GRU training (floor: Keras' GRU layer)",
        "GRU training (floor: a product)",
    ),
    "encode": (
        "encode 250 captions (floor: padded, unsorted)",
        "encode 250 captions (floor: so by Keras' GRU)",
    ),
    "extraction": (
        "MobileNetV2, 1 crop, 8 pictures",
        "the same (floor: our frozen graph)",
        "peak memory, 32 pictures (floor: 8)",
        "MobileNetV2, 10 crops, 2 pictures",
        "the same (floor: our frozen graph)",
    ),
    "optimiser": (
        "Adam, 0.25 M weights (floor: Keras)",
        "Adam, 0.25 M weights, clipped (floor: Keras)",
    ),
    "step": (
        "step, sgd, text: vectors",
        "step, adam, text: vectors",
        "step, sgd, text: 100 words",
        "step, sgd, text: 900 words",
        "bag of 100 words (floor: dense, 100)",
        "bag of 900 words (floor: dense, 100)",
    ),
    "text_towers": ("captions/s: conv, width 1,",) + ("captions/s: conv, width 0.",) * 2,
    "stage_one": ("stage I of 32 images, 1", "stage I of 32 images, 5"),
    "classifier": ("step with 1,133 classes",),
    "picture_reading": (
        (
            "224 x 224: decode and crop",
            "224 x 224: decode, crop, resize",
            "the same, kept in memory",
            "the same, kept on disk",
            "500 x 375: decode and crop",
            "500 x 375: decode, crop, resize",
            "the same, kept in memory",
            "the same, kept on disk",
        )
    ),
    "picture_eating": ("32 pictures read",),
    "ranking_gallery": ("top 5 of 2,025 captions, 405 images",),
    "beam": ("beam of 5, 10 images (floor: each alone)",),
    "gradient_caching": (
        "max_hinge, batch 82 in parts",
        "its memory",
        "cross_entropy, batch 82 in parts",
        "its memory",
    ),
}
LONG = {"metrics_large", "sentences", "encode"}
LONG |= {"text_towers", "stage_one", "classifier", "picture_reading", "picture_eating"}
LONG |= {"query_pieces", "published_step"}
LONG |= {"gradient_caching", "ranking_gallery", "beam"}


def test_all_benches_are_tried_here():
    assert set(LINES) == set(core.BENCHES)
    assert set(core.UNASKED) == set(core.BENCHES) - LONG


@pytest.mark.parametrize(
    "names",
    [
        ("metrics", "bootstrap", "csv", "metrics_large", "order"),
        ("step",),
        ("query",),
        ("query_pieces", "published_step"),
        ("sentences", "encode", "ranking_gallery", "beam"),
        ("extraction", "optimiser"),
    ],
)
def test_benches_print_their_lines(names, tmp_path):
    done = starter.anew(
        "lab.bench", *names, "--scale=0.01", "--threads=1", "--output=found.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    header, columns, *printed = done.stdout.splitlines()
    assert "threads: 1" in header and "scale 0.01" in header
    assert columns.split()[:4] == ["what", "ours", "floor", "ratio"]
    found = json.loads((tmp_path / "found.json").read_text())
    lines = [line for name in names for line in found[name]]
    expected = [what for name in names for what in LINES[name]]
    for line, text, what in zip(lines, printed, expected, strict=True):
        assert line["what"].startswith(what) and text.startswith(line["what"])
        assert line["ours"] > 0 and line["turns"] > 0
        assert line["met"] is None  # nothing is judged in a small size
        if what != "the same from its cache" and not what.startswith(("step with", "step of")):
            assert line["floor"] > 0 and line["ratio"] > 0
        if "peak" in line["bounds"] or what.startswith("step"):
            assert 0.01 < line["peak"] < 4


def test_an_unknown_bench_is_refused_with_the_names(tmp_path):
    done = starter.anew("lab.bench", "speed", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "unknown bench 'speed'" in line and ", ".join(core.BENCHES) in line


def test_the_table_shows_units(parsed):
    seconds = np.array([[[3.0, 1], [0.002, 1]]])
    text = core.format_line(timing.summarise("it", seconds, "ratio <= 1.5", peak=0.25))
    assert text.split() == [
        "it", "3.00", "s", "2", "ms", "1500.00", "1.00", "0.25", "ratio", "<=", "1.5", "NO", "1",
    ]  # fmt: skip
    rate = core.format_line(timing.summarise("it", seconds, work=(6, 1)))
    assert rate.split()[:5] == ["it", "2.0", "GFLOP/s", "500.0", "GFLOP/s"]
    rate = core.format_line(timing.summarise("it", seconds, work=(6000, 6), unit="captions/s"))
    assert rate.split()[:5] == ["it", "2,000", "captions/s", "3,000", "captions/s"]


def test_the_floor_of_the_metrics_is_the_whole_product(monkeypatch):
    seen = []
    multiply = np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b, out: seen.append(multiply(a, b, out=out).copy()))
    rng = np.random.default_rng(0)
    image, text = (
        rng.standard_normal((7, 3), np.float32),
        rng.standard_normal((5000, 3), np.float32),
    )
    core.bare_product(image, text)()
    expected = text.astype(np.float64) @ image.T.astype(np.float64)
    np.testing.assert_allclose(np.concatenate(seen), expected, rtol=1e-12, atol=1e-12)


def test_embeddings_are_unit_rows_near_their_image(tmp_path):
    image, text, owner = core.make_embeddings(tmp_path, 300, 64)
    assert image.shape == (300, 64) and text.shape == (1500, 64) and image.dtype == np.float32
    for rows in (image, text):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    ranks, _ = metrics.rank_both(image, text, owner)
    assert 2 < np.median(ranks) < 140  # neither solved nor chance


def test_the_bootstrap_bench_gives_every_metric(parsed, monkeypatch):
    reports = []
    measured = intervals.with_intervals
    monkeypatch.setattr(
        intervals, "with_intervals", lambda *given: reports.append(measured(*given))
    )
    parsed.scale = 0.01
    core.bench_bootstrap()
    assert len(reports[0]["text_to_image"]) == len(reports[0]["image_to_text"]) == 9
