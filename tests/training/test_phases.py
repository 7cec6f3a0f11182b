"""Curriculum: the first phase's command, what may start from what, and that the best is kept."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tiny_network

import models
from data.vision.embedding import NetworkDescriptor
from data.vision.network import Layers
from run import files
from run.folder import Run
from settings.training import Facts
from systems import config
from systems.dual_path import text_cnn
from systems.dual_path.sheet import DualPathSettings
from systems.engine import backbone
from systems.gru.sheet import GruSettings
from training import phases
from training.records import RunRecords

FACTS = Facts(feature_dim=5, vocabulary_size=6)


def settings(**changes):
    small = {"model": "gru", "loss": "max_hinge", "embed_dim": 4, "word_dim": 3}
    return GruSettings(**{**small, "features": "regions", **changes})


def make_model(seed=0):
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = models.build_model(settings(), FACTS)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    return model


def make_first(folder):
    run = Run(folder)
    config.save(run, settings(loss="sum_hinge"), FACTS)
    model = make_model(seed=1)
    model.save_weights(run.best_weights)
    return run, model


def test_the_first_phase_is_a_run_beside_with_the_same_flags(tmp_path, monkeypatch):
    commands, status = [], [0]

    def keep(command):
        commands.append(command)
        return status[0]

    monkeypatch.setattr(phases, "run_beside", keep)
    run = Run(tmp_path / "runs" / "x")
    argv = ["train.py", "--recipe=ph", "--exp=x", "--epochs", "3", "--loss=max_hinge", "--resume"]
    flags = phases.first_flags("sh", argv)
    first = phases.train_first(flags, run)
    assert first.folder == tmp_path / "runs" / "x-first"
    root = f"--exp_root={tmp_path / 'runs'}"
    assert commands[0][2:] == ["--recipe=sh", "--epochs=3", root, "--exp=x-first"]
    first.state.parent.mkdir(parents=True)
    phases.train_first(flags, run)
    assert commands[1][-1] == "--overwrite"  # stopped before its first epoch ended
    first.state.write_bytes(b"")
    phases.train_first(flags, run)
    assert commands[2][-1] == "--resume"
    status[0] = 1
    with pytest.raises(ValueError, match="x-first, was not finished"):
        phases.train_first(flags, run)


def test_other_towers_are_refused(tmp_path):
    run, _ = make_first(tmp_path)
    phases.same_reading(run, settings(), ())
    with pytest.raises(ValueError, match=r"trained with --embed_dim 4.*with 8: both phases"):
        phases.same_reading(run, settings(embed_dim=8), ())
    with pytest.raises(ValueError, match="trained with --model gru, so it cannot start a run with"):
        phases.same_reading(run, dual(), ())
    phases.check_sizes(run, settings(), Facts(5, 6, 9))
    with pytest.raises(ValueError, match="vectors of 5 numbers, this data has 7"):
        phases.check_sizes(run, settings(), Facts(7))
    with pytest.raises(ValueError, match="a classifier of 0 classes, this data has 3"):
        phases.check_sizes(run, settings(), Facts(5, num_classes=3))
    second = phases.same_reading(run, settings(min_count=3, crops=1), ("epochs",))
    assert (second.min_count, second.crops) == (1, 10)  # words and pictures are the first's
    with pytest.raises(ValueError, match="trained with --crops 10"):
        phases.same_reading(run, settings(crops=1), ("crops",))
    run.best_weights.write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be taken over"):
        phases.take_over(run, make_model())
    run.best_weights.unlink()
    with pytest.raises(ValueError, match="has not ended an epoch"):
        phases.take_over(run, make_model())


@pytest.mark.parametrize(("first", "second"), [("red_circle", None), (None, "red_circle")])
def test_no_phase_sees_the_pairs_that_the_other_holds_out(tmp_path, first, second):
    run = Run(tmp_path)
    config.save(run, settings(heldout=first), FACTS)
    phases.same_reading(run, settings(heldout=first), ())
    with pytest.raises(ValueError, match=f"--heldout {first}, this run has {second}: give both"):
        phases.same_reading(run, settings(heldout=second), ())
    if first:
        with pytest.raises(ValueError, match="--pair_finder rules, this run with spacy"):
            phases.same_reading(run, settings(heldout=first, pair_finder="spacy"), ())


class Scripted(keras.callbacks.Callback):
    """Stands in for Validation: the first value is the start's."""

    def __init__(self, values):
        super().__init__()
        self.script, self.values = iter(values), {}

    def on_epoch_end(self, epoch, logs=None):
        self.values = {"val_mrr": next(self.script), "val_rsum": 1.0}


def test_the_optimiser_starts_anew(tmp_path):
    first, model = make_first(tmp_path)
    model.compile(optimizer=keras.optimizers.Adam(0.5))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(7)
    model.save_weights(first.best_weights)
    second = make_model(seed=2)
    second.compile(optimizer=keras.optimizers.Adam(0.25))
    second.optimizer.build(second.trainable_variables)
    phases.take_over(first, second)
    assert int(second.optimizer.iterations) == 0
    assert float(second.optimizer.learning_rate) == 0.25
    kernels = (m.image_tower.layers[-2].kernel.numpy() for m in (model, second))
    np.testing.assert_array_equal(*kernels)


def test_a_first_phase_that_cannot_fit_is_refused_before_it_is_trained():
    argv = ["train.py", "--recipe=ph", "--epochs=1"]
    phases.check_recipe("sh", config.parse(argv), argv)
    with pytest.raises(ValueError, match="--first_phase soe has --embed_dim 1024, this run 1536"):
        phases.check_recipe("soe", config.parse(argv), argv)
    with pytest.raises(ValueError, match="unknown recipe 'x'"):
        phases.check_recipe("x", config.parse(argv), argv)


@pytest.mark.parametrize(("values", "best"), [([0.5, 0.3, 0.4], 0), ([0.5, 0.3, 0.6], 2)])
def test_the_start_stays_the_best_until_it_is_beaten(tmp_path, values, best):
    first, before = make_first(tmp_path / "first")
    model = make_model(seed=2)
    assert phases.take_over(first, model) == files.file_hash(first.best_weights)
    run = Run(tmp_path / "second")
    scripted = Scripted(values)
    records = RunRecords(run, scripted)
    records.begin(model)
    assert (records.epochs, records.best_epoch, records.best) == (0, 0, 0.5)
    kernel = model.image_tower.layers[-2].kernel
    for epoch in range(2):
        kernel.assign_add(np.ones(kernel.shape))
        scripted.on_epoch_end(epoch)
        records.on_epoch_end(epoch, {"loss": 1.0})
    assert (records.epochs, records.best_epoch) == (2, best)
    kept = make_model(seed=3)
    kept.load_weights(run.best_weights)
    expected = before.image_tower.layers[-2].kernel.numpy() + best
    np.testing.assert_allclose(kept.image_tower.layers[-2].kernel, expected, rtol=1e-6)
    again = RunRecords(run, Scripted([]))
    assert again.restore(model) == 2 and again.best_epoch == best
    assert (run.folder / "history.png").is_file()


# ---- System 3: stage I on vectors of the backbone, stage II on its pictures ----------------------


@pytest.fixture
def short(monkeypatch):
    stages = tuple(stage._replace(blocks=1) for stage in text_cnn.STAGES[:1])
    monkeypatch.setattr(text_cnn, "STAGES", stages)


DUAL = Facts(feature_dim=128, vocabulary_size=2, train_images=9, num_classes=9)


def dual(**changes):
    small: Any = {"model": "dual_path", "loss": "paired_hinge", "pooling": "max", "embed_dim": 4}
    small |= {"word_dim": 3, "hidden_dim": 5, "text_width": 1 / 64, "cnn": "small"}
    small |= {"features": "last", "image_size": 32}
    return DualPathSettings(**{**small, **changes})


def make_dual(own, seed):
    keras.utils.set_random_seed(seed)
    model = models.build_model(own, DUAL)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    return model


def start_dual(folder, seed=1, **changes):
    run, own = Run(folder), dual(**changes)
    config.save(run, own, DUAL)
    model = make_dual(own, seed)
    model.save_weights(run.best_weights)
    return run, model


@pytest.mark.parametrize("features", ["last", "pixels"])
def test_the_second_stage_takes_over_both_paths_and_the_classifier(tmp_path, short, features):
    run, first = start_dual(tmp_path, features=features, classifier_bias=True)
    second = make_dual(dual(features="pixels", classifier_bias=True), 2)
    source: Any = backbone.find_backbone(second.image_tower)
    before, step = source.get_weights(), second.optimizer.iterations.numpy()
    assert phases.take_over(run, second) == files.file_hash(run.best_weights)
    parts = [first.image_tower.get_layer("image_path"), first.text_tower, first.heads[0]]
    taken = [second.image_tower.get_layer("image_path"), second.text_tower, second.heads[0]]
    for part, own in zip(parts, taken, strict=True):
        for value, got in zip(part.get_weights(), own.get_weights(), strict=True):
            np.testing.assert_array_equal(value, got)
    if features == "pixels":
        trained: Any = backbone.find_backbone(first.image_tower)
        before = trained.get_weights()
    for value, got in zip(before, source.get_weights(), strict=True):
        np.testing.assert_array_equal(value, got)  # of vectors, the network stays as it is
    assert second.optimizer.iterations.numpy() == step
    if features == "last":
        vectors = np.random.default_rng(0).uniform(size=(2, 128)).astype("float32")
        path = second.image_tower.get_layer("image_path")
        np.testing.assert_allclose(
            path(vectors[:, None, None]), first.image_tower(vectors), rtol=1e-5
        )
        run.best_weights.write_bytes(b"junk")
        with pytest.raises(ValueError, match="cannot be taken over"):
            phases.take_over(run, second)


def test_vectors_that_were_standardised_are_so_in_the_second_stage(tmp_path, short):
    run, first = start_dual(tmp_path, standardize=True)
    second = make_dual(dual(features="pixels", standardize=True), 2)
    phases.take_over(run, second)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    network: Any = backbone.find_backbone(second.image_tower)
    vectors = network(pictures).numpy().mean(axis=(1, 2))
    expected = first.image_tower(vectors)
    np.testing.assert_allclose(second.image_tower(pictures), expected, rtol=1e-4)


def test_a_first_stage_without_a_classifier_leaves_the_seconds_as_it_is(tmp_path, short):
    run, first = start_dual(tmp_path, lambdas="1:0:0")
    second = make_dual(dual(features="pixels"), 2)
    before = second.heads[0].get_weights()
    assert phases.find_part(first, "classifier") is None
    phases.take_over(run, second)
    np.testing.assert_array_equal(before[0], second.heads[0].get_weights()[0])
    for value, got in zip(
        first.text_tower.get_weights(), second.text_tower.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(value, got)


def test_what_a_second_stage_may_read(tmp_path):
    run = Run(tmp_path)
    first = dual(min_count=2, lowercase=False, image_weights="f.h5", resize="short_side")
    config.save(run, first, DUAL)
    asked = dual(features="pixels", image_weights="imagenet")
    second = phases.same_reading(run, asked, ("features",))
    assert (second.min_count, second.lowercase, second.image_weights) == (2, False, "f.h5")
    assert (second.features, second.resize) == ("pixels", "squash")  # its own
    with pytest.raises(ValueError, match="trained with --cnn small, so it cannot"):
        phases.same_reading(run, dual(features="pixels", cnn="MobileNetV2"), ("cnn",))
    for name, value in (("text_width", 1.0), ("num_classes", 3), ("classifier_bias", True)):
        with pytest.raises(ValueError, match=f"trained with --{name}"):
            phases.same_reading(run, dual(features="pixels", **{name: value}), ())
    config.save(run, dual(features="fne"), DUAL)
    with pytest.raises(ValueError, match="--features fne: a run that reads pixels starts from"):
        phases.same_reading(run, dual(features="pixels"), ())
    config.save(run, dual(features="pixels"), DUAL)
    with pytest.raises(ValueError, match="trained with --features pixels"):
        phases.same_reading(run, dual(), ("features",))
    with pytest.raises(ValueError, match="a classifier of 9 classes, this data has 10"):
        phases.check_sizes(run, dual(features="pixels"), Facts(num_classes=10))


def test_a_tower_of_pixels_goes_on_from_vectors_and_classes_as_its_own(tmp_path):
    run, asked = Run(tmp_path), dual(features="pixels", image_size=32, num_classes=3)
    layers = Layers(["map"], [4], (0, 4))
    config.save(run, dual(features="last"), DUAL)
    network = dataclasses.replace(tiny_network.NETWORK, size=32, crops=1)

    def first(unit, **changes):
        own = dataclasses.replace(network, **changes)
        NetworkDescriptor(own, layers, "last", unit=unit).save(run.features)
        phases.check_vectors(run, asked)

    first(False)
    with pytest.raises(
        ValueError, match=r"vectors of length 1, by an older version.*train it anew"
    ):
        first(True)
    for changes in ({"size": 36}, {"crops": 10}):
        with pytest.raises(ValueError, match=r"--num_classes 3: .* its classes would be others"):
            first(False, **changes)
    asked = dual(features="pixels", image_size=32)
    first(False, size=36)  # without classes, the size is free
    asked = dual(features="last")
    first(True)


def test_both_stages_of_the_dual_path_fit():
    argv = ["train.py", "--recipe=dual_path", "--hidden_dim=8", "--lambdas=2:1:0.1"]
    phases.check_recipe("dual_path_stage1", config.parse(argv), argv)
    given = config.given_flags(argv, phases.one_phase("dual_path_stage1"))
    assert given == ["--hidden_dim=8"]  # the weights of the losses are each stage's own
    before = config.parse(["train.py", "--recipe=dual_path_stage1", *given])
    assert (before.lambdas, before.hidden_dim) == ("0:1:1", 8)
