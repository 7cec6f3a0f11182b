"""README's claims about the tree: lengths, links, levels; each file and folder has its place."""

import re

import pytest
from conftest import ROOT
from test_layout import ROOMS

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_SCREEN = README.partition("## The systems")[0]


def section(title):
    return README.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text):
    """Cells of the rows of a Markdown table that begin with a number or a name in quotes."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line] for line in lines if re.match(r"[`\d]", line[0])]


def lines_of(name):
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def test_an_evenings_reading_is_as_long_as_it_says():
    parts = {
        '`README.md`, to "The systems"': len(FIRST_SCREEN.splitlines()),
        '`losses.py`, to "Hinges"': [line[:12] for line in lines_of("losses.py")].index(
            "# ---- Hinge"
        ),
    }
    told = {name: int(count) for name, count, _ in rows(section("An evening's reading"))}
    for name in set(told) - set(parts):
        parts[name] = sum(len(lines_of(file)) for file in re.findall("`(.*?)`", name))
    assert told == parts
    assert sum(told.values()) <= 1100
    assert len(FIRST_SCREEN.splitlines()) <= 41


def test_the_map_has_the_levels_that_the_imports_keep():
    found = {}
    for level, names, _ in rows(section("Map").partition("Not imported")[0]):
        found.setdefault(int(level), set()).update(
            name.removesuffix(".py").rstrip("/") for name in re.findall("`(.*?)`", names)
        )
    assert found == dict(enumerate(ROOMS, 1))


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https:)([^)#]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_every_recipe_is_told():
    told = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    columns = ("_f30k", "_coco")  # of one table, told together
    names = {path.stem for path in (ROOT / "recipes").glob("*.flags")}
    untold = {name for name in names if not name.endswith(columns) and f"`{name}`" not in told}
    assert len(names) > 40 and not untold
    assert all(f"`{end}`" in told for end in columns)


def test_sentences_of_the_first_screen_are_short():
    prose = re.sub(r"```.*?```|^\|.*?$|^#.*?$", "", FIRST_SCREEN, flags=re.DOTALL | re.MULTILINE)
    for sentence in re.split(r"(?<=[.:])\s", prose):
        assert len(sentence.split()) <= 25, sentence
