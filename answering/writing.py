"""Captions written for pictures by a run, as `test.py` left it."""

import numpy as np
from PIL import Image

from answering import search
from answering.pictures import PictureEncoder
from run import graphs
from run.folder import Run
from systems.joint.beam import Caption, Speaker, attention, rerank, write

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
    ) -> list[Caption]:
        """At most `width` captions of a picture, the best first.

        Args:
          picture: RGB; width: of the beam.
          nearest: those of a beam of `MANY` whose cosine to the picture is highest.
          normalise: see `beam_search`.
        """
        boxes, vocabulary = self.encoder.inputs([picture]), self.queries.vocabulary
        beam, most = MANY if nearest else width, self.encoder.settings.max_length
        found = write(self.speaker, boxes, vocabulary, beam, most, normalise)
        if nearest:
            found = rerank(found, self.encoder.tower(boxes), self.queries.encode, width)
        return found[0]

    def looks(self, picture: Image.Image, caption: Caption) -> tuple[np.ndarray, np.ndarray]:
        """Where a caption looks: shares (T, R) of the boxes for each word, and their frames (R, 4).

        Frames are left, top, right and bottom, as parts of the picture's sides.
        """
        boxes = self.encoder.inputs([picture])[0]
        shares = attention(self.speaker, boxes, caption.ids, self.queries.vocabulary)
        return shares, self.encoder.descriptor.frames(picture)


def open_speaker(run: Run) -> Speaker:
    """A run's writer, as `test.py` exported it.

    Raises:
      ValueError: the run writes no captions, or a file is missing or damaged.
    """
    why = f"of a run that writes captions (--model joint), {graphs.WRITTEN_BY}"
    paths = [run.require(path, why) for path in (run.first_step, run.next_step)]
    return Speaker(*(graphs.Graph(path).run for path in paths))
