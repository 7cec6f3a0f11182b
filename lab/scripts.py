"""Scripts of this toolkit as processes of their own, and the files of a folder of lab."""

import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def modules_of(package):
    """All modules of a folder such as "lab.bench", imported; but for its `__main__`."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [importlib.import_module(f"{package}.{one.name}") for one in found if one.name[0] != "_"]


def run_apart(name, *arguments, shown=None, said=""):
    """Runs a script, or Python code after "-c", in a fresh process.

    Args:
      name: such as train.py, or "-c"; arguments: its own; shown: where its standard output goes.
      said: what its error begins with; default: the name.

    Returns:
      What `os.wait4` tells of its resources, None where the system cannot tell.

    Raises:
      ValueError: it failed, with its own line.
    """
    command = [sys.executable, name if name.startswith("-") else str(ROOT / name), *arguments]
    usage, environment = None, os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            command, stdout=shown or subprocess.DEVNULL, stderr=told, env=environment
        )
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.wait():
            told.seek(0)
            lines = told.read().strip().splitlines() or ["it wrote no message"]
            # A second phase says after its first one that this has failed, not why.
            line = next((line for line in lines if ": error: " in line), lines[-1])
            raise ValueError(f"{said or name} failed: {line}")
    return usage
