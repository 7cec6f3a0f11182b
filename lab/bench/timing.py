"""Measuring: the record of a bench, turns, peak memory, and what a line of the table says.

    @bench("order", "one product", bounds="ratio <= 40", images=1000)
    def rank_by_order(at):
        \"""Ranks of {images} images.\"""
        yield from take_lines(at, [ours, floor], Line("ranks", at.bounds), turns=3)

Shape letters: F functions, T turns.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

temporary_folder = partial(tempfile.TemporaryDirectory, ignore_cleanup_errors=True)


class Bench(NamedTuple):
    """One bench: a function of what `at` gives, which makes lines of the table; see `bench`."""

    make: Callable
    floor: str
    bounds: str
    unasked: float
    tensorflow: bool
    sizes: dict[str, Any]

    def at(self, scale: float, threads=0, picture: str | None = None) -> SimpleNamespace:
        """Its sizes times `scale`, at least 8 or their own least; what is given; `bounds`."""
        pairs = {n: of if isinstance(of, tuple) else (of, 8) for n, of in self.sizes.items()}
        sizes = {name: max(least, round(size * scale)) for name, (size, least) in pairs.items()}
        given: dict[str, Any] = {"scale": scale, "threads": threads, "picture": picture}
        return SimpleNamespace(**given, bounds=self.bounds, **sizes)


BENCHES: dict[str, Bench] = {}


def bench(name, floor="", *, bounds="", unasked=0.0, tensorflow=True, **sizes):
    """Puts a function into the table; its docstring's first part says what is measured.

    Args:
      name: by which it is asked for; floor: what it is measured beside; {sizes} stand for numbers.
      bounds: of its first line, such as "ratio <= 1.5, peak <= 0.6"; see `line_of`.
      unasked: the scale at which it runs where no bench is named; 0: it does not.
      tensorflow: whether it wants TensorFlow with all threads.
      sizes: in full; a pair is a size and its least.
    """

    def register(make):
        BENCHES[name] = Bench(make, floor, bounds, unasked, tensorflow, sizes)
        return make

    return register


class Line(NamedTuple):
    """What a line compares: functions at the places `ours` and `floor` (None: no floor)."""

    what: str
    bounds: str = ""
    ours: int = 0
    floor: int | None = 1
    work: tuple[float, float] | None = None
    unit: str | None = None


def take_turns(functions: Sequence[Callable], turns: int) -> np.ndarray:
    """Runs functions in turn: (T, F, 2) seconds by the clock and of processors."""
    seconds = np.empty((turns, len(functions), 2))

    def now():
        children = os.times()[2:4]
        return np.array([time.perf_counter(), time.process_time() + sum(children)])

    for turn in range(turns):
        for place in range(len(functions)):
            index, before = (turn + place) % len(functions), now()
            functions[index]()
            seconds[turn, index] = now() - before
    return seconds


def take_lines(at, functions: Sequence[Callable], *lines: Line, turns: int, factors=()):
    """Lines about functions that take turns.

    Each runs once before, in order: what is compiled or cached is so by then, and the peak of
    memory is read behind each. The first line about a function has its peak.

    Args:
      at: of `Bench.at`; functions: F of them, ours before the floors.
      turns: T, one in less than full size; 0: the first run is what counts.
      factors: of the seconds of each function, where it does a part of the work.
    """
    first, peaks, found = [], [], []
    for function in functions:
        first.append(take_turns([function], 1))
        peaks.append(peak_memory())
    turns = turns if at.scale == 1 else min(turns, 1)
    seconds = take_turns(functions, turns) if turns else np.concatenate(first, axis=1)
    seconds *= np.array(factors or [1.0] * len(functions))[:, None]
    for what, bounds, ours, floor, work, unit in lines:
        places, peak = [ours] if floor is None else [ours, floor], peaks[ours]
        found.append(line_of(what, seconds[:, places], bounds, peak, work, unit))
        peaks[ours] = None
    return found


def peak_memory(usage=None) -> float | None:
    """Gigabytes that this process, or the one of `usage`, held at most; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    usage = usage or resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def line_of(what, values: np.ndarray, bounds="", peak=None, work=None, unit=None) -> dict:
    """What one line of the table says, as a dict for JSON.

    Args:
      what: the thing measured; values: (T, 2, 2) of ours and the floor, or (T, 1, 2) of ours.
      bounds: such as "ratio <= 1.5, peak <= 0.6"; ours in `unit`, peak in gigabytes or None.
      work: of ours and of the floor, in GFLOP or whatever: then both are rates; unit: "s" or, of
        work, "GFLOP/s".

    Returns:
      The line. `met` is None where nothing that is bounded could be measured.
    """
    if work is not None:
        values = np.array(work)[: values.shape[1], None] / values
    ours, *floor = np.median(values[..., 0], axis=0).tolist()
    ratios = np.median(values[:, 0] / values[:, -1], axis=0).tolist() if floor else (None, None)
    line = {"what": what, "ours": ours, "floor": floor[0] if floor else None}
    line |= {"unit": unit or ("s" if work is None else "GFLOP/s"), "ratio": ratios[0]}
    line |= {"by_cpu": ratios[1], "peak": peak, "turns": len(values), "bounds": bounds}
    tests = [bound.split() for bound in bounds.split(", ") if bound]
    tests = [(line[key], sign, float(at)) for key, sign, at in tests if line[key] is not None]
    kept = [value <= at if sign == "<=" else value >= at for value, sign, at in tests]
    return line | {"met": all(kept) if kept else None}
