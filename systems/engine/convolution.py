"""What the convolutional networks of pictures and texts are built of."""

import keras
from keras import ops

from run import replicas

NORM_MOMENTUM = 0.95  # of moving statistics
LINES = 6  # that tell places of a picture apart, each way


def he_normal():
    """Normal weights of standard deviation sqrt(2 / fan in).

    Reference: He et al., Delving deep into rectifiers, ICCV 2015, Eq. 10.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")


def norm(name, start="ones"):
    """Batch normalisation over the batch of all replicas, epsilon 1e-3, momentum 0.95.

    Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
      the authors' code (rate 0.05 of the moments).

    Args:
      start: initial scales, "ones" or "zeros". Zeros at the end of a residual block leave it out at
        first: a deep network begins as a shallow one. Reference: Goyal et al., Accurate, large
        minibatch SGD, 2017, section 5.1.
    """
    together = replicas.num_replicas() > 1
    return keras.layers.BatchNormalization(
        momentum=NORM_MOMENTUM,
        epsilon=1e-3,
        gamma_initializer=start,
        synchronized=together,
        name=name,
    )


def near_lines(share):
    """(...) of [0, 1] -> (..., 6): how near it is to 0, 0.2 ... 1: 2 on a line, 0 on the next."""
    lines = ops.arange(LINES, dtype=share.dtype) / (LINES - 1)
    return 2.0 * ops.relu(1.0 - ops.absolute(share[..., None] - lines) * (LINES - 1))
