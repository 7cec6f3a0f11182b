"""Settings of trainings, for all that lab measures.

settings_of("--recipe=mh_bl", embed_dim=64)     # as train.py --recipe mh_bl --embed_dim 64 has
"""

from absl import flags

from systems import config

UNCOMPARED = ("cache_dir", "init_from")  # may differ between two equal runs


def settings_of(*words, **values):
    """The settings that a command line of train.py means.

    Args:
      words: of the command line; values: more flags, which win.

    Raises:
      ValueError: train.py has no such flag, or refuses these together.
    """
    given = [*words, *(f"--{name}={value}" for name, value in values.items())]
    parsed = config.train_flags()
    try:
        left = parsed(config.with_recipe(["train.py", *given]))[1:]
    except flags.Error as error:
        raise ValueError(f"train.py: {error}") from None
    if left:
        raise ValueError(f"train.py: {left[0]!r} is no flag; expected --name value")
    return config.from_flags(parsed)


def compare_settings(was, now):
    """{name: (was, now)} of the settings by which a run is not what a command line means.

    Args:
      was: settings of the run; now: those of the command line, where "auto" is not resolved.
    """
    found = {}
    for name, before in config.differences(was, now).items():
        after = getattr(now, name)
        if name not in UNCOMPARED and not (name in config.RESOLVED and after == "auto"):
            found[name] = (before, after)
    return found
