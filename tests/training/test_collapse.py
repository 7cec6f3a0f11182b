"""The collapse watch: its measures by eye, and what it says when."""

import keras
import numpy as np
import pytest
import tiny_settings

import models
from data.language.words import Tokens, Vocabulary
from settings.training import Facts
from training import collapse


def test_effective_rank_by_eye():
    assert collapse.effective_rank(np.ones((8, 4))) == pytest.approx(1)
    assert collapse.effective_rank(np.eye(4)) == pytest.approx(4)
    assert collapse.effective_rank(np.diag([1.0, 1.0, 0.0])) == pytest.approx(2)
    # Singular values 2 and 1, energies 4 and 1: entropy of (4/5, 1/5).
    expected = np.exp(-(4 / 5 * np.log(4 / 5) + 1 / 5 * np.log(1 / 5)))
    assert collapse.effective_rank(np.diag([2.0, 1.0])) == pytest.approx(expected)
    assert collapse.effective_rank(np.zeros((2, 2))) == pytest.approx(1)


def test_tied_share_by_eye():
    assert collapse.tied_share(np.ones((4, 4)), 0.2) == 1
    assert collapse.tied_share(np.eye(4), 0.2) == 0
    one = np.eye(3)
    one[0, 1] = 0.99  # within a tenth of the margin of the own score, 1
    assert collapse.tied_share(one, 0.2) == pytest.approx(1 / 6)
    assert collapse.tied_share(np.ones((1, 1)), 0.2) == 0


def make_watch(loss="max_hinge", stop=False, **changes):
    """A watch over a small model, and what it has said."""
    keras.utils.set_random_seed(0)
    small = {"model": "gru", "embed_dim": 6, "word_dim": 4, "margin": 0.2, "loss": loss}
    settings = tiny_settings.make(**{**small, **changes})
    vocabulary = Vocabulary([f"w{i}" for i in range(20)], "words")
    model = models.build_model(settings, Facts(5, vocabulary.num_ids))
    rng = np.random.default_rng(0)
    captions = [" ".join(rng.choice(vocabulary.words, 4)) for _ in range(40)]
    said = []
    watch = collapse.CollapseWatch(
        rng.standard_normal((20, 5)), Tokens(captions, vocabulary), np.arange(40) // 2, stop,
        said.append,
    )  # fmt: skip
    watch.set_model(model)
    model.stop_training = False
    return watch, said


def run(watch, steps):
    for _ in range(steps):
        watch.on_train_batch_end(0)


def collapse_model(model):
    """Every picture and every sentence becomes the same row."""
    model.image_tower.layers[-2].kernel.assign(np.zeros((5, 6)))
    for weight in model.text_tower.weights:
        weight.assign(np.zeros(weight.shape))


@pytest.mark.parametrize("loss", ["max_hinge", "sum_hinge"])
def test_equal_embeddings_are_told_within_200_steps(loss):
    watch, said = make_watch(loss)
    collapse_model(watch.model)
    run(watch, collapse.PERIOD * collapse.LOOKS - 1)
    assert not said
    run(watch, 1)
    assert watch.step <= 200 and len(said) == 1 and not watch.model.stop_training
    assert "collapsed (step 100)" in said[0] and "100 % of the scores tied" in said[0]
    expected = 2 * 20 * 0.2 * (1 if loss == "max_hinge" else 19)
    assert f"stands at {expected:.4g}" in said[0] and "--first_phase" in said[0]
    run(watch, 200)
    assert len(said) == 1  # once


def test_the_training_is_stopped_if_asked():
    watch, _ = make_watch(stop=True)
    collapse_model(watch.model)
    run(watch, 100)
    assert watch.model.stop_training


def test_a_fresh_model_and_other_losses_are_left_alone():
    watch, said = make_watch()
    run(watch, 300)
    assert not said
    watch, said = make_watch("cross_entropy")
    collapse_model(watch.model)
    run(watch, 300)
    assert not said  # it has no plateau of the margin


def test_what_comes_apart_again_is_told_too():
    watch, said = make_watch()
    kept = [weight.numpy() for weight in watch.model.weights]
    collapse_model(watch.model)
    run(watch, 100)
    for weight, value in zip(watch.model.weights, kept, strict=True):
        weight.assign(value)
    run(watch, 25)
    assert len(said) == 2 and "come apart again (step 125)" in said[1]
