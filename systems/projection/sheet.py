"""System 1: two projection MLPs; the text is a bag of words, or the mean of its words' vectors."""

from dataclasses import dataclass

from settings.options import option
from settings.training import Settings
from systems.system import VECTORS, System


@dataclass(frozen=True)
class ProjectionSettings(Settings):
    """Settings of system 1 alone."""

    title = "System 1 (projection)"
    bag_scale: str = option(
        "count",
        "Bag of words: sum of words' rows (the paper), mean, or sum over the root of their number.",
        choices=("count", "mean", "sqrt"),
    )
    word_means: bool = option(
        False,
        "Text is the mean of its words' --word_vectors, which are not trained; no bag of words.",
        roles="shape",
    )


SYSTEM = System(
    settings=ProjectionSettings,
    build="systems.projection.towers:build",
    tokeniser=lambda settings: "bag",
    features=VECTORS,
    of_photographs="regions",
    of_scenes="regions",
    reads_words=("word_dim", "word_vectors"),
    check="systems.projection.checks:check_projection",
)
