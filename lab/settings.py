"""Settings of trainings, for all that lab measures; no other file here knows how they are made.

settings_of("--recipe=mh_bl", embed_dim=64)     # as train.py --recipe mh_bl --embed_dim 64 has
of_run(run)                                     # those that a run was trained with
"""

from pathlib import Path

from absl import flags

from run import recipes

RESOLVED = ("relevance", "features")  # "auto" until the data are seen
UNCOMPARED = ("cache_dir", "init_from")  # may differ between two equal runs


def settings_of(*words, **values):
    """The settings that a command line of train.py means.

    Args:
      words: of the command line; values: more flags, which win.

    Raises:
      ValueError: train.py has no such flag, or refuses these together.
    """
    given = [*words, *(f"--{name}={value}" for name, value in values.items())]
    parsed = recipes.train_flags()
    try:
        left = parsed(recipes.with_recipe(["train.py", *given]))[1:]
    except flags.Error as error:
        raise ValueError(f"train.py: {error}") from None
    if left:
        raise ValueError(f"train.py: {left[0]!r} is no flag; expected --name value")
    return recipes.settings_from_flags(parsed)


def of_run(run):
    """The settings that a run was trained with. Raises ValueError where none can be read."""
    return recipes.load_settings(run.config)


def store(settings, run):
    """Writes settings into a run's folder, as train.py does."""
    settings.save(run.config)


def as_dict(settings):
    """{name: value} of all settings, and of what the data decided."""
    return dict(vars(settings))


def differences(was, now, resolvable=RESOLVED):
    """{name: (was, now)} of the settings by which a run is not what a command line means.

    Args:
      was: settings of the run; now: those of the command line, where "auto" is not resolved.
      resolvable: settings that are alike where the command line says "auto".
    """
    before, found = as_dict(was), {}
    for name, value in as_dict(now).items():
        resolved = name in resolvable and value == "auto"
        if name not in UNCOMPARED and not resolved and before[name] != value:
            found[name] = (before[name], value)
    return found


def differing(settings):
    """{name: value} of the settings that a command line without flags would not give."""
    before = as_dict(settings_of())
    return {name: value for name, value in as_dict(settings).items() if before[name] != value}


def command_of(run):
    """The flags of train.py that make such a run, as few as do, by its config.json.

    Folders are named by their last part.

    Raises:
      ValueError: no flags make these settings.
    """
    stored = of_run(run)
    words = [f"--recipe={stored.recipe}"] if stored.recipe else [f"--model={stored.model}"]
    words = [] if words == ["--model=projection"] else words
    for name, (was, _) in differences(stored, settings_of(*words), ()).items():
        value = Path(was).name if name == "data_dir" and was else was
        switch = isinstance(value, bool)
        words.append(f"--{'' if value else 'no'}{name}" if switch else f"--{name}={value}")
    left = differences(stored, settings_of(*words))
    left.pop("data_dir", None)
    for name, (was, now) in left.items():
        raise ValueError(f"{run} has --{name} {was}, which no flag of train.py gives ({now})")
    return words
