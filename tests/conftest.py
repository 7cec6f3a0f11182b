"""What the tests share: where real data may lie, and a quiet TensorFlow."""

import os
from pathlib import Path

import pytest

from run import manifest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # k-means waits busily for cores that others use

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def hand_made_runs(monkeypatch, request):
    """Run folders that tests put together by hand have no manifest; they need none.

    Where there is one, files are compared with it. The mark `strict` takes the exception back.
    """
    if "strict" in request.keywords:
        return
    check = manifest.check
    monkeypatch.setattr(
        manifest,
        "check",
        lambda folder, path: check(folder, path) if (folder / manifest.NAME).exists() else None,
    )
