"""A run's manifest: right at any kill; what differs from it is refused."""

import os

import pytest

from run import files, folder, manifest
from run.manifest import check as check_strictly  # without the exception of conftest.py


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "check", check_strictly)
    run = folder.Run(tmp_path / "a")
    run.folder.mkdir()
    manifest.begin(run.folder)
    return run


def test_a_written_file_is_the_runs_and_an_edited_one_is_refused(run):
    files.write_json(run.score, {"rsum": 1})
    files.write_arrays(run.state, {})
    files.write_text(run / "run.md", "not read again")
    assert sorted(manifest.hashes_of(run.folder)) == ["last/state.npz", "score.json"]
    assert run.require(run.score, "") == run.score and run.require(run.state, "") == run.state
    run.score.write_text("{}")
    with pytest.raises(ValueError, match=r"score\.json is not as it was .*python test\.py"):
        run.require(run.score, "")
    files.write_json(run.score, {"rsum": 2})
    assert run.require(run.score, "") == run.score
    run.config.write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json is not in manifest\.json.*train the"):
        run.check(run.config)


def test_killed_at_any_step_the_file_is_the_runs(run, monkeypatch):
    class Killed(BaseException):
        pass

    files.write_json(run.score, 0)
    replace, steps = os.replace, 3  # manifest with both hashes, the file, manifest with the new one
    kept = set()
    for step in range(2 * steps):
        left = [step // 2]

        def die(source, target, left=left, after=step % 2):
            if left[0] == 0:
                if after:
                    replace(source, target)
                raise Killed
            left[0] -= 1
            replace(source, target)

        monkeypatch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            files.write_json(run.score, step + 1)
        monkeypatch.setattr(os, "replace", replace)
        assert run.require(run.score, "") == run.score
        assert files.read_json(run.score) in range(step + 2)
        kept.add(files.read_json(run.score) == step + 1)
    assert kept == {False, True}
    files.write_json(run.score, 9)
    assert len(manifest.hashes_of(run.folder)["score.json"]) == 1


@pytest.mark.parametrize("name", ["score.json", "ranks_text_to_image.csv", "last/state.npz"])
def test_every_file_is_looked_at(run, name):
    for one in ("score.json", "ranks_text_to_image.csv", "last/state.npz", "history.csv"):
        files.write_text(run / one, one)
    (run / "history.csv").unlink()
    run.check_all()
    (run / name).write_text("edited")
    with pytest.raises(ValueError, match=f"{name} is not as it was written"):
        run.check_all()


def test_writers_of_one_cache_keep_each_others_hashes(run, monkeypatch):
    replace = os.replace

    def replace_beside(source, target):
        replace(source, target)
        if target == run.score:
            monkeypatch.undo()
            files.write_json(run.data, 1)  # by another process, in the meantime

    monkeypatch.setattr(os, "replace", replace_beside)
    files.write_json(run.score, 0)
    assert sorted(manifest.hashes_of(run.folder)) == ["data.json", "score.json"]


def test_a_missing_or_damaged_manifest_is_refused(run):
    files.write_json(run.score, 0)
    path = run / manifest.NAME
    for text in ("", "[]", "[" * 100_000, '{"kind": "matchbox run", "files": {"a": 1}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
            run.require(run.score, "")
    path.unlink()
    with pytest.raises(ValueError, match=r"has no manifest\.json"):
        run.require(run.score, "")
