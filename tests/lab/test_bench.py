"""Every bench in a tiny size: it runs, says what it should, and judges as it should. No timing."""

import json
import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import starter
from PIL import Image

from data import datasets
from lab.bench import __main__ as bench
from lab.bench import (
    asking,
    captions,
    growth,
    peers,
    scoring,
    start,
    timing,
    training,
    vision,
)
from run import replicas

LINES = {  # how the first line begins, and how many there are
    "metrics": ("rank_both, 50 x 250", 3),
    "metrics_large": ("evaluate, 405 x 2,025", 1),
    "order": ("rank_both, order, 10 x 50", 1),
    "bootstrap": ("bootstrap, 250 queries, 10 resamples", 1),
    "ranking_gallery": ("top 5 of 2,025 captions, 405 images", 1),
    "query": ("retrieve.py, 310 images", 1),
    "query_pieces": ("retrieve.py, 310 images, DistilBERT", 1),
    "csv": ("CSV of 11 MB", 2),
    "step": ("step, sgd, text: vectors", 7),
    "optimiser": ("Adam, 0.25 M weights (floor: Keras)", 2),
    "classifier": ("step with 1,133 classes", 1),
    "published_step": ("step of 4 pairs, 32 x 32, 1.", 1),
    "gradient_caching": ("max_hinge, batch 82 in parts (floor: small)", 4),
    "sentences": ("GRU training (floor: all padded to 32)", 3),
    "encode": ("encode 250 captions (floor: padded, unsorted)", 2),
    "text_towers": ("captions/s: conv, width 0.25, beside GRU of 10", 1),
    "extraction": ("MobileNetV2, 1 crop, 8 pictures", 5),
    "picture_reading": ("224 x 224: decode and crop", 8),
    "picture_eating": ("32 pictures read", 1),
    "stage_one": ("stage I of 32 images, 1", 2),
    "beam": ("beam of 5, 10 images (floor: each alone)", 1),
    "peers": ("ranks both ways, 10 x 50 (peer: VSE++'s sorts)", 1),
    "start": ("train.py: all included", 7),
    "growth": ("train.py, one epoch, all included, 200 images", 16),
}
ALONE = "the same from its cache", "step with", "step of", "decided in"  # beside no floor
LAW = "by its law"  # ends a line that is worked out


def small_network(input_tensor=None, input_shape=None, **_):
    """Stands for MobileNetV2: two layers, behind a tensor or as a model."""
    inputs = keras.Input(input_shape) if input_tensor is None else input_tensor
    hidden = keras.layers.ReLU()(keras.layers.Conv2D(8, 3, strides=8)(inputs))
    output = keras.layers.ReLU()(keras.layers.Conv2D(1280, 1)(hidden))
    return keras.Model(inputs, output) if input_tensor is None else SimpleNamespace(output=output)


small_network.__module__ = keras.applications.MobileNetV2.__module__


@pytest.fixture
def here(monkeypatch, request):
    """Benches in this process, which has loaded TensorFlow, with small networks of pictures.

    Of deep towers steps take seconds to trace: `classifier` takes some, the others none.
    """
    whole, name = asking.run_apart, request.node.callspec.params["name"]
    if name in ("stage_one", "picture_eating", "published_step"):
        for module in (vision, training):
            monkeypatch.setattr(module, "step_of", lambda *_: lambda: None)
    if name == "stage_one":
        monkeypatch.setattr(vision, "build_compiled", lambda *_, **facts: facts)
    monkeypatch.setattr(replicas, "set_devices", lambda **_: None)
    monkeypatch.setattr(keras.applications, "MobileNetV2", small_network)
    monkeypatch.setattr(captions, "WIDTHS", (0.25,))
    monkeypatch.setattr(captions, "LOSSES", ("max_hinge",))
    monkeypatch.setattr(captions, "raised_peak", lambda *_: 1.0)
    monkeypatch.setattr(peers, "install", set)  # none is there
    seconds = dict.fromkeys(["all included", *growth.OF_TRAINING], 2.0)
    monkeypatch.setattr(start, "stages_of", lambda *_: (seconds, 0.5))
    monkeypatch.setattr(growth, "ask_gallery", lambda *_: (1.0, 0.25))
    monkeypatch.setattr(growth, "SHARES", (20, 10))
    monkeypatch.setattr(growth, "run_apart", lambda _, code: exec(code))
    monkeypatch.setattr(start, "run_apart", lambda *_: None)

    def run_script(name, *arguments):
        if name != "-c":
            return whole(name, *arguments)
        return exec(arguments[0]) if "make_run" in arguments[0] else None

    monkeypatch.setattr(asking, "run_apart", run_script)


@pytest.mark.parametrize("name", LINES)
def test_a_bench_gives_its_lines(name, here):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lines = bench.measure_here(name, 0.01, 0)
    assert lines[0]["what"].startswith(LINES[name][0]) and len(lines) == LINES[name][1]
    for line in lines:
        what = line["what"]
        assert line["turns"] > 0 and line["ours"] > (-1 if line["unit"] == "scores" else 0)
        assert line["met"] is None  # nothing is judged in a small size
        alone = what.startswith(ALONE) or what.endswith(LAW)
        assert alone == (line["floor"] is None) == (line["ratio"] is None)
        if "peak" in line["bounds"] or what.startswith("step"):
            assert 0.01 < line["peak"] < 9


def test_the_table_is_what_is_asked_for_and_what_is_told():
    assert set(LINES) == set(timing.BENCHES)
    assert all(0 <= one.unasked <= 1 for one in timing.BENCHES.values())
    told = " ".join(bench.explain_benches().split())
    assert all(f"{name} " in told for name in timing.BENCHES)
    assert (
        "metrics Ranks, and all metrics, both ways, 5,000 images x 5 captions x 1,024; floor: one "
        "float64 NumPy product of that size, in blocks [ratio<=0.75, peak<=0.6] *" in told
    )
    assert "{" not in told


def test_the_script_prints_a_table_and_writes_json(tmp_path):
    options = "--scale=0.01", "--threads=1", "--output=found.json"
    done = starter.anew("lab.bench", "csv", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    header, columns, *printed = done.stdout.splitlines()
    assert "threads: 1" in header and "scale 0.01" in header
    assert columns.split()[:4] == ["what", "ours", "floor", "ratio"]
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["threads"], found["scale"]) == (1, 0.01)
    assert len(found["csv"]) == len(printed) == 2
    for line, text in zip(found["csv"], printed, strict=True):
        assert text.startswith(line["what"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["speed"], f"unknown bench 'speed': choose from {', '.join(timing.BENCHES)}"),
        (["--scale=2"], "--scale 2: expected a factor of at most 1"),
        (["--speed"], "Unknown command line flag 'speed'"),
        (["growth", "--picture=a.txt"], "--picture a.txt must end in .png"),
        (["csv", "--picture=a.png"], "--picture is drawn by growth alone: name that bench"),
    ],
)
def test_what_cannot_be_measured_is_refused(words, said):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
        bench.main(["lab.bench", *words])
    assert said in str(raised.value)


def test_help_and_list_tell_every_bench_and_flag(capsys):
    bench.main(["lab.bench", "--list"])
    listed = capsys.readouterr().out
    bench.main(["lab.bench", "--help"])
    told = capsys.readouterr().out
    assert listed == bench.explain_benches() + "\n" and listed in told
    assert all(f"--{flag} " in told for flag in ("list", "scale", "threads", "output"))


# ---- Turns and lines ----------------------------------------------------------------------------


def test_turns_are_taken_in_rotation():
    order = []
    seconds = timing.take_turns([lambda: order.append("a"), lambda: order.append("b")], 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert seconds.shape == (3, 2, 2) and (seconds >= 0).all()


def test_the_first_run_warms_up_or_is_what_counts(monkeypatch):
    calls = []

    def take_turns(functions, turns):
        calls.append((len(functions), turns))
        return np.arange(1.0, 1 + len(functions))[None, :, None].repeat(turns, 0).repeat(2, 2)

    monkeypatch.setattr(timing, "take_turns", take_turns)
    functions, at = [int, float, str], timing.BENCHES["order"].at(1)
    lines = timing.Line("a", ours=0, floor=2), timing.Line("b", ours=0, floor=None)
    first, second = timing.take_lines(at, functions, *lines, turns=4, factors=(10, 1, 2))
    assert calls == [(1, 1)] * 3 + [(3, 4)] and first["turns"] == 4
    assert (first["ours"], first["floor"], first["ratio"]) == (10, 6, 10 / 6)
    assert first["peak"] and second["peak"] is None and second["floor"] is None
    (line,) = timing.take_lines(at, functions, lines[0], turns=0)
    assert calls[4:] == [(1, 1)] * 3 and line["turns"] == 1 and line["ratio"] == 1


def test_the_ratio_is_that_of_turns_and_is_judged():
    # A turn in which the machine was four times as slow changes both, hence no ratio.
    seconds = np.array([[[3.0, 1], [2, 1]], [[12, 4], [8, 4]], [[3, 1], [2, 1]]])
    line = timing.line_of("it", seconds, "ratio <= 1.5, peak <= 0.6", peak=0.5)
    assert (line["ours"], line["floor"], line["ratio"], line["by_cpu"]) == (3, 2, 1.5, 1)
    assert line["met"] is True
    assert timing.line_of("it", seconds, "ratio <= 1.4, peak <= 0.6", peak=0.5)["met"] is False
    assert timing.line_of("it", seconds, "ratio <= 1.5, peak <= 0.4", peak=0.5)["met"] is False
    assert timing.line_of("it", seconds, "peak <= 0.4")["met"] is None  # it could not be told
    alone = timing.line_of("it", seconds[:, :1], "ours <= 2")
    assert alone["floor"] is None and alone["ratio"] is None and alone["met"] is False
    # As rates: 12 GFLOP in 3 s against 10 in 2 s.
    rates = timing.line_of("it", seconds, "ratio >= 0.85", work=(12, 10))
    assert (rates["ours"], rates["floor"], rates["ratio"], rates["met"]) == (4, 5, 0.8, False)
    assert timing.line_of("it", seconds, "ratio >= 0.8", work=(12, 10))["met"] is True


def test_sizes_have_a_least():
    case = timing.Bench(list, "", "ratio <= 2", 0, False, {"rows": 300, "pairs": (300, 2)})
    half, tiny = case.at(0.5), case.at(0.001, threads=3)
    assert (half.rows, half.pairs, half.threads, half.bounds) == (150, 150, 0, "ratio <= 2")
    assert (tiny.rows, tiny.pairs, tiny.scale, tiny.threads) == (8, 2, 0.001, 3)


def test_the_table_shows_units():
    seconds = np.array([[[3.0, 1], [0.002, 1]]])
    text = bench.format_line(timing.line_of("it", seconds, "ratio <= 1.5", peak=0.25))
    assert text.split() == [
        "it", "3.00", "s", "2", "ms", "1500.00", "1.00", "0.25", "ratio", "<=", "1.5", "NO", "1",
    ]  # fmt: skip
    rate = bench.format_line(timing.line_of("it", seconds, work=(6, 1)))
    assert rate.split()[:5] == ["it", "2.0", "GFLOP/s", "500.0", "GFLOP/s"]
    rate = bench.format_line(timing.line_of("it", seconds, work=(6000, 6), unit="captions/s"))
    assert rate.split()[:5] == ["it", "2,000", "captions/s", "3,000", "captions/s"]


# ---- What is measured is what it says -----------------------------------------------------------


def test_the_floor_of_the_metrics_is_the_whole_product(monkeypatch):
    seen, multiply = [], np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b, out: seen.append(multiply(a, b, out=out).copy()))
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((n, 3), np.float32) for n in (5000, 7))
    expected = left.astype(np.float64) @ right.T.astype(np.float64)
    scoring.bare_product(left, right)()
    np.testing.assert_allclose(np.concatenate(seen), expected, rtol=1e-12, atol=1e-12)
    seen.clear()
    scoring.bare_product(left, right, "float32", 4000, 4)()
    assert [one.shape for one in seen] == [(4000, 4), (4000, 3), (1000, 4), (1000, 3)]
    assert seen[0].dtype == np.float32 and sum(one.size for one in seen) == expected.size


def test_the_bootstrap_bench_gives_every_metric(monkeypatch):
    reports, whole = [], scoring.intervals.with_intervals
    kept = lambda *given: reports.append(whole(*given))  # noqa: E731
    monkeypatch.setattr(scoring.intervals, "with_intervals", kept)
    bench.measure_here("bootstrap", 0.01, 0)
    assert len(reports[0]["text_to_image"]) == len(reports[0]["image_to_text"]) == 9


def test_the_work_of_an_epoch():
    class Batches:
        """Two batches of 3 captions, of 4 and 5 tokens."""

        items, steps_per_epoch = 6, 2

        def share(self, step, replica, total):
            return {"tokens": np.zeros((3, 4 + step), np.int32)}

    settings = captions.settings_of("--recipe=mh_bl", embed_dim=10, word_dim=7)
    # Products of rows (inner) x (outer), 2 operations each, forward and two gradients; the image
    # side has one gradient only.
    words, recurrent, image = 27 * 7 * 30 * 6, 27 * 10 * 30 * 6, 6 * 11 * 10 * 4
    found = captions.epoch_gflop(Batches(), settings, 11)
    assert found == pytest.approx(1e-9 * (words + recurrent + image))


def test_keras_reads_as_the_tower_does():
    from data.language.words import Tokens
    from systems.gru import towers

    settings = captions.settings_of("--recipe=mh_bl", embed_dim=10, word_dim=8)
    ours, theirs = towers.sentence_reader(settings, 20), captions.keras_reader(settings, 20)
    table_, gru = (
        next(layer for layer in ours.layers if isinstance(layer, kind))
        for kind in (keras.layers.Embedding, towers.SentenceGRU)
    )
    kernel, inner, bias = gru.kernel.numpy(), gru.recurrent.numpy(), gru.bias.numpy()
    both = np.stack([bias, np.zeros_like(bias)])
    theirs.set_weights([table_.embeddings.numpy(), kernel, inner, both])
    tokens = Tokens.from_flat(np.arange(1, 10), np.array([2, 4, 3])).pad(np.arange(3))
    for rows in (tokens, np.pad(tokens, ((0, 0), (0, 3)))):
        np.testing.assert_allclose(theirs(rows).numpy(), ours(rows).numpy(), atol=1e-6)


def test_what_is_timed_reads_every_picture(tmp_path):
    split = vision.make_photos(tmp_path, 160, 224, 40)
    pictures = vision.PixelRows(split, 128, 0.8, True, "none", tmp_path)
    windows, mirrored = pictures.windows(np.arange(40), np.random.default_rng(0))
    whole = list(vision.bare_decoder(split.pictures))
    crops = list(vision.crops(pictures, windows))
    assert len(whole) == len(crops) == 40
    for (y, x, height, width), pixels, crop in zip(windows, whole, crops, strict=True):
        found = crop.numpy().astype(int) - pixels.numpy()[y : y + height, x : x + width]
        assert abs(found).max() < 10  # the bare decoder is TensorFlow's less accurate one
    assert [len(batch) for batch in vision.batches(pictures, windows, mirrored)] == [32, 8]


def test_all_ways_train_on_the_same_captions(monkeypatch):
    seen = []
    monkeypatch.setattr(keras.Model, "fit", lambda model, *_, **own: seen.append((model, own)))
    at = timing.BENCHES["gradient_caching"].at(0.01)
    for way in captions.WAYS:
        captions.make_training(at, "max_hinge", way)()
    steps = [own["steps_per_epoch"] for _, own in seen]
    assert steps == [1, 16, 1]  # 82 pairs; 15 of 5, and 7; 82
    assert [model.micro_batch for model, _ in seen] == [5, 0, 0]
    assert len({model.count_params() for model, _ in seen}) == 1


def test_the_memory_of_gradient_caching_is_judged(monkeypatch):
    peaks = iter([2.0, 1.0, 4.0] * 2)
    monkeypatch.setattr(captions, "make_training", lambda *_: lambda: None)
    monkeypatch.setattr(captions, "raised_peak", lambda *_: next(peaks))
    seconds = np.array([[[3.0, 3], [2.0, 2], [6.0, 6]]])
    monkeypatch.setattr(timing, "take_turns", lambda functions, _: seconds[:, : len(functions)])
    lines = list(captions.train_in_parts(timing.BENCHES["gradient_caching"].at(1)))
    assert [line["ratio"] for line in lines[:4]] == pytest.approx([2 / 3, 2, 2, 0.5])
    assert [line["met"] for line in lines[:4]] == [False, False, True, None]
    assert lines[0]["unit"] == "captions/s" and lines[1]["unit"] == "GB"


def made_work(power, seconds, peaks=None):
    """Work whose seconds and peaks are given, on 100, 300 and 1,000 images."""
    work = growth.Work("work", power)
    for place, images in enumerate((100, 300, 1000)):
        work.seconds[images] = seconds[place]
        work.peaks[images] = peaks[place] if peaks else None
    return work


@pytest.mark.parametrize(
    ("power", "seconds", "met"),
    [
        (1, [1.0, 3.0, 10.0], [True, True]),
        (1, [5.0, 6.0, 9.0], [True, True]),  # mostly a constant
        (1, [1.0, 3.7, 12.0], [False, True]),
        (1, [1.0, 9.0, 100.0], [False, False]),
        (2, [1.0, 9.0, 100.0], [True, True]),
    ],
)
def test_what_grows_faster_than_its_law_is_told(power, seconds, met):
    *steps, _ = growth.law_lines(made_work(power, seconds))
    assert [line["met"] for line in steps] == met


def test_memory_that_grows_faster_than_the_images_is_told():
    *steps, _ = growth.law_lines(made_work(1, [1.0, 1.0, 1.0], [0.1, 0.3, 3.0]))
    assert [line["met"] for line in steps] == [True, False]
    assert steps[1]["bounds"] == "ratio <= 1.2, peak <= 1.20"


@pytest.mark.parametrize(
    ("power", "seconds", "expected"),
    [(1, [3.0, 5.0, 12.0], 10_002), (2, [1.0, 9.0, 100.0], 1e8), (1, [3.0, 2.0, 1.0], 1.0)],
)
def test_the_law_is_drawn_on_behind_a_constant(power, seconds, expected):
    *_, last = growth.law_lines(made_work(power, seconds))
    assert last["what"] == "work, 1,000,000 by its law"
    assert last["ours"] == pytest.approx(expected)


def test_the_table_of_growth_is_one_that_train_reads(tmp_path):
    growth.write_table(tmp_path, 3)
    splits = datasets.open_dataset("csv", tmp_path)
    assert [len(splits[name].image_names) for name in ("train", "validation", "test")] == [
        3,
        200,
        200,
    ]
    assert len(splits["train"].captions) == 15
    assert len({(tmp_path / f"{row:07d}.jpg").read_bytes() for row in range(403)}) == 403


def test_the_picture_of_growth_is_drawn(tmp_path):
    path = tmp_path / "growth.png"
    growth.draw({"work": made_work(1, [1.0, 3.0, 10.0])}, path)
    assert Image.open(path).size[0] > 600
