"""The flags of the scripts in lab: records, so that a table of cases or studies can hold its own.

values, words = read_command(argv, [Option("seeds", 3, "Seeds 0, 1, ...", 1)])
values.seeds
"""

import textwrap
from types import SimpleNamespace
from typing import Any, NamedTuple

from absl import flags


class Option(NamedTuple):
    """One flag.

    Attributes:
      default: its type is the flag's: a list (commas between), a tuple (given several times), a
        bool, an int, a float; a text or None.
      least: smallest number.
    """

    name: str
    default: Any
    help: str
    least: float | None = None


MEASURING = (
    Option("threads", 0, "Threads of NumPy and TensorFlow; 0: all cores.", 0),
    Option("output", None, "JSON file for what was measured, besides the table."),
)
DEFINE: dict[type, Any] = {
    list: flags.DEFINE_list, tuple: flags.DEFINE_multi_string, bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer, float: flags.DEFINE_float,
}  # fmt: skip


def read_command(argv, options):
    """The values of flags by name, and the other words of a command line.

    Raises:
      ValueError: a flag is none of the options, or its value is none of its kind.
    """
    values = flags.FlagValues()
    for name, default, said, least in options:
        bound = {} if least is None else {"lower_bound": least}
        define = DEFINE.get(type(default), flags.DEFINE_string)
        define(name, default, said, flag_values=values, **bound)
    try:
        words = values(argv)[1:]
    except flags.Error as error:
        raise ValueError(str(error)) from None
    return SimpleNamespace(**{one.name: values[one.name].value for one in options}), words


def explain(options):
    """The flags as lines of --help: name, what it says, default."""
    lines = []
    for name, default, said, _ in options:
        shown = ",".join(map(str, default)) if isinstance(default, list | tuple) else default
        text = said if shown in ("", None, False) else f"{said} Default: {shown}."
        lines += textwrap.wrap(
            text, 96, initial_indent=f"  --{name:14}", subsequent_indent=18 * " "
        )
    return "\n".join(lines)
