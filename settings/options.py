"""Options: one dataclass field is one flag, with its help, bounds, choices and roles.

    @dataclass(frozen=True)
    class LossOptions(Options):
        title = "Loss"
        margin: float | None = option(None, "Margin c.", least=1e-9)

    define(LossOptions, flags.FLAGS)        # --margin
    read(LossOptions, flags.FLAGS)          # a LossOptions; refuses what is not finite
    help_text([LossOptions])                # what --help prints, by titles

Flags, `--help`, the snapshot in `config.json`, and what may differ between two phases or after a
resumption: all are made from the fields. A new flag is one field.
"""

import dataclasses
import inspect
import math
import reprlib
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

from absl import app, flags

Section = TypeVar("Section")
ROLES = {  # what a field may be, besides a setting
    "place": "says where something lies: no part of a run's fingerprint",
    "shape": "shapes the towers: the same in both phases of a curriculum",
    "words": "says how captions are read: the second phase has that of the first",
    "pictures": "says how pictures are read: the second phase has that of the first",
    "phase": "belongs to one phase: not passed on to the first",
    "free": "may be changed when a run is resumed",
}
SIZE = 1 << 17  # the most of a whole number that shapes towers: more is a slip, and fills memory


def option(
    default: Any,
    help: str,
    *,
    choices: Iterable[str] = (),
    least: float | None = None,
    most: float | None = None,
    roles: str = "",
    when: str = "",
) -> Any:
    """A field that is a flag.

    Args:
      default: its value where the flag is not given. That of a flag which may be given several
        times is (), of `tuple[str, ...]`; only scripts have such, no setting.
      help: for `--help`: a noun or a verb first; the default is added.
      choices: the values that a text may have; none: any.
      least, most: bounds of a number, inclusive; SIZE is that of a size of the towers.
      roles: words of ROLES.
      when: "setting=value,value", of which one must hold so that the flag is read; "": always read.
    """
    if most is None and type(default) is int and "shape" in roles.split():
        most = SIZE
    found = {"help": help, "choices": tuple(choices), "least": least, "most": most, "when": when}
    return dataclasses.field(default=default, metadata={**found, "roles": frozenset(roles.split())})


class Options:
    """A section of options: a frozen dataclass. Sections are put together by inheritance."""

    title: ClassVar[str] = ""


def fields_of(section: type) -> tuple[dataclasses.Field, ...]:
    """The fields of a dataclass of options, those of its bases first."""
    return dataclasses.fields(section)


def sections_of(section: type) -> list[type]:
    """The sections that a dataclass of options is put together from, each with own fields."""
    return [base for base in reversed(section.__mro__) if own_names(base)]


def own_names(section: type) -> list[str]:
    """Names of the fields that a section itself declares."""
    known = {f.name for f in fields_of(section)} if dataclasses.is_dataclass(section) else ()
    return [name for name in inspect.get_annotations(section) if name in known]


def with_role(section: type, *roles: str) -> list[str]:
    """Names of the fields that have one of these roles."""
    return [field.name for field in fields_of(section) if field.metadata["roles"] & set(roles)]


def some_of(section: type, names: Iterable[str], title: str) -> type:
    """A section of some fields of another one, for a script that shares them."""
    known = {field.name: field for field in fields_of(section)}
    hints = typing.get_type_hints(section)
    fields = [(name, hints[name], option_like(known[name])) for name in names]
    return dataclasses.make_dataclass(
        "SomeOptions", fields, bases=(Options,), frozen=True, namespace={"title": title}
    )


def option_like(field: dataclasses.Field) -> Any:
    """A fresh field that is the same flag."""
    return dataclasses.field(default=field.default, metadata=field.metadata)


def type_of(section: type, name: str) -> type:
    """int, float, bool, str or tuple (of texts): the type of a field, without None."""
    kind = typing.get_type_hints(section)[name]
    if typing.get_origin(kind) is tuple:
        return tuple
    if isinstance(kind, types.UnionType):
        (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
    return kind


def flag_name(name: str) -> str:
    """The flag of a field: its name; without the "_" behind words that Python keeps for itself."""
    return name.rstrip("_")


def define(
    section: type,
    values: flags.FlagValues = flags.FLAGS,
    choices: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Defines the flags of a section that are not there yet.

    Args:
      section: a dataclass of options; those of its bases are defined too.
      values: where.
      choices: {flag: names} that only a higher floor knows.
    """
    for field in fields_of(section):
        if flag_name(field.name) not in values:
            among = (choices or {}).get(field.name) or field.metadata["choices"]
            _define(section, field, values, tuple(among))


def _define(section: type, field: dataclasses.Field, values: Any, choices: tuple) -> None:
    kind, of = type_of(section, field.name), field.metadata
    bounds: Any = {"lower_bound": of["least"], "upper_bound": of["most"]}
    makers: dict[type, Any] = {
        bool: flags.DEFINE_bool, int: partial(flags.DEFINE_integer, **bounds),
        float: partial(flags.DEFINE_float, **bounds), str: flags.DEFINE_string,
        tuple: flags.DEFINE_multi_string,
    }  # fmt: skip
    make: Any = makers[kind]
    if choices:
        make = partial(flags.DEFINE_enum, enum_values=list(choices))
    make(name=flag_name(field.name), default=field.default, help=of["help"], flag_values=values)


def read(section: type[Section], values: flags.FlagValues = flags.FLAGS) -> Section:
    """The section that the parsed flags say.

    Raises:
      ValueError: a number is not finite.
    """
    chosen = {field.name: values[flag_name(field.name)].value for field in fields_of(section)}
    for name, value in chosen.items():
        if isinstance(value, list):
            chosen[name] = tuple(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name} is {value}; expected a finite number")
    return section(**chosen)


def from_json(section: type, found: Mapping[str, Any], source: Any) -> Any:
    """The section that a JSON object says; fields that are newer than it get their defaults.

    Args:
      source: the file, for errors.

    Raises:
      ValueError: a value has another type, or lies outside its bounds; one line names it.
    """
    chosen = {}
    for field in fields_of(section):
        if field.name not in found:
            continue
        kind, value, of = type_of(section, field.name), found[field.name], field.metadata
        if kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**1000 else math.inf
        optional = field.default is None and value is None
        fits = optional or type(value) is kind
        if fits and kind in (int, float) and value is not None:
            low, high = of["least"], of["most"]
            fits = math.isfinite(value) and (low is None or value >= low)
            fits = fits and (high is None or value <= high)
        if fits and of["choices"] and not optional:
            fits = value in of["choices"]
        if not fits:
            raise ValueError(
                f"{source}: {field.name} is {reprlib.repr(value)}; expected "
                f"{expected(section, field)}: was it edited?"
            )
        chosen[field.name] = value
    return section(**chosen)


def expected(section: type, field: dataclasses.Field) -> str:
    """What values a field takes, for a person: "a number from 0 to 0.99"."""
    of, kind = field.metadata, type_of(section, field.name)
    if of["choices"]:
        return "one of " + ", ".join(of["choices"])
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text"
    what = "a whole number" if kind is int else "a number"
    low, high = of["least"], of["most"]
    if low is not None and high is not None:
        return f"{what} from {low:g} to {high:g}"
    return what if low is None else f"{what} of {low:g} or more"


def help_text(sections: Iterable[type], values: flags.FlagValues, width: int = 96) -> str:
    """Every flag of some sections, by titles: name, values, help and default."""
    parts = []
    for section in sections:
        lines = [f"{section.title}:"]
        helps = {field.name: field.metadata["help"] for field in fields_of(section)}
        for name in own_names(section):
            flag, kind = values[flag_name(name)], type_of(section, name)
            shown = f"--[no]{name}" if kind is bool else f"--{flag.name}=" + _values(section, flag)
            usual = "" if flag.default in (None, [], ()) else f" Default: {_shown(flag.default)}."
            text = " ".join(helps[name].split()) + usual
            lines.append(f"  {shown}")
            lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def start_script(
    main: Callable[[list[str]], Any], doc: str, sections: Iterable[type], argv: list[str]
) -> None:
    """Runs `main` by absl; --help, wherever it stands, shows every flag of the sections instead."""
    if {"--help", "-help", "-h", "--helpshort"} & set(argv[1:]):
        print(doc.strip(), help_text(sections, flags.FLAGS), sep="\n\n")
        return
    app.run(main, argv)


def _values(section: type, flag: Any) -> str:
    if names := getattr(flag.parser, "enum_values", ()):
        return "|".join(names)
    field = next(field for field in fields_of(section) if flag_name(field.name) == flag.name)
    kind, low, high = type_of(section, field.name), field.metadata["least"], field.metadata["most"]
    word = {int: "N", float: "X", str: "TEXT", tuple: "TEXT"}[kind]
    between = low is not None and high is not None
    return f"{word} ({low:g} to {high:g})" if between else word


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
