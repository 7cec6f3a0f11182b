"""The settings of a run that say which data are read, and how images become arrays."""

from dataclasses import dataclass

from settings.options import Options, option


@dataclass(frozen=True)
class DataOptions(Options):
    """Which data, how they are split, which captions and words."""

    title = "Data"
    data: str = option(
        "scenes",
        "Data set, by its format. scenes is drawn by the program and needs no files. The others "
        "are read from --data_dir: docs/data.md says how their files must lie. csv: your own "
        "table.",
    )
    data_dir: str | None = option(
        None,
        "Folder of the data. precomp takes several, A,B: their vectors are concatenated.",
        roles="place free",
    )
    limit: int = option(0, "Use at most this many images of each split; 0: all.", least=0)
    validation_images: int = option(
        256,
        "Number of training images set aside for validation, if the data have no validation split.",
        least=1,
    )
    coco_split: str = option(
        "whole",
        "coco with a train and a val file. whole: all of val is tested. 5k (system 4): the first "
        "5,000 ids of val. random (system 3): 5,000 drawn of both. 1k (system 2): 1,000 of val, or "
        "of Karpathy's test list.",
        choices=("whole", "5k", "random", "1k"),
    )
    nuswide_test: str = option(
        "all",
        "Test images of nuswide: all of them, or subset: the 256 of NUS_Test_Subset.txt, the "
        "gallery of the course's second part.",
        choices=("all", "subset"),
        when="data=nuswide",
    )
    data_seed: int = option(0, "Seed of drawn scenes and of drawn splits.", least=0)
    captions: str = option(
        "all",
        "Captions of an image used in one epoch: one at random, all, or all together in one "
        "batch, so that the image is encoded once. --batch_size counts captions.",
        choices=("one", "all", "together"),
    )
    bucket: int = option(
        0,
        "Sort captions by length within windows of this many batches, so that batches need less "
        "padding; 0: random order.",
        least=0,
    )
    max_words: int = option(
        90000,
        "Largest size of the vocabulary; the most frequent words are kept.",
        least=1,
        roles="words",
    )
    min_count: int = option(
        1,
        "Words that occur less often than this in the captions are not in the vocabulary.",
        least=1,
        roles="words",
    )
    vocabulary: str = option(
        "train",
        "Captions from which the vocabulary is made. Words of the validation captions alone are "
        "never trained.",
        choices=("train", "train+validation"),
        roles="words",
    )
    cache_dir: str = option(
        ".cache",
        "Folder for what is slow to compute: decoded images, image features, drawn scenes.",
        roles="place free",
    )
    heldout: str | None = option(
        None,
        "Pairs of words such as brown_dog,sit_cat (paper: the nine of the system 5 paper). "
        "Images with a caption that says such a pair leave the training set and become the "
        "validation set.",
    )
    heldout_file: str | None = option(
        None,
        "Like --heldout, from occurrence files (brown_dog.json, ...), separated by commas, or a "
        "folder of them.",
    )
    pair_finder: str = option(
        "rules",
        "Parser that finds pairs of words in captions: rules (built in), or spacy, which must "
        "be installed with its English model. Captions of scenes are read by their own grammar.",
        choices=("rules", "spacy"),
    )


@dataclass(frozen=True)
class PictureOptions(Options):
    """How pictures become rows."""

    title = "Pictures"
    features: str = option(
        "auto",
        "Image input. regions, last (CNN layer), fne: a vector; boxes, grid, bottom_up: several "
        "vectors, for joint; pixels: the image, for dual_path and transformer; ready: the "
        "data's own vectors. auto: ready if there are any, else the system's usual one.",
        choices=("auto", "ready", "regions", "last", "fne", "pixels", "boxes", "grid", "bottom_up"),
        roles="pictures",
    )
    features_file: str | None = option(
        None,
        "With --features bottom_up: TSV or HDF5 files of box features, separated by commas.",
        roles="place",
    )
    cnn: str = option(
        "MobileNetV2",
        "Network of keras.applications, or a preset of KerasHub by its name or folder, for last, "
        "fne, grid and pixels; for pixels also our own small, and resnet_8, _18, _34 and _50.",
        roles="pictures",
    )
    image_weights: str = option(
        "imagenet",
        "Weights of the network: imagenet (downloaded; of a preset its own), none (random), or a "
        "file; for a resnet_* a preset of KerasHub or its folder, too.",
        roles="pictures place",
    )
    crops: int = option(
        10,
        "CNN features are the mean over 10 crops (corners and centre, mirrored), or of 1, the "
        "centre.",
        roles="pictures",
        when="features=auto,last,fne",
    )
    resize: str = option(
        "squash",
        "Resizing before the crop: squash to a square (the paper), or resize the short side and "
        "keep the aspect ratio.",
        choices=("squash", "short_side"),
        roles="pictures",
    )
    pre_activation: bool = option(
        False,
        "fne: read activations before the ReLU.",
        roles="pictures",
        when="features=auto,fne",
    )
    grid: int = option(
        6,
        "With --features grid: cells along each side of the CNN's last feature map.",
        least=1,
        roles="pictures",
        when="features=auto,grid",
    )


@dataclass(frozen=True)
class PixelOptions(Options):
    """Towers that read the pictures themselves."""

    title = "Pixels (dual_path, transformer)"
    image_size: int = option(
        224,
        "Side of training images in pixels. If training crops and --image_pooling is mean, "
        "whole images are read afterwards, with a short side of 8/7 of it.",
        least=32,
    )
    crop_area: float = option(
        0.8,
        "Smallest share of the image's area in a random training crop; 1: no crops.",
        least=0.01,
        most=1,
    )
    mirror: bool = option(
        True,
        "Mirror training images at random. dual_path: test.py also adds the embedding of the "
        "mirrored image.",
    )
    image_pooling: str = option(
        "mean",
        "Pooling of the CNN's last feature map: its mean (the papers), or places: the maximum "
        "of features that know their position, for images in which left and right matter.",
        choices=("mean", "places"),
        roles="shape",
    )
    freeze_backbone: bool = option(
        False,
        "Do not train the image network; its batch norm uses stored statistics.",
        roles="phase",
    )
    freeze_norm: bool = option(
        False, "Batch norm of the image network uses stored statistics in training, too."
    )
    backbone_rate: float = option(
        0.01, "Learning rate of the image network, as a factor of --learning_rate.", least=0
    )
    cache: str = option(
        "auto",
        "Where decoded images are kept: in memory, in a file below --cache_dir (disk), or "
        "nowhere. auto: where they fit into a quarter of what is free.",
        choices=("auto", "memory", "disk", "none"),
        roles="place free",
    )
