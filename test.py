r"""Grades a run: encodes a split and scores the whole gallery, both ways.

    python test.py                                   # the latest run on its test split
    python test.py --exp NAME --split validation
    python test.py --verify                          # recompute from the saved projections alone
    python test.py --examples 8                      # and pages of examples, good and bad
    python test.py --embeddings file.npz --output score.json    # embeddings from elsewhere
    python test.py --embeddings file.npz --similarity order     # by order similarity
    python test.py --pairs brown_dog,sit_cat         # and how often these pairs are found

Writes score.json, ranks_*.csv, score.png, projections.npz, query.onnx and image.onnx into the run's
folder. The same run gives the same bytes of score.json at any batch size, block size or number of
threads. --verify and --embeddings do without TensorFlow. Then: python retrieve.py "a query"
"""

import dataclasses
import sys
from pathlib import Path

from absl import flags

import run.quiet  # noqa: F401 - first, so that Ctrl-C is one line from here on
from data import datasets
from gallery import similarity
from grading import score as scores
from run import console, files, folder, lock, options
from run.folder import RunOptions
from run.options import Options, option

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class GradeOptions(Options):
    """What is graded, and what is made beside the score."""

    title = "Grade"
    split: str = option(
        "test", "Split to encode and score.", choices=("train", "validation", "test")
    )
    data_dir: str | None = option(None, "Folder of the data, where it has moved since training.")
    folds: int = option(1, "Average over so many disjoint galleries.", least=1)
    block_size: int = option(16, "Megabytes of scores at a time: speed and memory only.", least=1)
    threads: int = option(
        0, "Chunks encoded at the same time; 0: as many as cores. Speed only.", least=0
    )
    batch_size: int = option(
        0, "Rows in work at a time, where --threads is 0. Speed only.", least=0
    )
    examples: int = option(
        0,
        "Draw so many examples of each direction too, half of them good and half bad, and list "
        "them: examples_*.png, examples.md.",
        least=0,
        most=50,
    )
    verify: bool = option(False, "Recompute the metrics from projections.npz and compare.")
    embeddings: str | None = option(None, "Score this .npz: image, text, caption_image.")
    normalize: bool = option(False, "Divide the rows of --embeddings by their norms first.")
    merge_equal: bool | None = option(
        None, "Make equal image rows of --embeddings one image. Without the flag: only say so."
    )
    similarity: str | None = option(
        None,
        "How --embeddings are compared. Without the flag: as the file says, else cosine. A run "
        "knows its own.",
        choices=tuple(similarity.SIMILARITIES),
    )
    test_shifts: str | None = option(
        None,
        "dual_path: over how many shifts of a caption to add up, all or a number. Without the "
        "flag: as the run.",
    )
    pairs: str | None = option(
        None,
        "How often pairs such as brown_dog,sit_cat are found, too. Without the flag: those held "
        "out of training (paper: the nine of the document).",
    )
    cumulative: bool = option(False, "--pairs: tables of n or more captions, not of exactly n.")
    export: str | None = option(
        None,
        "Write serving/1, too: a SavedModel that TensorFlow Serving loads.",
        choices=("serving",),
    )
    output: str | None = option(None, "Write the score to this file, too.")


SECTIONS = (RunOptions, GradeOptions)
for _section in SECTIONS:
    options.define(_section, FLAGS)


def score_embeddings(path):
    """Scores embeddings from elsewhere: a table, and --output."""
    arrays = scores.read_embeddings(path, FLAGS.normalize)
    arrays = scores.merge_equal_rows(arrays, path, FLAGS.merge_equal)
    chosen = FLAGS.similarity or similarity.of_arrays(arrays, path)
    for line in scores.note_norms(arrays, chosen):
        print(f"note: {line}; --normalize makes them so", file=sys.stderr)
    concepts = arrays.get("concepts")
    score, found = scores.grade_embeddings(
        arrays["image"],
        arrays["text"],
        arrays["caption_image"],
        concepts,
        folds=FLAGS.folds,
        block_bytes=FLAGS.block_size << 20,
        similarity=chosen,
    )
    facts = scores.protocol(
        found, len(arrays["image"]), concepts is not None, chosen, normalized=FLAGS.normalize
    )
    finish({"protocol": facts, "hashes": {"embeddings": files.file_hash(path)}, **score})


def verify(run):
    """Says whether score.json is what the saved projections give."""
    differences = scores.verify_score(run)
    for line in differences[:10]:
        print(line)
    if differences:
        raise ValueError(
            f"{run.score} disagrees with {run.projections.name} in {len(differences)} figures: "
            "grade the run anew with python test.py"
        )
    print(
        f"{run.score} agrees with {run.projections.name} in every figure that projections give "
        "(the oracle needs what the captions mean)"
    )


def grade_run(run):
    """Encodes the split, scores it, and leaves everything in the run's folder."""
    from grading import encoding
    from run import figures

    finished = encoding.open_finished(run)
    if FLAGS.test_shifts is not None:
        finished = encoding.with_settings(finished, test_shifts=FLAGS.test_shifts)
    split = datasets.open_run_data(finished.settings, FLAGS.data_dir)[FLAGS.split]
    question = ask_pairs(split, finished.settings)
    encoded = encoding.encode_finished(
        finished, split, FLAGS.folds, FLAGS.threads, FLAGS.batch_size
    )
    from grading import export  # with Keras, which has begun by now, without its page of notes

    score, found = score_encoded(encoded)
    encoding.save_projections(encoded)
    export.export_towers(run, encoded.model, finished.settings)
    if FLAGS.export == "serving":
        from grading import serving

        print(f"written: {serving.export_serving(run, encoded.model, finished.vocabulary)}")
    scores.write_ranks(run.folder, found, split.captions, split.image_names)
    figures.recall_curves(found, score, run / "score.png")
    files.write_json(run.score, score)
    finish(score)
    grade_pairs(encoded, question, grade_captions(encoded))
    print(
        f"written: {run.score}, score.png, ranks_*.csv, projections.npz; next: "
        f'python retrieve.py --exp {run.folder.name} "a query"'
    )
    draw_examples(run, split, found)
    export_pictures(finished)


def score_encoded(encoded):
    """The dict of score.json, and what was found in each fold."""
    from grading import encoding

    settings, split = encoded.finished.settings, encoded.split
    graded = split.concepts is not None
    score, found = scores.grade_embeddings(
        encoded.image,
        encoded.text,
        split.caption_image,
        split.concepts,
        split.fits() if split.fits else None,
        folds=FLAGS.folds,
        block_bytes=FLAGS.block_size << 20,
        similarity=settings.similarity,
    )
    facts = {"data": settings.data, "split": FLAGS.split, "model": settings.model}
    facts |= {"loss": settings.loss, "recipe": settings.recipe, **encoded.model.parts.protocol}
    facts = scores.protocol(found, len(encoded.image), graded, settings.similarity, **facts)
    return {"protocol": facts, "hashes": encoding.hash_inputs(encoded), **score}, found


def export_pictures(finished):
    """The network of retrieve.py --image FILE, a convenience that the score does without."""
    try:
        finished.descriptor.export(finished.settings)
    except ValueError as error:
        print(f"note: retrieve.py --image FILE will not work: {error}", file=sys.stderr)


def grade_captions(encoded):
    """What a model that writes writes for the split: captions.json, its scores, and for the pairs.

    Returns:
      (title, N lists of captions) by width of the beam; () where the model does not write.
    """
    if encoded.model.parts.writer is None:
        return ()
    from grading import caption_grades
    from systems.joint import beam

    finished, settings = encoded.finished, encoded.finished.settings
    speaker = beam.Speaker(*encoded.model.parts.writer.compiled)
    of = encoded.images, finished.vocabulary, settings.max_length
    written = caption_grades.write_all(speaker, *of)
    facts = {"data": settings.data, "split": FLAGS.split, "most_words": settings.max_length}
    path = finished.run / "captions.json"
    print(caption_grades.report(path, written, encoded.split, facts))
    return tuple((f"written captions, {title}", lists) for title, lists in written.items())


def ask_pairs(split, settings):
    """`pair_recall.Question` of --pairs or of what the run was trained without; or None."""
    if FLAGS.pairs is None and not settings.heldout and not settings.heldout_file:
        return None
    from grading import pair_recall

    return pair_recall.ask(split, settings, FLAGS.pairs)


def grade_pairs(encoded, question, written=()):
    """Recall of pairs of words, if any are asked for: pairs.json, pairs.md, pairs.png, a table.

    Args:
      question: of `ask_pairs`.
      written: (title, N lists) of captions that the model wrote for the images, as in
        ("written captions, beam 5", [[...], ...]).
    """
    if question is None:
        return
    from grading import pair_recall

    settings, rows = encoded.finished.settings, (encoded.image, encoded.text)
    found = {"ranking recall@5": pair_recall.count_ranked(question, *rows, settings.similarity)}
    found |= {title: pair_recall.count_written(question, lists) for title, lists in written}
    facts = {"data": settings.data, "split": FLAGS.split, "model": settings.model}
    facts |= {"heldout": settings.heldout, "heldout_file": settings.heldout_file}
    folder = encoded.finished.run.folder
    print(pair_recall.report_pairs(folder, question, found, facts, FLAGS.cumulative))
    print("written: pairs.md, pairs.json, pairs.png\n")


def draw_examples(run, split, found):
    """The pages of --examples, if any are wanted."""
    if not FLAGS.examples:
        return
    from answering import examples

    ranks = {direction: result.ranks for direction, result in found[0].items()}
    paths = examples.write_examples(run, ranks, FLAGS.examples, FLAGS.split, split.origin)
    print(f"examples: {', '.join(map(str, paths))}")


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
    elsewhere = FLAGS.verify or FLAGS.embeddings
    if FLAGS.examples and (elsewhere or FLAGS.folds > 1):
        raise ValueError(
            "--examples is for the whole gallery of a run: leave --verify, --embeddings and "
            "--folds out"
        )
    if FLAGS.pairs is not None and elsewhere:
        raise ValueError(
            "--pairs is for a run that is encoded: leave --verify and --embeddings out"
        )
    if FLAGS.embeddings is not None:
        if FLAGS.verify or FLAGS.exp:
            raise ValueError("--embeddings is scored by itself: leave --exp and --verify out")
        score_embeddings(FLAGS.embeddings)
        return
    if FLAGS.similarity is not None:
        raise ValueError("--similarity is for --embeddings: a run is compared as it was trained")
    run = folder.find(FLAGS.exp_root, FLAGS.exp)
    if FLAGS.verify:
        verify(run)
    else:
        lock.claim(run.folder)
        console.when_stopped(lambda: "every file is whole; give the same command again")
        print(f"{run}: {FLAGS.split} split")
        grade_run(run)


if __name__ == "__main__":
    console.run_script(lambda: options.start_script(main, str(__doc__), SECTIONS, sys.argv))
