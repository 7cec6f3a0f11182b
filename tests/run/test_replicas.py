"""Replicas train the model of one device: every loss, uneven and even empty shares of a batch."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import losses
from run import replicas

KINDS = (
    "tfidf",
    "gru",
    "cached",
    "paired_hinge",
    "gradnorm",
)  # tried in three ways
SCRIPT = str(ROOT / "tests" / "replicas.py")


def start(strategy, devices, output, only=(), **environment):
    command = [sys.executable, SCRIPT, strategy, str(devices), str(output), *only]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(*processes):
    for process in processes:
        _, errors = process.communicate(timeout=380)
        assert process.returncode == 0, errors[-2000:]


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    output = tmp_path_factory.mktemp("one") / "one.npz"
    finish(start("none", 0, output))
    with np.load(output) as loaded:
        return dict(loaded)


def names(keys):
    return {key.split("/")[0] for key in keys}


def check_equal(output, expected, runs):
    """Every loss on rows, and the trainings `runs`, are as on one device."""
    with np.load(output) as loaded:
        wanted = {name for name in names(expected) if name.endswith("rows") or name in runs}
        assert names(loaded.files) == wanted
        for key in loaded.files:
            if key.startswith("drops"):
                assert np.isfinite(loaded[key]).all() and loaded[key].shape == expected[key].shape
                continue
            # The bias before a batch norm has gradient 0 and holds rounding noise, so errors are
            # measured on the scale of the same array or of the first kernel, whatever is larger.
            # Towers have 64 bits, unit rows and losses 32: of equal rows a distance is noise.
            kernel = key if key.endswith("loss") else key[: key.rfind("/")] + "/0"
            scale = max(np.abs(expected[key]).max(), np.abs(expected[kernel]).max())
            # Of written captions each word has a loss of 32 bits.
            coarse = key.endswith("loss") or key.startswith(("joint", "gradnorm"))
            tolerance = 1e-5 if coarse else 1e-6
            assert np.abs(loaded[key] - expected[key]).max() <= tolerance * scale, key


def test_the_reference_run_learns_and_covers_every_loss(one_device):
    for loss in losses.LOSSES:
        assert np.abs(one_device[f"{loss}, 13 rows/loss"]) > 1e-3
        assert np.abs(one_device[f"{loss}, 13 rows/0"]).max() > 1e-3
        assert one_device[f"{loss}, 3 rows/0"].shape == (3, 2, 6)
    trained = {name for name in names(one_device) if not name.endswith("rows")}
    assert set(KINDS) < trained
    for name in trained:
        assert np.abs(one_device[f"{name}/gradient/0"]).max() > 1e-3
        # Of system 3 three terms and two errors, too.
        several = {"paired_hinge": 6, "joint": 3}.get(name)
        assert several is None or one_device[f"{name}/loss"].shape == (several, 2)
    weights = one_device["gradnorm/loss"][[1, 4]]  # of generation and ranking
    assert np.abs(weights - 1).min() > 1e-4
    np.testing.assert_allclose(weights.sum(axis=0), 2, rtol=1e-6)


@pytest.mark.parametrize("half", [0, 1])
def test_two_virtual_devices_equal_one_device(half, one_device, tmp_path):
    """Every training, by halves: of all at once tracing alone takes minutes."""
    runs = sorted(name for name in names(one_device) if not name.endswith("rows"))[half::2]
    finish(start("mirrored", 2, tmp_path / "many.npz", runs))
    check_equal(tmp_path / "many.npz", one_device, runs)


def test_four_virtual_devices_equal_one_device(one_device, tmp_path):
    """Of the last batch, of three rows, the fourth has none."""
    finish(start("mirrored", 4, tmp_path / "many.npz", KINDS))
    check_equal(tmp_path / "many.npz", one_device, KINDS)


def test_two_worker_processes_equal_one_device(one_device, tmp_path):
    sockets = [socket.socket() for _ in range(2)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{item.getsockname()[1]}" for item in sockets]
    for item in sockets:
        item.close()
    processes = [
        start(
            "multi_worker",
            0,
            tmp_path / "workers.npz",
            KINDS,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]
    finish(*processes)
    check_equal(tmp_path / "workers.npz", one_device, KINDS)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "{",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"index": 3}}',
        '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}',
    ],
)
def test_a_missing_or_odd_tf_config_is_refused(value, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
        replicas.is_chief("multi_worker")


def test_only_worker_zero_is_chief(monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    assert not replicas.is_chief("multi_worker")
    assert replicas.is_chief("mirrored")
    with pytest.raises(ValueError, match="unknown strategy 'x'"):
        replicas.make_strategy("x")
