"""Files of a cache: damaged ones are made anew, and so said."""

import pytest

from run import caches, files, manifest
from run.manifest import check as check_strictly  # without the exception of conftest.py


def test_a_damaged_file_is_removed_and_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(manifest, "check", check_strictly)
    path = tmp_path / "cache" / "rows.npy"
    assert not caches.is_whole(path)
    files.write_text(path, "rows")
    assert caches.is_whole(path) and not caplog.text
    path.write_text("rowz")
    assert not caches.is_whole(path) and not path.exists()
    assert "rows.npy is not as it was written: it is made anew" in caplog.text
    path.write_text("left by another program")
    assert not caches.is_whole(path)
    (path.parent / manifest.NAME).write_text("other people's")
    path.write_text("rows")
    with pytest.raises(ValueError, match="damaged, or no manifest"):
        caches.is_whole(path)


def test_scenes_with_a_hole_are_drawn_anew(tmp_path, monkeypatch, caplog):
    from data import datasets

    monkeypatch.setattr(manifest, "check", check_strictly)
    kept = datasets.open_dataset("scenes", cache_dir=tmp_path, limit=8)
    expected = {name: datasets.fingerprint(split) for name, split in kept.items()}
    (path,) = tmp_path.glob("scenes_test_*.npz")
    content = bytearray(path.read_bytes())
    content[1000:2000] = bytes(1000)
    path.write_bytes(content)
    again = datasets.open_dataset("scenes", cache_dir=tmp_path, limit=8)
    assert {name: datasets.fingerprint(split) for name, split in again.items()} == expected
    assert f"{path.name} is not as it was written" in caplog.text
