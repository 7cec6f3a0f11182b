"""System 2: a GRU reads the caption, a linear map brings the image vector beside it.

Shape letters: B batch, D embedding, F feature, H units of the GRU, T tokens, W word.

References:
  [FNE]   Vilalta et al., Studying the impact of the full-network embedding on multimodal pipelines,
          2019, sections 3 and 4.3.
  [Cho]   Cho et al., Learning phrase representations using RNN encoder-decoder, 2014 (the GRU).
"""

import keras
import tensorflow as tf
from keras import ops

from systems.engine.bag import BagOfWords
from systems.engine.layers import Standardize, UnitNorm
from systems.engine.parts import Parts, WordTable
from systems.gru.prefixes import read_states, token_step

POOLINGS = ("last", "max", "mean")
LOWEST = -2.0  # below every state
INPUT_RANGE = 0.1  # input weights of the GRU start uniform(-0.1, 0.1)


class Absolute(keras.layers.Layer):
    """|x| by elements, in float32 as `UnitNorm`: rows of norm 1 keep it."""

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, x):
        return ops.absolute(x)


class PerGate(keras.initializers.Initializer):
    """Initial weights of the three gates, side by side: orthogonal where square, else uniform.

    Reference: [FNE]'s code; Keras would make the three gates orthogonal to each other instead.
    """

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        rows, columns = shape[0], shape[1] // 3
        seeds = keras.random.SeedGenerator(self.seed)
        if rows == columns:
            gates = [keras.initializers.Orthogonal(seed=seeds) for _ in range(3)]
        else:
            gates = [keras.initializers.RandomUniform(-INPUT_RANGE, INPUT_RANGE, seeds)] * 3
        return ops.concatenate([gate((rows, columns), dtype) for gate in gates], axis=1)


def pool(states, present, kind):
    """One row for a sentence from the states of its tokens.

    Args:
      states: (T, B, H), or for "last" (1, B, H); present: (T, B, 1).
      kind: "last": after the last token read; "max" or "mean" over the tokens, the end included.

    Returns:
      (B, H).
    """
    if kind == "last":
        return states[-1]
    if kind == "max":
        return ops.max(ops.where(present > 0, states, LOWEST), axis=0)
    return ops.sum(states * present, axis=0) / ops.maximum(ops.sum(present, axis=0), 1.0)


def read_and_pool(projected, present, recurrent, kind, reverse):
    """`pool` of the states, in one loop that keeps none of them: for use, not for training."""
    length = ops.shape(projected)[0]

    def step(t, h, total):
        place = length - 1 - t if reverse else t
        here = present[place]
        h = token_step(h, projected[place], here, ops.matmul(h, recurrent))[0]
        if kind == "max":
            total = ops.maximum(total, ops.where(here > 0, h, LOWEST))
        elif kind == "mean":
            total = total + here * h
        return t + 1, h, total

    h = ops.zeros_like(projected[0, :, : recurrent.shape[0]])
    total = ops.full_like(h, LOWEST) if kind == "max" else h
    h, total = ops.while_loop(lambda t, *_: t < length, step, (0, h, total))[1:]
    if kind == "mean":
        return total / ops.maximum(ops.sum(present, axis=0), 1.0)
    return total if kind == "max" else h


class SentenceGRU(keras.layers.Layer):
    """Gated recurrent units that read padded sentences, each to one row.

    Args:
      units: H.
      pooling: see `pool`.
      reverse: read from the last token to the first.

    Reference: [Cho], [FNE] section 3.2. Equal to keras.layers.GRU without recurrent bias.
    """

    def __init__(self, units, pooling="last", reverse=False, **kwargs):
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}: choose from {', '.join(POOLINGS)}")
        self.units, self.pooling, self.reverse = units, pooling, reverse

    def build(self, words_shape, tokens_shape=None, places_shape=None):
        size = 3 * self.units
        self.kernel = self.add_weight((words_shape[-1], size), PerGate(), name="kernel")
        self.recurrent = self.add_weight((self.units, size), PerGate(), name="recurrent")
        self.bias = self.add_weight((size,), "zeros", name="bias")

    def call(self, words, tokens, places=None, training=False):
        """Words and their ids (B, T), 0 pads -> (B, H).

        Args:
          words: (B, T, W); or with `places` (R, W), as `DistinctWords` has them.
        """
        length, batch = ops.shape(tokens)[1], ops.shape(tokens)[0]
        shared, size = places is not None, words.shape[-1]
        if not shared:
            words = ops.reshape(ops.transpose(words, (1, 0, 2)), (-1, size))
            places = ops.arange(batch * length)
        table = ops.matmul(words, self.kernel) + self.bias
        present = ops.not_equal(ops.transpose(tokens), 0)
        here = ops.cast(present, table.dtype)[..., None]
        recurrent = ops.reshape(self.recurrent, (self.units, -1))  # a tensor, not the variable
        if not training:
            projected = ops.reshape(table, (length, batch, -1))
            return read_and_pool(projected, here, recurrent, self.pooling, self.reverse)
        turn = slice(None, None, -1 if self.reverse else 1)
        places = ops.reshape(places, (length, batch))[turn]
        every = self.pooling != "last"
        states = read_states(table, places, present[turn], recurrent, shared, every)
        return pool(states, here[turn], self.pooling)

    def compute_output_shape(self, words_shape, tokens_shape, places_shape=None):
        return (tokens_shape[0], self.units)


class DistinctWords(keras.layers.Layer):
    """The words of a batch, each once: (B, T) ids -> (R,) ids, and (T B,) which of them is where.

    Only for training. Else R is T B, the ids in the order of time, and each is its own.
    """

    def call(self, tokens, training=False):
        flat = ops.reshape(ops.transpose(tokens), (-1,))
        if training:
            return tuple(tf.unique(flat))
        return flat, ops.arange(ops.shape(flat)[0])

    def compute_output_spec(self, tokens, training=False):
        return tuple(keras.KerasTensor((None,), "int32") for _ in range(2))


def last_steps(absolute):
    """The last steps of a tower: L2 norm, then perhaps the absolute value ([FNE] section 3.3)."""
    return [UnitNorm(), Absolute()] if absolute else [UnitNorm()]


def image_map(settings, feature_dim):
    """(B, F) image vectors -> (B, D): a linear map.

    Reference: [FNE] section 3.2: i = W v, Glorot uniform, then the L2 norm; no norm on the input.
      The paper has no bias; its code has one that starts at zero (`image_bias`).
    """
    layers = [keras.Input((feature_dim,), name="image")]
    if settings.standardize:
        layers += [Standardize(name="standardize")]
    if settings.image_dropout:
        layers += [keras.layers.Dropout(settings.image_dropout)]
    layers += [keras.layers.Dense(settings.embed_dim, use_bias=settings.image_bias)]
    return keras.Sequential(layers + last_steps(settings.absolute), name="image_tower")


def sentence_reader(settings, num_ids):
    """(B, T) word ids, 0 pads -> (B, D): word table, GRU (or two, one each way), pooling.

    With `bag`, a sum of word rows of size D is added to what the GRU has read: which words there
    are need not pass through it.

    Raises:
      ValueError: an odd embedding cannot be shared by two directions.

    Reference: [FNE] sections 3.2 and 4.3.2: one GRU of D units, its state after the end token.
    """
    directions = (False, True) if settings.bidirectional else (False,)
    units, rest = divmod(settings.embed_dim, len(directions))
    if rest:
        raise ValueError(
            f"--embed_dim {settings.embed_dim} cannot be shared by two directions: choose an even "
            "number"
        )
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    # Row 0 is that of the padding, which no state heeds.
    start = keras.initializers.RandomUniform(-settings.word_range, settings.word_range)
    table = keras.layers.Embedding(num_ids + 1, settings.word_dim, start, name="words")
    if settings.word_dropout or settings.embedding_dropout:  # then no two words are equal
        words, places = table(tokens), ()
    else:
        distinct, *places = DistinctWords()(tokens)
        words = table(distinct)
    if settings.word_dropout:
        words = keras.layers.Dropout(settings.word_dropout, noise_shape=(None, None, 1))(words)
    if settings.embedding_dropout:
        words = keras.layers.Dropout(settings.embedding_dropout)(words)
    parts = [
        SentenceGRU(units, settings.pooling, reverse)(words, tokens, *places)
        for reverse in directions
    ]
    row = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    if settings.bag:
        bag = BagOfWords(num_ids, settings.embed_dim, word_dropout=settings.word_dropout)
        row = keras.layers.Add()([row, bag(tokens)])
    if settings.dropout:
        row = keras.layers.Dropout(settings.dropout)(row)
    for layer in last_steps(settings.absolute):
        row = layer(row)
    return keras.Model(tokens, row, name="text_tower")


def build(settings, facts, loss):
    """System 2: the towers of UVS, VSE++ and order-embeddings, as [FNE] varies them.

    Reference: [FNE] section 3, Table 1.
    Differs from the paper's code, with the recipes sh to poe: validation after each epoch (there
      every 100 updates), the last captions of an epoch are kept (a batch of few joins the one
      before it), batches hold captions of similar length, Adam's epsilon is 1e-7 (there 1e-8) and
      its bias correction is right.
    """
    image = image_map(settings, facts.feature_dim)
    text = sentence_reader(settings, facts.vocabulary_size)
    return Parts(image, text, words=WordTable(text.get_layer("words").embeddings, padding=1))
