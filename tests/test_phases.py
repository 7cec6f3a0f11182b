"""Curriculum: the first phase's command, what may start from what, and that the best is kept."""

import keras
import numpy as np
import pytest

import callbacks
import config
import experiment
import models
import phases


def settings(**changes):
    small = {"model": "gru", "loss": "max_hinge", "embed_dim": 4, "word_dim": 3, "feature_dim": 5}
    return config.Settings(**{**config.default_settings(), **small, **changes})


def make_model(seed=0):
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = models.build_model(settings(), {"feature_dim": 5, "vocabulary_size": 6})
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    return model


def make_first(folder):
    run = experiment.Experiment(folder)
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
    run = experiment.Experiment(tmp_path / "runs" / "x")
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
    with pytest.raises(ValueError, match="vectors of 5 numbers, this data has 7"):
        phases.check_vectors(run, 7)
    second = settings(min_count=3, crops=1)
    phases.check_start(run, second, ("epochs",))
    assert (second.min_count, second.crops) == (1, 10)  # words and pictures are the first's
    with pytest.raises(ValueError, match="trained with --crops 10"):
        phases.check_start(run, settings(crops=1), ("crops",))
    run.best_weights.write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be taken over"):
        phases.take_over(run, make_model())
    run.best_weights.unlink()
    with pytest.raises(ValueError, match="has not ended an epoch"):
        phases.take_over(run, make_model())


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
    phases.check_recipe("sh", config.settings_of(argv), argv)
    with pytest.raises(ValueError, match="--first_phase soe has --embed_dim 1024, this run 1536"):
        phases.check_recipe("soe", config.settings_of(argv), argv)
    with pytest.raises(ValueError, match="unknown recipe 'x'"):
        phases.check_recipe("x", config.settings_of(argv), argv)


@pytest.mark.parametrize(("values", "best"), [([0.5, 0.3, 0.4], 0), ([0.5, 0.3, 0.6], 2)])
def test_the_start_stays_the_best_until_it_is_beaten(tmp_path, values, best):
    first, before = make_first(tmp_path / "first")
    model = make_model(seed=2)
    assert phases.take_over(first, model) == experiment.file_hash(first.best_weights)
    run = experiment.Experiment(tmp_path / "second")
    scripted = Scripted(values)
    records = callbacks.Records(run, scripted)
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
    again = callbacks.Records(run, Scripted([]))
    assert again.restore(model) == 2 and again.best_epoch == best
    assert (run.folder / "history.png").is_file()
