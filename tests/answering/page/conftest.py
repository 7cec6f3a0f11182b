"""Runs that the page is asked about: without pictures, with drawn ones, and of a stranger."""

import numpy as np
import pytest
from PIL import Image
from tiny_run import NAMES, gallery_arrays, make_run, pixel_run

from answering.page.app import make_app
from answering.page.guard import Guard
from answering.page.opened import Runs
from gallery import similarity
from run import files

SCRIPT = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
CAPTIONS = [
    ["red circle", SCRIPT],
    ["blue star"],
    ["red square", "red red square", "a square"],
    ["small red circle above blue star", "red above blue"],
    ["blue circle", "a circle that is blue"],
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """exp/plain: ready vectors. exp/order: the same, of order similarity. exp/drawn: pictures.

    Of the pictures of exp/drawn the third is missing, and the fourth lies outside its data folder.
    """
    root = tmp_path_factory.mktemp("page")
    arrays = gallery_arrays() | {"similarity": similarity.pack_similarity("order")}
    files.write_arrays(make_run(root / "exp" / "order").projections, arrays)
    make_run(root / "exp" / "plain")
    data = root / "data"
    data.mkdir()
    for path in (data / "one.png", root / "secret.png"):
        Image.fromarray(np.full((900, 600, 3), 200, np.uint8)).save(path)
    pictures = ["one.png", "scenes:0:test:1", "missing.png", "../secret.png", "scenes:0:test:4"]
    run = pixel_run(root / "exp" / "drawn")
    settings = files.read_json(run.config)
    settings["settings"]["data_dir"] = str(data)
    files.write_json(run.config, settings)
    names = [SCRIPT, *NAMES[1:]]
    arrays = gallery_arrays(captions=CAPTIONS, names=names, pictures=pictures)
    files.write_arrays(run.projections, arrays)
    (root / "exp" / "unscored").mkdir()
    files.write_json(root / "exp" / "unscored" / "config.json", {})
    return root


@pytest.fixture(scope="module")
def runs(root):
    """Its runs; the first is exp/drawn."""
    return Runs(root / "exp")


@pytest.fixture
def client(runs):
    """Asks the page without a browser, from the own machine."""
    return make_app(runs, Guard()).test_client()
