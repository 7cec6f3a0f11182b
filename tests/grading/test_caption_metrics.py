"""BLEU-4 and CIDEr-D: by eye, against loops from the papers, properties, and bad input."""

import math
import random

import pytest
import reference_captions as reference

from grading.caption_metrics import bleu4, cider, words


def random_corpus(seed, images=12, vocabulary=9):
    """Captions and one to four references an image, of 1 to 12 words out of a few."""
    rng = random.Random(seed)

    def sentence():
        return " ".join(f"w{rng.randrange(vocabulary)}" for _ in range(rng.randint(1, 12)))

    written = [sentence() for _ in range(images)]
    known = [[sentence() for _ in range(rng.randint(1, 4))] for _ in range(images)]
    for image in range(0, images, 3):
        known[image][0] = written[image]
    return written, known


def split(corpus):
    written, known = corpus
    return [one.split() for one in written], [[one.split() for one in own] for own in known]


def test_words_have_no_case_and_no_punctuation():
    assert words("A man's T-shirt, (red) !") == ["a", "man", "'s", "t", "shirt", "red"]


def test_a_caption_that_is_a_reference_scores_full_marks():
    written = ["a dog runs on grass", "two cats sit in a box"]
    known = [["a brown dog", "A dog runs on grass."], [written[1]]]
    assert bleu4(written, known) == pytest.approx(1)
    assert cider(written, [[written[0]], [written[1]]]) == pytest.approx(10)


def test_bleu_counted_by_eye():
    # of 5, 4, 3 and 2 phrases 4, 3, 2 and 1 are right; as long as the reference
    found = bleu4(["a b c d x"], [["a b c d e"]])
    assert found == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    # all right, but 4 words for 6
    assert bleu4(["a b c d"], [["a b c d e f"]]) == pytest.approx(math.exp(1 - 6 / 4))
    # of two references equally near in length the shorter counts
    assert bleu4(["a b c d e"], [["a b c d", "a b c d e f"]]) == pytest.approx(1)


def test_bleu_clips_what_is_repeated_and_does_not_smooth():
    assert bleu4(["the the the the"], [["the cat sat down"]]) == 0
    once = bleu4(["a b c d a b c d"], [["a b c d f g h i"]])
    assert once == pytest.approx((4 / 8 * 3 / 7 * 2 / 6 * 1 / 5) ** 0.25)


def test_bleu_pools_the_corpus_rather_than_averaging():
    written, known = ["a b c d", "x y"], [["a b c d"], ["y x"]]
    assert bleu4(written, known) == pytest.approx((6 / 6 * 3 / 4 * 2 / 2 * 1 / 1) ** 0.25)


def test_cider_by_eye():
    # Two images; each single word stands in one image's references only: idf log 2 for all.
    written, known = ["a b", "c d"], [["a x"], ["c d"]]
    # n = 1: (1 * 1) / (sqrt 2 * sqrt 2); n = 2: nothing; second image: 1 for n = 1 and 2
    assert cider(written, known) == pytest.approx(10 * ((1 / 2) / 4 + (1 + 1) / 4) / 2)


@pytest.mark.parametrize("seed", range(6))
def test_against_loops_from_the_papers(seed):
    corpus = random_corpus(seed)
    assert bleu4(*corpus) == pytest.approx(reference.bleu4(*split(corpus)), abs=1e-12)
    assert cider(*corpus) == pytest.approx(reference.cider(*split(corpus)), abs=1e-12)


@pytest.mark.parametrize("metric", [bleu4, cider])
def test_order_of_images_and_references_does_not_matter(metric):
    written, known = random_corpus(7)
    order = [*range(5, 12), *range(5)]
    turned = [written[at] for at in order], [known[at][::-1] for at in order]
    assert metric(written, known) == pytest.approx(metric(*turned), abs=1e-12)


def test_degenerate():
    assert bleu4([""], [["a b c d"]]) == 0
    assert cider(["", "b"], [["a"], ["c"]]) == 0
    assert cider(["a b"], [["a b"]]) == 0  # one image: nothing is rare
    long = "a b c d " * 9
    assert cider([long, "y"], [["a b c d"], ["y"]]) < cider(["a b c d", "y"], [["a b c d"], ["y"]])


@pytest.mark.parametrize("metric", [bleu4, cider])
@pytest.mark.parametrize(
    ("written", "known", "said"),
    [([], [], "0 written"), (["a"], [["a"], ["b"]], "for 2 images"), (["a"], [[]], "image 0")],
)
def test_bad_input(metric, written, known, said):
    with pytest.raises(ValueError, match=said):
        metric(written, known)
