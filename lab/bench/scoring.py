"""Benches of grading: ranks of a whole gallery, their intervals, the nearest captions."""

from functools import partial

import numpy as np

import metrics
from gallery import nearest, scan, screening
from grading import intervals, pair_recall
from lab.bench.building import CAPTIONS, make_embeddings
from lab.bench.timing import Line, bench, line_of, take_lines

PRODUCT = "one float64 NumPy product of that size, in blocks"


def bare_product(left, right, dtype="float64", left_rows=2048, right_rows=None):
    """A function that multiplies all rows by all others, block by block, and keeps nothing."""
    left, right = np.asarray(left, dtype), np.asarray(right, dtype)
    right_rows = right_rows or len(right)
    scores = np.empty((left_rows, right_rows), dtype)

    def multiply():
        for start in range(0, len(left), left_rows):
            block = left[start : start + left_rows]
            for first in range(0, len(right), right_rows):
                part = right[first : first + right_rows]
                np.matmul(block, part.T, out=scores[: len(block), : len(part)])

    return multiply


@bench(
    "metrics", PRODUCT, bounds="ratio <= 0.75, peak <= 0.6", unasked=1, tensorflow=False,
    images=5000, dim=1024,
)  # fmt: skip
def rank_gallery(at):
    """Ranks, and all metrics, both ways, {images} images x 5 captions x {dim}."""
    pairs = image, text, _ = make_embeddings(at.images, at.dim)
    size = f"{len(image):,} x {len(text):,}"
    ours = [partial(f, *pairs) for f in (metrics.rank_both, metrics.evaluate)]
    lines = [Line(f"{f.func.__name__}, {size}", at.bounds, i, 2) for i, f in enumerate(ours)]
    yield from take_lines(at, [*ours, bare_product(text, image)], *lines, turns=3)
    found = scan.Pairs(*pairs, "cosine")
    if error := screening.bound(found):
        screen = screening.Screen(found, error, scan.BLOCK_BYTES)
        screen.rank()
        count = np.full((1, 1, 2), screen.rechecked)
        total = f"{len(image) * len(text):,}"
        yield line_of(f"decided in float64, of {total} scores", count, unit="scores")


@bench(
    "metrics_large", f"{PRODUCT}, worked out from a part", bounds="by_cpu <= 0.8, peak <= 1.5",
    tensorflow=False, images=40_504, dim=1024,
)  # fmt: skip
def rank_many(at):
    """All metrics of {images} images x 5 captions x {dim} (minutes)."""
    image, text, owner = make_embeddings(at.images, at.dim)
    part = text[:4096], image[:2048]
    times = len(image) * len(text) / (len(part[0]) * len(part[1]))
    functions = [partial(metrics.evaluate, image, text, owner), bare_product(*part)]
    line = Line(f"evaluate, {len(image):,} x {len(text):,}", at.bounds)
    yield from take_lines(at, functions, line, turns=0, factors=(1, times))


@bench("order", PRODUCT, unasked=1, tensorflow=False, images=1000, dim=1024)
def rank_by_order(at):
    """Ranks both ways by order similarity, {images} images x 5 captions x {dim}."""
    image, text, owner = make_embeddings(at.images, at.dim)
    image, text = np.abs(image), np.abs(text)  # as --absolute has them
    ours = partial(metrics.rank_both, image, text, owner, similarity="order")
    line = Line(f"rank_both, order, {len(image):,} x {len(text):,}")
    yield from take_lines(at, [ours, bare_product(text, image)], line, turns=5)


def made_ranks(images):
    """{direction: `metrics.Retrieval`} of random ranks, as of so many images with five captions."""
    rng, found = np.random.default_rng(0), {}
    for direction, own in zip(scan.DIRECTIONS, (CAPTIONS, 1), strict=True):
        owner = np.repeat(np.arange(images), own)
        gallery_size = images * CAPTIONS // own
        ranks = np.ceil(gallery_size ** rng.random(len(owner))).astype(np.int64)
        more = rng.random((2, len(owner)))  # average precision, nDCG
        found[direction] = metrics.Retrieval(ranks, owner, gallery_size, *more)
    return found


@bench(
    "bootstrap", "drawing the resamples, one product", bounds="ours <= 1", unasked=1,
    tensorflow=False, images=5000, resamples=1000,
)  # fmt: skip
def resample(at):
    """Intervals of all metrics both ways, {images} images x 5 captions, {resamples} resamples."""
    rng, found = np.random.default_rng(0), made_ranks(at.images)
    parts = rng.random((at.images, 18))  # 9 metrics, 2 directions

    def draw():
        for start in range(0, at.resamples, 32):
            draws = rng.integers(0, at.images, (min(32, at.resamples - start), at.images))
            np.matmul(np.stack([np.bincount(row, minlength=at.images) for row in draws]), parts)

    ours = partial(intervals.with_intervals, found, at.resamples)
    what = f"bootstrap, {CAPTIONS * at.images:,} queries, {at.resamples:,} resamples"
    yield from take_lines(at, [ours, draw], Line(what, at.bounds), turns=5)


@bench(
    "ranking_gallery", "the dot products alone, 17 TFLOP", bounds="ratio <= 1.5, peak <= 2",
    tensorflow=False, images=40_504, dim=1024,
)  # fmt: skip
def find_nearest(at):
    """The five captions nearest to each of {images} images, of five times as many (minutes)."""
    image, text, _ = make_embeddings(at.images, at.dim)
    ours = partial(pair_recall.top_captions, image, text)
    blocks = nearest.QUERIES_AT_ONCE, pair_recall.BLOCK_ROWS
    line = Line(f"top 5 of {len(text):,} captions, {len(image):,} images", at.bounds)
    yield from take_lines(at, [ours, bare_product(image, text, "float32", *blocks)], line, turns=0)
