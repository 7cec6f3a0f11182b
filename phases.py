"""Curriculum: a run that starts where another one ended.

`--init_from RUN` starts from the best weights of a run, reads words and pictures as that run does,
and keeps those weights as its best until an epoch beats them on validation. `--first_phase RECIPE`
trains that run first, in a process of its own.

Reference: Vilalta et al., Studying the impact of the full-network embedding on multimodal
  pipelines, 2019, section 3.5: the sum of hinges first, then their maximum.
"""

import subprocess
import sys
from pathlib import Path

import config
import experiment

OWN = (  # flags of one phase
    "exp", "exp_root", "recipe", "first_phase", "init_from", "loss", "resume", "overwrite",
)  # fmt: skip


def first_run(run):
    """The folder of a run's first phase: NAME-first beside it."""
    return experiment.Experiment(run.folder.with_name(f"{run.folder.name}-first"))


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
    command = [sys.executable, str(Path(__file__).with_name("train.py")), f"--recipe={recipe}"]
    command += [f"--exp_root={first.folder.parent}", f"--exp={first.folder.name}"]
    command += config.given_flags(argv, OWN)
    if first.state.is_file() and not overwrite:
        command += ["--resume"]
    elif first.folder.exists():
        command += ["--overwrite"]
    if subprocess.run(command, check=False).returncode:
        raise ValueError(f"the first phase, {first}, was not finished: see above")
    return first


def check_start(first, settings):
    """Refuses a start whose towers cannot be taken over.

    Args:
      first: the run to start from; settings: of the second phase.

    Raises:
      ValueError: a setting that shapes the weights differs, or the run is unfinished.
    """
    first.require(first.best_weights, "it has not ended an epoch; train it first")
    before = config.load_settings(first.config)
    for name in config.SHAPES:
        was, now = getattr(before, name), getattr(settings, name)
        if was != now:
            raise ValueError(
                f"{first} was trained with --{name} {was}, so it cannot start a run with {now}: "
                "both phases need the same towers"
            )
    if before.feature_dim != settings.feature_dim:
        raise ValueError(
            f"{first} reads image vectors of {before.feature_dim} numbers, this data has "
            f"{settings.feature_dim}: both phases need the same vectors"
        )


def take_over(first, model):
    """Sets a model to the best weights of a run.

    Raises:
      ValueError: the weights are damaged.
    """
    try:
        model.load_weights(first.best_weights)
    except (OSError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise ValueError(f"{first.best_weights} cannot be taken over ({reason})") from None
