"""Replicas train the model of one device: every loss, and uneven shares of a batch."""

import json

import numpy as np
import pytest
import starter
import trying
from conftest import ROOT

import losses
from run import replicas, tf_config

SCRIPT = ROOT / "tests" / "replicas.py"


def run(way, folder):
    """What one process of replicas.py saves."""
    done = starter.run(SCRIPT, way, folder, cwd=folder, timeout=380)
    assert done.returncode == 0, done.stderr[-3000:]
    return load(folder / f"{way}.npz")


def load(path):
    with np.load(path) as loaded:
        return dict(loaded)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    return run("one", tmp_path_factory.mktemp("one"))


def trained(found):
    return {key.split("/")[0] for key in found if "rows" not in key}


def tried(found):
    """Names of the losses on rows."""
    return {key.split(",")[0] for key in found if "rows" in key}


def check_equal(found, expected):
    """The losses on rows and the trainings in `found` are as on one device."""
    for key, value in found.items():
        name = key.split("/")[0]
        if name == "drops":
            assert np.isfinite(value).all()
            continue
        # The bias before a batch norm has gradient 0 and holds rounding noise, so errors are
        # measured on the scale of the same array or of the first kernel, whatever is larger.
        # Towers have 64 bits, unit rows and losses 32: of equal rows a distance is noise.
        kernel = key if key.endswith("loss") else key[: key.rfind("/")] + "/0"
        scale = max(np.abs(expected[key]).max(), np.abs(expected[kernel]).max())
        # Of written captions each word has a loss of 32 bits.
        coarse = key.endswith("loss") or name in ("joint", "gradnorm")
        assert value.shape == expected[key].shape
        assert np.abs(value - expected[key]).max() <= (1e-5 if coarse else 1e-6) * scale, key
    whole = {key.split("/")[0] for key in found} - {"drops"}
    assert {key for key in expected if key.split("/")[0] in whole} <= set(found)


def test_the_reference_run_learns_and_covers_every_loss(one_device):
    for loss in losses.LOSSES:
        assert np.abs(one_device[f"{loss}, 13 rows/loss"]) > 1e-3
        assert np.abs(one_device[f"{loss}, 13 rows/0"]).max() > 1e-3
        assert one_device[f"{loss}, 4 rows/0"].shape == (4, 2, 6)
    assert len(trained(one_device)) == 9
    for name in trained(one_device):
        assert np.abs(one_device[f"{name}/gradient/0"]).max() > 1e-3
    # Of system 3 three terms and two errors, too.
    assert one_device["paired_hinge/loss"].shape == (6,)
    weights = one_device["gradnorm/loss"][[1, 4]]  # of generation and ranking
    assert np.abs(weights - 1).min() > 1e-4
    np.testing.assert_allclose(weights.sum(), 2, rtol=1e-6)


@pytest.mark.parametrize(("way", "number", "kinds"), [("two", 9, None), ("four", 1, 6)])
def test_virtual_devices_equal_one_device(way, number, kinds, one_device, tmp_path):
    found = run(way, tmp_path)
    assert len(trained(found)) == number and len(tried(found)) == (kinds or len(tried(one_device)))
    check_equal(found, one_device)


def test_two_worker_processes_equal_one_device(one_device, tmp_path):
    trying.run_workers(SCRIPT, "workers", tmp_path, cwd=tmp_path)
    for index in range(2):
        found = load(tmp_path / f"worker{index}.npz")
        assert len(trained(found)) == 4 and len(tried(found)) == 6
        check_equal(found, one_device)


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
        tf_config.worker_index()


def test_a_worker_knows_its_number(monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    assert tf_config.worker_index() == 1
    assert tf_config.worker_addresses() == ["a:1", "b:2"]
    with pytest.raises(ValueError, match="unknown strategy 'x'"):
        replicas.make_strategy("x")
