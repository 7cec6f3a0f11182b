"""Settings of a run, with those of its system: from a command line, a recipe or a run's folder.

    settings = from_flags()                     # the parsed flags of train.py
    settings = parse(["train.py", "--recipe=gru_best", "--epochs=2"])
    settings, facts = load(run)                 # of config.json
    save(run, settings, facts)

Here the table of systems meets the sections of `settings.training`. No Keras is imported.
"""

import dataclasses
import datetime
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

from absl import flags

from data.datasets import DATASETS
from losses import LOSSES, hyperparameters
from run import caches, files, manifest
from run.folder import FORMAT, Run, RunOptions
from settings import options
from settings.training import Facts, MachineOptions, Settings, StartOptions
from systems import SYSTEMS
from systems.system import BOXES, System

RESOLVED = ("relevance", "features", "text_size")  # "auto" until the data are seen
RECIPES = Path(__file__).resolve().parents[1] / "recipes"


# ---- Sheets -------------------------------------------------------------------------------------


def sheet(name: str) -> System:
    """The sheet of a system.

    Raises:
      ValueError: there is no such system; the names are listed.
    """
    if name not in SYSTEMS:
        raise ValueError(f"unknown model {name!r}: choose from {', '.join(SYSTEMS)}")
    return importlib.import_module(SYSTEMS[name]).SYSTEM


def find_function(path: str) -> Any:
    """The function that "module:function" names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def training_sections() -> list[type]:
    """Sections of all flags of train.py, each system's own last, for `--help`."""
    own = [sheet(name).settings for name in SYSTEMS]
    common = options.sections_of(Settings)
    return [RunOptions, StartOptions, *common, *own, MachineOptions]


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """All flags of train.py."""
    names = {"model": SYSTEMS, "data": DATASETS}
    for section in training_sections():
        options.define(section, values, names)


def train_flags() -> flags.FlagValues:
    """All flags of train.py, nothing parsed yet."""
    values = flags.FlagValues()
    define_flags(values)
    return values


# ---- From a command line ------------------------------------------------------------------------


def from_flags(values: flags.FlagValues = flags.FLAGS) -> Any:
    """The settings that parsed flags mean, of the class of their system.

    Raises:
      ValueError: they contradict each other, or one is of another system.
    """
    model = str(values["model"].value)
    system = sheet(model)
    own = {field.name for field in options.fields_of(system.settings)}
    for name in SYSTEMS:
        for field in options.own_names(sheet(name).settings):
            if field not in own and values[field].present:
                raise ValueError(f"--{field} is for --model {name}, not {model}: leave it out")
    settings = options.read(system.settings, values)
    check(settings)
    return settings


def parse(argv: list[str]) -> Any:
    """The settings that a command line of train.py means, the script's name first."""
    values = train_flags()
    values(with_recipe(argv))
    return from_flags(values)


def given_names(argv: list[str]) -> list[str]:
    """Names of the flags that a command line of train.py gives itself, not by its recipe."""
    values = train_flags()
    absl_own = set(flags.FlagValues())
    values(_split_recipe(argv)[1])
    return [name for name in values if values[name].present and name not in absl_own]


def given_flags(argv: list[str], left_out: tuple[str, ...] | list[str] = ()) -> list[str]:
    """The flags that a command line of train.py gives itself, as arguments of another one.

    Args:
      argv: the command line, the script's name first; a recipe's flags do not count.
      left_out: names of flags that are not passed on.
    """
    values = train_flags()
    values(_split_recipe(argv)[1])
    return [values[n].serialize() for n in given_names(argv) if n not in left_out]


def with_recipe(argv: list[str]) -> list[str]:
    """Puts `--recipe NAME`'s flags in front of the others, so that explicit flags win.

    Args:
      argv: the command line, the script's name first.

    Returns:
      The command line with `--flagfile=recipes/NAME.flags` as its first flag, if one was asked for;
      recipes that it names by a line `--recipe=BASE` come before it.

    Raises:
      ValueError: there is no such recipe; the recipes are listed.
    """
    name, rest = _split_recipe(argv)
    if name is None:
        name = _default_recipe(argv)
    if name is None:
        return argv
    known = sorted(path.stem for path in RECIPES.glob("*.flags"))
    if name not in known:
        asked = f"unknown recipe {name[:80]!r}; {RECIPES} holds: {', '.join(known)}"
        own = "; a file of your own is --flagfile=PATH" if {*name} & {*"/\\."} else ""
        raise ValueError(asked + own)
    read = [f"--flagfile={RECIPES / one}.flags" for one in (*_bases(name), name)]
    return [rest[0], *read, f"--recipe={name}", *rest[1:]]


def _bases(name: str) -> list[str]:
    """The recipes that a recipe begins with, by a line --recipe=BASE; the first of all first."""
    lines = (RECIPES / f"{name}.flags").read_text(encoding="utf-8").splitlines()
    found = [line.partition("=")[2] for line in lines if line.startswith("--recipe=")]
    return [base for one in found for base in (*_bases(one), one)]


def _split_recipe(argv: list[str]) -> tuple[str | None, list[str]]:
    """(NAME of --recipe or None, the command line without it)."""
    name, rest = None, [argv[0]]
    words = iter(argv[1:])
    for word in words:
        flag, _, value = word.partition("=")
        if flag in ("--recipe", "-recipe"):
            name = value or next(words, "")
        else:
            rest.append(word)
    return name, rest


def _default_recipe(argv: list[str]) -> str | None:
    """The recipe that --model stands for where none is named, or None; not of a resumed run."""
    words = [word.lstrip("-") for word in argv[1:]]
    if "resume" in words or "resume=true" in words:
        return None
    for flag, following in zip(words, [*words, ""][1:], strict=True):
        name, _, value = flag.partition("=")
        if name == "model" and (value or following) in SYSTEMS:
            return sheet(value or following).default_recipe
    return None


# ---- Checks -------------------------------------------------------------------------------------


def check(settings: Any) -> None:
    """Refuses settings that contradict each other. Raises ValueError."""
    system = sheet(settings.model)
    _check_features(settings, system)
    if bool(settings.features_file) != (settings.features == "bottom_up"):
        raise ValueError(
            "--features bottom_up and --features_file FILE belong together: give both or neither"
        )
    if settings.schedule == "plateau" and (settings.warmup_epochs or settings.decay_epochs % 1):
        raise ValueError("--schedule plateau takes whole --decay_epochs, and no --warmup_epochs")
    if settings.select == "bleu4" and not system.writes:
        raise ValueError(f"--select bleu4: --model {settings.model} writes no captions")
    ranking = [name for name in LOSSES if "similarity" in hyperparameters(name)]
    if settings.similarity == "order" and settings.loss not in ranking:
        raise ValueError(
            f"--similarity order: the loss {settings.loss} compares distances; choose "
            f"{', '.join(ranking)}"
        )
    for name in ("heldout", "heldout_file"):
        value = getattr(settings, name)
        if value is not None and not value.strip(" ,"):
            raise ValueError(f"--{name} {value!r} names nothing: leave it out, or name some")
        if value is not None and settings.vocabulary != "train":
            raise ValueError(
                f"--{name} makes the held-out images the validation set, whose words --vocabulary "
                f"{settings.vocabulary} would take: give --vocabulary train"
            )
    if system.check:
        find_function(system.check)(settings)


def _check_features(settings: Any, system: System) -> None:
    """Refuses pictures that are not for this system. Raises ValueError."""
    features = settings.features
    if features != "auto" and features not in system.features:
        what = "several rows for each picture" if features in BOXES else "one row for each picture"
        what = "the pictures themselves" if features == "pixels" else what
        others = [name for name in SYSTEMS if features in sheet(name).features]
        raise ValueError(
            f"--features {features} is {what}, for --model {' or '.join(others)}; --model "
            f"{settings.model} reads {', '.join(system.features)}"
        )
    begins = settings.init_from or settings.first_phase
    if settings.standardize and features == "pixels" and not begins:
        raise ValueError(
            "--standardize with --features pixels takes mean and deviation from a first phase on "
            "vectors: give --init_from or --first_phase, or leave it out"
        )
    if not settings.hidden_dim and not settings.reads_pixels:
        raise ValueError(
            f"--hidden_dim 0 is for models that read pixels, not {settings.model}; expected 1 or "
            "more"
        )


# ---- A run's snapshot ---------------------------------------------------------------------------


def save(run: Run, settings: Any, facts: Facts) -> None:
    """Writes config.json, the first file of a run, and the manifest beside it."""
    manifest.begin(run.folder)
    caches.mark(settings.cache_dir, run.folder)
    kept = dict(sorted(dataclasses.asdict(settings).items()))
    files.write_json(
        run.config, {"format": FORMAT, "settings": kept, "facts": dataclasses.asdict(facts)}
    )


def load(run: Run) -> tuple[Any, Facts]:
    """Reads a run's config.json.

    Raises:
      ValueError: it is missing, no snapshot, of another format, or was edited into nonsense.
    """
    found = run.read_config()
    kept = found["settings"]
    if not isinstance(kept.get("model"), str):
        raise ValueError(f"{run.config} is not the snapshot of a run: it names no model")
    system = sheet(kept["model"])
    settings = options.from_json(system.settings, kept, run.config)
    cache_dir = caches.trusted(settings.cache_dir, run.folder)
    settings = dataclasses.replace(settings, cache_dir=cache_dir)
    return settings, options.from_json(Facts, found["facts"], run.config)


def config_hash(settings: Any, facts: Facts) -> str:
    """SHA-256 of what shapes the result: all settings but where files lie, and the facts."""
    places = options.with_role(type(settings), "place")
    kept = {k: v for k, v in dataclasses.asdict(settings).items() if k not in places}
    kept = json.dumps([kept, dataclasses.asdict(facts)], sort_keys=True)
    return hashlib.sha256(kept.encode()).hexdigest()


def differences(settings: Any, base: Any = None) -> dict[str, Any]:
    """{flag: value} of the settings that differ from `base`; None: from the defaults."""
    base = base or type(settings)()
    return {
        field.name: value
        for field in options.fields_of(type(settings))
        if (value := getattr(settings, field.name)) != getattr(base, field.name)
    }


def command(settings: Any) -> list[str]:
    """The shortest command line of train.py that means these settings, but for the run's name.

    What "auto" came out as is left out, and the run that a first phase has made.
    """
    words = ["train.py"]
    if settings.recipe and settings.recipe != sheet(settings.model).default_recipe:
        words.append(f"--recipe={settings.recipe}")
    elif settings.model != next(iter(SYSTEMS)):
        words.append(f"--model={settings.model}")
    base, system = parse(words), sheet(settings.model)
    usual = system.of_scenes if settings.data == "scenes" else system.of_photographs
    for name, value in differences(settings, base).items():
        resolved = getattr(base, name) == "auto" and (
            name != "features" or value in (usual, "ready")
        )
        made = name == "init_from" and settings.first_phase
        if not resolved and not made and name not in ("recipe", "model"):
            no = "no" if value is False else ""
            words.append(f"--{no}{name}" if isinstance(value, bool) else f"--{name}={value}")
    return words


def default_name(settings: Any) -> str:
    """`<date>_<time>_<model>_<loss>`: the folder of a run that was given no name."""
    now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return f"{now}_{settings.model}_{settings.loss}"
