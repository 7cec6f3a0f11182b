"""The rules of the house, read from its folders: who imports whom, what starts light, sizes.

A new file needs no entry here. A new room needs a place in ROOMS.
"""

import ast
import json
import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT

from systems import SYSTEMS

SCRIPTS = ("train", "test", "retrieve", "compare")
# Rooms from the ground up. A file imports from lower floors and from its own room only.
ROOMS = [
    {"losses"},
    {"settings"},
    {"run"},
    {"figures", "gallery", "data"},
    {"metrics", "systems"},
    {"models", "answering"},
    {"grading"},
    {"training"},
    {*SCRIPTS, "lab"},
]
FLOOR = {room: height for height, rooms in enumerate(ROOMS) for room in rooms}
PATHS = [
    path.relative_to(ROOT)
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("*/**/*.py")])
    if path.relative_to(ROOT).parts[0].removesuffix(".py") in FLOOR
]
TREES = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in PATHS}
HEAVY = {"tensorflow", "tensorflow_text", "keras", "keras_hub"}
MAY_IMPORT_HEAVY = tuple(  # when called, of the rooms without Keras
    f"data/vision/{name}.py" for name in ("cnn", "pixels", "presets", "tensors")
)
LIGHT = ("settings", "run", "figures", "gallery", "data", "answering")  # start without TensorFlow


def room(path):
    return path.parts[0].removesuffix(".py")


def system(name):
    """The system's folder that a module's name or path lies in, or None."""
    parts = str(name).replace("/", ".").split(".")
    return parts[1] if parts[0] == "systems" and parts[1:2] and parts[1] in SYSTEMS else None


def imported(tree):
    """Names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_files_import_from_lower_floors_and_their_own_room(path):
    own = room(path)
    for name in imported(TREES[path]):
        other = name.split(".")[0]
        if other in FLOOR and other != own:
            assert FLOOR[other] < FLOOR[own], f"{path} imports {name}"
        assert other not in SCRIPTS, f"{path} imports a script"
        if system(path) and system(name):
            assert system(path) == system(name), f"{path} imports {name}"


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_what_a_file_may_import(path):
    used = {name.split(".")[0] for name in imported(TREES[path])}
    if room(path) in ("gallery", "data", "answering", "metrics"):
        assert path.as_posix() in MAY_IMPORT_HEAVY or not used & HEAVY
    assert path.as_posix().startswith("figures/") or "matplotlib" not in used
    assert not used & {"pickle", "dill", "joblib"}


def test_light_rooms_start_without_tensorflow():
    names = [".".join(path.with_suffix("").parts) for path in PATHS if room(path) in LIGHT]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    code = (
        "import importlib, json, sys; sys.path.insert(0, '.')\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"    print(json.dumps([name, sorted({HEAVY} & set(sys.modules))]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found = dict(map(json.loads, done.stdout.splitlines()))
    assert set(found) == set(names)
    assert not [name for name, heavy in found.items() if heavy]


@pytest.mark.parametrize("script", [*SCRIPTS, "lab.bench.__main__", "lab.studies.__main__"])
def test_scripts_start_without_tensorflow(script):
    code = f"import sys, {script}; sys.exit(str(sorted({HEAVY} & set(sys.modules)) or ''))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0 or not done.stderr.strip(), done.stderr


def length(node):
    return (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_sizes_and_habits(path):
    assert (ROOT / path).read_text(encoding="utf-8").count("\n") <= 450
    assert ast.get_docstring(TREES[path]), f"{path} has no docstring"
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef):
            assert length(node) <= 60, f"{path}: {node.name} is too long"
        if isinstance(node, ast.ClassDef):
            assert length(node) <= 150, f"{path}: {node.name} is too long"
        assert not isinstance(node, ast.Assert), f"{path} asserts at line {node.lineno}"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)
    for node in TREES[path].body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
            assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def test_few_names_mean_two_things():
    """Top-level names that are defined in two product files."""
    names = Counter(
        name
        for path, tree in TREES.items()
        for name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        if name != "main"
    )
    assert sum(count > 1 for count in names.values()) <= 8, [n for n, c in names.items() if c > 1]


def test_a_systems_name_is_compared_in_its_own_folder_only():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and room(path) != "systems":
                compared = ast.unparse(node.left)
                assert not compared.endswith(".model") and '["model"]' not in compared, (
                    f"{path}:{node.lineno} compares a model's name"
                )
