"""The gallery of a run: the rows, names and captions that `test.py` scored last, memory-mapped.

    gallery = Gallery(run)
    gallery.captions[gallery.captions_of(gallery.find_image("test-00012"))[0]]

Shape letters: N images, M captions, D embedding.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from gallery.similarity import choose, of_arrays
from run import files, manifest
from run.folder import Run
from run.onnx_graphs import WRITTEN_BY


class Gallery:
    """What `test.py` scored last; nothing of it is read before it is asked for.

    The file is compared with its hash in a thread, beside the start of ONNX Runtime. Whoever asks
    for rows or texts first waits until they are known to be right.

    Attributes:
      image: (N, D) float32 unit rows; text: (M, D) float32 unit rows.
      caption_image: (M,) row of each caption's image.
      image_names: N; captions: M; pictures: N references for `pictures.load_picture`,
        "" for none.
      similarity: which of `similarity.SIMILARITIES` the rows are made for.

    Raises:
      ValueError: the run has no projections, or they do not fit together; or, when a row or a text
        is first asked for, they are damaged.
    """

    image: Any
    text: Any
    caption_image: np.ndarray
    image_names: files.PackedStrings
    captions: files.PackedStrings
    pictures: files.PackedStrings

    def __init__(self, run: Run):
        self.path = run.projections
        if not self.path.is_file():
            run.require(self.path, WRITTEN_BY)
        self._checking = ThreadPoolExecutor(1).submit(run.check, self.path)
        try:
            self._open(run)
        except ValueError:
            self._checking.result()  # where it is damaged, that is what is told
            raise

    def __getattr__(self, name: str) -> Any:
        """Rows and texts, when they are first asked for."""
        if name not in Gallery.__annotations__:
            raise AttributeError(name)
        self._checking.result()
        self.__dict__ |= self._parts
        return self._parts[name]

    def _open(self, run: Run) -> None:
        self.arrays = files.open_arrays(self.path)
        self._check_weights(run)
        self.similarity = of_arrays(self.arrays, self.path)
        parts = {name: self._array(name) for name in ("image", "text")}
        parts["caption_image"] = np.asarray(self._array("caption_image"))
        names = ("image_names", "captions", "pictures")
        self._parts = parts | {name: self._strings(name) for name in names}
        self._check(**self._parts)

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

    def _check(self, image, text, caption_image, image_names, captions, pictures) -> None:
        shapes = image.shape, text.shape
        kinds = (image.dtype.kind, text.dtype.kind, caption_image.dtype.kind)
        if kinds != ("f", "f", "i") or caption_image.ndim != 1:
            raise ValueError(f"{self.path} holds other arrays than numbers of rows; {WRITTEN_BY}")
        num_captions = {len(text), len(caption_image), len(captions)}
        num_images = {len(image), len(image_names), len(pictures)}
        fits = len(num_captions) == len(num_images) == 1 and image.ndim == text.ndim == 2
        fits = fits and image.shape[1] == text.shape[1] and all(map(all, shapes))
        if not fits or not 0 <= caption_image.min() <= caption_image.max() < len(image):
            raise ValueError(
                f"{self.path} does not fit together (image {shapes[0]}, text {shapes[1]}, names "
                f"{len(image_names)}, captions {len(captions)}); {WRITTEN_BY}"
            )

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
