"""Files from somebody else: nothing leads outside, nothing is boundless, one line for each."""

import json
import logging
import os

import h5py
import keras
import numpy as np
import pytest
from PIL import Image
from tiny_run import make_run

from answering.search import GalleryPictures
from data.pictures import load_picture
from gallery.stored import Gallery
from run import caches, console, files, hdf5, keras_settings
from systems import config


def refused(says, function, *arguments):
    with pytest.raises(ValueError, match=says) as error:
        function(*arguments)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


# Keras' settings.


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return tmp_path / "keras.json"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"floatx": "float16"}', r"keras\.json sets floatx to 'float16' .*make it 'float32'"),
        ('{"epsilon": 0.1}', "sets epsilon to '0.1'"),
        ('{"image_data_format": "channels_first"}', "sets image_data_format"),
        ('{"floatx": ["float32"]}', "sets floatx"),
        ("[]", "is not Keras' file of settings"),
        ("{", "is not Keras' file of settings"),
        ("[" * 100_000, "is not Keras' file of settings"),
    ],
)
def test_settings_of_keras_that_change_numbers_are_refused(keras_home, content, says, capsys):
    keras_home.write_text(content)
    refused(says, keras_settings.settle)
    with pytest.raises(SystemExit, match=says):
        console.run_script(lambda: print("began"))
    assert "began" not in capsys.readouterr().out


def test_a_backend_of_other_programs_is_passed_by(keras_home, monkeypatch):
    keras_home.write_text('{"backend": "jax", "floatx": "float32", "epsilon": 1e-07}')
    monkeypatch.delenv("KERAS_BACKEND")
    keras_settings.settle()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    refused("KERAS_BACKEND is 'torch'", keras_settings.settle)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    refused("KERAS_MAX_EPOCHS would end", keras_settings.settle)


# JSON and arrays.


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds"),
        ('{"a": ', r"not valid JSON"),
        ("[1]", "holds list; expected an object"),
        ("\xff", "not valid JSON"),
    ],
)
def test_json_that_is_not_ours_is_refused(tmp_path, content, says):
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("latin-1"))
    refused(rf"a\.json.*{says}", files.read_json, path, dict)


def test_an_array_file_is_mapped_or_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(5000))
    assert isinstance(files.open_array(path), np.memmap)
    whole = path.read_bytes()
    for content in (b"", whole[:40], whole[:-9], whole.replace(b"(5000,)", b"(-500,)")):
        path.write_bytes(content)
        refused(r"a\.npy is damaged", files.open_array, path)
    np.save(path, np.array([{}]), allow_pickle=True)
    refused(r"a\.npy is damaged", files.open_array, path)


# HDF5.


@pytest.fixture(scope="module")
def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("external", "is a link"),
        ("soft", "is a link"),
        ("circle", "within itself"),
        ("storage", "lies in another file"),
        ("virtual", "lies in another file"),
        ("huge", "and no data"),
        ("dense", "holds too little"),
        ("deep", "damaged|deep"),
        ("text", "not a whole HDF5"),
    ],
)
def test_weights_that_lead_elsewhere_are_refused(tmp_path, network, fault, says):
    path, other = tmp_path / "a.weights.h5", tmp_path / "other.h5"
    network.save_weights(path)
    hdf5.load_weights(network, path)
    with h5py.File(other, "w") as file:
        file["x"] = np.ones((3, 2), "f")
    with h5py.File(path, "r+") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        if fault == "external":
            group["0"] = h5py.ExternalLink(str(other), "/x")
        elif fault == "soft":
            group["0"] = h5py.SoftLink("/layers/dense/vars/0")
        elif fault == "circle":
            group["0"] = file["layers"]
        elif fault == "storage":
            raw = [(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)]
            group.create_dataset("0", (3, 2), "f4", external=raw)
        elif fault == "virtual":
            layout = h5py.VirtualLayout((3, 2), "f4")
            layout[:] = h5py.VirtualSource(str(other), "x", (3, 2))
            group.create_virtual_dataset("0", layout)
        elif fault == "huge":
            group.create_dataset("0", (10**6, 10**6), "f4", chunks=(100, 100))
        elif fault == "dense":
            group.create_dataset("0", (10**6, 10**6), "f4", chunks=(100, 100))[0, 0] = 1
        elif fault == "deep":
            for _ in range(3000):
                group = group.create_group("g")
    if fault == "text":
        path.write_text("weights")
    refused(says, hdf5.load_weights, network, path)


# Paths.


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "", ".", "../recipes/ph"])
def test_a_recipe_is_a_name(name):
    refused("unknown recipe", config.with_recipe, ["train.py", f"--recipe={name}"])


def test_pictures_lie_below_the_data_folder(tmp_path):
    data = tmp_path / "data"
    for folder in (data / "images", tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(folder / "a.png")
    (data / "link.png").symlink_to(tmp_path / "a.png")
    (data / "inner.png").symlink_to(data / "images" / "a.png")
    (tmp_path / "other_name").symlink_to(data)
    for base in (data, tmp_path / "other_name"):
        for inside in ("images/a.png", "images/../images/a.png", "inner.png"):
            assert load_picture(inside, base, within=True).size == (4, 3)
        for outside in ("../a.png", "link.png", str(tmp_path / "a.png"), "images/../../a.png"):
            refused("outside the data folder", load_picture, outside, base, True)
            assert load_picture(outside, base).size == (4, 3)


def test_a_gallery_opens_pictures_outside_only_when_told(tmp_path):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    run = make_run(tmp_path / "run", tmp_path / "data", pictures=["../a.png"] * 5)
    gallery = Gallery(run)
    pictures = GalleryPictures(run, gallery)
    assert pictures(0) is None and "pass --pictures_anywhere" in pictures.complaint()
    trusting = GalleryPictures(run, gallery, anywhere=True)(0)
    assert trusting is not None and trusting.size == (4, 3)


def test_only_a_cache_that_a_command_line_named_is_written_to(tmp_path, monkeypatch, caplog):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = make_run(tmp_path / "exp" / "a")
    kept = json.loads(run.config.read_text())
    named = tmp_path / "big"
    for place, there in ((named, ".cache"), (run / "c", str(run / "c")), ("below/c", "below/c")):
        kept["settings"]["cache_dir"] = str(place)
        files.write_json(run.config, kept)
        with caplog.at_level(logging.WARNING):
            assert config.load(run)[0].cache_dir == there
    assert "no command line named the cache folder" in caplog.text and not named.exists()
    caches.mark(named, run.folder)
    kept["settings"]["cache_dir"] = str(named)
    files.write_json(run.config, kept)
    assert config.load(run)[0].cache_dir == str(named)
