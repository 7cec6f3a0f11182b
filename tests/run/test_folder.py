"""The run folder: atomic writes, arrays that map, names that are found or listed."""

import errno
import os

import numpy as np
import pytest

from run import files, folder, manifest


def test_arrays_survive_their_file_and_are_mapped(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.standard_normal((300, 17)).astype(np.float32),
        "tiny": np.array(3),
        "names": np.frombuffer(b"abc", np.uint8),
        "empty": np.zeros((0, 4)),
        "half": rng.standard_normal((5000,)).astype(np.float16),
    }
    path = tmp_path / "a.npz"
    files.write_arrays(path, arrays)
    opened = files.open_arrays(path)
    assert list(opened) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(opened[name], array)
        assert opened[name].dtype == array.dtype and opened[name].shape == array.shape
        with np.load(path, allow_pickle=False) as loaded:
            np.testing.assert_array_equal(loaded[name], array)
    for name in ("image", "half"):
        mapped = opened[name]
        assert isinstance(mapped, np.memmap) and mapped.offset % 64 == 0
        assert mapped.flags.aligned


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    for name in "ab":
        files.write_arrays(tmp_path / name, {"x": np.arange(3000), "y": np.eye(2)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_foreign_compressed_arrays_are_read(tmp_path):
    np.savez_compressed(tmp_path / "c.npz", x=np.arange(9999))
    np.savez(tmp_path / "f.npz", x=np.asfortranarray(np.arange(9999.0).reshape(99, 101)))
    np.testing.assert_array_equal(files.open_arrays(tmp_path / "c.npz")["x"], np.arange(9999))
    expected = np.arange(9999.0).reshape(99, 101)
    np.testing.assert_array_equal(files.open_arrays(tmp_path / "f.npz")["x"], expected)


def test_broken_and_pickled_arrays_are_refused(tmp_path):
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(9999)})
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"not a whole \.npz"):
        files.open_arrays(tmp_path / "a.npz")
    np.savez(tmp_path / "p.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"p\.npz .*x is an array of objects"):
        files.open_arrays(tmp_path / "p.npz")
    with pytest.raises(ValueError, match="is missing"):
        files.open_arrays(tmp_path / "none.npz")


def test_strings_of_any_kind_are_packed_and_read_back():
    strings = ["", "a", "\u05e9\u05dc\u05d5\u05dd \U0001f642", "x" * 1000, "\ud800", "last"]
    packed = files.PackedStrings(*files.pack_strings(strings))
    assert list(packed) == strings
    assert packed[-1] == "last"
    with pytest.raises(IndexError):
        packed[6]
    assert list(files.PackedStrings(*files.pack_strings([]))) == []


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "score.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        files.write_json(path, {"a": float("nan")})

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["score.json"]


def test_half_written_json_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "proj')
    with pytest.raises(ValueError, match="not valid JSON"):
        files.read_json(tmp_path / "config.json")
    with pytest.raises(ValueError, match="is missing"):
        files.read_json(tmp_path / "none.json")


def test_runs_are_found_by_name_by_path_and_as_the_latest(tmp_path):
    with pytest.raises(ValueError, match="no run in"):
        folder.find(tmp_path, None)
    for age, name in enumerate(["old", "new"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        os.utime(tmp_path / name / "config.json", (age, age))
    (tmp_path / "half").mkdir()
    assert folder.find(tmp_path, None).folder.name == "new"
    assert folder.find(tmp_path, "old").folder == tmp_path / "old"
    assert folder.find("elsewhere", str(tmp_path / "old")).folder == tmp_path / "old"
    with pytest.raises(ValueError, match=r"unknown experiment 'x'; .* old, new"):
        folder.find(tmp_path, "x")
    with pytest.raises(ValueError, match=r"half has no config\.json"):
        folder.find(tmp_path, "half")
    run = folder.find(tmp_path, "old")
    with pytest.raises(ValueError, match=r"old has no score\.json: run python test\.py"):
        run.require(run.score, "run python test.py")


def test_the_config_is_read_plainly_or_refused(tmp_path):
    run = folder.Run(tmp_path)
    for wrong, says in (([], "format 1"), ({"format": folder.FORMAT, "facts": {}}, "no settings")):
        files.write_json(run.config, wrong)
        with pytest.raises(ValueError, match=says):
            run.read_config()
    table = tmp_path / "data" / "table.csv"
    for data_dir, found in ((None, "."), (table.parent, table.parent), (table, table)):
        settings = {"model": "gru", "data_dir": str(data_dir) if data_dir else None}
        whole = {"format": folder.FORMAT, "settings": settings, "facts": {}}
        files.write_json(run.config, whole)
        assert run.read_config() == whole
        assert str(run.data_folder()) == str(found)
    files.write_text(table, "image,caption\n")  # a file: references start beside it
    assert run.data_folder() == table.parent


def test_a_folder_that_a_stopped_start_left_is_unbegun(tmp_path):
    run = folder.Run(tmp_path / "a")
    manifest.begin(run.folder)
    (run.folder / ".999999999.config.json").write_text("{")
    assert run.is_unbegun() and not (run.folder / ".999999999.config.json").exists()
    (run.folder / "notes.txt").write_text("mine")
    assert not run.is_unbegun()
    (run.folder / "notes.txt").unlink()
    (run.folder / manifest.NAME).write_text("{}")  # somebody else's
    assert not run.is_unbegun()
    (run.folder / manifest.NAME).unlink()
    assert not run.is_unbegun()  # an empty folder is not known to be ours
