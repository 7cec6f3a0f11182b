"""Starts scripts from a process that has loaded TensorFlow: four seconds of work saved each time.

    starter.run("train.py", "--epochs=1", cwd=folder)     # as subprocess.run of the script

A child of that process becomes the script, with arguments, folder and exit code of its own; nothing
of TensorFlow but its import has been done by then. The first phase of a training is such a child,
too. `anew` is a fresh process: each script is tried so somewhere, and so is what is done only where
TensorFlow is not there yet (`activations.in_own_process`). Elsewhere than on Linux, where
TensorFlow's threads are not asked, all are fresh.
"""

import multiprocessing
import os
import pickle
import runpy
import signal
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FORKS = sys.platform == "linux"
PROCESSES: Any = multiprocessing.get_context("forkserver" if FORKS else "spawn")


def anew(name, *arguments, cwd, timeout=250, **options: Any):
    """Runs a script of the tree in a fresh process; what it told as text."""
    named = [str(ROOT / name)] if str(name).endswith(".py") else ["-m", name]
    command = [sys.executable, *named, *map(str, arguments)]
    options.setdefault("env", os.environ | {"PYTHONPATH": str(ROOT)})
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False, **options
    )


def run(name, *arguments, cwd, timeout=250):
    """The same in a child of the process that is loaded already."""
    return Started(name, *arguments, cwd=cwd).finish(timeout)


class Started:
    """A script that runs beside; `environment` is added to that of the tests.

    Args:
      fresh: in a process without TensorFlow.

    Attributes:
      process: its `multiprocessing.Process`.
    """

    def __init__(self, name, *arguments, cwd, fresh=False, **environment):
        self.folder = tempfile.TemporaryDirectory()
        self.told = [os.path.join(self.folder.name, stream) for stream in ("stdout", "stderr")]
        for path in self.told:  # it may be killed before it has any
            Path(path).touch()
        self.argv = [str(ROOT / name), *map(str, arguments)]
        if FORKS and not fresh:
            load()
        loaded = FORKS and not fresh
        given = (self.argv, str(cwd), self.told, dict(os.environ) | environment, loaded)
        processes = multiprocessing.get_context("spawn") if fresh else PROCESSES
        self.process: Any = processes.Process(target=become, args=given)
        self.process.start()

    def finish(self, timeout=250):
        """As `subprocess.run`."""
        self.process.join(timeout)
        late = self.process.exitcode is None
        self.process.kill()
        self.process.join()
        texts = [Path(path).read_text(encoding="utf-8", errors="replace") for path in self.told]
        self.folder.cleanup()
        if late:
            raise subprocess.TimeoutExpired(self.argv, timeout, *texts)
        return subprocess.CompletedProcess(self.argv, self.process.exitcode, *texts)


def load():
    """Starts the process that loads TensorFlow, if there is none yet."""
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    PROCESSES.set_forkserver_preload(["loaded"])
    forkserver.ensure_running()
    del os.environ["PYTHONPATH"]
    if path is not None:
        os.environ["PYTHONPATH"] = path


def become(argv, cwd, told, environment, loaded=False):
    """Goes on as a script, in a child."""
    for number, path in enumerate(told, 1):
        place = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(place, number)
        os.close(place)
    # A shell gives what it starts in the background an ignored Ctrl-C, which would be inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    sys.path.insert(0, str(ROOT))
    first = FirstPhase() if loaded and argv[0].endswith("train.py") else None
    try:
        execute(argv, environment)
    finally:
        if first:
            first.dismiss()


def execute(argv, environment):
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


class FirstPhase:
    """Stands in for `subprocess.Popen` of `training.phases`: a child that is forked before.

    Waits for its arguments and becomes that script, as fresh as its parent was.
    """

    def __init__(self):
        from training import phases

        heard, asks = os.pipe()
        processes = multiprocessing.get_context("fork")
        self.process = processes.Process(target=become_asked, args=(heard, asks))
        self.process.start()
        self.asking: int | None = asks
        os.close(heard)
        phases.subprocess = SimpleNamespace(Popen=self.begin)

    def begin(self, command, start_new_session=False, preexec_fn=None):
        if self.asking is None:
            raise ValueError("a training has one first phase")
        asked = command[1:], dict(os.environ), start_new_session, preexec_fn
        os.write(self.asking, pickle.dumps(asked))
        self.dismiss()
        return self

    def dismiss(self):
        """Nothing more is asked."""
        if self.asking is not None:
            os.close(self.asking)
        self.asking = None

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def kill(self):
        self.process.kill()


def become_asked(heard, asks):
    """Goes on as the script that is asked for, if any."""
    os.close(asks)
    with os.fdopen(heard, "rb") as pipe:
        asked = pipe.read()
    if asked:
        argv, environment, alone, before = pickle.loads(asked)
        if alone:
            os.setsid()
        if before:
            before()
        execute(argv, environment)
