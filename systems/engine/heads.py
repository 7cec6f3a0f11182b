"""Heads: terms of the loss beside the comparison of pairs.

Shape letters: b rows of one replica.
"""

import keras
from keras import ops


class Head(keras.layers.Layer):
    """A term, or several, of each row by itself: a classifier, a writer of captions.

    `call(batch, features, training)` makes outputs (b, ...) by name. `batch` is the batch dict,
    `features` {"image", "text"} are the dicts that the readers made of it.

    `row_terms(batch, outputs)` makes {name: (b,)} of the outputs of the whole model. Those in
    `terms` are losses, of which the whole batch's mean counts; those in `shown` stand in the
    history only.

    Args:
      terms: {name: weight in the loss}.
      shown: names of what else `row_terms` makes.
    """

    def __init__(self, terms, shown=(), **kwargs):
        super().__init__(autocast=False, **kwargs)  # each layer within casts for itself
        self.terms, self.shown = dict(terms), tuple(shown)
        self.built = True  # a head makes its weights when it is made

    def call(self, batch, features, training=False):
        """{name: (b, ...)}, what `row_terms` needs."""
        return {}

    def row_terms(self, batch, outputs):
        """{name: (b,)} of this replica's rows."""
        return {}


def per_caption(batch, of_images):
    """What was made of a batch's images, for each of its captions (b, ...); each is read once."""
    captions = batch.get("image_row")  # the image of each, where they are fewer
    return of_images if captions is None else ops.take(of_images, captions, axis=0)
