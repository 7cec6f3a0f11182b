"""A query of several parts: sentences and pictures together, and sentences that are taken away.

    asked = ask_mixture(run, gallery, encoder, Mixture("a dog", minus=("a cat",)))

The query is the direction of the mean of the unit rows that are wanted, less `minus_weight` times
the mean of those that are not.

Reference: Mikolov et al., Linguistic regularities in continuous space word representations, NAACL
  2013, whose sums and differences of rows these are.
"""

from typing import NamedTuple

import numpy as np

from answering.search import Asked, QueryEncoder, ask_picture, ask_sentence
from answering.wording import Wording
from gallery.stored import Gallery
from run.folder import Run

SHORTEST = 1e-4  # of the sum: a direction of less is that of rounding


class Mixture(NamedTuple):
    """What is wanted: the sentence, if any, `plus` and pictures `like` these; and `minus`."""

    sentence: str | None = None
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    minus_weight: float = 0.5


def ask_mixture(
    run: Run, gallery: Gallery, encoder: QueryEncoder, mixture: Mixture, fold: bool = True
) -> Asked:
    """Several sentences and pictures as the gallery is asked with them.

    Args:
      mixture: `like` names pictures of the gallery or picture files, as of `search.find_image`.
      fold: as of `read_query`.

    Raises:
      ValueError: the run compares by order similarity; nothing is wanted; a part cannot be asked
        with; or the parts cancel out.
    """
    if gallery.similarity != "cosine":
        raise ValueError(
            f"{run} compares by {gallery.similarity} similarity, by which means and differences "
            "of rows mean nothing: ask with one sentence, without --plus, --minus and --like"
        )
    texts = [*([] if mixture.sentence is None else [mixture.sentence]), *mixture.plus]
    wanted = [ask_sentence(encoder, text, fold) for text in texts]
    unwanted = [ask_sentence(encoder, text, fold) for text in mixture.minus]
    pictures = [ask_picture(run, gallery, given, flag="--like") for given in mixture.like]
    if not wanted and not pictures:
        raise ValueError("--minus takes away from what is wanted: give a sentence or --like, too")
    vector = np.concatenate([one.vector for one in wanted + pictures]).mean(axis=0)
    if unwanted:
        away = np.concatenate([one.vector for one in unwanted]).mean(axis=0)
        vector = vector - np.float32(mixture.minus_weight) * away
    length = np.linalg.norm(vector)
    if length < SHORTEST:
        raise ValueError(
            "the parts of the query cancel out, nothing is left to look for: ask with other "
            f"parts, or another --minus_weight than {mixture.minus_weight:g}"
        )
    name = " + ".join([*texts, *(f"like {one.name}" for one in pictures)])
    name += "".join(f" - {text}" for text in mixture.minus)
    parts = [one.wording for one in wanted + unwanted]
    told = {part: list(getattr(mixture, part)) for part in ("plus", "minus", "like")}
    return Asked(
        name,
        (vector / length).astype(np.float32)[None],
        is_text=True,
        wording=join_wordings(parts),
        wanted=() if pictures else [one.wording.text for one in wanted],
        unwanted=[one.wording.text for one in unwanted],
        more={"sentence": mixture.sentence, **told, "minus_weight": mixture.minus_weight},
    )


def join_wordings(parts: list[Wording]) -> Wording:
    """The wordings of several sentences as one, what is told of them each once."""
    folded = {word: known for part in parts for word, known in part.folded.items()}
    unknown = dict.fromkeys(word for part in parts for word in part.unknown)
    remarks = dict.fromkeys(line for part in parts for line in part.remarks)
    return Wording(" ".join(part.text for part in parts), folded, list(unknown), list(remarks))
