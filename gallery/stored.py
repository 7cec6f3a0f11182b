"""The gallery of a run: the rows, names and captions that `test.py` scored last, memory-mapped.

    gallery = Gallery(run)
    gallery.captions[gallery.captions_of(gallery.find_image("test-00012"))[0]]

Shape letters: N images, M captions, D embedding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gallery.nearest import top_k
from gallery.similarity import choose, of_arrays
from run import files, manifest
from run.folder import INDEX_FACTS, Run
from run.onnx_graphs import WRITTEN_BY


class Gallery:
    """What `test.py` scored last; nothing of it is read before it is asked for.

    Args:
      run: whose; by_index: its index of the same rows, if there is one, finds images.

    Attributes:
      image: (N, D) float32 unit rows; text: (M, D) float32 unit rows.
      caption_image: (M,) row of each caption's image.
      image_names: N; captions: M; pictures: N references for `pictures.load_picture`,
        "" for none.
      index: that finds images (`indexed.RowIndex`, `milvus.Collection`); None: all are compared.
      similarity: which of `similarity.SIMILARITIES` the rows are made for.
      folder: that holds the pictures, links followed; None: see `Run.data_folder`.

    Raises:
      ValueError: the run has no projections, or they are damaged or do not fit together.
    """

    folder: Path | None = None
    pictures: Sequence[str]
    index: Any = None

    def __init__(self, run: Run, by_index: bool = False):
        if by_index and (run / INDEX_FACTS).is_file():
            from gallery import indexed  # which few galleries have

            self.index = indexed.open_index(run)
        # With an index the gallery is so large that its hash alone would take seconds.
        trusted = self.index is not None and self.index.unchanged
        self.path = run.projections if trusted else run.require(run.projections, WRITTEN_BY)
        self.arrays = files.open_arrays(self.path)
        self._check_weights(run)
        self.similarity = of_arrays(self.arrays, self.path)
        self.image, self.text = self._array("image"), self._array("text")
        self.caption_image = np.asarray(self._array("caption_image"))
        self.image_names, self.captions = self._strings("image_names"), self._strings("captions")
        self.pictures = self._strings("pictures")
        self._check()

    def _array(self, name: str) -> Any:
        if name not in self.arrays:
            raise ValueError(f"{self.path} has no {name!r}: it is of another make; {WRITTEN_BY}")
        return self.arrays[name]

    def _strings(self, name: str) -> files.PackedStrings:
        # as plain arrays: slicing a memmap object is ten times slower
        data, offsets = self._array(f"{name}_data"), self._array(f"{name}_offsets")
        strings = files.PackedStrings(np.asarray(data), np.asarray(offsets))
        try:
            strings.check()
        except ValueError as error:
            raise ValueError(f"{self.path}, {name}: {error}; {WRITTEN_BY}") from None
        return strings

    def _check_weights(self, run: Run) -> None:
        """Refuses rows of other weights than the run has now: it was trained on since."""
        if "weights" not in self.arrays:  # a gallery that a test has put together
            return
        known = manifest.hashes_of(run.folder).get(run.best_weights.name, [])
        if bytes(self.arrays["weights"]).decode("ascii", "replace") not in known:
            raise ValueError(f"{self.path} is of other weights than {run} has now; {WRITTEN_BY}")

    def _check(self) -> None:
        shapes = self.image.shape, self.text.shape
        kinds = (self.image.dtype.kind, self.text.dtype.kind, self.caption_image.dtype.kind)
        if kinds != ("f", "f", "i") or self.caption_image.ndim != 1:
            raise ValueError(f"{self.path} holds other arrays than numbers of rows; {WRITTEN_BY}")
        captions = {self.num_captions, len(self.caption_image), len(self.captions)}
        images = {self.num_images, len(self.image_names), len(self.pictures)}
        fits = len(captions) == len(images) == 1 and self.image.ndim == self.text.ndim == 2
        fits = fits and self.image.shape[1] == self.text.shape[1] and all(map(all, shapes))
        if not fits or not 0 <= self.caption_image.min() <= self.caption_image.max() < len(
            self.image
        ):
            raise ValueError(
                f"{self.path} does not fit together (image {shapes[0]}, text {shapes[1]}, names "
                f"{len(self.image_names)}, captions {len(self.captions)}); {WRITTEN_BY}"
            )

    def nearest_images(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k images nearest to a (1, D) sentence, as of `nearest.top_k`; by the index if any."""
        if self.index is None:
            return top_k(query, self.image, k, similarity=self.similarity)
        return self.index.nearest(query, self.image, k)

    @property
    def num_images(self) -> int:
        """N, images that a sentence is compared with."""
        return len(self.image)

    @property
    def num_captions(self) -> int:
        """M, captions that an image is compared with."""
        return len(self.text)

    def find_image(self, name: str) -> int | None:
        """Row of the image of this name, or None."""
        names = self.image_names
        key = name.encode("utf-8", "surrogatepass")
        same_length = np.flatnonzero(np.diff(names.offsets) == len(key))
        return next((int(row) for row in same_length if names[row] == name), None)

    def captions_of(self, image: int) -> np.ndarray:
        """Rows of an image's own captions, ascending."""
        return np.flatnonzero(self.caption_image == image)

    def best_caption(self, image: int, query: np.ndarray) -> str:
        """The image's own caption that is nearest to a (D,) sentence; "" where it has none.

        By order similarity it is the one that says the most of what the sentence says.
        """
        own = self.captions_of(image)
        if not len(own):
            return ""
        nearness = choose(self.similarity).pairs(query[None], self.text[own])
        return self.captions[own[np.argmax(nearness)]]
