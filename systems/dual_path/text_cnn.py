"""System 3, text: a residual 1-D CNN reads the caption as the image CNN reads the picture.

One row of 32 words in, as a picture of height 1. Where a caption stands in the row says nothing, so
it is shifted at random in training and summed over its shifts afterwards.

Shape letters: B batch, D embedding, P positions (32 at first), C channels, V vocabulary, W word,
S shifts.

Reference:
  [Dual] Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
         section 3.2 and the authors' code (the Flickr30k network).
"""

from typing import NamedTuple

import keras
from keras import ops

from data.language.words import POSITIONS
from systems.engine.convolution import he_normal, norm

POOLINGS = ("max", "mean")


class Stage(NamedTuple):
    """Residual blocks on maps of one length."""

    blocks: int
    first: int  # inner channels of the first block, whose shortcut is a projection
    inner: int  # and of the others
    channels: int  # that come out
    stride: int  # of the first block


STAGES = (
    Stage(3, 128, 64, 256, 1),  # 32 positions
    Stage(4, 512, 128, 512, 2),  # 16
    Stage(6, 1024, 256, 1024, 2),  # 8
    Stage(1, 2048, 2048, 2048, 1),  # 8
)


def scaled_channels(channels, width):
    """A number of channels at `width` times the published one, at least 1."""
    return max(1, round(channels * width))


def conv(x, channels, size, stride, name, start="ones"):
    """Convolution and batch norm, whose scales begin at `start`.

    A kernel of 2 sees each position and the one on its left.
    With stride 2, what comes out at t has seen 2t - 1 and 2t.
    """
    if size > 1:
        x = keras.layers.ZeroPadding1D((size - 1, 0))(x)
    x = keras.layers.Conv1D(
        channels, size, stride, use_bias=False, kernel_initializer=he_normal(), name=name
    )(x)
    return norm(f"{name}_norm", start)(x)


def residual_block(x, inner, channels, stride, projected, zero, name):
    """1 -> 2 -> 1 bottleneck beside a shortcut; ReLU after their sum.

    Args:
      x: (B, P, C). inner: channels between; channels: that come out.
      stride: of the middle convolution, and of the shortcut.
      projected: whether the shortcut is a 1x1 convolution and batch norm, or nothing.
      zero: begin with the shortcut alone; so that this one reads all words, where it strides it
        takes the mean of two. Not in the paper, whose shortcut takes every second word.
    """
    shortcut = x
    if projected:
        apart = stride
        if zero and stride > 1:
            shortcut, apart = keras.layers.AveragePooling1D(stride)(x), 1
        shortcut = conv(shortcut, channels, 1, apart, f"{name}_shortcut")
    y = keras.layers.ReLU()(conv(x, inner, 1, 1, f"{name}_in"))
    y = keras.layers.ReLU()(conv(y, inner, 2, stride, f"{name}_middle"))
    y = conv(y, channels, 1, 1, f"{name}_out", "zeros" if zero else "ones")
    return keras.layers.ReLU()(keras.layers.Add()([y, shortcut]))


class Words(keras.layers.Layer):
    """A 1x1 convolution of one-hot words, by looking up its rows: (B, P) ids -> (B, P, W).

    Padding is a column of zeros: of it, only the bias is left.

    Args:
      num_words: V; ids run from 1 to V, 0 pads.
      dim: W.
      start: words start uniform between minus and plus this, where no vectors are given.
    """

    def __init__(self, num_words, dim, start=0.1, **kwargs):
        super().__init__(**kwargs)
        self.num_words, self.dim, self.start = num_words, dim, start

    def build(self, input_shape):
        uniform = keras.initializers.RandomUniform(-self.start, self.start)
        self.embeddings = self.add_weight((self.num_words, self.dim), uniform, name="embeddings")
        self.bias = self.add_weight((self.dim,), "zeros", name="bias")

    def call(self, tokens):
        here = ops.cast(ops.not_equal(tokens, 0), self.compute_dtype)[..., None]  # (B, P, 1)
        rows = ops.take(self.embeddings, ops.maximum(tokens - 1, 0), axis=0)
        return rows * here + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.dim)


def text_cnn(settings, num_words):
    """(B, 32) word ids, 0 pads -> (B, D), before the last ReLU.

    Args:
      settings: with word_dim, word_range, word_dropout, text_width, pooling, zero_init, embed_dim.
      num_words: V.

    Raises:
      ValueError: an unknown pooling.

    Reference: [Dual] Table of the text network: word layer and batch norm, 14 residual blocks in
      four stages, maximum over the 8 positions that are left, 1x1 convolution and batch norm. The
      strides leave the last three of the 32 places unread.
    """
    if settings.pooling not in POOLINGS:
        raise ValueError(f"--pooling {settings.pooling}: dual_path takes {' or '.join(POOLINGS)}")
    tokens = keras.Input((POSITIONS,), dtype="int32", name="tokens")
    x = Words(num_words, settings.word_dim, settings.word_range, name="words")(tokens)
    x = norm("words_norm")(x)  # (B, 32, W)
    if settings.word_dropout:
        x = keras.layers.Dropout(settings.word_dropout, noise_shape=(None, None, 1))(x)
    for number, stage in enumerate(STAGES, start=2):
        channels = scaled_channels(stage.channels, settings.text_width)
        for block in range(stage.blocks):
            first = block == 0
            inner = scaled_channels(stage.first if first else stage.inner, settings.text_width)
            stride = stage.stride if first else 1
            name = f"text_{number}_{block + 1}"
            x = residual_block(x, inner, channels, stride, first, settings.zero_init, name)
    pool = {"max": keras.layers.GlobalMaxPooling1D, "mean": keras.layers.GlobalAveragePooling1D}
    x = pool[settings.pooling]()(x)  # (B, C)
    x = keras.layers.Dense(
        settings.embed_dim, use_bias=False, kernel_initializer=he_normal(), name="text_head"
    )(x)
    return keras.Model(tokens, norm("text_head_norm")(x), name="text_tower")


class ShiftSum(keras.layers.Layer):
    """(B, T) ids from the left, 0 pads -> (B, D): a tower's rows, summed over the shifts.

    A caption of L words has 33 - L shifts that leave it whole; of more than 32 words the first 32
    are read.

    Args:
      tower: (B, 32) ids -> (B, D).
      shifts: how many, evenly from the first to the last; 0: all; 1: the middle one.

    Reference: [Dual], the authors' code for testing (all shifts).
    """

    def __init__(self, tower, shifts=0, **kwargs):
        super().__init__(**kwargs)
        self.tower, self.shifts = tower, shifts

    def call(self, tokens):
        tokens = ops.pad(tokens, ((0, 0), (0, POSITIONS)))[:, :POSITIONS]  # (B, 32)
        here = ops.cast(tokens > 0, "int32")
        last = POSITIONS - ops.sum(here, axis=1, keepdims=True)  # (B, 1), the last shift
        if self.shifts == 1:
            offsets = last // 2  # (B, 1)
            counts = ops.ones_like(offsets)
        elif self.shifts:
            steps = ops.arange(self.shifts)[None]  # (1, S)
            offsets = (steps * last) // (self.shifts - 1)  # (B, S)
            before = ops.concatenate([ops.full_like(last, -1), offsets[:, :-1]], axis=1)
            counts = ops.cast(offsets > before, "int32")  # each shift counts once
        else:
            steps = ops.arange(ops.max(last) + 1)[None]
            offsets = steps + ops.zeros_like(last)
            counts = ops.cast(steps <= last, "int32")
        places = ops.arange(POSITIONS)[None, None] - offsets[:, :, None]  # (B, S, 32)
        source = ops.broadcast_to(tokens[:, None], ops.shape(places))
        moved = ops.take_along_axis(source, ops.clip(places, 0, POSITIONS - 1), axis=2)
        moved = ops.where(places >= 0, moved, 0)
        rows = self.tower(ops.reshape(moved, (-1, POSITIONS)), training=False)  # (B S, D)
        shape = (-1, ops.shape(offsets)[1], rows.shape[-1])
        rows = ops.reshape(ops.cast(rows, "float32"), shape)
        return ops.sum(rows * ops.cast(counts, "float32")[..., None], axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.tower.output_shape[-1])
