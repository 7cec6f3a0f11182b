"""Which run a training is: a new folder, one that goes on, or one that starts from another.

Everything that can be refused is refused here, before TensorFlow is imported.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run import folder
from run.folder import Run
from run.options import with_role
from run.settings import Facts
from systems import sheets
from training import phases

RUN_FILES = ("config.json", "vocabulary.json")  # of a run, whole or half-written


@dataclass(frozen=True)
class Start:
    """A training that may begin.

    Attributes:
      run: its folder; settings: as asked for, or as the run was started.
      facts: of a resumed run; else empty.
      resumed: whether it goes on.
      first: the run that a new one starts from, or None.
      given: names of the flags that the command line gives, a recipe's among them.
      overwrite: whether the folder is replaced.
    """

    run: Run
    settings: Any
    facts: Facts
    resumed: bool
    first: Run | None
    given: tuple[str, ...]
    overwrite: bool


def open_run(values: Any, argv: list[str], chief: bool) -> Start:
    """The run's settings and folder, new or resumed; only the chief refuses a folder that is there.

    A first phase that is asked for is trained here, before anything of the second.

    Args:
      values: the parsed flags of train.py; argv: the command line, the script's name first.

    Raises:
      ValueError: the folder is taken; or the run to resume is missing, or was of other settings.
    """
    asked = sheets.from_flags(values)
    given = tuple(f.name for f in dataclasses.fields(asked) if values[f.name].present)
    if values.resume and values.overwrite:
        raise ValueError("--resume goes on with a run, --overwrite replaces it: choose one")
    check_phases(asked, values)
    run = Run(Path(values.exp_root) / (values.exp or sheets.default_name(asked)))
    # Killed in its first phase, a run has no folder yet.
    begun = not (asked.first_phase and values.exp) or run.config.is_file()
    alone = values.exp and not run.config.is_file() and not asked.first_phase
    if values.resume and alone and phases.first_run(run).config.is_file():
        raise ValueError(
            f"{run} was stopped in its first phase: repeat its whole command with --resume"
        )
    if values.resume and begun:
        run = folder.find(values.exp_root, values.exp)
        settings, facts = resumed_settings(run, asked, given)
        return Start(run, settings, facts, True, None, given, False)
    if chief:
        check_folder(run, values.exp_root, values.overwrite)
    first = folder.find(values.exp_root, asked.init_from) if asked.init_from else None
    if first and first.folder.resolve() == run.folder.resolve():
        raise ValueError(f"{run} cannot start from itself: choose another --exp")
    if asked.first_phase:
        phases.check_recipe(asked.first_phase, asked, argv)
        first = phases.train_first(asked.first_phase, run, argv, values.overwrite)
        asked = dataclasses.replace(asked, init_from=str(first))
    return Start(run, asked, Facts(), False, first, given, values.overwrite)


def check_phases(asked: Any, values: Any) -> None:
    """Refuses flags of a curriculum that contradict each other. Raises ValueError."""
    if asked.first_phase and asked.init_from:
        raise ValueError("--first_phase trains the run to start from, --init_from names one")
    if asked.word_vectors and asked.init_from and not values.resume:
        raise ValueError("--word_vectors starts the words, and so does --init_from: choose one")
    if asked.first_phase and not values.exp:
        if values.strategy == "multi_worker":
            raise ValueError("--first_phase on several workers needs --exp, the same on each")
        if values.resume:
            raise ValueError("--resume of a run of two phases needs its name: --exp NAME")


def resumed_settings(run: Run, asked: Any, given: tuple[str, ...]) -> tuple[Any, Facts]:
    """Settings and facts of a run that goes on; flags that may change are those asked for.

    Raises:
      ValueError: another setting was given than the run was started with.
    """
    settings, facts = sheets.load(run)
    changed, free = {}, with_role(type(settings), "free")
    for name in given:
        value, was = getattr(asked, name), getattr(settings, name, None)
        if value == was or (name in sheets.RESOLVED and value == "auto"):
            continue  # the snapshot says what "auto" came out as
        if name not in free:
            raise ValueError(
                f"{run} was started with --{name} {was}, not {value}: leave the flag out to "
                "resume, or start a new run"
            )
        changed[name] = value
    return dataclasses.replace(settings, **changed), facts


def check_folder(run: Run, exp_root: str, overwrite: bool) -> None:
    """Refuses a folder that a new run may not have.

    Raises:
      ValueError: it is there and not to be replaced, or is no run's.
    """
    if Path(exp_root).is_file() or run.folder.is_file():
        raise ValueError(f"{run} cannot be a run's folder: there is a file in its place")
    if not run.folder.exists():
        return
    if not overwrite:
        raise ValueError(
            f"{run} is there already: choose another --exp, or go on with it (--resume), or "
            "replace it (--overwrite)"
        )
    if not any((run / name).is_file() for name in RUN_FILES):
        raise ValueError(f"{run} is no run folder, so it is not replaced: choose another --exp")
