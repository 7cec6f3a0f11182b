"""System 2 trained by train.py in two worker processes on loopback, both phases."""

import shutil
import time

import tiny_data
import trying

from run.folder import find


def test_two_workers_train_both_phases(tmp_path):
    tiny_data.precomp(tmp_path / "data")
    trying.run_workers(
        "train.py", "--recipe=ph", "--data=precomp", "--data_dir=data", "--embed_dim=16",
        "--word_dim=8", "--batch_size=4", "--epochs=1", "--exp=two", "--strategy=multi_worker",
        cwd=tmp_path,
    )  # fmt: skip
    for name in ("two-first", "two"):
        run = find(tmp_path / "exp", name)
        assert run.best_weights.is_file() and run.history.is_file()


def the_error(done):
    """The one line that says why a worker ended, among warnings about the data."""
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert len(lines) == 1 and lines[0].startswith("train.py: error: worker 1 (127.0.0.1:")
    return lines[0]


def test_other_flags_other_data_and_an_end_stop_all(tmp_path):
    tiny_data.precomp(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "other")
    captions = tmp_path / "other/train_caps.txt"
    captions.write_text(captions.read_text().replace("train 0 0", "train 0 1", 1))
    common = [
        "--recipe=sh", "--data=precomp", "--embed_dim=16", "--word_dim=8", "--batch_size=4",
        "--epochs=900", "--strategy=multi_worker", "--exp=x",
    ]  # fmt: skip
    for more, says in (
        (["--learning_rate=0.5"], "has --learning_rate 0.5, worker 0"),
        (["--data_dir=other"], "has train data, SHA-256"),
    ):
        each = [[*common, "--data_dir=data"], [*common, "--data_dir=data", *more]]
        for done in [
            one.finish(60) for one in trying.start_workers("train.py", *each, cwd=tmp_path)
        ]:
            assert says in the_error(done)
    assert not list((tmp_path / "exp").iterdir())
    started = trying.start_workers("train.py", *[[*common, "--data_dir=data"]] * 2, cwd=tmp_path)
    while not (tmp_path / "exp/x/best.weights.h5").is_file() and started[0].process.is_alive():
        time.sleep(0.05)
    started[1].process.kill()
    assert "has ended, so all do" in the_error(started[0].finish(60))
