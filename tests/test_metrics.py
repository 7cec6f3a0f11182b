"""metrics.py: by eye, at its limits, against the loops of reference_metrics.py, in any block."""

import hashlib
import os
import subprocess
import sys
import tracemalloc
from math import log2, sqrt
from pathlib import Path

import numpy as np
import pytest
import reference_metrics as reference

import metrics
from gallery import scan

THREE = np.eye(3)  # images at the corners, so that a text row holds its scores
TEXTS = np.array([[0.9, 0.1, 0.0], [0.5, 0.4, 0.3], [0.2, 0.6, 0.5]])
BLOCKS = (1, 8 * 3**2, 8 * 16**2, 8 * 100**2, scan.BLOCK_BYTES)
CONCEPTS = ("none", "binary", "counts", "real")


def gallery(seed, num_images=30, num_captions=80, dim=8, ties=False):
    """Random embeddings, unequal caption counts, some images without any; small integers tie."""
    rng = np.random.default_rng(seed)
    if ties:
        image = rng.integers(-1, 2, (num_images, 3)).astype(np.float64)
        text = rng.integers(-1, 2, (num_captions, 3)).astype(np.float64)
    else:
        image, text = (
            rng.standard_normal((num_images, dim)),
            rng.standard_normal((num_captions, dim)),
        )
        image /= np.linalg.norm(image, axis=1, keepdims=True)
        text /= np.linalg.norm(text, axis=1, keepdims=True)
    owner = rng.integers(0, num_images - 2, num_captions)
    return image, text, owner


def concept_vectors(kind, num_images, seed=0):
    """Concept vectors of every kind; the third image has none, the first two are the same."""
    rng = np.random.default_rng(seed)
    if kind == "none":
        return None
    vectors = {
        "binary": rng.random((num_images, 6)) < 0.3,
        "counts": rng.integers(0, 4, (num_images, 6)),
        "real": rng.random((num_images, 6)) ** 3,
    }[kind]
    vectors[2], vectors[1] = 0, vectors[0]
    return vectors


def as_bytes(found):
    """All that a result holds, as bytes."""
    parts = [(of.ranks, of.ap, of.ndcg, of.query_image) for of in found.values()]
    return b"".join(array.tobytes() for part in parts for array in part)


# Countable by eye


def test_three_by_three_as_fractions():
    text_to_image, image_to_text = metrics.rank_both(THREE, TEXTS, [0, 1, 2])
    assert text_to_image.tolist() == [1, 2, 2]
    assert image_to_text.tolist() == [1, 2, 1]
    forward, backward = metrics.summarise(text_to_image), metrics.summarise(image_to_text)
    assert forward == {
        "mrr": 2 / 3, "mrr@10": 2 / 3, "recall@1": 100 / 3, "recall@5": 100, "recall@10": 100,
        "mean_rank": 5 / 3, "median_rank": 2,
    }  # fmt: skip
    assert backward["mrr"] == pytest.approx(5 / 6, rel=1e-15)
    assert backward["median_rank"] == 1
    assert metrics.rsum(forward, backward) == pytest.approx(500, rel=1e-15)


def test_ap_and_ndcg_without_concepts():
    found = metrics.evaluate(THREE, TEXTS, [0, 1, 2])["text_to_image"]
    np.testing.assert_array_equal(found.values()["map@10"], [1, 1 / 2, 1 / 2])
    np.testing.assert_allclose(found.values()["ndcg@10"], [1, 1 / log2(3), 1 / log2(3)], rtol=1e-15)
    assert found.gallery_size == 3


def test_ap_and_ndcg_with_concepts():
    # Image 1 shares a concept with both others: cosine 1/sqrt(2). Caption 2 finds 1, 0 and then 2.
    text = np.array([[0.9, 0.0, 0.1], [0.5, 0.4, 0.3], [0.6, 0.7, 0.5]])
    found = metrics.evaluate(THREE, text, [0, 1, 2], [[1, 0], [1, 1], [0, 1]])["text_to_image"]
    half, two, three = sqrt(0.5), 1 / log2(3), 1 / 2
    np.testing.assert_allclose(
        found.values()["map@10"], [(1 + 2 / 3) / 2, 1, (1 + 2 / 3) / 2], rtol=1e-15
    )
    expected = [
        (1 + half * three) / (1 + half * two),
        (half + two + half * three) / (1 + half * two + half * three),
        (half + three) / (1 + half * two),
    ]
    np.testing.assert_allclose(found.values()["ndcg@10"], expected, rtol=1e-12)


def test_another_own_caption_above_is_no_error():
    # Image 0 owns captions 0 and 2; 2 stands above 0, a stranger between them costs no rank.
    image, text = np.eye(2), np.array([[0.3, 0.0], [0.6, 0.5], [0.9, 0.1]])
    found = metrics.evaluate(image, text, [0, 1, 0])["image_to_text"]
    assert found.ranks.tolist() == [1, 1]
    np.testing.assert_allclose(found.values()["map@10"], [(1 + 2 / 3) / 2, 1], rtol=1e-15)
    np.testing.assert_allclose(
        found.values()["ndcg@10"], [(1 + 1 / 2) / (1 + 1 / log2(3)), 1], rtol=1e-15
    )


def test_own_captions_that_tie_do_not_count_but_strangers_do():
    image = np.eye(2)
    text = np.array([[0.5, 0.0], [0.5, 0.0], [0.5, 0.9], [0.5, 0.2]])
    text_to_image, image_to_text = metrics.rank_both(image, text, [0, 0, 1, 1])
    assert image_to_text.tolist() == [3, 1]  # two own ones, two strangers, all with score 0.5
    assert text_to_image.tolist() == [1, 1, 1, 2]


def test_median_follows_the_papers():
    # floor(median of ranks from 0) + 1: between the 4th and the 5th stands 4.
    assert metrics.summarise([1, 4, 5, 9])["median_rank"] == 4
    assert metrics.summarise([1, 4, 6, 9])["median_rank"] == 5
    assert metrics.summarise([3])["median_rank"] == 3


def test_relevance_of_exactly_the_threshold_does_not_count():
    # 3 / sqrt(10 * 10) = 0.3 is not above 0.3; 4 / sqrt(10 * 10) is.
    a, b, c = np.zeros((3, 20), int)
    a[:10] = b[7:17] = c[6:16] = 1
    relevance = scan.Relevance(3, np.array([0]), [a, b, c])
    assert relevance.rows(np.array([0])).tolist() == [[1, 0.3, 0.4]]
    assert relevance.totals()[0][0].tolist() == [2, 2, 3]
    text = [[0.8, 0.9, 0.7], [0.7, 0.8, 0.9], [0.7, 0.8, 0.9]]  # found: 1 0 2, then 2 1 0 twice
    found = metrics.evaluate(THREE, text, [0, 1, 2], [a, b, c])["text_to_image"]
    expected = [(1 / 2 + 2 / 3) / 2, 1, 1]
    np.testing.assert_allclose(found.values()["map@10"], expected, rtol=1e-15)


def test_relevance_is_the_same_to_the_last_bit_however_it_is_summed():
    concepts = np.random.default_rng(0).random((40, 301))
    relevance = scan.Relevance(40, np.arange(40), concepts)
    first, second = np.indices((40, 40))
    pairs = relevance.pairs(first.ravel(), second.ravel()).reshape(40, 40)
    np.testing.assert_array_equal(relevance.rows(np.arange(40)), pairs)
    np.testing.assert_array_equal(relevance.rows(np.arange(3)), pairs[:3])
    np.testing.assert_array_equal(pairs, pairs.T)
    unit = concepts / np.linalg.norm(concepts, axis=1, keepdims=True)
    np.testing.assert_allclose(pairs, unit @ unit.T, rtol=1e-6)


def test_order_similarity_as_fractions():
    # An image of both things stands above captions of one; a caption of both, above no such image.
    image, text = np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    #  scores: [0, -1], [0, 0], [0, -1/4]
    text_to_image, image_to_text = metrics.rank_both(image, text, [0, 1, 1], similarity="order")
    assert text_to_image.tolist() == [1, 2, 2]  # (1, 0) lies below both images: a tie
    assert image_to_text.tolist() == [3, 1]  # all captions lie below the first image
    # Sides swapped: a caption of both things loses 1 where the picture shows one of them.
    text_to_image, image_to_text = metrics.rank_both(text[:2], image, [0, 1], similarity="order")
    assert text_to_image.tolist() == [1, 2] and image_to_text.tolist() == [2, 1]


# Limits


@pytest.mark.parametrize("concepts", CONCEPTS)
def test_perfect_embeddings_score_the_best_of_all(concepts):
    owner = np.repeat(np.arange(12), 3)
    found = metrics.evaluate(np.eye(12), np.eye(12)[owner], owner)
    for of in found.values():
        assert set(of.ranks) == {1}
        assert of.values()["map@10"].tolist() == [1] * len(of.ranks)
        assert of.values()["ndcg@10"].tolist() == [1] * len(of.ranks)
    graded = metrics.evaluate(np.eye(12), np.eye(12)[owner], owner, concept_vectors(concepts, 12))
    assert (graded["text_to_image"].values()["ndcg@10"] <= 1).all()


@pytest.mark.parametrize("concepts", CONCEPTS)
@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_collapsed_embeddings_score_the_worst_of_all(concepts, block_bytes):
    _, _, owner = gallery(0)
    row = np.full((1, 7), 1 / sqrt(7))
    image, text, vectors = (
        np.repeat(row, 30, 0),
        np.repeat(row, 80, 0),
        concept_vectors(concepts, 30),
    )
    found = metrics.evaluate(image, text, owner, vectors, block_bytes)
    assert set(found["text_to_image"].ranks) == {30}
    captions = np.bincount(owner)
    expected = 80 - captions[captions > 0] + 1
    np.testing.assert_array_equal(found["image_to_text"].ranks, expected)
    lists = vectors if vectors is None else np.asarray(vectors, float).tolist()
    loops = reference.graded(image.tolist(), text.tolist(), owner.tolist(), lists)
    for direction, (ap, ndcg) in loops.items():
        np.testing.assert_allclose(found[direction].values()["map@10"], ap, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(found[direction].values()["ndcg@10"], ndcg, rtol=1e-6)
        assert metrics.summarise(found[direction].ranks)["recall@10"] == 0


def test_all_zero_embeddings_are_a_collapse_too():
    text_to_image, image_to_text = metrics.rank_both(np.zeros((4, 2)), np.zeros((4, 2)), range(4))
    assert text_to_image.tolist() == image_to_text.tolist() == [4] * 4


def test_one_pair_and_cutoffs_beyond_the_gallery():
    for found in metrics.evaluate([[1.0, 0.0]], [[0.0, 1.0]], [0], [[1]]).values():
        assert found.ranks.tolist() == [1]
        assert {name: float(v[0]) for name, v in found.values().items()} == {
            "mrr": 1, "mrr@10": 1, "recall@1": 100, "recall@5": 100, "recall@10": 100,
            "mean_rank": 1, "map@10": 1, "ndcg@10": 1,
        }  # fmt: skip


def test_an_image_without_captions_is_a_candidate_but_no_query():
    image = np.array([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
    found = metrics.evaluate(image, [[1.0, 0.0], [0.6, 0.8]], [1, 2])
    assert found["text_to_image"].ranks.tolist() == [1, 2]  # 0 stands before 2
    assert found["text_to_image"].gallery_size == 3
    assert found["image_to_text"].query_image.tolist() == [1, 2]
    assert found["image_to_text"].gallery_size == 2


# Against the loops


@pytest.mark.parametrize("block_bytes", BLOCKS[1:])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("concepts", CONCEPTS)
@pytest.mark.parametrize("similarity", ["cosine", "order"])
def test_equals_the_loops(similarity, concepts, ties, block_bytes):
    image, text, owner = gallery(3, ties=ties)
    vectors = concept_vectors(concepts, len(image))
    found = metrics.evaluate(image, text, owner, vectors, block_bytes, similarity)
    rows = image.tolist(), text.tolist(), owner.tolist()
    forward = reference.text_to_image_ranks(*rows, similarity)
    assert found["text_to_image"].ranks.tolist() == forward
    assert found["image_to_text"].ranks.tolist() == reference.image_to_text_ranks(*rows, similarity)
    lists = vectors if vectors is None else np.asarray(vectors, float).tolist()
    exact = 1e-6 if concepts == "real" else 1e-12  # real concepts are rounded to a grid
    for direction, (ap, ndcg) in reference.graded(*rows, lists, similarity).items():
        np.testing.assert_allclose(found[direction].values()["map@10"], ap, rtol=1e-12)
        np.testing.assert_allclose(found[direction].values()["ndcg@10"], ndcg, rtol=exact)
    for of in found.values():
        summary = reference.summary(of.ranks.tolist())
        assert metrics.summarise(of.ranks) == pytest.approx(summary, rel=1e-13)
    other = "cosine" if similarity == "order" else "order"
    assert forward != metrics.rank_both(image, text, owner, similarity=other)[0].tolist()
    if similarity == "order":  # nor are the sides mistaken for each other
        assert forward != metrics.rank_both(-image, -text, owner, similarity="order")[0].tolist()


@pytest.mark.parametrize("owner", [gallery(4)[2], np.arange(0, 30, 2), np.array([3, 3, 4])])
@pytest.mark.parametrize("concepts", CONCEPTS)
def test_totals_equal_the_loops(concepts, owner):
    vectors = concept_vectors(concepts, 30)
    lists = vectors if vectors is None else np.asarray(vectors, float).tolist()
    relevant, gain, ideal = scan.Relevance(30, owner, vectors).totals()
    for side, candidates in enumerate((range(30), owner.tolist())):
        rows = [[reference.relevance(i, c, lists) for c in candidates] for i in range(30)]
        assert relevant[side].tolist() == [sum(value > 0.3 for value in row) for row in rows]
        np.testing.assert_allclose(gain[side], [sum(row) for row in rows], rtol=1e-6)
        best = [reference.discounted_gain(sorted(row, reverse=True)) for row in rows]
        np.testing.assert_allclose(ideal[side], best, rtol=1e-6)


@pytest.mark.parametrize("lengths", [(0, 0), (1, 1 / 2), (1e-9, 1e6)])
def test_collapse_is_the_worst_by_order_similarity_too(lengths):
    owner = np.repeat(np.arange(6), 2)
    row = np.random.default_rng(0).standard_normal(300)
    rounding = 1 + 1e-15 * np.random.default_rng(1).standard_normal((12, 300))
    image = np.tile(lengths[0] * row / np.linalg.norm(row), (6, 1))
    text = lengths[1] * row / np.linalg.norm(row) * rounding
    forward, backward = metrics.rank_both(image, text, owner, similarity="order")
    assert set(forward) == {6} and set(backward) == {11}


# One result, however it is computed


@pytest.mark.parametrize("concepts", CONCEPTS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("similarity", ["cosine", "order"])
def test_block_sizes_give_identical_bytes(similarity, ties, concepts):
    image, text, owner = gallery(5, 60, 300, dim=64, ties=ties)
    image[7], text[3], text[-50] = image[50], text[70], text[3]
    arrays = image, text, owner, concept_vectors(concepts, len(image))
    results = {as_bytes(metrics.evaluate(*arrays, size, similarity)) for size in BLOCKS[1:]}
    assert len(results) == 1


@pytest.mark.parametrize("similarity", ["cosine", "order"])
def test_swapped_sides_swap_directions(similarity):
    # max(0, c - i) = max(0, (-i) - (-c)): what was the image is now the caption.
    rng = np.random.default_rng(12)
    image, text = rng.integers(-2, 3, (2, 40, 4)).astype(float)
    vectors = concept_vectors("counts", 40)
    one = metrics.evaluate(image, text, np.arange(40), vectors, similarity=similarity)
    other = metrics.evaluate(-text, -image, np.arange(40), vectors, similarity=similarity)
    plain = metrics.evaluate(text, image, np.arange(40), vectors, similarity=similarity)
    for name, value in one["text_to_image"].values().items():
        np.testing.assert_array_equal(other["image_to_text"].values()[name], value)
    same = (plain["image_to_text"].ranks == one["text_to_image"].ranks).all()
    assert same == (similarity == "cosine")  # the order similarity must know which side is which


@pytest.mark.parametrize("similarity", ["cosine", "order"])
def test_rank_both_gives_the_ranks_of_evaluate(similarity):
    arrays = gallery(6)
    found = metrics.evaluate(*arrays, similarity=similarity)
    ranks = metrics.rank_both(*arrays, similarity=similarity)
    for of, own in zip(found.values(), ranks, strict=True):
        np.testing.assert_array_equal(of.ranks, own)


def test_threads_give_identical_bytes(tmp_path):
    image, text, owner = gallery(7, 300, 900, dim=64)
    image[7], text[3], text[850] = image[50], text[700], text[3]
    vectors = np.random.default_rng(7).random((len(image), 6)) ** 3
    np.savez(tmp_path / "a.npz", image=image, text=text, owner=owner, concepts=vectors)
    code = (
        "import sys, hashlib, numpy as np; sys.path[:0] = sys.argv[2:]\n"
        "import metrics, test_metrics\n"
        "a = np.load(sys.argv[1])\n"
        "found = metrics.evaluate(a['image'], a['text'], a['owner'], a['concepts'])\n"
        "print(hashlib.sha256(test_metrics.as_bytes(found)).hexdigest())\n"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(tmp_path / "a.npz"), str(here.parent), str(here)]
    digests = {hashlib.sha256(as_bytes(metrics.evaluate(image, text, owner, vectors))).hexdigest()}
    for threads in ("1", "2"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_input_types_give_the_bytes_of_float64(dtype):
    image, text, owner = gallery(8)
    image, text = (image * 9).astype(dtype), (text * 9).astype(dtype)
    wide = image.astype(np.float64), text.astype(np.float64)
    assert as_bytes(metrics.evaluate(image, text, owner)) == as_bytes(
        metrics.evaluate(*wide, owner)
    )


def test_duplicated_images_tie_with_each_other():
    image, text, owner = gallery(9, dim=512)
    image[20:] = image[:10]
    found, _ = metrics.rank_both(image, text, owner)
    alone, _ = metrics.rank_both(image[:20], text, np.where(owner < 20, owner, owner - 20))
    twin = (owner < 10) | (owner >= 20)
    assert (found[twin] >= alone[twin] + 1).all()  # the twin itself counts, whichever it is
    row = found.tolist()
    assert row == reference.text_to_image_ranks(image.tolist(), text.tolist(), owner.tolist())


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_the_length_of_rows_does_not_change_a_tie(scale):
    image, text, owner = gallery(10, dim=512)
    image[20:] = image[:10]
    expected = metrics.rank_both(image, text, owner)
    for of, ranks in zip(expected, metrics.rank_both(image * scale, text, owner), strict=True):
        np.testing.assert_array_equal(ranks, of)


@pytest.mark.parametrize("concepts", CONCEPTS)
def test_order_of_captions_and_images_is_irrelevant(concepts):
    image, text, owner = gallery(11, ties=True)
    vectors = concept_vectors(concepts, len(image))
    found = metrics.evaluate(image, text, owner, vectors)
    rng = np.random.default_rng(0)
    captions, images = rng.permutation(len(text)), rng.permutation(len(image))
    moved = metrics.evaluate(
        image[images],
        text[captions],
        np.argsort(images)[owner[captions]],
        None if vectors is None else vectors[images],
    )
    for name, value in found["text_to_image"].values().items():
        np.testing.assert_array_equal(moved["text_to_image"].values()[name], value[captions])
    for name, value in found["image_to_text"].values().items():
        rows = images[moved["image_to_text"].query_image]
        place = np.searchsorted(found["image_to_text"].query_image, rows)
        np.testing.assert_array_equal(moved["image_to_text"].values()[name], value[place])


def test_a_better_score_never_lowers_a_rank():
    image, text, owner = gallery(13)
    before, _ = metrics.rank_both(image, text, owner)
    after, _ = metrics.rank_both(image, text + 0.3 * image[owner], owner)
    assert (after <= before).all() and (after < before).any()


def test_the_matrix_of_scores_is_never_held():
    rng = np.random.default_rng(14)
    image, text = rng.standard_normal((1500, 4)), rng.standard_normal((6000, 4))  # 72 MB of scores
    owner = np.repeat(np.arange(1500), 4)
    tracemalloc.start()
    try:
        metrics.evaluate(image, text, owner, rng.random((1500, 5)) < 0.2, block_bytes=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 36e6


# Refusals


def with_value(array, place, value):
    """A copy with one entry changed."""
    array = np.array(array, float)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"image": with_value(THREE, (1, 2), np.nan)},
            "row 1 of the image embeddings is not finite",
        ),
        ({"text": with_value(TEXTS, (2, 0), np.inf)}, "row 2 of the text embeddings is not finite"),
        ({"image": np.eye(4)[:3]}, "4 and 3 columns"),
        ({"image": np.zeros((0, 3))}, r"image embeddings have shape \(0, 3\)"),
        ({"text": TEXTS[0]}, r"text embeddings have shape \(3,\)"),
        ({"image": THREE.astype(str)}, "image embeddings have .* type <U"),
        ({"caption_image": [0, 1]}, "2 entries for 3 text embeddings"),
        ({"caption_image": [0, 1, 3]}, r"caption_image\[2\] is 3, expected 0 to 2"),
        ({"caption_image": [0, -1, 2]}, r"caption_image\[1\] is -1"),
        ({"caption_image": [0.0, 1.0, 2.0]}, "type float64, expected .* integers"),
        ({"similarity": "angle"}, "similarity is 'angle', expected one of cosine, order"),
        ({"concepts": [[1], [2]]}, r"shape \(2, 1\), expected \(3, K\)"),
        ({"concepts": [[1], [2], [-1]]}, "negative or non-finite"),
        ({"concepts": [[1], [2], [np.nan]]}, "negative or non-finite"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(changed, message):
    arguments = {
        "image": THREE,
        "text": TEXTS,
        "caption_image": [0, 1, 2],
        "concepts": None,
    } | changed
    with pytest.raises(ValueError, match=message) as error:
        metrics.evaluate(**arguments)
    assert "\n" not in str(error.value)


def test_no_ranks_are_refused():
    with pytest.raises(ValueError, match="no ranks"):
        metrics.summarise([])
