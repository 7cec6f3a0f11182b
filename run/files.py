"""Files that are whole or not there: text, JSON, arrays that map, strings packed for them.

Everything that a run leaves behind is plain: JSON, CSV, NPZ, HDF5, ONNX and PNG. A file is written
under a temporary name beside its target and renamed when it is whole, so a killed run or a full
disk never leaves a half file that looks like a whole one.

Imports neither TensorFlow nor Keras, so that queries and scores of saved projections start at once.
"""

import contextlib
import errno
import io
import json
import lzma
import math
import os
import re
import reprlib
import shutil
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from run import manifest
from run.manifest import file_hash as file_hash

# What zipfile, NumPy, h5py, Keras and Pillow answer damage with; RuntimeError has RecursionError.
DAMAGE = (
    ValueError, OSError, LookupError, RuntimeError, SyntaxError, TypeError, ArithmeticError,
    AttributeError, MemoryError, EOFError, struct.error, zlib.error, lzma.LZMAError,
    tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip
ALIGNMENT = 64  # bytes; where the arrays of an .npz start, so that they can be memory-mapped
HEAD = 1 << 14  # bytes of an array's header that are read: what claims more is no array of ours


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, size: int = 0) -> Iterator[Path]:
    """Gives a temporary path beside `path`; renames it to `path` if the block succeeds.

    The suffix is kept because Keras and NumPy choose the format by it.

    Args:
      path: the file to write.
      size: bytes that it will take, where its writer cannot be trusted with a full disk (HDF5 may
        crash the process).

    A link to a file is followed: the file that it leads to is replaced, the link stays.

    Raises:
      OSError: names `path`, whatever could not be written; what stood there is kept.
      ValueError: there stands what is no file: a folder, a device, a pipe.
    """
    path = _regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if size > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "r+b") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())
        with manifest.renaming(path, temporary):
            os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _regular(path: str | os.PathLike) -> Path:
    """Where a file is written: `path`, or what it leads to. Raises ValueError: it is no file."""
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if os.path.lexists(path) and not path.is_file():
        raise ValueError(f"{path} is no regular file, so it is not replaced: choose another name")
    return path


def check_output(path: str | os.PathLike | None) -> None:
    """Refuses the name of a file that is to be written at the end; None: there will be none.

    Raises:
      ValueError: it holds control characters, or what stands there is no file.
    """
    if path is not None:
        check_printable(path)
        _regular(path)


def check_printable(path: str | os.PathLike) -> None:
    """Refuses a name that no terminal shows as it is. Raises ValueError."""
    if not str(path).isprintable() or not str(path):
        raise ValueError(f"{str(path)!r} is no usable name: it is empty or has control characters")


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes what `atomic_path` of processes that were killed has left in a folder."""
    for path in Path(folder).glob(".*"):
        found = re.match(r"\.(\d+)\.", path.name)
        if found and path.is_file() and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    """Whether there is, or may be, a process of this number here."""
    if sys.platform == "win32":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON atomically: keys in the order given, numbers in full, NaN refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike, kind: type | None = None) -> Any:
    """Reads a JSON file that `write_json` wrote: no name stands twice, no number is NaN.

    Args:
      kind: dict or list, where it must be that.

    Raises:
      ValueError: the file is missing, no whole JSON, or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is missing: the run folder is incomplete or not a run folder")
    try:
        value = parse_json(path.read_text(encoding="utf-8"), str(path), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}): was it edited or cut off?") from None
    if kind and not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise ValueError(f"{path} holds {type(value).__name__}; expected {wanted}: was it edited?")
    return value


def typed(found: Mapping[str, Any], name: str, kind: type, source: Any) -> Any:
    """The value of a name in a JSON object of ours.

    Raises:
      ValueError: `source` lacks it, or has something of another type there.
    """
    value = found.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        what = reprlib.repr(value) if name in found else "missing"
        raise ValueError(f"{source}: {name} is {what}; expected {kind.__name__}: was it edited?")
    return value


def parse_json(text: str | bytes, where: str, **options: Any) -> Any:
    """The value that a JSON text holds.

    Args:
      where: for errors; options: of `json.loads`.

    Raises:
      ValueError: it is not valid; two entries of one object have the same name; or it is nested too
        deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct, **options)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in error.doc else ""
        raise ValueError(f"{where}{line}: not valid JSON ({error.msg})") from error
    except RecursionError as error:
        raise ValueError(f"{where}: not valid JSON (nested too deeply)") from error
    except ValueError as error:  # a number of thousands of digits; a name that stands twice
        raise ValueError(f"{where}: not valid JSON ({str(error).split(';')[0]})") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} stands twice in one object")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an uncompressed `.npz` whose arrays start at multiples of 64 bytes.

    `numpy.load` reads it like any other `.npz`; `open_arrays` maps it without reading it. The same
    arrays always give the same bytes.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            # Local header: 30 bytes, the name, then "extra" fields of 4 bytes + padding. zip64
            # sizes, forced below for members over 2 GiB, would add 20 bytes in front of ours.
            large = array.nbytes > 2**30
            start = archive.start_dir + 30 + len(member.filename) + 4 + (20 if large else 0)
            padding = -start % ALIGNMENT
            member.extra = b"\xff\xff" + padding.to_bytes(2, "little") + bytes(padding)
            with archive.open(member, "w", force_zip64=large) as file:
                np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)


def open_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Memory-maps every array of an uncompressed `.npz`; compressed ones are read.

    Raises:
      ValueError: the file is missing, is no `.npz`, or holds pickled objects.
    """
    path = Path(path)
    with _opened(path) as archive:
        return {
            member.filename.removesuffix(".npy"): _map_member(path, archive, member)
            for member in archive.infolist()
        }


def array_heads(path: str | os.PathLike) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of every array of an `.npz`, of whatever size: none is read.

    Raises:
      ValueError: as of `open_arrays`.
    """
    path, found = Path(path), {}
    with _opened(path) as archive:
        for member in archive.infolist():
            shape, _, dtype, _ = _read_head(archive, member)
            found[member.filename.removesuffix(".npy")] = shape, dtype
    return found


def read_arrays(path: str | os.PathLike, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Some arrays of an `.npz`, in memory, each as its checksum says; the others stay unread.

    Raises:
      ValueError: as of `open_arrays`; or an array is damaged, or is not there.
    """
    path, found = Path(path), {}
    with _opened(path) as archive:
        for name in names:
            _read_head(archive, archive.getinfo(f"{name}.npy"))  # of its shape's size: so the rows
            with archive.open(f"{name}.npy") as file:  # end where the checksum is compared
                found[name] = np.lib.format.read_array(file, allow_pickle=False)
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An `.npz` as an archive; whatever damage is met in it becomes one ValueError."""
    if not path.is_file():
        raise ValueError(f"{path.absolute()} is missing")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DAMAGE as error:
        whole = "damaged, or no .npz of plain arrays"
        if isinstance(error, zipfile.BadZipFile | EOFError):
            whole = "not a whole .npz file"
        raise ValueError(f"{path} is {whole} ({reason(error)})") from None


def open_array(path: str | os.PathLike) -> np.ndarray:
    """Memory-maps an `.npy` file. Raises ValueError where it is none, or is damaged."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(
            f"{path} is damaged, or no .npy of plain numbers ({reason(error)})"
        ) from None


def reason(error: BaseException) -> str:
    """What an error says, in one line that is not long: some quote the whole file."""
    said = (str(error).splitlines() or [""])[0]
    return f"{said[:159]}…" if len(said) > 160 else said or type(error).__name__


def check_archive(path: str | os.PathLike) -> None:
    """Compares an `.npz` with the checksums in it, which mapped arrays pass by.

    Raises:
      ValueError: the file is damaged; names the array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except DAMAGE as error:
        raise ValueError(f"{path} is not a whole .npz file ({reason(error)})") from None
    if damaged:
        raise ValueError(f"{path} is damaged: {damaged} is not what its checksum says")


def _map_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """One array of an open `.npz`, mapped if it is stored plainly and is not tiny."""
    shape, fortran, dtype, header = _read_head(archive, member)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size < 4096 or fortran:
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    with open(path, "rb") as file:  # the local header's lengths may differ from the directory's
        file.seek(member.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2").astype(int)
    offset = member.header_offset + 30 + int(lengths.sum()) + header
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)


def _read_head(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[Any, bool, Any, int]:
    """Shape, order and dtype of an array of an open `.npz`, and the bytes before its numbers."""
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        start = io.BytesIO(file.read(HEAD))
    version = np.lib.format.read_magic(start)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(start)
    if dtype.hasobject:
        raise ValueError(f"{name} is an array of objects: save numbers or text")
    if start.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ValueError(f"{name} has not the size of its shape {shape}")
    return shape, fortran, dtype, start.tell()


def pack_strings(strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Strings as UTF-8 bytes (uint8) and their (n + 1,) int64 offsets: maps well, no pickle."""
    encoded = [s.encode("utf-8", "surrogatepass") for s in strings]
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in encoded], dtype=np.int64)])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets.astype(np.int64)


class PackedStrings(Sequence):
    """A list of strings that is decoded, from `pack_strings` arrays, only where it is asked for."""

    def __init__(self, data: np.ndarray, offsets: np.ndarray):
        self.data, self.offsets = data, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        piece = self.data[self.offsets[index] : self.offsets[index + 1]]
        try:
            return piece.tobytes().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise ValueError(f"text {index} is damaged: it is not UTF-8") from None

    def check(self) -> None:
        """Raises ValueError where the two arrays are not what `pack_strings` gives."""
        data, ends = self.data, self.offsets
        fits = data.dtype == np.uint8 and ends.dtype == np.int64 and data.ndim == ends.ndim == 1
        if (
            not fits
            or not len(ends)
            or ends[0]
            or ends[-1] != len(data)
            or (np.diff(ends) < 0).any()
        ):
            raise ValueError("the texts and where they end do not fit together")
