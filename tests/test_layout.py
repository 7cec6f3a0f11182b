"""The floors of the house: who may import whom, and what must start without TensorFlow."""

import ast
import json
import subprocess
import sys

import pytest
from conftest import ROOT

# A module imports only from lower floors. Nobody imports a script (the top floor).
FLOORS = [
    {
        "timing",
        "waiting",
        "word_pieces",
        "heat",
        "options_dual_path",
        "options_transformer",
        "options_contrastive",
        "options_pairs",
        "options_joint",
        "options_data",
        "experiment",
        "ranking",
        "learned",
        "similarity",
        "optimization",
        "distribution",
        "freezing",
        "scene_captions",
        "tagging",
    },
    {"contrastive", "blocks", "balance", "shallow_parser"},
    {"options", "losses", "metrics", "layers", "text", "plots", "scene_pictures", "records"},
    {"caption_metrics", "pairs", "gradient_cache"},
    {"heldout", "pair_bars", "bottom_up"},
    {"regions", "word_vectors", "full_network", "dual_encoder", "text_cnn", "small_cnn", "writer"},
    {"config", "intervals", "projection", "tokenise", "search", "cnn", "hub", "boxes"},
    {"pair_recall"},
    {"recurrent", "backbone", "scenes", "table", "nuswide", "example_pages"},
    {"dual_path", "transformer", "joint", "readers"},
    {"models", "datasets"},
    {"activations", "decoding", "examples"},
    {"pictures"},
    {"features", "grading"},
    {"picture_encoder"},
    {"explain", "captioning"},
    {"caption_grades"},
    {"data", "callbacks", "collapse", "phases", "trials", "exports"},
    {"league", "regimes", "stages"},
    {"bench_system2"},
    {"bench_gradient_cache"},
    {"bench_dual_path"},
    {"bench_system3", "bench_system4", "bench_system5"},
    {"train", "test", "retrieve", "extract", "bench", "study"},
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
MODULES = sorted(path.stem for path in ROOT.glob("*.py"))
TREES = {name: ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES}
HEAVY = {"tensorflow", "keras", "tensorflow_text"}
MAY_USE_TENSORFLOW = {
    "data", "distribution", "optimization", "tokenise", "word_pieces", "cnn", "pictures", "waiting",
    "test", "train", "bench", "bench_dual_path", "bench_system3", "bench_system4", "blocks",
    "gradient_cache",
}  # fmt: skip
MAY_USE_KERAS = MAY_USE_TENSORFLOW | {
    "models", "layers", "projection", "recurrent", "losses", "ranking", "contrastive", "learned",
    "callbacks", "collapse", "bench_system2", "phases", "dual_encoder", "dual_path", "text_cnn",
    "small_cnn", "backbone", "hub", "transformer", "freezing", "joint", "writer", "balance",
}  # fmt: skip
LIGHT = [
    "text", "tokenise", "word_pieces", "word_vectors", "pictures", "decoding", "waiting",
    "options_dual_path", "options_transformer", "options_contrastive", "options_joint", "boxes",
    "explain", "heat", "picture_encoder", "similarity", "captioning", "caption_metrics", "pairs",
    "heldout", "pair_recall", "bottom_up", "caption_grades", "options", "phases", "full_network",
    "cnn", "activations", "extract", "study", "trials", "metrics", "intervals", "experiment",
    "search", "plots", "config", "scenes", "timing", "bench_system2", "bench_dual_path",
    "bench_system3", "bench_system4", "bench_system5", "bench_gradient_cache", "datasets",
    "options_data", "exports", "league", "regimes", "stages", "examples", "example_pages",
    "features", "grading",
    "distribution", "train", "test", "retrieve", "bench",
]  # fmt: skip


def imported(tree):
    """Names of the top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_every_module_has_its_floor():
    assert set(MODULES) == set(FLOOR)


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_from_lower_floors_only(name):
    ours = {other for other in imported(TREES[name]) if other in FLOOR}
    too_high = {other for other in ours if FLOOR[other] >= FLOOR[name]}
    assert not too_high, f"{name} (floor {FLOOR[name]}) imports {too_high}"


@pytest.mark.parametrize("name", MODULES)
def test_who_uses_tensorflow_and_keras_and_matplotlib(name):
    used = set(imported(TREES[name]))
    assert name in MAY_USE_TENSORFLOW or not used & {"tensorflow", "tensorflow_text"}
    assert name in MAY_USE_KERAS or "keras" not in used
    assert name == "plots" or "matplotlib" not in used
    assert not used & {"pickle", "dill", "joblib"}


@pytest.fixture(scope="module")
def heavy_imports():
    """{module: what of HEAVY is there after it}, imported one after the other.

    Scripts, which define the same flags, each in a process of their own.
    """
    found = {}
    scripts = FLOORS[-1]
    for names in [[name for name in LIGHT if name not in scripts], *([name] for name in scripts)]:
        code = (
            "import importlib, json, sys; sys.path.insert(0, '.')\n"
            f"for name in {names}:\n"
            "    importlib.import_module(name)\n"
            f"    print(json.dumps([name, sorted({HEAVY} & set(sys.modules))]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
        )
        found |= dict(map(json.loads, done.stdout.splitlines()))
    return found


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_start_without_tensorflow(name, heavy_imports):
    assert not heavy_imports[name]


@pytest.mark.parametrize("name", MODULES)
def test_sizes(name):
    lines = (ROOT / f"{name}.py").read_text(encoding="utf-8").count("\n")
    assert lines <= 500
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= 70, f"{name}.{node.name} is too long"
        assert not isinstance(node, ast.Assert), f"{name} asserts at line {node.lineno}"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)


def test_every_public_name_has_a_docstring():
    for name, tree in TREES.items():
        assert ast.get_docstring(tree), f"{name} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"
