"""ONNX files as towers: what does not fit is refused in one line."""

import numpy as np
import pytest
from tiny_run import write_image_tower, write_text_tower

from run import onnx_graphs


def test_a_tower_refuses_what_does_not_fit(tmp_path, capfd):
    write_image_tower(tmp_path / "image.onnx", np.ones((3, 2)))
    tower = onnx_graphs.Tower(tmp_path / "image.onnx")
    np.testing.assert_allclose(tower(np.ones((2, 3), np.float32)), np.full((2, 2), 0.5**0.5))
    with pytest.raises(ValueError, match=r"cannot take a batch of shape \(1, 4\)"):
        tower(np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match="NaN or infinity"):
        tower(np.full((1, 3), np.nan, np.float32))
    write_text_tower(tmp_path / "query.onnx", np.eye(3))
    with pytest.raises(ValueError, match=r"query\.onnx cannot take a batch"):  # no such word
        onnx_graphs.Tower(tmp_path / "query.onnx")(np.array([[7]], np.int32))
    assert capfd.readouterr().err == ""
