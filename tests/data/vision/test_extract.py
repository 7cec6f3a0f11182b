"""extract.py: what it prints and writes, on a tiny data set and a network of NumPy."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from tiny_data import captions_of, flickr, opened
from tiny_network import LAYERS

from run import lock

SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import tiny_network
from data.vision import activations, cnn, extract
from run import console
from absl import app
cnn.Runner = lambda network: tiny_network.Counter()
activations.in_own_process = lambda function, *given: function(*given)
if __name__ == "__main__":
    console.run_script(lambda: app.run(extract.main, sys.argv))
"""


def extract(folder, *arguments, script=False):
    """Runs the script with the network of NumPy; or itself, from the root, where none runs."""
    code = SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests"))
    start = ["-m", "data.vision.extract"] if script else ["-c", code]
    places = [f"--data_dir={folder / 'data'}", f"--cache_dir={folder / 'cache'}", "--data=flickr8k"]
    return subprocess.run(
        [sys.executable, *start, *places, *arguments], cwd=ROOT if script else folder,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    flickr(folder / "data", pictures=True)
    return folder


def test_extract_tells_what_it_did_and_writes_precomp(home):
    done = extract(home, "--crops=1", "--image_weights=random", "--output=out")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    line = r"{} +{} images x 10 int8, \d+\.\d s, [\d,]+\.\d pictures/s: \S+vectors-\w+\.npy"
    for index, (name, count) in enumerate((("train", 4), ("validation", 2), ("test", 3))):
        assert re.fullmatch(line.format(name, count), lines[2 * index]), lines[2 * index]
        assert re.fullmatch(r" +\S+ % are -1, \S+ % are 0, \S+ % are 1", lines[2 * index + 1])
    splits = opened("flickr8k", home / "data")
    written = opened("precomp", home / "out")
    assert "4 beyond the first 1 of their image are left out" in done.stdout
    for name, split in splits.items():
        other = written[name]
        assert other.vectors.shape == (split.num_images, 10) and other.vectors.dtype == np.int8
        assert set(np.unique(other.vectors).tolist()) <= {-1, 0, 1}
        assert other.image_names == split.image_names
        firsts = [captions_of(split, image)[0] for image in range(split.num_images)]
        assert other.captions == firsts


def test_a_second_time_it_comes_from_the_cache_also_the_other_kind(home):
    extract(home, "--crops=1", "--image_weights=random")
    done = extract(home, "--crops=1", "--image_weights=random", "--features=last", script=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("from the cache") == 3
    assert f"x {LAYERS.last[1] - LAYERS.last[0]} float32" in done.stdout and "%" not in done.stdout


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--cnn=VGG17", "unknown --cnn 'VGG17'; there are"),
        ("--image_weights=none.h5", "none.h5: there is no such file"),
        ("--crops=3", "crops is 3: expected 1"),
        ("--data=scenes", "data scenes is drawn by the program"),
        ("surplus", "unexpected argument 'surplus'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(home, flag, says):
    done = extract(home, flag, script=True)
    assert done.returncode == 1
    assert (
        done.stderr.startswith(("-c: error: ", "data.vision.extract: error: "))
        and says in done.stderr
    )
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_extraction_into_the_same_place_is_refused(home):
    for place in ("cache", "out2"):
        try:
            lock.claim(home / place)
            done = extract(home, "--crops=1", "--image_weights=random", "--output=out2")
            assert done.returncode == 1 and done.stderr.count("\n") == 1
            assert f"{place} is being written by process {os.getpid()} on " in done.stderr
        finally:
            lock.release_all()
    assert not (home / "out2").exists()


def test_data_without_pictures_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    flickr(tmp_path / "data")
    done = extract(tmp_path, script=True)
    assert "error: the train split has no pictures: add the folder" in done.stderr
