"""System 3: an image CNN and a text CNN under one classifier of the training images."""

from dataclasses import dataclass

from settings.options import option
from settings.training import Settings
from systems.system import SENTENCES, VECTORS, System


@dataclass(frozen=True)
class DualPathSettings(Settings):
    """Settings of system 3 alone."""

    title = "System 3 (dual_path)"
    reads_pixels = True
    shifts_captions = True
    lowercase: bool = option(True, "Convert captions to lower case.", roles="words")
    dictionary: str = option(
        "captions",
        "Vocabulary: all words of the training captions, or only those that --word_vectors has "
        "(the paper); other words are dropped.",
        choices=("captions", "word_vectors"),
        roles="words",
    )
    text_width: float = option(
        1.0,
        "Channels of the text CNN, as a factor of the published ones.",
        least=1e-3,
        most=4,
        roles="shape",
    )
    zero_init: bool = option(
        False,
        "Initialise the last batch norm of each residual block of the text CNN with 0, so that "
        "blocks start as their shortcuts. It learns far sooner (not in the paper).",
    )
    test_shifts: str = option(
        "all",
        "Number of shifts of a caption that test.py averages over, evenly spaced: all (the "
        "paper), or a number; 1 takes the middle one.",
    )
    lambdas: str = option(
        "1:1:1",
        "Weights of the ranking loss (--loss), the visual and the textual instance loss. The "
        "authors' scripts have 2:1:0.1.",
        roles="phase",
    )
    hard_texts: int = option(
        0,
        "Hard negatives: the texts of a batch's second half are replaced by the hardest of this "
        "many random captions; 0: no replacement.",
        least=0,
        roles="phase",
    )
    classes: str = option(
        "images",
        "Classes of the classifier: the training images (the paper; with --num_classes clusters "
        "of them), or phrases: the words and pairs of neighbouring words in captions.",
        choices=("images", "phrases"),
        roles="shape",
    )
    num_classes: int = option(
        0,
        "K pseudo classes, found by k-means on the training images, instead of one class for "
        "each image; 0: a class for each.",
        least=0,
        roles="shape",
    )
    compare_relu: bool = option(
        True,
        "The ranking loss compares features after the last ReLU (the paper); else those before "
        "it, which testing compares.",
    )
    classifier_bias: bool = option(False, "Bias in the classifier.", roles="shape")
    word_rate: float = option(
        0.01, "Learning rate of the word embeddings, as a factor of --learning_rate.", least=0
    )
    classifier_rate: float = option(
        0.1, "Learning rate of the classifier, as a factor of --learning_rate.", least=0
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


SYSTEM = System(
    settings=DualPathSettings,
    build="systems.dual_path.towers:build",
    tokeniser=lambda settings: "lower_split" if settings.lowercase else "split",
    features=("pixels", *VECTORS),
    reads_words=SENTENCES,
    of_photographs="pixels",
    of_scenes="pixels",
    default_recipe="dual_path_scenes",
    check=check_dual_path,
    vocabulary="systems.dual_path.reading:vocabulary",
    targets="systems.dual_path.reading:targets",
)
