"""System 2 trained by train.py in two worker processes on loopback, both phases."""

import json
import os
import socket
import subprocess
import sys

import tiny_data
from conftest import ROOT

from run.folder import find


def start(folder, workers, index):
    command = [
        sys.executable, str(ROOT / "train.py"), "--recipe=ph", "--data=precomp", "--data_dir=data",
        "--embed_dim=16", "--word_dim=8", "--batch_size=4", "--epochs=1", "--exp=two",
        "--strategy=multi_worker",
    ]  # fmt: skip
    cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        command, cwd=folder, env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_two_workers_train_both_phases(tmp_path):
    tiny_data.precomp(tmp_path / "data")
    sockets = [socket.socket() for _ in range(2)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{item.getsockname()[1]}" for item in sockets]
    for item in sockets:
        item.close()
    processes = [start(tmp_path, workers, index) for index in range(2)]
    for process in processes:
        told, _ = process.communicate(timeout=240)
        assert process.returncode == 0, told[-3000:]
    for name in ("two-first", "two"):
        run = find(tmp_path / "exp", name)
        assert run.best_weights.is_file() and run.history.is_file()
