"""Settings for tests: the defaults of a system, but for what a test names."""

import dataclasses
from typing import Any

from systems import config


def make(model: str = "projection", **changes: Any) -> Any:
    """Settings of a system; names that another system's settings have are left out."""
    kind = config.sheet(model).settings
    known = {field.name for field in dataclasses.fields(kind)}
    others = {field for section in config.training_sections() for field in section.__annotations__}
    for name in changes.keys() - known - others:
        raise TypeError(f"no flag is called {name!r}")
    return kind(model=model, **{name: value for name, value in changes.items() if name in known})
