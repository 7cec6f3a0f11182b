r"""Trains a model that brings pictures and sentences into one space.

    python train.py --loss modified                     # built-in scenes, about a minute
    python train.py --recipe gru_best --data_dir f8k_precomp
    python train.py --recipe ph --data flickr8k --data_dir Flickr8k --features fne
    python train.py --exp NAME --resume                 # goes on after an interruption

Makes exp/<date>_<time>_<model>_<loss>/ (or exp/NAME with --exp NAME). Then: python test.py
"""

import shlex
import shutil
import sys
import time
from pathlib import Path

from absl import app, flags

from data import datasets
from run import console, files, folder, options, recipes, replicas
from training import phases

FLAGS = flags.FLAGS
options.define_experiment_flags()
options.define_training_flags()
options.define_machine_flags()
options.define_run_flags()
flags.adopt_module_key_flags(options)
AUTO = (("relevance", "auto"), ("features", "auto"))
MAY_CHANGE = ("epochs", "early_stopping", "cache_dir", "data_dir", "cache")  # when a run is resumed


def check_phases(asked):
    """Refuses flags of a curriculum that contradict each other.

    Raises:
      ValueError: says which.
    """
    if asked.first_phase and asked.init_from:
        raise ValueError("--first_phase trains the run to start from, --init_from names one")
    if asked.word_vectors and asked.init_from and not FLAGS.resume:
        raise ValueError("--word_vectors starts the words, and so does --init_from: choose one")
    if asked.first_phase and not FLAGS.exp:
        if FLAGS.strategy == "multi_worker":
            raise ValueError("--first_phase on several workers needs --exp, the same on each")
        if FLAGS.resume:
            raise ValueError("--resume of a run of two phases needs its name: --exp NAME")


def open_run(chief, argv):
    """The run's settings and folder, new or resumed; only the chief makes one.

    A first phase that is asked for is trained here, before anything of the second.

    Returns:
      (settings, run, whether the run is resumed).

    Raises:
      ValueError: the folder is taken; or the run to resume is missing, or was of other settings.
    """
    asked = recipes.settings_from_flags(FLAGS)
    if FLAGS.resume and FLAGS.overwrite:
        raise ValueError("--resume goes on with a run, --overwrite replaces it: choose one")
    check_phases(asked)
    name = FLAGS.exp or recipes.default_name(asked)
    run = folder.Run(Path(FLAGS.exp_root) / name)
    # Killed in its first phase, a run has no folder yet.
    begun = not (asked.first_phase and FLAGS.exp) or run.config.is_file()
    alone = FLAGS.exp and not run.config.is_file() and not asked.first_phase
    if FLAGS.resume and alone and phases.first_run(run).config.is_file():
        raise ValueError(
            f"{run} was stopped in its first phase: repeat its whole command with --resume"
        )
    if FLAGS.resume and begun:
        run = folder.find(FLAGS.exp_root, FLAGS.exp)
        settings = recipes.load_settings(run.config)
        for name, value in vars(asked).items():
            as_before = value == getattr(settings, name)
            if not FLAGS[name].present or as_before or (name, value) in AUTO:
                continue  # the snapshot says what "auto" came out as
            if name not in MAY_CHANGE:
                raise ValueError(
                    f"{run} was started with --{name} {getattr(settings, name)}, not {value}: "
                    "leave the flag out to resume, or start a new run"
                )
            setattr(settings, name, value)
        return settings, run, True
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
    if asked.init_from:
        first = folder.find(FLAGS.exp_root, asked.init_from)
        if first.folder.resolve() == run.folder.resolve():
            raise ValueError(f"{run} cannot start from itself: choose another --exp")
    if asked.first_phase:
        phases.check_recipe(asked.first_phase, asked, argv)
        first = phases.train_first(asked.first_phase, run, argv, FLAGS.overwrite)
        asked.init_from = str(first)
    return asked, run, False


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


def read_data(settings, run, resumed):
    """Everything that training reads, before TensorFlow is imported.

    Returns:
      (splits, vocabulary, descriptor or None, {split name: (N, F) image vectors, or Pictures}).
    """
    from data.language.words import Vocabulary
    from data.vision import descriptors, pixels
    from training.targets import choose_relevance

    splits = datasets.open_run_data(settings)
    settings.relevance = choose_relevance(settings, splits["train"].concepts)
    used = {name: splits[name] for name in ("train", "validation")}
    if settings.features == "auto" and settings.model in options.READ_PIXELS and not resumed:
        # Said now: a second phase may read pixels where the first one read vectors.
        settings.features = "pixels" if used["train"].vectors is None else "auto"
    source = run if resumed else None  # the run whose words and descriptor are read
    if settings.init_from and not resumed:
        source = folder.find(FLAGS.exp_root, settings.init_from)
        given = [name for name in recipes.default_settings() if FLAGS[name].present]
        phases.check_start(source, settings, given)
    if source:
        vocabulary = Vocabulary.load(source.vocabulary)
        descriptor = None
        if settings.features != "pixels":
            if recipes.load_settings(source.config).described:
                source.require(source.features, "it was lost; train anew with --overwrite")
            descriptor = descriptors.load(source.features)
    else:
        vocabulary = make_vocabulary(settings, used)
        if settings.features == "auto" and used["train"].vectors is None:
            settings.features = options.DESCRIBED[settings.model]
            if settings.features == "grid" and settings.data == "scenes":
                settings.features = "boxes"
        descriptor = descriptors.learn(used["train"], settings)
    vectors = {
        name: descriptors.open_images(split, descriptor, settings) for name, split in used.items()
    }
    if isinstance(vectors["validation"], pixels.Pictures):
        vectors["validation"].check()  # now, not after the first epoch
    descriptors.check_boxes(vectors["train"], settings.model)
    settings.feature_dim = descriptors.size_of(vectors["train"])
    settings.train_images = used["train"].num_images
    settings.described = descriptor is not None
    if settings.word_vectors and not resumed:
        settings.word_vectors_hash = files.file_hash(settings.word_vectors)
    if source and not resumed:
        phases.check_sizes(source, settings)
    return used, vocabulary, descriptor, vectors


def make_vocabulary(settings, splits):
    """The words of the training captions, or what else the settings ask for."""
    from data.language import word_vectors
    from data.language.words import Vocabulary

    if settings.word_vectors and not Path(settings.word_vectors).is_file():
        raise ValueError(f"--word_vectors {settings.word_vectors}: there is no such file")
    if settings.model == "transformer" and (published := published_pieces(settings)):
        return Vocabulary(published, recipes.tokeniser(settings), settings.max_pieces)
    captions = splits["train"].captions
    if settings.vocabulary == "train+validation":
        captions = captions + splits["validation"].captions
    vocabulary = Vocabulary.from_captions(
        captions,
        settings.max_words,
        recipes.tokeniser(settings),
        settings.min_count,
        settings.max_pieces,
    )
    if settings.dictionary == "word_vectors":
        _, found = word_vectors.read_word_vectors(settings.word_vectors, vocabulary.words)
        vocabulary = vocabulary.only(found)
    return vocabulary


def published_pieces(settings):
    """Word pieces of --word_pieces, or those that --text_weights was trained with; None for none.

    Raises:
      ValueError: they cannot be had.
    """
    from data.language import word_pieces
    from data.vision import activations, cnn

    if settings.word_pieces:
        return word_pieces.read_vocabulary(settings.word_pieces)
    if settings.text_weights in cnn.RANDOM:
        return None
    return activations.in_own_process(preset_pieces, settings.text_weights)


def preset_pieces(weights):
    """`hub.preset_vocabulary`, which begins with TensorFlow."""
    from systems.engine import hub

    return hub.preset_vocabulary(weights)


def make_batches(settings, split, vectors, vocabulary):
    """The training batches, with the relevance and the classes that the settings ask for."""
    from data.vision import descriptors
    from training import tokenise
    from training.batches import TrainingBatches
    from training.targets import instance_classes, phrase_classes, tfidf_rows

    classes, settings.num_phrases = None, 0
    if settings.model == "dual_path" and settings.classes == "phrases":
        classes = phrase_classes(split.captions, split.caption_image, vocabulary)
        settings.num_phrases = classes.shape[1]
    elif settings.model == "dual_path":
        described = vectors
        if settings.num_classes:
            described = descriptors.cluster_vectors(split, vectors, settings)
        classes = instance_classes(settings, described, split.num_images)
    return TrainingBatches(
        vectors,
        tokenise.tokenise(split.captions, vocabulary),
        split.caption_image,
        settings,
        concepts=split.concepts if settings.relevance == "concepts" else None,
        tfidf=tfidf_rows(split.captions) if settings.relevance == "tfidf" else None,
        classes=classes,
    )


def build(settings, batches, vocabulary, strategy):
    """The compiled model, with fresh weights, under the strategy."""
    import contextlib

    import keras

    import models
    from systems.engine import gradient_cache, optimization

    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_global_policy(settings.precision)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = models.build_model(settings, models.sizes(settings, vocabulary))
        if settings.micro_batch:
            gradient_cache.check(model, settings)
            model.micro_batch = settings.micro_batch
        if settings.standardize:
            model.image_tower.get_layer("standardize").adapt(batches.vectors)
        optimizer = optimization.build_optimizer(
            settings, batches.steps_per_epoch, model.rates(settings)
        )
        model.compile(optimizer=optimizer, jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    return model


def make_callbacks(settings, run, split, vectors, vocabulary, chief):
    """Validation and records, in this order, and the collapse watch."""
    from training import collapse, tokenise
    from training.records import Complaints, RunRecords, Validation

    tokens = tokenise.tokenise(split.captions, vocabulary)
    held_out = (vectors["validation"], tokens, split.caption_image)
    validation = Validation(*held_out, settings.similarity)
    plateau = settings.schedule == "plateau"
    records = RunRecords(
        run,
        validation,
        settings.select,
        settings.early_stopping,
        (int(settings.decay_epochs), settings.decay_rate) if plateau else None,
        write=chief,
    )
    tell = run.log if chief else str
    watch = collapse.CollapseWatch(*held_out, settings.stop_on_collapse, tell)
    return [validation, records, watch, Complaints(vectors["train"], tell)]


def caption_scores(model, settings, splits, vectors, vocabulary):
    """() -> {"bleu4": of the captions that the model writes of the validation images}."""
    import functools

    from grading import caption_grades
    from systems.joint import beam

    speaker = beam.Speaker(*model.speaking.steps)
    of = (vectors["validation"], splits["validation"], vocabulary, settings.max_length)
    return functools.partial(caption_grades.score_captions, speaker, *of)


def fill_words(model, settings, vocabulary, tokens):
    """Sets the words that --word_vectors has; returns the line that says how many these are.

    Raises:
      ValueError: the model has no word table, or the vectors are of another size.
    """
    import keras

    from data.language import word_vectors

    if settings.model not in ("gru", "dual_path", "joint"):
        raise ValueError(
            f"--word_vectors is for --model gru, dual_path and joint, not {settings.model}"
        )
    rows, found = word_vectors.read_word_vectors(settings.word_vectors, vocabulary.words)
    if rows.shape[1] != settings.word_dim:
        raise ValueError(
            f"{settings.word_vectors} has vectors of {rows.shape[1]} numbers, --word_dim is "
            f"{settings.word_dim}: give --word_dim {rows.shape[1]}"
        )
    table = model.text_tower.get_layer("words").embeddings
    values = keras.ops.convert_to_numpy(table).copy()
    padding = int(settings.model != "dual_path")  # row 0, where there is one
    values[padding : len(rows) + padding][found] = rows[found]
    table.assign(values)
    return word_vectors.coverage_line(found, tokens.flat)


def report(run, records, seconds, pace):
    """The last line of a training: how it went and what comes next."""
    said = f", {pace.rate:,.0f} captions/s" if pace.rate else ""
    if pace.rate and pace.clock.used:
        said += f", {100 * pace.starved:.1f} % of the time waiting for pictures"
    name = run.folder.name if run.folder.parent == Path(FLAGS.exp_root) else str(run)
    run.log(
        f"{seconds:.0f} s{said}; best epoch {records.best_epoch} of {records.epochs}: "
        f"{records.key} {records.best:.4g}; curves in {run / 'history.png'}; next: "
        f"python test.py --exp {shlex.quote(name)}"
    )


def main(argv):
    """Flags -> records -> features -> batches -> model -> fit -> exp/<name>/."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name value")
    chief = replicas.is_chief(FLAGS.strategy)
    settings, run, resumed = open_run(chief, sys.argv)
    began = time.perf_counter()  # a first phase has told its own time
    splits, vocabulary, descriptor, vectors = read_data(settings, run, resumed)
    replicas.set_devices(FLAGS.virtual_devices, FLAGS.threads, FLAGS.deterministic)
    import models
    from training.records import Pace

    # Before anything else runs in TensorFlow: several workers must find each other first.
    strategy = replicas.make_strategy(FLAGS.strategy, FLAGS.virtual_devices)
    batches = make_batches(settings, splits["train"], vectors["train"], vocabulary)
    batches.check_replicas(replicas.replicas_here(strategy)[2])
    model = build(settings, batches, vocabulary, strategy)
    watchers = make_callbacks(settings, run, splits["validation"], vectors, vocabulary, chief)
    if settings.model == "joint" and settings.write_weight:
        watchers[0].more = caption_scores(model, settings, splits, vectors, vocabulary)
    records, notes = watchers[1], []
    if not resumed:
        models.load_published(model, settings)
    if resumed:
        records.restore(model)
    elif settings.init_from:
        # The model is there on every worker, so the chief has ended the first phase.
        first = folder.find(FLAGS.exp_root, settings.init_from)
        settings.started_from = phases.take_over(first, model)
    elif settings.word_vectors:
        notes.append(fill_words(model, settings, vocabulary, batches.tokens))
    if chief and resumed:
        settings.save(run.config)
    elif chief:
        start_run(settings, run, vocabulary, descriptor)
    if settings.init_from and not resumed:
        records.begin(model)
        rsum = records.rows[0]["val_rsum"]
        notes.append(f"starts from {settings.init_from}: validation rsum {rsum:.4g}")
    done = records.epochs
    if chief:
        train = splits["train"]
        for line in (
            f"{run}: {settings.model} with {settings.loss} loss, "
            f"{model.count_params():,} parameters; {len(train.image_names):,} images, "
            f"{len(train.captions):,} captions, {len(vocabulary):,} words; "
            f"{done} of {settings.epochs} epochs done",
            *notes,
        ):
            run.log(line)
    pace = Pace(batches.items, batches.steps_per_epoch, batches.clock)
    stopped = 0 < settings.early_stopping <= done - records.best_epoch
    if done < settings.epochs and not stopped:
        model.fit(
            batches.dataset(strategy, done),
            shuffle=False,  # the batches are shuffled
            steps_per_epoch=batches.steps_per_epoch,
            initial_epoch=done,
            epochs=settings.epochs,
            verbose=0 if not chief else 1 if sys.stdout.isatty() else 2,
            callbacks=[pace, *watchers],
        )
    if chief:
        report(run, records, time.perf_counter() - began, pace)


if __name__ == "__main__":
    console.run_script(lambda: app.run(main, recipes.with_recipe(sys.argv)))
