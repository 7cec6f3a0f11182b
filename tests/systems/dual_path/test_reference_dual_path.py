"""The loop references of the dual-path network's text branch and losses, by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
import reference_dual_path as loops
from reference import numerical_gradient

# The smallest width at which no channel number of the table is rounded: 64 becomes 1.
WIDTH = 1 / 64
TINY = {"vocabulary": 5, "word_dim": 3, "width": WIDTH, "embed_dim": 4}
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
PLAIN = {"mean": [0.0], "variance": [1 - 1e-3], "scale": [1.0], "shift": [0.0]}


def weights(seed=0):
    """Random weights of the tiny text branch; variances are positive, no two norms alike."""
    rng = np.random.default_rng(seed)
    arrays = []
    for name, shape in loops.text_layers(**TINY):
        part = name.split("/")[-1]
        if part in ("variance", "scale"):
            arrays.append((name, rng.uniform(0.5, 1.5, shape)))
        elif part in ("mean", "shift", "bias"):
            arrays.append((name, rng.normal(0, 0.3, shape)))
        else:
            arrays.append((name, rng.normal(0, math.sqrt(2 / (shape[0] * shape[1])), shape)))
    return loops.nest(arrays)


def block(stride_1=1.0, **changes):
    """One channel, every convolution 1 and every norm the identity, but for `changes`."""
    result = {f"conv{k}": [[[1.0]]] for k in (1, 3)} | {"conv2": [[[stride_1]], [[1.0]]]}
    result |= {f"norm{k}": PLAIN for k in (1, 2, 3)}
    return result | {"shortcut": [[[1.0]]], "shortcut_norm": PLAIN} | changes


def test_convolution_pairs_a_position_with_the_one_before():
    # Kernel (10, 1): tens digit the earlier position, units the later one; the first has none.
    x, kernel = [[1], [2], [3], [4], [5], [6]], [[[10]], [[1]]]
    found = loops.conv1d_left(x, kernel, 1)
    assert np.array_equal(found[:, 0], [1, 12, 23, 34, 45, 56])
    # Stride 2 pairs (2t - 1, 2t): the last of an even row is read by nobody.
    assert np.array_equal(loops.conv1d_left(x, kernel, 2)[:, 0], [1, 23, 45])
    assert np.array_equal(loops.conv1d_left([*x, [7]], kernel, 2)[:, 0], [1, 23, 45, 67])
    # One wide: 0, 2, 4.
    assert np.array_equal(loops.conv1d_left(x, [[[1]]], 2)[:, 0], [1, 3, 5])
    assert len(loops.conv1d_left(np.zeros((32, 1)), kernel, 2)) == 16


def test_convolution_mixes_channels():
    # y_0 = x_0 + 2 x_1, y_1 = 3 x_0 + 4 x_1, and the bias 100, 200.
    found = loops.conv1d_left([[1, 10], [2, 0]], [[[1, 3], [2, 4]]], 1, [100, 200])
    assert np.array_equal(found, [[121, 243], [102, 206]])


def test_batch_norm_by_hand():
    # Scale 3, shift 1: 3 (5 - 1) / sqrt(3.999 + 0.001) + 1 = 7; the other channel is kept.
    found = loops.batch_norm([[5, 8], [1, 8]], [1, 0], [3.999, 0.999], [3, 1], [1, 0])
    assert found == pytest.approx(np.array([[7, 8], [1, 8]]), rel=1e-14)


def test_batch_norm_in_training_by_hand():
    # 1 1 3 3 over batch and positions: mean 2, variance 1 (divided by 4, not by 3).
    x = [[[1], [3]], [[3], [1]]]
    found, mean, variance = loops.batch_norm_training(x, [2], [5], eps=0.0)
    assert (mean, variance) == ([2.0], [1.0])
    assert np.array_equal(found, [[[3], [7]], [[7], [3]]])
    # Two channels, each of its own moments; a constant one gives its shift.
    found, mean, variance = loops.batch_norm_training([[[4, 0]], [[4, 2]]], [1, 1], [9, 0])
    assert (mean, variance) == ([4.0, 1.0], [0.0, 1.0])
    near = 1 / math.sqrt(1.001)
    assert found == pytest.approx(np.array([[[9, -near]], [[9, near]]]), rel=1e-14)


def test_relu_and_pool_by_hand():
    x = [[-1, 2], [3, -4], [0, -5]]
    assert np.array_equal(loops.relu(x), [[0, 2], [3, 0], [0, 0]])
    assert np.array_equal(loops.max_pool(x), [3, 2])
    assert np.array_equal(loops.max_pool([[-3], [-2]]), [-2])  # Not 0, not the average.


def test_block_adds_its_input():
    # Body (10, 1) of 1 2 3 4 is 1 12 23 34; the identity adds 1 2 3 4.
    x = [[1], [2], [3], [4]]
    assert loops.residual_block(x, block(10), 1, False)[:, 0] == pytest.approx(
        np.array([2, 14, 26, 38]), rel=1e-14
    )
    # Stride 2 stands in the middle convolution: 1 23, and the shortcut reads 1 3, doubled.
    found = loops.residual_block(x, block(10, shortcut=[[[2.0]]]), 2, True)
    assert found[:, 0] == pytest.approx(np.array([1 + 2, 23 + 6]), rel=1e-14)
    with pytest.raises(ValueError, match=r"shortcut \(4, 1\) and body \(2, 1\)"):
        loops.residual_block(x, block(), 2, False)


def test_block_rectifies_twice_inside_and_after_the_sum():
    minus = [[[-1.0]]]
    # After the first: -x is cut to 0, so the body adds nothing.
    assert loops.residual_block([[3]], block(conv1=minus), 1, False) == pytest.approx(3)
    # After the second: likewise.
    assert loops.residual_block([[3]], block(conv2=[[[0]], [[-1]]]), 1, False) == pytest.approx(3)
    # Not after the third, or the sum would be 3; only the sum is cut: 3 - 2 and 3 - 6.
    assert loops.residual_block([[3]], block(conv3=[[[-2 / 3]]]), 1, False) == pytest.approx(1)
    assert loops.residual_block([[3]], block(conv3=[[[-2]]]), 1, False) == 0
    # A norm shifts before the ReLU: relu(-3 + 5) = 2, and 2 + 3.
    shifted = PLAIN | {"shift": [5.0]}
    found = loops.residual_block([[3]], block(conv1=minus, norm1=shifted), 1, False)
    assert found == pytest.approx(5)
    # The shortcut is not rectified before the sum: 3 - 2.
    found = loops.residual_block([[3]], block(shortcut=[[[-2 / 3]]]), 1, True)
    assert found == pytest.approx(1)


def test_padding_is_an_empty_row():
    found = loops.one_hot([2, 0, 1], 3)
    assert np.array_equal(found, [[0, 1, 0], [0, 0, 0], [1, 0, 0]])


def test_layers_of_a_tiny_width_by_hand():
    # convolutions: a block i - m - m - o has i m + 2 m m + m o.
    expected = 5 * 3 + 3  # Word layer with its bias.
    expected += (3 * 2 + 2 * 2 * 2 + 2 * 4) + 3 * 4  # 2.1: 3-2-2-4 and its shortcut.
    expected += (4 * 1 + 2 * 1 * 1 + 1 * 4) * 2  # 2.2, 2.3: 4-1-1-4.
    expected += (4 * 8 + 2 * 8 * 8 + 8 * 8) + 4 * 8  # 3.1: 4-8-8-8.
    expected += (8 * 2 + 2 * 2 * 2 + 2 * 8) * 3  # 3.2 to 3.4: 8-2-2-8.
    expected += (8 * 16 + 2 * 16 * 16 + 16 * 16) + 8 * 16  # 4.1: 8-16-16-16.
    expected += (16 * 4 + 2 * 4 * 4 + 4 * 16) * 5  # 4.2 to 4.6: 16-4-4-16.
    expected += (16 * 32 + 2 * 32 * 32 + 32 * 32) + 16 * 32  # 5.1: 16-32-32-32.
    expected += 32 * 4  # Head.
    channels = 3 + (2 + 2 + 4 + 4) + (1 + 1 + 4) * 2 + (8 + 8 + 8 + 8) + (2 + 2 + 8) * 3
    channels += (16 + 16 + 16 + 16) + (4 + 4 + 16) * 5 + (32 + 32 + 32 + 32) + 4
    assert (expected, channels) == (6496, 411)
    assert loops.text_parameter_count(**TINY) == (6496 + 2 * 411, 2 * 411)


@pytest.mark.parametrize(
    "sizes", [(5, 3, WIDTH, 4), (7, 300, 0.1, 2048), (1, 1, 1e-6, 1), (20_074, 300)]
)
def test_layers_and_their_count_agree(sizes):
    layers = loops.text_layers(*sizes)
    trained = moments = 0
    for name, shape in layers:
        size = math.prod(shape)
        if name.endswith(("/mean", "/variance")):
            moments += size
        else:
            trained += size
    assert (trained, moments) == loops.text_parameter_count(*sizes)
    assert len(dict(layers)) == len(layers)


def test_layers_of_the_published_network():
    layers = dict(loops.text_layers(20_074, 300))
    assert layers["word/kernel"] == (1, 20_074, 300)
    assert layers["2.1/conv1"] == (1, 300, 128) and layers["2.1/shortcut"] == (1, 300, 256)
    assert layers["3.1/conv2"] == (2, 512, 512) and layers["5.1/shortcut"] == (1, 1024, 2048)
    assert layers["head"] == (1, 2048, 2048) and layers["head_norm/shift"] == (2048,)
    # One word layer, 14 blocks of three, four projections, the head: with one norm each.
    norms = [name for name in layers if name.endswith("/mean")]
    assert len(norms) == 1 + 3 * 14 + 4 + 1
    assert len(layers) == 4 * len(norms) + len(norms) + 1  # And the word layer's bias.
    # Word layer, the first block of each stage and the others together, head.
    convolutions = 6_022_500 + 180_736 + 81_920 + 1_048_576 + 491_520
    convolutions += 4_194_304 + 3_276_800 + 16_777_216 + 4_194_304
    channels = 300 + 768 + 2 * 384 + 2_048 + 3 * 768 + 4_096 + 5 * 1_536 + 8_192 + 2_048
    found = loops.text_parameter_count(20_074, 300)
    assert found == (convolutions + 2 * channels, 2 * channels) == (36_324_284, 56_408)


def narrow():
    """One channel everywhere, all weights 1, all norms the identity, two words: 1 and -1."""
    arrays = []
    for name, shape in loops.text_layers(2, 1, 1e-6, 1):
        part = name.split("/")[-1]
        arrays.append((name, np.full(shape, PLAIN.get(part, [1.0])[0])))
    result = loops.nest(arrays)
    result["word"] = {"kernel": [[[1.0], [-1.0]]], "bias": [0.0]}
    return result


def test_text_branch_by_hand():
    # A block makes x_(t - 1) + 2 x_t. Position 28 becomes 14, then 7, the last of the pool: all
    # before it is silent and nothing after it is read, so 2 for each of the 14 blocks.
    given, tokens = narrow(), loops.place([1], 28)
    assert loops.text_forward(tokens, given) == pytest.approx([2**14], rel=1e-12)
    # Before the last ReLU: the last norm may turn it over.
    given["head_norm"] = PLAIN | {"scale": [-1.0], "shift": [3.0]}
    assert loops.text_forward(tokens, given) == pytest.approx([3 - 2**14], rel=1e-12)
    # No ReLU after the word layer: a word of -1 that 2.1 turns over counts as much.
    given = narrow()
    given["2.1"]["conv1"][:] = given["2.1"]["shortcut"][:] = -1.0
    assert loops.text_forward(loops.place([2], 28), given) == pytest.approx([2**14], rel=1e-12)
    assert loops.text_forward(tokens, given) == [0]
    # The norm stands after the bias: 2 (3 - 4) + 2 = 0 for padding, 2 (1 + 3 - 4) + 2 for a word.
    given = narrow()
    given["word"]["bias"] = [3.0]
    given["word_norm"] = {"mean": [4.0], "variance": [0.999], "scale": [2.0], "shift": [2.0]}
    assert loops.text_forward([0] * 32, given) == [0]
    assert loops.text_forward(tokens, given) == pytest.approx([2 * 2**14], rel=1e-12)


def test_text_branch_follows_the_table():
    given, tokens = weights(), loops.place([1, 2, 3], 4)
    found = loops.text_forward(tokens, given)
    assert found.shape == (4,) and found.min() < 0.0  # Before the last ReLU.
    # Padding gives the bias alone, whatever the words' vectors are.
    empty = loops.text_forward([0] * 32, given)
    given["word"]["kernel"][:] = 7.0
    assert np.array_equal(loops.text_forward([0] * 32, given), empty)
    given["word"]["bias"][:] += 1.0
    assert not np.allclose(loops.text_forward([0] * 32, given), empty)


def test_text_branch_reads_the_last_word_that_two_strides_leave():
    # 3.1 never reads position 31; 4.1 never reads 15 of 16, that is 29 and 30 of the words.
    given = weights()
    empty = loops.text_forward([0] * 32, given)
    for position in (29, 30, 31):
        assert np.array_equal(loops.text_forward(loops.place([1], position), given), empty)
    assert not np.array_equal(loops.text_forward(loops.place([1], 28), given), empty)


def test_text_at_test_time_sums_all_shifts():
    seen = []

    def forward(tokens):
        seen.append(list(tokens))
        return [tokens[0], tokens[-1]]

    # Words 3 and 4 of 5 positions: at 4 offsets; first position 3 0 0 0, last one 0 0 0 4.
    found = loops.text_at_test_time([3, 4, 0, 0, 0], 2, forward)
    assert seen == [[3, 4, 0, 0, 0], [0, 3, 4, 0, 0], [0, 0, 3, 4, 0], [0, 0, 0, 3, 4]]
    assert np.array_equal(found, [3 / 5, 4 / 5])
    # 33 - length of 32 positions: one for a full sentence, 32 for one word.
    for length, shifts in ((32, 1), (1, 32), (20, 13)):
        seen.clear()
        loops.text_at_test_time([9] * length + [0] * (32 - length), length, forward)
        assert len(seen) == shifts


def test_text_sums_before_the_norm():
    # A long feature outweighs a short one: (6, 0) + (0, 8), not (1, 0) + (0, 1).
    found = loops.text_at_test_time([1, 0], 1, lambda t: [6.0, 0.0] if t[0] else [0.0, 8.0])
    assert found == pytest.approx(np.array([3 / 5, 4 / 5]), rel=1e-14)


def test_image_at_test_time_by_hand():
    # (1, 0) (2, 1) and mirrored (0, 2) (0, 1): the sum is (3, 4).
    picture, mirrored = [[[1, 0], [2, 1]]], [[[0, 2], [0, 1]]]
    assert loops.image_at_test_time(picture, mirrored) == pytest.approx(np.array([3 / 5, 4 / 5]))
    alone = loops.image_at_test_time(picture)
    assert alone == pytest.approx(np.array([3, 1]) / math.sqrt(10))
    assert np.array_equal(loops.image_at_test_time([[[0, 0]]]), [0, 0])


def test_instance_loss_by_hand():
    # e^logits: 1 2 3 and 1 1/4 3/4 by the columns of W; labels 1 and 0: -log 2/6 and -log 1/2.
    features, classifier = [[1, 0], [0, 1]], np.log([[1, 2, 3], [1, 1 / 4, 3 / 4]])
    found, terms = loops.instance_loss(features, classifier, None, [1, 0])
    assert (found, terms) == (pytest.approx(math.log(3 * 2), rel=1e-14), 2)
    # The bias multiplies e^logits: 1 2 6, so -log 2/9 and, 1 1/4 3/2, -log 4/11.
    found, _ = loops.instance_loss(features, classifier, np.log([1, 1, 2]), [1, 0])
    assert found == pytest.approx(math.log(9 / 2 * 11 / 4), rel=1e-14)


def test_instance_loss_of_equal_logits_counts_classes():
    for features in (np.zeros((3, 2)), np.full((3, 2), 1000.0)):  # e^2000 would overflow.
        found, terms = loops.instance_loss(features, np.ones((2, 5)), None, [0, 4, 2])
        assert found / terms == pytest.approx(math.log(5), rel=1e-14)


def test_instance_loss_of_a_tetrahedron():
    # Logits 1 and -1/3, times 3/4 log 3: e^difference is 3, so -log(3 / (3 + 3)) each.
    scale, labels = 3 / 4 * math.log(3), [0, 1, 2, 3]
    found, _ = loops.instance_loss(scale * TETRAHEDRON, TETRAHEDRON.T, None, labels)
    assert found == pytest.approx(4 * math.log(2), rel=1e-14)
    # Features are not normalised: twice as long, e^difference is 9.
    found, _ = loops.instance_loss(2 * scale * TETRAHEDRON, TETRAHEDRON.T, None, labels)
    assert found == pytest.approx(4 * math.log(12 / 9), rel=1e-14)


def test_instance_gradient_by_hand():
    # All classes alike, p = 1/4: f (1/4 - 1) at the label, f / 4 elsewhere.
    found = loops.instance_gradient([[4, 8]], np.zeros((2, 4)), None, [2])
    assert found == pytest.approx(np.array([[1, 1, -3, 1], [2, 2, -6, 2]]), rel=1e-14)


def test_instance_gradient_is_the_slope_and_adds_over_both_branches():
    rng = np.random.default_rng(0)
    image, text, w = rng.normal(size=(3, 2)), rng.normal(size=(4, 2)), rng.normal(size=(2, 5))
    bias, of_image, of_text = rng.normal(size=5), [0, 4, 4], [1, 2, 3, 3]
    by_image = loops.instance_gradient(image, w, bias, of_image)
    by_text = loops.instance_gradient(text, w, bias, of_text)

    def shared(x):  # One W for both branches.
        visual = loops.instance_loss(image, x, bias, of_image)[0]
        return loops.total(0, 1, 1, 0, visual, loops.instance_loss(text, x, bias, of_text)[0])

    assert by_image + by_text == pytest.approx(numerical_gradient(shared, w), abs=1e-8)
    # What raises one class lowers another: each row of the gradient sums to 0.
    assert by_image.sum(axis=1) == pytest.approx(np.zeros(2), abs=1e-14)


def test_training_error_by_hand():
    scores, labels = [[1, 5, 2], [3, 0, 0], [0, 0, 9], [4, 4, 4]], [1, 2, 2, 0]
    # Right, wrong, right; of equals the first stands, which is the label.
    assert loops.training_error(scores, labels) == Fraction(1, 4)


def ids(*numbers):
    """Image and text ids that are the same."""
    return list(numbers), list(numbers)


def test_hinge_by_hand():
    # Two anchors (cosine 4/5 and 3/5 with their own text), then their negatives.
    image = [[1, 0], [0, 5], [0, 2], [3, 4]]
    text = [[4, 3], [4, 3], [3, 4], [1, 0]]
    # Anchor 0: i.t_n = 3/5, t.i_n = 3/5. Anchor 1: i.t_n = 0, t.i_n = 12/25 + 12/25 = 24/25.
    first = (1 - Fraction(4, 5) + Fraction(3, 5)) + (1 - Fraction(4, 5) + Fraction(3, 5))
    second = (1 - Fraction(3, 5) + 0) + (1 - Fraction(3, 5) + Fraction(24, 25))
    found, terms = loops.paired_hinge(image, text, *ids(0, 1, 2, 3), 1)
    assert (found, terms) == (pytest.approx(float(first + second), rel=1e-14), 4)
    # Margin 1/2: anchor 1 is content with its text, 3/5 - 0 > 1/2, which counts 0 and not -1/10.
    second = Fraction(1, 2) - Fraction(3, 5) + Fraction(24, 25)
    found, _ = loops.paired_hinge(image, text, *ids(0, 1, 2, 3), 1 / 2)
    assert found == pytest.approx(float(first - 1 + second), rel=1e-14)


def test_hinge_skips_what_is_of_the_own_image():
    image = text = np.ones((4, 2))  # Every hinge is the margin.
    for image_ids, text_ids, left in (
        ([0, 1, 2, 3], [0, 1, 2, 3], 4),
        ([0, 1, 0, 3], [0, 1, 2, 3], 3),  # The image negative of text 0.
        ([0, 1, 2, 3], [0, 1, 2, 1], 3),  # The text negative of image 1.
        ([0, 1, 0, 1], [0, 1, 0, 1], 0),
        ([0, 1, 1, 0], [0, 1, 1, 0], 4),  # Of the other anchor's image.
    ):
        found, terms = loops.paired_hinge(image, text, image_ids, text_ids, 1 / 4)
        assert (found, terms) == (left / 4, 4)


@pytest.mark.parametrize("batch", [0, 1, 2, 5, 8])
def test_collapse_costs_two_margins_per_anchor(batch):
    rows = np.tile([3.0, 4.0], (batch, 1))
    for same in (rows, 0 * rows):  # Zero vectors too: the cosine is 0 everywhere.
        found, terms = loops.paired_hinge(same, same, *ids(*range(batch)), 1)
        assert found == pytest.approx(2 * (batch // 2), rel=1e-14) and terms == 2 * (batch // 2)


def test_odd_batch_leaves_its_last_row():
    assert list(loops.halves(5)) == [(0, 2), (1, 3)]
    assert list(loops.halves(32))[-1] == (15, 31)
    image = np.random.default_rng(0).normal(size=(5, 3))
    text = image[::-1]
    whole = loops.paired_hinge(image, text, *ids(0, 1, 2, 3, 4), 1)
    assert whole == loops.paired_hinge(image[:4], text[:4], *ids(0, 1, 2, 3), 1)


def test_hinge_of_a_tetrahedron():
    # Own pair 1, others -1/3: margin 4/3 is just met, margin 2 misses by 2/3 four times.
    for margin, expected in ((1, 0), (4 / 3, 0), (2, 8 / 3)):
        found, _ = loops.paired_hinge(TETRAHEDRON, TETRAHEDRON, *ids(0, 1, 2, 3), margin)
        assert found == pytest.approx(expected, abs=1e-14)


def test_hinge_ignores_length_and_swaps_sides():
    rng = np.random.default_rng(1)
    image, text = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    found, _ = loops.paired_hinge(image, text, *ids(*range(6)), 1)
    longer = image * rng.uniform(1, 9, (6, 1))
    assert loops.paired_hinge(longer, text, *ids(*range(6)), 1)[0] == pytest.approx(found)
    assert loops.paired_hinge(text, image, *ids(*range(6)), 1)[0] == pytest.approx(found)


def test_distance_in_place_of_similarity_pushes_pairs_apart():
    rng = np.random.default_rng(2)
    image, text = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    changes = []
    for measure in (loops.cosine, loops.distance):

        def loss(x, measure=measure):
            return loops.paired_hinge(image, x, *ids(0, 1, 2, 3), 1, measure)[0]

        step = text - 0.01 * numerical_gradient(loss, text)
        assert loss(step) < loss(text)
        pairs = [(loops.cosine(image[k], step[k]), loops.cosine(image[k], text[k])) for k in (0, 1)]
        changes.append([after > before for after, before in pairs])
    assert changes == [[True, True], [False, False]]
    # Perfect pairs are the best of all for a similarity, the worst of all for a distance.
    perfect, opposite = [[1, 0], [-1, 0]], [[-1, 0], [1, 0]]
    for measure, of_perfect, of_opposite in ((loops.cosine, 0, 6), (loops.distance, 6, 0)):
        for other, expected in ((perfect, of_perfect), (opposite, of_opposite)):
            found, _ = loops.paired_hinge(perfect, other, *ids(0, 1), 1, measure)
            assert found == expected


def test_hardest_texts_by_hand():
    anchors, pool = [[1, 0], [0, 1], [1, 1]], [[9, 1], [3, 0], [0, -1], [1, 1], [2, 2]]
    # The nearest, not the longest; the own one is passed over; of equals the first.
    assert loops.hardest_texts(anchors, [7, 8, 9], pool, [1, 2, 3, 4, 5]) == [1, 3, 3]
    assert loops.hardest_texts(anchors, [7, 8, 9], pool, [1, 7, 3, 9, 8]) == [0, 3, 4]
    # A negative similarity is still the hardest where there is nothing else.
    assert loops.hardest_texts([[0, 1]], [0], pool, [0, 0, 1, 0, 0]) == [2]
    assert loops.hardest_texts([[0, 1]], [0], pool, [0] * 5) == [-1]


def test_total_by_hand():
    assert loops.total(1, 1, 1, 2, 30, 400) == 432
    assert loops.total(2, 1, Fraction(1, 10), 2, 30, 400) == 74
    assert loops.total(0, 1, 1, 2, 30, 400) == 430


def test_shift_law_and_place():
    assert loops.shift_law(30) == {0: Fraction(1, 3), 1: Fraction(1, 3), 2: Fraction(1, 3)}
    assert loops.shift_law(32) == {0: 1} and len(loops.shift_law(0)) == 33
    assert sum(loops.shift_law(7).values()) == 1
    assert loops.place([5, 6], 1, 4) == [0, 5, 6, 0] and loops.place([5, 6], 2, 4) == [0, 0, 5, 6]
    with pytest.raises(ValueError, match="length 33: expected 0 to 32"):
        loops.shift_law(33)
    with pytest.raises(ValueError, match="2 words at offset 3: expected to end by 4"):
        loops.place([5, 6], 3, 4)


def test_words_by_hand():
    found = loops.split_words("A black-and-white Dog (with a toy), running... Why? It's OK!")
    assert " ".join(found) == "A black and white Dog with a toy running Why It's OK!"
    assert loops.split_words(" -.,()?") == loops.split_words("") == []
    assert loops.split_words("tab\tstays;so") == ["tab\tstays;so"]


def test_encoding_drops_unknown_words_before_it_cuts():
    dictionary = {"a": 1, "dog": 2, "A": 3}
    assert loops.encode(["A", "big", "dog", "Dog"], dictionary) == [3, 2]
    assert loops.encode(["of", "a", "of", "dog", "a"], dictionary, positions=2) == [1, 2]
    assert loops.encode(["a"] * 40, dictionary) == [1] * 32
