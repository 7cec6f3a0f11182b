"""Curriculum: a run that starts where another one ended.

`--init_from RUN` starts from the best weights of a run, reads words and pictures as that run does,
and keeps those weights as its best until an epoch beats them on validation. `--first_phase RECIPE`
trains that run first, in a process of its own.

Reference: Vilalta et al., Studying the impact of the full-network embedding on multimodal
  pipelines, 2019, section 3.5: the sum of hinges first, then their maximum.
"""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from run import files, folder, recipes

OWN = (  # flags of one phase
    "exp", "exp_root", "recipe", "first_phase", "init_from", "loss", "resume", "overwrite",
    "lambdas", "hard_texts", "freeze_backbone", "learn", "train",
    "rank_weight", "write_weight", "balance", "gradnorm_alpha", "gradnorm_rate", "freeze",
)  # fmt: skip
WORDS = (
    "max_words", "min_count", "vocabulary", "lowercase", "dictionary", "word_pieces", "max_pieces",
    "text_weights",
)  # fmt: skip
PICTURES = ("features", "cnn", "image_weights", "crops", "resize", "pre_activation", "grid")
READ = (*WORDS, *PICTURES)  # by which a second phase reads words and pictures: as its first


def first_run(run):
    """The folder of a run's first phase: NAME-first beside it."""
    return folder.Run(run.folder.with_name(f"{run.folder.name}-first"))


def check_recipe(recipe, settings, argv):
    """Refuses a first phase whose towers would not fit, before it is trained.

    Raises:
      ValueError: there is no such recipe, or one of its settings does not fit.
    """
    before = recipes.settings_of([argv[0], f"--recipe={recipe}", *recipes.given_flags(argv, OWN)])
    for name in recipes.SHAPES:
        was, now = getattr(before, name), getattr(settings, name)
        if was != now:
            raise ValueError(
                f"--first_phase {recipe} has --{name} {was}, this run {now}: both phases need the "
                "same towers"
            )


def train_first(recipe, run, argv, overwrite=False):
    """Trains the first phase of `run`, or what is left of it.

    Args:
      recipe: name of its recipe.
      run: the run that will start from it.
      argv: the command line; its flags hold for both phases, but for those in OWN.
      overwrite: train it anew, even if it is there.

    Returns:
      The first phase's run.

    Raises:
      ValueError: it failed; its own line stands above.
    """
    first = first_run(run)
    script = Path(__file__).resolve().parents[1] / "train.py"
    command = [sys.executable, str(script), f"--recipe={recipe}"]
    command += [f"--exp_root={first.folder.parent}", f"--exp={first.folder.name}"]
    command += recipes.given_flags(argv, OWN)
    if first.state.is_file() and not overwrite:
        command += ["--resume"]
    elif first.folder.exists():
        command += ["--overwrite"]
    if subprocess.run(command, check=False).returncode:
        raise ValueError(f"the first phase, {first}, was not finished: see above")
    return first


def check_start(first, settings, given):
    """Takes over what a second phase must share with its first, and refuses what differs.

    Args:
      first: the run to start from.
      settings: of the second phase; how pictures and words are read is set as in the first.
      given: names of the flags that were given.

    Raises:
      ValueError: a setting that shapes the towers, or a given one of pictures and words, differs;
        or the pairs that are held out do.
    """
    before = recipes.load_settings(first.config)
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
    read = READ
    if settings.features == "pixels":  # the first may have read vectors of the same network
        read = (*WORDS, "cnn", "image_weights")
        if before.features not in ("last", "pixels"):
            raise ValueError(
                f"{first} was trained with --features {before.features}: a run that reads pixels "
                "starts from one that read pixels, or the last layer of the same --cnn"
            )
    for name in (*recipes.SHAPES, *read):
        was, now = getattr(before, name), getattr(settings, name)
        if was == now or (name, now) == ("features", "auto"):
            continue
        if name in recipes.SHAPES or name in given:
            raise ValueError(
                f"{first} was trained with --{name} {was}, so it cannot start a run with {now}: "
                "both phases need the same towers, words and pictures"
            )
    for name in read:
        setattr(settings, name, getattr(before, name))


def check_sizes(first, settings):
    """Refuses image vectors of another size, and a classifier of another number of images.

    Raises:
      ValueError: both sizes are named.
    """
    before = recipes.load_settings(first.config)
    if settings.features != "pixels" and before.feature_dim != settings.feature_dim:
        raise ValueError(
            f"{first} reads image vectors of {before.feature_dim} numbers, this data has "
            f"{settings.feature_dim}: both phases need the same vectors"
        )
    if settings.model == "dual_path" and before.train_images != settings.train_images:
        raise ValueError(
            f"{first} has a class for each of {before.train_images:,} training images, this data "
            f"has {settings.train_images:,}: both phases need the same images"
        )


def take_over(first, model):
    """Sets a model to the best weights of a run; returns their SHA-256.

    Only the weights: the optimiser's rate, step count and moments, which the file holds too, stay
    those of the new run.

    Raises:
      ValueError: the run has no weights yet, or they are damaged.
    """
    import keras

    first.require(first.best_weights, "it has not ended an epoch; train it first")
    before = recipes.load_settings(first.config)
    if before.features != "pixels" and len(model.image_tower.input_shape) == 4:
        return _take_over_paths(first, before, model)
    fresh = [keras.ops.convert_to_numpy(value) for value in model.optimizer.variables]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another optimiser's state is left out
            model.load_weights(first.best_weights)
    except (OSError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise ValueError(f"{first.best_weights} cannot be taken over ({reason})") from None
    for variable, value in zip(model.optimizer.variables, fresh, strict=True):
        variable.assign(value)
    return files.file_hash(first.best_weights)


def _take_over_paths(first, before, model):
    """Sets what reads the CNN's features, the text tower, the classifier; the CNN stays as it is.

    For a first phase that read vectors of the same network.
    """
    import models
    from data.language.words import Vocabulary

    source = models.build_model(before, models.sizes(before, Vocabulary.load(first.vocabulary)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimiser's state is left out
            source.load_weights(first.best_weights)
    except (OSError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise ValueError(f"{first.best_weights} cannot be taken over ({reason})") from None
    for part in ("image_path", "image_head", "text_tower", "instance"):
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
