"""System 3 with what captions say as its classes: words and pairs of neighbouring words."""

import functools
import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny_settings
from keras import ops
from test_dual_path import build, make_batch, tensors, toy

from data.language.words import Vocabulary
from systems.dual_path import head, reading

CAPTIONS = ["a red dog", "a dog runs", "the red dog", "a cat", "red cat", "a"]
IMAGES = np.array([0, 0, 1, 1, 3, 4], np.int32)  # image 2 has no caption


def shares(captions, images, least):
    """{image: {phrase: share}}, by loops."""
    said = []
    for caption in captions:
        words = caption.split()
        said.append({*words, *map(" ".join, itertools.pairwise(words))})
    phrases = sorted({phrase for one in said for phrase in one})
    weight = {}
    for phrase in phrases:
        often = sum(phrase in one for one in said)
        if often >= least and np.log(len(captions) / often) > 1:
            weight[phrase] = np.log(len(captions) / often) - 1
    found = {}
    for image in range(max(images) + 1):
        mine = [one for one, owner in zip(said, images, strict=True) if owner == image]
        own = {phrase: weight[phrase] for phrase in weight if any(phrase in one for one in mine)}
        found[image] = {phrase: value / sum(own.values()) for phrase, value in own.items()}
    return found


@pytest.mark.parametrize("least", [1, 2])
def test_an_image_has_shares_of_all_that_its_captions_say(monkeypatch, least):
    monkeypatch.setattr(reading, "PHRASE_CAPTIONS", least)
    vocabulary = Vocabulary.from_captions(CAPTIONS, 100, "lower_split")
    expected = shares(CAPTIONS, IMAGES, least)
    found = reading.phrase_classes(CAPTIONS, IMAGES, vocabulary)
    assert found.dtype == np.float32 and found.shape[0] == 5
    names = {phrase for one in expected.values() for phrase in one}
    assert found.shape[1] == len(names) == {1: 10, 2: 2}[least]
    for image, own in expected.items():
        row = found[[image]].toarray()[0]
        np.testing.assert_allclose(sorted(row[row > 0]), sorted(own.values()), rtol=1e-5)
    assert found[[2]].nnz == 0  # it has no caption
    again = reading.phrase_classes(CAPTIONS, IMAGES, vocabulary)
    np.testing.assert_array_equal(again.toarray(), found.toarray())


def test_captions_without_such_phrases_are_refused():
    vocabulary = Vocabulary.from_captions(CAPTIONS, 100, "lower_split")
    with pytest.raises(ValueError, match="no phrase stands in 20 of the 6 training captions"):
        reading.phrase_classes(CAPTIONS, IMAGES, vocabulary)


def test_terms_by_eye():
    logits = np.log(np.array([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0], [3.0, 3.0, 3.0]], np.float32))
    share = np.array([[0, 1, 0], [0.5, 0.5, 0], [0, 0, 0]], np.float32)
    got = ops.convert_to_numpy(head.phrase_terms(logits, share))
    np.testing.assert_allclose(got, [np.log(8 / 2), np.log(4), 0], rtol=1e-6, atol=1e-7)
    one = head.instance_terms(logits, np.array([1, 0, 2]))
    hot = head.phrase_terms(logits, np.eye(3, dtype=np.float32)[[1, 0, 2]])
    np.testing.assert_allclose(hot, one, rtol=1e-6)  # one class alone: the instance loss
    far = head.phrase_terms(np.array([[0.0, 6e4]], np.float16), np.array([[1, 0]], np.float32))
    np.testing.assert_allclose(far, [6e4], rtol=1e-3)


def phrase_batch(rows=6, classes=11):
    batch = make_batch(rows, 5)
    share = np.random.default_rng(3).dirichlet(np.ones(classes), rows).astype(np.float32)
    share[:, ::2] = 0
    share /= share.sum(axis=1, keepdims=True)
    return {**batch, "label": share}


def test_both_paths_are_classified_by_one_matrix():
    batch, model = phrase_batch(), toy(lambdas=(0.0, 1.0, 1.0))
    outputs = model(tensors(batch), training=False)
    found = model.heads[0].row_terms(tensors(batch), outputs)
    kernel = model.heads[0].classifier.get_weights()[0].astype(np.float64)
    for side in ("visual", "textual"):
        logits = np.asarray(outputs[side], np.float64) @ kernel
        for row in range(6):
            chances = np.exp(logits[row]) / np.exp(logits[row]).sum()
            expected = -sum(
                s * np.log(p) for s, p in zip(batch["label"][row], chances, strict=True)
            )
            np.testing.assert_allclose(found[side][row], expected, rtol=1e-5)
            wrong = batch["label"][row][logits[row].argmax()] == 0
            assert float(found[f"{side}_error"][row]) == wrong


def test_a_picture_counts_for_each_of_its_captions():
    model, batch = build(classes="images"), phrase_batch(5)
    batch["image"] = make_batch(5)["image"]  # of the towers' size
    owner = np.array([0, 0, 1, 2, 2], np.int32)
    batch["label"] = batch["label"][owner]
    together = {**batch, "image": batch["image"][:3], "image_row": owner}
    apart = {**batch, "image": batch["image"][owner]}
    terms = model.heads[0].row_terms(together, model(together))
    for name, term in model.heads[0].row_terms(apart, model(apart)).items():
        np.testing.assert_allclose(terms[name], term, rtol=1e-5)


def test_the_gradient_is_the_chances_minus_the_shares():
    logits = np.random.default_rng(0).standard_normal((2, 4))
    share = np.array([[0.25, 0.75, 0, 0], [0, 0, 0, 0]])
    chances = np.exp(logits[0]) / np.exp(logits[0]).sum()
    variable = keras.Variable(logits.astype(np.float32))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total = ops.sum(head.phrase_terms(variable, share.astype(np.float32)))
    gradient = np.array(tape.gradient(total, variable.value))
    np.testing.assert_allclose(gradient, [chances - share[0], np.zeros(4)], atol=1e-6)


def test_the_classifier_has_as_many_classes_as_there_are_phrases():
    from test_dual_path import SIZES, settings

    import models

    own = settings(classes="phrases")
    model = models.build_model(own, replace(SIZES, num_classes=23))
    assert model.heads[0].classifier.kernel.shape == (5, 23)


def test_each_image_is_a_class_or_pseudo_classes_are_clusters():
    made = functools.partial(tiny_settings.make, "dual_path")
    own = reading.instance_classes(made(), None, 5)
    assert own.dtype == np.int32 and own.tolist() == [0, 1, 2, 3, 4]
    rng = np.random.default_rng(0)
    centres = np.eye(3)[rng.integers(0, 3, 60)]
    # Direction, not length, tells them apart.
    vectors = (centres + 0.02 * rng.standard_normal((60, 3))) * rng.uniform(1, 50, (60, 1))
    three = made(num_classes=3)
    found = reading.instance_classes(three, vectors, 60)
    assert found.dtype == np.int32 and set(found) == {0, 1, 2}
    pairs = set(zip(centres.argmax(1).tolist(), found.tolist(), strict=True))
    assert len(pairs) == 3
    np.testing.assert_array_equal(reading.instance_classes(three, vectors, 60), found)
    for odd in (1, 61):
        with pytest.raises(ValueError, match=f"--num_classes {odd}: expected 2 to 60"):
            reading.instance_classes(made(num_classes=odd), vectors, 60)
