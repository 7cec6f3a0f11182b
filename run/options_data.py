"""The flags of the data and of what becomes of pictures, for `options.define_training_flags`."""

from absl import flags

DATA = ("scenes", "nuswide", "flickr8k", "flickr30k", "coco", "karpathy", "precomp", "csv")
FEATURES = ("auto", "regions", "last", "fne", "pixels", "boxes", "grid", "bottom_up")
BOXES = ("boxes", "grid", "bottom_up")  # features that are several rows for each picture
COCO_SPLITS = ("whole", "5k")


def define_data_flags(values):
    """Which data, how split, which captions and words."""
    flags.DEFINE_enum(
        "data",
        "scenes",
        DATA,
        "Data set: scenes is built in; the others are read from --data_dir.",
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", None, "Folder of the data set.", flag_values=values)
    flags.DEFINE_integer(
        "limit",
        0,
        "Use at most so many images of every split; 0 uses all.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "validation_images",
        256,
        "Images drawn from the training split where the data has no validation split.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "coco_split",
        "whole",
        COCO_SPLITS,
        "coco, of a train and a val file. whole: test on all of val, validation drawn from train. "
        "5k (system 4): by ascending id, test on the first 5,000 of val, validate on the last "
        "5,000 of train, train on all others (113,287 of 2014); five captions of each image.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "data_seed", 0, "Seed of drawn scenes and drawn splits.", 0, flag_values=values
    )
    flags.DEFINE_enum(
        "captions",
        "all",
        ("one", "all", "together"),
        "Captions of an image in one epoch: one at random, all of them, or all of them in one "
        "batch, where the picture is read once. A batch has --batch_size captions (about that).",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "bucket",
        0,
        "Batches of captions of similar length: sorted within windows of so many batches; 0: no.",
        0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_words", 90000, "Vocabulary: at most so many words.", 1, flag_values=values
    )
    flags.DEFINE_integer(
        "min_count", 1, "Vocabulary: only words that occur so often.", 1, flag_values=values
    )
    flags.DEFINE_enum(
        "vocabulary",
        "train",
        ("train", "train+validation"),
        "Vocabulary: from which captions. The validation captions' words are never trained.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "cache_dir", ".cache", "Folder for what is slow to read.", flag_values=values
    )


def define_picture_flags(values):
    """How pictures become vectors."""
    flags.DEFINE_enum(
        "features",
        "auto",
        FEATURES,
        "Image vectors: a bag of regions; a CNN's last layer; or its full-network embedding; "
        "pixels: dual_path and transformer read the pictures themselves; of several boxes, for "
        "joint: things of one colour, a grid of a CNN's last map, or (bottom_up) --features_file. "
        "auto: the data's own vectors where it brings some, else regions for projection, fne for "
        "gru, pixels for those, boxes of scenes and grids of photographs for joint.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "cnn",
        "MobileNetV2",
        "A network of keras.applications, for last, fne and pixels; or, for pixels, our own small, "
        "or resnet_8, resnet_18, resnet_34, resnet_50.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "image_weights",
        "imagenet",
        "The network's weights: imagenet (downloaded), none (random), or a file; for a resnet_* a "
        "preset of KerasHub or its folder, too.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "crops",
        10,
        "Mean over 10 crops (corners and centre, mirrored), or 1: the centre alone.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "resize",
        "squash",
        ("squash", "short_side"),
        "Before cropping: to a square (the paper), or the short side, the shape kept.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "pre_activation", False, "fne: activations before the ReLU.", flag_values=values
    )
