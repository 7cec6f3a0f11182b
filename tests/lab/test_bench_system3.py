"""What the benches of System 3's pictures measure is what they say. No timing."""

from pathlib import Path

import numpy as np
import pytest

from data.pictures import load_picture
from lab.bench import system3


def test_photos_take_a_photos_bytes(tmp_path):
    paths = system3.make_photos(tmp_path, 224, 224, 66)
    sizes = [Path(path).stat().st_size for path in paths]
    assert np.mean(sizes) == pytest.approx(13e3, rel=0.25)  # those of Flickr8k, 224 x 224
    pixels = [np.asarray(load_picture(paths[row])) for row in (0, 1, 64)]
    assert {one.shape for one in pixels} == {(224, 224, 3)}
    assert (pixels[0] == pixels[2]).all() and (pixels[0] != pixels[1]).any()  # 64 that differ


def test_what_is_timed_reads_every_picture(tmp_path):
    paths = system3.make_photos(tmp_path, 160, 224, 40)
    pictures = PixelRows(system3.make_split(paths), 128, 0.8, True, "none", tmp_path)
    windows, mirrored = pictures.windows(np.arange(40), np.random.default_rng(0))
    whole = list(system3.bare_decoder(paths))
    assert len(whole) == 40
    crops = list(system3.crops(pictures, windows))
    for (y, x, height, width), pixels, crop in zip(windows, whole, crops, strict=True):
        found = crop.numpy().astype(int) - pixels.numpy()[y : y + height, x : x + width]
        assert abs(found).max() < 10  # the bare decoder is TensorFlow's less accurate one
    sizes = [len(batch) for batch in system3.batches(pictures, windows, mirrored)]
    assert sizes == [32, 8]


def test_each_line_has_its_floor(tmp_path):
    paths = system3.make_photos(tmp_path, 60, 60, 32)
    lines = system3.measure_reading("small", paths, tmp_path, 1)
    assert [line["bounds"] for line in lines] == ["ratio >= 0.9", "", "", ""]
    assert all(line["ours"] > 0 and line["unit"] == "pictures/s" for line in lines)
    assert len({line["floor"] for line in lines}) == 1
