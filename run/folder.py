"""One run is one folder: `exp/<name>/`, its files by name, what it was, and how it is found."""

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run import files, manifest
from settings.options import Options, option

# Of `test.py --index`: what finds images of a very large gallery, and how well.
INDEX, INDEX_FACTS = "index.faiss", "index.json"
FIRST_PHASE = "-first"  # behind a run's name: the folder of its first phase
FORMAT = 3  # of config.json; 1 had settings alone, 2 no manifest beside it
# All that scripts write into a run folder, by name: what --overwrite removes, and nothing else.
WRITTEN = (
    "config.json", "data.json", "manifest.json", "vocabulary.json", "features.npz", "history.csv",
    "history.png", "errors.png", "best.weights.h5", "last/state.npz", "projections.npz",
    "index.faiss", "index.json", "milvus.db",
    "submission.npz", "query.onnx", "image.onnx", "writer_first.onnx", "writer_next.onnx",
    "serving/1", "score.json", "score-*.json", "ranks_text_to_image.csv",
    "ranks_image_to_text.csv", "score.png", "captions.json", "pairs.json", "pairs.md",
    "pairs.png", "examples_text_to_image.png", "examples_image_to_text.png",
    "examples.md", "answer.png", "explanation.png", "run.md", "log.txt", "tensorboard",
    "fit.json", "albums",
)  # fmt: skip
# What test.py makes of them; all others are of the training.
GRADED = (
    "projections.npz", "index.faiss", "index.json", "submission.npz", "query.onnx", "image.onnx",
    "writer_first.onnx", "writer_next.onnx", "score.json", "ranks_text_to_image.csv",
    "ranks_image_to_text.csv", "captions.json", "pairs.json", "fit.json",
)  # fmt: skip


@dataclass(frozen=True)
class RunOptions(Options):
    """Which run; shared by all scripts."""

    title = "Run"
    exp: str | None = option(
        None,
        "Run: the name of a folder below --exp_root, or a path. Without the flag: the latest "
        "run; in training a new one, <date>_<time>_<model>_<loss>.",
        roles="phase",
    )
    exp_root: str = option("exp", "Folder of all runs.", roles="phase")


class Run:
    """The folder of one run.

    | file | what |
    |---|---|
    | `config.json` | every setting that the run was started with |
    | `manifest.json` | the SHA-256 of each file, by which damage is found |
    | `data.json` | which images the run was trained on and is graded on |
    | `start.json` | the same and the first phase's, until that has ended |
    | `vocabulary.json` | the words that the text tower knows (training captions only) |
    | `features.npz` | how pictures are described, and what was learned for it |
    | `history.csv`, `history.png` | one row per epoch; the learning curves |
    | `best.weights.h5` | weights of the best epoch by `--select` |
    | `last/state.npz` | everything that `--resume` needs |
    | `projections.npz`, `query.onnx`, `image.onnx` | what `test.py` leaves for `retrieve.py` |
    | `submission.npz` | what is handed in, of an assignment's test split |
    | `writer_first.onnx`, `writer_next.onnx` | the same of a model that writes captions |
    | `serving/1` | of `test.py --export serving`: the text tower for TensorFlow Serving |
    | `score.json`, `ranks_*.csv`, `score.png` | the number, rank by rank, as a picture |
    | `as/NAME/` | of `test.py --as NAME`: the same of data that the run does not know |
    | `fit.json` | what is usual of validation captions, by which answers are `weak` |
    | `albums/` | indexes of people's own folders of pictures |
    | `log.txt` | when training began and how it ended |
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.config = self / "config.json"
        self.data = self / "data.json"
        self.start = self / "start.json"
        self.vocabulary = self / "vocabulary.json"
        self.features = self / "features.npz"
        self.history = self / "history.csv"
        self.best_weights = self / "best.weights.h5"
        self.state = self / "last" / "state.npz"
        self.projections = self / "projections.npz"
        self.submission = self / "submission.npz"
        self.query_tower = self / "query.onnx"
        self.image_tower = self / "image.onnx"
        self.first_step = self / "writer_first.onnx"
        self.next_step = self / "writer_next.onnx"
        self.score = self / "score.json"
        self.fit = self / "fit.json"

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def __str__(self) -> str:
        return str(self.folder)

    def read_config(self) -> dict[str, Any]:
        """`config.json`: {"format", "settings": {flag: value}, "facts": {name: value}}.

        Raises:
          ValueError: it is missing, no snapshot of a run, or of another format.
        """
        found = files.read_json(self.config)
        parts = found if isinstance(found, dict) else {}
        if parts.get("format", 1) != FORMAT:
            raise ValueError(
                f"{self.config} has format {parts.get('format', 1)}, this version reads {FORMAT}: "
                "train the run anew, or use the version that made it"
            )
        if not all(isinstance(parts.get(name), dict) for name in ("settings", "facts")):
            raise ValueError(f"{self.config} is not the snapshot of a run: it has no settings")
        self.check(self.config)
        return parts

    def is_ours(self) -> bool:
        """Whether what lies here is a run: its config.json, or start.json, is in our words."""
        for path in (self.config, self.start):
            try:
                found = files.read_json(path)
            except (ValueError, OSError, RecursionError):
                continue
            parts = found if isinstance(found, dict) else {}
            settings = parts.get("settings")
            known = isinstance(settings, dict) and {"model", "loss", "data"} <= set(settings)
            if known and isinstance(parts.get("format"), int):
                return True
        return False

    @property
    def argument(self) -> str:
        """What --exp takes for it: a name below the usual folder of runs, else a path; quoted."""
        usual = self.folder.parent == Path(str(RunOptions.exp_root))
        return shlex.quote(self.folder.name if usual else str(self.folder))

    def is_unbegun(self) -> bool:
        """Whether a start was stopped before its first file: an empty manifest is all there is."""
        files.remove_leftovers(self.folder)
        if any(path.name != manifest.NAME for path in self.folder.iterdir()):
            return False
        try:
            return set(manifest.hashes_of(self.folder)) <= {self.config.name}
        except ValueError:
            return False

    def clear(self) -> list[str]:
        """Removes what scripts have written into the folder; returns the names of all else."""
        for name in (*WRITTEN, *(f"as/*/{name}" for name in WRITTEN)):
            for path in self.folder.glob(name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        for part in (*self.folder.glob("as/*"), self / "as", self / "last", self / "serving"):
            if part.is_dir() and not any(part.iterdir()):
                part.rmdir()
        return sorted(path.name for path in self.folder.iterdir() if path != self.start)

    def data_folder(self) -> Path:
        """What the run's picture references start from: the folder of its data."""
        found = str(self.read_config()["settings"].get("data_dir") or "")
        data_dir = Path(found if Path(found).exists() else found.split(",")[0])
        return data_dir.parent if data_dir.is_file() else data_dir

    def require(self, path: Path, why: str) -> Path:
        """Returns `path` if it is there, as it was written.

        Raises:
          ValueError: it is missing, `why` says how to make it; or it is damaged.
        """
        if not path.is_file():
            raise ValueError(f"{self} has no {path.relative_to(self.folder)}: {why}")
        self.check(path)
        return path

    def check(self, path: Path) -> None:
        """Refuses a file that is not as it was written. Raises ValueError."""
        graded = path.relative_to(self.folder).as_posix() in GRADED
        mend = "make it anew with python test.py" if graded else "restore it, or train the run anew"
        try:
            manifest.check(self.folder, path)
        except ValueError as error:
            raise ValueError(f"{error}; {mend}") from None

    def check_all(self) -> None:
        """Refuses a run of which any file is not as it was written. Raises ValueError."""
        for name in manifest.hashes_of(self.folder):
            if (self / name).is_file():
                self.check(self / name)

    def log(self, line: str) -> None:
        """Prints a line and keeps it in `log.txt`."""
        print(line, flush=True)
        if (self / "log.txt").is_symlink():
            raise ValueError(f"{self / 'log.txt'} is a link: a run's files are its own")
        with open(self / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")


def list_runs(root: str | os.PathLike) -> list[Path]:
    """The run folders below `root` (those with a config.json), oldest first."""
    configs = [path / "config.json" for path in Path(root).glob("*") if path.is_dir()]
    found = [path for path in configs if path.is_file()]
    return [path.parent for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, str(p)))]


def latest_begun(root: str | os.PathLike) -> Run | None:
    """The run that was begun last, though it may still be in its first phase; or None.

    A first phase is no run of its own before it has ended.
    """
    told = [path for name in ("config.json", "start.json") for path in Path(root).glob(f"*/{name}")]
    if not told:
        return None
    last = max(told, key=lambda path: (path.stat().st_mtime_ns, str(path))).parent
    whole = Run(last.with_name(last.name.removesuffix(FIRST_PHASE)))
    return whole if whole.start.is_file() else Run(last)


def find(root: str | os.PathLike, name: str | None, begun: bool = False) -> Run:
    """Opens run `name` (a name below `root`, or a path); without a name the latest run.

    Args:
      begun: a run that is still in its first phase will do, and stands for that.

    Raises:
      ValueError: there is no such run; the runs that are there are listed.
    """
    runs = list_runs(root)
    if not name:
        last = latest_begun(root) if begun else Run(runs[-1]) if runs else None
        if last is None:
            raise ValueError(f"there is no run in {root}/ yet: start with python train.py")
        return last
    for folder in (Path(root) / name, Path(name)):
        run = Run(folder)
        if run.config.is_file() or (begun and run.start.is_file()):
            return run
    if (Path(root) / name).is_dir():
        raise ValueError(
            f"{Path(root) / name} has no config.json: it is no run folder, or its run was stopped "
            "before it began; remove it, or train it anew with --overwrite"
        )
    known = ", ".join(run.name for run in runs[-10:]) or "none yet"
    raise ValueError(f"unknown experiment {name!r}; the runs in {root}/ are: {known}")
