"""System 5: one network that ranks captions and writes them, on the boxes of an image."""

from dataclasses import dataclass

from settings.options import option
from settings.training import Settings
from systems.system import BOXES, SENTENCES, System

PARTS = ("image", "caption", "words")  # that --freeze names


@dataclass(frozen=True)
class JointSettings(Settings):
    """Settings of system 5 alone."""

    title = "System 5 (joint)"
    rank_weight: float = option(
        1.0, "Weight of the ranking loss (--loss); 0 leaves it out.", least=0, roles="phase"
    )
    write_weight: float = option(
        1.0, "Weight of the captioning loss; 0 leaves it out.", least=0, roles="phase"
    )
    balance: str = option(
        "sum",
        "How the two losses are combined: sum with fixed weights, or gradnorm: weights trained "
        "by GradNorm, so that both losses decrease at a similar rate.",
        choices=("sum", "gradnorm"),
        roles="phase",
    )
    gradnorm_alpha: float = option(
        2.5,
        "GradNorm: its asymmetry alpha; a larger one balances the training rates more strongly.",
        least=0,
        roles="phase",
    )
    gradnorm_rate: float = option(
        0.01, "GradNorm: Adam's learning rate of the weights.", least=1e-9, roles="phase"
    )
    freeze: str = option(
        "none",
        "Layers that are not trained, separated by commas: image (from boxes to the image "
        "vector), caption (the LSTM that reads captions), words (the word embeddings); or none.",
        roles="phase",
    )
    attention_dim: int = option(512, "Dimension of the visual attention.", least=1, roles="shape")
    max_length: int = option(20, "Largest number of words in a written caption.", least=1, most=512)


SYSTEM = System(
    settings=JointSettings,
    build="systems.joint.towers:build",
    tokeniser=lambda settings: "plain_words",
    features=("ready", *BOXES),
    reads_words=SENTENCES,
    of_photographs="grid",
    of_scenes="boxes",
    default_recipe="joint_scenes",
    check="systems.joint.checks:check_joint",
    writes=True,
)
