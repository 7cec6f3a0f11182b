"""Which run a training is: a new folder, one that goes on, or one that starts from another.

Everything that can be refused is refused here, before TensorFlow is imported.
"""

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run import console, files, folder, lock
from run.folder import Run
from settings.options import from_json, own_names, with_role
from settings.training import Facts
from systems import config, unread


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
    asked = config.from_flags(values)
    given = tuple(f.name for f in dataclasses.fields(asked) if values[f.name].present)
    if values.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("--tensorboard: the package is not installed: pip install tensorboard")
    if values.resume and values.overwrite:
        raise ValueError("--resume goes on with a run, --overwrite replaces it: choose one")
    if not asked.first_phase:  # else they may be for one of the two
        unread.check_given(asked, set(config.given_names(argv)))
    check_phases(asked, values)
    if values.resume and not (asked.first_phase and not begun(values)):
        run = folder.find(values.exp_root, values.exp, begun=True)
        hold(run, chief)
        return resume(run, asked, given, argv, chief)
    run = Run(Path(values.exp_root) / (values.exp or config.default_name(asked)))
    files.check_printable(run.folder)
    if chief:
        check_folder(run, values.exp_root, values.overwrite)
    first = folder.find(values.exp_root, asked.init_from) if asked.init_from else None
    if first and first.folder.resolve() == run.folder.resolve():
        raise ValueError(f"{run} cannot start from itself: choose another --exp")
    start = Start(run, asked, Facts(), False, first, given, values.overwrite)
    if not asked.first_phase:
        hold(run, chief)
        return start
    from training import phases

    phases.check_recipe(asked.first_phase, asked, argv)
    hold(run, chief)
    # A first phase of another run is replaced, too, and not gone on with.
    replaced = begun_at(phases.first_run(run)) if values.overwrite else 0
    return with_first_phase(start, phases.first_flags(asked.first_phase, argv), chief, replaced)


def compared_flags(values: Any) -> dict[str, Any]:
    """{flag: value} of what all workers of a training must have alike."""
    found = {}
    for section in config.training_sections():
        places = with_role(section, "place")
        found |= {n: values[n].value for n in own_names(section) if n not in (*places, "threads")}
    return found


def begun(values: Any) -> bool:
    """Whether there is a run of this name that has been begun."""
    places = (Run(Path(values.exp_root) / values.exp), Run(values.exp))
    return any(run.config.is_file() or run.start.is_file() for run in places)


def hold(run: Run, chief: bool) -> None:
    """Makes this process the only one that trains the run. Raises ValueError: another does."""
    if chief:
        lock.claim(run.folder)
    console.when_stopped(lambda: how_to_go_on(run))


def how_to_go_on(run: Run) -> str:
    """What is told of a run whose training is stopped."""
    if not run.config.is_file() and not run.start.is_file():
        return "nothing was trained yet"
    how = f"python train.py --exp {run.argument} --resume"
    return f"the last whole epoch is safe; go on with: {how}"


def begun_at(run: Run) -> int:
    """When a run's config.json was written, in nanoseconds; 0 where it has none."""
    return run.config.stat().st_mtime_ns if run.config.is_file() else 0


def with_first_phase(start: Start, first_flags: list[str], chief: bool, replaced: int = 0) -> Start:
    """Trains the first phase, in a process of its own; returns the start of the second.

    What the run is, both phases, is kept in `start.json` before. Where the first phase is refused,
    all is as it was.

    Args:
      replaced: `begun_at` of the first phase that this one replaces, 0 for none.

    Raises:
      ValueError: the first phase was not finished.
    """
    from training import phases

    run, first, kept = start.run, phases.first_run(start.run), dataclasses.asdict(start.settings)
    was = run.start.read_text(encoding="utf-8") if run.start.is_file() else None
    if chief:
        facts = {"given": list(start.given), "overwrite": start.overwrite, "first": first_flags}
        facts |= {"replaced": replaced}
        files.write_json(run.start, {"format": folder.FORMAT, "settings": kept, **facts})
    before = begun_at(first)
    try:
        phases.train_first(first_flags, run, anew=0 < before == replaced)
    except ValueError:
        if chief and begun_at(first) == before:  # refused: nothing has begun
            undo_start(run, was)
        raise
    settings = dataclasses.replace(start.settings, init_from=str(first))
    return dataclasses.replace(start, settings=settings, first=first)


def undo_start(run: Run, was: str | None) -> None:
    """Gives a run the start.json back that it had, or none, where no training has begun."""
    if was is not None:
        files.write_text(run.start, was)
        return
    run.start.unlink()
    if not any(run.folder.iterdir()):
        run.folder.rmdir()


def resume(run: Run, asked: Any, given: tuple[str, ...], argv: list[str], chief: bool) -> Start:
    """The start of a run that goes on, from what it was begun with.

    Stopped in its first phase, it goes on with that; before its first epoch has ended, it begins
    anew.

    Raises:
      ValueError: another setting was given than the run was started with.
    """
    if run.start.is_file():
        from training import phases

        settings, found = read_start(run)
        settings = with_given(run, settings, asked, given)
        start = Start(
            run, settings, Facts(), False, None, tuple(found["given"]), found["overwrite"]
        )
        more = phases.first_flags(settings.first_phase, argv)[1:]
        return with_first_phase(start, [*found["first"], *more], chief, found["replaced"])
    settings, facts = resumed_settings(run, asked, given)
    if any(path.is_file() for path in (run.state, run.best_weights, run.history)):
        return Start(run, settings, facts, True, None, given, False)
    first = folder.find(run.folder.parent, settings.init_from) if settings.init_from else None
    return Start(run, settings, Facts(), False, first, (), True)


def read_start(run: Run) -> tuple[Any, dict[str, Any]]:
    """Settings of a run that is in its first phase, and all of its start.json.

    Raises:
      ValueError: it was edited into nonsense.
    """
    found = files.read_json(run.start)
    found = {"replaced": 0, **found} if isinstance(found, dict) else found  # older ones lack it
    kinds = {"format": int, "settings": dict, "given": list, "overwrite": bool, "first": list}
    kinds |= {"replaced": int}
    valid = isinstance(found, dict) and all(type(found.get(n)) is k for n, k in kinds.items())
    valid = valid and all(isinstance(word, str) for word in [*found["given"], *found["first"]])
    if not valid or found["format"] != folder.FORMAT or not found["settings"].get("first_phase"):
        raise ValueError(f"{run.start} does not say how a run was begun: was it edited?")
    system = config.sheet(str(found["settings"].get("model")))
    return from_json(system.settings, found["settings"], run.start), found


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
    settings, facts = config.load(run)
    return with_given(run, settings, asked, given), facts


def with_given(run: Run, settings: Any, asked: Any, given: tuple[str, ...]) -> Any:
    """The settings of a run, but for flags that may change and are given.

    Raises:
      ValueError: another setting was given than the run was started with.
    """
    changed, free = {}, with_role(type(settings), "free")
    for name in given:
        value, was = getattr(asked, name), getattr(settings, name, None)
        if value == was or (name in config.RESOLVED and value == "auto"):
            continue  # the snapshot says what "auto" came out as
        if name not in free:
            raise ValueError(
                f"{run} was started with --{name} {was}, not {value}: leave the flag out to "
                "resume, or start a new run"
            )
        changed[name] = value
    return dataclasses.replace(settings, **changed)


def check_folder(run: Run, exp_root: str, overwrite: bool) -> None:
    """Refuses a folder that a new run may not have.

    Raises:
      ValueError: it is there and not to be replaced, or is no run's.
    """
    if any(place.exists() and not place.is_dir() for place in (Path(exp_root), run.folder)):
        raise ValueError(f"{run} cannot be a run's folder: there is a file in its place")
    if not run.folder.exists() or run.is_unbegun():
        return
    if not overwrite:
        raise ValueError(
            f"{run} is there already: choose another --exp, or go on with it (--resume), or "
            "replace it (--overwrite)"
        )
    if not run.is_ours():
        raise ValueError(f"{run} is no run folder, so it is not replaced: choose another --exp")
