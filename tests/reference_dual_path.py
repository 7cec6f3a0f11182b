"""Loop versions of the dual-path network's text branch and losses, from the documents alone.

They share no line with the code that they check: plain loops, float64, nothing vectorised. A loss
returns `(sum, number of terms)`. "Slides" is the document on dual-path convolutional embeddings,
(a) to (g) are the parts of SYSTEMS.md, System 3.

Shapes: B batch, T positions, C and O channels in and out, M middle channels, k kernel width,
D embedding, K classes, A anchors, P pool, V words. A convolution's weights are (k, C, O); a batch
norm is `{"mean", "variance", "scale", "shift"}`, each (O,). Positions count from 0, word ids
from 1: id 0 pads.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

POSITIONS = 32
SEPARATORS = " -.,()?"
# Name: middle channels, channels out, stride of the middle convolution, projection shortcut.
BLOCKS = {
    "2.1": (128, 256, 1, True),
    "2.2": (64, 256, 1, False),
    "2.3": (64, 256, 1, False),
    "3.1": (512, 512, 2, True),
    "3.2": (128, 512, 1, False),
    "3.3": (128, 512, 1, False),
    "3.4": (128, 512, 1, False),
    "4.1": (1024, 1024, 2, True),
    "4.2": (256, 1024, 1, False),
    "4.3": (256, 1024, 1, False),
    "4.4": (256, 1024, 1, False),
    "4.5": (256, 1024, 1, False),
    "4.6": (256, 1024, 1, False),
    "5.1": (2048, 2048, 1, True),
}


def conv1d_left(x, kernel, stride=1, bias=None) -> np.ndarray:
    """y_to = b_o + sum_jc x_(st - (k - 1) + j, c) kernel_jco, 0 before the start, (T', O).

    All k - 1 zeros stand on the LEFT. Kernel 2 at stride 1 pairs (t - 1, t), at stride 2
    (2t - 1, 2t); T' = ceil(T / s), so an even T at stride 2 leaves the last position unread.

    Reference: (c), the lines below the table.
    """
    x, kernel = np.array(x, np.float64).tolist(), np.array(kernel, np.float64)
    width, channels, outputs = kernel.shape
    weight = kernel.tolist()
    result = np.zeros(((len(x) + stride - 1) // stride, outputs), np.float64)
    for t in range(len(result)):
        for o in range(outputs):
            total = 0.0 if bias is None else float(bias[o])
            for j in range(width):
                position = stride * t - (width - 1) + j
                if position >= 0:
                    for c in range(channels):
                        total += x[position][c] * weight[j][c][o]
            result[t, o] = total
    return result


def batch_norm(x, mean, variance, scale, shift, eps=1e-3) -> np.ndarray:
    """y_tc = scale_c (x_tc - mean_c) / sqrt(variance_c + eps) + shift_c of (T, C), at test time.

    Reference: Ioffe and Szegedy, Algorithm 2; eps in (b).
    """
    result = np.zeros(np.shape(x), np.float64)
    for t in range(len(x)):
        for c in range(len(x[t])):
            unit = (float(x[t][c]) - float(mean[c])) / math.sqrt(float(variance[c]) + eps)
            result[t, c] = float(scale[c]) * unit + float(shift[c])
    return result


def batch_norm_training(x, scale, shift, eps=1e-3) -> tuple[np.ndarray, list[float], list[float]]:
    """The same of (B, T, C) by its own moments, and these: mean and variance, one per channel.

    Both are taken over batch and positions together, padding included (there is no mask), the
    variance divided by B T.

    Reference: Ioffe and Szegedy, Algorithm 1; (b), (c).
    """
    result = np.zeros(np.shape(x), np.float64)
    means, variances = [], []
    for c in range(len(x[0][0])):
        values = []
        for row in x:
            for position in row:
                values.append(float(position[c]))
        mean, square = sum(values) / len(values), 0.0
        for value in values:
            square += (value - mean) * (value - mean)
        means.append(mean)
        variances.append(square / len(values))
    for b in range(len(x)):
        result[b] = batch_norm(x[b], means, variances, scale, shift, eps)
    return result, means, variances


def relu(x) -> np.ndarray:
    """max(0, x_tc) of (T, C)."""
    result = np.zeros(np.shape(x), np.float64)
    for index in np.ndindex(result.shape):
        result[index] = max(0.0, float(x[index[0]][index[1]]))
    return result


def max_pool(x) -> np.ndarray:
    """max_t x_tc of (T, C), one number per channel (C,): the 1x8 pool over all 8 positions.

    Reference: (c), pool; maximum and not average, (g)9.
    """
    result = np.zeros(len(x[0]), np.float64)
    for c in range(len(result)):
        result[c] = max(float(position[c]) for position in x)
    return result


def residual_block(x, weights: Mapping[str, Any], stride, projection) -> np.ndarray:
    """relu(s(x) + n3(c3(relu(n2(c2(relu(n1(c1(x))))))))) of (T, C), (ceil(T / stride), O).

    c1 and c3 are 1 wide, c2 is 2 wide and holds the stride. s is the identity or, with
    `projection`, a 1x1 convolution of the same stride and its norm: it reads the positions 0, 2,
    4, ... Keys: conv1 norm1 conv2 norm2 conv3 norm3, shortcut shortcut_norm. No convolution has
    a bias.

    Reference: (c), text branch: BN after each convolution, ReLU after the sum.
    """
    y = relu(batch_norm(conv1d_left(x, weights["conv1"]), **weights["norm1"]))
    y = relu(batch_norm(conv1d_left(y, weights["conv2"], stride), **weights["norm2"]))
    y = batch_norm(conv1d_left(y, weights["conv3"]), **weights["norm3"])
    shortcut = np.array(x, np.float64)
    if projection:
        shortcut = conv1d_left(x, weights["shortcut"], stride)
        shortcut = batch_norm(shortcut, **weights["shortcut_norm"])
    for index in np.ndindex(y.shape):
        y[index] += shortcut[index]
    return relu(y)


def one_hot(tokens, vocabulary) -> np.ndarray:
    """1 at (t, id - 1), (T, V) of word ids (T,); padding, id 0, is an all-zero row.

    Reference: (c), input and the lines below the table.
    """
    result = np.zeros((len(tokens), vocabulary), np.float64)
    for t in range(len(tokens)):
        if tokens[t] > 0:
            result[t, int(tokens[t]) - 1] = 1.0
    return result


def text_forward(tokens, weights: Mapping[str, Any]) -> np.ndarray:
    """The text branch of one sentence (32,) in test mode, BEFORE the last ReLU, (D,).

    Keys: word {kernel (1, V, W), bias (W,)}, word_norm, one per name in BLOCKS, head
    (1, C, D), head_norm. Padding gives the word layer's bias. No ReLU after the word layer.

    Reference: (c), the table; where the feature is read (e).
    """
    word = weights["word"]
    x = one_hot(tokens, len(word["kernel"][0]))
    x = batch_norm(conv1d_left(x, word["kernel"], 1, word["bias"]), **weights["word_norm"])
    for name, (_, _, stride, projection) in BLOCKS.items():
        x = residual_block(x, weights[name], stride, projection)
    pooled = [max_pool(x)]  # (1, C)
    return batch_norm(conv1d_left(pooled, weights["head"]), **weights["head_norm"])[0]


def scaled(channels, width) -> int:
    """width * channels, rounded (halves to even), at least 1."""
    return max(1, round(width * channels))


def text_layers(vocabulary, word_dim, width=1.0, embed_dim=2048) -> list[tuple[str, tuple]]:
    """(name, shape) of every weight of the text branch, in the order of the table.

    `width` scales all channels of stages 2 to 5, neither the word vectors nor the embedding.

    Reference: (c), the table.
    """
    result: list[tuple[str, tuple]] = []

    def add_norm(name, channels):
        for part in ("mean", "variance", "scale", "shift"):
            result.append((f"{name}/{part}", (channels,)))

    result.append(("word/kernel", (1, vocabulary, word_dim)))
    result.append(("word/bias", (word_dim,)))
    add_norm("word_norm", word_dim)
    before = word_dim
    for name, (of_middle, out, _, projection) in BLOCKS.items():
        middle, after = scaled(of_middle, width), scaled(out, width)
        result.append((f"{name}/conv1", (1, before, middle)))
        add_norm(f"{name}/norm1", middle)
        result.append((f"{name}/conv2", (2, middle, middle)))
        add_norm(f"{name}/norm2", middle)
        result.append((f"{name}/conv3", (1, middle, after)))
        add_norm(f"{name}/norm3", after)
        if projection:
            result.append((f"{name}/shortcut", (1, before, after)))
            add_norm(f"{name}/shortcut_norm", after)
        before = after
    result.append(("head", (1, before, embed_dim)))
    add_norm("head_norm", embed_dim)
    return result


def text_parameter_count(vocabulary, word_dim, width=1.0, embed_dim=2048) -> tuple[int, int]:
    """(trained numbers, moments of the batch norms) of the text branch, without `text_layers`.

    A block i - m - m - o costs i m + 2 m m + m o and 2 numbers per channel of its three norms; a
    projection costs i o + 2 o more. Every norm also has 2 moments per channel, not trained.

    Reference: (c), the table.
    """
    w = word_dim
    c64, c128, c256, c512, c1024, c2048 = (
        scaled(channels, width) for channels in (64, 128, 256, 512, 1024, 2048)
    )

    def block(i, m, o):
        return i * m + 2 * m * m + m * o

    convolutions = vocabulary * w + w
    convolutions += block(w, c128, c256) + w * c256 + 2 * block(c256, c64, c256)
    convolutions += block(c256, c512, c512) + c256 * c512 + 3 * block(c512, c128, c512)
    convolutions += block(c512, c1024, c1024) + c512 * c1024 + 5 * block(c1024, c256, c1024)
    convolutions += block(c1024, c2048, c2048) + c1024 * c2048
    convolutions += c2048 * embed_dim
    # Channels that are normed: middle twice, out once, and out again for a projection.
    normed = w
    normed += (2 * c128 + 2 * c256) + 2 * (2 * c64 + c256)
    normed += (2 * c512 + 2 * c512) + 3 * (2 * c128 + c512)
    normed += (2 * c1024 + 2 * c1024) + 5 * (2 * c256 + c1024)
    normed += 2 * c2048 + 2 * c2048
    normed += embed_dim
    return convolutions + 2 * normed, 2 * normed


def nest(arrays: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """{"2.1": {"norm1": {"mean": x}}} of ("2.1/norm1/mean", x): what `text_forward` reads."""
    result: dict[str, Any] = {}
    for name, array in arrays:
        *folders, last = name.split("/")
        inner = result
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = np.array(array, np.float64)
    return result


def unit(x) -> np.ndarray:
    """x_k / sqrt(sum_d x_d^2) of one vector; a zero vector stays zero.

    Differs from the paper: no 1e-8 below the root, (b).
    """
    square = 0.0
    for value in x:
        square += float(value) * float(value)
    result = np.zeros(len(x), np.float64)
    for k in range(len(x)):
        result[k] = float(x[k]) / math.sqrt(square) if square > 0.0 else 0.0
    return result


def place(words, offset, positions=POSITIONS) -> list[int]:
    """Word ids at `offset` of a row of `positions`, 0 elsewhere."""
    result = [0] * positions
    for k in range(len(words)):
        result[offset + k] = int(words[k])
    return result


def shift_law(length, positions=POSITIONS) -> dict[int, Fraction]:
    """The chance of each offset 0 .. positions - length in training: all the same.

    Reference: (d), position shift.
    """
    chances = {}
    for offset in range(positions - length + 1):
        chances[offset] = Fraction(1, positions - length + 1)
    return chances


def text_at_test_time(tokens, length, forward: Callable) -> np.ndarray:
    """sum_s forward(the sentence at offset s) over all 33 - length offsets, then L2 norm, (D,).

    The sentence is the first `length` of `tokens`; what follows it is padding.

    Reference: (e).
    """
    total: list[float] = []
    for offset in shift_law(length, len(tokens)):
        feature = forward(place(list(tokens)[:length], offset, len(tokens)))
        total = total or [0.0] * len(feature)
        for k in range(len(feature)):
            total[k] += float(feature[k])
    return unit(total)


def image_at_test_time(picture, mirrored=None) -> np.ndarray:
    """sum_yx f_yx of the picture (H, W, D) and of its mirrored copy, then L2 norm, (D,).

    The sum comes before the norm: a picture weighs by its positions. Both maps are features
    before the last ReLU.

    Reference: (e).
    """
    total = [0.0] * len(picture[0][0])
    for features in (picture,) if mirrored is None else (picture, mirrored):
        for row in features:
            for position in row:
                for k in range(len(position)):
                    total[k] += float(position[k])
    return unit(total)


def logits(features, classifier, bias=None) -> np.ndarray:
    """z_bk = bias_k + sum_d f_bd W_dk, (B, K).

    Reference: slides Eq. 4.5 and 4.7; a shared bias or none, (b).
    """
    result = np.zeros((len(features), len(classifier[0])), np.float64)
    for b in range(len(features)):
        for k in range(len(classifier[0])):
            total = 0.0 if bias is None else float(bias[k])
            for d in range(len(classifier)):
                total += float(features[b][d]) * float(classifier[d][k])
            result[b, k] = total
    return result


def log_sum_exp(values) -> float:
    """log sum_k e^z_k, without overflow."""
    highest, total = max(values), 0.0
    for value in values:
        total += math.exp(value - highest)
    return float(highest) + math.log(total)


def instance_loss(features, classifier, bias, labels) -> tuple[float, int]:
    """sum_b -log softmax(W^T f_b)_label and B, of features (B, D) that are NOT normalised.

    One classifier (D, K) serves both branches: call it once for each. sum / terms is the mean.

    Reference: slides Eq. 4.5 to 4.8; (b).
    """
    total = 0.0
    for z, label in zip(logits(features, classifier, bias), labels, strict=True):
        total += log_sum_exp(z) - float(z[label])
    return total, len(features)


def instance_gradient(features, classifier, bias, labels) -> np.ndarray:
    """d sum / d W_dk = sum_b f_bd (softmax_bk - 1[k = label_b]), (D, K).

    Reference: the derivative of slides Eq. 4.6.
    """
    result = np.zeros((len(classifier), len(classifier[0])), np.float64)
    for b, z in enumerate(logits(features, classifier, bias)):
        below = log_sum_exp(z)
        for k in range(len(z)):
            excess = math.exp(z[k] - below) - (1.0 if k == labels[b] else 0.0)
            for d in range(len(classifier)):
                result[d, k] += float(features[b][d]) * excess
    return result


def training_error(scores, labels) -> float:
    """The share of rows (B, K) whose highest class, the first of equals, is not the label.

    Reference: slides Fig. 8, classification error.
    """
    wrong = 0
    for z, label in zip(scores, labels, strict=True):
        best = 0
        for k in range(len(z)):
            if z[k] > z[best]:
                best = k
        wrong += best != label
    return wrong / len(labels)


def cosine(x, y) -> float:
    """x.y / (|x| |y|), 0 for a zero vector: D of the ranking loss, a SIMILARITY, (g)1."""
    total = 0.0
    for a, b in zip(unit(x), unit(y), strict=True):
        total += float(a) * float(b)
    return total


def distance(x, y) -> float:
    """1 - cosine: D misread as a distance, (g)1. Negative tests only."""
    return 1.0 - cosine(x, y)


def halves(size) -> Iterator[tuple[int, int]]:
    """(anchor k, its negative k + B // 2); the last row of an odd batch is neither.

    Reference: (b), negative image for text k = image k + 16 at B = 32.
    """
    for k in range(size // 2):
        yield k, k + size // 2


def paired_hinge(
    image, text, image_ids, text_ids, margin, measure: Callable = cosine
) -> tuple[float, int]:
    """sum_k max(0, a - D(i_k, t_k) + D(i_k, t_n)) + max(0, a - D(t_k, i_k) + D(t_k, i_n)).

    k runs over the first half, anchors with their own texts, and n = k + B // 2. A hinge whose
    negative is of the anchor's own image counts 0. The number of terms is 2 (B // 2).

    Reference: slides, ranking loss definition; (b) for which rows; (g)1 for D.
    """
    total = 0.0
    for k, n in halves(len(image)):
        own = measure(image[k], text[k])
        if text_ids[n] != image_ids[k]:
            total += max(0.0, margin - (own - measure(image[k], text[n])))
        if image_ids[n] != text_ids[k]:
            total += max(0.0, margin - (own - measure(text[k], image[n])))
    return total, 2 * (len(image) // 2)


def hardest_texts(anchors, anchor_ids, pool, pool_ids) -> list[int]:
    """argmax_p cosine(anchor_a, pool_p) over texts of other images, the first of equals.

    -1 for an anchor that finds none.

    Reference: (b), stage II: the hardest of 256 random training captions, own id excluded.
    """
    result = []
    for a in range(len(anchors)):
        best, nearest = -1, -math.inf
        for p in range(len(pool)):
            similarity = cosine(anchors[a], pool[p])
            if pool_ids[p] != anchor_ids[a] and similarity > nearest:
                best, nearest = p, similarity
        result.append(best)
    return result


def total(lambda1, lambda2, lambda3, rank, visual, textual) -> float:
    """lambda1 L_rank + lambda2 L_visual + lambda3 L_textual.

    Reference: slides, ranking loss definition; stage I is 0, 1, 1 (b).
    """
    return lambda1 * rank + lambda2 * visual + lambda3 * textual


def split_words(caption) -> list[str]:
    """The pieces between space - . , ( ) ? that are not empty, their case kept.

    Reference: (d), tokens.
    """
    words, word = [], ""
    for letter in caption:
        if letter not in SEPARATORS:
            word += letter
            continue
        if word:
            words.append(word)
        word = ""
    if word:
        words.append(word)
    return words


def encode(words, dictionary: Mapping[str, int], positions=POSITIONS) -> list[int]:
    """Ids of the words that the dictionary knows, the first `positions` of THOSE, without padding.

    Reference: (d): words outside the dictionary are dropped, the first 32 kept.
    """
    ids = []
    for word in words:
        if word in dictionary and len(ids) < positions:
            ids.append(dictionary[word])
    return ids
