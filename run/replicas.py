"""Replicas: the strategy, and what one replica must know of the others.

The only file that knows that replicas exist. A loss over in-batch negatives needs the whole batch:
each replica gathers all embeddings, computes the same whole-batch loss and counts 1 / R of it, so
that the sum of the replicas' gradients is the gradient of one device, to rounding.
"""

import os
import sys

from absl import logging

from settings.training import STRATEGIES

NEEDED = 3_000_000_000  # bytes of addresses: measured 2.9e9, on two cores


def import_tensorflow():
    """Imports TensorFlow without the page of notes that its C++ half prints about missing GPUs.

    They are written past Python's logging and heed no log level. Errors still come as exceptions.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    check_memory()
    sys.stderr.flush()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.set_verbosity(logging.WARNING)  # no line for every gradient that is added up
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    return tf


def check_memory():
    """Refuses a limit of memory under which TensorFlow aborts before it can say anything.

    Raises:
      MemoryError: the limit (ulimit -v, prlimit --as) and what is needed.
    """
    if sys.platform == "win32":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < NEEDED:
        raise MemoryError(
            f"the limit is {limit / 1e9:.1f} GB of addresses (ulimit -v, prlimit --as), TensorFlow "
            f"needs {NEEDED / 1e9:.0f} GB to begin"
        )


def set_devices(virtual_devices=0, threads=0, deterministic=False, cpu_only=False):
    """Sets what TensorFlow must know before its first operation.

    Args:
      virtual_devices: split the CPU into so many devices, to try replicas; 0 does not.
      threads: how many threads one operation may use; 0 leaves it to TensorFlow.
      deterministic: the same bits on every run, somewhat slower.
      cpu_only: leave GPUs alone, for the same bits on every machine.
    """
    tf = import_tensorflow()
    # Ten bits of mantissa would turn equal concept vectors (s = 1) into negatives.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if cpu_only:
        tf.config.set_visible_devices([], "GPU")
    if virtual_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * virtual_devices
        tf.config.set_logical_device_configuration(cpu, parts)
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def make_strategy(name, virtual_devices=0):
    """The tf.distribute strategy called `name`, or None for one device.

    `auto` is `mirrored` where there are several GPUs (or virtual devices) and `none` otherwise.
    `multi_worker` reads the environment variable TF_CONFIG.

    Raises:
      ValueError: unknown name; `multi_worker` without a usable TF_CONFIG.
    """
    import tensorflow as tf

    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}: choose from {', '.join(STRATEGIES)}")
    if name == "multi_worker":
        return _multi_worker()
    devices = [d.name for d in tf.config.list_logical_devices("GPU")]
    if virtual_devices > 1 and not devices:
        devices = [d.name for d in tf.config.list_logical_devices("CPU")]
    if name == "mirrored" or (name == "auto" and len(devices) > 1):
        return tf.distribute.MirroredStrategy(devices or None)
    return None


def _multi_worker():
    """MultiWorkerMirroredStrategy, after a look at TF_CONFIG."""
    import tensorflow as tf

    from run import tf_config

    tf_config.worker_index()
    return tf.distribute.MultiWorkerMirroredStrategy()


def replicas_here(strategy):
    """(first replica of this process, how many it has, how many there are in all)."""
    if strategy is None:
        return 0, 1, 1
    total = strategy.num_replicas_in_sync
    here = len(strategy.extended.worker_devices)
    if total == here:
        return 0, here, total
    from run import tf_config

    return tf_config.worker_index() * here, here, total


def num_replicas():
    """R, seen from inside a training step; 1 on any other Keras backend than TensorFlow."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def compiled(tower):
    """A tower as one graph that takes any number of rows of any length, for use after training.

    Args:
      tower: a model.

    Returns:
      A function of its inputs, on one device whatever the strategy; several threads may call it.
    """
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *one.shape[1:]), one.dtype) for one in tower.inputs]

    def use(*inputs):
        return tower(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    return tf.function(use, input_signature=signature)


def gather(tensors):
    """Rows of all replicas, in the order of the global batch; differentiable.

    Args:
      tensors: dict of (b, ...) tensors of this replica; b >= 1 may differ between replicas.

    Returns:
      The same dict of (B, ...) tensors, B the global batch.
    """
    if num_replicas() == 1:
        return tensors
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    # identity: an input that no operation has touched yet has no device, which all_gather refuses
    # where a worker has one replica.
    return {key: context.all_gather(tf.identity(v), axis=0) for key, v in tensors.items()}


def add_up(tensors):
    """Sums of tensors over the replicas, each known to all of them."""
    if num_replicas() == 1:
        return tensors
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def gradient_norm(share, variables):
    """L2 norm of the whole loss's gradient by some variables, float32; asked within a graph.

    Args:
      share: scalar, what this replica adds to the loss; variables: Keras variables.
    """
    import tensorflow as tf

    found = tf.gradients(share, [variable.value for variable in variables])
    whole = add_up([tf.convert_to_tensor(one) for one in found if one is not None])
    squares = [tf.reduce_sum(tf.square(tf.cast(one, tf.float32))) for one in whole]
    return tf.sqrt(tf.add_n(squares)) if squares else tf.constant(0.0)


def metric_shape(results):
    """Metric results in the shape that Keras' reduction over workers wants: (1,), not ()."""
    if num_replicas() == 1:
        return results
    import tensorflow as tf

    if not tf.distribute.get_strategy().extended._in_multi_worker_mode():
        return results
    return {key: tf.reshape(value, (1,)) for key, value in results.items()}


def distribute(strategy, make_dataset):
    """Hands every replica its own slices.

    Args:
      strategy: a strategy or None.
      make_dataset: () -> tf.data.Dataset whose elements are the per-replica batches of this
        process, one replica after the other.

    Returns:
      What `keras.Model.fit` reads.
    """
    if strategy is None:
        return make_dataset()
    import tensorflow as tf

    options = tf.distribute.InputOptions(experimental_fetch_to_device=True)
    return strategy.distribute_datasets_from_function(lambda context: make_dataset(), options)
