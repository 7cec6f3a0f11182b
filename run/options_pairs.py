"""The flags of held-out pairs of words and of box files, for `options.define_training_flags`."""

from absl import flags

FINDERS = ("rules", "spacy")


def define_pair_flags(values):
    """Which pairs no training caption may say, and how they are found; files of boxes."""
    flags.DEFINE_string(
        "heldout",
        None,
        "Pairs such as brown_dog,sit_cat (or paper: the nine of the document): training images "
        "with a caption that says one are taken out of training, and are the validation set.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "heldout_file",
        None,
        "The same, from occurrence files (brown_dog.json, ...), with commas, or a folder of them.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "pair_finder",
        "rules",
        FINDERS,
        "What finds pairs in captions of people: our rules, or spaCy, where it and its English "
        "model are installed. Captions of scenes are read by their grammar.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "features_file",
        None,
        "--features bottom_up: TSV or HDF5 files of boxes, with commas; read once into the cache.",
        flag_values=values,
    )
