"""The lock of a folder: one process writes, another is refused by name, the dead hold nothing."""

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from run import files, lock

HOLD = "import sys, time; from run import lock; lock.claim(sys.argv[1]); print('held', flush=True)"


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path/run."""
    command = [sys.executable, "-c", f"{HOLD}; time.sleep(60)", str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_by_name(tmp_path, holder):
    with pytest.raises(ValueError, match=rf"run is being written by process {holder.pid} on .* 20"):
        lock.claim(tmp_path / "run")
    (tmp_path / ".run.lock.json").unlink()
    with pytest.raises(ValueError, match="written by another process"):
        lock.claim(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_killed_writer_held_is_free_and_cleaned(tmp_path, holder):
    (tmp_path / "run/last").mkdir(parents=True)
    left = [tmp_path / f"run/.{holder.pid}.best.weights.h5",
            tmp_path / f"run/last/.{holder.pid}.state.npz"]  # fmt: skip
    kept = [tmp_path / f"run/.{os.getpid()}.a", tmp_path / "run/.hidden", tmp_path / "run/.1x.b"]
    for path in left + kept:
        path.write_text("")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    try:
        lock.claim(tmp_path / "run")
        lock.claim(tmp_path / "run")  # it is ours already
        owner = json.loads((tmp_path / ".run.lock.json").read_text())
        assert owner["process"] == os.getpid()
    finally:
        lock.release_all()
    assert [p.exists() for p in left + kept] == [False, False, True, True, True]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]  # no lock is left behind


def test_an_output_replaces_files_only(tmp_path):
    for odd in (tmp_path, "/dev/null") if os.name == "posix" else (tmp_path,):
        with pytest.raises(ValueError, match="no regular file"):
            files.check_output(odd)
        with pytest.raises(ValueError, match="no regular file"):
            files.write_text(odd, "x")
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "to_pipe").symlink_to("pipe")
        for name in ("pipe", "to_pipe"):
            with pytest.raises(ValueError, match="no regular file"):
                files.write_text(tmp_path / name, "x")
    for name in ("a\nb.json", "\x1b[31m.json", ""):
        with pytest.raises(ValueError, match="no usable name"):
            files.check_output(name)
    files.check_output(None)
    files.check_output(tmp_path / "new.json")


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    for name in ("there", "not yet"):
        (tmp_path / name).symlink_to(tmp_path / "real" / name)
    (tmp_path / "real/there").write_text("old")
    for name in ("there", "not yet"):
        files.write_text(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "real" / name).read_text() == "new"
