"""The divergence watch: ends a training whose numbers have left all bounds, and says why.

A loss that is not finite ends it at that step. Finite numbers may be lost, too: of a learning rate
of 1e10 all embeddings are one, and the loss stands still.

Shape letters: N images, F feature.
"""

import dataclasses

import keras
import numpy as np

from training.reading import largest

FLAT = 1e-6  # of unit rows: what differs by less is the same embedding
WILD = 1e6  # weights of no training that learns
LARGE_INPUT, LARGE_SETTING, SMALL_TEMPERATURE = 1e6, 1e3, 1e-3
MAY_BE_LARGE = ("learning_rate", "clip_norm", "clip_value", "decay_epochs", "warmup_epochs")


def flat_sides(**sides) -> list[str]:
    """Names of the sides, (n, D) each, whose rows are all the same."""
    return [
        name for name, rows in sides.items() if len(rows) > 1 and np.ptp(rows, axis=0).max() < FLAT
    ]


class DivergenceWatch(keras.callbacks.Callback):
    """Ends a training that has diverged. Must stand between `Validation` and `RunRecords`.

    Args:
      records: the run's `RunRecords`, whose weights stay as they were after its last epoch.
      vectors: what the image tower is trained on; settings: of the run.
      tell: called with a line, where all embeddings are the same and the weights are not wild.
    """

    def __init__(self, records, vectors, settings, tell=print):
        super().__init__()
        self.records, self.vectors, self.settings, self.tell = records, vectors, settings, tell
        self.told = False

    def on_train_batch_end(self, batch, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not np.isfinite(loss):
            self.end(f"the loss is {loss}")

    def on_epoch_end(self, epoch, logs=None):
        validation = self.records.validation
        if not validation.finite:
            self.end("embeddings are not finite")
        if not validation.flat or self.told:
            return
        which = " and ".join(validation.flat)
        size = max(
            float(keras.ops.convert_to_numpy(keras.ops.max(keras.ops.abs(weight))))
            for weight in self.model.trainable_weights
        )
        if size > WILD:
            self.end(f"all {which} embeddings are the same, and weights reach {size:.2g}")
        self.told = True
        self.tell(
            f"warning: all {which} embeddings of the validation split are the same after epoch "
            f"{epoch + 1}: {self.remedy()}"
        )

    def end(self, what: str):
        """Raises a ValueError: what is wrong, since when, what helps, and what is safe."""
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        records = self.records
        safe = f"epoch {records.epochs}" if records.epochs else "no epoch yet"
        raise ValueError(
            f"the training has diverged: {what} at step {step:,}, in epoch {records.epochs + 1}; "
            f"{self.remedy(step)}. {records.run} stays as it was: {safe}"
        )

    def remedy(self, step: int = 2) -> str:
        """What is the likely cause, and what helps."""
        own = self.settings
        if (size := largest(self.vectors)) > LARGE_INPUT:
            return f"image vectors reach {size:.2g}: scale them, or give --standardize"
        for name, value in dataclasses.asdict(own).items():
            if isinstance(value, float) and value > LARGE_SETTING and name not in MAY_BE_LARGE:
                return f"--{name} {value:g} is large: try a smaller one"
        if own.temperature is not None and own.temperature < SMALL_TEMPERATURE:
            return f"--temperature {own.temperature:g} is small: try a larger one"
        if step <= 1:
            return "nothing was learned by then, so it is the data, or the settings of the loss"
        return f"try a lower --learning_rate than {own.learning_rate:g}, or --clip_norm 1"
