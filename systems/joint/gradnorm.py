"""GradNorm: weights of losses that are trained, so that all move the shared weights alike.

Nothing here needs a training step of its own: the norms are taken where the loss is made, and the
step on the weights is one of the model's optimiser.

Reference:
  [GradNorm] Chen et al., GradNorm: gradient normalization for adaptive loss balancing in deep
             multitask networks, ICML 2018, section 3 and Algorithm 1.
"""

import keras
from keras import ops

from run import replicas

LEAST = 1e-4  # of a weight


class SumTo(keras.constraints.Constraint):
    """After every step: weights above 0 whose sum is `total` ([GradNorm] Algorithm 1)."""

    def __init__(self, total):
        self.total = float(total)

    def __call__(self, value):
        value = ops.maximum(value, LEAST)
        return value * (self.total / ops.sum(value))


class GradNorm(keras.layers.Layer):
    """Weights w_k of K losses.

        G_k = |w_k gradient of L_k by the shared weights|    r_k = L_k / L_k(first batch)
        L_grad = sum_k | G_k - mean(G) (r_k / mean(r))^alpha |

    whose gradient by w_k, with the targets held, is sign(G_k - target_k) G_k / w_k. The optimiser
    of the model makes the step, at a rate of its own (`optimization.own_rate`).

    Args:
      names: of the K losses; alpha: how strongly a loss that lags is favoured.

    Reference: [GradNorm] Eq. 1 and 2.
    """

    def __init__(self, names, alpha, **kwargs):
        super().__init__(**kwargs)
        self.names, self.alpha, number = tuple(names), alpha, len(names)
        # Replicas have made the same step, so that any of them may say where it ends.
        shared = {"shape": (number,), "aggregation": "only_first_replica"}
        self.balance = self.add_weight(
            **shared, initializer="ones", constraint=SumTo(number), name="balance"
        )
        self.first = self.add_weight(**shared, initializer="zeros", trainable=False, name="first")
        self.built = True

    def weights_now(self):
        """{name of a loss: its weight}."""
        return dict(zip(self.names, ops.unstack(ops.cast(self.balance, "float32")), strict=True))

    def weigh(self, shares, shared):
        """The weighted sum of the losses, whose gradient by the weights is that of L_grad.

        Args:
          shares: {name: scalar}, what this replica adds to each loss of the whole batch.
          shared: the variables that several losses move.
        """
        own = [shares[name] for name in self.names]
        losses = ops.stop_gradient(replicas.add_up([ops.stack(own)])[0])
        first = ops.cast(self.first, "float32")
        first = ops.where(first > 0, first, ops.maximum(losses, 1e-12))
        self.first.assign(ops.cast(first, self.first.dtype))
        norms = ops.stack([replicas.gradient_norm(share, shared) for share in own])
        weights = ops.cast(self.balance, "float32")
        fixed = ops.stop_gradient(weights)
        slope = self.slope(fixed, ops.stop_gradient(norms), losses / first)
        # Each replica adds its share of the gradient; the term's value is 0.
        term = ops.sum(weights * slope) / replicas.num_replicas()
        return ops.sum(fixed * ops.stack(own)) + (term - ops.stop_gradient(term))

    def slope(self, weights, norms, ratios):
        """Gradient of L_grad by the weights (K,).

        Args:
          weights: w; norms: of the gradients of the losses without weights; ratios: r.
        """
        moved = weights * norms
        pace = ratios / ops.maximum(ops.mean(ratios), 1e-12)
        target = ops.mean(moved) * ops.power(ops.maximum(pace, 1e-12), self.alpha)
        return ops.sign(moved - target) * norms

    def save_own_variables(self, store):
        store["balance"], store["first"] = self.balance, self.first

    def load_own_variables(self, store):
        there = list(store.keys())  # none in a run without GradNorm: it begins anew
        for name in ("balance", "first"):
            if name in there:
                getattr(self, name).assign(store[name])
