"""What the tests share: where real data may lie, and a quiet TensorFlow."""

import os
from pathlib import Path

from run import keras_settings

keras_settings.settle()  # a developer's own keras.json must not decide what the tests find
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # k-means waits busily for cores that others use

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
