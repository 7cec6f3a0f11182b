"""What the benches of System 2 measure is what they say. No timing."""

import numpy as np
import pytest

from data.language.words import Tokens
from lab.bench import system2
from run.settings import Facts


def test_captions_are_like_those_of_flickr8k():
    tokens = system2.make_tokens(20000, 7000)
    lengths = tokens.lengths
    assert (lengths.min(), lengths.max()) == (4, 38)
    assert lengths.mean() == pytest.approx(12.8, abs=0.1)
    assert lengths.std() == pytest.approx(3.8, abs=0.1)
    wanted = [6, 8, 10, 12, 15, 18, 24]  # of its 25,000 training captions
    np.testing.assert_allclose(
        np.quantile(lengths, [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99]), wanted, atol=1
    )
    assert tokens.flat.min() == 1 and 6900 < tokens.flat.max() <= 7000
    assert 430 < len(np.unique(tokens.flat[:1664])) < 500  # Flickr8k: 449 and 464


def test_the_work_of_an_epoch():
    class Batches:
        """Two batches of 3 captions, of 4 and 5 tokens."""

        items, steps_per_epoch = 6, 2

        def share(self, step, replica, total):
            return {"tokens": np.zeros((3, 4 + step), np.int32)}

    settings, _ = system2.make_settings(1)
    settings.embed_dim, settings.word_dim = 10, 7
    # Products of rows (inner) x (outer), 2 operations each, forward and two gradients; the image
    # side has one gradient only.
    words, recurrent, image = 27 * 7 * 30 * 6, 27 * 10 * 30 * 6, 6 * 11 * 10 * 4
    found = system2.epoch_gflop(Batches(), settings, Facts(feature_dim=11))
    assert found == pytest.approx(1e-9 * (words + recurrent + image))


def test_keras_reads_as_the_tower_does():
    import keras

    from systems.gru import towers as gru_towers

    settings, _ = system2.make_settings(0.01)
    towers = gru_towers.sentence_reader(settings, 20), system2.keras_reader(settings, 20)
    table, gru = (
        next(layer for layer in towers[0].layers if isinstance(layer, kind))
        for kind in (keras.layers.Embedding, gru_towers.SentenceGRU)
    )
    kernel, inner, bias = gru.kernel.numpy(), gru.recurrent.numpy(), gru.bias.numpy()
    both = np.stack([bias, np.zeros_like(bias)])
    towers[1].set_weights([table.embeddings.numpy(), kernel, inner, both])
    tokens = Tokens.from_flat(np.arange(1, 10), np.array([2, 4, 3])).pad(np.arange(3))
    wide = np.pad(tokens, ((0, 0), (0, 3)))
    for rows in (tokens, wide):
        own, other = (tower(rows).numpy() for tower in towers)
        np.testing.assert_allclose(other, own, atol=1e-6)


def test_pictures_are_files_that_can_be_read(tmp_path):
    from data.vision import rows as picture_rows

    split = system2.make_pictures(tmp_path, 66)
    pictures = [picture_rows.open_picture(split, row) for row in (0, 1, 64)]
    assert {picture.size for picture in pictures} == {(224, 224)}
    first, second, again = (np.asarray(picture) for picture in pictures)
    assert (first == again).all() and (first != second).any()  # 64 that differ
