"""The bench beside other libraries: what needs none of them, and each where it is installed."""

import numpy as np
import pytest

import metrics
from lab.bench import peer_side, peers
from lab.bench.building import make_embeddings
from lab.bench.timing import BENCHES


def test_ranks_by_sorting_are_those_of_metrics():
    image, text, owner = make_embeddings(30, 16)
    found = peers.ranks_by_sorting(image, text)
    for ours, theirs in zip(metrics.rank_both(image, text, owner), found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_gates_stand_in_the_order_of_pytorch():
    weights = np.array([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])  # z z r r c c
    turned = [[3, 9], [4, 10], [1, 7], [2, 8], [5, 11], [6, 12]]
    np.testing.assert_array_equal(peer_side.gates_first(weights), turned)


def test_sides_that_differ_are_refused():
    peers.check_equal("the loss", 1.0, 1.00001)
    with pytest.raises(ValueError, match=r"the loss: ours is 1\.0, the peer's 1\.01; expected"):
        peers.check_equal("the loss", 1.0, 1.01)


def test_what_cannot_be_installed_is_left_out(monkeypatch, tmp_path, capsys):
    class Failed:
        returncode, stderr = 1, "ERROR: hm\nERROR: no such package\n"

    monkeypatch.setenv("MATCHBOX_PEERS", str(tmp_path / "none"))
    monkeypatch.setattr(peers.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(peers.subprocess, "run", lambda *_, **__: Failed)
    assert peers.install() == set()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(peers.PACKAGES)
    assert told[0] == (
        "peers: torch cannot be installed, so it is left out: ERROR: no such package"
    )


@pytest.mark.parametrize(
    ("package", "lines"),
    [
        ("torch", peers.beside_vse),
        ("torchmetrics", lambda at: peers.beside_scoring(at, {"torchmetrics"})),
        ("ranx", lambda at: peers.beside_scoring(at, {"ranx"})),
        ("faiss", peers.beside_faiss),
        ("sentence_transformers", peers.beside_negatives),
    ],
)
def test_a_peer_finds_the_same(package, lines):
    if package not in peers.installed(peers.peers_python()):
        pytest.skip(f"{package} is not installed: python -m lab.bench peers installs it")
    found = list(lines(BENCHES["peers"].at(0.02)))
    assert all(line["ours"] > 0 and line["floor"] > 0 for line in found)
