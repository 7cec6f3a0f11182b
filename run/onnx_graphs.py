"""Parts of a model as `test.py` exported them to ONNX, run without TensorFlow.

    rows = Tower(run.require(run.query_tower, WRITTEN_BY))(tokens)

Shape letters: B rows of a batch, T tokens, F feature, D embedding.
"""

from pathlib import Path

import numpy as np

THREADS = 2  # of ONNX Runtime: one query is small, more threads only cost their start
WRITTEN_BY = "python test.py writes it"


class Graph:
    """A part of the model, as `test.py` exported it to ONNX.

    Args:
      path: an ONNX file.
      threads: that share one batch; 1 where several threads bring batches of their own.

    Raises:
      ValueError: the file is no whole ONNX model.
    """

    def __init__(self, path: Path, threads: int = THREADS):
        import onnxruntime  # not needed for --help or for an image of the gallery

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
        self.path = path
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise ValueError(f"{path} is not a whole ONNX model ({_reason(error)})") from error

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Its outputs for its inputs, both in their order.

        Raises:
          ValueError: the inputs do not fit, or an output holds NaN.
        """
        names = [one.name for one in self.session.get_inputs()]
        try:
            found = self.session.run(None, dict(zip(names, inputs, strict=True)))
        except Exception as error:
            raise ValueError(
                f"{self.path} cannot take a batch of shape {inputs[0].shape} "
                f"({_reason(error)}): was the run trained on other data? {WRITTEN_BY}"
            ) from error
        found = [np.asarray(one) for one in found]
        if not all(np.isfinite(one).all() for one in found):
            raise ValueError(f"{self.path} answers NaN or infinity: did the training diverge?")
        return found


class Tower(Graph):
    """One side of the model: a batch, (B, T) int32 or (B, F) float32, -> (B, D) unit rows."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.run(batch)[0]


def _reason(error: Exception) -> str:
    """The first line of what ONNX Runtime says, which may be a page."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
