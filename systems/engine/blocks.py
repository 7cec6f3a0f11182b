"""A loss of the whole batch that never holds the B x B matrix: some anchors after the other.

The scores of a few anchors with all candidates are made, their terms added up and differentiated,
and forgotten. For a batch of 8,192 each B x B array that a loss keeps takes 268 MB, and it keeps
about ten of them.

Every loss takes part whose terms are those of anchors, `losses.PairLoss.terms`: the same formula
makes the whole batch, which is the block of all anchors.

Shape letters: B batch, b anchors at once, D embedding.
"""

from typing import Any

from losses import Anchors

ANCHORS = 128  # at once: from about there on a matrix product runs at its full rate


def in_blocks(loss, relevance, image, text, size, numbers=None) -> Any:
    """What `loss(relevance, image, text, **numbers)` is, to rounding.

    The gradient is found on the way, since the blocks would have to be made again for it: three
    matrix products for each side.

    Args:
      loss: one whose terms are those of anchors: it has `sides`.
      relevance: `losses.relevance_matrix` but for its cells.
      image, text: (B, D) unit rows.
      size: most anchors at once; see `anchors_at_once`.
      numbers: {name: scalar} of the loss's trained numbers.

    Returns:
      A scalar, differentiable by image, text and numbers.
    """
    import tensorflow as tf

    numbers = {name: tf.cast(value, image.dtype) for name, value in (numbers or {}).items()}

    @tf.custom_gradient
    def whole(image, text, *values):
        given = dict(zip(numbers, values, strict=True))
        found = [one_side(loss, relevance, image, text, size, side, given) for side in loss.sides]
        summed: list[Any] = [sum(parts) for parts in zip(*found, strict=True)]
        total, count, *slopes = summed
        scale = 1.0 / loss.divisor(count, tf.shape(image)[0])

        def gradient(upstream):
            return [upstream * scale * slope for slope in slopes]

        return scale * total, gradient

    return whole(image, text, *numbers.values())


def one_side(loss, relevance, image, text, size, side, numbers):
    """Sum and number of the terms with one side as anchors, and gradients: by image, by text, by
    each of the numbers.
    """
    import tensorflow as tf

    batch, width = tf.shape(image)[0], image.shape[1]
    size = anchors_at_once(loss, size, batch)
    anchors, others = (image, text) if side == "image" else (text, image)

    def block(start, total, count, by_anchors, by_others, by_numbers):
        own = tf.range(start, tf.minimum(start + size, batch))
        few = anchors[start : start + size]
        with tf.GradientTape() as tape:
            tape.watch([few, others, numbers])
            if side == "image":
                scores, cells = loss.scores(few, others), relevance(cells=(own, None))
            else:
                scores = tf.transpose(loss.scores(others, few))
                cells = tf.transpose(relevance(cells=(None, own)))
            terms = loss.terms(Anchors(scores, cells, own), **loss.numbers(numbers))
            added = tf.reduce_sum(terms)
        zero = tf.UnconnectedGradients.ZERO
        found: Any = tape.gradient(added, (few, others, numbers), unconnected_gradients=zero)
        mine, theirs, slopes = found
        by_anchors = by_anchors.write(start // size, mine)
        by_numbers = {name: slope + slopes[name] for name, slope in by_numbers.items()}
        count += tf.cast(tf.size(terms), total.dtype)
        return start + size, total + added, count, by_anchors, by_others + theirs, by_numbers

    nothing, blocks = tf.zeros((), image.dtype), tf.maximum(-(-batch // size), 1)
    parts = tf.TensorArray(image.dtype, blocks, infer_shape=False, element_shape=(None, width))
    found = tf.while_loop(
        lambda start, *_: start < batch,
        block,
        (0, nothing, nothing, parts, tf.zeros_like(others), dict.fromkeys(numbers, nothing)),
        parallel_iterations=1,  # one block in memory
    )
    _, total, count, parts, by_others, by_numbers = found
    slopes = parts.concat(), by_others
    by_image, by_text = slopes if side == "image" else slopes[::-1]
    return total, count, by_image, by_text, *by_numbers.values()


def anchors_at_once(loss, size, batch):
    """How many anchors: ANCHORS, or `size` if that is less.

    Fewer where the similarity makes (b, B, D) differences, not (b, B) scores: then so few that
    there are no more of these than in a batch of `size`.

    Args:
      batch: B, a tensor.
    """
    import tensorflow as tf

    if loss.similarity != "order":
        return min(size, ANCHORS)
    return tf.clip_by_value(size * size // batch, 1, size)
