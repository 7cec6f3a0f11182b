"""Settings of system 4: what contradicts, and what "auto" means."""

from dataclasses import replace
from pathlib import Path
from typing import Any


def check_transformer(settings: Any) -> None:
    """Refuses settings that mean nothing together. Raises ValueError."""
    weights = settings.text_weights
    if settings.text_size != "auto":
        from systems.transformer.sizes import parse_size

        parse_size(settings.text_size)
    if not settings.word_pieces and Path(weights).expanduser().is_file():
        raise ValueError(
            f"--text_weights {weights}: a file does not say which word pieces its weights are for; "
            "give --word_pieces FILE too"
        )


def resolve_transformer(settings: Any) -> Any:
    """The settings with the size that the text transformer has."""
    if settings.text_size != "auto":
        return settings
    from systems.transformer.sizes import size_of

    return replace(settings, text_size=size_of(settings.text_weights))
