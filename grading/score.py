"""The number a grader trusts: metrics of a whole gallery as `score.json`, as tables, and verified.

    score, found = grade_embeddings(image, text, caption_image)
    print(score_table(score))

Imports no TensorFlow: embeddings from anywhere can be scored.

Shape letters: N images, M captions, D embedding, K concepts.
"""

import csv
import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import metrics
from data.formats.identity import first_rows
from gallery import scan
from gallery.similarity import choose, of_arrays
from grading import chance as grading_chance
from grading import intervals
from run import files

logger = logging.getLogger(__name__)

NAMES = {direction: direction.replace("_", " ") for direction in scan.DIRECTIONS}
RESAMPLES = 1000


def grade_embeddings(image, text, caption_image, concepts=None, fits=None, folds=1, **scoring):
    """Scores both directions over the whole gallery, with intervals, chance and oracle.

    Args:
      image: (N, D), text: (M, D) unit rows; caption_image: (M,) row of each caption's image.
      concepts: (N, K) or None: graded relevance for map@10 and ndcg@10.
      fits: (M, N) bool or None: which captions are true of which images, for the oracle.
      folds: average over so many disjoint galleries of consecutive images.
      scoring: `block_bytes` and `similarity`, as of `metrics.evaluate`.

    Returns:
      (score, found): the dict of `score.json` without `protocol` and `hashes`; and what
      `metrics.evaluate` found in each fold.

    Raises:
      ValueError: embeddings that cannot be scored.
    """
    caption_image = np.asarray(caption_image)
    found, chance, oracle = [], [], []
    for part in intervals.fold_slices(len(image), folds):
        rows = np.flatnonzero((caption_image >= part.start) & (caption_image < part.stop))
        whole = folds == 1
        owner = caption_image if whole else caption_image[rows] - part.start
        texts = text if whole else text[rows]
        own_concepts = None if concepts is None else concepts[part]
        found.append(metrics.evaluate(image[part], texts, owner, own_concepts, **scoring))
        chance.append(grading_chance.chance(part.stop - part.start, owner, own_concepts))
        if fits is not None:
            own_fits = fits if whole else fits[np.ix_(rows, np.arange(part.start, part.stop))]
            oracle.append(grading_chance.oracle(own_fits, owner, own_concepts))
    score = _report(found)
    for name, expected in (("chance", chance), ("oracle", oracle)):
        if expected:
            values = intervals.with_intervals(expected, RESAMPLES)
            score[name] = _ordered(values["text_to_image"])
            score[f"{name}_image_to_text"] = _ordered(values["image_to_text"])
            score[f"{name}_rsum"] = values["rsum"]
    return score, found


def grade_file(path: str, asked: Any) -> dict[str, Any]:
    """Scores embeddings of another model: the dict of `score.json`.

    Args:
      path: an `.npz`, see `read_embeddings`.
      asked: the flags of `settings.grading`.
    """
    arrays = merge_equal_rows(read_embeddings(path, asked.normalize), path, asked.merge_equal)
    chosen = asked.similarity or of_arrays(arrays, path)
    for line in note_norms(arrays, chosen):
        print(f"note: {line}; --normalize makes them so", file=sys.stderr)
    image, concepts = arrays["image"], arrays.get("concepts")
    score, found = grade_embeddings(
        image,
        arrays["text"],
        arrays["caption_image"],
        concepts,
        folds=asked.folds,
        block_bytes=asked.block_size << 20,
        similarity=chosen,
    )
    graded = concepts is not None
    facts = protocol(found, len(image), graded, chosen, normalized=asked.normalize)
    return {"protocol": facts, "hashes": {"embeddings": files.file_hash(path)}, **score}


def _report(found) -> dict[str, Any]:
    values = intervals.with_intervals(found, RESAMPLES)
    return {
        "rsum": values["rsum"],
        **{direction: _ordered(values[direction]) for direction in scan.DIRECTIONS},
    }


def _ordered(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in metrics.METRICS}


def facts_of(settings: Any, split: str) -> dict[str, Any]:
    """What a run's settings say in the protocol of its score."""
    facts = {"data": settings.data, "split": split, "model": settings.model}
    return facts | {"loss": settings.loss, "recipe": settings.recipe}


def protocol(
    found: Sequence[dict], num_images: int, graded: bool, similarity: str = "cosine", **facts
) -> dict[str, Any]:
    """What a reader must know to compare the figures: `facts` first, then how they were counted."""
    told = choose(similarity).told
    sizes = {direction: found[0][direction].gallery_size for direction in scan.DIRECTIONS}
    queries = {
        direction: sum(len(fold[direction].ranks) for fold in found)
        for direction in scan.DIRECTIONS
    }
    return {
        **facts,
        "images": num_images,
        "queries": queries,
        "gallery": sizes,
        "folds": len(found),
        "similarity": similarity,
        "ranks": f"from 1, over the whole gallery, by {told}",
        "ties": "against the model",
        "recall_unit": "percent",
        "relevance": "cosine of concepts, own image 1" if graded else "own image 1, others 0",
        "map_relevant_above": scan.RELEVANT,
        "interval": f"95 % percentile bootstrap over images, {RESAMPLES} resamples, seed 0",
    }


def read_embeddings(path: str | Path, normalize: bool = False) -> dict[str, np.ndarray]:
    """Foreign embeddings from an `.npz` with `image`, `text`, `caption_image`, maybe `concepts`.

    It may also say which `similarity` they are made for: see `similarity.of_arrays`.

    Args:
      path: the file.
      normalize: divide the rows by their L2 norms, so that dot products are cosines.

    Raises:
      ValueError: keys are missing, or a row to normalise is all zeros.
    """
    arrays = files.open_arrays(path)
    files.check_archive(path)
    missing = [name for name in ("image", "text", "caption_image") if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: expected image (N, D), text (M, D) and "
            f"caption_image (M,); it holds {', '.join(arrays) or 'nothing'}"
        )
    for side in ("image", "text"):
        if arrays[side].ndim != 2:
            raise ValueError(f"{path}: {side} has shape {arrays[side].shape}, expected two axes")
        if normalize:
            norms = np.linalg.norm(arrays[side].astype(np.float64), axis=1, keepdims=True)
            if not norms.all():
                raise ValueError(f"{path}: {side} row {int(np.argmin(norms))} is all zeros")
            arrays[side] = arrays[side] / norms
    arrays["caption_image"] = _owners(arrays["caption_image"], len(arrays["image"]), path)
    return arrays


def note_norms(arrays: dict[str, np.ndarray], similarity: str) -> list[str]:
    """Lines that say which rows are not of norm 1, so that their scores are no cosines."""
    scores = "cosines" if similarity == "cosine" else f"{similarity} similarities of unit rows"
    found = []
    for side in ("image", "text"):
        norms = np.linalg.norm(arrays[side].astype(np.float64), axis=1)
        if len(norms) and abs(norms - 1).max() > 1e-3:
            span = f"{norms.min():.3g} to {norms.max():.3g}"
            found.append(f"{side} rows have norms from {span}, so scores are no {scores}")
    return found


def _owners(given: np.ndarray, num_images: int, path: str | Path) -> np.ndarray:
    """(M,) int64 of what a file says that each caption's image is.

    Raises:
      ValueError: it is no row of an image, or a type too small may have made it another one.
    """
    if given.dtype.kind == "f" and np.array_equal(given, np.floor(given)):
        given = given.astype(np.int64)
    if given.dtype.kind in "iu" and num_images - 1 > np.iinfo(given.dtype).max:
        raise ValueError(
            f"{path}: caption_image is {given.dtype}, which counts to {np.iinfo(given.dtype).max}, "
            f"for {num_images} images: its numbers have wrapped around; save it as int64"
        )
    try:
        return scan.check_owner(given, num_images)
    except ValueError as error:
        from_one = given.ndim == 1 and given.min(initial=1) == 1 and given.max() == num_images
        hint = "; it seems to count from 1: subtract 1" if from_one else ""
        raise ValueError(f"{path}: {error}{hint}") from None


def merge_equal_rows(
    arrays: dict[str, np.ndarray], path: str | Path, merge: bool | None
) -> dict[str, np.ndarray]:
    """Embeddings with equal image rows made one, since equal rows tie whatever the model does.

    Args:
      arrays: of `read_embeddings`; path: of the file, for messages.
      merge: False leaves them and only says so; None, too, unless there is a row for each caption.

    Raises:
      ValueError: merge is None and the image rows are repeated for their captions; or equal rows
        have different concepts.
    """
    first = first_rows(arrays["image"])
    kept, owner = np.unique(first), arrays["caption_image"]
    extra = len(first) - len(kept)
    without = len(first) - len(np.unique(owner))
    if without:
        logger.warning("%s: %d of %d images have no caption", path, without, len(first))
    if not extra:
        return arrays
    one_each = len(owner) == len(first) and not without
    if merge is None and one_each and 1 < len(kept) <= len(first) / 2:
        raise ValueError(
            f"{path}: its {len(first)} image rows are {len(kept)} different ones, as if there were "
            "one for each caption: --merge_equal makes each one image, --nomerge_equal grades them "
            "as they are"
        )
    told = f"{path}: {extra} of {len(first)} image rows are equal to an earlier one"
    if not merge:
        logger.warning("%s, so they tie; --merge_equal makes each one image", told)
        return arrays
    logger.warning("%s: merged, %d images are left", told, len(kept))
    concepts = arrays.get("concepts")
    if concepts is not None and not np.array_equal(concepts[first], concepts):
        raise ValueError(f"{told}, but has other concepts: merge them yourself")
    merged = {**arrays, "image": np.asarray(arrays["image"])[kept]}
    if concepts is not None:
        merged["concepts"] = concepts[kept]
    merged["caption_image"] = np.searchsorted(kept, first[owner])
    return merged


def score_table(score: dict[str, Any]) -> str:
    """The score as text: a block for each direction, each metric with interval, chance, oracle."""
    lines = []
    facts = score["protocol"]
    for direction, title in NAMES.items():
        suffix = "" if direction == "text_to_image" else "_image_to_text"
        chance, oracle = score[f"chance{suffix}"], score.get(f"oracle{suffix}")
        queries, gallery = facts["queries"][direction], facts["gallery"][direction]
        notes = f", mean of {facts['folds']} galleries" if facts["folds"] > 1 else ""
        if (similarity := facts.get("similarity", "cosine")) != "cosine":
            notes += f", {similarity} similarity"
        lines.append(f"{title}: {queries:,} queries, gallery of {gallery:,}{notes}")
        head = f"  {'':12}{'value':>10}{'95 % interval':>20}{'chance':>11}"
        lines.append(head + (f"{'oracle':>11}" if oracle else ""))
        for name, value in score[direction].items():
            low, high = _number(name, value["low"]), _number(name, value["high"])
            line = f"  {name:12}{_number(name, value['value']):>10}{f'{low} to {high}':>20}"
            line += f"{_number(name, chance[name]['value']):>11}"
            if oracle:
                line += f"{_number(name, oracle[name]['value']):>11}"
            lines.append(line)
    total, floor = score["rsum"], score["chance_rsum"]["value"]
    line = (
        f"rsum {total['value']:.1f} ({total['low']:.1f} to {total['high']:.1f}); chance {floor:.1f}"
    )
    if "oracle_rsum" in score:
        line += f"; oracle {score['oracle_rsum']['value']:.1f}"
    lines.append(line)
    if "oracle_rsum" in score and "map@10" in score["text_to_image"]:
        lines.append(
            "the oracle knows which images fit a caption, not which are alike: no bound for map@10 "
            "and ndcg@10"
        )
    return "\n".join(lines)


def _number(metric: str, value: float) -> str:
    """Recalls and ranks with one decimal, shares of 1 with four."""
    return f"{value:.1f}" if "recall" in metric or "rank" in metric else f"{value:.4f}"


def write_ranks(folder: Path, found: Sequence[dict], captions, names) -> None:
    """One CSV per direction: every query with the rank of its right answer.

    Args:
      folder: where `ranks_text_to_image.csv` and `ranks_image_to_text.csv` go.
      found: the folds, in order.
      captions: M texts; names: N image names.
    """
    for direction in scan.DIRECTIONS:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        is_text = direction == "text_to_image"
        writer.writerow(["image", "rank", *(["caption"] if is_text else [])])
        first_image = first_caption = 0
        for fold in found:
            result = fold[direction]
            for query, (image, rank) in enumerate(
                zip(result.query_image, result.ranks, strict=True)
            ):
                extra = [captions[first_caption + query]] if is_text else []
                writer.writerow([names[first_image + image], rank, *extra])
            first_caption += fold["text_to_image"].ranks.size
            first_image += fold["text_to_image"].gallery_size
        files.write_text(folder / f"ranks_{direction}.csv", text.getvalue())
