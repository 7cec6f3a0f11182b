"""Validation and records: what is measured, what is kept, when training stops."""

import csv

import h5py
import keras
import numpy as np
import pytest
import tiny_settings
from PIL import Image

import models
from data.language.words import Tokens, Vocabulary
from figures import charts
from run import files, manifest
from run.folder import Run
from run.manifest import check as check_strictly  # without the exception of conftest.py
from settings.training import Facts
from training import waiting
from training.records import (
    Complaints,
    Pace,
    RunRecords,
    Validation,
    state_values,
    time,
    validation_metrics,
)


def make_model():
    keras.utils.clear_session()  # names of layers count up in a process, and stand in the file
    keras.utils.set_random_seed(0)
    settings = tiny_settings.make(hidden_dim=4, embed_dim=3)
    model = models.build_model(settings, Facts(5, 2))
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    return model


class Scripted:
    """Stands in for Validation: gives the values that a test wants."""

    def __init__(self, values):
        self.script = iter(values)
        self.values = {}

    def next(self):
        self.values = {"val_mrr": next(self.script), "val_rsum": 1.0, "val_median_rank": 2.0}


def run_epochs(folder, values, **options):
    """RunRecords after epochs of these validation MRRs; stops where it would."""
    run = Run(folder)
    scripted = Scripted(values)
    records = RunRecords(run, scripted, **options)
    model = make_model()
    records.set_model(model)
    model.stop_training = False
    for epoch in range(len(values)):
        scripted.next()
        model.image_tower.layers[-2].bias.assign(np.full(3, epoch, "float32"))
        records.on_epoch_end(epoch, {"loss": 5.0 - epoch})
        if model.stop_training:
            break
    return records


def test_validation_scores_the_whole_gallery():
    model = make_model()
    tokens = Tokens(["aa", "bb", "aa bb"], Vocabulary(["aa", "bb"]))
    validation = Validation(np.eye(5, dtype="float32")[:2], tokens, np.array([0, 1, 1]))
    validation.set_model(model)
    logs = {"loss": 1.0}
    validation.on_epoch_end(0, logs)
    assert set(logs) == {"loss", "val_mrr", "val_rsum"}  # what the progress bar shows
    assert {"val_recall@1", "val_image_to_text_mrr"} <= set(validation.values)


def test_validation_metrics_by_eye():
    image = np.eye(3)
    text = np.eye(3)[[0, 2, 1]]  # the second and third caption point at each other's image
    values = validation_metrics(image, text, np.arange(3))
    assert values["recall@1"] == pytest.approx(100 / 3)
    assert values["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)  # ties count against the model
    assert values["rsum"] == pytest.approx(2 * (100 / 3 + 100 + 100))


def test_the_best_epoch_is_kept_as_best_weights(tmp_path):
    records = run_epochs(tmp_path, [0.1, 0.3, 0.2])
    assert (records.best_epoch, records.best) == (2, 0.3)
    model = make_model()
    model.load_weights(tmp_path / "best.weights.h5")
    np.testing.assert_array_equal(model.image_tower.layers[-2].bias, np.full(3, 1.0))
    with h5py.File(tmp_path / "best.weights.h5") as file:
        assert "optimizer" not in file  # its moments are in the state alone
    assert records.model.optimizer is not None
    with open(tmp_path / "history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_mrr"]) for row in rows] == [0.1, 0.3, 0.2]


def test_ranks_and_losses_are_better_when_lower(tmp_path):
    assert run_epochs(tmp_path, [0.1, 0.2, 0.3], select="loss").best_epoch == 3
    assert run_epochs(tmp_path / "m", [0.1, 0.2], select="median_rank").best_epoch == 1


def test_early_stopping_waits_its_epochs(tmp_path):
    assert len(run_epochs(tmp_path, [0.3, 0.1, 0.1, 0.1, 0.9], patience=2).rows) == 3


def test_a_plateau_lowers_the_rate_at_every_multiple_of_its_epochs(tmp_path):
    """By the document's code: x0.8 when the count of epochs without a best is a multiple of 8."""
    values = [0.3, 0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1]  # 4 without a best, then 3
    records = run_epochs(tmp_path, values, plateau=(2, 0.5))
    rates = [row["learning_rate"] for row in records.rows]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125])


def test_a_lowered_rate_is_resumed(tmp_path):
    run_epochs(tmp_path, [0.3, 0.1], plateau=(1, 0.5))
    model = make_model()
    RunRecords(Run(tmp_path), Scripted([])).restore(model)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)


def test_memory_and_model_are_restored(tmp_path):
    kept = run_epochs(tmp_path, [0.1, 0.3, 0.2])
    again = RunRecords(Run(tmp_path), Scripted([]))
    model = make_model()
    assert again.restore(model) == 3
    assert (again.rows, again.best_epoch) == (kept.rows, 2)
    for a, b in zip(state_values(kept.model), state_values(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_best_weights_lost_in_a_kill_are_written_anew(tmp_path):
    run_epochs(tmp_path, [0.1, 0.3])
    whole = (tmp_path / "best.weights.h5").read_bytes()
    (tmp_path / "best.weights.h5").unlink()  # killed after the state, before the weights
    RunRecords(Run(tmp_path), Scripted([])).restore(make_model())
    assert (tmp_path / "best.weights.h5").read_bytes() == whole


def test_damaged_best_weights_are_not_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "check", check_strictly)
    manifest.begin(tmp_path)
    run_epochs(tmp_path, [0.3, 0.1])
    path = tmp_path / "best.weights.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"best\.weights\.h5 is not as it was written"):
        RunRecords(Run(tmp_path), Scripted([])).restore(make_model())
    path.unlink()
    with pytest.raises(ValueError, match=r"no best\.weights\.h5: weights of epoch 1 are lost"):
        RunRecords(Run(tmp_path), Scripted([])).restore(make_model())


def test_nothing_to_restore_and_a_foreign_state_are_refused(tmp_path):
    records = RunRecords(Run(tmp_path), Scripted([]))
    with pytest.raises(ValueError, match="before its first epoch ended"):
        records.restore(make_model())
    memory = np.frombuffer(b'{"rows": [], "best_row": -1}', np.uint8)
    files.write_arrays(tmp_path / "last/state.npz", {"memory": memory, "000": np.zeros(3)})
    with pytest.raises(ValueError, match="belongs to another model"):
        records.restore(make_model())


def test_a_loss_that_is_not_finite_stops_with_advice(tmp_path):
    run_epochs(tmp_path, [0.1])
    scripted = Scripted([0.2])
    records = RunRecords(Run(tmp_path), scripted)
    records.restore(make_model())
    scripted.next()
    with pytest.raises(ValueError, match="lower --learning_rate"):
        records.on_epoch_end(1, {"loss": float("nan")})
    assert (tmp_path / "best.weights.h5").is_file()


def test_workers_that_must_not_write_do_not(tmp_path):
    run_epochs(tmp_path / "quiet", [0.1], write=False)
    assert not (tmp_path / "quiet").exists()


def test_pace_leaves_out_the_first_step_and_tells_the_share_of_waiting(monkeypatch):
    now, clock = [100.0], waiting.Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    pace = Pace(captions=60, steps=3, clock=clock)
    assert (pace.rate, pace.starved) == (0.0, 0.0)
    for epoch in range(2):
        pace.on_epoch_begin(epoch)
        for step in range(3):
            first = epoch == step == 0
            now[0] += 50.0 if first else 2.0  # the first compiles
            clock.waited += 40.0 if first else 0.5  # of which it waits
            pace.on_train_batch_end(step)
        pace.on_epoch_end(epoch)
        now[0] += 30.0  # validation
    assert pace.rate == pytest.approx(5 * 20 / 10.0)
    assert pace.starved == pytest.approx(5 * 0.5 / 10.0)


def test_pictures_that_could_not_be_read_are_told_of():
    class Pictures:
        lines = iter(["1 of 5 pictures: a.jpg", None, "2 of 5 pictures: a.jpg, b.jpg"])

        def complaint(self):
            return next(self.lines)

    told = []
    watch = Complaints(Pictures(), told.append)
    for epoch in range(3):
        watch.on_epoch_end(epoch)
    Complaints(np.zeros((2, 3)), told.append).on_epoch_end(0)  # vectors
    assert told == ["1 of 5 pictures: a.jpg", "2 of 5 pictures: a.jpg, b.jpg"]


def test_errors_of_the_classifier_have_a_picture_of_their_own(tmp_path, monkeypatch):
    drawn = []
    error_curves = charts.error_curves
    monkeypatch.setattr(charts, "error_curves", lambda rows, path, _: drawn.append(rows) or path)
    records = run_epochs(tmp_path / "plain", [0.1])
    assert not drawn  # other systems have no classifier
    logs = {"loss": 5.0, "visual_error": 0.75, "textual_error": 0.5}
    records.on_epoch_end(1, logs)
    records.on_train_end()
    assert drawn[0][1]["visual_error"] == 0.75 and "visual_error" not in drawn[0][0]
    with open(tmp_path / "plain" / "history.csv", encoding="utf-8") as file:
        assert [row["textual_error"] for row in csv.DictReader(file)] == ["", "0.5"]
    for number, rows in enumerate(
        [
            [{"epoch": 0, "val_mrr": 0.1}, {"epoch": 1, "visual_error": 0.5, "textual_error": 0.9}],
            [{"epoch": 1, "visual_error": 0.5}, {"epoch": 2, "visual_error": 0.25}],
        ]
    ):
        path = tmp_path / f"{number}.png"
        error_curves(rows, path)
        with Image.open(path) as picture:
            assert picture.size[0] > 500 and len(set(picture.convert("L").tobytes())) > 20


def test_curves_are_drawn_a_twentieth_of_the_time_and_at_the_end(tmp_path, monkeypatch):
    drawn, now = [], [100.0]

    def draw(rows, *_):
        now[0] += 1.0  # it takes a second
        drawn.append(len(rows))

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(charts, "learning_curves", draw)
    records = run_epochs(tmp_path, [0.1])
    for epoch in range(1, 15):  # of two seconds each
        now[0] += 2.0
        records.validation.values = {"val_mrr": 0.2, "val_rsum": 1.0, "val_median_rank": 2.0}
        records.on_epoch_end(epoch, {"loss": 1.0})
    assert drawn == [1, 11]
    for _ in range(2):
        records.on_train_end()
    assert drawn == [1, 11, 15]
