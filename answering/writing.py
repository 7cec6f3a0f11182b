"""Captions written for pictures by a run, as `test.py` left it.

    writer = PictureWriter(run)
    captions = writer.write(picture, width=5)         # the best first
    looks = writer.looks(picture, captions[0])        # where each of its words looked

Shape letters: R boxes of a picture.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from answering import search
from answering.pictures import PictureEncoder
from gallery.stored import Gallery
from run import onnx_graphs
from run.console import printable
from run.folder import Run
from systems.joint.beam import Speaker, WrittenCaption, attention, rerank, write_beam

MANY = 100  # width of a beam whose captions are ranked anew


class Look(NamedTuple):
    """Where a word of a caption looks.

    Attributes:
      word: itself; shares: (R,) of its attention to each box.
      frames: (R, 4) of the boxes: left, top, right and bottom, as parts of the picture's sides.
    """

    word: str
    shares: np.ndarray
    frames: np.ndarray


class PictureWriter:
    """Captions of pictures by a run.

    Raises:
      ValueError: the run writes no captions or cannot describe pictures, or was trained on since;
        or a file is missing.
    """

    def __init__(self, run: Run):
        self.speaker = open_speaker(run)
        Gallery(run)  # refuses towers of other weights than the run has now
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

    def looks(self, picture: Image.Image, caption: WrittenCaption) -> list[Look]:
        """Where the words of a caption look, in order."""
        boxes = self.encoder.inputs([picture])[0]
        shares = attention(self.speaker, boxes, caption.ids, self.queries.vocabulary)
        frames = self.encoder.descriptor.frames(picture)
        words = caption.text.split()
        return [Look(word, own, frames) for word, own in zip(words, shares, strict=True)]


def open_speaker(run: Run) -> Speaker:
    """A run's writer, as `test.py` exported it.

    Raises:
      ValueError: the run writes no captions, or a file is missing or damaged.
    """
    why = f"of a run that writes captions (--model joint), {onnx_graphs.WRITTEN_BY}"
    paths = [run.require(path, why) for path in (run.first_step, run.next_step)]
    return Speaker(*(onnx_graphs.Graph(path).run for path in paths))


def draw_captions(
    name: str, note: str, picture: Image.Image, captions: Sequence[WrittenCaption], path: Path
) -> None:
    """The page of a picture's captions."""
    from answering import drawing

    cards = [drawing.Card(caption.score, caption.text) for caption in captions]
    drawing.caption_list(printable(name), printable(note), picture, cards, path)


def draw_looks(
    caption: str, note: str, picture: Image.Image, looks: Sequence[Look], path: Path
) -> None:
    """The page of where each word of a caption looked: the picture once a word, lit there."""
    from answering import drawing
    from figures import heat

    cards = [
        drawing.Card(
            look.shares.max(), look.word, heat.spotlight(picture, look.frames, look.shares)
        )
        for look in looks
    ]
    note = f"{note} · light: where each word looked"
    drawing.picture_grid(caption, printable(note), cards, path)
