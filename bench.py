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
    step           a training step of the published MLPs on    TensorFlow's product (1024 x 2048)
                   vectors, batch 1,024; and on words          (2048 x 2048), by rate
    csv            NUS-WIDE opened for the first time, its     NumPy parsing each line
                   CSV of 1 GB lying in the temporary folder
    finding        a table instead: best validation MRR of both pairwise losses over alpha and c

Each bench has a process of its own, so that peak memory (resident; of our code, before the floor
has run) is its own. Ours and the floor take turns: other work on the machine slows both. Times are
medians over the turns; a ratio is the median of the turns' ratios, by the clock and by processor
time, which other work hardly touches. At --scale 1 the column "met" judges the bound.
"""

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
from functools import partial
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
flags.DEFINE_integer("epochs", None, "finding: epochs of each run; default: train.py's.", 1)
flags.DEFINE_integer("limit", 0, "finding: images of every split; 0: all.", 0)
flags.DEFINE_integer("jobs", 1, "finding: runs at the same time.", 1)
flags.DEFINE_list("grid", ["0.25", "0.5", "0.75"], "finding: values of alpha and of margin.")
flags.DEFINE_string("only", None, "For bench.py itself: measure here and print JSON.")

ROOT = Path(__file__).resolve().parent
SIGNS = {"<=": operator.le, ">=": operator.ge}
QUERY = "a small red circle above a blue star"
CAPTIONS = 5  # of each image


# Measuring.


def take_turns(functions, turns):
    """Runs functions without arguments in turn, each one first as often as the others.

    Returns:
      (turns, functions, 2) float64 seconds: by the clock, and of all processors together.
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


def peak_memory(usage=None):
    """Gigabytes that this process, or the one of `usage`, held at most; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    usage = usage or resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def summarise(what, seconds, bounds="", peak=None, work=None):
    """What one line of the table says, as a dict for JSON.

    Args:
      what: the thing measured.
      seconds: (turns, 2, 2) of ours and the floor from `take_turns`, or (turns, 1, 2) of ours.
      bounds: such as "ratio <= 1.5, peak <= 0.6"; ours in seconds, peak in gigabytes.
      peak: gigabytes or None.
      work: GFLOP of ours and of the floor: then both are given as rates.
    """
    values = seconds if work is None else np.array(work)[:, None] / seconds
    ours, *floor = np.median(values[..., 0], axis=0).tolist()
    ratios = np.median(values[:, 0] / values[:, -1], axis=0).tolist() if floor else (None, None)
    line = {"what": what, "ours": ours, "floor": floor[0] if floor else None}
    line |= {"unit": "s" if work is None else "GFLOP/s", "ratio": ratios[0], "by_cpu": ratios[1]}
    line |= {"peak": peak, "turns": len(seconds), "bounds": bounds}
    parts = [bound.split() for bound in bounds.split(", ") if bound]
    kept = [SIGNS[sign](line[key], float(at)) for key, sign, at in parts if line[key] is not None]
    return line | {"met": all(kept) if FLAGS.scale == 1 and kept else None}


def scaled(size, least=8):
    """A size times --scale."""
    return max(least, round(size * FLAGS.scale))


def run_quietly(command):
    """Runs a command; returns its peak memory in gigabytes, None where the system cannot tell.

    Raises:
      ValueError: it failed; the last line that it wrote.
    """
    usage = None
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.wait():
            said.seek(0)
            line = (said.read().strip().splitlines() or ["it wrote no message"])[-1]
            raise ValueError(f"{' '.join(command)} failed: {line}")
    return usage and peak_memory(usage)


# Metrics.


def make_embeddings(num_images, dim, folder):
    """Unit rows, memory-mapped: images, and captions that lie near their image but for much noise.

    Returns:
      image (N, D) float32, text (M, D) float32, caption_image (M,) int64.
    """
    sizes = {
        Path(folder) / "image.npy": num_images,
        Path(folder) / "text.npy": CAPTIONS * num_images,
    }
    files = [np.lib.format.open_memmap(p, "w+", np.float32, (n, dim)) for p, n in sizes.items()]
    rng = np.random.default_rng(0)
    for start in range(0, num_images, 1024):
        image = rng.standard_normal((min(1024, num_images - start), dim), np.float32)
        noise = rng.standard_normal((CAPTIONS * len(image), dim), np.float32)
        text = np.repeat(image, CAPTIONS, axis=0) + 8 * noise
        for file, first, rows in ((files[0], start, image), (files[1], CAPTIONS * start, text)):
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            file[first : first + len(rows)] = rows / norms
    return *(np.load(p, mmap_mode="r") for p in sizes), np.repeat(np.arange(num_images), CAPTIONS)


def bare_product(image, text):
    """A function that multiplies both sides in float64, block by block, and keeps nothing."""
    image, text = np.asarray(image, np.float64).T.copy(), np.asarray(text, np.float64)
    scores = np.empty((2048, image.shape[1]))

    def run():
        for start in range(0, len(text), len(scores)):
            block = text[start : start + len(scores)]
            np.matmul(block, image, out=scores[: len(block)])

    return run


def bench_metrics():
    """Ranks and all metrics of a COCO-5K sized gallery, beside one float64 matrix product."""
    import metrics

    with tempfile.TemporaryDirectory() as folder:
        image, text, owner = make_embeddings(scaled(5000), scaled(1024), folder)
        ours, peaks = [metrics.rank_both, metrics.evaluate], []
        for function in ours:
            function(image, text, owner)
            peaks.append(peak_memory())
        functions = [partial(function, image, text, owner) for function in ours]
        seconds = take_turns([*functions, bare_product(image, text)], 3)
        size = f"{len(image):,} x {len(text):,} x {image.shape[1]:,}"
    bounds = "ratio <= 1.5, peak <= 0.6"
    return [
        summarise(f"metrics.{function.__name__}, {size}", seconds[:, [i, 2]], bounds, peaks[i])
        for i, function in enumerate(ours)
    ]


def bench_metrics_large():
    """All metrics of the COCO 2014 validation images and captions; says every 10 s how it goes."""
    import metrics

    with tempfile.TemporaryDirectory() as folder:
        image, text, owner = make_embeddings(scaled(40504), scaled(1024), folder)
        size = f"{len(image):,} x {len(text):,} x {image.shape[1]:,}"
        few, many = image[:2048], text[:4096]
        floor = take_turns([bare_product(few, many)], 3)
        floor *= len(image) * len(text) / (len(few) * len(many))
        ended, start = threading.Event(), time.perf_counter()

        def tell():
            while not ended.wait(10):
                times = f"{time.perf_counter() - start:.0f} s; the floor {floor[0, 0, 0]:.0f} s"
                print(f"metrics_large: {times}", file=sys.stderr, flush=True)

        threading.Thread(target=tell, daemon=True).start()
        seconds = take_turns([partial(metrics.evaluate, image, text, owner)], 1)
        ended.set()
    seconds = np.concatenate([seconds, np.median(floor, axis=0, keepdims=True)], axis=1)
    return [summarise(f"metrics.evaluate, {size}", seconds, "peak <= 2", peak_memory())]


def bench_bootstrap():
    """Intervals of all metrics in both directions, beside the bare drawing of resamples."""
    import intervals
    import metrics

    num_images, resamples = scaled(5000), scaled(1000)
    rng = np.random.default_rng(0)
    found = {}
    for direction, own in zip(metrics.DIRECTIONS, (CAPTIONS, 1), strict=True):
        owner = np.repeat(np.arange(num_images), own)
        gallery_size = num_images * CAPTIONS // own
        ranks = np.ceil(gallery_size ** rng.random(len(owner))).astype(np.int64)
        ap, ndcg = rng.random((2, len(owner)))
        found[direction] = metrics.Retrieval(ranks, owner, gallery_size, ap, ndcg)
    parts = rng.random((num_images, 18))  # 9 metrics, 2 directions

    def draw():
        for start in range(0, resamples, 32):
            draws = rng.integers(0, num_images, (min(32, resamples - start), num_images))
            np.matmul(np.stack([np.bincount(row, minlength=num_images) for row in draws]), parts)

    ours = partial(intervals.with_intervals, found, resamples)
    ours()
    peak = peak_memory()
    what = f"bootstrap, {CAPTIONS * num_images:,} queries, {resamples:,} resamples"
    return [summarise(what, take_turns([ours, draw], 5), "ours <= 1", peak)]


# A query.


def make_run(folder, num_images):
    """A run folder such as train.py and test.py leave, with fresh weights and random rows.

    It is run in a process of its own, which takes TensorFlow's memory with it.
    """
    import logging
    import warnings

    import distribution
    from text import Vocabulary, bag_words

    run = experiment.Experiment(folder)
    vocabulary = Vocabulary([*dict.fromkeys(bag_words(QUERY)), *(f"word{i}" for i in range(10000))])
    vocabulary.save(run.vocabulary)
    config.Settings(**config.default_settings()).save(run.config)
    image, text, owner = make_embeddings(num_images, 256, folder)
    arrays = {"image": image, "text": text, "caption_image": owner.astype(np.int32)}
    chosen = np.random.default_rng(0).integers(0, len(vocabulary), (len(owner), 10))
    strings = {
        "image_names": [f"image-{row:06d}" for row in range(num_images)],
        "captions": [" ".join(vocabulary.words[i] for i in row) for row in chosen],
        "pictures": [f"scenes:0:test:{row % 1000}" for row in range(num_images)],
    }
    for name, values in strings.items():
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = experiment.pack_strings(values)
    experiment.write_arrays(run.projections, arrays)
    distribution.import_tensorflow()
    import models

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    tower = models.text_projection(len(vocabulary), 1024, 256)
    tower(np.ones((2, 3), np.int32))  # Keras exports only what was called once
    tower.export(run.query_tower, format="onnx", verbose=False)


def bench_query():
    """retrieve.py in a fresh process, beside `import tensorflow` in a fresh process."""
    num_images, peaks = scaled(31000, least=20), []
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(make_run, folder, num_images).result()
        picture = Path(folder) / "answer.png"
        retrieve = [sys.executable, str(ROOT / "retrieve.py"), "--exp", folder, QUERY]

        def ours():
            picture.unlink(missing_ok=True)
            peaks.append(run_quietly(retrieve))
            if not picture.is_file():
                raise ValueError("retrieve.py has saved no picture")

        floor = partial(run_quietly, [sys.executable, "-c", "import tensorflow"])
        take_turns([ours, floor], 1)  # Python compiles what it has not yet compiled
        seconds = take_turns([ours, floor], 5)
    what = f"retrieve.py, gallery of {num_images:,}"
    return [summarise(what, seconds, "ratio <= 0.5", peaks[-1])]


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
    step = partial(model.train_on_batch, batch)
    step()
    return step


def bench_step():
    """Forward, loss, backward and update of two MLPs, beside the rate of one matrix product."""
    import distribution

    tf = distribution.import_tensorflow()
    distribution.set_devices(threads=FLAGS.threads)
    import losses
    import models

    size, feature, hidden, embed = (scaled(n) for n in (1024, 2048, 2048, 32))
    rng = np.random.default_rng(0)
    batch = {"image_id": np.arange(size)}
    batch |= {
        side: rng.standard_normal((size, feature), np.float32) for side in ("image", "tokens")
    }
    left, right = tf.Variable(batch["image"]), tf.Variable(tf.random.normal((feature, hidden)))
    multiply = tf.function(lambda: tf.matmul(left, right))

    def products():  # four take about as long as a step, so both meet the same noise
        for _ in range(4):
            multiply().numpy()

    # Forward and weight gradients of two layers, input gradient of the second: of two towers.
    gflop = 4e-9 * size * (2 * feature * hidden + 3 * hidden * embed)
    work = gflop, 8e-9 * size * feature * hidden
    lines = []
    for optimizer, bounds in (("sgd", "ratio >= 0.85"), ("adam", "")):
        # The image tower twice, so that both sides read vectors.
        towers = [models.image_projection(feature, hidden, embed) for _ in range(2)]
        model = models.DualEncoder(*towers, loss=losses.build_loss("modified", margin=0.5))
        step = training_step(model, batch, optimizer)
        peak, what = peak_memory(), f"step on vectors, {optimizer}, batch {size:,}"
        lines.append(summarise(what, take_turns([step, products], 12), bounds, peak, work))
    for words in (scaled(10000), scaled(90000)):
        batch["tokens"] = rng.integers(1, words, (size, 12), np.int32)
        towers = [models.image_projection(feature, hidden, embed)]
        towers += [models.text_projection(words, hidden, embed)]
        model = models.DualEncoder(*towers, loss=losses.build_loss("modified", margin=0.5))
        step = training_step(model, batch, "sgd")
        what = f"step on words, sgd, {words:,} words (it updates all rows)"
        lines.append(summarise(what, take_turns([step], 5), peak=peak_memory()))
    return lines + bag_lines(size, hidden)


def bag_lines(size, hidden):
    """The layer of words by itself, forward and backward, beside a dense layer on counts."""
    import keras
    import tensorflow as tf

    import models

    few, many = scaled(10000), scaled(90000)
    tokens = tf.constant(np.random.default_rng(0).integers(1, few, (size, 12)), tf.int32)
    counts = tf.math.bincount(tokens, minlength=few, maxlength=few, axis=-1, dtype=tf.float32)
    layers = [models.BagOfWords(few, hidden), models.BagOfWords(many, hidden)]

    @tf.function
    def gradients(layer, inputs):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(layer(inputs, training=True)))
        return tape.gradient(total, layer.trainable_variables)

    functions = [partial(gradients, layer, tokens) for layer in layers]
    functions += [partial(gradients, keras.layers.Dense(hidden), counts)]
    take_turns(functions, 1)  # traces and builds
    seconds = take_turns(functions, 5)
    return [
        summarise(f"bag of {words:,} words (floor: dense, {few:,})", seconds[:, [place, 2]])
        for place, words in enumerate((few, many))
    ]


# The feature CSV.


def write_nuswide(root, num_images, num_features):
    """NUS-WIDE-Lite's files with random content; returns the path of the CSV."""
    rng = np.random.default_rng(0)
    names = [f"{i % 270:04d}_{i}.jpg" for i in range(num_images)]
    half = num_images // 2
    for folder in ("image list", "NUS-WIDE-Lite_groundtruth", "images"):
        (root / folder).mkdir(parents=True)
    for part, own in (("Train", names[:half]), ("Test", names[half:])):
        path = root / "image list" / f"{part}_imageOutPutFileList.txt"
        path.write_text("".join(f"actor\\{name}\n" for name in own))
        for concept in range(81):
            bits = "".join(f"{bit}\n" for bit in rng.integers(0, 2, len(own)))
            (root / "NUS-WIDE-Lite_groundtruth" / f"Labels_{concept}_{part}.txt").write_text(bits)
    tags = "".join(f"{i}      sky water tag{i % 5000}\n" for i in range(num_images))
    (root / "All_Tags.txt").write_text(tags)
    # The numbers of 64 rows, again and again: to write new ones takes longer than to read them.
    values = np.maximum(rng.standard_normal((64, num_features)), 0)
    rows = [" ".join(f"{value:.7g}" for value in row) for row in values]
    path = root / "images" / "image_features.csv"
    with open(path, "w") as file:
        file.writelines(f"{name} {rows[i % 64]}\n" for i, name in enumerate(names))
    return path


def bench_csv():
    """NUS-WIDE opened for the first time and again, beside NumPy parsing the CSV's lines."""
    import datasets

    with tempfile.TemporaryDirectory() as folder:
        path = write_nuswide(Path(folder) / "nus", scaled(55615, least=40), scaled(2048))
        cache = Path(folder) / "cache"
        reopen = partial(datasets.open_dataset, "nuswide", f"{folder}/nus", cache_dir=cache)

        def parse():
            shutil.rmtree(cache, ignore_errors=True)
            reopen()

        def bare():
            with open(path, "rb") as lines:
                for line in lines:
                    np.fromstring(line.partition(b" ")[2], dtype=np.float32, sep=" ")

        megabytes = path.stat().st_size / 1e6
        seconds = take_turns([parse], 1)
        peak = peak_memory()
        again = take_turns([reopen], 5)
        seconds = np.concatenate([seconds, take_turns([bare], 1)], axis=1)
    what = f"CSV of {megabytes:,.0f} MB, {megabytes / seconds[0, 0, 0]:.0f} MB/s"
    return [
        summarise(what, seconds, "peak <= 2", peak),
        summarise("the same from its cache", again, "ours <= 2"),
    ]


# The document's finding.


def train_cell(folder, cell):
    """Trains one cell of the grid; returns its best validation MRR and the epoch of that."""
    loss, alpha, margin = cell
    name = f"{loss}_{alpha}_{margin}"
    settings = {"exp_root": folder, "exp": name, "loss": loss, "alpha": alpha, "margin": margin}
    settings |= {
        key: FLAGS[key].value for key in ("data", "data_dir", "epochs", "limit", "threads")
    }
    given = [f"--{key}={value}" for key, value in settings.items() if value is not None]
    run_quietly([sys.executable, str(ROOT / "train.py"), *given])
    with open(experiment.Experiment(Path(folder) / name).history, encoding="utf-8") as file:
        rows = [(float(row["val_mrr"]), int(row["epoch"])) for row in csv.DictReader(file)]
    best, epoch = max(rows, key=lambda row: row[0])
    print(f"{name}: {best:.4f} in epoch {epoch}", file=sys.stderr, flush=True)
    return best, epoch


def print_finding():
    """Assignment against modified, side by side, as a Markdown table; returns its numbers."""
    names, grid = ("assignment", "modified"), list(product(FLAGS.grid, FLAGS.grid))
    cells = [(name, *values) for values in grid for name in names]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(FLAGS.jobs) as pool:
        found = dict(zip(cells, pool.map(partial(train_cell, folder), cells), strict=True))
    print(f"Best validation MRR (its epoch), data {FLAGS.data}:\n")
    print(f"| alpha | c | {' | '.join(names)} |\n|---|---|---|---|")
    for values in grid:
        best = [found[(name, *values)] for name in names]
        print(f"| {' | '.join([*values, *(f'{mrr:.4f} ({epoch})' for mrr, epoch in best)])} |")
    keys = ("loss", "alpha", "margin", "val_mrr", "epoch")
    return [dict(zip(keys, (*cell, *best), strict=True)) for cell, best in found.items()]


# The table.

BENCHES = {
    "metrics": bench_metrics,
    "bootstrap": bench_bootstrap,
    "query": bench_query,
    "step": bench_step,
    "csv": bench_csv,
    "metrics_large": bench_metrics_large,
}
UNASKED = {"metrics": 1, "bootstrap": 1, "query": 1, "step": 1, "csv": 0.05}  # and their scale
TABLE = "{:54}  {:>13}  {:>13}  {:>6}  {:>6}  {:>7}  {:25}  {:3}  {:>5}".format
HEAD = TABLE("what", "ours", "floor", "ratio", "by cpu", "peak GB", "bound", "met", "turns")


def measure(name, scale):
    """The lines of one bench, from a process of its own.

    Raises:
      ValueError: it failed.
    """
    command = [sys.executable, __file__, f"--only={name}", f"--scale={scale}"]
    environment = dict(os.environ)
    if FLAGS.threads:
        command.append(f"--threads={FLAGS.threads}")
        environment |= dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(FLAGS.threads)
        )
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=False)
    if done.returncode:
        raise ValueError(f"bench {name} failed, see above")
    return json.loads(done.stdout.strip().splitlines()[-1])


def format_line(line):
    """One line of the table."""

    def amount(value):
        if value is None or line["unit"] != "s":
            return "-" if value is None else f"{value:.1f} {line['unit']}"
        return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"

    keys = ("ratio", "by_cpu", "peak")
    numbers = ["-" if line[key] is None else f"{line[key]:.2f}" for key in keys]
    met = {None: "-", True: "yes", False: "NO"}[line["met"]]
    times = amount(line["ours"]), amount(line["floor"])
    return TABLE(line["what"], *times, *numbers, line["bounds"] or "-", met, line["turns"])


def main(argv):
    """Names -> a process for each -> a table, and JSON."""
    if FLAGS.only:
        print(json.dumps(BENCHES[FLAGS.only]()))
        return
    known = (*BENCHES, "finding")
    for name in argv[1:]:
        if name not in known:
            raise ValueError(f"unknown bench {name!r}: choose from {', '.join(known)}")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, threads: {FLAGS.threads or 'all'}, load {load}, scale {FLAGS.scale:g}")
    found = {"machine": machine, "threads": FLAGS.threads, "load": load, "scale": FLAGS.scale}
    if argv[1:] != ["finding"]:
        print(HEAD, flush=True)
    for name in argv[1:] or UNASKED:
        if name == "finding":
            found[name] = print_finding()
            continue
        found[name] = measure(name, FLAGS.scale * (1 if argv[1:] else UNASKED[name]))
        print("\n".join(map(format_line, found[name])), flush=True)
    if FLAGS.output:
        experiment.write_json(FLAGS.output, found)


if __name__ == "__main__":
    experiment.run_script(lambda: app.run(main))
