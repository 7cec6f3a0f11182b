"""How long training waits for its batches.

Batches are prepared ahead, beside the step that trains on the one before. Each is noted when it is
ready, and so is when a step wants it: the step has waited for the time between, if it was first.
Timing the hand-over instead would call every step starved that is only a little faster than its
batches, since TensorFlow puts threads of its own between, which wait all the time.
"""

import threading
import time


class Clock:
    """How long a training has waited.

    On a GPU a step may be wanted before the last one is done, and waiting that costs nothing is
    counted too.

    Attributes:
      waited: seconds; used: whether batches are noted at all.
    """

    def __init__(self):
        self.waited, self.used = 0.0, False
        self._wanted: dict[int, float] = {}
        self._ready: dict[int, float] = {}
        self._step, self._lock = 0, threading.Lock()

    def start(self) -> None:
        """A training begins, with its first batch."""
        self._step = 0

    def want(self) -> None:
        """A step begins."""
        self._note(self._wanted, self._step)
        self._step += 1

    def ready(self, step: int) -> None:
        """The batch of a step has been made."""
        self._note(self._ready, step)

    def _note(self, times: dict[int, float], step: int) -> None:
        if not self.used:
            return
        with self._lock:
            times[step] = time.perf_counter()
            if step in self._wanted and step in self._ready:
                self.waited += max(0.0, self._ready.pop(step) - self._wanted.pop(step))


def timed(dataset, clock: Clock, parts: int = 1):
    """The same tf.data dataset; must stand before the last `prefetch`.

    Args:
      dataset: batches.
      clock: is told when they are ready.
      parts: how many of them make a step, one for each replica of this process.
    """
    import tensorflow as tf

    clock.used = True

    def note(number):
        if (number + 1) % parts == 0:
            clock.ready(int(number) // parts)
        return number

    def pass_on(number, batch):
        with tf.control_dependencies([tf.numpy_function(note, [number], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    return dataset.enumerate().map(pass_on)
