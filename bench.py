r"""Measures speed and memory, each beside the floor that this machine can reach.

    python bench.py                       # metrics, bootstrap, query, step, a part of csv
    python bench.py csv metrics_large     # only those that are named, in full size
    python bench.py step --scale 0.1      # every size a tenth
    python bench.py finding --data precomp --data_dir DIR --epochs 20

    bench          ours                                        floor
    metrics        ranks, and all metrics, both ways, of       one float64 NumPy matrix product of
                   5,000 images x 25,000 captions x 1,024      that size, in blocks
    metrics_large  the same of 40,504 x 202,520 (minutes)      the same, estimated from a part
    bootstrap      intervals of all metrics, 25,000 queries    drawing the resamples, one product
    query          retrieve.py from start to saved picture,    python -c "import tensorflow"
                   gallery of 31,000 images x 256
    step           a training step of the MLPs, batch 1,024    TensorFlow's product (1024 x 2048)
                   (published size), and of words              (2048 x 2048), by rate
    csv            NUS-WIDE's feature CSV, opened for the      NumPy parsing each line
                   first time (1 GB in the temporary folder)
    finding        a table instead: best validation MRR of both pairwise losses over alpha and c

Each bench has a process of its own, so that peak memory (resident, of our code before the floor has
run) is its own. Ours and the floor take turns: other work on the machine slows both. Times are
medians over the turns; a ratio is the median of the turns' ratios, by the clock and by processor
time, which other work hardly touches. At --scale 1 the last column says whether the bound is met.
"""

import contextlib
import csv
import json
import operator
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from absl import app, flags

import config
import experiment

FLAGS = flags.FLAGS
flags.DEFINE_float("scale", 1.0, "Factor of all sizes; below 1 nothing is judged.", 1e-3, 1.0)
flags.DEFINE_integer("threads", 0, "Threads of NumPy and TensorFlow; 0: all cores.", 0)
flags.DEFINE_string("output", None, "Also write what was measured to this JSON file.")
flags.DEFINE_enum("data", "scenes", config.DATA, "finding: data set.")
flags.DEFINE_string("data_dir", None, "finding: folder of the data set.")
flags.DEFINE_integer("epochs", 0, "finding: epochs of each run; 0: train.py's default.", 0)
flags.DEFINE_integer("limit", 0, "finding: images of every split; 0: all.", 0)
flags.DEFINE_integer("jobs", 1, "finding: runs at the same time.", 1)
flags.DEFINE_list("grid", ["0.25", "0.5", "0.75"], "finding: values of alpha and of margin.")
flags.DEFINE_string("only", None, "For bench.py itself: measure here and print JSON.")

ROOT = Path(__file__).resolve().parent
PART = {"csv": 0.05}  # of the size where a bench is not named: a gigabyte is not written unasked
GIGABYTE = 1e9
SIGNS = {"<=": operator.le, ">=": operator.ge}
QUERY = "a small red circle above a blue star"


# Measuring.


def take_turns(functions, turns):
    """Runs the functions in turn, each being first in its turn as often as the others.

    Args:
      functions: callables without arguments.
      turns: how often each one runs.

    Returns:
      (turns, functions, 2) float64 seconds: by the clock, and of all processors together, child
      processes included.
    """
    seconds = np.empty((turns, len(functions), 2))
    for turn in range(turns):
        for place in range(len(functions)):
            index = (turn + place) % len(functions)
            clock, processor = time.perf_counter(), processor_time()
            functions[index]()
            seconds[turn, index] = time.perf_counter() - clock, processor_time() - processor
    return seconds


def processor_time():
    """Seconds that this process and its finished children have used, on all cores."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def peak_memory():
    """Gigabytes that this process held at most so far, or None where the system cannot tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource_gigabytes(resource.getrusage(resource.RUSAGE_SELF))


def resource_gigabytes(usage):
    """Peak resident memory of a `resource` record: bytes on macOS, kibibytes elsewhere."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / GIGABYTE


def summarise(what, seconds, bounds="", peak=None, work=None):
    """What one line of the table says.

    Args:
      what: the thing measured.
      seconds: (turns, 2, 2) of ours and the floor from `take_turns`, or (turns, 1, 2) of ours.
      bounds: such as "ratio <= 1.5, peak <= 0.6"; ours in seconds, peak in gigabytes.
      peak: gigabytes or None.
      work: GFLOP of ours and of the floor: then both are given as rates.

    Returns:
      A dict for JSON.
    """
    values = seconds if work is None else np.array(work)[:, None] / seconds
    ours, *floor = np.median(values[..., 0], axis=0).tolist()
    ratios = np.median(values[:, 0] / values[:, -1], axis=0).tolist() if floor else [None, None]
    line = {"what": what, "ours": ours, "floor": floor[0] if floor else None}
    line |= {"unit": "s" if work is None else "GFLOP/s", "ratio": ratios[0]}
    line |= {"processor_ratio": ratios[1], "peak": peak, "turns": len(seconds), "bounds": bounds}
    kept = [bound.split() for bound in bounds.split(", ") if bound]
    kept = [SIGNS[sign](line[key], float(at)) for key, sign, at in kept if line[key] is not None]
    line["met"] = all(kept) if FLAGS.scale == 1 and kept else None
    return line


def scaled(size, least=8):
    """A size times --scale."""
    return max(least, round(size * FLAGS.scale))


@contextlib.contextmanager
def progress(what, expected):
    """Says on standard error every ten seconds how long `what` has taken of what is expected."""
    done, start = threading.Event(), time.perf_counter()

    def tell():
        while not done.wait(10):
            passed = time.perf_counter() - start
            print(f"{what}: {passed:.0f} s of about {expected:.0f} s", file=sys.stderr, flush=True)

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        done.set()


# Metrics.


def make_embeddings(num_images, dim, folder=None):
    """Unit rows: images, and five captions for each that lie near it but for much noise.

    Args:
      num_images: N; the captions are M = 5 N.
      dim: D.
      folder: where to write them; the arrays are then memory-mapped.

    Returns:
      image (N, D) float32, text (M, D) float32, caption_image (M,) int64.
    """
    sides = []
    for name, count in (("image", num_images), ("text", 5 * num_images)):
        if folder is None:
            sides.append(np.empty((count, dim), np.float32))
        else:
            path = Path(folder) / f"{name}.npy"
            sides.append(np.lib.format.open_memmap(path, "w+", np.float32, (count, dim)))
    rng = np.random.default_rng(0)
    for start in range(0, num_images, 1024):
        image = rng.standard_normal((min(1024, num_images - start), dim), np.float32)
        noise = rng.standard_normal((5 * len(image), dim), np.float32)
        for side, rows in zip(sides, (image, np.repeat(image, 5, axis=0) + 8 * noise), strict=True):
            first = start * len(rows) // len(image)
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            side[first : first + len(rows)] = rows / norms
    if folder is not None:
        for side in sides:
            side.flush()
        sides = [np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("image", "text")]
    return *sides, np.repeat(np.arange(num_images), 5)


def bare_product(image, text):
    """A function that multiplies both sides in float64, block by block, and keeps nothing."""
    image, text = np.asarray(image, np.float64).T.copy(), np.asarray(text, np.float64)
    rows = 2048
    scores = np.empty((rows, image.shape[1]))

    def run():
        for start in range(0, len(text), rows):
            block = text[start : start + rows]
            np.matmul(block, image, out=scores[: len(block)])

    return run


def bench_metrics():
    """Ranks and all metrics of a COCO-5K sized gallery, beside one float64 matrix product."""
    import metrics

    pairs = make_embeddings(scaled(5000), scaled(1024))
    functions, peaks = [], []
    for function in (metrics.rank_both, metrics.evaluate):
        functions.append(lambda function=function: function(*pairs))
        functions[-1]()
        peaks.append(peak_memory())
    seconds = take_turns([*functions, bare_product(*pairs[:2])], 3)
    size = " x ".join(f"{n:,}" for n in (len(pairs[0]), *pairs[1].shape))
    bounds = "ratio <= 1.5, peak <= 0.6"
    return [
        summarise(f"{name}, {size}", seconds[:, [place, 2]], bounds, peaks[place])
        for place, name in enumerate(("metrics.rank_both", "metrics.evaluate"))
    ]


def bench_metrics_large():
    """All metrics of the COCO 2014 validation images (40,504) and their captions, memory-mapped."""
    import metrics

    with tempfile.TemporaryDirectory() as folder:
        image, text, owner = make_embeddings(scaled(40504), scaled(1024), folder)
        part = bare_product(image[:2048], text[:4096])
        share = len(image) * len(text) / (min(2048, len(image)) * min(4096, len(text)))
        before = take_turns([part], 3)
        with progress("metrics of the large gallery", 2 * share * np.median(before[..., 0])):
            ours = take_turns([lambda: metrics.evaluate(image, text, owner)], 1)
        peak = peak_memory()
        floor = share * np.median(np.concatenate([before, take_turns([part], 3)]), axis=0)
        size = " x ".join(f"{n:,}" for n in (len(image), *text.shape))
    seconds = np.concatenate([ours, floor[None]], axis=1)
    return [summarise(f"metrics.evaluate, {size}", seconds, "peak <= 2", peak)]


def bench_bootstrap():
    """Intervals of all metrics in both directions, beside the bare drawing of resamples."""
    import intervals
    import metrics

    num_images, resamples = scaled(5000), scaled(1000)
    rng = np.random.default_rng(0)
    every = np.arange(num_images)
    found = {}
    for direction, owner, size in (
        ("text_to_image", np.repeat(every, 5), num_images),
        ("image_to_text", every, 5 * num_images),
    ):
        ranks = np.ceil(size ** rng.random(len(owner))).astype(np.int64)
        graded = rng.random((2, len(owner)))
        found[direction] = metrics.Retrieval(ranks, owner, size, *graded)
    parts = rng.random((num_images, 18))

    def draw():
        for start in range(0, resamples, 32):
            draws = rng.integers(0, num_images, (min(32, resamples - start), num_images))
            np.stack([np.bincount(one, minlength=num_images) for one in draws]) @ parts

    ours = lambda: intervals.with_intervals(found, resamples)  # noqa: E731
    ours()
    peak = peak_memory()
    what = f"bootstrap of all metrics, {5 * num_images:,} queries, {resamples:,} resamples"
    return [summarise(what, take_turns([ours, draw], 5), "ours <= 1", peak)]


# A query.


def make_run(folder, num_images):
    """A run folder such as train.py and test.py leave, with fresh weights.

    Runs in a process of its own, which takes TensorFlow's memory with it.
    """
    import logging
    import warnings

    import distribution
    from text import Vocabulary, bag_words

    run = experiment.Experiment(folder)
    words = list(dict.fromkeys(bag_words(QUERY))) + [f"word{i}" for i in range(9994)]
    Vocabulary(words).save(run.vocabulary)
    config.Settings(**config.default_settings()).save(run.config)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((num_images, 256), np.float32)
    text = rng.standard_normal((5 * num_images, 256), np.float32)
    arrays = {"image": image / np.linalg.norm(image, axis=1, keepdims=True)}
    arrays["text"] = text / np.linalg.norm(text, axis=1, keepdims=True)
    arrays["caption_image"] = np.repeat(np.arange(num_images, dtype=np.int32), 5)
    chosen = rng.integers(0, len(words), (5 * num_images, 10))
    strings = {
        "image_names": [f"image-{i:06d}" for i in range(num_images)],
        "captions": [" ".join(words[i] for i in row) for row in chosen],
        "pictures": [f"scenes:0:test:{i % 1000}" for i in range(num_images)],
    }
    for name, values in strings.items():
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = experiment.pack_strings(values)
    experiment.write_arrays(run.projections, arrays)
    distribution.import_tensorflow()
    import models

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    tower = models.text_projection(len(words), 1024, 256)
    tower(np.ones((2, 3), np.int32))  # Keras exports only what was called once
    tower.export(run.query_tower, format="onnx", verbose=False)


def bench_query():
    """retrieve.py in a fresh process, beside `import tensorflow` in a fresh process."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(make_run, folder, scaled(31000, 20)).result()
        picture = Path(folder) / "answer.png"
        retrieve = [sys.executable, str(ROOT / "retrieve.py"), "--exp", folder, QUERY]

        def ours():
            picture.unlink(missing_ok=True)
            peaks.append(run_quietly(retrieve))
            if not picture.is_file():
                raise ValueError("retrieve.py has saved no picture")

        def floor():
            run_quietly([sys.executable, "-c", "import tensorflow"])

        ours()  # compiles what is not compiled yet, for both
        floor()
        seconds = take_turns([ours, floor], 5)
    what = f"retrieve.py from start to picture, gallery of {scaled(31000, 20):,}"
    peak = None if None in peaks else max(peaks)
    return [summarise(what, seconds, "ratio <= 0.5", peak)]


def run_quietly(command):
    """Runs a command; returns its peak memory in gigabytes, None where the system cannot tell.

    Raises:
      ValueError: it failed; the last line that it wrote.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        usage = None
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.wait():
            said.seek(0)
            line = (said.read().strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"{' '.join(command)} failed: {line}")
    return usage and resource_gigabytes(usage)


# A training step.


def training_step(model, batch, optimizer):
    """A function that takes one step of a model on a batch, compiled as train.py does."""
    import keras

    import optimization

    settings = config.Settings(**config.default_settings())
    settings.schedule, settings.learning_rate, settings.optimizer = "constant", 1e-6, optimizer
    settings.weight_decay = 5e-4 if optimizer == "sgd" else 0.0
    model.compile(optimizer=optimization.build_optimizer(settings, 1), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    batch = {key: keras.ops.convert_to_tensor(value) for key, value in batch.items()}

    def run():
        model.train_on_batch(batch)

    run()
    return run


def bench_step():
    """Forward, loss, backward and update of two MLPs, beside the rate of one matrix product."""
    import distribution

    distribution.set_devices(threads=FLAGS.threads)
    import tensorflow as tf

    import losses
    import models

    size, feature, hidden, embed = (scaled(n) for n in (1024, 2048, 2048, 32))
    vectors = np.random.default_rng(0).standard_normal((2, size, feature), np.float32)
    left, right = tf.Variable(vectors[0]), tf.Variable(tf.random.normal((feature, hidden)))
    multiply = tf.function(lambda: tf.matmul(left, right))
    # The image tower twice, so that both read vectors. It has no gradient of its own input.
    batch = {"image": vectors[0], "tokens": vectors[1], "image_id": np.arange(size)}
    gflop = 2e-9 * size * np.array([4 * feature * hidden + 6 * hidden * embed, feature * hidden])
    lines = []
    for optimizer, name, bounds in (("sgd", "SGD", "ratio >= 0.85"), ("adam", "Adam", "")):
        towers = [models.image_projection(feature, hidden, embed) for _ in range(2)]
        model = models.DualEncoder(*towers, losses.build_loss("modified", margin=0.5))
        step = training_step(model, batch, optimizer)
        peak = peak_memory()
        what = f"training step on vectors, {name}, batch {size:,}"
        # four products take about as long as a step: both meet the same noise
        seconds = take_turns([step, lambda: [multiply() for _ in range(4)][-1].numpy()], 12)
        lines.append(summarise(what, seconds, bounds, peak, gflop * (1, 4)))
    return lines + bag_lines(size, hidden) + word_lines(size, feature, hidden, embed)


def bag_lines(size, hidden):
    """The layer of words by itself, forward and backward, beside a dense layer on counts."""
    import keras
    import tensorflow as tf

    import models

    few, many = scaled(10000), scaled(90000)
    tokens = tf.constant(np.random.default_rng(0).integers(1, few, (size, 12)), tf.int32)
    counts = tf.math.bincount(tokens, minlength=few, maxlength=few, axis=-1, dtype=tf.float32)
    layers = [models.BagOfWords(words, hidden) for words in (few, many)]
    functions = []
    for layer, inputs in zip(
        [*layers, keras.layers.Dense(hidden)], (tokens, tokens, counts), strict=True
    ):
        layer.build(inputs.shape)

        @tf.function
        def run(layer=layer, inputs=inputs):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(tf.square(layer(inputs, training=True)))
            return tape.gradient(total, layer.trainable_variables)

        functions.append(lambda run=run: tf.nest.flatten(run(), expand_composites=True)[-1].numpy())
        functions[-1]()
    seconds = take_turns(functions, 5)
    floor = f"floor: dense on counts of {few:,}"
    return [
        summarise(f"bag of words alone, {words:,} words ({floor})", seconds[:, [place, 2]])
        for place, words in enumerate((few, many))
    ]


def word_lines(size, feature, hidden, embed):
    """The step of the real model, whose text is words, by size of vocabulary."""
    import losses
    import models

    rng = np.random.default_rng(0)
    image = rng.standard_normal((size, feature), np.float32)
    lines = []
    for words in (scaled(10000), scaled(90000)):
        batch = {"image": image, "image_id": np.arange(size)}
        batch["tokens"] = rng.integers(1, words, (size, 12)).astype(np.int32)
        towers = (
            models.image_projection(feature, hidden, embed),
            models.text_projection(words, hidden, embed),
        )
        model = models.DualEncoder(*towers, losses.build_loss("modified", margin=0.5))
        seconds = take_turns([training_step(model, batch, "sgd")], 5)
        what = f"training step on words, SGD, {words:,} words (the update takes all rows)"
        lines.append(summarise(what, seconds, peak=peak_memory()))
    return lines


# The feature CSV.


def write_nuswide(folder, num_images, num_features):
    """NUS-WIDE-Lite's files, 81 concepts among them, with random content; 1 GB in full size."""
    rng = np.random.default_rng(0)
    root = Path(folder) / "NUS-WIDE-Lite"
    for name in ("image list", "NUS-WIDE-Lite_groundtruth", "images"):
        (root / name).mkdir(parents=True)
    names = [f"{i % 270:04d}_{i}.jpg" for i in range(num_images)]
    for part, own in (("Train", names[: num_images // 2]), ("Test", names[num_images // 2 :])):
        lines = "".join(f"actor\\{name}\n" for name in own)
        (root / "image list" / f"{part}_imageOutPutFileList.txt").write_text(lines)
        for concept in range(81):
            path = root / "NUS-WIDE-Lite_groundtruth" / f"Labels_{concept}_{part}.txt"
            path.write_text("".join(f"{bit}\n" for bit in rng.integers(0, 2, len(own))))
    tags = "".join(f"{i}      sky water tag{i % 5000}\n" for i in range(num_images))
    (root / "All_Tags.txt").write_text(tags)
    # The numbers of 64 rows, again and again: to write new ones takes longer than to read them.
    values = np.maximum(rng.standard_normal((min(64, num_images), num_features)), 0)
    rows = [" ".join(f"{value:.7g}" for value in row) + "\n" for row in values]
    with open(root / "images" / "image_features.csv", "w") as file:
        file.writelines(f"{name} {rows[i % len(rows)]}" for i, name in enumerate(names))
    return root / "images" / "image_features.csv"


def bench_csv():
    """NUS-WIDE opened for the first time and again, beside NumPy parsing the CSV's lines."""
    import datasets

    with tempfile.TemporaryDirectory() as folder:
        path = write_nuswide(folder, scaled(55615, 40), scaled(2048))
        cache = Path(folder) / "cache"

        def reopen():
            datasets.open_dataset("nuswide", folder, cache_dir=cache)

        def parse():
            shutil.rmtree(cache, ignore_errors=True)
            reopen()

        def bare():
            with open(path, "rb") as lines:
                for line in lines:
                    np.fromstring(line.partition(b" ")[2], dtype=np.float32, sep=" ")

        megabytes = path.stat().st_size / 1e6
        first = take_turns([parse], 1)
        peak = peak_memory()
        again = take_turns([reopen], 5)
        seconds = np.concatenate([first, take_turns([bare], 1)], axis=1)
    rate = megabytes / first[0, 0, 0]
    what = f"NUS-WIDE with a CSV of {megabytes:,.0f} MB, first time ({rate:.0f} MB/s)"
    return [
        summarise(what, seconds, "peak <= 2", peak),
        summarise("the same from its cache", again, "ours <= 2"),
    ]


# The document's finding.


def best_epoch(folder, loss, alpha, margin):
    """Trains one cell of the grid; returns its best validation MRR and that epoch.

    Raises:
      ValueError: train.py failed; its last line.
    """
    name = f"{loss}_{alpha}_{margin}"
    settings = {"exp_root": folder, "exp": name, "loss": loss, "alpha": alpha, "margin": margin}
    settings |= {"data": FLAGS.data, "threads": FLAGS.threads, "limit": FLAGS.limit}
    if FLAGS.data_dir:
        settings["data_dir"] = FLAGS.data_dir
    if FLAGS.epochs:
        settings["epochs"] = FLAGS.epochs
    command = [sys.executable, str(ROOT / "train.py")]
    run_quietly(command + [f"--{key}={value}" for key, value in settings.items()])
    with open(experiment.Experiment(Path(folder) / name).history, encoding="utf-8") as file:
        rows = [(float(row["val_mrr"]), int(row["epoch"])) for row in csv.DictReader(file)]
    return max(rows, key=lambda row: row[0])


def print_finding():
    """Assignment against modified, side by side, as a Markdown table; returns the cells."""
    cells = [(*cell, loss) for cell in product(FLAGS.grid, FLAGS.grid) for loss in FINDING]
    found = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(FLAGS.jobs) as pool:
        runs = pool.map(lambda cell: best_epoch(folder, cell[2], *cell[:2]), cells)
        for number, (cell, best) in enumerate(zip(cells, runs, strict=True), 1):
            found[cell] = best
            words = f"{number} of {len(cells)}: {cell[2]}, alpha {cell[0]}, c {cell[1]}"
            print(f"{words}: {best[0]:.4f} in epoch {best[1]}", file=sys.stderr, flush=True)
    epochs = f", {FLAGS.epochs} epochs" if FLAGS.epochs else ""
    print(f"Best validation MRR (its epoch) on {FLAGS.data}{epochs}:\n")
    print(f"| alpha | c | {' | '.join(FINDING)} |\n|---|---|{'---|' * len(FINDING)}")
    for alpha, margin in product(FLAGS.grid, FLAGS.grid):
        own = [found[alpha, margin, loss] for loss in FINDING]
        values = " | ".join(f"{value:.4f} ({epoch})" for value, epoch in own)
        print(f"| {alpha} | {margin} | {values} |")
    keys = ("alpha", "margin", "loss", "val_mrr", "epoch")
    return [dict(zip(keys, (*cell, *best), strict=True)) for cell, best in found.items()]


# The table.

FINDING = ("assignment", "modified")
BENCHES = {
    "metrics": bench_metrics,
    "bootstrap": bench_bootstrap,
    "query": bench_query,
    "step": bench_step,
    "csv": bench_csv,
    "metrics_large": bench_metrics_large,
}
QUICK = ("metrics", "bootstrap", "query", "step", "csv")
COLUMNS = ("what", "ours", "floor", "ratio", "by cpu", "peak", "bound", "met", "turns")
WIDTHS = (68, 12, 12, 7, 7, 8, 27, 5, 5)


def measure(name, scale):
    """Runs one bench in a process of its own.

    Raises:
      ValueError: it failed.
    """
    command = [sys.executable, __file__, f"--only={name}", f"--scale={scale}"]
    command += [f"--threads={FLAGS.threads}"]
    threads = {f"{library}_NUM_THREADS": str(FLAGS.threads) for library in ("OMP", "OPENBLAS")}
    environment = {**os.environ, **(threads if FLAGS.threads else {})}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=False)
    if done.returncode:
        raise ValueError(f"bench {name} failed, see above")
    return json.loads(done.stdout.strip().splitlines()[-1])


def format_line(line):
    """One line of the table."""

    def amount(value):
        if value is None:
            return "-"
        if line["unit"] != "s":
            return f"{value:.1f} {line['unit']}"
        return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"

    ratios = [f"{line[k]:.2f}" if line[k] else "-" for k in ("ratio", "processor_ratio")]
    peak = f"{line['peak']:.2f} GB" if line["peak"] else "-"
    met = {None: "-", True: "yes", False: "NO"}[line["met"]]
    cells = (line["what"], amount(line["ours"]), amount(line["floor"]), *ratios, peak)
    return align((*cells, line["bounds"] or "-", met, str(line["turns"])))


def align(cells):
    """Cells as one line: the first to the left, the others to the right."""
    pairs = list(zip(cells, WIDTHS, strict=True))
    return "  ".join(
        [f"{cells[0]:{WIDTHS[0]}}", *(f"{cell:>{width}}" for cell, width in pairs[1:])]
    )


def main(argv):
    """Names -> a process for each -> a table, and JSON."""
    if FLAGS.only:
        print(json.dumps(BENCHES[FLAGS.only]()))
        return
    known = (*BENCHES, "finding")
    for name in argv[1:]:
        if name not in known:
            raise ValueError(f"unknown bench {name!r}: choose from {', '.join(known)}")
    cores, threads = os.cpu_count(), FLAGS.threads or "all"
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    machine = f"{platform.system()} {platform.machine()}, {cores} cores, threads: {threads}, {load}"
    print(f"{machine}, scale {FLAGS.scale:g}\n{align(COLUMNS)}", flush=True)
    found = {}
    for name in argv[1:] or QUICK:
        if name == "finding":
            found[name] = print_finding()
            continue
        found[name] = measure(name, FLAGS.scale * (1 if argv[1:] else PART.get(name, 1)))
        print("\n".join(map(format_line, found[name])), flush=True)
    if FLAGS.output:
        experiment.write_json(FLAGS.output, {"machine": machine, "scale": FLAGS.scale, **found})


if __name__ == "__main__":
    experiment.run_script(lambda: app.run(main))
