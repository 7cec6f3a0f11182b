"""Settings of trainings, for all that lab measures.

settings_of("--recipe=mh_bl", embed_dim=64)     # as train.py --recipe mh_bl --embed_dim 64 has
"""

from pathlib import Path

from absl import flags

from systems import config

UNCOMPARED = ("cache_dir",)  # may differ between two equal runs


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
    """{name: (was, now)} of the settings by which two command lines mean different runs.

    A run to start from is the same wherever it lies; one that a first phase makes is not asked for.
    """
    if type(was) is not type(now):  # their other settings are of two systems
        return {"model": (was.model, now.model)}
    found = {}
    for name, before in config.differences(was, now).items():
        after = getattr(now, name)
        if name == "init_from":
            made = was.first_phase and was.first_phase == now.first_phase
            if made or (before and after and Path(before).name == Path(after).name):
                continue
        if name not in UNCOMPARED:
            found[name] = (before, after)
    return found
