"""The flags of system 3 and of towers that read pixels, for `options.define_training_flags`."""

from absl import flags


def define_dual_path_flags(values):
    """What only --model dual_path reads, and with it transformer where it is about pictures."""
    _define_tower_flags(values)
    _define_picture_flags(values)
    _define_loss_flags(values)


def _define_tower_flags(values):
    flags.DEFINE_bool(
        "lowercase", True, "dual_path: read captions in lower case.", flag_values=values
    )
    flags.DEFINE_enum(
        "dictionary",
        "captions",
        ("captions", "word_vectors"),
        "dual_path: the words of the training captions, or of these only those that --word_vectors "
        "has (the paper); other words are dropped.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "text_width",
        1.0,
        "dual_path: channels of the text CNN, as a share of the published ones.",
        1e-3,
        4,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "zero_init",
        False,
        "dual_path: residual blocks of the text CNN begin as their shortcuts alone, which then "
        "average where they stride: it learns far sooner (not in the paper).",
        flag_values=values,
    )
    flags.DEFINE_string(
        "test_shifts",
        "all",
        "dual_path: over how many shifts of a caption test.py adds up: all (the paper), or a "
        "number, evenly spread; 1 takes the middle.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "freeze_backbone",
        False,
        "--features pixels: leave the image CNN as it is; its batch norm stands still too.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "freeze_norm",
        False,
        "--features pixels: the image CNN's batch norm uses its stored statistics in training.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "image_pooling",
        "mean",
        ("mean", "places"),
        "--features pixels: the CNN's last map as its mean (the papers); or the strongest response "
        "of features that are told their places, for pictures where left and right matter.",
        flag_values=values,
    )


def _define_picture_flags(values):
    flags.DEFINE_integer(
        "image_size",
        224,
        "--features pixels: side of the pictures in training. Afterwards whole pictures are read, "
        "short side 8/7 of it where training crops and --image_pooling is mean.",
        lower_bound=32,
        flag_values=values,
    )
    flags.DEFINE_float(
        "crop_area",
        0.8,
        "--features pixels: smallest share of the picture that a random crop shows; 1: no crops.",
        0.01,
        1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "mirror",
        True,
        "--features pixels: mirror pictures at random; dual_path: test.py adds the mirrored one.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "cache",
        "auto",
        ("auto", "memory", "disk", "none"),
        "--features pixels: keep decoded pictures in memory, or in a file below --cache_dir. auto: "
        "where they fit into a quarter of what is free.",
        flag_values=values,
    )


def _define_loss_flags(values):
    flags.DEFINE_string(
        "lambdas",
        "1:1:1",
        "dual_path: weights of the ranking loss (--loss), of the visual and of the textual "
        "instance loss. The released scripts have 2:1:0.1.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "hard_texts",
        0,
        "dual_path: the texts of a batch's second half become the hardest of so many random "
        "captions; 0: they stay.",
        0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "classes",
        "images",
        ("images", "phrases"),
        "dual_path: what the classifier tells apart: the training images (the paper; of "
        "--num_classes, clusters of them), or what captions say: an image and its captions belong "
        "to all words and pairs of neighbouring words of these captions.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_classes",
        0,
        "dual_path: K pseudo classes, by k-means of the training pictures, in place of one class "
        "for each; 0: each its own.",
        0,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "compare_relu",
        True,
        "dual_path: the ranking loss compares what is behind the last ReLU (the paper); else what "
        "is before it, as in use.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "classifier_bias", False, "dual_path: a bias in the classifier.", flag_values=values
    )
    for name, rate, what, models in (
        ("backbone_rate", 0.01, "the image CNN", "--features pixels"),
        ("word_rate", 0.01, "the words", "dual_path"),
        ("classifier_rate", 0.1, "the classifier", "dual_path"),
    ):
        flags.DEFINE_float(
            name,
            rate,
            f"{models}: learning rate of {what}, as a share of --learning_rate.",
            0,
            flag_values=values,
        )
