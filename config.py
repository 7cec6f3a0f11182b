"""The settings of a run: flags, recipes, and the snapshot in `config.json`.

Flags are defined here once for the scripts that share them. The names of models and losses stand
here as text, so that `--help` answers at once; a test holds that they are those of `models.MODELS`
and `losses.LOSSES`.
"""

import datetime
import hashlib
import json
import math
import types
from pathlib import Path

from absl import flags

import experiment

RECIPES = Path(__file__).resolve().parent / "recipes"
MODELS = ("projection",)
LOSSES = (
    "modified",
    "assignment",
    "random_triplet",
    "hardest_triplet",
    "soft_weight_triplet",
    "soft_margin_triplet",
)
DATA = ("scenes", "nuswide", "flickr8k", "flickr30k", "coco", "karpathy", "precomp", "csv")
SELECT = ("mrr", "rsum", "recall@1", "recall@5", "recall@10", "median_rank", "loss")


class Settings(types.SimpleNamespace):
    """Every setting of a run by its flag's name, as in `config.json`."""

    def save(self, path):
        experiment.write_json(path, dict(sorted(vars(self).items())))


def load_settings(path):
    """Reads a run's `config.json`; settings that are newer than the run get their defaults.

    Raises:
      ValueError: the file is missing or is not such a snapshot.
    """
    value = experiment.read_json(path)
    if not isinstance(value, dict) or "model" not in value:
        raise ValueError(f"{path} is not the snapshot of a run: it names no model")
    return Settings(**{**default_settings(), "described": False, **value})


def fingerprint(settings):
    """SHA-256 of what shapes the result: all settings but where files lie."""
    kept = {k: v for k, v in vars(settings).items() if k not in ("data_dir", "cache_dir", "recipe")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def default_settings():
    """{name: default} of every training flag."""
    values = flags.FlagValues()
    define_training_flags(values)
    values.mark_as_parsed()
    return {name: values[name].value for name in _own_names(values)}


def settings_from_flags(values):
    """The snapshot of the parsed training flags."""
    chosen = {name: values[name].value for name in default_settings()}
    for name, value in chosen.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name} is {value}; expected a finite number")
    return Settings(**chosen)


def _own_names(values):
    """Names of the flags in a fresh FlagValues, without absl's own."""
    return [name for name in values if name not in ("help", "helpfull", "helpshort", "helpxml")]


def with_recipe(argv):
    """Puts `--recipe NAME`'s flags in front of the others, so that explicit flags win.

    Args:
      argv: the command line, the script's name first.

    Returns:
      The command line with `--flagfile=recipes/NAME.flags` as its first flag, if one was asked for.

    Raises:
      ValueError: there is no such recipe; the recipes are listed.
    """
    name, rest = None, [argv[0]]
    words = iter(argv[1:])
    for word in words:
        flag, _, value = word.partition("=")
        if flag in ("--recipe", "-recipe"):
            name = value or next(words, "")
        else:
            rest.append(word)
    if name is None:
        return argv
    path = RECIPES / f"{name}.flags"
    if not name or not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.flags")))
        raise ValueError(f"unknown recipe {name!r}; recipes/ holds: {known}")
    return [rest[0], f"--flagfile={path}", f"--recipe={name}", *rest[1:]]


def default_name(settings):
    """`<date>_<time>_<model>_<loss>`: the folder of a run that was given no name."""
    now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return f"{now}_{settings.model}_{settings.loss}"


def define_experiment_flags(values=flags.FLAGS):
    """--exp and --exp_root, for every script."""
    flags.DEFINE_string(
        "exp",
        None,
        "Run: the name of a folder below --exp_root, or a path. Default: the latest run; for a new "
        "training <date>_<time>_<model>_<loss>.",
        flag_values=values,
    )
    flags.DEFINE_string("exp_root", "exp", "Folder that holds the runs.", flag_values=values)


def define_training_flags(values=flags.FLAGS):
    """What a run is: all of it goes into config.json."""
    _define_data_flags(values)
    _define_model_flags(values)
    _define_loss_flags(values)
    _define_optimization_flags(values)
    flags.DEFINE_string(
        "recipe",
        None,
        "Read recipes/NAME.flags first (a published or a measured setting); flags given here win.",
        flag_values=values,
    )


def _define_data_flags(values):
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
    flags.DEFINE_integer(
        "data_seed", 0, "Seed of drawn scenes and drawn splits.", 0, flag_values=values
    )
    flags.DEFINE_enum(
        "captions",
        "all",
        ("one", "all"),
        "Captions of an image in one epoch: one at random, or all of them.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_words", 90000, "Vocabulary: at most so many words.", 1, flag_values=values
    )
    flags.DEFINE_string(
        "cache_dir", ".cache", "Folder for what is slow to read.", flag_values=values
    )


def _define_model_flags(values):
    flags.DEFINE_enum("model", "projection", MODELS, "Which towers.", flag_values=values)
    flags.DEFINE_integer("embed_dim", 256, "Size of the joint space.", 1, flag_values=values)
    flags.DEFINE_integer("hidden_dim", 1024, "Size of the hidden layers.", 1, flag_values=values)
    flags.DEFINE_float("dropout", 0.5, "Dropout of the hidden layers.", 0, 0.99, flag_values=values)
    flags.DEFINE_bool(
        "standardize",
        False,
        "Image vectors: subtract the training mean and divide by the standard deviation.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "image_dropout", 0.0, "Dropout of the image vectors.", 0, 0.99, flag_values=values
    )
    flags.DEFINE_float(
        "word_dropout", 0.0, "Share of words left out in training.", 0, 0.99, flag_values=values
    )
    flags.DEFINE_enum(
        "bag_scale",
        "count",
        ("count", "mean", "sqrt"),
        "Bag of words: the sum of its words (the paper), their mean, or the sum over the root of "
        "their number.",
        flag_values=values,
    )


def _define_loss_flags(values):
    flags.DEFINE_enum("loss", "modified", LOSSES, "Training loss.", flag_values=values)
    flags.DEFINE_float("margin", 1.25, "Margin c of the loss.", 1e-9, flag_values=values)
    flags.DEFINE_float(
        "alpha",
        0.7,
        "Weight a2 = alpha of repulsion; attraction has 1 - alpha.",
        0.0,
        1.0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "beta",
        0.0,
        "Share of the intra-modal losses: weights 1 - beta, beta / 2, beta / 2.",
        0.0,
        1.0,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "squared", True, "Triplets compare squared distances (or plain ones).", flag_values=values
    )
    flags.DEFINE_enum(
        "reduction",
        "sum",
        ("sum", "mean"),
        "Sum of a batch's terms (the papers), or their mean: for the B x B pairs of a batch of B "
        "the same SGD step then needs a learning rate B^2 times as large.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "relevance",
        "identity",
        ("auto", "concepts", "identity", "tfidf"),
        "How alike two images are: cosine of their concepts, not at all, or cosine of their "
        "captions' TF-IDF. auto: concepts where the data has them, else identity.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "literal_relevance",
        False,
        "Leave an image's own pair at its cosine, 0 where it has no concept, as the formula says.",
        flag_values=values,
    )


def _define_optimization_flags(values):
    flags.DEFINE_integer("epochs", 8, "Passes over the training images.", 1, flag_values=values)
    flags.DEFINE_integer("batch_size", 256, "Pairs in a (global) batch.", 2, flag_values=values)
    flags.DEFINE_enum(
        "optimizer", "adam", ("sgd", "adam", "adamw"), "Optimiser.", flag_values=values
    )
    flags.DEFINE_float("learning_rate", 2e-3, "Learning rate.", 1e-12, flag_values=values)
    flags.DEFINE_float("momentum", 0.9, "Momentum of sgd.", 0, 1, flag_values=values)
    flags.DEFINE_float(
        "weight_decay", 0.0, "Weight decay: L2 for sgd, decoupled for adamw.", 0, flag_values=values
    )
    flags.DEFINE_enum(
        "schedule",
        "cosine",
        ("constant", "step", "cosine"),
        "Learning rate over time: constant; times --decay_rate every --decay_epochs; or a cosine "
        "to 0 after --warmup_epochs.",
        flag_values=values,
    )
    flags.DEFINE_float("decay_rate", 0.9, "Factor of the step schedule.", 0, flag_values=values)
    flags.DEFINE_float("decay_epochs", 10, "Period of the step schedule.", 1e-9, flag_values=values)
    flags.DEFINE_float("warmup_epochs", 1, "Linear rise before the cosine.", 0, flag_values=values)
    flags.DEFINE_enum(
        "select",
        "mrr",
        SELECT,
        "What the best epoch is best in, on validation: text-to-image mrr, recall@1, recall@10, "
        "median_rank; rsum of both directions; loss (of training).",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "early_stopping",
        0,
        "Stop after so many epochs without a best; 0: never.",
        0,
        flag_values=values,
    )
    flags.DEFINE_integer("seed", 0, "Seed of weights, batches and dropout.", 0, flag_values=values)


def define_machine_flags(values=flags.FLAGS):
    """How a run is carried out: what may change between a start and its resumption."""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ("auto", "none", "mirrored", "multi_worker"),
        "tf.distribute strategy. auto: mirrored where there are several GPUs. multi_worker reads "
        "TF_CONFIG.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "virtual_devices", 0, "Split the CPU into so many devices, for tests.", flag_values=values
    )
    flags.DEFINE_bool(
        "deterministic", False, "The same bits on every run (somewhat slower).", flag_values=values
    )
    flags.DEFINE_integer("threads", 0, "Threads of one operation; 0: all.", 0, flag_values=values)
