"""Curriculum: a run that starts where another one ended.

`--init_from RUN` starts from the best weights of a run, reads words and pictures as that run does,
and keeps those weights as its best until an epoch beats them on validation. `--first_phase RECIPE`
trains that run first, in a process of its own.

Reference: Vilalta et al., Studying the impact of the full-network embedding on multimodal
  pipelines, 2019, section 3.5: the sum of hinges first, then their maximum.
"""

import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from data.vision import descriptors
from run import files, folder, hdf5
from run.folder import RunOptions
from settings.options import with_role
from settings.training import StartOptions
from systems import config


def first_run(run):
    """The folder of a run's first phase: NAME-first beside it."""
    return folder.Run(run.folder.with_name(f"{run.folder.name}{folder.FIRST_PHASE}"))


def check_recipe(recipe, settings, argv):
    """Refuses a first phase whose towers would not fit, before it is trained.

    Raises:
      ValueError: there is no such recipe, or one of its settings does not fit.
    """
    given = config.given_flags(argv, one_phase(recipe))
    before = config.parse([argv[0], f"--recipe={recipe}", *given])
    for name in with_role(type(settings), "shape"):
        was, now = getattr(before, name, None), getattr(settings, name)
        if was != now:
            raise ValueError(
                f"--first_phase {recipe} has --{name} {was}, this run {now}: both phases need the "
                "same towers"
            )


def one_phase(recipe):
    """Names of the flags that belong to one phase, and are not passed on to the other."""
    kind = type(config.parse(["train.py", f"--recipe={recipe}"]))
    return [name for part in (kind, RunOptions, StartOptions) for name in with_role(part, "phase")]


def first_flags(recipe, argv):
    """Flags of a first phase: its recipe, and those of the command line that hold for both."""
    return [f"--recipe={recipe}", *config.given_flags(argv, one_phase(recipe))]


def train_first(flags, run, anew=False):
    """Trains the first phase of `run`, or what is left of it.

    Args:
      flags: of `first_flags`.
      run: the run that will start from it.
      anew: whether a first phase that is there is replaced, and not gone on with.

    Returns:
      The first phase's run.

    Raises:
      ValueError: it failed; its own line stands above.
    """
    first = first_run(run)
    script = Path(__file__).resolve().parents[1] / "train.py"
    command = [sys.executable, str(script), *flags]
    command += [f"--exp_root={first.folder.parent}", f"--exp={first.folder.name}"]
    if first.state.is_file() and not anew:
        command += ["--resume"]
    elif first.folder.exists():
        command += ["--overwrite"]
    if run_beside(command):
        raise ValueError(f"the first phase, {first}, was not finished: see above")
    return first


def run_beside(command: list[str]) -> int:
    """Runs a command to its end; returns its exit status. It never outlives this process.

    A terminal's Ctrl-C reaches this process alone, which tells how to go on, once.
    """
    alone: dict[str, Any] = {}
    if os.name == "posix":
        alone = {"start_new_session": True, "preexec_fn": _die_with_parent}
    process = subprocess.Popen(command, **alone)
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    """Asks Linux to kill this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


def same_reading(first, settings, given):
    """The settings of a second phase, words and pictures read as in its first.

    Args:
      first: the run to start from.
      settings: of the second phase; given: names of the flags that were given.

    Raises:
      ValueError: a setting that shapes the towers, or a given one of pictures and words, differs;
        or the pairs that are held out do.
    """
    before, _ = config.load(first)
    kind = type(settings)
    if type(before) is not kind:
        raise ValueError(
            f"{first} was trained with --model {before.model}, so it cannot start a run with "
            f"{settings.model}: both phases need the same towers"
        )
    for name in ("heldout", "heldout_file"):
        was, now = getattr(before, name), getattr(settings, name)
        if was != now:
            raise ValueError(
                f"{first} was trained with --{name} {was}, this run has {now}: give both the "
                "same, or one of them sees the pairs that the other holds out"
            )
    if settings.heldout and before.pair_finder != settings.pair_finder:
        raise ValueError(
            f"{first} found the pairs to hold out with --pair_finder {before.pair_finder}, this "
            f"run with {settings.pair_finder}: give both the same"
        )
    read, shapes = with_role(kind, "words", "pictures"), with_role(kind, "shape")
    if settings.features == "pixels":  # the first may have read vectors of the same network
        read = [*with_role(kind, "words"), "cnn", "image_weights"]
        if before.features not in ("last", "pixels"):
            raise ValueError(
                f"{first} was trained with --features {before.features}: a run that reads pixels "
                "starts from one that read pixels, or the last layer of the same --cnn"
            )
    for name in (*shapes, *read):
        was, now = getattr(before, name), getattr(settings, name)
        if was != now and (name in shapes or name in given):
            raise ValueError(
                f"{first} was trained with --{name} {was}, so it cannot start a run with {now}: "
                "both phases need the same towers, words and pictures"
            )
    return dataclasses.replace(settings, **{name: getattr(before, name) for name in read})


def check_vectors(first, settings):
    """Refuses a first phase on vectors whose rows or classes a second one on pixels has not.

    Raises:
      ValueError: the vectors have length 1; or pseudo classes would be clusters of others.
    """
    if settings.features != "pixels" or config.load(first)[0].features != "last":
        return
    path = first.require(first.features, "it was lost; train anew with --overwrite")
    vectors: Any = descriptors.load_descriptor(path)
    if vectors.unit:
        raise ValueError(
            f"{first} was trained on vectors of length 1, by an older version: a tower of pixels "
            "has others; train it anew"
        )
    was, now = (vectors.network.crops, vectors.network.size), (1, settings.image_size)
    if getattr(settings, "num_classes", 0) and was != now:
        raise ValueError(
            f"--num_classes {settings.num_classes}: {first} clustered pictures of {was[1]} pixels "
            f"in {was[0]} crops, this run would those of {now[1]} in one, so its classes would be "
            "others: train the first with --crops 1 and the same --image_size"
        )


def check_sizes(first, settings, facts):
    """Refuses image vectors of another size, and a classifier of another number of classes.

    Raises:
      ValueError: both sizes are named.
    """
    _, before = config.load(first)
    if settings.features != "pixels" and before.feature_dim != facts.feature_dim:
        raise ValueError(
            f"{first} reads image vectors of {before.feature_dim} numbers, this data has "
            f"{facts.feature_dim}: both phases need the same vectors"
        )
    if before.num_classes != facts.num_classes:
        raise ValueError(
            f"{first} has a classifier of {before.num_classes:,} classes, this data has "
            f"{facts.num_classes:,}: both phases need the same training images"
        )


def take_over(first, model):
    """Sets a model to the best weights of a run; returns their SHA-256.

    Only the weights: the optimiser's rate, step count and moments, which an older run's file holds
    too, stay those of the new run.

    Raises:
      ValueError: the run has no weights yet, or they are damaged.
    """
    import keras

    first.require(first.best_weights, "it has not ended an epoch; train it first")
    before, facts = config.load(first)
    if before.features != "pixels" and len(model.image_tower.input_shape) == 4:
        return _take_over_paths(first, before, facts, model)
    fresh = [keras.ops.convert_to_numpy(value) for value in model.optimizer.variables]
    try:
        hdf5.load_weights(model, first.best_weights)
    except ValueError as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise ValueError(f"{first.best_weights} cannot be taken over ({reason})") from None
    for variable, value in zip(model.optimizer.variables, fresh, strict=True):
        variable.assign(value)
    return files.file_hash(first.best_weights)


def _take_over_paths(first, before, facts, model):
    """Sets what reads the CNN's features, the text tower, the classifier; the CNN stays as it is.

    For a first phase that read vectors of the same network.
    """
    import models

    source = models.build_model(before, facts)
    try:
        hdf5.load_weights(source, first.best_weights)
    except ValueError as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise ValueError(f"{first.best_weights} cannot be taken over ({reason})") from None
    for part in ("standardize", "image_path", "image_head", "text_tower", "instance"):
        pairs = [find_part(side, part) for side in (source, model)]
        if all(part is not None and part.weights for part in pairs):
            pairs[1].set_weights(pairs[0].get_weights())
    return files.file_hash(first.best_weights)


def find_part(model, name) -> Any:
    """A part of a model that reads pictures: a layer of its image tower, its text tower or one of
    its heads; None where it has none.
    """
    parts = (*model.image_tower.layers, model.text_tower, *model.heads)
    return {part.name: part for part in parts}.get(name)
