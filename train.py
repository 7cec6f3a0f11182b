r"""Trains an image and a text encoder whose embeddings share one space.

    python train.py --loss modified                     # built-in images, about a minute
    python train.py --recipe gru_best --data_dir f8k_precomp
    python train.py --exp NAME --resume                 # continue after an interruption

Writes the folder exp/<date>_<time>_<model>_<loss>/, or exp/NAME with --exp NAME.
Flags are fields in `settings/`, and of one system in `systems/NAME/sheet.py`.
"""

import run.quiet  # noqa: F401 - first, so that Ctrl-C is one line from here on

import sys
import time

from absl import flags

from data import datasets
from run import console, files, replicas, workers
from settings import options
from systems import config
from training import reading, starting

FLAGS = flags.FLAGS
config.define_flags(FLAGS)


def main(argv):
    """Trains a run, alone or with other workers."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name value")
    with workers.find_team(FLAGS.strategy) as team:
        team.agree(starting.compared_flags(FLAGS), "--{name} {value}")
        train(team)


def train(team):
    """Settings -> run -> splits -> token ids and image arrays -> batches -> model -> fit."""
    chief = team.index == 0
    start = starting.open_run(FLAGS, sys.argv, chief)
    files.remove_leftovers(start.settings.cache_dir)
    began = time.perf_counter()  # a first phase, trained in open_run, reports its own time
    splits = datasets.open_run_data(start.settings)
    inputs = reading.read_inputs(start, splits)
    team.agree(reading.compared_data(inputs), "{name} {value}")
    team.watch()
    replicas.set_devices(FLAGS.virtual_devices, FLAGS.threads, FLAGS.deterministic)
    # Before any other TensorFlow call: workers must connect first.
    strategy = replicas.make_strategy(FLAGS.strategy, FLAGS.virtual_devices)
    from training import fitting

    batches = fitting.make_batches(inputs)
    batches.check_replicas(replicas.replicas_here(strategy)[2])
    model = fitting.build(inputs, batches, strategy)
    callbacks = fitting.Callbacks(model, inputs, batches, start.run, chief, FLAGS.tensorboard)
    notes = fitting.set_weights(model, start, inputs, callbacks.records, FLAGS.notes)
    if chief:
        tell_begin(start.run, model, inputs, callbacks.records, notes)
    fitting.read_once(model, inputs, batches, callbacks)
    fitting.fit(model, batches, strategy, inputs.settings, callbacks)
    if chief:
        tell_end(start.run, callbacks, time.perf_counter() - began)


def tell_begin(run, model, inputs, records, notes):
    """Logs the run's model, data and number of parameters."""
    settings, train = inputs.settings, inputs.splits["train"]
    for line in (
        f"{run}: {settings.model} with {settings.loss} loss, {model.count_params():,} parameters; "
        f"{len(train.image_names):,} images, {len(train.captions):,} captions, "
        f"{len(inputs.vocabulary):,} words; {records.epochs} of {settings.epochs} epochs done",
        *notes,
    ):
        run.log(line)


def tell_end(run, callbacks, seconds):
    """Logs seconds, speed and the best epoch, and which command comes next."""
    pace, records = callbacks.pace, callbacks.records
    said = f", {pace.rate:,.0f} captions/s" if pace.rate else ""
    if pace.rate and pace.clock.used:
        said += f", {100 * pace.starved:.1f} % of the time waiting for pictures"
    run.log(
        f"{seconds:.0f} s{said}; best epoch {records.best_epoch} of {records.epochs}: "
        f"{records.key} {records.best:.4g}; curves in {run / 'history.png'}; next: "
        f"python test.py --exp {run.argument}"
    )


if __name__ == "__main__":
    console.run_script(
        lambda: options.start_script(
            main, str(__doc__), config.training_sections(), config.with_recipe(sys.argv)
        )
    )
