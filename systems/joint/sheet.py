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


def check_joint(settings: JointSettings) -> None:
    """Refuses settings that mean nothing together. Raises ValueError."""
    if settings.standardize or settings.micro_batch or settings.similarity != "cosine":
        raise ValueError(
            "--model joint knows neither --standardize nor --micro_batch nor --similarity order"
        )
    if settings.beta:
        raise ValueError(
            "--beta is not for joint: --rank_weight and --write_weight weigh its losses"
        )
    if not settings.rank_weight and not settings.write_weight:
        raise ValueError("--rank_weight 0 --write_weight 0: there is nothing to train")
    if settings.balance == "gradnorm":
        _check_gradnorm(settings)
    if not settings.write_weight and settings.select == "bleu4":
        raise ValueError("--select bleu4 of a model that is not trained to write: choose another")
    parts = [part for part in settings.freeze.split(",") if part != "none"]
    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"--freeze {unknown[0]}: choose from {', '.join(PARTS)}, or none")


def _check_gradnorm(settings: JointSettings) -> None:
    if not (settings.rank_weight and settings.write_weight):
        raise ValueError("--balance gradnorm weighs two losses: neither weight may be 0")
    if settings.optimizer != "adam" or settings.weight_decay:
        raise ValueError("--balance gradnorm needs --optimizer adam without --weight_decay")
    if settings.views_weight:
        raise ValueError("--balance gradnorm weighs two losses: --views_weight would be a third")


SYSTEM = System(
    settings=JointSettings,
    build="systems.joint.towers:build",
    tokeniser=lambda settings: "plain_words",
    features=("ready", *BOXES),
    reads_words=SENTENCES,
    of_photographs="grid",
    of_scenes="boxes",
    default_recipe="joint_scenes",
    check=check_joint,
    writes=True,
)
