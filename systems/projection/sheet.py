"""System 1: two projection MLPs, the text a bag of words."""

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
        "Bag of words: the sum of the word embeddings (the paper), their mean, or the sum over "
        "the square root of their number.",
        choices=("count", "mean", "sqrt"),
    )


SYSTEM = System(
    settings=ProjectionSettings,
    build="systems.projection.towers:build",
    tokeniser=lambda settings: "bag",
    features=VECTORS,
    of_photographs="regions",
    of_scenes="regions",
)
