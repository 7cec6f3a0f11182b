"""Stores of activations: whole or marked as not, resumed, mended; with a network of NumPy."""

import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from tiny_network import LAYERS, NETWORK, Counter, answers, make_split

from data.vision import activations, rows
from data.vision.activations import ActivationStore
from run import manifest
from run.manifest import check as check_strictly  # without the exception of conftest.py


def rows_of(store):
    return np.concatenate(list(store.blocks()))


@pytest.fixture
def split(tmp_path):
    return make_split(tmp_path, 11)


def test_rows_are_the_networks_answers_in_order(split, tmp_path, monkeypatch):
    monkeypatch.setattr(activations, "AHEAD", 2)
    store, run = ActivationStore(split, NETWORK, tmp_path / "cache"), Counter()
    (tmp_path / "cache").mkdir()
    assert store.missing().tolist() == list(range(11))
    count, seconds = activations.fill_store(store, run)
    assert count == run.seen == 11 and seconds > 0
    assert store.is_whole() and store.layers() == LAYERS
    np.testing.assert_array_equal(rows_of(store), answers(split))
    np.testing.assert_array_equal(np.load(store.whole), answers(split))  # it is a plain .npy
    assert ActivationStore(split, NETWORK, tmp_path / "cache").ensure() == (0, 0.0)


def test_blocks_are_small(split, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    store = ActivationStore(split, NETWORK, tmp_path / "cache")
    activations.fill_store(store, Counter())
    monkeypatch.setattr(activations, "BLOCK_BYTES", 4 * 4 * LAYERS.num_columns)
    assert [len(block) for block in store.blocks()] == [4, 4, 3]
    np.testing.assert_array_equal(rows_of(store), answers(split))


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_a_damaged_store_is_made_anew(suffix, split, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(manifest, "check", check_strictly)
    store = ActivationStore(split, NETWORK, tmp_path / "cache")
    assert not store.is_whole()
    activations.fill_store(store, Counter())
    assert store.is_whole() and not caplog.text
    path = store.whole.with_suffix(suffix)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert not store.is_whole()
    assert f"{path.name} is not as it was written: it is made anew" in caplog.text
    activations.fill_store(store, Counter())
    assert store.is_whole()
    np.testing.assert_array_equal(rows_of(store), answers(split))


def test_pictures_in_memory(split, tmp_path):
    (tmp_path / "cache").mkdir()
    pixels = np.stack([np.asarray(rows.open_picture(split, row)) for row in range(11)])
    memory = dataclasses.replace(split, pictures=pixels, origin="scenes:0")
    store = ActivationStore(memory, NETWORK, tmp_path / "cache")
    activations.fill_store(store, Counter())
    np.testing.assert_array_equal(rows_of(store), answers(split))


def test_another_network_or_folder_has_another_store(split, tmp_path):
    own = {
        ActivationStore(split, network, tmp_path).whole
        for network in (NETWORK, dataclasses.replace(NETWORK, crops=10))
    }
    own.add(
        ActivationStore(dataclasses.replace(split, origin="elsewhere"), NETWORK, tmp_path).whole
    )
    own.add(ActivationStore(dataclasses.replace(split, name="test"), NETWORK, tmp_path).whole)
    assert len(own) == 4


def test_stopped_in_the_middle_it_goes_on(split, tmp_path, monkeypatch):
    monkeypatch.setattr(activations, "READERS", 1)  # so that the third batch is the third call
    (tmp_path / "cache").mkdir()
    store = ActivationStore(split, NETWORK, tmp_path / "cache")
    with pytest.raises(InterruptedError):
        activations.fill_store(store, Counter(stop=3))
    assert not store.is_whole() and not store.whole.exists()
    assert len(store.missing()) == 11 - 2 * Counter.pictures
    run = Counter()
    activations.fill_store(store, run)
    assert run.seen == 11 - 2 * Counter.pictures
    np.testing.assert_array_equal(rows_of(store), answers(split))


KILLED = """
import sys, pathlib
sys.path[:0] = [{root!r}, {tests!r}]
import tiny_network
from data.vision import activations
activations.SAVE_SECONDS, activations.READERS = 0, 1
folder = pathlib.Path(sys.argv[1])
split = tiny_network.make_split(folder, 11, anew=False)
store = activations.ActivationStore(split, tiny_network.NETWORK, folder / "cache")
activations.fill_store(store, tiny_network.Counter(sleep_after=2, flag=folder / "begun"))
"""


def test_killed_it_goes_on_and_the_bytes_are_the_same(split, tmp_path):
    (tmp_path / "cache").mkdir()
    code = KILLED.format(root=str(ROOT), tests=str(ROOT / "tests"))
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    store, run = ActivationStore(split, NETWORK, tmp_path / "cache"), Counter()
    wait_for(lambda: (tmp_path / "begun").exists() and len(store.missing()) < 11)
    process.kill()
    process.wait()
    assert not store.whole.exists()
    activations.fill_store(store, run)
    assert 0 < run.seen < 11
    other = ActivationStore(split, NETWORK, tmp_path / "other")
    (tmp_path / "other").mkdir()
    activations.fill_store(other, Counter())
    assert store.whole.read_bytes() == other.whole.read_bytes()


def wait_for(happened, seconds=30):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_broken_pictures_are_counted_and_only_they_are_read_again(split, tmp_path):
    (tmp_path / "cache").mkdir()
    os.remove(split.pictures[0])
    good = Path(split.pictures[5]).read_bytes()
    for row in (5, 6, 7):
        Path(split.pictures[row]).write_bytes(good[:60])
    store = ActivationStore(split, NETWORK, tmp_path / "cache")
    said = r"^4 pictures of the train split cannot be read: picture \S*0\.bmp .*; and 1 more\. Mend"
    with pytest.raises(ValueError, match=said):
        activations.fill_store(store, Counter())
    assert store.missing().tolist() == [0, 5, 6, 7]
    for row in (0, 5, 6, 7):
        Path(split.pictures[row]).write_bytes(good)
    run = Counter()
    activations.fill_store(store, run)
    assert run.seen == 4 and store.is_whole()
    np.testing.assert_array_equal(rows_of(store), answers(split))


def test_a_changed_picture_is_the_only_one_read_again(split, tmp_path):
    (tmp_path / "cache").mkdir()
    store = ActivationStore(split, NETWORK, tmp_path / "cache")
    activations.fill_store(store, Counter())
    Image.new("RGB", (12, 12), (1, 2, 3)).save(split.pictures[4])
    os.utime(split.pictures[4], ns=(1, 1))
    assert store.missing().tolist() == [4]
    run = Counter()
    activations.fill_store(store, run)
    assert run.seen == 1
    np.testing.assert_array_equal(rows_of(store), answers(split))


def test_nan_is_refused_and_names_the_picture(split, tmp_path):
    (tmp_path / "cache").mkdir()
    store = ActivationStore(split, NETWORK, tmp_path / "cache")
    with pytest.raises(ValueError, match=r"NaN or infinity for picture \d+\.bmp: are its weights"):
        activations.fill_store(store, Counter(factor=np.nan))
    assert len(store.missing()) == 11


def test_several_splits_take_one_network(split, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(activations.cnn, "Runner", lambda n: made.append(Counter()) or made[-1])
    monkeypatch.setattr(activations, "in_own_process", lambda function, *a: function(*a))
    other = dataclasses.replace(split, name="test")
    stores = [ActivationStore(s, NETWORK, tmp_path / "cache") for s in (split, other)]
    assert [count for count, _ in activations.ensure_all(stores)] == [11, 11]
    assert activations.ensure_all(stores) == [(0, 0.0)] * 2
    assert len(made) == 1
    os.utime(split.pictures[2], ns=(1, 1))
    ActivationStore(split, NETWORK, tmp_path / "cache").ensure()
    assert [count for count, _ in activations.ensure_all(stores)] == [0, 1]


# ---- Processes ----------------------------------------------------------------------------------


def test_two_programs_take_turns(tmp_path, capsys):
    order = []

    def second():
        with activations.locked(tmp_path / "lock"):
            order.append("second")

    with activations.locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        wait_for(lambda: "waiting: another program" in capsys.readouterr().err)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


APART = """
import os, sys
sys.path[:0] = [{root!r}, {tests!r}]
import tiny_network
from data.vision import activations
if __name__ == "__main__":
    print(activations.in_own_process(os.getpid) != os.getpid())
    try:
        activations.in_own_process(int, "no number")
    except ValueError as error:
        print(error)
    sys.modules["tensorflow"] = None
    print(activations.in_own_process(os.getpid) == os.getpid())
    del sys.modules["tensorflow"]
    sys.stdout.flush()
    activations.in_own_process(tiny_network.sleep_and_tell, {flag!r})
"""


def test_the_network_has_its_own_process_which_ends_with_ours(tmp_path):
    flag = tmp_path / "begun"
    code = APART.format(root=str(ROOT), tests=str(ROOT / "tests"), flag=str(flag))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: flag.exists() and flag.read_text())
    process.kill()
    told = process.communicate(timeout=30)[0]  # comes to its end only when the child has gone too
    assert told.splitlines() == ["True", "invalid literal for int() with base 10: 'no number'",
                                 "True"]  # fmt: skip
