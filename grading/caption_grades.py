"""The captions that a run writes for a split, graded: BLEU-4 and CIDEr-D, and for word pairs.

    written = write_all(speaker, images, vocabulary, most)      # {"beam 1": N lists, "beam 5": ...}
    scores = grade(written, split)                              # {"beam 1": {"bleu4": ..., ...}}

Shape letters: N images, R boxes, F feature.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.language.words import Vocabulary
from data.scenes import world
from grading import caption_metrics
from run import files
from systems.joint import beam

GRAMMAR = "one more of the grammar"  # title of what is there to compare with
WIDTHS = (1, 5)  # of the beam, as in the paper


def write_all(speaker: Any, images: Any, vocabulary: Any, most: int) -> dict[str, list[list[str]]]:
    """The captions of each image by a beam of 1 and one of 5, the best first.

    Args:
        speaker: of `captioning`; images: (N, R, F) boxes.
        vocabulary: of the run; most: words of a caption.
    """
    return {
        f"beam {width}": [
            [caption.text for caption in own]
            for own in beam.write_beam(speaker, images, vocabulary, width, most)
        ]
        for width in WIDTHS
    }


def grade(written: Mapping[str, list[list[str]]], split: Any) -> dict[str, dict[str, float]]:
    """BLEU-4 (0 to 1) and CIDEr-D (0 to 10) of each image's best caption, by the split's own.

    On scenes also "true", the share of them that are sentences of the grammar and true of their
    picture; and `GRAMMAR`: the same of one more caption that the grammar writes for each picture.

    Args:
        written: of `write_all`; split: a `datasets.Split`.
    """
    known = _references(split, len(split.image_names))
    best = {title: [own[0] if own else "" for own in lists] for title, lists in written.items()}
    drawn = _scenes(split)
    if drawn:
        rng = random.Random(0)
        best[GRAMMAR] = [world.write_sentences(scene, rng)[0].text for scene in drawn]
    scores = {}
    for title, captions in best.items():
        scores[title] = {
            "bleu4": caption_metrics.bleu4(captions, known),
            "cider": caption_metrics.cider(captions, known),
        }
        if drawn:
            true = map(world.is_true, captions, drawn)
            scores[title]["true"] = sum(true) / len(drawn)
    return scores


def grade_written(encoded: Any, place: Any) -> dict[str, list[list[str]]]:
    """What a model that writes writes for the split: captions.json, and a line of scores.

    Args:
      encoded: of `encoding.encode_finished`; place: the folder that is written to, a `Run`.

    Returns:
      {title: N lists of captions} by width of the beam.
    """
    finished, settings = encoded.finished, encoded.finished.settings
    speaker = beam.Speaker(*encoded.model.parts.writer.compiled)
    written = write_all(speaker, encoded.images, finished.vocabulary, settings.max_length)
    facts = {"data": settings.data, "split": encoded.split.name, "most_words": settings.max_length}
    print(report(place / "captions.json", written, encoded.split, facts))
    return {f"written captions, {title}": lists for title, lists in written.items()}


def _references(split: Any, count: int) -> list[list[str]]:
    """The captions of each of `count` images."""
    known: list[list[str]] = [[] for _ in range(count)]
    for caption, image in zip(split.captions, split.caption_image, strict=True):
        known[image].append(caption)
    return known


def _scenes(split: Any) -> list[world.Scene]:
    """The scene of each image of a split that the program has drawn; else none."""
    if not split.origin.startswith("scenes:"):
        return []
    seed = int(split.origin.split(":")[1])
    numbers = (int(name.rsplit("-", 1)[1]) for name in split.image_names)
    return [world.make_scene(split.name, number, seed) for number in numbers]


def report(path: Path, written: Mapping[str, list[list[str]]], split: Any, facts: Mapping) -> str:
    """Writes `captions.json`: scores and captions by image; returns the scores as lines."""
    scores = grade(written, split)
    captions = {
        name: {title: lists[row] for title, lists in written.items()}
        for row, name in enumerate(split.image_names)
    }
    files.write_json(path, {"protocol": dict(facts), "scores": scores, "captions": captions})
    return "\n".join(
        f"written captions, {title}: BLEU-4 {own['bleu4']:.3f}, CIDEr-D {own['cider']:.3f}"
        + (f", true of the picture {own['true']:.1%}" if "true" in own else "")
        for title, own in scores.items()
    )


def score_captions(
    speaker: Any, images: Any, split: Any, vocabulary: Vocabulary, most: int
) -> dict:
    """{"bleu4": corpus BLEU-4 of greedy captions}, for validation.

    Args:
      images: (N, R, F) boxes; split: with captions and caption_image.
    """
    written = [own[0].text for own in beam.write_beam(speaker, images, vocabulary, 1, most)]
    return {"bleu4": caption_metrics.bleu4(written, _references(split, len(written)))}
