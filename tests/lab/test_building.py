"""What the benches are made of is like what it stands for."""

from pathlib import Path

import numpy as np
import pytest

import metrics
from data.pictures import load_picture
from lab.bench import building


def test_embeddings_are_unit_rows_near_their_image():
    image, text, owner = building.make_embeddings(300, 64)
    assert image.shape == (300, 64) and text.shape == (1500, 64) and text.dtype == np.float32
    for rows in (image, text):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    ranks, _ = metrics.rank_both(image, text, owner)
    assert 2 < np.median(ranks) < 140  # neither solved nor chance


def test_captions_are_like_those_of_flickr8k():
    tokens = building.make_tokens(20000, 7000)
    lengths = tokens.lengths
    assert (lengths.min(), lengths.max()) == (4, 38)
    assert lengths.mean() == pytest.approx(12.8, abs=0.1)
    assert lengths.std() == pytest.approx(3.8, abs=0.1)
    wanted = [6, 8, 10, 12, 15, 18, 24]  # of its 25,000 training captions
    found = np.quantile(lengths, [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
    np.testing.assert_allclose(found, wanted, atol=1)
    assert tokens.flat.min() == 1 and 6900 < tokens.flat.max() <= 7000
    assert 430 < len(np.unique(tokens.flat[:1664])) < 500  # Flickr8k: 449 and 464


def test_photos_take_a_photos_bytes(tmp_path):
    paths = list(building.make_photos(tmp_path, 224, 224, 66).pictures or ())
    sizes = [Path(path).stat().st_size for path in paths]
    assert np.mean(sizes) == pytest.approx(13e3, rel=0.25)  # those of Flickr8k, 224 x 224
    pixels = [np.asarray(load_picture(paths[row])) for row in (0, 1, 64)]
    assert {one.shape for one in pixels} == {(224, 224, 3)}
    assert (pixels[0] == pixels[2]).all() and (pixels[0] != pixels[1]).any()  # 64 that differ
