"""Pictures to rows of the joint space, without TensorFlow: for `retrieve.py --image` and --explain.

    rows = PictureEncoder(run)([picture])

Shape letters: B pictures of a batch, D embedding, F feature, R boxes, H and W pixels.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from data.vision import descriptors
from run import onnx_graphs
from run.folder import Run
from systems import config

AT_ONCE = 16  # pictures in a tower at the same time: bounds the memory


class PictureEncoder:
    """A run's image tower and what makes its input of a picture, as `test.py` left them.

    Args:
      run: whose; threads: as of `onnx_graphs.Graph`.

    Raises:
      ValueError: the run cannot describe new pictures, or a file that it needs is missing or
        damaged.
    """

    def __init__(self, run: Run, threads: int = onnx_graphs.THREADS):
        self.settings, _ = config.load(run)
        lost = "the record of how its pictures are described was lost; train anew"
        self.descriptor = descriptors.load_descriptor(run.require(run.features, lost))
        if self.descriptor.kind == "ready":
            raise ValueError(f"{run} cannot describe new pictures: its data came as ready vectors")
        self.descriptor.open(self.settings, threads)
        path = run.require(run.image_tower, onnx_graphs.WRITTEN_BY)
        self.tower = onnx_graphs.Tower(path, threads)

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures of one size -> (B, D) unit rows.

        Raises:
          ValueError: a tower does not take them.
        """
        batches = (pictures[i : i + AT_ONCE] for i in range(0, len(pictures), AT_ONCE))
        return np.concatenate([self.tower(self.inputs(batch)) for batch in batches])

    def of_any_size(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures of any sizes -> (B, D) unit rows; those of one size go together.

        Raises:
          ValueError: a tower does not take them.
        """
        if self.descriptor.kind != "pixels":  # all others bring pictures to one size themselves
            return self(pictures)
        sizes = [picture.size for picture in pictures]
        rows: dict[int, np.ndarray] = {}
        for size in sorted(set(sizes)):
            same = [place for place, own in enumerate(sizes) if own == size]
            rows.update(zip(same, self([pictures[place] for place in same]), strict=True))
        return np.stack([rows[place] for place in range(len(pictures))])

    def inputs(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """What the image tower reads: (B, F) or (B, R, F) float32, or (B, H, W, 3) pixels."""
        rows = self.descriptor.describe(pictures)
        read = self.tower.session.get_inputs()[0].type
        return rows.astype(np.uint8 if read == "tensor(uint8)" else np.float32)
