"""Settings of system 5 that contradict each other."""

from typing import Any

from systems.joint.sheet import PARTS


def check_joint(settings: Any) -> None:
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


def _check_gradnorm(settings: Any) -> None:
    if not (settings.rank_weight and settings.write_weight):
        raise ValueError("--balance gradnorm weighs two losses: neither weight may be 0")
    if settings.optimizer != "adam" or settings.weight_decay:
        raise ValueError("--balance gradnorm needs --optimizer adam without --weight_decay")
    if settings.views_weight:
        raise ValueError("--balance gradnorm weighs two losses: --views_weight would be a third")
