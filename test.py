r"""Grades a run: encodes a split and scores the whole gallery, both ways.

    python test.py                                   # the latest run on its test split
    python test.py --exp NAME --split validation
    python test.py --verify                          # is score.json what the run's files give?
    python test.py --examples 8                      # and pages of examples, good and bad
    python test.py --embeddings file.npz --output score.json    # embeddings from elsewhere
    python test.py --embeddings file.npz --similarity order     # by order similarity
    python test.py --data_dir OTHER --as other       # data that the run does not know, beside
    python test.py --pairs brown_dog,sit_cat         # and how often these pairs are found

Writes score.json, ranks_*.csv, score.png, projections.npz, query.onnx and image.onnx into the run's
folder. The same run gives the same bytes of score.json at any batch size, block size or number of
threads. --verify and --embeddings do without TensorFlow. Then: python retrieve.py "a query"
"""

import run.quiet  # noqa: F401 - first, so that Ctrl-C is one line from here on

import sys
from pathlib import Path

from absl import flags

from data import datasets, record
from gallery import similarity
from grading import score as scores
from grading.options import GradeOptions, check_asked
from run import console, files, folder, lock, manifest, options
from run.folder import Run, RunOptions

FLAGS = flags.FLAGS
SECTIONS = (RunOptions, GradeOptions)
for _section in SECTIONS:
    options.define(_section, FLAGS)


def grade_run(run, place):
    """Encodes the split, scores it, and leaves everything in `place`: the run or one beside it."""
    from grading import encoding
    from run import figures

    finished, own = encoding.open_finished(run), place is run
    if FLAGS.test_shifts is not None:
        finished = encoding.with_settings(finished, test_shifts=FLAGS.test_shifts)
    split = datasets.open_run_data(finished.settings, FLAGS.data_dir)[FLAGS.split]
    record.check_split(run, split, other=not own)
    question = ask_pairs(split, finished.settings)
    encoded = encoding.encode_finished(
        finished, split, FLAGS.folds, FLAGS.threads, FLAGS.batch_size
    )
    from grading import export  # with Keras, which has begun by now, without its page of notes

    score, found = encoding.score_encoded(encoded, FLAGS.folds, FLAGS.block_size << 20)
    if own:  # before the projections: killed between, these are of other weights, and refused
        export.export_towers(run, encoded.model, finished.settings)
    encoding.save_projections(encoded, place)
    scores.write_ranks(place.folder, found, split.captions, split.image_names)
    figures.recall_curves(found, score, place / "score.png")
    files.write_json(place.score, score)
    finish(score)
    grade_words(encoded, question, place)
    if own:
        export.export_pictures(finished)
    if FLAGS.export == "serving":
        from grading import serving

        print(f"written: {serving.export_serving(run, encoded.model, finished.vocabulary)}")
    if FLAGS.examples:
        from answering import examples

        ranks = {direction: result.ranks for direction, result in found[0].items()}
        paths = examples.write_examples(run, ranks, FLAGS.examples, FLAGS.split, split.origin)
        print(f"examples: {', '.join(map(str, paths))}")
    then = f'; next: python retrieve.py --exp {run.folder.name} "a query"' if own else ""
    print(f"written: {place.score}, score.png, ranks_*.csv, projections.npz{then}")


def ask_pairs(split, settings):
    """What is asked about pairs of words, before anything is encoded; None: nothing."""
    if FLAGS.pairs is None and not settings.heldout and not settings.heldout_file:
        return None
    from grading import pair_recall  # and with it the parser

    return pair_recall.ask(split, settings, FLAGS.pairs)


def grade_words(encoded, question, place):
    """The captions that the model writes, and pairs of words, where there are any."""
    written = {}
    if encoded.model.parts.writer is not None:
        from grading import caption_grades

        written = caption_grades.grade_written(encoded, place)
    if question is not None:
        from grading import pair_recall

        pair_recall.grade_pairs(encoded, question, written, place, FLAGS.cumulative)


def verify(run):
    """Says whether score.json is what the run's files give."""
    from grading import verify as verifying

    written = verifying.read_score(run)
    again = verifying.recompute(run, written, FLAGS.data_dir)
    differences = list(verifying.differing(written, again))
    for line in differences[:10]:
        print(line)
    if differences:
        raise ValueError(
            f"{run.score} disagrees with the run's files in {len(differences)} places: grade the "
            "run anew with python test.py"
        )
    print(
        f"{run.score} agrees with the run's files in every figure, hash and fact. That {run} "
        "encodes its data so is not proved: python test.py encodes them anew"
    )


def score_embeddings(path):
    """Scores embeddings from elsewhere: a table, and --output."""
    arrays = scores.read_embeddings(path, FLAGS.normalize)
    arrays = scores.merge_equal_rows(arrays, path, FLAGS.merge_equal)
    chosen = FLAGS.similarity or similarity.of_arrays(arrays, path)
    for line in scores.note_norms(arrays, chosen):
        print(f"note: {line}; --normalize makes them so", file=sys.stderr)
    image, concepts = arrays["image"], arrays.get("concepts")
    score, found = scores.grade_embeddings(
        image,
        arrays["text"],
        arrays["caption_image"],
        concepts,
        folds=FLAGS.folds,
        block_bytes=FLAGS.block_size << 20,
        similarity=chosen,
    )
    graded, facts = concepts is not None, {"normalized": FLAGS.normalize}
    facts = scores.protocol(found, len(image), graded, chosen, **facts)
    finish({"protocol": facts, "hashes": {"embeddings": files.file_hash(path)}, **score})


def finish(score):
    """Prints the table and writes --output."""
    print(scores.score_table(score))
    if FLAGS.output:
        files.write_json(Path(FLAGS.output), score)


def main(argv):
    """Grades a run, verifies one, or scores embeddings from elsewhere."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name value")
    files.check_output(FLAGS.output)
    check_asked(FLAGS)
    if FLAGS.embeddings is not None:
        return score_embeddings(FLAGS.embeddings)
    run = folder.find(FLAGS.exp_root, FLAGS.exp)
    if FLAGS.verify:
        return verify(run)
    lock.claim(run.folder)
    console.when_stopped(lambda: "every file is whole; give the same command again")
    print(f"{run}: {FLAGS.split} split")
    return grade_run(run, run if FLAGS["as"].value is None else place_beside(run))


def place_beside(run):
    """The folder of --as NAME, with a manifest of its own."""
    place = Run(run / "as" / FLAGS["as"].value)
    manifest.begin(place.folder)
    return place


if __name__ == "__main__":
    console.run_script(lambda: options.start_script(main, str(__doc__), SECTIONS, sys.argv))
