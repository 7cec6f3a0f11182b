"""docs/extending.md does what it says: its loss and its system, in a copy of the tree."""

import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

ROOMS = ("run", "data", "gallery", "systems", "training", "grading", "answering", "recipes")
TINY = ["--limit=30", "--embed_dim=8", "--word_size=4", "--epochs=1", "--threads=1", "--exp=own"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tree with the loss and the system of the page: a class, a folder and one line."""
    home = tmp_path_factory.mktemp("copy")
    for path in ROOT.glob("*.py"):
        shutil.copy(path, home)
    for room in ROOMS:
        shutil.copytree(ROOT / room, home / room, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    loss, sheet, towers, notebook = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with open(home / "losses.py", "a", encoding="utf-8") as file:
        file.write(f"\n\n{loss}")
    (home / "systems" / "mean").mkdir()
    for name, code in (("__init__", ""), ("sheet", sheet), ("towers", towers)):
        (home / "systems" / "mean" / f"{name}.py").write_text(code, encoding="utf-8")
    table = home / "systems" / "__init__.py"
    lines = table.read_text(encoding="utf-8").replace(
        "SYSTEMS = {", 'SYSTEMS = {\n    "mean": "systems.mean.sheet",'
    )
    table.write_text(lines, encoding="utf-8")
    return home, notebook


def succeed(home, *words):
    done = subprocess.run(
        [sys.executable, *words], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done.stdout


def test_the_pages_loss_and_system_are_trained_graded_and_asked(copy):
    home, notebook = copy
    own = ["--model=mean", "--loss=softplus", "--temperature=0.2", *TINY]
    cached = ["--batch_size=16", "--micro_batch=4", "--virtual_devices=2"]
    assert "best epoch 1 of 1" in succeed(home, "train.py", *own, *cached)
    assert "rsum" in succeed(home, "test.py", "--exp=own")
    assert "10 nearest of 30 pictures" in succeed(home, "retrieve.py", "--exp=own", "a red circle")
    assert "--word_size" in succeed(home, "train.py", "--help")
    # Cells of a notebook, with rows of their own.
    rows = "import numpy as np\nimage = np.eye(3)\ntext = image\ncaption_image = np.arange(3)\n"
    told = succeed(home, "-c", rows + notebook + "print(len(settings.loss), k if 0 else 'done')")
    assert told.endswith("done\n")
