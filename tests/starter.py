"""Starts scripts from a process that has loaded TensorFlow: four seconds of work saved each time.

    starter.run("train.py", "--epochs=1", cwd=folder)     # as subprocess.run of the script

A child of that process becomes the script, with arguments, folder and exit code of its own; nothing
of TensorFlow but its import has been done by then. `anew` is a fresh process: each script is tried
so somewhere, and so is what is done only where TensorFlow is not there yet
(`activations.in_own_process`); or where a process cannot be forked.
"""

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CAN_FORK = sys.platform == "linux"  # TensorFlow's threads elsewhere are not asked

process: subprocess.Popen | None = None


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
    if not CAN_FORK:
        return anew(name, *arguments, cwd=cwd, timeout=timeout)
    with tempfile.TemporaryDirectory() as folder:
        told = [os.path.join(folder, stream) for stream in ("stdout", "stderr")]
        argv = [str(ROOT / name), *map(str, arguments)]
        asked = {"argv": argv, "cwd": str(cwd), "told": told, "environ": dict(os.environ)}
        code = ask(asked | {"timeout": timeout})
        texts = [Path(path).read_text(encoding="utf-8", errors="replace") for path in told]
    if code is None:
        raise subprocess.TimeoutExpired(argv, timeout, *texts)
    return subprocess.CompletedProcess(argv, code, *texts)


def ask(request):
    """The exit code of what a request starts, or None: it took too long."""
    global process
    if process is None:
        process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())
    except BaseException:  # stopped while it waited: an answer would be taken for the next one's
        process.kill()
        process.wait()
        process = None
        raise


def stop():
    if process is not None and process.stdin is not None:
        process.stdin.close()
        process.wait(20)


atexit.register(stop)


def serve():
    """Answers requests until there are no more; returns only in a child, its request."""
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            return request
        answer(wait(child, request["timeout"]))
    return None


def answer(code):
    print(json.dumps(code), flush=True)


def wait(child, seconds):
    """The exit code of a child; None if it had to be killed for want of time."""
    import signal
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def become(request):
    """Goes on as the script of a request."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    for number, path in enumerate(request["told"], 1):
        place = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(place, number)
        os.close(place)
    os.chdir(request["cwd"])
    os.environ.update(request["environ"])
    sys.argv, sys.path[0] = request["argv"], str(ROOT)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from run import replicas

    replicas.import_tensorflow()
    import models  # noqa: F401
    from training import (
        batches,  # noqa: F401
        records,  # noqa: F401
    )

    sys.path.pop(0)
    gc.freeze()  # children share what is loaded: nothing of it is looked through, and so copied
    asked = serve()
    if asked:
        become(asked)
