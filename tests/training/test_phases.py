"""Curriculum: the first phase's command, what may start from what, and that the best is kept."""

from typing import Any

import keras
import numpy as np
import pytest

import models
from data.language.words import Vocabulary
from run import files, recipes
from run.folder import Run
from systems.dual_path import text_cnn
from systems.engine import backbone
from training import phases
from training.records import RunRecords


def settings(**changes):
    small = {"model": "gru", "loss": "max_hinge", "embed_dim": 4, "word_dim": 3, "feature_dim": 5}
    return recipes.Settings(**{**recipes.default_settings(), **small, **changes})


def make_model(seed=0):
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = models.build_model(settings(), {"feature_dim": 5, "vocabulary_size": 6})
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    return model


def make_first(folder):
    run = Run(folder)
    settings(loss="sum_hinge").save(run.config)
    model = make_model(seed=1)
    model.save_weights(run.best_weights)
    return run, model


def test_the_first_phase_is_a_run_beside_with_the_same_flags(tmp_path, monkeypatch):
    commands = []

    class Done:
        returncode = 0

    def keep(command, check):
        commands.append(command)
        return Done()

    monkeypatch.setattr(phases.subprocess, "run", keep)
    run = Run(tmp_path / "runs" / "x")
    argv = ["train.py", "--recipe=ph", "--exp=x", "--epochs", "3", "--loss=max_hinge", "--resume"]
    first = phases.train_first("sh", run, argv)
    assert first.folder == tmp_path / "runs" / "x-first"
    given = commands[0][2:]
    root = f"--exp_root={tmp_path / 'runs'}"
    assert given == ["--recipe=sh", root, "--exp=x-first", "--epochs=3"]
    first.state.parent.mkdir(parents=True)
    phases.train_first("sh", run, argv, overwrite=True)
    assert commands[1][-1] == "--overwrite"  # stopped before its first epoch ended, or replaced
    first.state.write_bytes(b"")
    phases.train_first("sh", run, argv)
    assert commands[2][-1] == "--resume"
    Done.returncode = 1
    with pytest.raises(ValueError, match="x-first, was not finished"):
        phases.train_first("sh", run, argv)


def test_other_towers_are_refused(tmp_path):
    run, _ = make_first(tmp_path)
    phases.check_start(run, settings(), ())
    with pytest.raises(ValueError, match=r"trained with --embed_dim 4.*with 8: both phases"):
        phases.check_start(run, settings(embed_dim=8), ())
    phases.check_sizes(run, settings(train_images=9))
    with pytest.raises(ValueError, match="vectors of 5 numbers, this data has 7"):
        phases.check_sizes(run, settings(feature_dim=7))
    second = settings(min_count=3, crops=1)
    phases.check_start(run, second, ("epochs",))
    assert (second.min_count, second.crops) == (1, 10)  # words and pictures are the first's
    with pytest.raises(ValueError, match="trained with --crops 10"):
        phases.check_start(run, settings(crops=1), ("crops",))
    with pytest.raises(ValueError, match="trained with --text_weights none"):
        phases.check_start(run, settings(text_weights="other"), ("text_weights",))
    run.best_weights.write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be taken over"):
        phases.take_over(run, make_model())
    run.best_weights.unlink()
    with pytest.raises(ValueError, match="has not ended an epoch"):
        phases.take_over(run, make_model())


@pytest.mark.parametrize(("first", "second"), [("red_circle", None), (None, "red_circle")])
def test_no_phase_sees_the_pairs_that_the_other_holds_out(tmp_path, first, second):
    run = Run(tmp_path)
    settings(heldout=first).save(run.config)
    phases.check_start(run, settings(heldout=first), ())
    with pytest.raises(ValueError, match=f"--heldout {first}, this run has {second}: give both"):
        phases.check_start(run, settings(heldout=second), ())
    if first:
        with pytest.raises(ValueError, match="--pair_finder rules, this run with spacy"):
            phases.check_start(run, settings(heldout=first, pair_finder="spacy"), ())


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
    phases.check_recipe("sh", recipes.settings_of(argv), argv)
    with pytest.raises(ValueError, match="--first_phase soe has --embed_dim 1024, this run 1536"):
        phases.check_recipe("soe", recipes.settings_of(argv), argv)
    with pytest.raises(ValueError, match="unknown recipe 'x'"):
        phases.check_recipe("x", recipes.settings_of(argv), argv)


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


def dual(**changes):
    small = {"model": "dual_path", "loss": "paired_hinge", "pooling": "max", "embed_dim": 4}
    small |= {"word_dim": 3, "hidden_dim": 5, "text_width": 1 / 64, "cnn": "small"}
    small |= {"features": "last", "feature_dim": 128, "train_images": 9, "num_phrases": 0}
    small |= {"image_size": 32}
    return recipes.Settings(**{**recipes.default_settings(), **small, **changes})


def make_dual(own, seed):
    keras.utils.set_random_seed(seed)
    model = models.build_model(own, models.sizes(own, Vocabulary(["aa", "bb"], "split")))
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    return model


def start_dual(folder, seed=1, **changes):
    run, own = Run(folder), dual(**changes)
    own.save(run.config)
    Vocabulary(["aa", "bb"], "split").save(run.vocabulary)
    model = make_dual(own, seed)
    model.save_weights(run.best_weights)
    return run, model


@pytest.mark.parametrize("features", ["last", "pixels"])
def test_the_second_stage_takes_over_both_paths_and_the_classifier(tmp_path, short, features):
    run, first = start_dual(tmp_path, features=features, classifier_bias=True)
    second = make_dual(dual(features="pixels", classifier_bias=True), 2)
    source: Any = backbone.find_backbone(second)
    before, step = source.get_weights(), second.optimizer.iterations.numpy()
    assert phases.take_over(run, second) == files.file_hash(run.best_weights)
    parts = [first.image_tower.get_layer("image_path"), first.text_tower, first.classifier]
    taken = [second.image_tower.get_layer("image_path"), second.text_tower, second.classifier]
    for part, own in zip(parts, taken, strict=True):
        for value, got in zip(part.get_weights(), own.get_weights(), strict=True):
            np.testing.assert_array_equal(value, got)
    if features == "pixels":
        trained: Any = backbone.find_backbone(first)
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


def test_a_first_stage_without_a_classifier_leaves_the_seconds_as_it_is(tmp_path, short):
    run, first = start_dual(tmp_path, lambdas="1:0:0")
    second = make_dual(dual(features="pixels"), 2)
    before = second.classifier.get_weights()
    assert phases.find_part(first, "classifier") is None
    phases.take_over(run, second)
    np.testing.assert_array_equal(before[0], second.classifier.get_weights()[0])
    for value, got in zip(
        first.text_tower.get_weights(), second.text_tower.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(value, got)


def test_what_a_second_stage_may_read(tmp_path):
    run = Run(tmp_path)
    dual(min_count=2, lowercase=False, image_weights="f.h5", resize="short_side").save(run.config)
    second = dual(features="pixels", image_weights="imagenet")
    phases.check_start(run, second, ("features",))
    assert (second.min_count, second.lowercase, second.image_weights) == (2, False, "f.h5")
    assert (second.features, second.resize) == ("pixels", "squash")  # its own
    with pytest.raises(ValueError, match="trained with --cnn small, so it cannot"):
        phases.check_start(run, dual(features="pixels", cnn="MobileNetV2"), ("cnn",))
    for name, value in (("text_width", 1.0), ("num_classes", 3), ("classifier_bias", True)):
        with pytest.raises(ValueError, match=f"trained with --{name}"):
            phases.check_start(run, dual(features="pixels", **{name: value}), ())
    dual(features="fne").save(run.config)
    with pytest.raises(ValueError, match="--features fne: a run that reads pixels starts from"):
        phases.check_start(run, dual(features="pixels"), ())
    dual(features="pixels").save(run.config)
    with pytest.raises(ValueError, match="trained with --features pixels"):
        phases.check_start(run, dual(), ("features",))


def test_both_stages_need_the_same_images(tmp_path):
    run = Run(tmp_path)
    dual(train_images=1234).save(run.config)
    phases.check_sizes(run, dual(train_images=1234, features="pixels", feature_dim=0))
    with pytest.raises(ValueError, match=r"class for each of 1,234 training images, .* has 1,235"):
        phases.check_sizes(run, dual(train_images=1235, features="pixels"))
    with pytest.raises(ValueError, match="vectors of 128 numbers, this data has 7"):
        phases.check_sizes(run, dual(train_images=1234, feature_dim=7))


def test_both_stages_of_the_dual_path_fit():
    argv = ["train.py", "--recipe=dual_path", "--hidden_dim=8", "--lambdas=2:1:0.1"]
    phases.check_recipe("dual_path_stage1", recipes.settings_of(argv), argv)
    given = recipes.given_flags(argv, phases.OWN)
    assert given == ["--hidden_dim=8"]  # the weights of the losses are each stage's own
    before = recipes.settings_of(["train.py", "--recipe=dual_path_stage1", *given])
    assert (before.lambdas, before.hidden_dim) == ("0:1:1", 8)
