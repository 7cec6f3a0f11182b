"""A loop over words whose weights get their gradients behind it.

Automatic differentiation of a loop adds up each weight's gradient word by word, and multiplies with
the transposed weight, which is slow for few rows. Here the gradient of a weight is one matrix
product over all words, and the weight is transposed once.

Shape letters: B batch, T tokens, I and J numbers before and behind a product.
"""

import tensorflow as tf
from keras import ops


def as_array(length, dtype):
    """An array of `length` tensors, which gives each once."""
    return tf.TensorArray(dtype, length, infer_shape=True)


def over_words(step, states, inputs, weights, others=()):
    """Steps over time that multiply with weights, as `ops.scan` makes them and their gradients.

    Args:
      step: (states, x, multiply, others) -> states, y, all (B, ...). `multiply(name, rows)` is rows
        (B, I) times weights[name]; once for each name.
      states: the first, a tuple; inputs: (T, B, ...).
      weights: {name: (I, J), or (B, I, J) of every row its own}.
      others: tensors that the step reads besides.

    Returns:
      (T, B, ...) y of each step.
    """
    names, number = list(weights), len(states)

    @tf.custom_gradient
    def run(inputs, *given):
        first, values = given[:number], given[number : number + len(names)]
        more, (length, batch) = given[number + len(names) :], tf.unstack(tf.shape(inputs)[:2])
        # Zeros that are added to the products: their gradients are those of the products.
        zeros = tuple(tf.zeros((length, batch, value.shape[-1]), value.dtype) for value in values)
        turned = [tf.linalg.matrix_transpose(value) for value in values]
        sources = [inputs, *first, *more, *zeros]

        def one(t, states, kept):
            x, *added = (values.read(t) for values in read)
            rows = {}

            def multiply(name, left):
                rows[name], place = left, names.index(name)
                return with_turned(left, values[place], turned[place]) + added[place]

            states, y = step(states, x, multiply, more)
            found = [y, *(rows[name] for name in names)]
            return t + 1, states, [a.write(t, one) for a, one in zip(kept, found, strict=True)]

        with tf.GradientTape(True, watch_accessed_variables=False) as tape:
            tape.watch(sources)
            read = [as_array(length, x.dtype).unstack(x) for x in (inputs, *zeros)]
            kept = [as_array(length, inputs.dtype) for _ in read]
            kept = tf.while_loop(lambda t, *_: t < length, one, (0, tuple(first), kept))[2]
            y, *rows = (values.stack() for values in kept)

        def gradient(upstream):
            slopes = tape.gradient(
                y, sources, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            ends = slopes[len(sources) - len(zeros) :]
            own = zip(rows, ends, values, strict=True)
            by_weights = [by_weight(*one) for one in own]
            return slopes[: 1 + number] + by_weights + slopes[1 + number : -len(zeros)]

        return y, gradient

    own = [tf.identity(ops.convert_to_tensor(x)) for x in (*weights.values(), *others)]
    return run(inputs, *states, *own)


def times(rows, weight):
    """(B, I) by (I, J), or by (B, I, J) row by row -> (B, J)."""
    if len(weight.shape) == 2:
        return tf.matmul(rows, weight)
    return tf.matmul(rows[:, None], weight)[:, 0]


def with_turned(rows, weight, turned):
    """`times`, whose gradient by the rows takes the transposed weight, as made before.

    There is none by the weight.
    """

    @tf.custom_gradient
    def product(rows):
        return times(rows, weight), lambda slopes: times(slopes, turned)

    return product(rows)


def by_weight(rows, slopes, weight):
    """The gradient of a weight, from (T, B, I) rows and the (T, B, J) gradients of products."""
    if len(weight.shape) == 2:
        rows, slopes = (tf.reshape(x, (-1, x.shape[-1])) for x in (rows, slopes))
        return tf.matmul(rows, slopes, transpose_a=True)
    return tf.matmul(tf.transpose(rows, (1, 2, 0)), tf.transpose(slopes, (1, 0, 2)))
