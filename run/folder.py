"""One run is one folder: `exp/<name>/`, its files by name, what it was, and how it is found."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run import files
from run.options import Options, option

FORMAT = 2  # of config.json; 1 had settings alone, and no number


@dataclass(frozen=True)
class RunOptions(Options):
    """Which run; shared by all scripts."""

    title = "Run"
    exp: str | None = option(
        None,
        "Name of a folder below --exp_root, or a path. Without it: the latest run; for a new "
        "training <date>_<time>_<model>_<loss>.",
        roles="phase",
    )
    exp_root: str = option("exp", "Folder that holds the runs.", roles="phase")


class Run:
    """The folder of one run.

    | file | what |
    |---|---|
    | `config.json` | every setting that the run was started with |
    | `vocabulary.json` | the words that the text tower knows (training captions only) |
    | `features.npz` | how pictures are described, and what was learned for it |
    | `history.csv`, `history.png` | one row per epoch; the learning curves |
    | `best.weights.h5` | weights of the best epoch by `--select` |
    | `last/state.npz` | everything that `--resume` needs |
    | `projections.npz`, `query.onnx`, `image.onnx` | what `test.py` leaves for `retrieve.py` |
    | `writer_first.onnx`, `writer_next.onnx` | the same of a model that writes captions |
    | `serving/1` | of `test.py --export serving`: the text tower for TensorFlow Serving |
    | `score.json`, `ranks_*.csv`, `score.png` | the number, rank by rank, as a picture |
    | `log.txt` | when training began and how it ended |
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.config = self / "config.json"
        self.vocabulary = self / "vocabulary.json"
        self.features = self / "features.npz"
        self.history = self / "history.csv"
        self.best_weights = self / "best.weights.h5"
        self.state = self / "last" / "state.npz"
        self.projections = self / "projections.npz"
        self.query_tower = self / "query.onnx"
        self.image_tower = self / "image.onnx"
        self.first_step = self / "writer_first.onnx"
        self.next_step = self / "writer_next.onnx"
        self.score = self / "score.json"

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
        return parts

    def data_folder(self) -> Path:
        """What the run's picture references start from: the folder of its data."""
        data_dir = Path(str(self.read_config()["settings"].get("data_dir") or ""))
        return data_dir.parent if data_dir.is_file() else data_dir

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
        if (self / "log.txt").is_symlink():
            raise ValueError(f"{self / 'log.txt'} is a link: a run's files are its own")
        with open(self / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")


def list_runs(root: str | os.PathLike) -> list[Path]:
    """The run folders below `root` (those with a config.json), oldest first."""
    configs = [path / "config.json" for path in Path(root).glob("*") if path.is_dir()]
    found = [path for path in configs if path.is_file()]
    return [path.parent for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, str(p)))]


def find(root: str | os.PathLike, name: str | None) -> Run:
    """Opens run `name` (a name below `root`, or a path); without a name the latest run.

    Raises:
      ValueError: there is no such run; the runs that are there are listed.
    """
    runs = list_runs(root)
    if not name:
        if not runs:
            raise ValueError(f"there is no run in {root}/ yet: start with python train.py")
        return Run(runs[-1])
    for folder in (Path(root) / name, Path(name)):
        if (folder / "config.json").is_file():
            return Run(folder)
    if (Path(root) / name).is_dir():
        raise ValueError(
            f"{Path(root) / name} has no config.json: it is no run folder, or its run was stopped "
            "before it began; remove it, or train it anew with --overwrite"
        )
    known = ", ".join(run.name for run in runs[-10:]) or "none yet"
    raise ValueError(f"unknown experiment {name!r}; the runs in {root}/ are: {known}")
