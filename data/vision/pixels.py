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
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data import datasets
from data.formats.records import some
from data.vision import decoding
from data.vision.activations import refuse

ASPECTS = (3 / 4, 4 / 3)  # width by height of a crop
TRIES = 10
LONGEST = 3  # a view's long side, in short ones; longer pictures are squashed


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


def view_side(settings) -> int:
    """Short side of the whole pictures that a run's image tower reads in use.

    S where training shows whole pictures. Where it crops and averages the last map, 8/7 S, so that
    several windows of S are summed; features that know their places are for S alone.

    Reference: [Dual], the authors' code: training crops 224 of 256.
    """
    crops = settings.crop_area < 1 and settings.image_pooling == "mean"
    return round(settings.image_size * 8 / 7) if crops else settings.image_size


class Pictures:
    """The pictures of a split as the image tower reads them.

    Args:
      split: with pictures: paths, or (N, H, W, 3) uint8.
      side: S.
      crop_area: smallest area of a random crop, relative to the picture, 1: no crop.
      mirror: mirror half of the pictures.
      cache: where decoded pictures are kept: "memory", "disk", "none", or "auto" (memory or disk
        where they fit in a quarter of what is free). Alters no pixel.
      cache_dir: folder for what is kept on disk.
      view_side: short side of `views`; None: S.

    Attributes:
      broken: row -> why it cannot be read, filled as they are met.
      cache: where decoded pictures are kept; "none" also for arrays.
      shapes: (N, 2) int32, h and w of the decoded pictures, which windows are cut from.
      view_shapes: (N, 2) int32, h and w of `views`.

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
        self.split, self.side, self.crop_area, self.mirror = split, side, crop_area, mirror
        view_side = view_side or side
        self.broken: dict[int, str] = {}
        self._told: set[int] = set()
        self.store: decoding.Store | None = None
        self.cache = "none"
        decoding.choose_cache(cache, 0, cache_dir)
        source = split.pictures
        self._files = source if isinstance(source, list) else []
        if self._files:
            headers, self.broken = decoding.read_headers(self._files, cache_dir)
        else:
            headers = decoding.array_headers(np.asarray(source))
        heights, widths = (np.maximum(headers[name], 1) for name in ("height", "width"))
        self.scales = decoding.choose_scales(heights, widths, view_side)
        self._ways = np.unique(self.scales).tolist()
        self.shapes = -(-np.stack([heights, widths], axis=1) // self.scales[:, None])
        self.shapes = self.shapes.astype(np.int32)  # (N, 2)
        self._jpeg = headers["jpeg"]
        self._plain = self._jpeg & (headers["turn"] == 1)  # these may be decoded in the graph
        short = self.shapes.min(axis=1, keepdims=True)  # (N, 1)
        wanted = np.rint(self.shapes * (view_side / short))
        self.view_shapes = np.clip(wanted, 1, LONGEST * view_side).astype(np.int32)
        self._pool, self._lock = ThreadPoolExecutor(decoding.THREADS), threading.Lock()
        self._checked = False  # whether all that is broken is known
        if self._files:
            size = int(decoding.count_bytes(self.shapes).sum())
            self.cache = decoding.choose_cache(cache, size, cache_dir)
        if self.cache != "none":
            path = None
            if self.cache == "disk":
                key = decoding.fingerprint(self._files, *self.scales)
                path = Path(cache_dir) / f"pictures-{key}.u8"
            what = f"decoding {split.name} pictures"
            self.store = decoding.open_store(path, self.shapes, self._decode, self.broken, what)

    def __len__(self) -> int:
        return len(self.shapes)

    # ---- Windows --------------------------------------------------------------------------------

    def windows(self, rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws where pictures are cropped and which are mirrored.

        A crop has `crop_area` to 1 of the picture's area and is 3/4 to 4/3 as wide as high, drawn
        from uniform areas and log-uniform aspects until it fits in; after ten misses it is the
        largest one of the nearest aspect.

        Args:
          rows: (b,) which pictures.
          rng: the draw is a function of its state.

        Returns:
          (b, 4) int32, y, x, height and width in decoded pixels; (b,) bool.

        Reference: torchvision's RandomResizedCrop.
        Differs from it: the last resort lies anywhere, not in the middle.
        """
        height, width = self.shapes[np.asarray(rows)].T.astype(np.float64)  # (b,) each
        count, limits = len(height), np.log(ASPECTS)
        mirrored = rng.random(count) < (0.5 if self.mirror else 0)
        if self.crop_area >= 1:
            whole = np.stack([0 * height, 0 * height, height, width], axis=1)
            return whole.astype(np.int32), mirrored
        area = (height * width)[:, None] * rng.uniform(self.crop_area, 1, (count, TRIES))
        aspect = np.exp(rng.uniform(limits[0], limits[1], (count, TRIES)))
        drawn = np.rint(np.sqrt([area / aspect, area * aspect]))  # (2, b, TRIES)
        fits = (drawn >= 1).all(axis=0)
        fits &= (drawn[0] <= height[:, None]) & (drawn[1] <= width[:, None])
        chosen = drawn[:, np.arange(count), fits.argmax(axis=1)]  # (2, b)
        nearest = np.clip(width / height, *ASPECTS)
        largest = [np.minimum(height, width / nearest), np.minimum(width, height * nearest)]
        chosen = np.where(fits.any(axis=1), chosen, np.maximum(1, np.rint(largest)))
        corner = np.floor(rng.random((2, count)) * ([height, width] - chosen + 1))
        return np.concatenate([corner, chosen]).T.astype(np.int32), mirrored

    # ---- Training -------------------------------------------------------------------------------

    def read(self, rows, windows, mirrored):
        """Crops of pictures; in the map of a tf.data dataset, or at once.

        Of a plain JPEG only the band of rows is decoded that the window lies in. What cannot be
        read becomes grey and is told by `complaint`.

        Args:
          rows: (b,) int32.
          windows: (b, 4) int32 and
          mirrored: (b,) bool, of `windows`.

        Returns:
          (b, S, S, 3) uint8.
        """
        import tensorflow as tf

        with tf.device("CPU:0"):
            rows, windows = tf.cast(rows, tf.int32), tf.cast(windows, tf.int32)
            if self._decodes:
                crops = self._read_files(rows, windows, mirrored).get_single_element()
            else:
                crops = self._cut(rows, windows, mirrored)
            return tf.ensure_shape(crops, (None, self.side, self.side, 3))

    @property
    def _decodes(self) -> bool:
        """Whether files are decoded each time."""
        return bool(self._files) and self.store is None

    def _read_files(self, rows, windows, mirrored):
        """Crops of picture files, as a dataset of one element."""
        import tensorflow as tf

        def plan(rows, windows, mirrored):
            if not self._plain[rows].all():
                rows, windows, mirrored = rows[:0], windows[:0], mirrored[:0]
            files = np.array([os.fsencode(self._files[row]) for row in rows], object)
            y, x, height, width = windows.T
            none, all_columns = np.zeros_like(x), self.shapes[rows, 1]
            band = np.stack([y, none, height, all_columns], axis=1)
            start, size = np.stack([none, x, none], 1), np.stack([height, width, none + 3], 1)
            way = np.searchsorted(self._ways, self.scales[rows]).astype(np.int32)
            return files, way, band, start, size, mirrored

        places, types = (rows, windows, mirrored), (tf.string, *[tf.int32] * 4, tf.bool)
        planned = tf.numpy_function(plan, places, types, stateful=False)
        for values, columns in zip(planned, (None, None, 4, 3, 3, None), strict=True):
            values.set_shape((None, columns) if columns else (None,))
        # TensorFlow has no `try`. A picture that fails is left out; a batch that lacks one, or has
        # some that are not plain, is left out too; and the next in line takes its place.
        whole = tf.maximum(tf.size(rows, tf.int64), 1)
        quick = tf.data.Dataset.from_tensor_slices(tuple(planned)).map(self._read_plain)
        quick = quick.ignore_errors().batch(whole, drop_remainder=True)
        careful = tf.data.Dataset.from_tensors(places).map(self._cut)
        return quick.concatenate(careful).take(1)

    def _read_plain(self, file, way, band, start, size, flip):
        """A crop of a plain JPEG, (S, S, 3) uint8, where `_read_files` has planned it."""
        import tensorflow as tf

        content = tf.io.read_file(file)
        ways = [partial(decode_band, content, band, scale) for scale in self._ways]
        pixels = tf.switch_case(way, ways) if len(ways) > 1 else ways[0]()
        return self._finish(tf.slice(pixels, start, size), flip)

    def _cut(self, rows, windows, mirrored):
        """Crops of pictures from wherever they are: (b, S, S, 3) uint8."""
        import tensorflow as tf

        crops = tf.numpy_function(self._crops, [rows, windows], tf.uint8)
        crops = tf.ensure_shape(crops, (None, None, None, 3))

        def cut(place):
            crop, window, flip = place
            return self._finish(crop[: window[2], : window[3]], flip)

        one = tf.TensorSpec((self.side, self.side, 3), tf.uint8)
        return tf.map_fn(cut, (crops, windows, mirrored), fn_output_signature=one)

    def _finish(self, pixels, flip):
        """(h, w, 3) -> (S, S, 3) uint8, mirrored where `flip`."""
        import tensorflow as tf

        pixels = self._resize(pixels, (self.side, self.side))
        return tf.cond(flip, lambda: tf.reverse(pixels, [1]), lambda: pixels)

    def _resize(self, pixels, shape):
        """(h, w, 3) uint8 of another shape."""
        import tensorflow as tf

        return tf.cast(tf.image.resize(pixels, shape) + 0.5, tf.uint8)  # rounded

    def _crops(self, rows: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """Crops one above the other in the corner of (b, largest h, largest w, 3) uint8."""
        crops = np.zeros((len(rows), *windows[:, 2:].max(axis=0, initial=1), 3), np.uint8)

        def put(place: int) -> None:
            y, x, height, width = windows[place]
            band = self._band(int(rows[place]), y, height)
            crops[place, :height, :width] = band[:, x : x + width]

        list((self._pool.map if self._decodes else map)(put, range(len(rows))))
        return crops

    def _band(self, row: int, y: int, height: int) -> np.ndarray:
        """Some rows of a decoded picture, (height, w, 3) uint8: as `_read_plain` reads them."""
        import tensorflow as tf

        if self._decodes and self._plain[row]:
            try:
                with tf.device("CPU:0"):
                    content = tf.io.read_file(self._files[row])
                    band = (y, 0, height, self.shapes[row, 1])
                    return decode_band(content, band, self.scales[row]).numpy()
            except tf.errors.OpError:
                pass  # the rest of the way finds out what is wrong
        return self.pixels(row)[y : y + height]

    def pixels(self, row: int) -> np.ndarray:
        """A decoded picture, (h, w, 3) uint8; grey if it cannot be read."""
        if self.store is not None:
            return self.store[row]
        return self._decode(row)

    def _decode(self, row: int) -> np.ndarray:
        scale, (height, width) = int(self.scales[row]), self.shapes[row].tolist()
        if not self._files:
            source = self.split.pictures[row]  # pyright: ignore[reportOptionalSubscript]
            return np.asarray(Image.fromarray(np.asarray(source)).reduce(scale))
        try:
            jpeg = bool(self._jpeg[row])
            return decoding.decode(self._files[row], jpeg, scale, (height, width))
        except ValueError as error:
            self.broken.setdefault(row, str(error))
            return decoding.grey(height, width)

    def complaint(self) -> str | None:
        """A line on the pictures found broken since the last call, or None."""
        new = sorted(set(self.broken) - self._told)
        self._told.update(new)
        if not new:
            return None
        what = "picture" if len(new) == 1 else "pictures"
        verb = "is" if len(new) == 1 else "are"
        first = "; ".join(self.broken[row] for row in new[:3])
        more = f"; and {len(new) - 3} more" if len(new) > 3 else ""
        return (
            f"{len(new)} {what} of the {self.split.name} split could not be read and {verb} grey: "
            f"{first}{more}"
        )

    # ---- Evaluation -----------------------------------------------------------------------------

    def view_groups(self, chunk: int) -> list[np.ndarray]:
        """Rows of equal view shape, at most `chunk` in a group; each row in one group."""
        groups = []
        for shape in np.unique(self.view_shapes, axis=0):
            rows = np.flatnonzero((self.view_shapes == shape).all(axis=1))
            groups += [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
        return groups

    def views(self, rows: Sequence[int] | np.ndarray, mirrored: bool = False) -> np.ndarray:
        """Whole pictures of one view shape, not cropped.

        The short side is `view_side`; the long one keeps the picture's aspect up to 3 to 1, beyond
        which it is squashed.

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
        if self.broken:
            self.check()
        return views[:, :, ::-1] if mirrored else views

    def check(self) -> None:
        """Reads all pictures.

        Raises:
          ValueError: some cannot be read: counts all of them and names the first.
        """
        with self._lock:
            if not self._checked and self.store is None:
                what = f"checking {self.split.name} pictures"
                for _ in decoding.progress(
                    self._pool.map(self._decode, range(len(self))), what, len(self)
                ):
                    pass
            self._checked = True
        refuse(self.split, self.broken)

    def __getitem__(self, rows) -> np.ndarray:
        """Whole pictures squashed into squares: (b, S, S, 3) uint8."""
        return self._whole(rows, (self.side, self.side))

    def _whole(self, rows, shape) -> np.ndarray:
        import tensorflow as tf

        def read(row):
            with tf.device("CPU:0"):
                return self._resize(self.pixels(row), tuple(shape)).numpy()

        rows, places = np.unique(rows, return_inverse=True)  # a short chunk may repeat a row
        return np.stack(list(self._pool.map(read, rows.tolist())))[places]
