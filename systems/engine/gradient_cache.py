"""Gradient caching: a contrastive batch far larger than memory, with its exact gradient.

First the batch is embedded in micro batches and nothing but the rows is kept; their loss is that of
the whole batch, and gives its gradient by the rows. Then the micro batches are embedded once more,
with the same dropout masks, each with the gradient of its rows to go back from, and the gradients
by the weights are added up.

A step of its own, against the house rule: Keras' step holds the activations of the whole batch from
one forward pass to one backward pass, and no loss or layer can change that.

Exact for every loss, and for every tower whose rows do not depend on each other: batch norm that
takes its statistics from the batch is refused. Each replica goes through its share so; rows are
gathered for the loss as ever.

Shape letters: B batch, b rows of this replica, D embedding, T tokens, n micro batches.

Reference: Gao et al., Scaling deep contrastive learning batch size under memory limited setup,
  2021, section 3.
Differs from the paper: the loss, too, is made in blocks (`blocks`), so that no B x B matrix is held
  but the one that a batch brings with --relevance tfidf; captions of similar length share a micro
  batch, which is cut to the longest of them.
"""

from typing import Any

import keras

from run import replicas
from systems.engine.layers import lengths


def check_micro_batch(model, settings):
    """Refuses what micro batches would change. Raises ValueError, which says what."""
    given = f"--micro_batch {settings.micro_batch}"
    if settings.micro_batch >= settings.batch_size:
        raise ValueError(
            f"{given}: expected fewer pairs than --batch_size {settings.batch_size}, or 0: none"
        )
    for tower in (model.image_tower, model.text_tower):
        for layer in coupled(tower):
            raise ValueError(
                f"{given}: {layer.name} of the {tower.name} takes its statistics from the whole "
                "batch, so that micro batches would train another model; leave it out, or let "
                "that norm be frozen (--train; --freeze_norm those of the image CNN)"
            )


def coupled(layer):
    """The batch norms in a layer that take their statistics from the batch they are given."""
    if getattr(layer, "still", False):
        return []
    if isinstance(layer, keras.layers.BatchNormalization):
        return [layer] if layer.trainable else []
    return [norm for part in layer._layers for norm in coupled(part)]


def train_step(model, data):
    """One step of a `DualEncoder`, as `keras.Model.train_step`, by parts of `model.micro_batch`.

    Args:
      data: the batch dict, or a tuple that begins with it.

    Returns:
      The running means.
    """
    import tensorflow as tf

    batch = keras.utils.unpack_x_y_sample_weight(data)[0]
    parts = MicroBatches(model, batch)
    seeds = [v for v in model.variables if v.name == "seed_generator_state"]
    first = [seed.value * 1 for seed in seeds]  # a copy
    outputs = parts.embed()
    rows = {key: value for key, value in outputs.items() if value.dtype.is_floating}
    weights = model.trainable_weights
    with tf.GradientTape() as tape:
        tape.watch(rows)
        loss = model.compute_loss(x=batch, y_pred=outputs)
        scaled = model.optimizer.scale_loss(loss)
    # Some weights are the loss's own: a classifier, a temperature.
    found: Any = tape.gradient(scaled, (rows, weights))
    by_rows, own = found
    by_rows = {key: value for key, value in by_rows.items() if value is not None}
    for seed, value in zip(seeds, first, strict=True):
        seed.assign(value)
    gradients = parts.backward(by_rows, weights)
    gradients = [a if b is None else a + b for a, b in zip(gradients, own, strict=True)]
    model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    model._loss_tracker.update_state(loss * replicas.num_replicas(), parts.size)
    return model.compute_metrics(batch, None, outputs)


class MicroBatches:
    """A batch in micro batches of equal size, but for the last.

    Args:
      model: with micro_batch, the most pairs in one.
      batch: the batch dict of this replica, b rows.

    Attributes:
      size: b; each: rows of a micro batch; number: n; order: (b,) rows, as they are read.
    """

    def __init__(self, model, batch):
        import tensorflow as tf

        self.model, self.batch = model, batch
        self.size = tf.shape(batch["image_id"])[0]
        self.number = tf.maximum(-(-self.size // model.micro_batch), 1)
        self.each = tf.maximum(-(-self.size // self.number), 1)
        # A picture is read once for its captions where these stand together.
        self.cut = model.text_tower.input_shape[1] is None
        self.order = tf.range(self.size)
        if self.cut and "image_row" not in batch:
            self.order = tf.argsort(lengths(batch["tokens"]), stable=True)

    def __getitem__(self, place):
        """(its rows, the micro batch number `place` as a batch dict)."""
        import tensorflow as tf

        rows = self.order[place * self.each :][: self.each]
        sides = [key for key in ("image", "image_view") if key in self.batch]
        found = {
            key: tf.gather(value, rows) for key, value in self.batch.items() if key not in sides
        }
        pictures = rows
        if "image_row" in found:
            pictures, found["image_row"] = tf.unique(found["image_row"])
        images = {key: tf.gather(self.batch[key], pictures) for key in sides}
        if self.cut:
            longest = tf.reduce_max(lengths(found["tokens"]))
            found["tokens"] = found["tokens"][:, : tf.maximum(longest, 1)]
        return rows, found | images

    def outputs(self):
        """Shapes and types of what the model makes of a micro batch, as Keras tensors."""
        example = {
            key: keras.KerasTensor((None, *value.shape[1:]), value.dtype)
            for key, value in self.batch.items()
        }
        return self.model.compute_output_spec(example, training=True)

    def embed(self):
        """What the model makes of the batch, (b, ...) by name, without the way there."""
        import tensorflow as tf

        made = self.outputs()
        kept = {
            key: tf.TensorArray(
                one.dtype, self.number, infer_shape=False, element_shape=(None, *one.shape[1:])
            )
            for key, one in made.items()
        }

        def part(place, kept):
            outputs = self.model(self[place][1], training=True)
            return place + 1, {key: rows.write(place, outputs[key]) for key, rows in kept.items()}

        kept = self._loop(part, kept)
        back = tf.argsort(self.order)
        return {key: tf.gather(rows.concat(), back) for key, rows in kept.items()}

    def backward(self, by_rows, weights):
        """Gradients by the weights, of a loss with these gradients by the rows (b, ...)."""
        import tensorflow as tf

        def part(place, totals):
            rows, batch = self[place]
            with tf.GradientTape() as tape:
                outputs = self.model(batch, training=True)
            found = tape.gradient(
                [outputs[key] for key in by_rows],
                weights,
                [tf.gather(value, rows) for value in by_rows.values()],
            )
            # No path leads to the loss's own weights; an embedding's gradient is sparse rows.
            return place + 1, [
                total if one is None else total + tf.convert_to_tensor(one)
                for total, one in zip(totals, found, strict=True)
            ]

        return self._loop(part, [tf.zeros(w.shape, w.dtype) for w in weights])

    def _loop(self, part, found):
        """`part(place, found)` for every micro batch, one at a time in memory."""
        import tensorflow as tf

        start = tf.constant(0)
        return tf.while_loop(
            lambda place, _: place < self.number, part, (start, found), parallel_iterations=1
        )[1]
