"""Picture files as pixels: their headers, decoding at a fraction of their size, what is kept.

A picture is always decoded at the same scale: 1, 1/2, 1/4 or 1/8, the smallest one at which its
short side still has as many pixels as are wanted. JPEG decoders do that for less work and memory
than decoding it whole. So pixels are a function of the picture alone, wherever they are kept.

No TensorFlow: pixels may be stored before it is set up. What Pillow decodes here is what
TensorFlow's INTEGER_ACCURATE decoder gives, to the byte.

Shape letters: N pictures, h, w height and width of decoded pixels.
"""

import hashlib
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from data import datasets
from data.pictures import load_picture
from data.vision.rows import first_few, refuse_broken
from run import caches, console
from run.files import DAMAGE as UNREADABLE
from run.files import atomic_path, open_arrays, read_json, write_arrays, write_json

FORMAT = 1  # of stores and header files
SCALES = (8, 4, 2, 1)  # divisors of a picture's sides that JPEG decoders know
THREADS = min(8, os.cpu_count() or 1)
CACHES = ("auto", "memory", "disk", "none")
MIDDLE = 128  # grey, for what cannot be read
ORIENTATION = 0x0112  # EXIF
SLOW = 1.0  # seconds; headers that took longer are kept on disk
END, TAIL = b"\xff\xd9", 4096  # a JPEG's end mark, and within how many bytes of the end it stands
HEADER = np.dtype([("height", "<i4"), ("width", "<i4"), ("turn", "<i1"), ("jpeg", "?")])

DAMAGE = (*UNREADABLE, Image.DecompressionBombError)
# Pictures of 90 to 179 megapixels are read; beyond, Pillow refuses them.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


# ---- Headers ------------------------------------------------------------------------------------


def read_header(path: str) -> tuple[int, int, int, bool]:
    """Height and width the right way up, EXIF orientation, and whether it is a grey or RGB JPEG.

    Raises:
      ValueError: there is no such picture, or it is empty, damaged or cut off; names the file.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # Of a PNG, getexif would decode all of it if the header has none.
            exif = picture.getexif() if picture.format != "PNG" or "exif" in picture.info else {}
            turn = exif.get(ORIENTATION, 1)
            jpeg = picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB")
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - TAIL))
            cut_off = jpeg and END not in file.read()
    except DAMAGE as error:
        load_picture(path)  # says in one line what is wrong
        raise ValueError(f"picture {path} has a damaged header ({error})") from error
    if cut_off and decode_jpeg(path, SCALES[0]) is None:
        load_picture(path)
    turn = turn if turn in range(1, 9) else 1
    return (width, height, turn, jpeg) if turn >= 5 else (height, width, turn, jpeg)


def read_headers(paths: Sequence[str], cache_dir: str | os.PathLike) -> tuple[np.ndarray, dict]:
    """The headers of picture files.

    Returns:
      (N,) HEADER, height 0 where it cannot be read; and for those rows what is wrong.
    """
    kept = Path(cache_dir) / f"headers-{files_key(paths)}.npz"
    headers, broken = np.zeros(len(paths), HEADER), {}
    if caches.is_whole(kept):
        headers = np.array(open_arrays(kept)["headers"])
    began = time.monotonic()
    for row in progress(np.flatnonzero(headers["height"] == 0).tolist(), "picture headers"):
        try:
            headers[row] = read_header(paths[int(row)])
        except ValueError as error:
            broken[int(row)] = str(error)
    if time.monotonic() - began > SLOW:
        write_arrays(kept, {"headers": headers})
    return headers, broken


def array_headers(pictures: np.ndarray) -> np.ndarray:
    """(N,) HEADER of pictures in memory, (N, H, W, 3)."""
    count, height, width, _ = pictures.shape
    return np.full(count, np.array((height, width, 1, False), HEADER))


def files_key(paths: Iterable[str], *facts) -> str:
    """Of names, sizes and times of files, and of further facts."""
    digest = hashlib.sha256(" ".join(map(str, (FORMAT, *facts))).encode())
    for path in paths:
        try:
            found = os.stat(path)
            digest.update(f"{found.st_size} {found.st_mtime_ns} ".encode())
        except OSError:
            digest.update(b"- ")
        digest.update(os.path.abspath(path).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()[:16]


def choose_scales(heights: np.ndarray, widths: np.ndarray, least: int) -> np.ndarray:
    """(N,) by which of `SCALES` the sides are divided: the short one stays `least` or more."""
    short = np.minimum(heights, widths)[:, None]  # (N, 1)
    fits = short // np.array(SCALES) >= least  # (N, 4)
    return np.where(fits.any(axis=1), np.array(SCALES)[fits.argmax(axis=1)], 1)


# ---- Pixels -------------------------------------------------------------------------------------


def decode(path: str, jpeg: bool, scale: int, shape: tuple[int, int]) -> np.ndarray:
    """A picture file the right way up, 8-bit RGB, its sides divided by `scale` and rounded up.

    Args:
      path: the file.
      jpeg: it is a grey or RGB JPEG, which need not be decoded whole.
      scale: of `SCALES`.
      shape: (h, w) that is expected.

    Returns:
      (h, w, 3) uint8.

    Raises:
      ValueError: there is no such picture, or it is damaged or of another shape; names the file.
    """
    pixels = decode_jpeg(path, scale) if jpeg else None
    if pixels is None:
        pixels = np.asarray(load_picture(path).reduce(scale))
    if pixels.shape != (*shape, 3):
        found, wanted = f"{pixels.shape[1]} x {pixels.shape[0]}", f"{shape[1]} x {shape[0]}"
        raise ValueError(f"picture {path} gives {found} pixels, its header said {wanted}")
    return pixels


def decode_jpeg(path: str, scale: int) -> np.ndarray | None:
    """A grey or RGB JPEG at a scale; None if it is none, which `load_picture` then explains."""
    try:
        with Image.open(path) as picture:
            picture.draft(None, (picture.width // scale, picture.height // scale))
            ImageOps.exif_transpose(picture, in_place=True)
            return np.asarray(picture.convert("RGB"))
    except DAMAGE:
        return None


# ---- Stores -------------------------------------------------------------------------------------


class PixelStore:
    """The decoded pixels of N pictures, one after the other.

    Args:
      pixels: all bytes, in memory or mapped from a file.
      shapes: (N, 2) h and w.
    """

    def __init__(self, pixels: np.ndarray, shapes: np.ndarray):
        self.pixels, self.shapes = pixels, shapes
        self.starts = np.concatenate([[0], np.cumsum(count_bytes(shapes))])

    def __getitem__(self, row: int) -> np.ndarray:
        """(h, w, 3) uint8, a view."""
        return self.pixels[self.starts[row] : self.starts[row + 1]].reshape(*self.shapes[row], 3)

    def fill(self, read: Callable[[int], np.ndarray], what: str) -> "PixelStore":
        """Reads all pictures, in threads; gives itself.

        Args:
          read: row -> (h, w, 3) uint8.
          what: for the progress bar.
        """

        def put(row: int) -> None:
            self[row][:] = read(row)

        with ThreadPoolExecutor(THREADS) as pool:
            for _ in progress(pool.map(put, range(len(self.shapes))), what, len(self.shapes)):
                pass
        return self


def open_store(
    path: Path | None,
    shapes: np.ndarray,
    read: Callable[[int], np.ndarray],
    broken: dict[int, str],
    what: str,
) -> PixelStore:
    """Decoded pictures, in memory or on disk; decodes them unless they lie there.

    Args:
      path: the file, beside which a .json tells what is broken; None: in memory.
      shapes: (N, 2) h and w.
      read: row -> (h, w, 3) uint8; notes in `broken` what it cannot read.
      broken: row -> why; what was broken when the file was written is added.
      what: for the progress bar.
    """
    size = int(count_bytes(shapes).sum())
    if path is None:
        return PixelStore(np.empty(size, np.uint8), shapes).fill(read, what)
    facts = path.with_suffix(".json")
    if not (caches.is_whole(path) and caches.is_whole(facts)):
        with atomic_path(path, size) as temporary:
            pixels = np.memmap(temporary, np.uint8, "w+", shape=(size,))
            PixelStore(pixels, shapes).fill(read, what)
            pixels.flush()
            write_json(facts, {str(row): why for row, why in broken.items()})
    broken.update({int(row): why for row, why in read_json(facts, dict).items()})
    return PixelStore(np.memmap(path, np.uint8, "r", shape=(size,)), shapes)


def count_bytes(shapes: np.ndarray) -> np.ndarray:
    """(N,) bytes of decoded pictures of (N, 2) shapes."""
    return 3 * shapes.astype(np.int64).prod(axis=1)


def choose_cache(cache: str, size: int, cache_dir: str | os.PathLike) -> str:
    """ "memory", "disk" or "none": what `auto` means for `size` bytes.

    Memory where they fit in a quarter of what is free, else disk by the same rule.

    Raises:
      ValueError: unknown name.
    """
    if cache not in CACHES:
        raise ValueError(f"unknown cache {cache!r}: choose from {', '.join(CACHES)}")
    if cache != "auto":
        return cache
    if size <= free_memory() / 4:
        return "memory"
    Path(cache_dir).mkdir(parents=True, exist_ok=True)
    return "disk" if size <= shutil.disk_usage(cache_dir).free / 4 else "none"


def free_memory() -> int:
    """Bytes of memory that are free on this machine; 0 where it does not tell."""
    free = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
        group = Path("/sys/fs/cgroup")  # a container may have less than the machine
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        kept = [line.split() for line in (group / "memory.stat").read_text().splitlines()]
        files = sum(int(size) for name, size in kept if name in ("active_file", "inactive_file"))
        free.append(int(limit) - int(used) + files)
    except (OSError, ValueError):
        pass
    return max(0, min(free, default=0))


def progress(items: Iterable, what: str, total: int | None = None) -> Iterator:
    """Items, with a progress bar if they take longer than two seconds."""
    for item in tqdm(items, what, total, leave=False, disable=None, delay=2, unit=" pictures"):
        console.heed_signals()
        yield item


# ---- A split ------------------------------------------------------------------------------------


class DecodedPictures:
    """The pictures of a split, each decoded at its scale whenever it is wanted, or kept.

    Args:
      split: with pictures: paths, or (N, H, W, 3) uint8.
      least: pixels that the short side must have.
      cache: where decoded pictures are kept: "memory", "disk", "none", or "auto" (memory or disk
        where they fit in a quarter of what is free).
      cache_dir: folder for what is kept on disk.

    Attributes:
      broken: row -> why it cannot be read, filled as they are met.
      cache: where decoded pictures are kept; "none" also for arrays.
      scales: (N,) by which of `SCALES` the sides are divided.
      shapes: (N, 2) int32, h and w.
      plain: (N,) bool, JPEGs which TensorFlow's decoder gives the right way up.
      files: N paths; none for arrays.
      decodes: whether files are decoded each time.
      pool: threads that read.

    Raises:
      ValueError: unknown cache.
    """

    def __init__(self, split: datasets.Split, least: int, cache: str, cache_dir: str | os.PathLike):
        self.split, self.broken = split, {}
        self._told: set[int] = set()
        choose_cache(cache, 0, cache_dir)  # refuses an unknown one
        paths = split.pictures if isinstance(split.pictures, list) else []
        self.files: list[str] = paths
        if self.files:
            headers, self.broken = read_headers(self.files, cache_dir)
        else:
            headers = array_headers(np.asarray(split.pictures))
        heights, widths = (np.maximum(headers[name], 1) for name in ("height", "width"))
        self.scales = choose_scales(heights, widths, least)
        shapes = -(-np.stack([heights, widths], axis=1) // self.scales[:, None])
        self.shapes = shapes.astype(np.int32)  # (N, 2)
        self._jpeg = headers["jpeg"]
        self.plain = self._jpeg & (headers["turn"] == 1)
        self.pool, self._lock = ThreadPoolExecutor(THREADS), threading.Lock()
        self._checked = False  # whether all that is broken is known
        self.cache, self.store = "none", None
        if self.files:
            size = int(count_bytes(self.shapes).sum())
            self.cache = choose_cache(cache, size, cache_dir)
        if self.cache != "none":
            key = files_key(self.files, *self.scales)
            path = Path(cache_dir) / f"pictures-{key}.u8" if self.cache == "disk" else None
            what = f"decoding {split.name} pictures"
            self.store = open_store(path, self.shapes, self._decode, self.broken, what)
        self.decodes = bool(self.files) and self.store is None

    def __len__(self) -> int:
        return len(self.shapes)

    def pixels(self, row: int) -> np.ndarray:
        """A decoded picture, (h, w, 3) uint8; grey if it cannot be read."""
        return self._decode(row) if self.store is None else self.store[row]

    def _decode(self, row: int) -> np.ndarray:
        scale, (height, width) = int(self.scales[row]), self.shapes[row].tolist()
        if not self.files:
            source = self.split.pictures[row]  # pyright: ignore[reportOptionalSubscript]
            return np.asarray(Image.fromarray(np.asarray(source)).reduce(scale))
        try:
            return decode(self.files[row], bool(self._jpeg[row]), scale, (height, width))
        except ValueError as error:
            self.broken.setdefault(row, str(error))
            return np.full((height, width, 3), MIDDLE, np.uint8)

    def complaint(self) -> str | None:
        """A line on the pictures found broken since the last call, or None."""
        new = {row: why for row, why in self.broken.items() if row not in self._told}
        self._told.update(new)
        if not new:
            return None
        what, verb = ("picture", "is") if len(new) == 1 else ("pictures", "are")
        return (
            f"{len(new)} {what} of the {self.split.name} split could not be read and {verb} grey: "
            f"{first_few(new)}"
        )

    def check(self) -> None:
        """Reads all pictures.

        Raises:
          ValueError: some cannot be read: counts all of them and names the first.
        """
        with self._lock:
            if not self._checked and self.store is None:
                what = f"checking {self.split.name} pictures"
                found = self.pool.map(self._decode, range(len(self)))
                for _ in progress(found, what, len(self)):
                    pass
            self._checked = True
        refuse_broken(self.split, self.broken)
