"""One run is one folder: `exp/<name>/`. Paths, JSON, arrays and atomic writes.

Everything that a run leaves behind is plain: JSON, CSV, NPZ, HDF5, ONNX and PNG. A file is written
under a temporary name beside its target and renamed when it is whole, so a killed run or a full
disk never leaves a half file that looks like a whole one.

Imports neither TensorFlow nor Keras, so that queries and scores of saved projections start at once.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes; where the arrays of an .npz start, so that they can be memory-mapped


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, size: int = 0) -> Iterator[Path]:
    """Gives a temporary path beside `path`; renames it to `path` if the block succeeds.

    The suffix is kept because Keras and NumPy choose the format by it.

    Args:
      path: the file to write.
      size: bytes that it will take, where its writer cannot be trusted with a full disk (HDF5 may
        crash the process).

    Raises:
      OSError: names `path`, whatever could not be written; what stood there is kept.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if size > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "r+b") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON atomically: keys in the order given, numbers in full, NaN refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
      ValueError: the file is missing or is no whole JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is missing: the run folder is incomplete or not a run folder")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not whole JSON ({error}): was it edited or cut off?") from None


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
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as loaded:
            return {
                member.filename.removesuffix(".npy"): _map_member(path, archive, member, loaded)
                for member in archive.infolist()
            }
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} is not a whole .npz file ({error})") from None


def _map_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, loaded: Any) -> Any:
    """One array of an open `.npz`, mapped if it is stored plainly and is not tiny."""
    name = member.filename.removesuffix(".npy")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size < 4096:
        return loaded[name]
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        header = file.tell()
    if dtype.hasobject or fortran:
        return loaded[name]
    with open(path, "rb") as file:  # the local header's lengths may differ from the directory's
        file.seek(member.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2").astype(int)
    offset = member.header_offset + 30 + int(lengths.sum()) + header
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)


def pack_strings(strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Strings as UTF-8 bytes (uint8) and their (n + 1,) int64 offsets: maps well, no pickle."""
    encoded = [s.encode("utf-8", "surrogatepass") for s in strings]
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in encoded], dtype=np.int64)])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets.astype(np.int64)


class PackedStrings(Sequence):
    """A list of strings read from `pack_strings` arrays only where it is asked for."""

    def __init__(self, data: np.ndarray, offsets: np.ndarray):
        self.data, self.offsets = data, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        piece = self.data[self.offsets[index] : self.offsets[index + 1]]
        return piece.tobytes().decode("utf-8", "surrogatepass")


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Experiment:
    """The folder of one run.

    | file | what |
    |---|---|
    | `config.json` | every setting that the run was started with |
    | `vocabulary.json` | the words that the text tower knows (training captions only) |
    | `features.npz` | the picture descriptor's dictionary, where the data has pictures |
    | `history.csv`, `history.png` | one row per epoch; the learning curves |
    | `best.weights.h5` | weights of the best epoch by `--select` |
    | `last/state.npz` | everything that `--resume` needs |
    | `projections.npz`, `query.onnx`, `image.onnx` | what `test.py` leaves for `retrieve.py` |
    | `writer_first.onnx`, `writer_next.onnx` | the same of a model that writes captions |
    | `score.json`, `ranks_*.csv`, `score.png` | the number, rank by rank, as a picture |
    | `log.txt` | when training began and how it ended |
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def config(self) -> Path:
        return self / "config.json"

    @property
    def vocabulary(self) -> Path:
        return self / "vocabulary.json"

    @property
    def features(self) -> Path:
        return self / "features.npz"

    @property
    def history(self) -> Path:
        return self / "history.csv"

    @property
    def best_weights(self) -> Path:
        return self / "best.weights.h5"

    @property
    def state(self) -> Path:
        return self / "last" / "state.npz"

    @property
    def projections(self) -> Path:
        return self / "projections.npz"

    @property
    def query_tower(self) -> Path:
        return self / "query.onnx"

    @property
    def image_tower(self) -> Path:
        return self / "image.onnx"

    @property
    def first_step(self) -> Path:
        return self / "writer_first.onnx"

    @property
    def next_step(self) -> Path:
        return self / "writer_next.onnx"

    @property
    def score(self) -> Path:
        return self / "score.json"

    def require(self, path: Path, why: str) -> Path:
        """Returns `path` if it is there.

        Raises:
          ValueError: it is missing; `why` says how to make it.
        """
        if not path.is_file():
            raise ValueError(f"{self} has no {path.relative_to(self.folder)}: {why}")
        return path

    def log(self, line: str) -> None:
        """Prints a line and keeps it in `log.txt`."""
        print(line, flush=True)
        with open(self / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")


def list_runs(root: str | os.PathLike) -> list[Path]:
    """The run folders below `root` (those with a config.json), oldest first."""
    configs = [path / "config.json" for path in Path(root).glob("*") if path.is_dir()]
    found = [path for path in configs if path.is_file()]
    return [path.parent for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, str(p)))]


def find(root: str | os.PathLike, name: str | None) -> Experiment:
    """Opens run `name` (a name below `root`, or a path); without a name the latest run.

    Raises:
      ValueError: there is no such run; the runs that are there are listed.
    """
    runs = list_runs(root)
    if not name:
        if not runs:
            raise ValueError(f"there is no run in {root}/ yet: start with python train.py")
        return Experiment(runs[-1])
    for folder in (Path(root) / name, Path(name)):
        if (folder / "config.json").is_file():
            return Experiment(folder)
    if (Path(root) / name).is_dir():
        raise ValueError(
            f"{Path(root) / name} has no config.json: it is no run folder, or its run was stopped "
            "before it began; remove it, or train it anew with --overwrite"
        )
    known = ", ".join(run.name for run in runs[-10:]) or "none yet"
    raise ValueError(f"unknown experiment {name!r}; the runs in {root}/ are: {known}")


def run_script(script: Callable[[], Any]) -> None:
    """Runs a script; what a user can cause ends as one clear line and exit code 1, no traceback.

    The environment variable MATCHBOX_TRACEBACK=1 shows the traceback all the same.
    """
    name = Path(sys.argv[0]).name
    for stream, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream) is None:  # closed by the shell
            setattr(sys, stream, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    try:
        script()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("MATCHBOX_TRACEBACK"):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        sys.exit(f"{name}: error: {lines[0]}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped")
