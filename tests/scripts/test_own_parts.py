"""docs/extending.md does what it says: loss, system and reader, in a copy of the tree."""

import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from PIL import Image

ROOMS = (
    "settings", "run", "figures", "data", "gallery", "systems", "training", "grading", "answering",
    "recipes",
)  # fmt: skip
TINY = ["--limit=30", "--embed_dim=8", "--word_size=4", "--epochs=1", "--threads=1", "--exp=own"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tree with the parts of the page, each in the files that the page names."""
    home = tmp_path_factory.mktemp("copy")
    for path in ROOT.glob("*.py"):
        shutil.copy(path, home)
    for room in ROOMS:
        shutil.copytree(ROOT / room, home / room, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    loss, field, _, sheet, towers, reader, notebook = blocks  # a loss's loops: tests/loss_cases.py
    with open(home / "losses.py", "a", encoding="utf-8") as file:
        file.write(f"\n\n{loss}")
    (home / "systems" / "mean").mkdir()
    for name, code in (("__init__", ""), ("sheet", sheet), ("towers", towers)):
        (home / "systems" / "mean" / f"{name}.py").write_text(code, encoding="utf-8")
    (home / "data" / "formats" / "sidecar.py").write_text(reader, encoding="utf-8")
    entries = re.findall(r"Add `(\S+ \S+)` to `(SYSTEMS|DATASETS)` in `(\S+)`", page)
    assert [table for _, table, _ in entries] == ["SYSTEMS", "DATASETS"]
    for entry, table, path in entries:
        write_behind(home / path, f"{table} = {{", f"\n    {entry}\n   ")
    write_behind(home / "settings" / "training.py", '    title = "Loss"\n', field)
    return home, notebook


def write_behind(path, mark, text):
    whole = path.read_text(encoding="utf-8")
    assert whole.count(mark) == 1
    path.write_text(whole.replace(mark, mark + text), encoding="utf-8")


def succeed(home, *words):
    done = subprocess.run(
        [sys.executable, *words], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done.stdout


def test_the_pages_loss_and_system_are_trained_graded_and_asked(copy):
    home, notebook = copy
    own = ["--model=mean", "--loss=softplus", "--temperature=0.2", "--offset=0.1", *TINY]
    cached = ["--batch_size=16", "--micro_batch=4", "--virtual_devices=2"]
    assert "best epoch 1 of 1" in succeed(home, "train.py", *own, *cached)
    assert "rsum" in succeed(home, "test.py", "--exp=own")
    assert "10 nearest of 30 pictures" in succeed(home, "retrieve.py", "--exp=own", "a red circle")
    assert "--word_size" in succeed(home, "train.py", "--help")
    # Cells of a notebook, with rows of their own.
    rows = "import numpy as np\nimage = np.eye(3)\ntext = image\ncaption_image = np.arange(3)\n"
    told = succeed(home, "-c", rows + notebook + "print(len(settings.loss), k if 0 else 'done')")
    assert told.endswith("done\n")


def test_the_pages_reader_reads_images_with_texts_beside_them(copy, tmp_path):
    for number in range(9):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a red dog\na dog\n", encoding="utf-8")
    code = "import sys; from data.datasets import open_dataset; own = open_dataset(*sys.argv[1:])\n"
    code += "print(*(len(own[name].captions) for name in sorted(own)))"
    told = succeed(copy[0], "-c", code, "sidecar", str(tmp_path))
    assert sum(map(int, told.split())) == 18
