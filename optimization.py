"""Optimisers and learning-rate schedules by name.

Reference: [IRSE] M. Sijmkens, IRSE project report, 2021, section 3 (SGD, x 0.9 every 10 epochs).
"""

import keras
from keras import ops

SCHEDULES = ("constant", "step", "cosine")


@keras.saving.register_keras_serializable("matchbox")
class SGDL2(keras.optimizers.SGD):
    """SGD with momentum and L2 weight decay as PyTorch runs it, which the paper used.

    g = gradient + l2 w;  v = momentum v + g;  w = w - lr v, for every trainable weight.

    keras.optimizers.SGD keeps lr inside v (so a lower rate acts only slowly) and its weight_decay
    is decoupled (past the momentum, so ten times weaker at momentum 0.9).

    Args:
      l2: the penalty is l2 / 2 |w|^2.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, l2=0.0, **kwargs):
        super().__init__(learning_rate, momentum=momentum, **kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        """One weight's step."""
        dense = ops.convert_to_tensor(gradient)  # an embedding's gradient comes as sparse rows
        # Like the base class, this may be handed the backend's own variable.
        velocity = self.momentums[self._get_variable_index(variable)]
        lr = ops.cast(learning_rate, variable.dtype)
        total = self.momentum * velocity + dense + self.l2 * ops.convert_to_tensor(variable)
        self.assign(velocity, total)
        self.assign_sub(variable, lr * total)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


def build_schedule(settings, steps_per_epoch):
    """The learning rate as a number or as a Keras schedule of the step.

    `step` multiplies by `decay_rate` every `decay_epochs`; `cosine` falls to 0 at the last step
    after a linear rise over `warmup_epochs`.

    Raises:
      ValueError: unknown schedule.
    """
    rate = settings.learning_rate
    if settings.schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {settings.schedule!r}: choose from {SCHEDULES}")
    if settings.schedule == "step":
        steps = max(1, round(settings.decay_epochs * steps_per_epoch))
        return keras.optimizers.schedules.ExponentialDecay(
            rate, steps, settings.decay_rate, staircase=True
        )
    if settings.schedule == "cosine":
        warm = round(settings.warmup_epochs * steps_per_epoch)
        rest = max(1, settings.epochs * steps_per_epoch - warm)
        if not warm:
            return keras.optimizers.schedules.CosineDecay(rate, rest)
        return keras.optimizers.schedules.CosineDecay(
            0.0, rest, warmup_target=rate, warmup_steps=warm
        )
    return rate


def build_optimizer(settings, steps_per_epoch):
    """The optimiser that `settings` name, with its schedule.

    `weight_decay` is L2 for sgd (the paper) and decoupled for adamw.

    Raises:
      ValueError: unknown optimiser, or a weight decay for plain adam.
    """
    if settings.optimizer not in OPTIMIZERS:
        names = ", ".join(OPTIMIZERS)
        raise ValueError(f"unknown optimizer {settings.optimizer!r}: choose from {names}")
    if settings.optimizer == "adam" and settings.weight_decay:
        raise ValueError("adam takes no weight_decay here: use adamw, or --weight_decay 0")
    make = OPTIMIZERS[settings.optimizer]
    return make(build_schedule(settings, steps_per_epoch), settings)


OPTIMIZERS = {
    "sgd": lambda rate, s: SGDL2(rate, momentum=s.momentum, l2=s.weight_decay),
    "adam": lambda rate, s: keras.optimizers.Adam(rate),
    "adamw": lambda rate, s: keras.optimizers.AdamW(rate, weight_decay=s.weight_decay),
}
