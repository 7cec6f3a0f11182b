"""Measuring: turns, peak memory, and what a line of the bench's table says. It reads no flags."""

import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np


def take_turns(functions: Sequence[Callable], turns: int) -> np.ndarray:
    """Runs functions in turn: (turns, functions, 2) seconds by the clock and of processors."""
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


def peak_memory(usage=None) -> float | None:
    """Gigabytes that this process, or the one of `usage`, held at most; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    usage = usage or resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def scaled(size: float, scale: float, least: int = 8) -> int:
    """A size times a factor, but at least `least`."""
    return max(least, round(size * scale))


def summarise(
    what: str,
    values: np.ndarray,
    bounds: str = "",
    peak: float | None = None,
    work: tuple[float, float] | None = None,
    unit: str | None = None,
) -> dict:
    """What one line of the table says, as a dict for JSON.

    Args:
      what: the thing measured.
      values: (turns, 2, 2) of ours and the floor from `take_turns`, or (turns, 1, 2) of ours.
      bounds: such as "ratio <= 1.5, peak <= 0.6"; ours in `unit`, peak in gigabytes.
      peak: gigabytes or None.
      work: of ours and of the floor, in GFLOP or whatever: then both are given as rates.
      unit: default: "s", or "GFLOP/s" where there is work.

    Returns:
      The line. `met` is None where nothing that is bounded could be measured.
    """
    if work is not None:
        values = np.array(work)[:, None] / values
    ours, *floor = np.median(values[..., 0], axis=0).tolist()
    ratios = np.median(values[:, 0] / values[:, -1], axis=0).tolist() if floor else (None, None)
    line = {"what": what, "ours": ours, "floor": floor[0] if floor else None}
    line |= {"unit": unit or ("s" if work is None else "GFLOP/s")}
    line |= {"ratio": ratios[0], "by_cpu": ratios[1]}
    line |= {"peak": peak, "turns": len(values), "bounds": bounds}
    tests = [bound.split() for bound in bounds.split(", ") if bound]
    tests = [(line[key], sign, float(at)) for key, sign, at in tests if line[key] is not None]
    kept = [value <= at if sign == "<=" else value >= at for value, sign, at in tests]
    return line | {"met": all(kept) if kept else None}
