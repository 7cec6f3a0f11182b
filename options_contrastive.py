"""The flags of the losses in `contrastive.py`, for `options.define_training_flags`."""

from absl import flags


def define_contrastive_flags(values):
    """What the losses of pairs and Barlow Twins read."""
    flags.DEFINE_bool(
        "include_positive",
        False,
        "simclr: the own pair stands in the denominators, too (InfoNCE).",
        flag_values=values,
    )
    flags.DEFINE_float(
        "barlow_lambda", 5e-3, "barlow: weight of the redundancy.", 0, flag_values=values
    )
    flags.DEFINE_float("logit_bias", -10.0, "sigmoid: the bias b.", flag_values=values)
