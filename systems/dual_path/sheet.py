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


SYSTEM = System(
    settings=DualPathSettings,
    build="systems.dual_path.towers:build",
    tokeniser=lambda settings: "lower_split" if settings.lowercase else "split",
    features=("pixels", *VECTORS),
    reads_words=SENTENCES,
    of_photographs="pixels",
    of_scenes="pixels",
    default_recipe="dual_path_scenes",
    check="systems.dual_path.checks:check_dual_path",
    vocabulary="systems.dual_path.reading:vocabulary",
    targets="systems.dual_path.reading:targets",
)
