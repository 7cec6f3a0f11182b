"""Options: fields as flags, as help and from JSON."""

import re
from dataclasses import dataclass

import pytest
from absl import flags

from settings import options
from settings.options import Options, option


@dataclass(frozen=True)
class Small(Options):
    title = "Small"
    size: int = option(3, "Size of it.", least=1, most=9, roles="shape")
    kind: str = option("red", "Kind of it.", choices=("red", "blue"))
    share: float | None = option(None, "Share of it.", least=0)


@dataclass(frozen=True)
class Whole(Small):
    title = "Whole"
    loud: bool = option(True, "Say it loudly.", roles="free place")
    place: str | None = option(None, "Folder of it.", roles="place")


def parsed(*given):
    values = flags.FlagValues()
    options.define(Whole, values)
    values(["x", *given])
    return options.read(Whole, values)


def test_fields_are_flags():
    assert parsed() == Whole(3, "red", None, True, None)
    given = ("--size=4", "--kind=blue", "--share=2", "--noloud", "--place=p")
    assert parsed(*given) == Whole(4, "blue", 2.0, False, "p")
    with pytest.raises(ValueError, match="share is inf; expected a finite number"):
        parsed("--share=inf")
    for wrong in ("--size=0", "--size=10", "--kind=green", "--share=-1", "--size=big"):
        with pytest.raises(flags.Error):
            parsed(wrong)


@dataclass(frozen=True)
class Several(Options):
    title = "Several"
    also: tuple[str, ...] = option((), "More of it.")


def test_a_flag_that_is_given_several_times():
    values = flags.FlagValues()
    options.define(Several, values)
    values(["x"])
    assert options.read(Several, values) == Several(())
    assert "  --also=TEXT\n      More of it." in options.help_text([Several], values)
    assert "Default" not in options.help_text([Several], values)
    values(["x", "--also=a, b", "--also", "c"])
    assert options.read(Several, values) == Several(("a, b", "c"))


def test_sections_and_roles():
    assert options.sections_of(Whole) == [Small, Whole]
    assert options.own_names(Whole) == ["loud", "place"]
    assert options.with_role(Whole, "place") == ["loud", "place"]
    assert options.with_role(Whole, "shape", "free") == ["size", "loud"]


def test_names_that_only_a_higher_floor_knows():
    values = flags.FlagValues()
    options.define(Whole, values, {"place": ["here", "there"]})
    with pytest.raises(flags.Error, match="here"):
        values(["x", "--place=nowhere"])


def test_help_has_titles_values_and_defaults():
    values = flags.FlagValues()
    options.define(Whole, values)
    text = options.help_text([Small, Whole], values)
    assert text.splitlines()[:3] == [
        "Small:",
        "  --size=N (1 to 9)",
        "      Size of it. Default: 3.",
    ]
    assert "  --kind=red|blue\n      Kind of it. Default: red." in text
    assert "  --share=X\n      Share of it.\n" in text
    assert "\n\nWhole:\n  --[no]loud\n      Say it loudly. Default: yes." in text


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("size", 2.0, "size is 2.0; expected a whole number from 1 to 9"),
        ("size", True, "size is True; expected a whole number"),
        ("size", 0, "size is 0; expected a whole number from 1 to 9"),
        ("share", -1, "share is -1.0; expected a number of 0 or more"),
        ("share", "much", "share is 'much'"),
        ("kind", "green", "kind is 'green'; expected one of red, blue"),
        ("kind", None, "kind is None"),
        ("loud", "yes", "loud is 'yes'; expected true or false"),
        ("place", 3, "place is 3; expected text"),
    ],
)
def test_json_of_another_type_is_refused(name, value, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        options.from_json(Whole, {name: value}, "x.json")


def test_json_gives_what_it_has_and_defaults():
    assert options.from_json(Whole, {"size": 5, "share": 1, "gone": 0}, "x") == Whole(5, share=1.0)
