"""The compiled model, its callbacks, and the fit."""

import contextlib
import dataclasses
import functools
import sys

import keras

import models
from run import files
from run.console import some_words
from run.folder import Run
from run.page import describe_run
from systems import config
from systems.engine import optimization
from training.batches import TrainingBatches
from training.divergence import DivergenceWatch
from training.reading import Inputs, fill_words
from training.records import Complaints, Pace, RunRecords, Validation
from training.relevance import tfidf_rows
from training.starting import Start


def make_batches(inputs: Inputs) -> TrainingBatches:
    """The training batches, with the relevance and the targets that the settings ask for."""
    split, settings = inputs.splits["train"], inputs.settings
    return TrainingBatches(
        inputs.images["train"],
        inputs.tokens["train"],
        split.caption_image,
        settings,
        concepts=split.concepts if settings.relevance == "concepts" else None,
        tfidf=tfidf_rows(split.captions) if settings.relevance == "tfidf" else None,
        targets=inputs.targets,
    )


def build(inputs: Inputs, batches: TrainingBatches, strategy) -> models.DualEncoder:
    """The compiled model, with fresh weights, under the strategy."""
    settings = inputs.settings
    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_global_policy(settings.precision)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = models.build_model(settings, inputs.facts)
        if settings.standardize and settings.features != "pixels":
            model.image_tower.get_layer("standardize").adapt(batches.vectors)
        optimizer = optimization.build_optimizer(
            settings, batches.steps_per_epoch, model.parts.rates
        )
        model.compile(optimizer=optimizer, jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    return model


def set_weights(
    model, start: Start, inputs: Inputs, records: RunRecords, remark: str | None = None
) -> list[str]:
    """Gives a model its first weights, and begins its run's folder: nothing is refused any more.

    Published weights, and then those of the run that goes on or that this one starts from, or the
    words of --word_vectors.

    Args:
      remark: of --notes, for run.md.

    Returns:
      What is to be told of it, by lines.

    Raises:
      ValueError: weights cannot be had.
    """
    settings, facts, run, notes = inputs.settings, inputs.facts, start.run, []
    if start.resumed:
        was, _ = config.load(run)
        if settings.epochs != was.epochs and settings.schedule == "cosine":
            notes.append(
                f"{settings.epochs} epochs, not {was.epochs}: the learning rate is planned anew, "
                "as if the run had been started so; it may rise again"
            )
        done = records.restore(model)
        if settings.epochs < done:
            raise ValueError(
                f"{run} has {done} epochs behind it, --epochs is {settings.epochs}: expected "
                f"{done} or more, or --overwrite to train it anew"
            )
        if records.write:
            config.save(run, settings, facts)
        return notes
    model.parts.load_published(settings)
    if start.first:
        from training import phases

        # The model is there on every worker, so the chief has ended the first phase.
        facts = dataclasses.replace(facts, started_from=phases.take_over(start.first, model))
    elif settings.word_vectors:
        notes.append(fill_words(model.parts.words, settings, inputs))
    if records.write:
        begin_folder(start, settings, facts, inputs, remark)
    if start.first:
        records.begin(model)
        rsum = records.rows[0]["val_rsum"]
        notes.append(f"starts from {settings.init_from}: validation rsum {rsum:.4g}")
    return notes


def begin_folder(start: Start, settings, facts, inputs: Inputs, remark: str | None) -> None:
    """Makes the folder of a new run, once everything that can be refused has been."""
    run = start.run
    if start.overwrite and run.folder.exists():
        if kept := run.clear():
            print(f"{run}: not of a run, so it stays: {some_words(kept)}")
    elif run.config.exists():
        raise ValueError(f"{run} was made by another training in the meantime")
    run.folder.mkdir(parents=True, exist_ok=True)
    config.save(run, settings, facts)  # first: it marks the folder as a run's
    run.start.unlink(missing_ok=True)
    inputs.vocabulary.save(run.vocabulary)
    inputs.descriptor.save(run.features)
    files.write_json(run.data, inputs.known)
    data = {}
    for name, known in inputs.known["splits"].items():
        data[name] = f"{len(known['images']):,} images, {known['captions']:,} captions"
        data[f"{name}, SHA-256"] = known["sha256"]
    data |= {"words": f"{len(inputs.vocabulary):,}"}
    title = f"{run.folder.name}: {settings.model}, {settings.loss}, on {settings.data}"
    page = describe_run(title, sys.argv, config.differences(settings), data, remark or "")
    files.write_text(run / "run.md", page)


class Callbacks:
    """What looks on while a model is trained.

    Attributes:
      pace, validation, records: see `training.records`; all: in the order that they need.
    """

    def __init__(
        self, model, inputs: Inputs, batches: TrainingBatches, run: Run, chief: bool,
        tensorboard: bool = False,
    ):  # fmt: skip
        settings, split = inputs.settings, inputs.splits["validation"]
        held_out = inputs.images["validation"], inputs.tokens["validation"], split.caption_image
        self.pace = Pace(batches.items, batches.steps_per_epoch, batches.clock)
        self.validation = Validation(*held_out, settings.similarity, caption_scores(model, inputs))
        plateau = settings.schedule == "plateau"
        self.records = RunRecords(
            run,
            self.validation,
            settings.select,
            settings.early_stopping,
            (int(settings.decay_epochs), settings.decay_rate) if plateau else None,
            write=chief,
            about=f" · {settings.model}, {settings.loss} · validated on {split.num_images:,} "
            f"images, {split.num_captions:,} captions",
        )
        tell = run.log if chief else str
        watch = []
        if hasattr(model.pair_loss, "plateau"):
            from training import collapse

            watch = [collapse.CollapseWatch(*held_out, settings.stop_on_collapse, tell)]
        complaints = Complaints(inputs.images["train"], tell)
        diverged = DivergenceWatch(self.records, inputs.images["train"], settings, tell)
        self.all = [self.pace, self.validation, diverged, self.records, *watch, complaints]
        if tensorboard and chief:
            self.all.append(keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False))


def read_once(model, inputs: Inputs, batches: TrainingBatches, callbacks: Callbacks) -> None:
    """Reads all captions with the frozen text network, if there is one, before they are trained on.

    Its weights are set by now.
    """
    frozen = model.parts.frozen_text
    if frozen is None:
        return
    from systems.engine import read_once

    splits = inputs.tokens["train"], inputs.tokens["validation"]
    found = read_once.read(frozen, splits, inputs.settings.cache_dir)
    found.use(model, getattr(model.pair_loss, "raw", False))
    batches.tokens, held_out = found.numbers
    for one in callbacks.all:
        if hasattr(one, "tokens"):
            one.tokens = held_out


def caption_scores(model, inputs: Inputs):
    """() -> {"bleu4": of the captions that the model writes of the validation images}; or None."""
    if model.parts.writer is None:
        return None
    from grading import caption_grades
    from systems.joint import beam

    of = inputs.images["validation"], inputs.splits["validation"], inputs.vocabulary
    speaker = beam.Speaker(*model.parts.writer.compiled)
    return functools.partial(
        caption_grades.score_captions, speaker, *of, inputs.settings.max_length
    )


def fit(model, batches: TrainingBatches, strategy, settings, callbacks: Callbacks) -> None:
    """Trains what is left of the epochs; a progress bar where someone looks on."""
    records = callbacks.records
    done = records.epochs
    if done >= settings.epochs or 0 < settings.early_stopping <= done - records.best_epoch:
        return
    model.fit(
        batches.dataset(strategy, done),
        shuffle=False,  # the batches are shuffled
        steps_per_epoch=batches.steps_per_epoch,
        initial_epoch=done,
        epochs=settings.epochs,
        verbose=0 if not records.write else 1 if sys.stdout.isatty() else 2,
        callbacks=callbacks.all,
    )
