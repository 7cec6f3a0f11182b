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

import os
import sys
from pathlib import Path

import numpy as np
from absl import app, flags

from gallery import similarity
from grading import export
from grading import score as grading_score
from run import console, files, folder, options, recipes

FLAGS = flags.FLAGS
options.define_experiment_flags()
flags.DEFINE_enum("split", "test", ("train", "validation", "test"), "Split to encode and score.")
flags.DEFINE_string("data_dir", None, "Folder of the data, where it has moved since training.")
flags.DEFINE_integer("folds", 1, "Average over so many disjoint galleries.", lower_bound=1)
flags.DEFINE_integer(
    "block_size", 16, "Megabytes of scores at a time: speed and memory only.", lower_bound=1
)
flags.DEFINE_integer(
    "threads", 0, "Chunks encoded at the same time; 0: as many as cores. Speed only.", lower_bound=0
)
flags.DEFINE_integer(
    "batch_size", 0, "Rows in work at a time, where --threads is 0. Speed only.", lower_bound=0
)
flags.DEFINE_integer(
    "examples",
    0,
    "Also draw so many examples of each direction, half of them good and half bad, and list them: "
    "examples_*.png, examples.md.",
    lower_bound=0,
    upper_bound=50,
)
flags.DEFINE_bool("verify", False, "Recompute the metrics from projections.npz and compare.")
flags.DEFINE_string("embeddings", None, "Score this .npz: image, text, caption_image.")
flags.DEFINE_bool("normalize", False, "Divide the rows of --embeddings by their norms first.")
flags.DEFINE_bool(
    "merge_equal", None, "Make equal image rows of --embeddings one image; default: only say so."
)
flags.DEFINE_enum(
    "similarity",
    None,
    tuple(similarity.SIMILARITIES),
    "How --embeddings are compared; default: as the file says, else cosine. A run knows its own.",
)
flags.DEFINE_string(
    "test_shifts",
    None,
    "dual_path: over how many shifts of a caption to add up, all or a number; default: as the run.",
)
flags.DEFINE_string(
    "pairs",
    None,
    "Also how often pairs such as brown_dog,sit_cat are found; default: those held out of training "
    "(paper: the nine of the document).",
)
flags.DEFINE_bool("cumulative", False, "--pairs: tables of n or more captions, not of exactly n.")
flags.DEFINE_string("output", None, "Also write the score to this file.")
flags.adopt_module_key_flags(options)


def score_embeddings(path):
    """Scores embeddings from elsewhere: a table, and --output."""
    arrays = grading_score.read_embeddings(path, FLAGS.normalize)
    arrays = grading_score.merge_equal_rows(arrays, path, FLAGS.merge_equal)
    chosen = FLAGS.similarity or similarity.of_arrays(arrays, path)
    scores = "cosines" if chosen == "cosine" else f"{chosen} similarities of unit rows"
    for side in ("image", "text"):
        norms = np.linalg.norm(arrays[side].astype(np.float64), axis=1)
        if len(norms) and abs(norms - 1).max() > 1e-3:
            print(
                f"note: {side} rows have norms from {norms.min():.3g} to {norms.max():.3g}, so "
                f"scores are no {scores}; --normalize makes them so",
                file=sys.stderr,
            )
    concepts = arrays.get("concepts")
    score, found = grading_score.grade(
        arrays["image"],
        arrays["text"],
        arrays["caption_image"],
        concepts,
        folds=FLAGS.folds,
        block_bytes=FLAGS.block_size << 20,
        similarity=chosen,
    )
    facts = grading_score.protocol(
        found, len(arrays["image"]), concepts is not None, chosen, normalized=FLAGS.normalize
    )
    finish({"protocol": facts, "hashes": {"embeddings": files.file_hash(path)}, **score})


def verify(run):
    """Says whether score.json is what the saved projections give."""
    differences = grading_score.verify(run)
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


def load_run(run):
    """What a finished run consists of.

    Returns:
      (settings, vocabulary, descriptor or None).

    Raises:
      ValueError: the run is half-written.
    """
    from data.language.words import Vocabulary
    from data.vision import descriptors

    why = f"training has not ended an epoch; anew: python train.py --exp {run.folder.name}"
    run.require(run.best_weights, why)
    settings = recipes.load_settings(run.config)
    vocabulary = Vocabulary.load(run.require(run.vocabulary, "it was lost; train anew"))
    if settings.described:
        run.require(run.features, "the dictionary of its picture descriptor is lost; train anew")
    return settings, vocabulary, descriptors.load(run.features)


def load_model(run, settings, vocabulary):
    """The run's model with its best weights.

    Raises:
      ValueError: the weights are of another model or cut off.
    """
    import models

    model = models.build_model(settings, models.sizes(settings, vocabulary))
    try:
        model.load_weights(run.best_weights)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{run.best_weights} is damaged, or of another model than {run.config.name} describes "
            f"({str(error).splitlines()[0]}): train anew"
        ) from None
    return model


def save_projections(run, split, image, text, chosen):
    """projections.npz: what `retrieve.py` searches and `--verify` recomputes from."""
    from data import datasets

    arrays = {"image": image, "text": text, "caption_image": split.caption_image}
    if split.concepts is not None:
        arrays["concepts"] = split.concepts
    strings = {
        "image_names": split.image_names,
        "captions": split.captions,
        "pictures": datasets.picture_references(split),
    }
    for name, values in strings.items():
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = files.pack_strings(values)
    arrays["similarity"] = similarity.to_array(chosen)
    files.write_arrays(run.projections, arrays)


def hash_inputs(run, settings, split, descriptor):
    """SHA-256 of all that a score depends on."""
    from data import datasets

    hashes = {
        "data": datasets.fingerprint(split),
        "weights": files.file_hash(run.best_weights),
        "config": recipes.fingerprint(settings),
    }
    return hashes if descriptor is None else {**hashes, "pictures": descriptor.fingerprint()}


def grade_run(run):
    """Encodes the split, scores it, and leaves everything in the run's folder."""
    from data import datasets
    from data.language.words import Tokens, say_wordless
    from data.vision import descriptors
    from grading import intervals
    from run import figures

    settings, vocabulary, descriptor = load_run(run)
    if FLAGS.test_shifts is not None:
        settings.test_shifts = FLAGS.test_shifts
        recipes.check(vars(settings))
    split = datasets.open_run_data(settings, FLAGS.data_dir)[FLAGS.split]
    intervals.fold_slices(split.num_images, FLAGS.folds)  # refused now, not after the encoding
    question = ask_pairs(split, settings)
    vectors = descriptors.open_images(split, descriptor, settings)
    if descriptors.size_of(vectors) != settings.feature_dim:
        raise ValueError(
            f"the image vectors have {descriptors.size_of(vectors)} numbers, the run was "
            f"trained on {settings.feature_dim}: is --data_dir right?"
        )
    from run import replicas

    replicas.set_devices(threads=1, cpu_only=True)
    from systems.engine import dual_encoder

    model = load_model(run, settings, vocabulary)
    model.for_test(settings)
    chunk = model.chunks["text"]
    cores = FLAGS.threads or -(-FLAGS.batch_size // chunk) or os.cpu_count() or 1
    tokens = Tokens(split.captions, vocabulary)
    say_wordless(FLAGS.split, tokens, vocabulary)
    image, text = dual_encoder.encode(model, vectors, tokens, cores)
    score, found = grading_score.grade(
        image,
        text,
        split.caption_image,
        split.concepts,
        split.fits() if split.fits else None,
        folds=FLAGS.folds,
        block_bytes=FLAGS.block_size << 20,
        similarity=settings.similarity,
    )
    facts = grading_score.protocol(
        found,
        len(image),
        split.concepts is not None,
        settings.similarity,
        data=settings.data,
        split=FLAGS.split,
        model=settings.model,
        loss=settings.loss,
        recipe=settings.recipe,
        **({"shifts": settings.test_shifts} if settings.model == "dual_path" else {}),
    )
    hashes = hash_inputs(run, settings, split, descriptor)
    save_projections(run, split, image, text, settings.similarity)
    export.export(run, model, settings)
    grading_score.write_ranks(run.folder, found, split.captions, split.image_names)
    score = {"protocol": facts, "hashes": hashes, **score}
    figures.recall_curves(found, score, run / "score.png")
    files.write_json(run.score, score)
    finish(score)
    written = grade_captions(run, model, settings, vocabulary, split, vectors)
    grade_pairs(run, question, settings, image, text, written)
    print(
        f"written: {run.score}, score.png, ranks_*.csv, projections.npz; next: "
        f'python retrieve.py --exp {run.folder.name} "a query"'
    )
    draw_examples(run, split, found)
    export_pictures(descriptor, settings)


def export_pictures(descriptor, settings):
    """The network of retrieve.py --image FILE, a convenience that the score does without."""
    from data.vision import descriptors

    try:
        descriptors.export(descriptor, settings.cache_dir)
    except ValueError as error:
        print(f"note: retrieve.py --image FILE will not work: {error}", file=sys.stderr)


def grade_captions(run, model, settings, vocabulary, split, vectors):
    """What a model that writes writes for the split: captions.json, its scores, and for the pairs.

    Returns:
      (title, N lists of captions) by width of the beam; () where the model does not write.
    """
    if not export.writes(model, settings):
        return ()
    from grading import caption_grades
    from systems.joint import beam

    speaker = beam.Speaker(*model.speaking.steps)
    written = caption_grades.write_all(speaker, vectors, vocabulary, settings.max_length)
    facts = {"data": settings.data, "split": FLAGS.split, "most_words": settings.max_length}
    print(caption_grades.report(run / "captions.json", written, split, facts))
    return tuple((f"written captions, {title}", lists) for title, lists in written.items())


def ask_pairs(split, settings):
    """`pair_recall.Question` of --pairs or of what the run was trained without; or None."""
    from data.pairs import heldout
    from grading import pair_recall

    if FLAGS.pairs is None and not heldout.is_asked(settings):
        return None
    return pair_recall.ask(split, settings, FLAGS.pairs)


def grade_pairs(run, question, settings, image, text, written=()):
    """Recall of pairs of words, if any are asked for: pairs.json, pairs.md, pairs.png, a table.

    Args:
      question: of `ask_pairs`; image: (N, D), text: (M, D) of its split.
      written: (title, N lists) of captions that the model wrote for the images, as in
        ("written captions, beam 5", [[...], ...]).
    """
    from grading import pair_recall

    if question is None:
        return
    found = {"ranking recall@5": pair_recall.rank(question, image, text, settings.similarity)}
    found |= {title: pair_recall.write(question, lists) for title, lists in written}
    facts = {"data": settings.data, "split": FLAGS.split, "model": settings.model}
    facts |= {"heldout": settings.heldout, "heldout_file": settings.heldout_file}
    print(pair_recall.report(run.folder, question, found, facts, FLAGS.cumulative))
    print("written: pairs.md, pairs.json, pairs.png\n")


def draw_examples(run, split, found):
    """The pages of --examples, if any are wanted."""
    if not FLAGS.examples:
        return
    from answering import examples

    ranks = {direction: result.ranks for direction, result in found[0].items()}
    paths = examples.write(run, ranks, FLAGS.examples, FLAGS.split, split.origin)
    print(f"examples: {', '.join(map(str, paths))}")


def finish(score):
    """Prints the table and writes --output."""
    print(grading_score.table(score))
    if FLAGS.output:
        files.write_json(Path(FLAGS.output), score)


def main(argv):
    """Grades a run, verifies one, or scores embeddings from elsewhere."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name value")
    if FLAGS.examples and (FLAGS.verify or FLAGS.embeddings or FLAGS.folds > 1):
        raise ValueError(
            "--examples is for the whole gallery of a run: leave --verify, --embeddings and "
            "--folds out"
        )
    if FLAGS.pairs is not None and (FLAGS.verify or FLAGS.embeddings):
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
        print(f"{run}: {FLAGS.split} split")
        grade_run(run)


if __name__ == "__main__":
    console.run_script(lambda: app.run(main, sys.argv))
