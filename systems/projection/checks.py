"""Settings of system 1 that contradict each other."""

from typing import Any


def check_projection(settings: Any) -> None:
    """Refuses word vectors that nothing reads, and their means without them. Raises ValueError."""
    if settings.word_means and not (settings.word_vectors or settings.init_from):
        raise ValueError("--word_means: means of which vectors? Give --word_vectors FILE")
    if settings.word_vectors and not settings.word_means:
        raise ValueError("--word_vectors: --model projection reads them with --word_means")
    if settings.word_means and settings.bag_scale != "count":
        raise ValueError("--bag_scale is for a bag of words: leave it or --word_means out")
