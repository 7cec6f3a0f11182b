"""Bench of reading: NUS-WIDE's files, opened for the first time and again."""

from functools import partial
from pathlib import Path

import numpy as np

from data import datasets
from data.formats.nuswide import FEATURES, TAGS, TRUTH
from lab.bench.timing import Line, bench, take_lines, temporary_folder


def write_nuswide(root, num_images):
    """NUS-WIDE-Lite's files with random content; returns the path of the CSV."""
    rng, half, lists = np.random.default_rng(0), num_images // 2, root / "image list"
    names = [f"{i % 270:04d}_{i}.jpg" for i in range(num_images)]
    path = root / FEATURES
    for folder in (lists, root / TRUTH, path.parent):
        folder.mkdir(parents=True)
    for part, own in (("Train", names[:half]), ("Test", names[half:])):
        lines = "".join(f"actor\\{name}\n" for name in own)
        (lists / f"{part}_imageOutPutFileList.txt").write_text(lines)
        for concept, bits in enumerate(rng.integers(0, 2, (81, len(own)))):
            truth = root / TRUTH / f"Labels_{concept}_{part}.txt"
            truth.write_text("".join(f"{bit}\n" for bit in bits))
    tags = "".join(f"{i}      sky water tag{i % 5000}\n" for i in range(num_images))
    (root / TAGS).write_text(tags)
    # The numbers of 64 rows, again and again: to write new ones takes longer than to read them.
    values = np.abs(rng.standard_normal((64, 2048)))
    rows = [" ".join(f"{value:.7g}" for value in row[1:]) for row in values]
    with open(path, "w") as file:  # the first number tells the images apart
        file.writelines(f"{name} {i}.5 {rows[i % 64]}\n" for i, name in enumerate(names))
    return path


def parse_lines(path):
    """NumPy parsing each line, and nothing else."""
    with open(path, "rb") as lines:
        for line in lines:
            np.fromstring(line.partition(b" ")[2], dtype=np.float32, sep=" ")


@bench(
    "csv", "NumPy parsing each line", bounds="peak <= 2", unasked=0.05, tensorflow=False,
    images=(55_615, 40),
)  # fmt: skip
def open_nuswide(at):
    """NUS-WIDE-Lite of {images} images opened for the first time (CSV of 1 GB), and again."""
    with temporary_folder() as folder:
        path = write_nuswide(Path(folder) / "nus", at.images)
        cache, megabytes = Path(folder) / "cache", path.stat().st_size / 1e6
        opened = partial(datasets.open_dataset, "nuswide", path.parents[1], cache_dir=cache)
        line = Line(f"CSV of {megabytes:,.0f} MB", at.bounds)
        functions = [opened, partial(parse_lines, path)]
        yield from take_lines(at, functions, line, turns=0)  # no cache is there yet
        again = Line("the same from its cache", "ours <= 2", floor=None)
        yield from take_lines(at, [opened], again, turns=5)
