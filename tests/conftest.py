"""What the tests share: where real data may lie, and a quiet TensorFlow."""

import gc
import os
from pathlib import Path

import pytest

from run import keras_settings, manifest

keras_settings.settle()  # a developer's own keras.json must not decide what the tests find
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # k-means waits busily for cores that others use

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_finish():
    """What is imported by now stays: it is not looked through while graphs are traced."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def hand_made_runs():
    """Run folders that tests put together by hand have no manifest; in this process they need none.

    Files that stand in one are compared with it.
    """
    check = manifest.check

    def check_known(folder, path):
        known = manifest.hashes_of(folder) if (folder / manifest.NAME).exists() else ()
        if path.relative_to(folder).as_posix() in known:
            check(folder, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "check", check_known)
        yield
