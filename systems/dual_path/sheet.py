"""System 3: an image CNN and a text CNN under one classifier of the training images."""

from dataclasses import dataclass

from run.options import option
from run.settings import Settings
from systems.system import VECTORS, System


@dataclass(frozen=True)
class DualPathSettings(Settings):
    """What only system 3 reads, too."""

    title = "System 3 (dual_path)"
    reads_pixels = True
    shifts_captions = True
    lowercase: bool = option(True, "Read captions in lower case.", roles="words")
    dictionary: str = option(
        "captions",
        "The words of the training captions, or of these only those that --word_vectors has (the "
        "paper); other words are dropped.",
        choices=("captions", "word_vectors"),
        roles="words",
    )
    text_width: float = option(
        1.0,
        "Channels of the text CNN, as a share of the published ones.",
        least=1e-3,
        most=4,
        roles="shape",
    )
    zero_init: bool = option(
        False,
        "Residual blocks of the text CNN begin as their shortcuts alone, which then average where "
        "they stride: it learns far sooner (not in the paper).",
    )
    test_shifts: str = option(
        "all",
        "Over how many shifts of a caption test.py adds up: all (the paper), or a number, evenly "
        "spread; 1 takes the middle.",
    )
    lambdas: str = option(
        "1:1:1",
        "Weights of the ranking loss (--loss), of the visual and of the textual instance loss. The "
        "released scripts have 2:1:0.1.",
        roles="phase",
    )
    hard_texts: int = option(
        0,
        "The texts of a batch's second half become the hardest of so many random captions; 0: they "
        "stay.",
        least=0,
        roles="phase",
    )
    classes: str = option(
        "images",
        "What the classifier tells apart: the training images (the paper; of --num_classes, "
        "clusters of them), or what captions say: an image and its captions belong to all words "
        "and pairs of neighbouring words of these captions.",
        choices=("images", "phrases"),
        roles="shape",
    )
    num_classes: int = option(
        0,
        "K pseudo classes, by k-means of the training pictures, in place of one class for each; 0: "
        "each its own.",
        least=0,
        roles="shape",
    )
    compare_relu: bool = option(
        True,
        "The ranking loss compares what is behind the last ReLU (the paper); else what is before "
        "it, as in use.",
    )
    classifier_bias: bool = option(False, "A bias in the classifier.", roles="shape")
    word_rate: float = option(
        0.01, "Learning rate of the words, as a share of --learning_rate.", least=0
    )
    classifier_rate: float = option(
        0.1, "Learning rate of the classifier, as a share of --learning_rate.", least=0
    )


def check_dual_path(settings: DualPathSettings) -> None:
    """Refuses settings that mean nothing together. Raises ValueError."""
    shifts = settings.test_shifts
    if shifts != "all" and not (shifts.isdecimal() and 1 <= int(shifts) <= 32):
        raise ValueError(f"--test_shifts {shifts}: expected all, or a number from 1 to 32")
    if settings.dictionary == "word_vectors" and not settings.word_vectors:
        raise ValueError("--dictionary word_vectors: which? Give --word_vectors FILE")
    if settings.similarity == "order":
        raise ValueError("--similarity order is not for dual_path: it compares cosines")
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


SYSTEM = System(
    settings=DualPathSettings,
    build="systems.dual_path.towers:build",
    tokeniser=lambda settings: "lower_split" if settings.lowercase else "split",
    features=("pixels", *VECTORS),
    of_photographs="pixels",
    of_scenes="pixels",
    default_recipe="dual_path_scenes",
    check=check_dual_path,
    vocabulary="systems.dual_path.reading:vocabulary",
    targets="systems.dual_path.reading:targets",
)
