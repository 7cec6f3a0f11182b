"""Whether a run's score.json is what its files give: every figure, hash and fact in it.

    verify_run(run)

Imports no TensorFlow.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from data import datasets, record
from gallery.similarity import of_arrays
from grading import encoding
from grading import score as scores
from run import files
from run.folder import Run

AGAIN = "run python test.py first"
OF_MODEL = ("protocol shifts",)  # what the network itself says of its reading; the config is hashed


def verify_run(run: Run, data_dir: str | None = None) -> None:
    """Says that score.json is what the run's files give. Raises ValueError: it is not."""
    check_files(run, data_dir)
    print(
        f"{run.score} agrees with the run's files in every figure, hash and fact: they fit each "
        f"other. That the weights encode the data so, python compare.py --verify {run} says"
    )


def check_files(run: Run, data_dir: str | None = None) -> None:
    """Refuses a score.json that is not what the run's files give.

    Raises:
      ValueError: it is not; up to ten differences are printed.
    """
    written = read_score(run)
    differences = list(differing(written, recompute(run, written, data_dir)))
    for line in differences[:10]:
        print(line)
    if differences:
        raise ValueError(
            f"{run.score} disagrees with the run's files in {len(differences)} places: grade the "
            "run anew with python test.py"
        )


def read_score(run: Run) -> dict[str, Any]:
    """A run's score.json. Raises ValueError: it is missing, damaged or none."""
    written = files.read_json(run.require(run.score, AGAIN), dict)
    for part in ("protocol", "hashes"):
        files.typed(written, part, dict, run.score)
    return written


def recompute(run: Run, written: Mapping[str, Any], data_dir: str | None = None) -> dict[str, Any]:
    """The score.json that projections, weights, settings and data give, without encoding anew.

    Args:
      written: of `read_score`, of which only the split, folds and shifts are believed.
      data_dir: where the data lie, of which the oracle is made, if they have moved.

    Raises:
      ValueError: a file is missing or damaged; or the data of the oracle cannot be read.
    """
    run.check_all()
    told = written["protocol"]
    arrays = scores.read_embeddings(run.require(run.projections, AGAIN))
    finished = encoding.open_finished(run)
    if isinstance(told.get("shifts"), str):
        finished = encoding.with_settings(finished, test_shifts=told["shifts"])
    settings, split = finished.settings, told.get("split")
    known = record.read_record(run)["splits"].get(str(split))
    if known is None or type(told.get("folds")) is not int:
        raise ValueError(f"{run.score} is no score of a run: it names no split or no folds")
    fits = None
    if any(name.startswith("oracle") for name in written) or settings.data == "scenes":
        own = datasets.open_run_data(settings, data_dir)[str(split)]
        record.check_split(run, own)
        fits = own.fits() if own.fits else None
    concepts, image = arrays.get("concepts"), arrays["image"]
    similarity = of_arrays(arrays, run.projections)
    score, found = scores.grade_embeddings(
        image, arrays["text"], arrays["caption_image"], concepts, fits,
        folds=told["folds"], similarity=similarity,
    )  # fmt: skip
    facts = scores.facts_of(settings, str(split))
    facts = scores.protocol(found, len(image), concepts is not None, similarity, **facts)
    hashes = encoding.hash_files(finished, known["sha256"])
    return {"protocol": facts, "hashes": hashes, **score}


def differing(written: Any, again: Any, name: str = "") -> Iterator[str]:
    """Lines that name what two scores do not agree in."""
    if isinstance(written, Mapping) and isinstance(again, Mapping):
        for key in dict.fromkeys([*written, *again]):
            inner = f"{name} {key}".strip()
            if inner not in OF_MODEL:
                yield from differing(written.get(key), again.get(key), inner)
    elif written != again or type(written) is not type(again):
        yield f"{name}: score.json has {written}, recomputed {again}"
