r"""Measures speed and memory, each beside the floor that this machine can reach.

    python -m lab.bench                       # all that take no minutes; of csv and extraction a part
    python -m lab.bench csv metrics_large     # only those that are named, in full size
    python -m lab.bench step --scale 0.1      # in smaller sizes

    bench          ours                                        floor
    metrics        ranks, and all metrics, both ways, of       one float64 NumPy matrix product of
                   5,000 images x 25,000 captions x 1,024      that size, in blocks
    metrics_large  the same of 40,504 x 202,520 (minutes)      the same, estimated from a part
    bootstrap      intervals of all metrics, 25,000 queries    drawing the resamples, one product
    query          retrieve.py from start to saved picture,    python -c "import tensorflow"
                   gallery of 31,000 images x 256
    query_pieces   the same with DistilBERT, 30,521 pieces     the same
    step           a training step of the published MLPs on    TensorFlow's product (1024 x 2048)
                   vectors, batch 1,024; and on words          (2048 x 2048), by rate; four of them
    csv            NUS-WIDE opened for the first time, its     NumPy parsing each line
                   CSV of 1 GB lying in the temporary folder
    order          ranks both ways by order similarity,        one float64 NumPy matrix product of
                   1,000 images x 5,000 captions x 1,024       that size
    sentences      training a GRU of 1,024 on captions of      the same, all padded to 32 tokens;
                   lengths as in Flickr8k (minutes)            Keras' layer; a TensorFlow product
    encode         25,000 such captions as test.py encodes     the same tower, all padded, in their
                   them: sorted, in threads (minutes)          own order; Keras' layer likewise
    extraction     extract.py's way from JPEG files to         the network alone, arrays in memory
                   full-network embeddings, MobileNetV2
    optimiser      Adam's step on 25 M weights                 keras.optimizers.Adam
    picture_reading  JPEG files decoded, cropped, resized and  tf.io.decode_jpeg alone
                   mirrored, from files and from both caches
    picture_eating the same, beside the step that reads them   a step of stage I, MobileNetV2
    text_towers    captions through the convolutional tower    the GRU of the same embedding size
    stage_one      an epoch of stage I, the CNN run in it      the same on its cached vectors
    gradient_caching  a batch of 8,192 vectors and captions    16 batches of 512; and their memory
                   in parts of 512 (minutes)
    classifier     a step with a class for each of COCO's      (peak memory)
                   113,287 training images, 2,048 numbers each
    published_step a step of ResNet-34 and DistilBERT,         (peak memory)
                   16 pairs, 224 x 224
    ranking_gallery  the five captions nearest to each of      the dot products alone, 17 TFLOP
                   40,504 images, of 202,520 (minutes)

Each bench has a process of its own, so that peak memory (resident; of our code, before the floor
has run) is its own. Ours and the floor take turns: other work on the machine slows both. Times are
medians over the turns, ratios are medians of the turns' ratios: by the clock ("met" judges these,
in full size), and "by cpu", by processor time, to be trusted where the load is above 1.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
from absl import app, flags

import metrics
from data import datasets
from data.formats.nuswide import FEATURES, TAGS, TRUTH
from data.language.words import Vocabulary, bag_words
from gallery import scan
from grading import intervals
from lab.bench import dual_path, gradient_caching, system2, system3, system4, system5, timing
from lab.bench.timing import peak_memory, summarise, take_turns
from run import console, files, recipes, replicas
from run import options as run_options
from run.folder import Run

FLAGS = flags.FLAGS
flags.DEFINE_float("scale", 1.0, "Factor of all sizes; below 1 nothing is judged.", 1e-3, 1.0)
run_options.define_measuring_flags()
flags.adopt_module_key_flags(run_options)
flags.DEFINE_string("only", None, "For bench.py itself: measure in this process, print JSON.")

ROOT = Path(__file__).resolve().parents[2]
QUERY = "a small red circle above a blue star"
CAPTIONS = 5  # of each image
temporary_folder = partial(tempfile.TemporaryDirectory, ignore_cleanup_errors=True)


def scaled(size, least=8):
    """A size times --scale."""
    return timing.scaled(size, FLAGS.scale, least)


def run_quietly(command, **options):
    """Runs a command; returns its peak memory in gigabytes, None where the system cannot tell."""
    usage = None
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, **options)
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.wait():
            said.seek(0)
            line = (said.read().strip().splitlines() or ["it wrote no message"])[-1]
            raise ValueError(f"{command[1:3]} failed: {line}")
    return usage and peak_memory(usage)


def make_embeddings(folder, num_images, dim):
    """Unit rows, memory-mapped: images, and captions that lie near their image but for much noise.

    Returns:
      image (N, D) float32, text (M, D) float32, caption_image (M,) int32.
    """
    owner = np.repeat(np.arange(num_images, dtype=np.int32), CAPTIONS)
    rng, sides = np.random.default_rng(0), []
    for count in (num_images, len(owner)):
        path = Path(folder) / f"{len(sides)}.npy"
        sides.append(np.lib.format.open_memmap(path, "w+", np.float32, (count, dim)))
        for part in (slice(start, start + 1024) for start in range(0, count, 1024)):
            rows = rng.standard_normal(sides[-1][part].shape, np.float32)
            if len(sides) == 2:
                rows += sides[0][owner[part]] * dim**0.5 / 8
            sides[-1][part] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return *sides, owner


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
    with temporary_folder() as folder:
        pairs = image, text, _ = make_embeddings(folder, scaled(5000), scaled(1024))
        functions, peaks = [partial(f, *pairs) for f in (metrics.rank_both, metrics.evaluate)], []
        for function in functions:
            function()
            peaks.append(peak_memory())
        seconds = take_turns([*functions, bare_product(image, text)], 3)
    bounds, lines = "ratio <= 1.5, peak <= 0.6", []
    for place, (name, peak) in enumerate(zip(("rank_both", "evaluate"), peaks, strict=True)):
        what = f"{name}, {len(image):,} x {len(text):,}"
        lines.append(summarise(what, seconds[:, [place, 2]], bounds, peak))
    return lines


def bench_metrics_large():
    """All metrics of the COCO 2014 validation images and captions; says every 10 s how it goes."""
    with temporary_folder() as folder:
        image, text, owner = make_embeddings(folder, scaled(40504), scaled(1024))
        floor = take_turns([bare_product(image[:2048], text[:4096])], 3)
        floor *= len(image) * len(text) / (len(image[:2048]) * len(text[:4096]))
        floor, ended, start = np.median(floor, axis=0), threading.Event(), time.perf_counter()

        def tell():
            while not ended.wait(10):
                passed = time.perf_counter() - start
                print(f"{passed:.0f} s; the floor is {floor[0, 0]:.0f} s", file=sys.stderr)

        threading.Thread(target=tell, daemon=True).start()
        seconds = take_turns([partial(metrics.evaluate, image, text, owner)], 1)
        ended.set()
    what = f"evaluate, {len(image):,} x {len(text):,}"
    both = np.concatenate([seconds, floor[None]], axis=1)
    return [summarise(what, both, "peak <= 2", peak_memory())]


def bench_bootstrap():
    """Intervals of all metrics in both directions, beside the bare drawing of resamples."""
    num_images, resamples = scaled(5000), scaled(1000)
    rng = np.random.default_rng(0)
    found = {}
    for direction, own in zip(scan.DIRECTIONS, (CAPTIONS, 1), strict=True):
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


def make_run(folder, num_images, scale, pieces=False):
    """A run folder such as train.py and test.py leave, with fresh weights and random rows."""
    run = Run(folder)
    recipes.Settings(**recipes.default_settings()).save(run.config)
    image, text, owner = make_embeddings(folder, num_images, 256)
    arrays = {"image": image, "text": text, "caption_image": owner}
    for name, values in (
        ("image_names", [f"image-{row:06d}" for row in range(num_images)]),
        ("captions", [f"{QUERY} number {row}" for row in range(len(owner))]),
        ("pictures", [f"scenes:0:test:{row % 1000}" for row in range(num_images)]),
    ):
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = files.pack_strings(values)
    files.write_arrays(run.projections, arrays)
    if pieces:
        system4.write_query_tower(run, scale, 256)
        return
    from systems.projection import towers

    words = (f"word{i}" for i in range(timing.scaled(10000, scale)))
    vocabulary = Vocabulary([*dict.fromkeys(bag_words(QUERY)), *words])
    vocabulary.save(run.vocabulary)
    tower = towers.text_projection(len(vocabulary), 1024, 256)
    tower(np.ones((2, 3), np.int32))  # Keras exports only what was called once
    tower.export(run.query_tower, format="onnx", verbose=False)


def cold_query(pieces):
    """retrieve.py in a fresh process, beside `import tensorflow` in a fresh process.

    Args:
      pieces: whether its text tower is DistilBERT in its published size.
    """
    num_images, peaks = scaled(31000, least=20), []
    with temporary_folder() as folder:
        code = f"import bench; bench.make_run({folder!r}, {num_images}, {FLAGS.scale}, {pieces})"
        run_quietly(
            [sys.executable, "-c", code], cwd=ROOT
        )  # a process that takes TensorFlow with it
        picture = Path(folder) / "answer.png"
        retrieve = [sys.executable, str(ROOT / "retrieve.py"), "--exp", folder, QUERY]

        def ours():
            picture.unlink(missing_ok=True)
            peaks.append(run_quietly(retrieve))
            if not picture.is_file():
                raise ValueError("retrieve.py has saved no picture")

        functions = [ours, partial(run_quietly, [sys.executable, "-c", "import tensorflow"])]
        ours()  # Python compiles what it has not yet compiled; TensorFlow's is
        seconds = take_turns(functions, 5 if FLAGS.scale == 1 else 1)
    what = f"retrieve.py, {num_images:,} images" + (", DistilBERT" if pieces else "")
    return [summarise(what, seconds, "ratio <= 0.5", peaks[-1])]


def bench_query():
    """A query with the text tower of System 1."""
    return cold_query(pieces=False)


def bench_query_pieces():
    """A query with the text tower of System 4."""
    return cold_query(pieces=True)


def training_step(model, batch, optimizer):
    """A function that takes one step of a model on a batch, compiled as train.py does."""
    import keras

    from systems.engine import optimization

    chosen = {"schedule": "constant", "learning_rate": 1e-6, "optimizer": optimizer}
    chosen["weight_decay"] = 5e-4 if optimizer == "sgd" else 0.0
    settings = recipes.Settings(**{**recipes.default_settings(), **chosen})
    model.compile(optimizer=optimization.build_optimizer(settings, 1), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    batch = {key: keras.ops.convert_to_tensor(value) for key, value in batch.items()}
    step = partial(model.train_on_batch, batch)
    step()
    return step


def bench_step():
    """Forward, loss, backward and update of two MLPs, beside the rate of one matrix product."""
    tf = replicas.import_tensorflow()
    replicas.set_devices(threads=FLAGS.threads)
    import losses
    import models
    from systems.engine.parts import Parts
    from systems.projection import towers

    size, feature, hidden, embed = (scaled(n) for n in (1024, 2048, 2048, 32))
    rng, identity = np.random.default_rng(0), np.arange(size)
    image, other = rng.standard_normal((2, size, feature), np.float32)
    left, right = tf.constant(image), tf.Variable(tf.random.normal((feature, hidden)))
    multiply = tf.function(lambda: tf.matmul(left, right))

    def products():  # four take about as long as a step, so both meet the same noise
        for _ in range(4):
            multiply().numpy()

    # Forward and weight gradients of two layers, input gradient of the second: of two towers.
    gflop = 4e-9 * size * (2 * feature * hidden + 3 * hidden * embed)
    work, lines = (gflop, 8e-9 * size * feature * hidden), []
    for optimizer, words in (("sgd", 0), ("adam", 0), ("sgd", 10000), ("sgd", 90000)):
        text_tower = towers.image_projection(feature, hidden, embed)  # reads vectors
        if words:
            text_tower = towers.text_projection(scaled(words), hidden, embed)
            other = rng.integers(1, scaled(words), (size, 12)).astype(np.int32)
        image_tower = towers.image_projection(feature, hidden, embed)
        parts = Parts(image_tower, text_tower)
        model = models.DualEncoder(parts, losses.build_loss("modified"))
        batch = {"image": image, "tokens": other, "image_id": identity}
        functions = [training_step(model, batch, optimizer), products]
        peak, seconds = peak_memory(), take_turns(functions, 5 if words else 12)
        what = f"step, {optimizer}, text: {f'{scaled(words):,} words' if words else 'vectors'}"
        bounds = "ratio >= 0.85" if (optimizer, words) == ("sgd", 0) else ""
        lines.append(summarise(what, seconds, bounds, peak, None if words else work))
    return lines + bag_lines(size, hidden)


def bag_lines(size, hidden):
    """The layer of words by itself, forward and backward, beside a dense layer on counts."""
    import keras
    import tensorflow as tf

    from systems.engine import bag

    few, many = scaled(10000), scaled(90000)
    tokens = tf.constant(np.random.default_rng(0).integers(1, few, (size, 12)), tf.int32)
    counts = tf.math.bincount(tokens, minlength=few, maxlength=few, axis=-1, dtype=tf.float32)

    bags = [bag.BagOfWords(words, hidden) for words in (few, many)]
    cases = [(bags[0], tokens), (bags[1], tokens), (keras.layers.Dense(hidden), counts)]

    @tf.function
    def gradients(layer, inputs):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(layer(inputs, training=True)))
        return tape.gradient(total, layer.trainable_variables)

    for layer, inputs in cases:
        layer.build(inputs.shape)
        gradients(layer, inputs)
    seconds = take_turns([partial(gradients, *case) for case in cases], 5)
    what = f"bag of %d words (floor: dense, {few})"
    return [summarise(what % words, seconds[:, [i, 2]]) for i, words in enumerate((few, many))]


def write_nuswide(root, num_images):
    """NUS-WIDE-Lite's files with random content; returns the path of the CSV."""
    rng = np.random.default_rng(0)
    names = [f"{i % 270:04d}_{i}.jpg" for i in range(num_images)]
    half = num_images // 2
    lists, truth, path = root / "image list", root / TRUTH, root / FEATURES
    for folder in (lists, truth, path.parent):
        folder.mkdir(parents=True)
    for part, own in (("Train", names[:half]), ("Test", names[half:])):
        lines = "".join(f"actor\\{name}\n" for name in own)
        (lists / f"{part}_imageOutPutFileList.txt").write_text(lines)
        for concept in range(81):
            bits = "".join(f"{bit}\n" for bit in rng.integers(0, 2, len(own)))
            (truth / f"Labels_{concept}_{part}.txt").write_text(bits)
    tags = "".join(f"{i}      sky water tag{i % 5000}\n" for i in range(num_images))
    (root / TAGS).write_text(tags)
    # The numbers of 64 rows, again and again: to write new ones takes longer than to read them.
    values = np.abs(rng.standard_normal((64, 2048)))
    rows = [" ".join(f"{value:.7g}" for value in row) for row in values]
    with open(path, "w") as file:
        file.writelines(f"{name} {rows[i % 64]}\n" for i, name in enumerate(names))
    return path


def bench_csv():
    """NUS-WIDE opened for the first time and again, beside NumPy parsing the CSV's lines."""
    with temporary_folder() as folder:
        path = write_nuswide(Path(folder) / "nus", scaled(55615, least=40))
        cache, megabytes = Path(folder) / "cache", path.stat().st_size / 1e6
        reopen = partial(datasets.open_dataset, "nuswide", path.parents[1], cache_dir=cache)

        def bare():
            with open(path, "rb") as lines:
                for line in lines:
                    np.fromstring(line.partition(b" ")[2], dtype=np.float32, sep=" ")

        seconds = take_turns([reopen], 1)  # the cache is cold
        peak = peak_memory()
        again = take_turns([reopen], 5)
        seconds = np.concatenate([seconds, take_turns([bare], 1)], axis=1)
    what = f"CSV of {megabytes:,.0f} MB, {megabytes / seconds[0, 0, 0]:.0f} MB/s"
    cached = summarise("the same from its cache", again, "ours <= 2")
    return [summarise(what, seconds, "peak <= 2", peak), cached]


def bench_order():
    """Ranks by order similarity of a Flickr8k sized gallery, beside one float64 matrix product."""
    with temporary_folder() as folder:
        image, text, owner = make_embeddings(folder, scaled(1000), scaled(1024))
        image, text = np.abs(image), np.abs(text)  # as --absolute has them
        ours = partial(metrics.rank_both, image, text, owner, similarity="order")
        ours()
        peak, seconds = peak_memory(), take_turns([ours, bare_product(image, text)], 5)
    what = f"rank_both, order, {len(image):,} x {len(text):,}"
    return [summarise(what, seconds, peak=peak)]


_ALL = bench_metrics, bench_bootstrap, bench_query, bench_step, bench_csv, bench_order
_ALL += bench_metrics_large, bench_query_pieces
BENCHES = {function.__name__.removeprefix("bench_"): function for function in _ALL}
_PARTS = system2, system3, dual_path, system4, gradient_caching
_PARTS += (system5,)
for _function in (function for part in _PARTS for function in part.BENCHES):
    BENCHES[_function.__name__] = lambda measured=_function: measured(FLAGS.scale, FLAGS.threads)
UNASKED = {  # and the factor of their scale
    "metrics": 1, "bootstrap": 1, "query": 1, "step": 1, "csv": 0.05, "order": 1, "optimiser": 1,
    "extraction": 0.1,
}  # fmt: skip
TABLE = "{:54}  {:>17}  {:>17}  {:>6}  {:>6}  {:>7}  {:25}  {:3}  {:>5}".format
HEAD = "what", "ours", "floor", "ratio", "by cpu", "peak GB", "bound", "met", "turns"


def measure(name, scale):
    """The lines of one bench, from a process of its own. Raises ValueError if it failed."""
    command = [sys.executable, "-m", "lab.bench", "--only", name, "--scale", str(scale)]
    command += ["--threads", str(FLAGS.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ValueError(f"bench {name} failed, see above")
    return json.loads(done.stdout.strip().splitlines()[-1])


def format_line(line):
    """One line of the table."""

    def amount(value):
        if value is None:
            return "-"
        if line["unit"] != "s":
            return f"{value:,.{1 if value < 1000 else 0}f} {line['unit']}"
        return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"

    keys = ("ratio", "by_cpu", "peak")
    numbers = ["-" if line[key] is None else f"{line[key]:.2f}" for key in keys]
    met = {None: "-", True: "yes", False: "NO"}[line["met"]]
    times = amount(line["ours"]), amount(line["floor"])
    return TABLE(line["what"], *times, *numbers, line["bounds"] or "-", met, line["turns"])


def main(argv):
    """Names -> a process for each -> a table, and JSON."""
    if FLAGS.only:
        lines = BENCHES[FLAGS.only]()
        if FLAGS.scale < 1:  # small sizes are measured, not judged
            lines = [line | {"met": None} for line in lines]
        print(json.dumps(lines))
        return
    for name in argv[1:]:
        if name not in BENCHES:
            raise ValueError(f"unknown bench {name!r}: choose from {', '.join(BENCHES)}")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    machine = f"{sys.platform}, {os.cpu_count()} cores"
    print(f"{machine}, threads: {FLAGS.threads or 'all'}, load {load}, scale {FLAGS.scale:g}")
    if FLAGS.threads:  # what NumPy heeds; the processes started here inherit it
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(FLAGS.threads))
    found = {"machine": machine, "threads": FLAGS.threads, "load": load, "scale": FLAGS.scale}
    print(TABLE(*HEAD), flush=True)
    for name in argv[1:] or UNASKED:
        found[name] = measure(name, FLAGS.scale * (1 if argv[1:] else UNASKED[name]))
        print("\n".join(map(format_line, found[name])), flush=True)
    if FLAGS.output:
        files.write_json(FLAGS.output, found)


def run():
    """The script: python -m."""
    console.run_script(lambda: app.run(main))
