"""One run is one folder: `exp/<name>/`, its files by name, and how runs are found."""

import os
from pathlib import Path


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
