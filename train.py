r"""Trains a model that brings pictures and sentences into one space.

    python train.py --loss modified                     # built-in scenes, about a minute
    python train.py --recipe irse_modified --data nuswide --data_dir NUS-WIDE-Lite
    python train.py --exp NAME --resume                 # goes on after an interruption

Makes exp/<date>_<time>_<model>_<loss>/ (or exp/NAME with --exp NAME). Then: python test.py
"""

import shlex
import shutil
import sys
import time
from pathlib import Path

from absl import app, flags

import config
import datasets
import distribution
import experiment

FLAGS = flags.FLAGS
config.define_experiment_flags()
config.define_training_flags()
config.define_machine_flags()
flags.DEFINE_bool("overwrite", False, "Replace the run of this name, if there is one.")
flags.DEFINE_bool("resume", False, "Go on with a run that was interrupted.")
flags.adopt_module_key_flags(config)
MAY_CHANGE = ("epochs", "early_stopping", "cache_dir", "data_dir")  # when a run is resumed


def open_run(chief):
    """The run's settings and folder, new or resumed; only the chief makes one.

    Raises:
      ValueError: the folder is taken; or the run to resume is missing, or was of other settings.
    """
    asked = config.settings_from_flags(FLAGS)
    if FLAGS.resume and FLAGS.overwrite:
        raise ValueError("--resume goes on with a run, --overwrite replaces it: choose one")
    if FLAGS.resume:
        run = experiment.find(FLAGS.exp_root, FLAGS.exp)
        settings = config.load_settings(run.config)
        for name, value in vars(asked).items():
            as_before = value == getattr(settings, name)
            if not FLAGS[name].present or as_before or (name, value) == ("relevance", "auto"):
                continue  # the snapshot says what "auto" came out as
            if name not in MAY_CHANGE:
                raise ValueError(
                    f"{run} was started with --{name} {getattr(settings, name)}, not {value}: "
                    "leave the flag out to resume, or start a new run"
                )
            setattr(settings, name, value)
        return settings, run
    name = FLAGS.exp or config.default_name(asked)
    run = experiment.Experiment(Path(FLAGS.exp_root) / name)
    if Path(FLAGS.exp_root).is_file() or run.folder.is_file():
        raise ValueError(f"{run} cannot be a run's folder: there is a file in its place")
    if chief and run.folder.exists() and not FLAGS.overwrite:
        raise ValueError(
            f"{run} is there already: choose another --exp, or go on with it (--resume), or "
            "replace it (--overwrite)"
        )
    own = ("config.json", "vocabulary.json")  # of a run, whole or half-written
    if chief and run.folder.exists() and not any((run / name).is_file() for name in own):
        raise ValueError(f"{run} is no run folder, so it is not replaced: choose another --exp")
    return asked, run


def start_run(settings, run, vocabulary, descriptor):
    """Makes the folder of a new run, once everything that can be refused has been."""
    if FLAGS.overwrite and run.folder.exists():
        shutil.rmtree(run.folder)
    try:
        run.folder.mkdir(parents=True)
    except FileExistsError:
        raise ValueError(f"{run} was made by another training in the meantime") from None
    vocabulary.save(run.vocabulary)
    if descriptor is not None:
        descriptor.save(run.features)
    settings.save(run.config)


def read_data(settings, run):
    """Everything that training reads, before TensorFlow is imported.

    Returns:
      (splits, vocabulary, descriptor or None, {split name: (N, F) image vectors}).
    """
    import data
    import features
    from text import Vocabulary

    splits = datasets.open_dataset(
        settings.data,
        settings.data_dir,
        cache_dir=settings.cache_dir,
        validation_images=settings.validation_images,
        seed=settings.data_seed,
        limit=settings.limit or None,
    )
    settings.relevance = data.choose_relevance(settings, splits["train"].concepts)
    used = {name: splits[name] for name in ("train", "validation")}
    if FLAGS.resume:
        vocabulary = Vocabulary.load(run.vocabulary)
        if settings.described:
            run.require(run.features, "it was lost; train anew with --overwrite")
        descriptor = features.load(run.features)
    else:
        vocabulary = Vocabulary.from_captions(splits["train"].captions, settings.max_words)
        descriptor = features.learn(splits["train"], settings.data_seed)
    vectors = {
        name: features.image_vectors(split, descriptor, settings.cache_dir)
        for name, split in used.items()
    }
    settings.feature_dim = vectors["train"].shape[1]
    settings.described = descriptor is not None
    return used, vocabulary, descriptor, vectors


def make_batches(settings, split, vectors, vocabulary):
    """The training batches, with the relevance that the settings ask for."""
    import data
    from text import Tokens

    return data.TrainingBatches(
        vectors,
        Tokens(split.captions, vocabulary),
        split.caption_image,
        settings,
        concepts=split.concepts if settings.relevance == "concepts" else None,
        tfidf=data.tfidf_rows(split.captions) if settings.relevance == "tfidf" else None,
    )


def build(settings, batches, vocabulary, strategy):
    """The compiled model, with fresh weights, under the strategy."""
    import contextlib

    import keras

    import models
    import optimization

    keras.utils.set_random_seed(settings.seed)
    sizes = {"feature_dim": settings.feature_dim, "vocabulary_size": len(vocabulary)}
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = models.build_model(settings, sizes)
        if settings.standardize:
            model.image_tower.get_layer("standardize").adapt(batches.vectors)
        optimizer = optimization.build_optimizer(settings, batches.steps_per_epoch)
        model.compile(optimizer=optimizer, jit_compile=False)
        optimizer.build(model.trainable_variables)
    return model


def main(argv):
    """Flags -> records -> features -> batches -> model -> fit -> exp/<name>/."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name value")
    began = time.perf_counter()
    chief = distribution.is_chief(FLAGS.strategy)
    settings, run = open_run(chief)
    splits, vocabulary, descriptor, vectors = read_data(settings, run)
    batches = make_batches(settings, splits["train"], vectors["train"], vocabulary)

    distribution.set_devices(FLAGS.virtual_devices, FLAGS.threads, FLAGS.deterministic)
    import callbacks  # from here on Keras and TensorFlow are in memory
    from text import Tokens

    strategy = distribution.make_strategy(FLAGS.strategy, FLAGS.virtual_devices)
    model = build(settings, batches, vocabulary, strategy)
    held_out = splits["validation"]
    tokens = Tokens(held_out.captions, vocabulary)
    validation = callbacks.Validation(vectors["validation"], tokens, held_out.caption_image)
    records = callbacks.Records(
        run, validation, settings.select, settings.early_stopping, write=chief
    )
    done = records.restore(model) if FLAGS.resume else 0
    stopped = 0 < settings.early_stopping <= done - records.best_epoch
    if chief and FLAGS.resume:
        settings.save(run.config)
    elif chief:
        start_run(settings, run, vocabulary, descriptor)
    if chief:
        train = splits["train"]
        run.log(
            f"{run}: {settings.model} with {settings.loss} loss, "
            f"{model.count_params():,} parameters; {len(train.image_names):,} images, "
            f"{len(train.captions):,} captions, {len(vocabulary):,} words; "
            f"{done} of {settings.epochs} epochs done"
        )
    if done < settings.epochs and not stopped:
        model.fit(
            batches.dataset(strategy, done),
            shuffle=False,  # the batches are shuffled
            steps_per_epoch=batches.steps_per_epoch,
            initial_epoch=done,
            epochs=settings.epochs,
            verbose=0 if not chief else 1 if sys.stdout.isatty() else 2,
            callbacks=[validation, records],
        )
    if chief:
        name = run.folder.name if run.folder.parent == Path(FLAGS.exp_root) else str(run)
        seconds = time.perf_counter() - began
        run.log(
            f"{seconds:.0f} s; best epoch {records.best_epoch} of {len(records.rows)}: "
            f"{records.key} {records.best:.4g}; curves in {run / 'history.png'}; next: "
            f"python test.py --exp {shlex.quote(name)}"
        )


if __name__ == "__main__":
    experiment.run_script(lambda: app.run(main, config.with_recipe(sys.argv)))
