"""Captions written for pictures by a run, as `test.py` left it."""

from typing import Any

import numpy as np
from PIL import Image

from answering import search
from answering.pictures import PictureEncoder
from data.vision import descriptors
from data.vision.boxes import BoxDescriptor, grid_frames
from data.vision.network import THINNEST
from run import graphs
from run.folder import Run
from systems.joint.beam import Speaker, WrittenCaption, attention, rerank, write_beam

MANY = 100  # width of a beam whose captions are ranked anew


class PictureWriter:
    """Captions of pictures by a run, as `test.py` left it.

    Raises:
      ValueError: the run writes no captions or cannot describe pictures, or a file is missing.
    """

    def __init__(self, run: Run):
        self.speaker = open_speaker(run)
        self.encoder, self.queries = PictureEncoder(run), search.QueryEncoder(run)

    def write(
        self, picture: Image.Image, width: int, nearest: bool = False, normalise: bool = False
    ) -> list[WrittenCaption]:
        """At most `width` captions of a picture, the best first.

        Args:
          picture: RGB; width: of the beam.
          nearest: those of a beam of `MANY` whose cosine to the picture is highest.
          normalise: see `beam_search`.
        """
        boxes, vocabulary = self.encoder.inputs([picture]), self.queries.vocabulary
        beam, most = MANY if nearest else width, self.encoder.settings.max_length
        found = write_beam(self.speaker, boxes, vocabulary, beam, most, normalise)
        if nearest:
            found = rerank(found, self.encoder.tower(boxes), self.queries.encode, width)
        return found[0]

    def looks(self, picture: Image.Image, caption: WrittenCaption) -> tuple[np.ndarray, np.ndarray]:
        """Where a caption looks: shares (T, R) of the boxes for each word, and their frames (R, 4).

        Frames are left, top, right and bottom, as parts of the picture's sides.
        """
        boxes = self.encoder.inputs([picture])[0]
        shares = attention(self.speaker, boxes, caption.ids, self.queries.vocabulary)
        return shares, frames_of(self.encoder.descriptor, picture)


def frames_of(descriptor: Any, picture: Image.Image) -> np.ndarray:
    """(R, 4) frames of a picture's boxes: left, top, right, bottom, as parts of its sides."""
    if isinstance(descriptor, BoxDescriptor):
        return descriptor.frames(descriptors.to_array(picture)[None])[0]
    network = descriptor.network
    # Of the middle, which the network is shown: see `full_network.cut_crops`.
    long, size = max(picture.size) / min(picture.size), network.size * 256 / 224
    sides = np.array([size, size])
    if network.resize == "short_side":
        sides = size * np.array(picture.size) / min(picture.size)
        sides = np.minimum(sides, THINNEST * size) if long > THINNEST else sides
    start, share = (1 - network.size / sides) / 2, network.size / sides
    return grid_frames(network.grid) * np.tile(share, 2) + np.tile(start, 2)


def open_speaker(run: Run) -> Speaker:
    """A run's writer, as `test.py` exported it.

    Raises:
      ValueError: the run writes no captions, or a file is missing or damaged.
    """
    why = f"of a run that writes captions (--model joint), {graphs.WRITTEN_BY}"
    paths = [run.require(path, why) for path in (run.first_step, run.next_step)]
    return Speaker(*(graphs.Graph(path).run for path in paths))
