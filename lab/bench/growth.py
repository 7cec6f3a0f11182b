"""Bench of growth: the same work on more and more images, beside the law that it should follow.

    python -m lab.bench growth --picture growth.png

Time may grow as the images do, scoring as their square, memory as the images do. A line says what
the work took, and beside it what the size before it allows by that law. The law is judged from
size to size, for a constant part only helps.
"""

import itertools
import json
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

import metrics
from grading import intervals
from lab.bench import asking, start
from lab.bench.building import CAPTIONS, make_embeddings, make_photos
from lab.bench.scoring import made_ranks
from lab.bench.timing import bench, line_of, peak_memory, temporary_folder
from lab.scripts import run_apart

SHARES = 100, 30, 10, 3, 1  # the largest number of images, divided by these
FURTHER = 1_000_000  # images for which the law is drawn on
DIM, SIDE, HELD_OUT, BATCH, RESAMPLES, QUERY_WORDS = 256, 64, 200, 256, 1000, 10_000
MARGIN = 1.2  # how far above its law a step may lie
WORDS = (
    "a", "the", "dog", "man", "red", "blue", "runs", "jumps", "beach", "ball", "on", "in", "with",
)  # fmt: skip
OF_TRAINING = {  # stage of `start` -> what a line calls it
    "all included": "train.py, one epoch, all included",
    "drawing the scenes": "opening",
    "fingerprints of the data": "fingerprints of the data",
    "describing the pictures": "describing",
    "training after the first step": "an epoch",
}


@dataclass
class Work:
    """What grows.

    Attributes:
      power: of its law; seconds, peaks: by number of images, peaks in gigabytes or None.
    """

    name: str
    power: int
    seconds: dict[int, float] = field(default_factory=dict)
    peaks: dict[int, float | None] = field(default_factory=dict)

    def drawn_on(self):
        """Seconds for FURTHER images: a constant and the law through the two largest sizes."""
        (before, less), (last, most) = [*self.seconds.items()][-2:]
        slope = (most - less) / (last**self.power - before**self.power)
        return most + max(slope, 0) * (FURTHER**self.power - last**self.power)


def write_table(folder, images):
    """A folder as users have it: a table of captions, beside one JPEG file for each image."""
    rng, total = np.random.default_rng(0), images + 2 * HELD_OUT
    with temporary_folder() as made:
        kinds = [Path(one).read_bytes() for one in make_photos(made, SIDE, SIDE, 64).pictures or ()]
    with open(Path(folder) / "captions.csv", "w", encoding="utf-8") as table:
        table.write("image,caption,split\n")
        for row in range(total):
            name = f"{row:07d}.jpg"
            # Bytes behind the picture tell it apart from its copies, which train.py would name.
            content = kinds[row % len(kinds)] + row.to_bytes(8, "little")
            (Path(folder) / name).write_bytes(content)
            split = "train" if row < images else "val" if row < images + HELD_OUT else "test"
            for words in rng.integers(0, len(WORDS), (CAPTIONS, 8)):
                table.write(f"{name},{' '.join(WORDS[word] for word in words)},{split}\n")


def train_on(folder, images):
    """({stage: seconds}, peak gigabytes) of train.py on so many images."""
    data = Path(folder) / "data"
    data.mkdir()
    write_table(data, images)
    flags = "--data=csv", f"--data_dir={data}", "--epochs=1", f"--batch_size={BATCH}"
    return start.stages_of(folder, *flags)


def scoring_work(images):
    """What scores a gallery: ranks and all metrics, both ways."""
    return partial(metrics.evaluate, *make_embeddings(images, DIM))


def interval_work(images):
    """What draws the intervals of all metrics."""
    return partial(intervals.with_intervals, made_ranks(images), RESAMPLES)


def time_work(name, images, path):
    """Writes the seconds of one of `WITHOUT_TRAINING` on so many images to a JSON file."""
    work = WITHOUT_TRAINING[name][0](images)
    began = time.perf_counter()
    work()
    Path(path).write_text(json.dumps(time.perf_counter() - began))


def ask_gallery(folder, images):
    """(seconds, peak gigabytes) of retrieve.py from the shell to the saved picture."""
    run_apart("-c", f"from lab.bench import asking; asking.make_run{folder, images, QUERY_WORDS}")
    began = time.perf_counter()
    usage = run_apart("retrieve.py", "--exp", folder, asking.QUERY)
    return time.perf_counter() - began, usage and peak_memory(usage)


WITHOUT_TRAINING = {"scoring": (scoring_work, 2), "intervals": (interval_work, 1)}  # and its power


def measure_sizes(sizes):
    """{name: `Work`}, each on each size."""
    found = {name: Work(name, 1) for name in OF_TRAINING.values()}
    found |= {name: Work(name, power) for name, (_, power) in WITHOUT_TRAINING.items()}
    found["a query, cold"] = Work("a query, cold", 1)
    for images in sizes:
        with temporary_folder() as folder:
            seconds, peak = train_on(folder, images)
        for stage, name in OF_TRAINING.items():
            found[name].seconds[images] = seconds[stage]
        found[OF_TRAINING["all included"]].peaks[images] = peak
        for name in WITHOUT_TRAINING:
            with temporary_folder() as folder:
                path = Path(folder) / "seconds.json"
                given = name, images, str(path)
                usage = run_apart("-c", f"from lab.bench import growth; growth.time_work{given}")
                found[name].seconds[images] = json.loads(path.read_text())
                found[name].peaks[images] = usage and peak_memory(usage)
        with temporary_folder() as folder:
            work = found["a query, cold"]
            work.seconds[images], work.peaks[images] = ask_gallery(folder, images)
    return found


def law_lines(work):
    """Lines of one work: each size beside what the one before allows, then the law drawn on."""
    sizes = [*work.seconds]
    for before, images in itertools.pairwise(sizes):
        times = images / before
        seconds = work.seconds[images], work.seconds[before] * times**work.power
        bounds, peak = f"ratio <= {MARGIN}", work.peaks.get(images)
        if peak and (allowed := work.peaks[before]):
            bounds += f", peak <= {MARGIN * times * allowed:.2f}"
        values = np.repeat(np.array([seconds])[:, :, None], 2, axis=2)  # the clock alone
        yield line_of(f"{work.name}, {images:,} images", values, bounds, peak) | {"by_cpu": None}
    values = np.full((1, 1, 2), work.drawn_on())
    yield line_of(f"{work.name}, {FURTHER:,} by its law", values) | {"by_cpu": None}


def draw(found, path):
    """Seconds of each work by number of images, both axes by powers of ten, as a PNG file."""
    from figures import charts
    from figures.palette import COLOURS

    figure = charts.new_figure(7, 5)
    axes = figure.subplots()
    looks = itertools.product("os", COLOURS)
    for (marker, colour), work in zip(looks, found.values(), strict=False):
        sizes, seconds = [*work.seconds], [*work.seconds.values()]
        axes.plot(sizes, seconds, color=colour, marker=marker, markersize=4, label=work.name)
        further = [seconds[-1], work.drawn_on()]
        axes.plot([sizes[-1], FURTHER], further, color=colour, linestyle=":")
    charts.style(axes, "Growth; dotted: by its law", "images, with five captions each", "seconds")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    charts.save(figure, Path(path))


@bench(
    "growth", "its law from the size before", tensorflow=False, images=(100_000, 2000),
)  # fmt: skip
def measure_growth(at):
    """Opening to query on up to {images} images, beside each step's law (half an hour)."""
    found = measure_sizes([at.images // share for share in SHARES])
    if at.picture:
        draw(found, at.picture)
    for work in found.values():
        yield from law_lines(work)
