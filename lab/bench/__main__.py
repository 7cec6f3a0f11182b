"""Measures speed and memory, each beside the floor that this machine can reach.

    python -m lab.bench                       # all that take no minutes, some of them in part
    python -m lab.bench csv metrics_large     # only those that are named, in full size
    python -m lab.bench step --scale 0.1      # in smaller sizes
    python -m lab.bench --list                # what each measures, beside which floor

Each bench has a process of its own, so that peak memory (resident; of our code, before the floor
has run) is its own. Ours and the floor take turns: other work on the machine slows both. Times are
medians over the turns, ratios are medians of the turns' ratios: by the clock ("met" judges these,
in full size), and "by cpu", by processor time, to be trusted where the load is above 1.
"""

import inspect
import json
import os
import subprocess
import sys
import textwrap
import time

from lab.bench.timing import BENCHES
from lab.options import MEASURING, Option, explain, read_command
from lab.scripts import modules_of
from run import console, replicas
from run.files import check_output, write_json

modules_of("lab.bench")  # they fill the table
DRAWN = ("growth",)  # benches that draw a picture
OPTIONS = (
    Option("list", False, "Say what each bench measures, and measure nothing."),
    Option("scale", 1.0, "Factor of all sizes, at most 1; below 1 nothing is judged.", 1e-3),
    *MEASURING,
    Option("picture", None, f"PNG file for the curves of {' or '.join(DRAWN)}."),
    Option("only", None, "Used by the script itself: measure in this process, print JSON."),
)
ROW = "{:54}  {:>17}  {:>17}  {:>6}  {:>6}  {:>7}  {:25}  {:3}  {:>5}".format
HEAD = "what", "ours", "floor", "ratio", "by cpu", "peak GB", "bound", "met", "turns"


def explain_benches():
    """What each bench measures, beside which floor, within which bounds."""
    lines = []
    for name, case in BENCHES.items():
        sizes = {key: f"{value:,}" for key, value in vars(case.at(1)).items() if key in case.sizes}
        said = inspect.cleandoc(case.make.__doc__ or "").partition("\n\n")[0].rstrip(".")
        said += f"; floor: {case.floor}" if case.floor else ""
        bounds = case.bounds.replace(" >= ", ">=").replace(" <= ", "<=")
        said = said.format(**sizes) + (f" [{bounds}]" if bounds else "")
        if case.unasked:
            said += " *" if case.unasked == 1 else f" * (scale {case.unasked:g})"
        lines += textwrap.wrap(said, 98, initial_indent=f"{name:18}", subsequent_indent=18 * " ")
    return "\n".join([*lines, "* runs where no bench is named"])


def measure_here(name, scale, threads, picture=None):
    """The lines of one bench, measured in this process; `picture`: where one goes, or None."""
    case = BENCHES[name]
    if case.tensorflow:
        replicas.set_devices(threads=threads)
    lines = list(case.make(case.at(scale, threads, picture)))
    if scale < 1:  # small sizes are measured, not judged
        lines = [line | {"met": None} for line in lines]
    return lines


def measure_apart(name, scale, threads, picture=None):
    """The lines of one bench, from a process of its own. Raises ValueError if it failed."""
    command = [sys.executable, "-m", "lab.bench", "--only", name, "--scale", str(scale)]
    command += ["--threads", str(threads), *([f"--picture={picture}"] if picture else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    began, shown = time.monotonic(), sys.stderr.isatty()
    while True:
        try:
            told, _ = process.communicate(timeout=2)
            break
        except subprocess.TimeoutExpired:
            if shown:
                print(f"\r{name}: {time.monotonic() - began:.0f} s", end="\r", file=sys.stderr)
    if process.returncode:
        raise ValueError(f"bench {name} failed, see above")
    return json.loads(told.strip().splitlines()[-1])


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
    return ROW(line["what"], *times, *numbers, line["bounds"] or "-", met, line["turns"])


def main(argv):
    """Names -> a process for each -> a table, and JSON."""
    asked_help = {"--help", "-h"} & set(argv[1:])
    if asked_help:
        print(__doc__, explain(OPTIONS[:-1]), "", explain_benches(), sep="\n")
        return
    values, names = read_command(argv, OPTIONS)
    if not values.scale <= 1:
        raise ValueError(f"--scale {values.scale:g}: expected a factor of at most 1")
    check_output(values.output)
    check_output(values.picture)
    if values.picture and not values.picture.lower().endswith(".png"):
        raise ValueError(f"--picture {values.picture} must end in .png")
    if values.picture and not {*names, values.only} & {*DRAWN}:
        raise ValueError(f"--picture is drawn by {' or '.join(DRAWN)} alone: name that bench")
    for name in filter(None, [*names, values.only]):
        if name not in BENCHES:
            raise ValueError(f"unknown bench {name!r}: choose from {', '.join(BENCHES)}")
    if values.list:
        print(explain_benches())
    elif values.only:
        found = measure_here(values.only, values.scale, values.threads, values.picture)
        print(json.dumps(found))
    else:
        measure_all(names, values)


def measure_all(names, values):
    """Prints the table of the named benches, or of those that run unasked."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    machine, threads = f"{sys.platform}, {os.cpu_count()} cores", values.threads
    print(f"{machine}, threads: {threads or 'all'}, load {load}, scale {values.scale:g}")
    if threads:  # what NumPy heeds; the processes started here inherit it
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    found = {"machine": machine, "threads": threads, "load": load, "scale": values.scale}
    print(ROW(*HEAD), flush=True)
    chosen = dict.fromkeys(names, 1.0) or {
        name: case.unasked for name, case in BENCHES.items() if case.unasked
    }
    for name, factor in chosen.items():
        picture = values.picture if name in DRAWN else None
        found[name] = measure_apart(name, values.scale * factor, threads, picture)
        print("\n".join(map(format_line, found[name])), flush=True)
    if values.output:
        write_json(values.output, found)


if __name__ == "__main__":
    console.run_script(lambda: main(sys.argv))
