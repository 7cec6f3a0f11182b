"""The flags of system 5, for `options.define_training_flags`."""

from absl import flags

BALANCES = ("sum", "gradnorm")
PARTS = ("image", "caption", "words")  # that --freeze names
OWN = (
    "rank_weight", "write_weight", "balance", "gradnorm_alpha", "gradnorm_rate", "freeze",
    "attention_dim", "max_length", "clip_value", "grid",
)  # fmt: skip


def define_joint_flags(values):
    """What only --model joint reads."""
    for name, what in (("rank", "the ranking loss (--loss)"), ("write", "writing captions")):
        flags.DEFINE_float(
            f"{name}_weight",
            1.0,
            f"joint: weight of {what}; 0 leaves it out.",
            0,
            flag_values=values,
        )
    flags.DEFINE_enum(
        "balance",
        "sum",
        BALANCES,
        "joint: the two losses are added with their weights, or these are trained by GradNorm, so "
        "that both move the shared weights at a like pace.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "gradnorm_alpha", 2.5, "GradNorm: how strongly paces are made alike.", 0, flag_values=values
    )
    flags.DEFINE_float(
        "gradnorm_rate", 0.01, "GradNorm: Adam's rate of its weights.", 1e-9, flag_values=values
    )
    flags.DEFINE_string(
        "freeze",
        "none",
        "joint: what stands still, with commas: image (what makes the image's vector of its "
        "boxes), caption (the LSTM that reads captions), words (the word table); or none.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "attention_dim", 512, "joint: size of the visual attention.", 1, flag_values=values
    )
    flags.DEFINE_integer(
        "max_length", 20, "joint: most words of a caption that is written.", 1, flag_values=values
    )
    flags.DEFINE_float(
        "clip_value",
        0.0,
        "joint: each number of a gradient is cut to between minus and plus this; 0: none is.",
        0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "grid",
        6,
        "joint, --features grid: places along a side of the CNN's last map.",
        1,
        flag_values=values,
    )
