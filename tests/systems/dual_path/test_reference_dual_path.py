"""The loop references of the dual-path network: what nothing but a hand can say of them.

Where the network itself is compared with a loop and with a hand, the loop is not tried here again.
"""

from fractions import Fraction

import numpy as np
import pytest
import reference_dual_path as loops
from reference import numerical_gradient

PLAIN = {"mean": [0.0], "variance": [1 - 1e-3], "scale": [1.0], "shift": [0.0]}


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
