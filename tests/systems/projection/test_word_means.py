"""Captions as means of word vectors: the second part of system 1's assignment."""

import numpy as np
import pytest
import tiny_settings

import models
from settings.training import Facts
from systems import config

FACTS = Facts(feature_dim=5, vocabulary_size=4, train_images=3)


def build(**values):
    settings = tiny_settings.make(word_means=True, word_vectors="w.txt", word_dim=3, **values)
    return models.build_model(settings, FACTS)


def test_a_caption_is_the_mean_of_its_words_vectors():
    """The first layer by NumPy: the file's rows, zeros for unknown words, padding left out."""
    model = build()
    table = model.parts.words.weights
    vectors = np.array([[1.0, 2, 3], [4, 0, -2], [0, 0, 0], [2, 2, 2]], np.float32)
    table.assign(vectors)
    found = model.text_tower.get_layer("words")(np.array([[1, 2, 0], [4, 3, 0], [2, 2, 1]]))
    expected = [vectors[[0, 1]].mean(0), vectors[[3, 2]].mean(0), vectors[[1, 1, 0]].mean(0)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_vectors_are_not_trained_and_the_layers_behind_are():
    model = build(hidden_dim=6, embed_dim=2)
    names = [weight.path for weight in model.text_tower.trainable_weights]
    assert not any("words" in name for name in names)
    # Dense 3 -> 6, batch norm's scale and offset, Dense 6 -> 2.
    assert sum(w.shape.num_elements() for w in model.text_tower.trainable_weights) == 24 + 12 + 14


@pytest.mark.parametrize(
    "words, says",
    [
        (["--word_means"], "means of which vectors"),
        (["--word_vectors=f"], "reads them with --word_means"),
        (["--word_means", "--word_vectors=f", "--bag_scale=mean"], "--bag_scale is for a bag"),
    ],
)
def test_what_means_nothing_is_refused(words, says):
    with pytest.raises(ValueError, match=says):
        config.parse(["train.py", *words])
