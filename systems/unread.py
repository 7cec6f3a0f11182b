"""Flags of a command line that nothing of the run would read; they are refused, not ignored."""

from collections.abc import Iterable
from typing import Any

from losses import LOSSES, hyperparameters
from settings.options import fields_of, own_names
from settings.training import PixelOptions, SentenceOptions
from systems import SYSTEMS
from systems.config import sheet


def check_given(settings: Any, given: Iterable[str]) -> None:
    """Refuses flags that these settings leave without a meaning.

    Args:
      settings: the settings that the command line means.
      given: names of the flags that it gives itself; those of a recipe do not count.

    Raises:
      ValueError: the loss, the optimiser, the schedule or the system does not read one of them.
    """
    conditions = {f.name: f.metadata["when"] for f in fields_of(type(settings))}
    for name in given:
        setting, _, values = conditions.get(name, "").partition("=")
        if setting and getattr(settings, setting) not in values.split(","):
            refuse(name, setting, values.split(","), settings)
        losses = [one for one in LOSSES if name in hyperparameters(one) and name != "similarity"]
        if losses and settings.loss not in losses:
            refuse(name, "loss", losses, settings)
        systems = [one for one in SYSTEMS if reads(one, name)]
        if settings.model not in systems:
            refuse(name, "model", systems, settings)


def reads(system: str, name: str) -> bool:
    """Whether a system reads a flag: those of words and of pixels are not for all of them."""
    of = sheet(system)
    if name in own_names(SentenceOptions):
        return name in of.reads_words
    return "pixels" in of.features or name not in own_names(PixelOptions)


def refuse(name: str, setting: str, values: list[str], settings: Any) -> None:
    """Raises ValueError: the flag is for other values of a setting."""
    raise ValueError(
        f"--{name} is for --{setting} {' or '.join(values)}, not {getattr(settings, setting)}: "
        "leave it out"
    )
