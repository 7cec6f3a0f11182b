"""A loss of the whole batch that never holds the B x B matrix: some anchors after the other.

The scores of a few anchors with all candidates are made, their terms added up and differentiated,
and forgotten. For a batch of 8,192 each B x B array that a loss keeps takes 268 MB, and it keeps
about ten of them.

A loss takes part that says which sides its anchors are, as `anchors`, and has a method
`anchor_terms(relevance, scores, own, numbers)`: the terms of some anchors, whose sum over the
anchors of all sides is its sum. Its arguments are (b, B) relevance and similarities of b anchors,
in rows, with all candidates of the other side; (b,) columns of the anchors' own pairs; and what is
trained of the loss, {name: scalar}. Its mean is over all these terms, or `of_pairs` over the B
pairs.

Shape letters: B batch, b anchors at once, D embedding.
"""

from typing import Any

from losses import SIMILARITIES

ANCHORS = 128  # at once: from about there on a matrix product runs at its full rate


def in_blocks(loss, relevance, image, text, size, numbers=None) -> Any:
    """What `loss(relevance, {"image": image, "text": text, **numbers})` is, to rounding.

    The gradient is found on the way, since the blocks would have to be made again for it: three
    matrix products for each side.

    Args:
      loss: with `anchors` and `anchor_terms`.
      relevance: `relevance_matrix` but for its cells.
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
        found = [one_side(loss, relevance, image, text, size, side, given) for side in loss.anchors]
        summed: list[Any] = [sum(parts) for parts in zip(*found, strict=True)]
        total, count, *slopes = summed
        if getattr(loss, "of_pairs", False):
            count = tf.cast(tf.shape(image)[0], total.dtype)
        scale = 1.0 / count if loss.reduction == "mean" else tf.ones_like(total)

        def gradient(upstream):
            return [upstream * scale * slope for slope in slopes]

        return scale * total, gradient

    return whole(image, text, *numbers.values())


def one_side(loss, relevance, image, text, size, side, numbers):
    """Sum and number of the terms with one side as anchors, and gradients: by image, by text, by
    each of the numbers.
    """
    import tensorflow as tf

    compare = SIMILARITIES[getattr(loss, "similarity", "cosine")]
    batch, width = tf.shape(image)[0], image.shape[1]
    size = anchors_at_once(loss, size, batch)
    anchors, others = (image, text) if side == "image" else (text, image)

    def block(start, total, count, by_anchors, by_others, by_numbers):
        own = tf.range(start, tf.minimum(start + size, batch))
        few = anchors[start : start + size]
        with tf.GradientTape() as tape:
            tape.watch([few, others, numbers])
            if side == "image":
                scores, cells = compare(few, others), relevance(cells=(own, None))
            else:
                scores = tf.transpose(compare(others, few))
                cells = tf.transpose(relevance(cells=(None, own)))
            terms = loss.anchor_terms(cells, scores, own, numbers)
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


def can_block(loss):
    """Whether a loss is one that `in_blocks` takes."""
    return bool(getattr(loss, "anchors", ()))


def anchors_at_once(loss, size, batch):
    """How many anchors: ANCHORS, or `size` if that is less.

    Fewer where the similarity makes (b, B, D) differences, not (b, B) scores: then so few that
    there are no more of these than in a batch of `size`.

    Args:
      batch: B, a tensor.
    """
    import tensorflow as tf

    if getattr(loss, "similarity", "cosine") != "order":
        return min(size, ANCHORS)
    return tf.clip_by_value(size * size // batch, 1, size)
