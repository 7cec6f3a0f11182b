"""The heat map over a picture."""

import numpy as np
import pytest
from PIL import Image

from figures import heat


def test_a_cell_is_the_mean_of_the_patches_over_it():
    values = heat.cells(np.array([[1.0, 2.0], [3.0, 6.0]]))
    assert values.tolist() == [[1, 1.5, 2], [2, 3, 4], [3, 4.5, 6]]
    assert (heat.cells(np.full((7, 7), -0.25)) == -0.25).all()


@pytest.mark.parametrize("size", [(64, 64), (2000, 30), (1, 1), (3, 90)])
def test_the_overlay_is_blue_below_zero_red_above_and_grey_at_zero(size):
    values = np.zeros((8, 8))
    values[:2], values[-2:] = -0.02, 0.02
    page = heat.overlay(Image.new("RGB", size, (90, 90, 90)), values, 96)
    assert max(page.size) == 96
    pixels = np.asarray(page).astype(int)
    if min(page.size) > 50:
        top, middle, low = pixels[2, 48], pixels[48, 48], pixels[-3, 48]
        assert low[0] > low[2] + 80 and top[2] > top[0] + 80 and np.ptp(middle) <= 1
    flat = heat.overlay(Image.new("RGB", size, (90, 90, 90)), np.zeros((8, 8)), 96)
    assert np.ptp(np.asarray(flat)) == 0


def test_the_scale_goes_from_blue_to_red():
    pixels = np.asarray(heat.scale_bar(101, 3)).astype(int)
    assert pixels.shape == (3, 101, 3) and np.ptp(pixels[0, 50]) == 0
    assert pixels[0, 0, 2] > pixels[0, 0, 0] and pixels[0, -1, 0] > pixels[0, -1, 2]
