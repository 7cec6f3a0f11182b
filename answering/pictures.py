"""Pictures to rows of the joint space, without TensorFlow: for `retrieve.py --image` and --explain.

    rows = PictureEncoder(run)([picture])

Shape letters: B pictures of a batch, D embedding, F feature, R boxes, H and W pixels, K crops, C
activations of a network.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from PIL import Image

from data.vision import decoding, descriptors
from data.vision.boxes import BoxDescriptor
from data.vision.network import NetworkDescriptor, cut_crops
from data.vision.pixels import LONGEST, view_side
from data.vision.regions import RegionDescriptor
from run import graphs
from run.folder import Run

AT_ONCE = 16  # pictures, or crops of them, in a tower at the same time: bounds the memory


class PictureEncoder:
    """A run's image tower and what makes its input of a picture, as `test.py` left them.

    Raises:
      ValueError: the run reads no pictures, or a network that it needs is missing or damaged.
    """

    def __init__(self, run: Run):
        self.settings = SimpleNamespace(**run.read_config())
        self.descriptor = None
        if self.settings.features != "pixels":
            self.descriptor = descriptors.load(run.features)
            if self.descriptor is None:
                raise ValueError(
                    f"{run} cannot describe new pictures: its data came as ready vectors"
                )
        self.tower = graphs.Tower(run.require(run.image_tower, graphs.WRITTEN_BY))
        self.network, self.step = None, AT_ONCE
        if isinstance(self.descriptor, NetworkDescriptor):
            path = descriptors.network_path(self.descriptor, self.settings.cache_dir)
            if not path.is_file():
                raise ValueError(f"{path} is missing: {graphs.WRITTEN_BY}")
            self.network = graphs.Tower(path)
            self.step = max(1, AT_ONCE // self.descriptor.network.crops)

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures of one size -> (B, D) unit rows.

        Raises:
          ValueError: a tower does not take them.
        """
        batches = (pictures[i : i + self.step] for i in range(0, len(pictures), self.step))
        return np.concatenate([self.tower(self.inputs(batch)) for batch in batches])

    def inputs(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """What the image tower reads: (B, F) or (B, R, F) float32, or (B, H, W, 3) pixels."""
        if isinstance(self.descriptor, RegionDescriptor | BoxDescriptor):
            pixels = np.stack([descriptors.to_array(picture) for picture in pictures])
            return self.descriptor.describe(pixels).astype(np.float32)
        if isinstance(self.descriptor, NetworkDescriptor) and self.network is not None:
            crops = [cut_crops(picture, self.descriptor.network) for picture in pictures]
            activations = self.network(np.concatenate(crops).astype(np.float32))  # (B * K, C)
            means = activations.reshape(len(pictures), -1, activations.shape[1]).mean(axis=1)
            return self.descriptor.describe(means).astype(np.float32)
        side = view_side(self.settings)
        pixels = np.stack([whole_picture(picture, side) for picture in pictures])
        kind = self.tower.session.get_inputs()[0].type
        return pixels if kind == "tensor(uint8)" else pixels.astype(np.float32)


def whole_picture(picture: Image.Image, side: int) -> np.ndarray:
    """What `pictures.Pictures.views` makes of an RGB picture, without TensorFlow.

    Args:
      picture: of any size; side: of the view's short side, in pixels.

    Returns:
      (H, W, 3) uint8, not cropped.
    """
    height, width = np.array([picture.height]), np.array([picture.width])
    scale = int(decoding.choose_scales(height, width, side)[0])
    pixels = np.asarray(picture.reduce(scale) if scale > 1 else picture).astype(np.float32)
    shape = np.rint(np.array(pixels.shape[:2]) * (side / min(pixels.shape[:2])))
    shape = np.clip(shape, 1, LONGEST * side).astype(int).tolist()
    for axis in (1, 0):  # as TensorFlow does, so that rounding agrees
        size, length = pixels.shape[axis], shape[axis]
        place = (np.arange(length, dtype=np.float32) + 0.5) * np.float32(size / length) - 0.5
        before = np.floor(place)
        low, high = (np.clip(before + step, 0, size - 1).astype(int) for step in (0, 1))
        share = np.expand_dims(place - before, (0, 2) if axis else (1, 2))
        first = np.take(pixels, low, axis)
        pixels = first + (np.take(pixels, high, axis) - first) * share
    return (pixels + 0.5).astype(np.uint8)
