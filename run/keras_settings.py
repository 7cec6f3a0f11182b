"""Keras' settings for all programs of a user: none of them decides the numbers of a run.

Keras reads them when it is imported, so they are looked at before, without it.
"""

import json
import os
from pathlib import Path

# What runs are made with, and Keras' own defaults.
USUAL = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
BACKEND = "KERAS_BACKEND"
LIMITS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")  # end a training early, in silence


def settle() -> None:
    """Chooses Keras' backend, and refuses what would change the numbers of a run.

    The backend that `keras.json` names is for other programs, and is passed by.

    Raises:
      ValueError: `keras.json` or a variable of the environment asks for something else.
    """
    asked = os.environ.get(BACKEND, "tensorflow")
    if asked != "tensorflow":
        raise ValueError(f"{BACKEND} is {asked!r}: unset it, or make it tensorflow, which this is")
    for name in LIMITS:
        if name in os.environ:
            raise ValueError(f"{name} would end a training early: unset it, and give --epochs")
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "keras.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:  # most people have none
        found = {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not Keras' file of settings: remove it, Keras makes it anew")
    for name, usual in USUAL.items():
        if found.get(name, usual) != usual:
            value = str(found[name])[:60]
            raise ValueError(
                f"{path} sets {name} to {value!r} for every program, which changes scores: make "
                f"it {usual!r} there, or set KERAS_HOME to another folder"
            )
    os.environ[BACKEND] = "tensorflow"
