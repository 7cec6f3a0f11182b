"""The flags of the losses in `contrastive.py`, for `options.define_training_flags`."""

from absl import flags


def define_contrastive_flags(values):
    """What the losses of pairs and Barlow Twins read, what is learned of a loss, second views."""
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
    flags.DEFINE_string(
        "learn",
        "auto",
        "Numbers of the loss that are trained, with commas: temperature (from 0.01 to 1), margin "
        "(0.01 to 2), bias; none; or auto: temperature and bias for sigmoid, none for others.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "views_weight",
        0.0,
        "Weight of two more terms, by the same loss: image with image and caption with caption, "
        "two views of each as pairs, by dropout and, of pixels, crops.",
        0,
        flag_values=values,
    )
