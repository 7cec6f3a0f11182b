"""Benches of what surrounds training: from the command line to the first step, and an epoch's end.

python -m lab.bench start
"""

import functools
import importlib
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from lab.bench.timing import Line, bench, line_of, peak_memory, take_lines, temporary_folder
from lab.scripts import ROOT, run_apart

STAGES = {  # what a line says -> function, with its module; a method with its class
    "drawing the scenes": "data.datasets.open_run_data",
    "fingerprints of the data": "data.record.describe",
    "learning the regions": "data.vision.descriptors.learn_descriptor",
    "describing the pictures": "data.vision.rows.Descriptor.rows",
    "building the model": "training.fitting.build",
    "training after the first step": "training.fitting.fit",
    "validation": "training.records.Validation.on_epoch_end",
    "saving": "training.records.RunRecords.on_epoch_end",
    "drawing the charts": "figures.charts.learning_curves",
}
FIRST_STEP = "first step, tracing included"


class Stopwatch:
    """Seconds of stages, each without those of the stages in it.

    Attributes:
      seconds: {stage: seconds}.
    """

    def __init__(self):
        self.seconds, self.inside = dict.fromkeys(STAGES, 0.0), []

    def timed(self, stage, function):
        """The function, which adds its time to a stage."""

        @functools.wraps(function)
        def run(*args, **kwargs):
            began = time.perf_counter()
            self.inside.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - began
                self.seconds[stage] += spent - self.inside.pop()
                if self.inside:
                    self.inside[-1] += spent

        return run

    def watch_first_step(self, pace):
        """Takes the first step, which traces the graph, out of the training; `pace`: its class."""
        begin, end = pace.on_train_begin, pace.on_train_batch_end

        def on_train_begin(one, logs=None):
            begin(one, logs)
            one.fit_began = time.perf_counter()

        def on_train_batch_end(one, batch, logs=None):
            if not one.compiled:
                self.seconds[FIRST_STEP] = time.perf_counter() - one.fit_began
                self.seconds["training after the first step"] -= self.seconds[FIRST_STEP]
            end(one, batch, logs)

        pace.on_train_begin, pace.on_train_batch_end = on_train_begin, on_train_batch_end

    def watch(self, module_name):
        """Times the stages of a module that has been imported."""
        for stage, path in STAGES.items():
            names = path.removeprefix(f"{module_name}.").split(".")
            if path.startswith(f"{module_name}.") and len(names) < 3:
                place = sys.modules[module_name]
                for name in names[:-1]:
                    place = getattr(place, name)
                setattr(place, names[-1], self.timed(stage, getattr(place, names[-1])))


def tell_stages(began, *flags):
    """Runs train.py with flags in this process; prints [seconds by stage, peak gigabytes].

    Args:
      began: `time.time()` before the process was started.
    """
    clock = Stopwatch()
    sys.argv = ["train.py", *flags]
    train = importlib.import_module("train")
    for name in ("data.datasets", "data.record", "data.vision.descriptors", "data.vision.rows"):
        importlib.import_module(name)
        clock.watch(name)
    imported = time.time() - began
    set_devices = train.replicas.set_devices

    def with_tensorflow(*given):
        """Imports TensorFlow, and what needs it: timed by itself."""
        start = time.perf_counter()
        set_devices(*given)
        importlib.import_module("training.fitting")
        clock.seconds["import tensorflow, keras, our modules"] = time.perf_counter() - start
        for name in ("training.fitting", "training.records", "figures.charts"):
            clock.watch(name)
        clock.watch_first_step(sys.modules["training.records"].Pace)

    train.replicas.set_devices = with_tensorflow
    from settings import options
    from systems import config

    try:
        options.start_script(train.main, "", config.training_sections(), sys.argv)
    except SystemExit as end:
        if end.code:
            raise
    whole = time.time() - began
    rest = whole - imported - sum(clock.seconds.values())
    found = {"until the flags are read": imported, **clock.seconds, "what is left": rest}
    print(json.dumps([{"all included": whole, **found}, peak_memory()]))


def stages_of(folder, *flags):
    """({stage: seconds}, peak GB) of a training in a fresh process that finds nothing cached."""
    given = [*flags, f"--exp_root={folder}/exp", f"--cache_dir={folder}/cache"]
    code = f"import time; from lab.bench import start; start.tell_stages({time.time()}, *{given})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(f"train.py failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


@bench(
    "start", 'python -c "import tensorflow"', bounds="ours <= 25", tensorflow=False,
    epochs=(20, 1),
)  # fmt: skip
def start_training(at):
    """train.py --loss modified from the shell, nothing cached, stage by stage (minutes)."""
    flags = ["--loss=modified"]
    if at.scale < 1:
        flags += ["--limit=60", f"--epochs={at.epochs}"]
    floor = partial(run_apart, "-c", "import tensorflow")
    with temporary_folder() as folder:
        floors, found, peaks = [], [], []
        for turn in range(3 if at.scale == 1 else 1):
            seconds, peak = stages_of(str(Path(folder) / str(turn)), *flags)
            found.append(seconds)
            peaks.append(peak)
            began = time.perf_counter()
            floor()
            floors.append(time.perf_counter() - began)
        for stage in found[0]:
            turns = [[own[stage], beside] for own, beside in zip(found, floors, strict=True)]
            values = np.repeat(np.array(turns)[:, :, None], 2, axis=2)  # the clock alone
            whole = stage == "all included"
            bounds = at.bounds if whole else ""
            peak = max(filter(None, peaks), default=None) if whole else None
            yield line_of(f"train.py: {stage}", values, bounds, peak) | {"by_cpu": None}
    for script, wanted in (("train.py", "--helpshort"), ("test.py", "--help")):
        functions = partial(run_apart, script, wanted), floor
        yield from take_lines(at, functions, Line(f"{script} {wanted}"), turns=3)
