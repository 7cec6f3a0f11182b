"""Pictures for a tower that reads pixels: crops for training, whole pictures for evaluation.

What a picture looks like is a function of the file, its window and whether it is mirrored: the same
bytes whether it is decoded anew each time or kept in memory or on disk, alone or in a batch. Only
of a damaged file may a crop that misses the damage be read, where nothing is kept.

Resizing is bilinear between the four nearest pixels. Pictures come at a scale where a short side is
at most 2.3 times too large (`decoding.choose_scales`), so few are skipped.
Differs from the paper: bicubic there; it takes three times as long here.

Shape letters: N pictures, b of a batch, S side of the tower's input, h, w height and width.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from data import datasets
from data.formats.records import some
from data.vision import decoding, windows
from data.vision.rows import Descriptor, refuse_without_pictures


@dataclass(eq=False)
class PixelDescriptor(Descriptor):
    """The picture itself: nothing is learned.

    Attributes:
      side: S.
      view: short side of whole pictures in use.
      crop_area: smallest area of a random crop in training, relative to the picture; 1: no crop.
      mirror: mirror half of the pictures in training.
    """

    kind, dtype = "pixels", np.uint8
    side: int
    view: int
    crop_area: float = 1.0
    mirror: bool = False

    @classmethod
    def from_split(cls, split, settings, kind):
        """By settings alone: image_size, image_pooling, crop_area and mirror."""
        view = windows.view_side(settings)
        return cls(settings.image_size, view, settings.crop_area, settings.mirror)

    @classmethod
    def from_arrays(cls, arrays, kind):
        """Of what `arrays` gave."""
        crop_area, mirror = float(arrays["crop_area"]), bool(arrays["mirror"])
        return cls(int(arrays["side"]), int(arrays["view"]), crop_area, mirror)

    def arrays(self):
        """The settings, by name."""
        return {name: np.array(value) for name, value in vars(self).items()}

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """Of a square picture; others are longer."""
        return self.view, self.view, 3

    @property
    def feature_dim(self) -> int:
        """0."""
        return 0

    def describe(self, pictures):
        """RGB pictures of one size -> (n, h, w, 3) uint8, as `PixelRows.views`."""
        return np.stack([windows.whole_view(picture, self.view) for picture in pictures])

    def load(self, path):
        """The whole view of a file, decoded at the scale at which training decodes it."""
        height, width, _, jpeg = decoding.read_header(path)
        sides = np.array([height]), np.array([width])
        scale = int(decoding.choose_scales(sides[0], sides[1], self.view)[0])
        shape = (-(-height // scale), -(-width // scale))
        pixels = decoding.decode(path, jpeg, scale, shape)
        return Image.fromarray(windows.resized_view(pixels, self.view))

    def rows(self, split, settings) -> "PixelRows":
        """Pictures that are read when they are wanted; settings has cache and cache_dir too."""
        refuse_without_pictures(split, "read")
        shown = (self.side, self.crop_area, self.mirror)
        return PixelRows(split, *shown, settings.cache, settings.cache_dir, self.view)


class PixelRows:
    """The pictures of a split, in place of an array of vectors.

    Args:
      split: with pictures: paths, or (N, H, W, 3) uint8.
      side, crop_area, mirror: as of `PixelDescriptor`.
      cache: where decoded pictures are kept, see `decoding.DecodedPictures`. Alters no pixel.
      cache_dir: folder for what is kept on disk.
      view_side: short side of `views`; None: S.

    Attributes:
      decoded: `decoding.DecodedPictures`, which windows are cut from.
      view_shapes: (N, 2) int32, h and w of `views`.
      read: see `CropReader.read`; complaint, check: see `decoding.DecodedPictures`.

    Raises:
      ValueError: unknown cache.
    """

    def __init__(
        self,
        split: datasets.Split,
        side: int,
        crop_area: float = 1.0,
        mirror: bool = False,
        cache: str = "auto",
        cache_dir: str | os.PathLike = ".cache",
        view_side: int | None = None,
    ):
        self.side, self.crop_area, self.mirror = side, crop_area, mirror
        self.decoded = decoding.DecodedPictures(split, view_side or side, cache, cache_dir)
        self.view_shapes = windows.view_shapes(self.decoded.shapes, view_side or side)
        self.read = CropReader(self.decoded, side).read
        self.complaint, self.check = self.decoded.complaint, self.decoded.check

    def __len__(self) -> int:
        return len(self.decoded)

    def windows(self, rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Where some pictures are cropped and which are mirrored: see `windows.draw_windows`.

        Args:
          rows: (b,) which pictures.
        """
        shapes = self.decoded.shapes[np.asarray(rows)]
        return windows.draw_windows(shapes, self.crop_area, self.mirror, rng)

    def view_groups(self, chunk: int) -> list[np.ndarray]:
        """Rows of equal view shape, at most `chunk` in a group; each row in one group."""
        groups = []
        for shape in np.unique(self.view_shapes, axis=0):
            rows = np.flatnonzero((self.view_shapes == shape).all(axis=1))
            groups += [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
        return groups

    def views(self, rows: Sequence[int] | np.ndarray, mirrored: bool = False) -> np.ndarray:
        """Whole pictures of one view shape, not cropped.

        Args:
          rows: (b,) of one group of `view_groups`.
          mirrored: left and right changed.

        Returns:
          (b, h, w, 3) uint8.

        Raises:
          ValueError: some pictures of the split cannot be read: all are counted. Or the rows have
            several shapes.
        """
        shapes = np.unique(self.view_shapes[np.asarray(rows)], axis=0)
        if len(shapes) != 1:
            raise ValueError(
                f"views of {len(shapes)} shapes ({some(shapes.tolist())}) cannot be one array: "
                "read them by view_groups"
            )
        views = self._whole(rows, shapes[0])
        if self.decoded.broken:
            self.check()
        return views[:, :, ::-1] if mirrored else views

    def __getitem__(self, rows) -> np.ndarray:
        """Whole pictures squashed into squares: (b, S, S, 3) uint8."""
        return self._whole(rows, (self.side, self.side))

    def _whole(self, rows, shape) -> np.ndarray:
        import tensorflow as tf

        def read(row):
            with tf.device("CPU:0"):
                return resize(self.decoded.pixels(row), tuple(shape)).numpy()

        rows, places = np.unique(rows, return_inverse=True)  # a short chunk may repeat a row
        return np.stack(list(self.decoded.pool.map(read, rows.tolist())))[places]


# ---- Reading in tf.data -------------------------------------------------------------------------


class CropReader:
    """Crops of decoded pictures, or of files of which only a band of rows is decoded."""

    def __init__(self, decoded: decoding.DecodedPictures, side: int):
        self.decoded, self.side = decoded, side
        self.ways = np.unique(decoded.scales).tolist()

    def read(self, rows, places, mirrored):
        """Crops of pictures; in the map of a tf.data dataset, or at once.

        What cannot be read becomes grey and is told by `DecodedPictures.complaint`.

        Args:
          rows: (b,) int32.
          places: (b, 4) int32 and
          mirrored: (b,) bool, of `PixelRows.windows`.

        Returns:
          (b, S, S, 3) uint8.
        """
        import tensorflow as tf

        with tf.device("CPU:0"):
            rows, places = tf.cast(rows, tf.int32), tf.cast(places, tf.int32)
            if self.decoded.decodes:
                crops = self.read_files(rows, places, mirrored).get_single_element()
            else:
                crops = self.cut(rows, places, mirrored)
            return tf.ensure_shape(crops, (None, self.side, self.side, 3))

    def read_files(self, rows, places, mirrored):
        """Crops of picture files, as a dataset of one element."""
        import tensorflow as tf

        given, types = (rows, places, mirrored), (tf.string, *[tf.int32] * 4, tf.bool)
        planned = tf.numpy_function(self.plan, given, types, stateful=False)
        for values, columns in zip(planned, (None, None, 4, 3, 3, None), strict=True):
            values.set_shape((None, columns) if columns else (None,))
        # TensorFlow has no `try`. A picture that fails is left out; a batch that lacks one, or has
        # some that are not plain, is left out too; and the next in line takes its place.
        whole = tf.maximum(tf.size(rows, tf.int64), 1)
        quick = tf.data.Dataset.from_tensor_slices(tuple(planned)).map(self.read_plain)
        quick = quick.ignore_errors().batch(whole, drop_remainder=True)
        careful = tf.data.Dataset.from_tensors(given).map(self.cut)
        return quick.concatenate(careful).take(1)

    def plan(self, rows, places, mirrored):
        """What to decode of files, and what of it is wanted; nothing unless all are plain."""
        decoded = self.decoded
        if not decoded.plain[rows].all():
            rows, places, mirrored = rows[:0], places[:0], mirrored[:0]
        paths = np.array([os.fsencode(decoded.files[row]) for row in rows], object)
        y, x, height, width = places.T
        none, all_columns = np.zeros_like(x), decoded.shapes[rows, 1]
        band = np.stack([y, none, height, all_columns], axis=1)
        start, size = np.stack([none, x, none], 1), np.stack([height, width, none + 3], 1)
        way = np.searchsorted(self.ways, decoded.scales[rows]).astype(np.int32)
        return paths, way, band, start, size, mirrored

    def read_plain(self, file, way, band, start, size, flip):
        """A crop of a plain JPEG, (S, S, 3) uint8, as it was planned."""
        import tensorflow as tf

        content = tf.io.read_file(file)
        ways = [partial(decode_band, content, band, scale) for scale in self.ways]
        pixels = tf.switch_case(way, ways) if len(ways) > 1 else ways[0]()
        return self.finish(tf.slice(pixels, start, size), flip)

    def cut(self, rows, places, mirrored):
        """Crops of pictures from wherever they are: (b, S, S, 3) uint8."""
        import tensorflow as tf

        crops = tf.numpy_function(self.crops, [rows, places], tf.uint8)
        crops = tf.ensure_shape(crops, (None, None, None, 3))

        def cut(place):
            crop, window, flip = place
            return self.finish(crop[: window[2], : window[3]], flip)

        one = tf.TensorSpec((self.side, self.side, 3), tf.uint8)
        return tf.map_fn(cut, (crops, places, mirrored), fn_output_signature=one)

    def finish(self, pixels, flip):
        """(h, w, 3) -> (S, S, 3) uint8, mirrored where `flip`."""
        import tensorflow as tf

        pixels = resize(pixels, (self.side, self.side))
        return tf.cond(flip, lambda: tf.reverse(pixels, [1]), lambda: pixels)

    def crops(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Crops one above the other in the corner of (b, largest h, largest w, 3) uint8."""
        crops = np.zeros((len(rows), *places[:, 2:].max(axis=0, initial=1), 3), np.uint8)

        def put(place: int) -> None:
            y, x, height, width = places[place]
            band = self.band(int(rows[place]), y, height)
            crops[place, :height, :width] = band[:, x : x + width]

        list((self.decoded.pool.map if self.decoded.decodes else map)(put, range(len(rows))))
        return crops

    def band(self, row: int, y: int, height: int) -> np.ndarray:
        """Some rows of a decoded picture, (height, w, 3) uint8: as `read_plain` reads them."""
        import tensorflow as tf

        decoded: Any = self.decoded
        if decoded.decodes and decoded.plain[row]:
            try:
                with tf.device("CPU:0"):
                    content = tf.io.read_file(decoded.files[row])
                    band = (y, 0, height, decoded.shapes[row, 1])
                    return decode_band(content, band, decoded.scales[row]).numpy()
            except tf.errors.OpError:
                pass  # the rest of the way finds out what is wrong
        return decoded.pixels(row)[y : y + height]


def decode_band(content, band, scale: int):
    """Whole rows of a JPEG: to leave out columns saves nothing and alters colours at the edge.

    Args:
      content: the file's bytes; band: y, 0, height, width; scale: of `decoding.SCALES`.

    Returns:
      (height, width, 3) uint8, of the whole decoded picture, to the byte.
    """
    import tensorflow as tf

    return tf.io.decode_and_crop_jpeg(
        content, band, channels=3, ratio=int(scale), dct_method="INTEGER_ACCURATE"
    )


def resize(pixels, shape):
    """(h, w, 3) uint8 of another shape, in TensorFlow."""
    import tensorflow as tf

    return tf.cast(tf.image.resize(pixels, shape) + 0.5, tf.uint8)  # rounded
