"""LSTMs that read captions and write them, looking at the boxes of an image.

The same two functions, `lstm_step` and `CaptionWriter.step`, make a step in training and in use.

Shape letters: B batch, P images of a batch, n hypotheses, T tokens, R boxes, D size of an embedded
box, of the image vector and of the caption vector, H units of the writing LSTMs, A attention, W
word, V ids.

References:
  [Joint]    System 5: the authors' code of April 2019.
  [BUTD]     Anderson et al., Bottom-up and top-down attention for image captioning and visual
             question answering, CVPR 2018, section 3.2.
  [LSTM]     Gers, Schmidhuber, Cummins, Learning to forget, Neural Computation 2000.
"""

import keras
from keras import ops

from systems.engine.layers import UnitNorm, by_length
from systems.joint import loop

FAR = -1e9  # score of a box that is none, in 32 bits


def lstm_step(c, gates):
    """i, f, o = sigmoid(.), g = tanh(.) of x W + b + h U; c' = f c + i g; h' = o tanh(c').

    Args:
      c: (B, H); gates: (B, 4H) x W + b + h U, in the order i, f, g, o.

    Returns:
      h', c'.

    Reference: [LSTM].
    """
    i, f, g, o = ops.split(gates, 4, axis=-1)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


class ForgetBias(keras.initializers.Initializer):
    """Biases of an LSTM's gates: 1 for the gate that forgets, else 0.

    Reference: Jozefowicz et al., An empirical exploration of recurrent network architectures, 2015.
    Differs from [Joint]: two biases a gate, drawn evenly around 0.
    """

    def __call__(self, shape, dtype=None):
        size = shape[0] // 4
        zeros = [ops.zeros((size,), dtype) for _ in range(3)]
        return ops.concatenate([zeros[0], ops.ones((size,), dtype), *zeros[1:]])


def evenly(units):
    """Weights of an LSTM of so many units: uniform between minus and plus 1 / sqrt(units).

    As PyTorch draws them, which [Joint] used. Glorot's, over four gates side by side, are half as
    large: a word then hardly reaches the output through three LSTMs, and learning begins late.
    """
    return keras.initializers.RandomUniform(-(units**-0.5), units**-0.5)


class StartFirst(keras.layers.Layer):
    """(B, T) ids w1..wn, end, 0... -> start, w1..wn, 0...: what is read before each of them.

    Args:
      start: the id that begins every caption.
    """

    def __init__(self, start, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def call(self, tokens):
        first = ops.full_like(tokens[:, :1], self.start)
        moved = ops.concatenate([first, tokens[:, :-1]], axis=1)
        return ops.where(ops.equal(tokens, 0), 0, moved)


class SentenceLSTM(keras.layers.Layer):
    """(B, T, W) words -> (B, T, D): the state after each of them, from a state of zeros.

    Reference: [Joint] the language-encoding LSTM.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        size, start = 4 * self.units, evenly(self.units)
        self.kernel = self.add_weight((shape[-1], size), start, name="kernel")
        self.recurrent = self.add_weight((self.units, size), start.clone(), name="recurrent")
        self.bias = self.add_weight((size,), ForgetBias(), name="bias")

    def project(self, words):
        """(..., W) -> (..., 4D)."""
        return ops.matmul(words, self.kernel) + self.bias

    def call(self, words):
        projected = ops.transpose(self.project(words), (1, 0, 2))  # (T, B, 4D)
        nothing = ops.zeros_like(projected[0, :, : self.units])

        def step(state, x, multiply, _):
            h, c = state
            state = lstm_step(c, x + multiply("recurrent", h))
            return state, state[0]

        states = loop.over_words(step, (nothing, nothing), projected, {"recurrent": self.recurrent})
        return ops.transpose(states, (1, 0, 2))  # from (T, B, D)

    def compute_output_shape(self, shape):
        return (*shape[:2], self.units)


class AtLast(keras.layers.Layer):
    """(B, T, D) states and (B, T) ids, 0 pads -> (B, D): the state at the last id.

    As ids end with the mark of the end, which is not read, that is the state after the last word.
    """

    def call(self, states, tokens):
        number = ops.sum(ops.cast(ops.not_equal(tokens, 0), "int32"), axis=1)  # (B,)
        last = ops.maximum(number - 1, 0)[:, None, None]
        return ops.take_along_axis(states, last, axis=1)[:, 0]

    def compute_output_shape(self, states_shape, tokens_shape=None):
        return (states_shape[0], states_shape[2])


class LastState(keras.layers.Layer):
    """`AtLast` of a `SentenceLSTM` in one loop that keeps no other state: for use.

    Args:
      reader: the `SentenceLSTM`.
    """

    def __init__(self, reader, **kwargs):
        super().__init__(**kwargs)
        self.reader = reader

    def call(self, words, tokens):
        """Words (B, T, W) and their ids (B, T), 0 pads -> (B, D)."""
        projected = ops.transpose(self.reader.project(words), (1, 0, 2))
        present = ops.transpose(ops.not_equal(tokens, 0))[..., None]  # (T, B, 1)
        recurrent = ops.convert_to_tensor(self.reader.recurrent)
        nothing = ops.zeros_like(projected[0, :, : self.reader.units])

        def step(t, h, c):
            new = lstm_step(c, projected[t] + ops.matmul(h, recurrent))
            return t + 1, *(ops.where(present[t], a, b) for a, b in zip(new, (h, c), strict=True))

        length = ops.shape(projected)[0]
        return ops.while_loop(lambda t, *_: t < length, step, (0, nothing, nothing))[1]

    def compute_output_shape(self, words_shape, tokens_shape=None):
        return (words_shape[0], self.reader.units)


def box_shares(scores, present):
    """(..., R) scores and which boxes there are -> shares of sum 1; none for a box that is none.

    Of an image without boxes all have the same. In 32 bits at least: 16 do not hold `FAR`.
    """
    wide = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
    return ops.cast(ops.softmax(ops.where(present, wide, FAR), axis=-1), scores.dtype)


class BoxSum(keras.layers.Layer):
    """(B, R, D) boxes, (B, R, 1) scores, (B, R, F) their features -> (B, D): the weighted sum.

    Boxes whose features are all 0 are none.

    Reference: [Joint] the image vector.
    """

    def call(self, boxes, scores, features):
        shares = box_shares(scores[..., 0], is_box(features))
        return ops.matmul(shares[:, None], boxes)[:, 0]

    def compute_output_shape(self, boxes_shape, *others):
        return (boxes_shape[0], boxes_shape[2])


def is_box(features):
    """(B, R, F) -> (B, R) bool: which boxes there are."""
    return ops.any(ops.not_equal(features, 0.0), axis=-1)


class CaptionWriter(keras.layers.Layer):
    """Writes captions: attention LSTM, visual attention, generation LSTM, output over the ids.

        a = LSTM([g; v; e_t], a)               e_t: state of the reading LSTM after word t - 1
        s_b = w . tanh(Wv x_b + Wh a) + c      of every box; shares = softmax
        g = LSTM([a; sum_b share_b x_b], g)
        p = softmax(Wo g + bo)                 over what word t may be

    a and g start at four linear maps of v.

    Args:
      units: H; attention: A; ids: V, those of padding and start counted.
      dropout: of g before the output.

    Reference: [Joint]; [BUTD] Eq. 1 to 5 without e_t.
    Differs from the paper: one bias for each gate, not two.
    """

    def __init__(self, units, attention, ids, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.attention, self.ids = units, attention, ids
        self.drop = keras.layers.Dropout(dropout)

    def build(self, boxes_shape, *others):
        """Weights for boxes and vectors of D numbers, the last of `boxes_shape`."""
        size, h, gates = boxes_shape[-1], self.units, 4 * self.units
        for name, shape, start in (
            ("start_kernel", (size, gates), "glorot_uniform"),  # of a's h, c and g's h, c
            ("start_bias", (gates,), "zeros"),
            ("attend_kernel", (h + 2 * size, gates), evenly(h)),  # of g, v, e
            ("attend_recurrent", (h, gates), evenly(h)),
            ("attend_bias", (gates,), ForgetBias()),
            ("key_kernel", (size, self.attention), "glorot_uniform"),  # Wv
            ("query_kernel", (h, self.attention), "glorot_uniform"),  # Wh
            ("score_kernel", (self.attention, 1), "glorot_uniform"),  # w
            ("score_bias", (1,), "zeros"),  # c
            ("write_kernel", (h + size, gates), evenly(h)),  # of a, the attended box
            ("write_recurrent", (h, gates), evenly(h)),
            ("write_bias", (gates,), ForgetBias()),
            ("output_kernel", (h, self.ids), "glorot_uniform"),
            ("output_bias", (self.ids,), "zeros"),
        ):
            setattr(self, name, self.add_weight(shape, start, name=name))

    def remember(self, boxes, present, image):
        """What writing needs of images, made once.

        Args:
          boxes: (P, R, D) embedded; present: (P, R); image: (P, D) unit rows v.

        Returns:
          (boxes, keys (P, R, A), present, image's part of the gates (P, 4H)), and the four states a
          h, a c, g h, g c, (P, H) each.
        """
        size = boxes.shape[-1]
        image = ops.cast(image, boxes.dtype)
        of_image = self.attend_kernel[self.units : self.units + size]
        gates = ops.matmul(image, of_image) + self.attend_bias
        starts = ops.matmul(image, self.start_kernel) + self.start_bias
        keys = ops.matmul(boxes, self.key_kernel)
        return (boxes, keys, present, gates), tuple(ops.split(starts, 4, axis=-1))

    def project(self, heard):
        """(..., D) states of the reading LSTM -> (..., 4H), their part of a's gates."""
        return ops.matmul(heard, self.attend_kernel[self.units + heard.shape[-1] :])

    def stacked(self):
        """{name: weights} as `step` multiplies: g and a; a; a, the attended box and g."""
        attend = [self.attend_kernel[: self.units], self.attend_recurrent]
        write = [self.write_kernel, self.write_recurrent]
        found = {"attend": attend, "query": [self.query_kernel], "write": write}
        return {name: ops.concatenate(parts, axis=0) for name, parts in found.items()}

    def others(self):
        """The weights that `step` does not multiply by `multiply`."""
        return self.score_kernel, self.score_bias, self.write_bias

    def step(self, states, projected, present, keys, multiply, others):
        """One word.

        Args:
          states: a h, a c, g h, g c, (B, H) each; projected: (B, 4H) what v and e give.
          present: (B, R); keys: (B, R, A).
          multiply: (name in `stacked`, or "boxes"; rows) -> their product; others: of `others`.

        Returns:
          The next states, and the shares of the boxes (B, R).
        """
        a, a_cell, g, g_cell = states
        score_kernel, score_bias, write_bias = others
        before = ops.concatenate([g, a], axis=-1)
        a, a_cell = lstm_step(a_cell, projected + multiply("attend", before))
        query = multiply("query", a)[:, None]  # (B, 1, A)
        scores = ops.matmul(ops.tanh(keys + query), score_kernel) + score_bias
        shares = box_shares(scores[..., 0], present)
        seen = multiply("boxes", shares)  # (B, D)
        read = ops.concatenate([a, seen, g], axis=-1)
        g, g_cell = lstm_step(g_cell, write_bias + multiply("write", read))
        return (a, a_cell, g, g_cell), shares

    def logits(self, g):
        """(..., H) -> (..., V) float32."""
        return ops.cast(ops.matmul(g, self.output_kernel) + self.output_bias, "float32")

    def call(self, boxes, present, image, heard, tokens, rows=None, training=False):
        """How unlikely captions are, word by word, each after the words before it; `by_length`.

        Args:
          boxes: (P, R, D); present: (P, R); image: (P, D).
          heard: (B, T, D) states of the reading LSTM before each id of tokens: (B, T), 0 pads.
          rows: (B,) which image each caption is of; None: P = B, in order.

        Returns:
          (B,) float32: the sum of -log p over the ids that are no padding.
        """
        of_images, stacked = self.remember(boxes, present, image), self.stacked()

        def write(places, longest):
            owner = places if rows is None else ops.take(rows, places)
            memory, states = (tuple(ops.take(x, owner, axis=0) for x in own) for own in of_images)
            boxes, keys, shown, gates = memory
            read = ops.take(heard, places, axis=0)[:, :longest]
            projected = ops.transpose(self.project(read), (1, 0, 2)) + gates  # (t, p, 4H)

            def step(states, x, multiply, others):
                states = self.step(states, x, shown, others[0], multiply, others[1:])[0]
                return states, states[2]

            weights, others = {**stacked, "boxes": boxes}, (keys, *self.others())
            written = loop.over_words(step, states, projected, weights, others)  # (t, p, H)
            logits = self.logits(self.drop(written, training=training))
            ids = ops.transpose(ops.take(tokens, places, axis=0)[:, :longest])  # (t, p)
            terms = ops.sparse_categorical_crossentropy(ids, logits, from_logits=True)
            return ops.sum(ops.where(ops.not_equal(ids, 0), terms, 0.0), axis=0)

        return by_length(write, tokens)

    def compute_output_shape(self, boxes_shape, *others, **more):
        return (others[-1][0] if others else None,)


# ---- In use -------------------------------------------------------------------------------------


class FirstStep(keras.layers.Layer):
    """Embedded boxes, present and image vectors -> `CaptionWriter.remember` in one row, for use."""

    def __init__(self, writer, **kwargs):
        super().__init__(**kwargs)
        self.writer = writer

    def call(self, boxes, present, image):
        memory, states = self.writer.remember(boxes, present, image)
        return [*memory[:2], ops.cast(present, boxes.dtype), memory[3], *states]


class NextStep(keras.layers.Layer):
    """One id of each hypothesis, its image, the images' memory (P, ...) and its states -> log p
    (n, V), shares (n, R), states.

    Args:
      words, reader, writer: layers: word table, reading LSTM, `CaptionWriter`.
    """

    def __init__(self, words, reader, writer, **kwargs):
        super().__init__(**kwargs)
        self.words, self.reader, self.writer = words, reader, writer

    def call(self, tokens, rows, boxes, keys, present, gates, e, e_cell, *states):
        memory = (boxes, keys, present, gates)
        boxes, keys, present, gates = (ops.take(part, rows, axis=0) for part in memory)
        projected = self.reader.project(self.words(tokens))
        e, e_cell = lstm_step(e_cell, projected + ops.matmul(e, self.reader.recurrent))
        weights = {**self.writer.stacked(), "boxes": boxes}

        def multiply(name, read):
            return loop.times(read, weights[name])

        states, shares = self.writer.step(
            states, self.writer.project(e) + gates, ops.greater(present, 0.5), keys, multiply,
            self.writer.others(),
        )  # fmt: skip
        scores = ops.log_softmax(self.writer.logits(states[2]), axis=-1)
        return [scores, shares, e, e_cell, *states]


def last_state_tower(text_tower):
    """The same tower with `LastState`, for use."""
    words = text_tower.get_layer("words").output
    row = LastState(text_tower.get_layer("reader"))(words, text_tower.input)
    return keras.Model(text_tower.input, UnitNorm()(row))


def use_models(image_tower, text_tower, writer):
    """What writes captions after training, as two Keras models.

    Args:
      image_tower: with layers "boxes" and "image_norm"; text_tower: with "words" and "reader".

    Returns:
      first: (P, R, F) -> boxes, keys, present, gates and the four states of the writer.
      following: ids (n,), which image each is of (n,), memory, the reader's two states and the
        writer's four -> log p (n, V), shares (n, R), the six states. The reader starts at zeros.
    """
    features = image_tower.input
    embedded = image_tower.get_layer("boxes").output
    image = image_tower.get_layer("image_norm").output
    first = keras.Model(features, FirstStep(writer)(embedded, is_box(features), image))
    words, reader = text_tower.get_layer("words"), text_tower.get_layer("reader")
    size, units = embedded.shape[-1], writer.units
    shapes = [(None, size), (None, writer.attention), (None,), (4 * units,)]
    shapes += [(size,)] * 2 + [(units,)] * 4
    names = ["memory", "keys", "present", "gates", "e", "e_cell", "a", "a_cell", "g", "g_cell"]
    kind = writer.compute_dtype
    inputs = [keras.Input((), dtype="int32", name=name) for name in ("token", "row")]
    inputs += [keras.Input(s, dtype=kind, name=n) for s, n in zip(shapes, names, strict=True)]
    return first, keras.Model(inputs, NextStep(words, reader, writer)(*inputs))
