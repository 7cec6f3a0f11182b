r"""Scores a run: encodes a split and ranks the whole gallery, text to image and image to text.

    python test.py                                   # the latest run on its test split
    python test.py --exp NAME --split validation
    python test.py --verify                          # recompute score.json from the run's files
    python test.py --examples 8                      # also draw good and bad results
    python test.py --embeddings file.npz --output score.json    # another model's embeddings
    python test.py --data_dir OTHER --as other       # other data; the run's own score stays

Writes score.json, ranks_*.csv, score.png, projections.npz, query.onnx and image.onnx into the run's
folder. score.json has the same bytes at any batch size, block size and number of threads.
--verify and --embeddings do not import TensorFlow.
"""

import run.quiet  # noqa: F401 - first, so that Ctrl-C is one line from here on

import sys
from pathlib import Path

from absl import flags

from data import datasets, record
from grading import encoding, fit, indexing, verify
from grading import score as scores
from grading.assignment import handing_in
from run import console, files, folder, lock, manifest
from run.folder import Run, RunOptions
from settings import options
from settings.grading import GradeOptions, check_asked

FLAGS = flags.FLAGS
SECTIONS = (RunOptions, GradeOptions)
for _section in SECTIONS:
    options.define(_section, FLAGS)


def grade_run(run, place):
    """Encodes and scores the split; writes into `place`, the run's folder or that of --as."""
    from figures import charts

    done, own = encoding.open_finished(run), place is run
    if FLAGS.test_shifts is not None:
        done = encoding.with_settings(done, test_shifts=FLAGS.test_shifts)
    indexing.check_asked_engines(run, done.settings.similarity, FLAGS)
    splits = datasets.open_run_data(done.settings, FLAGS.data_dir)
    split = splits[FLAGS.split]
    record.check_split(run, split, other=not own)
    if split.shuffled:
        return handing_in.hand_in(done, split, place, FLAGS)
    question = ask_pairs(split, done.settings)
    encoded = encoding.encode_finished(done, split, FLAGS.folds, FLAGS.threads, FLAGS.batch_size)
    from grading import export  # imports TensorFlow, whose notes are silenced by now

    score, found = encoding.score_encoded(encoded, FLAGS.folds, FLAGS.block_size << 20)
    # First the towers: if killed in between, old projections are refused as of other weights.
    if own:
        export.export_towers(run, encoded.model, done.settings)
    encoding.save_projections(encoded, place)
    scores.write_ranks(place.folder, found, split.captions, split.image_names)
    charts.recall_curves(found, score, place / "score.png", f"{run.folder.name} · {FLAGS.split}")
    files.write_json(place.score, score)
    finish(score)
    grade_words(encoded, question, place)
    if own:
        export.export_pictures(done)
        fit.write_fit(encoded, splits, FLAGS.threads, FLAGS.batch_size)
        indexing.make_engines(run, FLAGS)
    if FLAGS.export == "serving":
        from grading import serving

        print(f"written: {serving.export_serving(run, encoded.model, done.vocabulary)}")
    if FLAGS.examples:
        from answering import examples

        ranks = {direction: result.ranks for direction, result in found[0].items()}
        paths = examples.write_examples(run, ranks, FLAGS.examples, FLAGS.split, split.origin)
        print(f"examples: {', '.join(map(str, paths))}")
    then = f'; next: python retrieve.py --exp {run.argument} "a query"' if own else ""
    print(f"written: {place.score}, score.png, ranks_*.csv, projections.npz{then}")


def ask_pairs(split, settings):
    """The question about pairs of words, checked before anything is encoded; or None."""
    if FLAGS.pairs is None and not settings.heldout and not settings.heldout_file:
        return None
    from grading import pair_recall  # loads the parser

    return pair_recall.ask(split, settings, FLAGS.pairs)


def grade_words(encoded, question, place):
    """Scores captions that the model writes, and recall of pairs of words, if there are any."""
    written = {}
    if encoded.model.parts.writer is not None:
        from grading import caption_grades

        written = caption_grades.grade_written(encoded, place)
    if question is not None:
        from grading import pair_recall

        pair_recall.grade_pairs(encoded, question, written, place, FLAGS.cumulative)


def finish(score):
    """Prints the table and writes --output."""
    print(scores.score_table(score))
    if FLAGS.output:
        files.write_json(Path(FLAGS.output), score)


def main(argv):
    """Scores a run or embeddings of another model, or verifies a score."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name value")
    files.check_output(FLAGS.output)
    check_asked(FLAGS)
    if FLAGS.embeddings is not None:
        return finish(scores.grade_file(FLAGS.embeddings, FLAGS))
    run = folder.find(FLAGS.exp_root, FLAGS.exp)
    if FLAGS.verify:
        return verify.verify_run(run, FLAGS.data_dir)
    lock.claim(run.folder)
    console.when_stopped(lambda: "every file is whole; give the same command again")
    print(f"{run}: {FLAGS.split} split")
    return grade_run(run, run if FLAGS["as"].value is None else place_beside(run))


def place_beside(run):
    """The folder of --as NAME, with its own manifest."""
    place = Run(run / "as" / FLAGS["as"].value)
    manifest.begin(place.folder)
    return place


if __name__ == "__main__":
    console.run_script(lambda: options.start_script(main, str(__doc__), SECTIONS, sys.argv))
