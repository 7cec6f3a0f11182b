"""What is usual of a run's validation captions, by which answers about other pictures are judged.

    write_fit(encoded, splits, threads, batch_size)     # run/fit.json

`answering/albums/judging.py` reads it. Nothing of it is of the test split.
"""

import sys
from collections import Counter

import numpy as np

from answering.albums import judging
from data import record
from gallery import similarity
from gallery.nearest import top_k
from grading import encoding
from run import files

CAPTIONS = 50_000  # at most, evenly spaced, that are looked at


def write_fit(encoded, splits, threads, batch_size):
    """Writes fit.json: the weights' hash, two thresholds and the words' counts.

    Args:
      encoded: `encoding.Encoded` of the split that was graded, with the model.
      splits: all of the run's data; threads, batch_size: as of `encoding.encode_finished`.
    """
    run = encoded.finished.run
    try:
        found = measure(encoded, splits, threads, batch_size)
    except ValueError as error:
        print(f"note: retrieve.py --pictures will not judge its answers: {error}", file=sys.stderr)
        return
    digest = files.file_hash(run.best_weights)
    files.write_json(run.fit, {"weights": digest, **found})


def measure(encoded, splits, threads, batch_size):
    """What fit.json holds beside the weights' hash.

    Returns:
      {"weak_below": percentile of the validation captions' best scores in the validation gallery,
      "right_pairs": that of their scores with their own images, for comparison, "rare_below":
      percentile of how usual their words are, "words": {word: count in the training captions}}.

    Raises:
      ValueError: the data are not the run's own, or cannot be read.
    """
    done, validation = encoded.finished, splits["validation"]
    known = record.read_record(done.run)["splits"]
    for name in ("train", "validation"):
        now = [splits[name].image_names, splits[name].num_captions]
        if [known[name]["images"], known[name]["captions"]] != now:
            raise ValueError(f"the {name} split is not the one that {done.run} was trained with")
    if encoded.split.name == "validation":
        image, text = encoded.image, encoded.text
    else:
        images = done.descriptor.rows(validation, done.settings)
        image, text = encoding.encode_with(
            encoded.model, images, validation, done.vocabulary, threads, batch_size
        )
    rows = _some(len(text))
    measured = done.settings.similarity
    best = top_k(text[rows], image, 1, similarity=measured)[0][:, 0]
    right = similarity.choose(measured).pairs(text[rows], image[validation.caption_image[rows]])
    train, words = splits["train"].captions, Counter()
    for row in _some(len(train)):
        words.update(judging.words_in(done.vocabulary, train[row]))
    texts = (judging.words_in(done.vocabulary, validation.captions[row]) for row in rows)
    usual = [judging.usualness(own, words) for own in texts if own]
    if not usual:
        raise ValueError("no validation caption has a word")
    return {
        "captions": len(rows),
        "weak_below": float(np.percentile(best, judging.SCORE_BELOW)),
        "right_pairs": float(np.percentile(right, judging.SCORE_BELOW)),
        "rare_below": float(np.percentile(usual, judging.WORDS_BELOW)),
        "words": dict(sorted(words.items())),
    }


def _some(count):
    """At most `CAPTIONS` rows of so many, evenly spaced."""
    return list(range(0, count, -(-count // CAPTIONS)))
