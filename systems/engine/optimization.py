"""Optimisers and learning-rate schedules by name.

References:
  [IRSE] M. Sijmkens, IRSE project report, 2021, section 3 (SGD, x 0.9 every 10 epochs).
  [FNE]  Vilalta et al., Studying the impact of the full-network embedding on multimodal pipelines,
         2019, section 4.3.1 (Adam, clipping).
  [Goyal] Goyal et al., Accurate, large minibatch SGD, 2017, section 2.2 (gradual warm-up).
"""

from typing import Any

import keras
from keras import ops

SCHEDULES = ("constant", "step", "multi_step", "plateau", "cosine")


class SGDL2(keras.optimizers.SGD):
    """SGD with momentum and L2 weight decay as PyTorch runs it, which the paper used.

    g = gradient + l2 w;  v = momentum v + g;  w = w - lr v, for every trainable weight; with
    Nesterov's momentum w = w - lr (g + momentum v).

    keras.optimizers.SGD keeps lr inside v (so a lower rate acts only slowly) and its weight_decay
    is decoupled (past the momentum, so ten times weaker at momentum 0.9).

    Args:
      l2: the penalty is l2 / 2 |w|^2.
    """

    clip_norm, clip_value, rates = 0.0, 0.0, {}

    def __init__(self, learning_rate=0.01, momentum=0.9, l2=0.0, **kwargs):
        super().__init__(learning_rate, momentum=momentum, **kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        """One weight's step."""
        dense = clipped(gradient, self.clip_norm, self.clip_value)
        lr = ops.cast(own_rate(self, variable, learning_rate), variable.dtype)
        slope = dense
        if decays(variable):
            slope = dense + self.l2 * ops.convert_to_tensor(variable)
        if not self.momentum:  # the base class keeps no velocities
            self.assign_sub(variable, lr * slope)
            return
        # Like the base class, this may be handed the backend's own variable.
        velocity = self.momentums[self._get_variable_index(variable)]
        momentum_step(variable, velocity, slope, lr, self.momentum, self.nesterov)


def momentum_step(variable, velocity, slope, rate, momentum, nesterov):
    """v = momentum v + slope and w = w - rate v, or Nesterov's, in place by one TensorFlow kernel.

    A classifier over 113,287 images and its velocity take a gigabyte each: no copies of them.
    """
    import tensorflow as tf

    tf.raw_ops.ResourceApplyMomentum(
        var=variable.handle,
        accum=velocity.value.handle,
        lr=rate,
        grad=slope,
        momentum=ops.cast(momentum, variable.dtype),
        use_nesterov=nesterov,
    )


def decays(variable):
    """Whether weight decay holds for a weight: not for a lone number, which the loss has."""
    return len(variable.shape) > 0


def own_rate(optimizer: Any, variable, learning_rate):
    """The learning rate of one weight: `optimizer.rates` holds factors by its path."""
    if not optimizer.rates:
        return learning_rate
    # The backend's own variable has another path: found by its place.
    place = optimizer._get_variable_index(variable)
    return learning_rate * optimizer.rates.get(optimizer._trainable_variables[place].path, 1.0)


def clipped(gradient, clip_norm, clip_value=0.0):
    """A gradient as a dense tensor, scaled down to the norm `clip_norm` where it is longer.

    Args:
      gradient: of one weight; an embedding's comes as sparse rows, some of them twice.
      clip_norm: largest L2 norm; 0: any.
      clip_value: before that each number is cut to between minus and plus this; 0: none is.
    """
    import tensorflow as tf

    dense = tf.convert_to_tensor(gradient)  # ops.convert_to_tensor leaves rows sparse
    if clip_value:
        dense = ops.clip(dense, -clip_value, clip_value)
    if not clip_norm:
        return dense
    norm = ops.sqrt(ops.sum(ops.square(dense)))
    return dense * (clip_norm / ops.maximum(norm, clip_norm))


class Adam(keras.optimizers.Adam):
    """keras.optimizers.Adam in TensorFlow's one kernel, four times as fast on a CPU.

    Gradients are clipped by `clip_norm` and `clip_value`. They come as the sum over the replicas,
    so the norm is that of the whole batch's gradient; Keras' own `clipnorm` clips each replica's
    share before they are added.

    Attributes:
      l2: times the weight is added to the gradient before the moments, as PyTorch's Adam does.
      decay: decoupled, as AdamW's; that of a weight with a rate of its own is that rate's, too.

    Reference: Kingma, Ba, Adam, ICLR 2015; [FNE] section 4.3.1 (norm 2, each weight by itself).
    """

    clip_norm, clip_value, rates, l2, decay = 0.0, 0.0, {}, 0.0, 0.0

    def update_step(self, gradient, variable, learning_rate):
        """One weight's step."""
        learning_rate = own_rate(self, variable, learning_rate)
        if self.decay and decays(variable):
            lr = ops.cast(learning_rate, variable.dtype)
            self.assign_sub(variable, lr * self.decay * ops.convert_to_tensor(variable))
        dense = clipped(gradient, self.clip_norm, self.clip_value)
        if self.l2:
            dense = dense + self.l2 * ops.convert_to_tensor(variable)
        import tensorflow as tf

        index = self._get_variable_index(variable)
        step = ops.cast(self.iterations + 1, variable.dtype)
        first, second = (ops.cast(b, variable.dtype) for b in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=ops.power(first, step),
            beta2_power=ops.power(second, step),
            lr=ops.cast(learning_rate, variable.dtype),
            beta1=first,
            beta2=second,
            epsilon=self.epsilon,
            grad=dense,
        )


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, or a constant rate, times min(1, step / steps): a linear rise from 0.

    The other schedule counts from the first step too, so that it is the same behind the rise.

    Args:
      schedule: a Keras schedule, or a number; steps: how many the rise takes.

    Reference: [Goyal].
    """

    def __init__(self, schedule, steps):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        return rate * ops.minimum(1.0, ops.cast(step, "float32") / self.steps)


def parse_milestones(text):
    """Epochs after which the rate falls, of "1,4,10".

    Raises:
      ValueError: these are not rising numbers above 0.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(a < b < 1e6 for a, b in zip([0.0, *found], found, strict=False)):
        raise ValueError(
            f"--milestones {text!r}: expected rising numbers of epochs, such as 1,4,10"
        )
    return found


def warmup_steps(settings, steps_per_epoch):
    """How many steps the rise takes; it is one epoch before a cosine where nothing is said."""
    epochs = settings.warmup_epochs
    if epochs is None:
        epochs = 1 if settings.schedule == "cosine" else 0
    return round(epochs * steps_per_epoch)


def build_schedule(settings, steps_per_epoch):
    """The learning rate as a number or as a Keras schedule of the step.

    `step` multiplies by `decay_rate` every `decay_epochs`, `multi_step` after each of the completed
    epochs in `milestones`; `plateau` is constant here and `RunRecords` lowers it; `cosine`
    falls to 0 at the last step. Before each but plateau there may be a linear rise over
    `warmup_epochs`: the cosine begins behind it, the others count it in.

    Raises:
      ValueError: unknown schedule, or odd milestones.
    """
    rate, schedules = settings.learning_rate, keras.optimizers.schedules
    warm = warmup_steps(settings, steps_per_epoch)
    if settings.schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {settings.schedule!r}: choose from {SCHEDULES}")
    if settings.schedule == "cosine":
        rest = max(1, settings.epochs * steps_per_epoch - warm)
        if not warm:
            return schedules.CosineDecay(rate, rest)
        return schedules.CosineDecay(0.0, rest, warmup_target=rate, warmup_steps=warm)
    if settings.schedule == "step":
        steps = max(1, round(settings.decay_epochs * steps_per_epoch))
        made = schedules.ExponentialDecay(rate, steps, settings.decay_rate, staircase=True)
    elif settings.schedule == "multi_step":
        ends = parse_milestones(settings.milestones)
        # Keras' boundary is the last step of the rate before it; steps count from 0.
        last = [round(end * steps_per_epoch) - 1 for end in ends]
        rates = [rate * settings.decay_rate**place for place in range(len(ends) + 1)]
        made = schedules.PiecewiseConstantDecay(last, rates)
    else:
        made = rate
    return WarmUp(made, warm) if warm else made


def build_optimizer(settings, steps_per_epoch, rates=None):
    """The optimiser that `settings` name, with its schedule.

    Args:
      settings: the run's configuration; steps_per_epoch: what the schedule counts in.
      rates: {path of a weight: factor of the learning rate}, 1 for those not named.

    `weight_decay` is L2 for sgd and adam, as in PyTorch, and decoupled for adamw.

    Raises:
      ValueError: unknown optimiser or schedule.
    """
    if settings.optimizer not in OPTIMIZERS:
        names = ", ".join(OPTIMIZERS)
        raise ValueError(f"unknown optimizer {settings.optimizer!r}: choose from {names}")
    make = OPTIMIZERS[settings.optimizer]
    optimizer = make(build_schedule(settings, steps_per_epoch), settings)
    optimizer.clip_norm, optimizer.rates = settings.clip_norm, dict(rates or {})
    optimizer.clip_value = getattr(settings, "clip_value", 0.0)
    return optimizer


def _adam(rate, **attributes):
    made = Adam(rate)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


OPTIMIZERS = {
    "sgd": lambda rate, s: SGDL2(rate, momentum=s.momentum, l2=s.weight_decay, nesterov=s.nesterov),
    "adam": lambda rate, s: _adam(rate, l2=s.weight_decay),
    "adamw": lambda rate, s: _adam(rate, decay=s.weight_decay),
}
