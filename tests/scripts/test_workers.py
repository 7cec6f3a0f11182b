"""System 2 trained by train.py in two worker processes on loopback, both phases."""

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
