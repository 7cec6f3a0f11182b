"""What can be compared: run folders, folders of results alone, embeddings of other models.

    rows, left = read_sources([Path("exp/a"), Path("their/results"), Path("other.npz")])
    align(rows)              # embeddings name no images: they take the names of a run's

A folder of results holds `score.json` and `ranks_*.csv`; nothing says how they came about. Of an
`.npz` the score is reckoned here. Imports no TensorFlow.
"""

import contextlib
import glob
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import metrics
from gallery.scan import DIRECTIONS
from gallery.similarity import of_arrays
from grading import intervals
from grading import score as scores
from grading.comparison import paired
from grading.comparison.paired import Ranks
from grading.verify import read_score
from run import files, folder, manifest
from run.folder import Run
from run.log import read_log
from settings import options
from settings.training import Facts
from systems import config

# What the table shows of a score, text to image where it has directions.
SHOWN = ("rsum", "mrr", *(f"recall@{cutoff}" for cutoff in metrics.CUTOFFS))
PASSED = ("seed", "recipe", "data_dir", "cache_dir", "cache")  # no part of `setting_of`


class Standing(NamedTuple):
    """A graded run, results alone, or embeddings.

    Attributes:
      run: its folder, or the file; model, loss, seed: its settings', where it has any.
      settings: {flag: value} of those that are not the defaults.
      score: its score.json; log: of `run.log.read_log`.
      data: what the score is of, as a line; runs of other lines are not comparable.
      setting: all that makes the run but its seed and where files lie; None: not known.
      ranks: of embeddings; those of others lie in files.
    """

    run: Run
    model: str
    loss: str
    seed: int | None
    settings: dict[str, Any]
    score: dict[str, Any]
    log: dict[str, Any]
    data: str
    setting: dict[str, Any] | None = None
    ranks: Ranks | None = None

    @property
    def name(self) -> str:
        return self.run.folder.name

    def read_ranks(self) -> Ranks:
        """Its ranks by query. Raises ValueError: a file of them is missing or damaged."""
        return self.ranks or paired.read_ranks(self.run)


def find_paths(root: str, asked: Sequence[str]) -> list[Path]:
    """What is named, each once; all runs of a folder where nothing is.

    Of these X-first is left out where X started from it, and so stands for it.

    Args:
      root: the folder of runs; asked: names below it, paths, patterns of either.

    Raises:
      ValueError: a name leads nowhere.
    """
    if not asked:
        return [path for path in folder.list_runs(root) if not _led_on(path)]
    found: dict[Path, Path] = {}
    for word in asked:
        pattern = any(sign in word for sign in "*?[")
        for place in (Path(root) / word, Path(word)):
            paths = [Path(path) for path in sorted(glob.glob(str(place)))] if pattern else [place]
            if paths := [path for path in paths if _is_source(path)]:
                break
        else:
            if pattern:
                raise ValueError(f"no run in {root}/ is called like {word!r}")
            paths = [folder.find(root, word).folder]  # which refuses it
        for path in paths:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _led_on(path: Path) -> bool:
    """Whether a run is X-first, from which the run X beside it started."""
    name = path.name.removesuffix(folder.FIRST_PHASE)
    run = Run(path.with_name(name)) if name and name != path.name else None
    if run is None or not run.config.is_file():
        return False
    with contextlib.suppress(ValueError):
        start = config.load(run)[0].init_from
        return start is not None and first_folder(start, run) == path.resolve()
    return False


def _is_source(path: Path) -> bool:
    known = ("config.json", "score.json")
    return any((path / n).is_file() for n in known) or (path.suffix == ".npz" and path.is_file())


def read_sources(paths: Iterable[Path], by: str = "rsum") -> tuple[list[Standing], list[str]]:
    """What can be compared, and a line about each of the others; none stops the rest.

    Args:
      by: the metric that they are sorted by, which each must have.
    """
    rows, left = [], []
    for path in paths:
        try:
            row = read_source(path)
            for metric in dict.fromkeys([*SHOWN, *({by} & set(metrics.METRICS))]):
                figure_of(row, metric)
            rows.append(row)
        except ValueError as error:
            left.append(f"{Path(path).name}: {error}")
    return rows, left


def read_source(path: Path) -> Standing:
    """One of the three kinds, by what lies there.

    Raises:
      ValueError: it is not graded, or a file is damaged.
    """
    if path.suffix == ".npz" and not path.is_dir():
        return read_foreign(path)
    return read_run(path) if Run(path).config.is_file() else read_results(path)


def read_run(folder: Path) -> Standing:
    """A run with its score.

    Raises:
      ValueError: it is not graded as it is, or a file is damaged.
    """
    run = Run(folder)
    settings, facts = config.load(run)
    score = read_score(run)
    _check_weights(run, score)
    if all((run / f"ranks_{side}.csv").is_file() for side in DIRECTIONS):
        _check_ranks(run, score, paired.read_ranks(run))
    told, setting = config.differences(settings), setting_of(settings, facts, run)
    own = (settings.model, settings.loss, settings.seed, told)
    return Standing(run, *own, score, read_log(run), data_of(score), setting)


def _check_weights(run: Run, score: Mapping[str, Any]) -> None:
    """Refuses a score of other weights than the run has now, where both are known."""
    known = manifest.hashes_of(run.folder).get(run.best_weights.name)
    graded = score["hashes"].get("weights")
    if known and graded and graded not in known:
        raise ValueError(
            f"{run.score} was graded before it was trained on, with other weights than the run "
            f"has now: python test.py --exp {run.argument}"
        )


def read_results(folder: Path) -> Standing:
    """A folder with score.json and ranks_*.csv, such as as/NAME of a run.

    Raises:
      ValueError: one is missing or damaged, or they do not agree.
    """
    run = Run(folder)
    score = files.read_json(paired.require_whole(run, run.score), dict)
    parts = [files.typed(score, name, dict, run.score) for name in ("protocol", "hashes")]
    ranks = paired.read_ranks(run)
    _check_ranks(run, score, ranks)
    model, loss = (str(parts[0].get(name, "")) for name in ("model", "loss"))
    return Standing(run, model, loss, None, {}, score, read_log(run), data_of(score), None, ranks)


def _check_ranks(run: Run, score: Mapping[str, Any], ranks: Ranks) -> None:
    """Refuses a score of one gallery that ranks_*.csv beside it do not give. Raises ValueError."""
    again = metrics.rsum(*(metrics.summarise(one.ranks) for one in ranks.found.values()))
    told = files.typed(files.typed(score, "rsum", dict, run.score), "value", float, run.score)
    if score["protocol"].get("folds", 1) == 1 and not np.isclose(told, again):
        mend = "copy all three files of one grading"
        if run.config.is_file():  # test.py was stopped between them
            mend = f"python test.py --exp {run.argument}"
        given = f"ranks_*.csv beside it give {again:.1f}"
        raise ValueError(f"{run.score} has rsum {told}, {given}: {mend}")


def read_foreign(path: Path) -> Standing:
    """Embeddings of another model, scored: `image`, `text`, `caption_image`, by the strict reader.

    Raises:
      ValueError: they cannot be scored.
    """
    arrays = scores.merge_equal_rows(scores.read_embeddings(path), path, None)
    similarity, owner = of_arrays(arrays, path), arrays["caption_image"]
    for line in scores.note_norms(arrays, similarity):
        print(f"note: {path}: {line}", file=sys.stderr)
    image, concepts = arrays["image"], arrays.get("concepts")
    found = metrics.evaluate(image, arrays["text"], owner, concepts, similarity=similarity)
    protocol = scores.protocol([found], len(image), concepts is not None, similarity)
    score = {"protocol": protocol, "hashes": {}, **intervals.with_intervals(found)}
    found = {side: replace(one, ap=None, ndcg=None) for side, one in found.items()}  # as in files
    queries: dict[str, list[tuple[str, str | None]]] = {
        side: [(str(image), None) for image in one.query_image] for side, one in found.items()
    }
    data = f"embeddings, {len(image)} images, {len(owner)} captions"
    own = ("", "", None, {}, score, read_log(Run(path)), data)
    return Standing(Run(path), *own, ranks=Ranks(queries, found))


def figure_of(row: Standing, metric: str) -> dict[str, float]:
    """{"value", "low", "high"} of a metric, text to image where it has directions.

    Raises:
      ValueError: there is no such metric, or the score has none.
    """
    side = row.score if metric == "rsum" else row.score.get("text_to_image")
    found = side.get(metric) if isinstance(side, dict) else None
    known = ("rsum", *metrics.METRICS)
    if metric not in known:
        raise ValueError(f"{row.name} has no {metric}: choose one of {', '.join(known)}")
    if not isinstance(found, dict):
        raise ValueError(f"{row.run.score} has no {metric}: grade it anew with python test.py")
    if not all(isinstance(found.get(key), int | float) for key in ("value", "low", "high")):
        raise ValueError(f"{row.run.score}: {metric} is no value with an interval: was it edited?")
    return found


def align(rows: list[Standing]) -> list[Standing]:
    """Embeddings beside a run get its names of queries, if their captions have the same images.

    Those of a gallery of another size do not: a rank among more images is another figure. Rows have
    no names, so that they stand in the run's order is believed; it is said in a line.
    """
    named = [row for row in rows if row.run.folder.is_dir()]
    if not named or len(named) == len(rows):
        return rows
    ranks, size, aligned = named[0].read_ranks(), _gallery_size(named[0]), []
    for row in rows:
        if not row.ranks or row.run.folder.is_dir() or not _same_owners(row.ranks, ranks):
            aligned.append(row)
        elif size not in (None, wide := _gallery_size(row)):
            told = f"{row.name} has a gallery of {wide} images, {named[0].name} one of {size}"
            print(f"note: {told}: they are not compared", file=sys.stderr)
            aligned.append(row)
        else:
            told = f"its rows are taken in the order of {named[0].name}"
            print(f"note: {row.name} names no images: {told}", file=sys.stderr)
            same = {
                side: replace(one, query_image=ranks.found[side].query_image)  # as both number them
                for side, one in row.ranks.found.items()
            }
            own = Ranks(ranks.queries, same)
            aligned.append(row._replace(data=named[0].data, ranks=own))
    return aligned


def _gallery_size(row: Standing) -> int | None:
    """Images that a caption is compared with; None: the score does not say it."""
    told = row.score["protocol"]
    gallery, images, folds = told.get("gallery"), told.get("images"), told.get("folds", 1)
    if isinstance(gallery, dict) and isinstance(gallery.get("text_to_image"), int):
        return gallery["text_to_image"]
    known = isinstance(images, int) and isinstance(folds, int) and folds > 0
    return images // folds if known else None


def _same_owners(first: Ranks, second: Ranks) -> bool:
    """Whether query by query both have the same image, numbered by its place."""
    owners = [
        [np.unique(of.found[side].query_image, return_inverse=True)[1] for side in DIRECTIONS]
        for of in (first, second)
    ]
    return all(map(np.array_equal, *owners))


def data_of(score: Mapping[str, Any]) -> str:
    """What a score is of, as a line."""
    facts, found = score["protocol"], str(score["hashes"].get("data", ""))
    parts = [facts.get("data"), facts.get("split"), f"{facts.get('images')} images"]
    if isinstance(facts.get("folds"), int) and facts["folds"] > 1:
        parts.append(f"{facts['folds']} folds")
    told = ", ".join(str(part) for part in parts if part is not None)
    return f"{told} (fingerprint {found[:12]})" if found else told


def setting_of(settings: Any, facts: Facts, run: Run, later: Sequence[Path] = ()) -> dict[str, Any]:
    """What makes a run but its seed and where files lie: runs of equal ones differ by their seeds.

    Of a file or folder the name counts, of word vectors the hash of their file.

    Args:
      settings, facts: of its config.json; run: the run, beside which the one may lie that it
        starts from.
      later: the runs that started from this one.
    """
    section = type(settings)
    names = [field.name for field in options.fields_of(section) if field.name not in PASSED]
    found = {name: getattr(settings, name) for name in names}
    for name in set(names) & set(options.with_role(section, "place")):
        if found[name]:
            found[name] = [Path(path).name for path in found[name].split(",")]
    if facts.word_vectors_hash:
        found["word_vectors"] = facts.word_vectors_hash
    if settings.init_from:
        found["init_from"] = _start_of(settings, run, later)
    return found


def _start_of(settings: Any, run: Run, later: Sequence[Path]) -> Any:
    """What a run starts from: that run's setting, or of one that is gone the name less its seed."""
    if settings.first_phase:  # the recipe and the flags of both phases say what it is
        return settings.first_phase
    first = first_folder(settings.init_from, run)
    if first and first not in later:
        with contextlib.suppress(ValueError):
            return setting_of(*config.load(Run(first)), Run(first), (*later, first))
    return re.sub(r"_\d+$", "", Path(settings.init_from).name)


def first_folder(init_from: str, run: Run) -> Path | None:
    """The folder of the run that another one starts from; None: it is gone."""
    beside = run.folder.parent
    places = (beside / init_from, Path(init_from), beside / Path(init_from).name)
    return next((one.resolve() for one in places if Run(one).config.is_file()), None)
