"""What happens after each epoch: validation on the whole gallery, and the run's records.

Shape letters: N images, M captions, D embedding.
"""

import csv
import io
import json
import time

import keras
import numpy as np

import metrics
from figures import charts
from run import console, files, hdf5
from settings.training import LOWER_IS_BETTER
from systems.engine.encoding import encode_split
from training import divergence

SELDOM = 20  # times as long as drawing the curves takes, before they are drawn anew


def validation_metrics(image, text, caption_image, similarity="cosine"):
    """Whole-gallery metrics under the names that `--select` and history.csv use.

    Args:
      image: (N, D), text: (M, D) unit rows.
      caption_image: (M,) row of each caption's image.
      similarity: how they are compared, a name of `similarity.SIMILARITIES`.

    Returns:
      {"mrr": text-to-image MRR in [0, 1], "recall@1": text-to-image, in percent, ..., "rsum": of
      both directions, "image_to_text_recall@1": ..., "image_to_text_rsum": of its three}.
    """
    text_to_image, image_to_text = metrics.rank_both(
        image, text, caption_image, similarity=similarity
    )
    forward, backward = metrics.summarise(text_to_image), metrics.summarise(image_to_text)
    kept = ("mrr", "recall@1", "recall@5", "recall@10", "median_rank")
    values = {name: forward[name] for name in kept}
    values |= {f"image_to_text_{name}": backward[name] for name in kept}
    recalls = [values[f"{side}recall@{k}"] for side in ("", "image_to_text_") for k in (1, 5, 10)]
    return {**values, "rsum": sum(recalls), "image_to_text_rsum": sum(recalls[3:])}


class Pace(keras.callbacks.Callback):
    """Captions trained per second, validation and the first step (it compiles) left out.

    Must stand before `Validation`.

    Args:
      captions: how many there are in an epoch; steps: and in how many steps.
      clock: how long the steps wait for their batches.
    """

    def __init__(self, captions, steps, clock):
        super().__init__()
        self.captions, self.steps, self.clock = captions, steps, clock
        self.seconds = self.trained = self.began = self.idle = 0.0
        self.compiled = False

    def on_train_begin(self, logs=None):
        self.clock.start()

    def on_train_batch_begin(self, batch, logs=None):
        self.clock.want()

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        console.heed_signals()
        if self.compiled:
            self.trained += self.captions / self.steps
        else:
            self.compiled, self.began = True, time.perf_counter()
            self.idle = self.clock.waited

    def on_epoch_end(self, epoch, logs=None):
        self.seconds += time.perf_counter() - self.began

    @property
    def rate(self) -> float:
        """Captions a second, 0 before anything was measured."""
        return self.trained / self.seconds if self.seconds else 0.0

    @property
    def starved(self) -> float:
        """Share of the time that the steps waited for their batches, in [0, 1]."""
        return (self.clock.waited - self.idle) / self.seconds if self.seconds else 0.0


class Complaints(keras.callbacks.Callback):
    """Tells after each epoch of pictures that could not be read.

    Args:
      pictures: `pictures.Pictures`, or vectors, which have nothing to complain of.
      tell: called with a line.
    """

    def __init__(self, pictures, tell):
        super().__init__()
        self.pictures, self.tell = pictures, tell

    def on_epoch_end(self, epoch, logs=None):
        line = self.pictures.complaint() if hasattr(self.pictures, "complaint") else None
        if line:
            self.tell(line)


class Validation(keras.callbacks.Callback):
    """Encodes the whole validation split after each epoch.

    Adds the two numbers of the progress bar, `val_mrr` and `val_rsum`, to the logs and keeps all in
    `values`. Must stand before whatever reads them. `finite` says whether all embeddings are, and
    `flat` names the sides on which they are all the same.

    Args:
      vectors: (N, F) image vectors; tokens: the M captions' ids; caption_image: (M,).
      similarity: see `validation_metrics`.
      more: () -> {name: value} of what else is measured, or None.
    """

    def __init__(self, vectors, tokens, caption_image, similarity="cosine", more=None):
        super().__init__()
        self.more = more
        self.similarity = similarity
        self.vectors, self.tokens, self.caption_image = vectors, tokens, caption_image
        self.values: dict[str, float] = {}
        self.finite, self.flat = True, []

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and not np.isfinite(logs["loss"]):
            return  # there is nothing to measure; RunRecords says so
        image, text = encode_split(self.model, self.vectors, self.tokens)
        self.finite = bool(np.isfinite(image).all() and np.isfinite(text).all())
        self.flat = divergence.flat_sides(image=image, text=text)
        if not self.finite:
            return  # DivergenceWatch says so
        values = validation_metrics(image, text, self.caption_image, self.similarity)
        values |= self.more() if self.more else {}
        self.values = {f"val_{name}": value for name, value in values.items()}
        if logs is not None:
            logs.update({name: self.values[name] for name in ("val_mrr", "val_rsum")})


class RunRecords(keras.callbacks.Callback):
    """Keeps the run: state to resume from, best weights, history as table and picture.

    `last/state.npz` is written first and whole; everything else can be made from it. A run that is
    killed between two writes is mended by `restore`.

    Args:
      run: the `run.folder.Run`.
      validation: the `Validation` that stands before it.
      select: the metric that the best epoch is best in (see `--select`).
      patience: stop after so many epochs without a best; 0 never.
      plateau: (epochs, factor): the learning rate is multiplied by the factor whenever so many
        epochs in a row, or a multiple of them, brought no best; None: never.
      write: False for workers that must not write.
      about: what pictures say behind the run's name.
    """

    def __init__(
        self, run, validation, select="mrr", patience=0, plateau=None, write=True, about=""
    ):
        super().__init__()
        self.about = about
        self.run, self.validation, self.write, self.plateau = run, validation, write, plateau
        self.select, self.patience = select, patience
        self.rows: list[dict[str, float]] = []
        self.best_row = -1  # none yet
        self.drawn, self.drawing, self.shown = -np.inf, 0.0, 0  # curves: when, how long, epochs

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return int(self.rows[-1]["epoch"]) if self.rows else 0

    @property
    def best_epoch(self) -> int:
        """The best epoch, from 1; 0 for none, or for the weights that a second phase began with."""
        return int(self.rows[self.best_row]["epoch"]) if self.best_row >= 0 else 0

    @property
    def key(self) -> str:
        return "loss" if self.select == "loss" else f"val_{self.select}"

    @property
    def best(self) -> float:
        """The best epoch's value of the metric."""
        return self.rows[self.best_row][self.key]

    def begin(self, model):
        """Measures the weights that a second phase starts from: what its epochs must beat."""
        self.set_model(model)
        self.validation.set_model(model)
        self.validation.on_epoch_end(-1)
        self.rows, self.best_row = [{"epoch": 0, **self.validation.values}], 0
        if self.key not in self.rows[0]:
            self.best_row = -1
        if self.write:
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {name: float(value) for name, value in (logs or {}).items()}
        row |= self.validation.values
        self.rows.append({"epoch": epoch + 1, **row, "learning_rate": rate})
        if not np.isfinite(row["loss"]):
            self.model.stop_training = True
            raise ValueError(
                f"the loss is {row['loss']} after epoch {epoch + 1}: try a lower --learning_rate; "
                f"{self.run} still holds the best epoch so far ({self.best_epoch or 'none'})"
            )
        sign = -1.0 if self.select in LOWER_IS_BETTER else 1.0
        value = sign * self.rows[-1][self.key]
        if self.best_row < 0 or value > sign * self.best:
            self.best_row = len(self.rows) - 1
        stale = epoch + 1 - self.best_epoch
        if self.plateau and stale and stale % self.plateau[0] == 0:
            self.model.optimizer.learning_rate = rate * self.plateau[1]  # saved with the state
        if self.write:
            self.save()
        if self.patience and stale >= self.patience:
            self.model.stop_training = True

    def save(self):
        """Writes everything; the state first."""
        memory = {"rows": self.rows, "best_row": self.best_row}
        arrays = {f"{i:03d}": np.asarray(value) for i, value in enumerate(state_values(self.model))}
        text = np.frombuffer(json.dumps(memory).encode(), np.uint8)
        files.write_arrays(self.run.state, {"memory": text, **arrays})
        self.publish()

    def publish(self):
        """Writes best weights and table, and at times the picture, from what is in memory."""
        if self.best_row == len(self.rows) - 1 or not self.run.best_weights.is_file():
            size = 8 * self.model.count_params() + 2**20  # twice what is expected
            with files.atomic_path(self.run.best_weights, size) as path:
                hdf5.save_weights(self.model, path)
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        files.write_text(self.run.history, table.getvalue())
        if time.monotonic() - self.drawn >= SELDOM * self.drawing:
            self.draw()

    def draw(self):
        """Draws the curves of all epochs."""
        began, names = time.monotonic(), {name for row in self.rows for name in row}
        about = f"{self.run.folder.name}{self.about}"
        path = self.run / "history.png"
        charts.learning_curves(self.rows, self.best_epoch, self.key, path, about)
        if not names.isdisjoint(charts.ERRORS):
            charts.error_curves(self.rows, self.run / "errors.png", about)
        self.drawn, self.drawing, self.shown = began, time.monotonic() - began, len(self.rows)

    def on_train_end(self, logs=None):
        if self.write and self.shown < len(self.rows):
            self.draw()

    def restore(self, model) -> int:
        """Sets model and memory as they were after the last whole epoch.

        Args:
          model: the compiled model, its optimizer built.

        Returns:
          How many epochs are done.

        Raises:
          ValueError: there is no state, or it is of another model.
        """
        path = self.run.require(
            self.run.state,
            "the run was stopped before its first epoch ended; start it anew with --overwrite",
        )
        arrays = files.open_arrays(path)
        rows, best_row = _memory(arrays.pop("memory", None), path)
        self.set_model(model)
        variables = state_variables(model)
        wanted = [(tuple(v.shape), str(v.dtype)) for v in variables]
        if wanted != [(a.shape, str(a.dtype)) for a in arrays.values()]:
            raise ValueError(f"{path} belongs to another model than {self.run.config} describes")
        for variable, array in zip(variables, arrays.values(), strict=True):
            variable.assign(np.array(array))
        self.rows, self.best_row = rows, best_row
        if 0 <= self.best_row < len(self.rows) - 1:
            lost = f"weights of epoch {self.best_epoch} are lost: train it anew with --overwrite"
            self.run.require(self.run.best_weights, lost)
        if self.write:
            self.publish()
        return self.epochs


def _memory(stored: np.ndarray | None, path) -> tuple[list[dict[str, float]], int]:
    """The rows of the history, and which is the best, as `RunRecords.save` stored them."""
    text = b"" if stored is None else stored.tobytes()
    found = files.parse_json(text, f"{path}, its history")
    found = found if isinstance(found, dict) else {}
    rows, best = files.typed(found, "rows", list, path), files.typed(found, "best_row", int, path)
    fits = -1 <= best < len(rows) and all(
        isinstance(row, dict)
        and isinstance(row.get("epoch"), int)
        and all(isinstance(value, int | float) for value in row.values())
        for row in rows
    )
    if not fits:
        raise ValueError(f"{path} holds no history of a training: train the run anew")
    return rows, best


def state_variables(model):
    """All that the future of a training depends on: weights, seeds, moments, step."""
    trackers = {id(v) for metric in model.metrics for v in metric.variables}
    own = [v for v in model.variables if id(v) not in trackers]
    return own + list(model.optimizer.variables)


def state_values(model):
    """The values of `state_variables`, as NumPy arrays."""
    return [keras.ops.convert_to_numpy(v) for v in state_variables(model)]
