"""Trained numbers of a loss: bounds, decay, history, files; which may be asked for."""

import warnings

import keras
import numpy as np
import pytest
import reference_contrastive as loops
import tiny_settings
from reference_ranking import cosine_scores

import models
from losses import LOSSES, build_loss
from run.folder import Run
from settings.training import Facts
from systems.engine import learned, optimization
from training.records import RunRecords

SIZES = Facts(4, 5)


def make(loss="simclr", learn="temperature", **changes):
    """A compiled GRU model, small, and without dropout."""
    own = {"model": "gru", "embed_dim": 3, "word_dim": 2, "dropout": 0.0, "reduction": "mean"}
    own |= {"loss": loss, "learn": learn, "margin": 0.2, "schedule": "constant"}
    settings = tiny_settings.make(**{**own, **changes})
    keras.utils.set_random_seed(0)
    model = models.build_model(settings, SIZES)
    optimizer = optimization.build_optimizer(settings, 5, model.parts.rates)
    model.compile(optimizer=optimizer, jit_compile=False, run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def batch(rows=5):
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((rows, 4)).astype("float32"),
        "tokens": rng.integers(1, 6, (rows, 3)).astype("int32"),
        "image_id": np.arange(rows, dtype="int32"),
        "caption_id": np.arange(rows, dtype="int32"),
    }


def numbers(model):
    return {name: float(value) for name, value in model.learned.values().items()}


def stepped(model, **gradients):
    """The numbers after one step with these gradients of their weights, the other weights' 0."""
    weights = model.learned.numbers
    given = {id(weights[name]): value for name, value in gradients.items()}
    model.optimizer.apply(
        [
            keras.ops.full(v.shape, given[id(v)]) if id(v) in given else keras.ops.zeros(v.shape)
            for v in model.trainable_variables
        ],
        model.trainable_variables,
    )
    return numbers(model)


@pytest.mark.parametrize("name", LOSSES)
def test_what_each_loss_can_train(name):
    loss = build_loss(name)
    can = loss.learnable
    assert set(can) <= set(learned.BOUNDS)
    assert learned.choose_learned("none", loss, name) == {}
    assert learned.choose_learned(",".join(can) or "none", loss, name) == {
        number: getattr(loss, number) for number in can
    }
    usual = {number: getattr(loss, number) for number in loss.usually_learned}
    assert learned.choose_learned("auto", loss, name) == usual
    assert name != "sigmoid" or usual == {"temperature": 0.1, "bias": -10.0}


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="simclr has no such number; choose from temperature"):
        learned.choose_learned("margin", build_loss("simclr"), "simclr")
    with pytest.raises(ValueError, match="barlow has no such number; it has none"):
        learned.choose_learned("temperature", build_loss("barlow"), "barlow")
    with pytest.raises(ValueError, match="learn x: --loss simclr"):
        learned.choose_learned("temperature, x", build_loss("simclr"), "simclr")
    with pytest.raises(ValueError, match="learn : --loss simclr"):
        learned.choose_learned("", build_loss("simclr"), "simclr")
    with pytest.raises(ValueError, match=r"starts at 0.001; expected 0.01 to 1.*or --learn none"):
        learned.choose_learned("temperature", LOSSES["simclr"](temperature=1e-3), "simclr")
    with pytest.raises(ValueError, match="learn temperature: --loss max_triplet"):
        make("max_triplet")


def test_a_step_is_down_the_slope_of_the_loop_reference():
    """Of the sigmoid loss, whose factor and bias start at 10 and -10: exp(t') s + b."""
    model = make("sigmoid", "auto", optimizer="sgd", momentum=0.0, learning_rate=0.01)
    assert numbers(model) == {"temperature": pytest.approx(0.1), "bias": -10.0}
    weight = float(keras.ops.convert_to_numpy(model.learned.numbers["temperature"]))
    assert weight == pytest.approx(-np.log(10))
    rows = {k: keras.ops.convert_to_numpy(v) for k, v in model(batch()).items()}
    scores = cosine_scores(rows["image"], rows["text"])

    def loss(log_factor, bias):
        return loops.sigmoid(scores, np.eye(5), np.exp(-log_factor), bias)[0] / 5

    start, h = np.array([np.log(10), -10.0]), 1e-5
    slope = [(loss(*(start + h * e)) - loss(*(start - h * e))) / (2 * h) for e in np.eye(2)]
    model.train_on_batch(batch())
    after = numbers(model)
    assert np.log(1 / after["temperature"]) == pytest.approx(start[0] - 0.01 * slope[0], rel=1e-5)
    assert after["bias"] == pytest.approx(start[1] - 0.01 * slope[1], rel=1e-5)


def test_numbers_stay_within_their_bounds_and_come_back():
    sgd = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0}
    model = make("sigmoid", "temperature,bias", **sgd)
    assert stepped(model, temperature=9.0, bias=99.0) == {
        "temperature": pytest.approx(0.01), "bias": -30.0
    }  # fmt: skip
    assert stepped(model, temperature=-0.5)["temperature"] == pytest.approx(0.01 * np.exp(0.5))
    assert stepped(model, temperature=-9.0, bias=-99.0) == {"temperature": 1.0, "bias": 30.0}
    model = make("max_triplet", "margin", **sgd)
    assert stepped(model, margin=5.0) == {"margin": pytest.approx(0.01)}
    assert stepped(model, margin=-5.0) == {"margin": 2.0}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_numbers_do_not_decay(optimizer):
    model = make("sigmoid", "auto", optimizer=optimizer, weight_decay=0.5, learning_rate=0.1)
    before = keras.ops.convert_to_numpy(model.trainable_variables[0])
    assert stepped(model) == {"temperature": pytest.approx(0.1), "bias": -10.0}
    after = keras.ops.convert_to_numpy(model.trainable_variables[0])
    np.testing.assert_allclose(after, before * 0.95, rtol=1e-5)  # the others do


def test_trained_numbers_are_in_the_history_as_they_end():
    import tensorflow as tf

    model = make("sum_triplet", "margin")
    history = model.fit(
        tf.data.Dataset.from_tensors(batch()).repeat(), steps_per_epoch=2, epochs=2, verbose=0,
        shuffle=False,
    ).history  # fmt: skip
    assert set(history) == {"loss", "margin"}
    assert history["margin"][1] == pytest.approx(numbers(model)["margin"])
    assert history["margin"][1] < history["margin"][0] < 0.2  # a hinge asks for no larger one


def start_from(first, second, folder):
    path = folder / "first.weights.h5"
    first.save_weights(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another optimiser's state is left out
        second.load_weights(path)
    sides = [[*model.image_tower.weights, *model.text_tower.weights] for model in (first, second)]
    for pair in zip(*sides, strict=True):
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(w) for w in pair))
    return numbers(second)


def test_runs_start_from_each_other_whatever_they_train(tmp_path):
    first = make("simclr")
    stepped(first, temperature=0.3)
    ended = numbers(first)
    assert ended["temperature"] != pytest.approx(0.07)
    assert start_from(first, make("simclr"), tmp_path) == ended  # goes on
    assert start_from(first, make("simclr", "none"), tmp_path) == {}
    fresh = {"temperature": pytest.approx(0.1), "bias": -10.0}  # a temperature of another kind
    assert start_from(first, make("sigmoid", "auto"), tmp_path) == fresh
    plain = make("max_hinge", "none")
    assert start_from(plain, make("simclr"), tmp_path) == {"temperature": pytest.approx(0.07)}


def test_a_resumed_run_has_its_numbers(tmp_path):
    model = make("simclr")
    stepped(model, temperature=0.3)
    ended = numbers(model)

    class Scripted:
        def __init__(self):
            self.values = {"val_mrr": 0.5, "val_rsum": 1.0}

    run = Run(tmp_path)
    records = RunRecords(run, Scripted())
    records.set_model(model)
    records.on_epoch_end(0, {"loss": -1.0, "temperature": 0.1})  # also drawn
    again = make("simclr")
    assert RunRecords(run, Scripted()).restore(again) == 1
    assert numbers(again) == ended
    assert "temperature" in run.history.read_text()


def test_the_collapse_watch_heeds_a_trained_margin():
    from training import collapse

    class Tokens:
        def pad(self, rows):
            return batch()["tokens"][rows]

    model = make("max_triplet", "margin")
    for weight in model.trainable_variables[:-1]:
        weight.assign(keras.ops.ones(weight.shape))
    model.learned.numbers["margin"].assign(0.5)
    watch = collapse.CollapseWatch(np.ones((5, 4), np.float32), Tokens(), np.arange(5))
    watch.set_model(model)
    seen = watch.look()
    assert seen["plateau"] == pytest.approx(2 * 0.5)


def test_the_layer_is_rebuilt_from_its_config():
    layer = learned.LearnedNumbers({"temperature": 0.2}, "simclr")
    again = learned.LearnedNumbers.from_config(layer.get_config())
    assert {k: float(v) for k, v in again.values().items()} == {"temperature": pytest.approx(0.2)}
    within = learned.Within(0, 1)
    assert learned.Within.from_config(within.get_config()).get_config() == within.get_config()
