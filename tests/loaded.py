"""What scripts would load first: imported once, in the process that `starter` forks them from."""

import gc
import importlib

from run import replicas

replicas.import_tensorflow()
for name in (
    "models", "training.batches", "training.fitting", "training.phases", "training.reading",
    "training.records", "grading.encoding", "grading.export", "grading.score", "answering.examples",
    "data.formats.scenes", "data.vision.regions", "data.vision.network", "PIL.Image",
    "sklearn.cluster", "sklearn.feature_extraction.text", "tf2onnx.convert", "keras_hub",
):  # fmt: skip
    importlib.import_module(name)

gc.freeze()  # children share what is loaded: nothing of it is looked through, and so copied
