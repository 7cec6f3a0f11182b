"""Settings of system 3 that contradict each other."""

from typing import Any


def check_dual_path(settings: Any) -> None:
    """Refuses settings that mean nothing together. Raises ValueError."""
    shifts = settings.test_shifts
    if shifts != "all" and not (shifts.isdecimal() and 1 <= int(shifts) <= 32):
        raise ValueError(f"--test_shifts {shifts}: expected all, or a number from 1 to 32")
    if settings.dictionary == "word_vectors" and not settings.word_vectors:
        raise ValueError("--dictionary word_vectors: which? Give --word_vectors FILE")
    if settings.similarity == "order":
        raise ValueError("--similarity order is not for dual_path: it compares cosines")
    if settings.beta:
        raise ValueError("--beta is not for dual_path: --lambdas weigh its losses")
    if settings.hard_texts and settings.loss != "paired_hinge":
        raise ValueError(
            f"--hard_texts {settings.hard_texts} makes the texts of a batch's second half "
            f"negatives, which --loss {settings.loss} takes for pairs: choose paired_hinge"
        )
    if settings.views_weight and settings.hard_texts:
        raise ValueError("--views_weight and --hard_texts: exchanged texts have no second view")
    if settings.micro_batch and settings.hard_texts:
        raise ValueError(
            f"--micro_batch {settings.micro_batch}: --hard_texts are chosen by the whole batch's "
            "pictures"
        )
    if settings.classes == "phrases":
        for name in ("num_classes", "hard_texts"):
            if value := getattr(settings, name):
                raise ValueError(f"--{name} {value} is for --classes images, not phrases")
