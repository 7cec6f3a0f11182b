"""A training that diverges ends at that step, says why, and writes nothing over what was good."""

import keras
import numpy as np
import pytest
import tiny_settings

from data.datasets import Split
from run.folder import Run
from training import reading
from training.divergence import DivergenceWatch, flat_sides
from training.records import RunRecords, Validation


class Model:
    """One weight, and an optimiser after some steps."""

    def __init__(self, size=1.0, steps=7):
        self.trainable_weights = [keras.Variable([0.5, -size])]
        self.optimizer = keras.optimizers.SGD(0.1)
        self.optimizer.build(self.trainable_weights)
        self.optimizer.iterations.assign(steps)


def make_watch(vectors=None, model=None, told=None, **settings):
    records = RunRecords(Run("exp/x"), Validation(None, None, None))
    vectors = np.eye(3) if vectors is None else vectors
    tell = [].append if told is None else told.append
    watch = DivergenceWatch(records, vectors, tiny_settings.make(**settings), tell)
    watch.set_model(model or Model())
    return watch


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_ends_it_at_that_step(loss):
    watch = make_watch()
    watch.on_train_batch_end(0, {"loss": 1e30})
    with pytest.raises(ValueError, match=r"at step 7, in epoch 1; try a lower --learning_rate.*no"):
        watch.on_train_batch_end(0, {"loss": loss})


@pytest.mark.parametrize(
    ("vectors", "settings", "steps", "says"),
    [
        (np.full((3, 2), 1e9), {"margin": 1e9}, 7, "image vectors reach 1e.09"),
        (None, {"margin": 1e9}, 7, r"--margin 1e\+09 is large"),
        (None, {"weight_decay": 1e9, "clip_norm": 1e9}, 7, r"--weight_decay 1e\+09 is large"),
        (None, {"temperature": 1e-5}, 7, "--temperature 1e-05 is small"),
        (None, {}, 1, "nothing was learned by then"),
        (None, {"learning_rate": 3.0}, 2, "try a lower --learning_rate than 3, or"),
    ],
)
def test_the_cause_is_named(vectors, settings, steps, says):
    watch = make_watch(vectors, Model(steps=steps), **settings)
    with pytest.raises(ValueError, match=says):
        watch.on_train_batch_end(0, {"loss": np.nan})


def test_equal_embeddings_are_told_and_end_it_where_weights_are_wild():
    rows = np.ones((4, 3)) / np.sqrt(3)
    assert flat_sides(image=rows, text=np.eye(3)) == ["image"]
    assert flat_sides(image=rows[:1]) == []  # one row is like itself
    told: list[str] = []
    watch = make_watch(told=told)
    watch.on_epoch_end(0)
    watch.records.validation.flat = ["image"]
    watch.on_epoch_end(0)
    watch.on_epoch_end(1)
    assert len(told) == 1 and "all image embeddings of the validation split are" in told[0]
    watch = make_watch(model=Model(size=1e10))
    watch.on_epoch_end(0)  # wild weights alone are none of ours
    watch.records.validation.flat = ["text"]
    with pytest.raises(ValueError, match=r"all text embeddings are the same, and weights reach 1e"):
        watch.on_epoch_end(0)
    watch.records.validation.finite = False
    with pytest.raises(ValueError, match="embeddings are not finite"):
        watch.on_epoch_end(0)


def make_split(captions, images=2, vectors=None):
    owner = np.arange(len(captions), dtype=np.int32) % images
    names = [str(i) for i in range(images)]
    return Split("train", names, captions, np.sort(owner), vectors=vectors)


def test_data_of_which_nothing_can_be_learned_is_refused():
    reading.check_trainable(make_split(["a", "b"], vectors=np.eye(2)))
    with pytest.raises(ValueError, match="has 1 image: expected two or more"):
        reading.check_trainable(make_split(["a", "b"], images=1))
    with pytest.raises(ValueError, match=r"all 3 training captions are the same.*'a dog'"):
        reading.check_trainable(make_split(["a dog"] * 3))
    with pytest.raises(ValueError, match=r"reach 1e\+38, whose squares"):
        reading.check_trainable(make_split(["a", "b"], vectors=np.full((2, 3), -1e38, "f4")))
