"""What is trained moves, and what is not stands still: weights, batch norm, moments, decay."""

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tiny_settings

import models
from run.folder import Run
from settings.training import Facts
from systems import SYSTEMS, config
from systems.dual_path import text_cnn
from systems.engine import freezing, optimization
from training.records import RunRecords, state_values

SIZES = Facts(7, 11, 8, 8)
SMALL = {"hidden_dim": 6, "embed_dim": 4, "word_dim": 6, "dropout": 0.2}
DUAL = {"model": "dual_path", "features": "last", "pooling": "max", "text_width": 1 / 64}
KINDS = {
    "projection": {"model": "projection"},
    "gru": {"model": "gru", "standardize": True},
    "gru with a bag": {"model": "gru", "bag": True, "bidirectional": True},
    "transformer": {"model": "transformer", "features": "last", "text_size": "tiny"},
    "joint": {"model": "joint", "attention_dim": 4, "loss": "max_triplet", "reduction": "mean"},
    "dual_path": DUAL,
    "dual_path on pixels": {**DUAL, "features": "pixels", "cnn": "small", "image_size": 32},
}
HEADS = {  # parts of the paths of what is trained
    "projection": ("image_tower/dense", "text_tower/dense"),
    "gru": ("image_tower/dense", "sentence_gru"),
    "gru with a bag": ("image_tower/dense", "sentence_gru", "sentence_gru", "bag_of_words"),
    "transformer": ("image_head", "text_head"),
    "joint": ("boxes", "box_weights", "reader", "writer"),
    "dual_path": ("image_head", "image_head_norm", "text_head", "text_head_norm", "classifier"),
}
HEADS["dual_path on pixels"] = HEADS["dual_path"]


@pytest.fixture(autouse=True)
def one_block(monkeypatch):
    """The other blocks of the text CNN are alike."""
    monkeypatch.setattr(text_cnn, "STAGES", (text_cnn.STAGES[0]._replace(blocks=1),))


def build(what, **changes):
    keras.utils.clear_session()  # names count up in a process
    keras.utils.set_random_seed(0)
    decay = {"optimizer": "adam", "weight_decay": 0.1, "learning_rate": 0.01}
    chosen = {**SMALL, **decay, "schedule": "constant", "loss": "cross_entropy", **changes}
    settings = tiny_settings.make(**{**chosen, "train": what})
    model = models.build_model(settings, SIZES)
    made = optimization.build_optimizer(settings, 1, model.parts.rates)
    model.compile(made, jit_compile=False, run_eagerly=True)  # two steps are quicker than a graph
    model.optimizer.build(model.trainable_variables)
    return model


def train(model, steps=2, pixels=False):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((8, 7)).astype(np.float32)
    if len(model.image_tower.input_shape) == 3:
        image = rng.standard_normal((8, 3, 7)).astype(np.float32)  # boxes
    if pixels:
        image = rng.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    width = model.text_tower.input_shape[1] or 6
    ids = np.arange(8, dtype=np.int32)
    batch: Any = {"image": image, "tokens": rng.integers(1, 12, (8, width)).astype(np.int32)}
    for _ in range(steps):
        model.train_on_batch(batch | {"image_id": ids, "label": ids})


@pytest.mark.parametrize("what", freezing.TRAINED)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_moves_and_the_rest_stands_still(kind, what):
    model = build(what, **KINDS[kind])
    before = {w.path: np.array(w) for w in model.weights}
    train(model, pixels="pixels" in kind)
    # A softmax does not see this bias: rounding, which no two CPUs share, may move it or not.
    unseen = {"box_weights/bias"}
    moved = {w.path for w in model.weights if np.any(np.array(w) != before[w.path])} | (
        unseen & {w.path for w in model.trainable_weights}
    )
    trained = {w.path for w in model.trainable_weights}
    sides = {
        side: {w.path for w in tower.weights}
        for side, tower in (("image", model.image_tower), ("text", model.text_tower))
    }
    own = {path for path in before if path.startswith(("classifier", "writer"))}  # the loss's
    still = {path for path in before if "standardize" in path}
    if what == "all":
        assert moved == set(before) - still
    elif what == "heads":
        found = sorted({path.rsplit("/", 1)[0].rstrip("_0123456789") for path in trained})
        assert found == sorted(set(HEADS[kind]))
        assert moved >= trained and all(
            path in trained or path.rsplit("/", 1)[0].endswith("head_norm") for path in moved
        )
    else:
        assert moved == (sides[what] | own) - still
    # Moments are those of what is trained.
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    held = sum(int(np.prod(v.shape)) for v in model.optimizer.variables if len(v.shape))
    assert held == 2 * count


def test_frozen_batch_norm_uses_the_statistics_it_has():
    model = build("heads", model="projection", dropout=0.0)
    norm = next(x for x in model.image_tower.layers if "batch_norm" in x.name)
    norm.moving_mean.assign(np.arange(6.0))
    image = np.random.default_rng(0).standard_normal((8, 7)).astype(np.float32)
    rows = [np.array(model.image_tower(image, training=training)) for training in (True, False)]
    np.testing.assert_array_equal(rows[0], rows[1])


def test_the_gru_tower_has_both_readers_and_the_bag_as_heads():
    model = build("all", model="gru", bag=True, bidirectional=True)
    names = [layer.name.rstrip("_0123456789") for layer in freezing.last_layers(model.text_tower)]
    assert sorted(names) == ["bag_of_words", "sentence_gru", "sentence_gru"]


def test_heads_behind_a_nested_network():
    """Such as a transformer's: the network stands still whole, its norms and inner layers too."""
    tokens = keras.Input((None,), dtype="int32")
    inside = keras.layers.Embedding(12, 4)(tokens)
    inside = keras.layers.MultiHeadAttention(2, 2)(inside, inside)
    backbone = keras.Model(tokens, keras.layers.BatchNormalization()(inside), name="backbone")
    ids = keras.Input((None,), dtype="int32")
    row = keras.layers.Dense(3, name="text_head")(backbone(ids)[:, 0])
    tower = keras.Model(ids, keras.layers.UnitNormalization()(row), name="text_tower")
    assert [layer.name for layer in freezing.last_layers(tower)] == ["text_head"]
    model = build("all", model="gru")
    model.text_tower = tower
    freezing.choose_trained(model, "heads")
    assert [w.path.split("/")[-2] for w in tower.trainable_weights] == ["text_head"] * 2


def test_a_frozen_run_is_restored_and_starts_from_another(tmp_path):
    """Its weights are those of any run of this model, its moments fewer."""
    from training import phases

    measured = SimpleNamespace(values={"val_mrr": 0.5, "val_rsum": 1.0})

    def keep(model, folder):
        run = Run(folder)
        settings = tiny_settings.make(**SMALL)
        config.save(run, settings, SIZES)
        records = RunRecords(run, measured)
        records.set_model(model)
        records.on_epoch_end(0, {"loss": 1.0})
        return run

    first = build("all", model="projection")
    train(first)
    run = keep(first, tmp_path / "first")
    second = build("heads", model="projection")
    phases.take_over(run, second)
    for a, b in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(second.optimizer.iterations) == 0
    train(second)
    run = keep(second, tmp_path / "second")
    third = build("heads", model="projection")
    assert RunRecords(run, measured).restore(third) == 1
    for model in (second, third):
        train(model, 1)
    pair = state_values(second), state_values(third)
    for a, b in zip(*pair, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_unknown_choice_is_refused():
    assert set(freezing.TRAINED) == {"all", "heads", "image", "text"}
    assert set(SYSTEMS) <= {kind.split()[0] for kind in KINDS}
    with pytest.raises(ValueError, match="--train x: choose from all, heads, image, text"):
        build("x", model="gru")
