"""Numbers of a loss that are trained with the towers: temperature, margin, bias, within bounds.

The losses stay pure: they are handed these numbers beside the embeddings.

References:
  [CLIP]   Radford et al., Learning transferable visual models from natural language supervision,
           2021, section 2.5 (the logarithm of the temperature is trained, its factor is <= 100).
  [SigLIP] Zhai et al., Sigmoid loss for language image pre-training, 2023, Algorithm 1.
"""

import keras
import numpy as np
from keras import ops

# A hinge asks for no larger margin and a loss without the own pair below its fraction for no higher
# temperature: trained, these fall until a bound holds them.
BOUNDS = {"temperature": (0.01, 1.0), "margin": (0.01, 2.0), "bias": (-30.0, 30.0)}
LOGARITHM = ("temperature",)  # trained as its logarithm


def choose_learned(asked, loss, kind):
    """Which numbers of a loss are trained, by `--learn`.

    Args:
      asked: "auto", "none", or names with commas between them.
      loss: the loss; kind: its name among `losses.LOSSES`.

    Returns:
      {name: where it starts}.

    Raises:
      ValueError: the loss has no such number, or it starts outside its bounds.
    """
    can = loss.learnable
    if asked == "auto":
        names = loss.usually_learned
    else:
        names = [] if asked == "none" else [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in can:
            known = f"choose from {', '.join(can)}" if can else "it has none to be trained"
            raise ValueError(f"--learn {name}: --loss {kind} has no such number; {known}")
        low, high = BOUNDS[name]
        if not low <= getattr(loss, name) <= high:
            raise ValueError(
                f"--learn {name}: it starts at {getattr(loss, name)}; expected {low} to {high}, or "
                "--learn none"
            )
    return {name: getattr(loss, name) for name in names}


@keras.saving.register_keras_serializable("matchbox")
class Within(keras.constraints.Constraint):
    """After every step back to the nearer bound: a projected gradient step."""

    def __init__(self, low, high):
        self.low, self.high = float(low), float(high)

    def __call__(self, value):
        return ops.clip(value, self.low, self.high)

    def get_config(self):
        return {"low": self.low, "high": self.high}


@keras.saving.register_keras_serializable("matchbox")
class LearnedNumbers(keras.layers.Layer):
    """The trained numbers of a loss, as weights; the temperature as its logarithm ([CLIP]).

    In a file they stand by the names of loss and number. So a run that starts from another one
    takes over what the same loss has learned, and begins anew with what the file does not have.

    Args:
      starts: {name: value}, names of `BOUNDS`.
      kind: the loss.
    """

    def __init__(self, starts, kind, **kwargs):
        super().__init__(**kwargs)  # of the towers' type: replicas add all gradients up in one
        self.starts, self.kind, self.numbers = dict(starts), kind, {}
        for name, start in starts.items():
            inner = np.log if name in LOGARITHM else float
            low, high = (float(inner(bound)) for bound in BOUNDS[name])
            self.numbers[name] = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(float(inner(start))),
                constraint=Within(low, high),
                # Replicas have made the same step, so that any of them may say where it ends.
                aggregation="only_first_replica",
                name=name,
            )
        self.built = True

    def values(self):
        """{name: scalar}, as the loss reads them."""
        return {
            name: ops.exp(weight) if name in LOGARITHM else ops.convert_to_tensor(weight)
            for name, weight in self.numbers.items()
        }

    def save_own_variables(self, store):
        for name, weight in self.numbers.items():
            store[f"{self.kind}_{name}"] = weight

    def load_own_variables(self, store):
        there = list(store.keys())
        for name, weight in self.numbers.items():
            if f"{self.kind}_{name}" in there:
                weight.assign(store[f"{self.kind}_{name}"])

    def get_config(self):
        return {**super().get_config(), "starts": self.starts, "kind": self.kind}
