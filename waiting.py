"""How long training waits for its batches.

Keras takes them inside a graph, where nothing can be timed; so they pass through a generator, which
looks at the clock before and after it takes each from the batches that were prepared ahead.
"""

import time


class Clock:
    """How long a training has waited.

    Attributes:
      waited: seconds; used: whether anything was timed.
    """

    waited, used = 0.0, False


def timed(dataset, clock):
    """The same tf.data dataset; what its taker waits goes into `clock`."""
    import tensorflow as tf

    clock.used = True

    def batches():
        source = iter(dataset)
        while True:
            began = time.perf_counter()
            batch = next(source, None)
            clock.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    return tf.data.Dataset.from_generator(batches, output_signature=dataset.element_spec)
