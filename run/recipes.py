"""The settings of a run: flags, recipes, and the snapshot in `config.json`.

`options.py` defines the flags.
"""

import datetime
import hashlib
import json
import math
import types
from pathlib import Path

from absl import flags

from run import files, folder, options, options_data
from run.options_joint import PARTS

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SHAPES = (  # settings that must be equal in both phases of a curriculum: what towers are
    "model", "embed_dim", "standardize", "word_dim", "bidirectional",
    "pooling", "bag", "image_bias", "absolute", "similarity",
    "text_width", "hidden_dim", "image_pooling", "classes", "num_classes", "classifier_bias",
    "text_size", "attention_dim",
)  # fmt: skip
PLACES = (
    "data_dir", "cache_dir", "recipe", "init_from", "image_weights", "word_vectors", "cache",
    "text_weights", "word_pieces", "features_file",
)  # fmt: skip
DEFAULT_RECIPE = {  # of a model that is given no recipe
    "dual_path": "dual_path_scenes",
    "transformer": "transformer_scenes",
    "joint": "joint_scenes",
}


class Settings(types.SimpleNamespace):
    """Every setting of a run by its flag's name, as in `config.json`."""

    def save(self, path):
        files.write_json(path, dict(sorted(vars(self).items())))


def load_settings(path):
    """Reads a run's `config.json`; settings that are newer than the run get their defaults.

    Raises:
      ValueError: the file is missing or is not such a snapshot.
    """
    value = files.read_json(path)
    if not isinstance(value, dict) or "model" not in value:
        raise ValueError(f"{path} is not the snapshot of a run: it names no model")
    found = {"described": False, "train_images": 0, "num_phrases": 0}  # by the data
    return Settings(**{**default_settings(), **found, **value})


def fingerprint(settings):
    """SHA-256 of what shapes the result: all settings but where files lie."""
    kept = {k: v for k, v in vars(settings).items() if k not in PLACES}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def default_settings():
    """{name: default} of every training flag."""
    values = flags.FlagValues()
    options.define_training_flags(values)
    values.mark_as_parsed()
    return {name: values[name].value for name in _own_names(values)}


def settings_from_flags(values):
    """The snapshot of the parsed training flags."""
    chosen = {name: values[name].value for name in default_settings()}
    if not values["margin"].present:
        chosen["margin"] = options.MARGINS.get(chosen["loss"], options.MARGIN)
    for name, value in chosen.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name} is {value}; expected a finite number")
    check(chosen)
    return Settings(**chosen)


def check(chosen):
    """Refuses settings that contradict each other, {name: value}. Raises ValueError."""
    _check_pixels(chosen)
    _check_dual_path(chosen)
    _check_transformer(chosen)
    _check_joint(chosen)
    _check_pairs(chosen)
    if bool(chosen["features_file"]) != (chosen["features"] == "bottom_up"):
        raise ValueError(
            "--features bottom_up and --features_file FILE belong together: give both or neither"
        )
    if chosen["schedule"] == "plateau" and (chosen["warmup_epochs"] or chosen["decay_epochs"] % 1):
        raise ValueError("--schedule plateau takes whole --decay_epochs, and no --warmup_epochs")
    if chosen["views_weight"] and chosen["hard_texts"]:
        raise ValueError("--views_weight and --hard_texts: exchanged texts have no second view")
    if chosen["similarity"] == "order" and chosen["loss"] not in options.RANKING:
        raise ValueError(
            f"--similarity order: the loss {chosen['loss']} compares distances; choose "
            f"{', '.join(options.RANKING)}"
        )


def _check_pixels(chosen):
    """Refuses flags of towers that read pixels where others were chosen. Raises ValueError."""
    if chosen["model"] in options.READ_PIXELS:
        return
    theirs = " or ".join(options.READ_PIXELS)
    if chosen["features"] == "pixels":
        raise ValueError(f"--features pixels is for --model {theirs}, not {chosen['model']}")
    if not chosen["hidden_dim"]:
        raise ValueError(f"--hidden_dim 0 is for --model {theirs}; expected 1 or more")


def _check_dual_path(chosen):
    """Refuses flags of system 3 that mean nothing. Raises ValueError."""
    if chosen["model"] != "dual_path":
        return
    shifts = chosen["test_shifts"]
    if shifts != "all" and not (shifts.isdecimal() and 1 <= int(shifts) <= 32):
        raise ValueError(f"--test_shifts {shifts}: expected all, or a number from 1 to 32")
    if chosen["dictionary"] == "word_vectors" and not chosen["word_vectors"]:
        raise ValueError("--dictionary word_vectors: which? Give --word_vectors FILE")
    if chosen["similarity"] == "order":
        raise ValueError("--similarity order is not for dual_path: it compares cosines")
    if chosen["hard_texts"] and chosen["loss"] != "paired_hinge":
        raise ValueError(
            f"--hard_texts {chosen['hard_texts']} makes the texts of a batch's second half "
            f"negatives, which --loss {chosen['loss']} takes for pairs: choose paired_hinge"
        )
    if chosen["classes"] == "phrases":
        for name in ("num_classes", "hard_texts"):
            if chosen[name]:
                raise ValueError(f"--{name} {chosen[name]} is for --classes images, not phrases")


def _check_transformer(chosen):
    """Refuses flags of system 4 that mean nothing. Raises ValueError."""
    weights = chosen["text_weights"]
    if chosen["model"] != "transformer" or chosen["word_pieces"]:
        return
    if Path(weights).expanduser().is_file():
        raise ValueError(
            f"--text_weights {weights}: a file does not say which word pieces its weights are for; "
            "give --word_pieces FILE too"
        )


def _check_joint(chosen):
    """Refuses flags of system 5 that mean nothing. Raises ValueError."""
    joint = chosen["model"] == "joint"
    if not joint and chosen["features"] in options_data.BOXES:
        raise ValueError(
            f"--features {chosen['features']} is for --model joint, not {chosen['model']}"
        )
    if not joint and chosen["select"] == "bleu4":
        raise ValueError(f"--select bleu4: --model {chosen['model']} writes no captions")
    if not joint:
        return
    if chosen["features"] not in ("auto", *options_data.BOXES):
        raise ValueError(
            f"--features {chosen['features']} is one row for each picture; --model joint reads "
            f"several: {' or '.join(options_data.BOXES)}"
        )
    if chosen["standardize"] or chosen["micro_batch"] or chosen["similarity"] != "cosine":
        raise ValueError(
            "--model joint knows neither --standardize nor --micro_batch nor --similarity order"
        )
    if not chosen["rank_weight"] and not chosen["write_weight"]:
        raise ValueError("--rank_weight 0 --write_weight 0: there is nothing to train")
    if chosen["balance"] == "gradnorm" and not (chosen["rank_weight"] and chosen["write_weight"]):
        raise ValueError("--balance gradnorm weighs two losses: neither weight may be 0")
    decays = chosen["optimizer"] != "adam" or chosen["weight_decay"]
    if chosen["balance"] == "gradnorm" and decays:
        raise ValueError("--balance gradnorm needs --optimizer adam without --weight_decay")
    if chosen["balance"] == "gradnorm" and chosen["views_weight"]:
        raise ValueError("--balance gradnorm weighs two losses: --views_weight would be a third")
    if not chosen["write_weight"] and chosen["select"] == "bleu4":
        raise ValueError("--select bleu4 of a model that is not trained to write: choose another")
    parts = [part for part in chosen["freeze"].split(",") if part != "none"]
    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"--freeze {unknown[0]}: choose from {', '.join(PARTS)}, or none")


def _check_pairs(chosen):
    """Refuses held-out pairs that training would see after all. Raises ValueError."""
    for name in ("heldout", "heldout_file"):
        if chosen[name] is None:
            continue
        if not chosen[name].strip(" ,"):
            raise ValueError(f"--{name} {chosen[name]!r} names nothing: leave it out, or name some")
        if chosen["vocabulary"] != "train":
            raise ValueError(
                f"--{name} makes the held-out images the validation set, whose words --vocabulary "
                f"{chosen['vocabulary']} would take: give --vocabulary train"
            )


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
    name, rest = _split_recipe(argv)
    if name is None:
        name = _default_recipe(argv)
    if name is None:
        return argv
    path = RECIPES / f"{name}.flags"
    if not name or not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.flags")))
        raise ValueError(f"unknown recipe {name!r}; recipes/ holds: {known}")
    return [rest[0], f"--flagfile={path}", f"--recipe={name}", *rest[1:]]


def _split_recipe(argv):
    """(NAME of --recipe or None, the command line without it)."""
    name, rest = None, [argv[0]]
    words = iter(argv[1:])
    for word in words:
        flag, _, value = word.partition("=")
        if flag in ("--recipe", "-recipe"):
            name = value or next(words, "")
        else:
            rest.append(word)
    return name, rest


def _default_recipe(argv):
    """The recipe that --model stands for where none is named, or None; not of a resumed run."""
    words = [word.lstrip("-") for word in argv[1:]]
    if "resume" in words or "resume=true" in words:
        return None
    for flag, following in zip(words, [*words, ""][1:], strict=True):
        name, _, value = flag.partition("=")
        if name == "model":
            return DEFAULT_RECIPE.get(value or following)
    return None


def settings_of(argv):
    """The settings that a command line of train.py means, the script's name first."""
    values = train_flags()
    values(with_recipe(argv))
    return settings_from_flags(values)


def train_flags():
    """All flags of train.py, nothing parsed yet."""
    values = flags.FlagValues()
    folder.define_experiment_flags(values)
    options.define_training_flags(values)
    options.define_machine_flags(values)
    options.define_run_flags(values)
    return values


def given_flags(argv, left_out):
    """The flags that a command line of train.py gives itself, as arguments of another one.

    Args:
      argv: the command line, the script's name first.
      left_out: names of flags that are not passed on.
    """
    values = train_flags()
    values(_split_recipe(argv)[1])
    given = [values[name] for name in _own_names(values) if values[name].present]
    return [flag.serialize() for flag in given if flag.name not in left_out]


def tokeniser(settings):
    """The name of the rule that splits captions for a model, one of `text.TOKENISERS`."""
    name = options.TOKENISER[settings.model]
    return f"lower_{name}" if name == "split" and settings.lowercase else name


def drawn_views(settings):
    """Sides of which a training batch brings a second view: pictures cropped or mirrored anew, and
    captions of system 3 at another place; () where --views_weight is 0.
    """
    drawn = {
        "image": settings.features == "pixels" and (settings.mirror or settings.crop_area < 1),
        "text": settings.model == "dual_path",
    }
    return tuple(side for side in drawn if drawn[side] and settings.views_weight)


def default_name(settings):
    """`<date>_<time>_<model>_<loss>`: the folder of a run that was given no name."""
    now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return f"{now}_{settings.model}_{settings.loss}"
