"""Float32 screening gives the ranks and metrics of float64 scores, whatever is close."""

import numpy as np
import pytest

import metrics
from gallery import scan, screening
from gallery.similarity import SIMILARITIES


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def allowed(pairs, score):
    """E at one score."""
    bound = screening.bound(pairs)
    return bound.at(np.array([score]))[0] if bound else 0


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(scan, "LARGE", 0)


def compare(image, text, owner, concepts=None, block_bytes=scan.BLOCK_BYTES, similarity="cosine"):
    """Both ways of all metrics, screened and not; gives the screened ones."""
    given = image, text, owner, concepts, block_bytes, similarity
    found = metrics.evaluate(*given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screening, "bound", lambda pairs: None)
        exact = metrics.evaluate(*given)
    for direction, one in exact.items():
        np.testing.assert_array_equal(found[direction].ranks, one.ranks)
        np.testing.assert_array_equal(found[direction].ap, one.ap)
        np.testing.assert_array_equal(found[direction].ndcg, one.ndcg)
    return found


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("seed", range(200))
def test_random_galleries(seed, similarity):
    rng = np.random.default_rng(seed)
    images, per, dim = rng.integers(1, 60), rng.integers(1, 6), rng.integers(1, 80)
    owner = rng.integers(0, images, max(1, images * per))
    image = unit(rng.normal(size=(images, dim)))
    text = unit(image[owner] + rng.normal(size=(len(owner), dim)) * rng.uniform(0, 3))
    kind = (np.float16, np.float32, np.float64)[seed % 3]
    concepts = rng.integers(0, 2, (images, 4)) if seed % 2 else None
    blocks = scan.BLOCK_BYTES if seed % 3 else 4 * 25**2
    if seed % 4 == 0:
        image, text = abs(image), abs(text)
    compare(image.astype(kind), text.astype(kind), owner, concepts, blocks, similarity)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("dim", [2, 33, 512])
def test_scores_that_are_one_step_of_float32_apart(dim, similarity):
    """Every gallery row is the right one with one number moved by a step or two, up or down."""
    rng = np.random.default_rng(dim)
    base = unit(rng.normal(size=(1, dim))).astype(np.float32)
    image = np.repeat(base, 90, axis=0)
    for row in range(1, len(image)):
        toward = np.float32(np.inf if row % 2 else -np.inf)
        for _ in range(row % 3):
            place = rng.integers(dim)
            image[row, place] = np.nextafter(image[row, place], toward)
    text = np.repeat(base if similarity == "cosine" else base + np.float32(0.1), 180, axis=0)
    found = compare(image, text, np.arange(180) % 90, similarity=similarity)
    assert len(np.unique(found["text_to_image"].ranks)) > 5  # they are told apart


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_duplicated_rows_and_equal_embeddings(similarity):
    rng = np.random.default_rng(4)
    image = unit(rng.normal(size=(40, 16)))
    image[20:] = image[:20]
    text = unit(np.repeat(image, 5, axis=0) + 0.1 * rng.normal(size=(200, 16)))
    owner = np.repeat(np.arange(40), 5)
    compare(image, text, owner, similarity=similarity)
    equal = np.full((40, 16), 0.25)
    found = compare(equal, np.full((200, 16), 0.25), owner, similarity=similarity)
    assert set(found["text_to_image"].ranks) == {40}  # ties stand against the model


@pytest.mark.parametrize(
    ("scale", "other"), [(1e-30, 1e-30), (1e-3, 1e-3), (1e12, 1e12), (1e30, 1e30), (1e-42, 1e12)]
)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rows_of_any_length(similarity, scale, other):
    """Also where one side is below what float32 can hold, and the other makes up for it."""
    rng = np.random.default_rng(5)
    image, text = rng.normal(size=(50, 9)) * scale, rng.normal(size=(100, 9)) * other
    compare(image, text, np.arange(100) % 50, similarity=similarity)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_many_close_candidates_behind_the_tenth(similarity):
    """More than are kept by float32 scores lie within its rounding of the tenth best."""
    rng = np.random.default_rng(6)
    image = unit(rng.normal(size=(300, 64)))
    image[5:200] = unit(image[5] + 1e-7 * rng.normal(size=(195, 64)))
    text = unit(image + 0.2 * rng.normal(size=image.shape))
    concepts = rng.integers(0, 2, (300, 5))
    compare(image, text, np.arange(300), concepts, similarity=similarity)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_only_close_calls_are_computed_again(similarity):
    rng = np.random.default_rng(7)
    image = unit(rng.normal(size=(400, 128))).astype(np.float32)
    text = unit(np.repeat(image, 5, 0) + rng.normal(size=(2000, 128)) / 4).astype(np.float32)
    pairs = scan.Pairs(image, text, np.repeat(np.arange(400), 5), similarity)
    bound = screening.bound(pairs)
    assert bound is not None
    screen = screening.Screen(pairs, bound, scan.BLOCK_BYTES)
    ranks = screen.rank()
    assert 0 < screen.rechecked < 2e-3 * 400 * 2000
    for one, other in zip(ranks, scan.rank_exactly(pairs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_bound_covers_order_similarities(kind):
    """Of rows alike in most numbers, and of sums in several orders, against wider numbers."""
    rng = np.random.default_rng(9)
    for dim in (1, 7, 100, 1000):
        c = rng.normal(size=dim).astype(kind)
        i = (c + rng.normal(size=dim) * 10 ** rng.uniform(-9, 0, dim)).astype(kind)
        pairs = scan.Pairs(i[None], c[None], np.zeros(1, int), "order")
        exact = -(np.maximum(0, c.astype(np.longdouble) - i) ** 2).sum()
        lost = np.maximum(0, c.astype(np.float32) - i.astype(np.float32)) ** 2
        for order in (lost, lost[::-1], np.sort(lost)):
            total = np.float32(0)
            for one in order:
                total = np.float32(total + one)
            assert abs(-total - exact) <= allowed(pairs, -total)
            assert abs(-total - exact) <= allowed(pairs, exact)


def test_newcomers_are_found_wherever_they_stand():
    """In every row and column of blocks whose height is no multiple of what is looked at first."""
    rng = np.random.default_rng(10)
    for height, width in ((1, 12), (3, 40), (11, 10), (14, 130), (67, 9)):
        scores = rng.normal(size=(height, width)).astype(np.float32)
        text, image = rng.normal(size=(height, 2)), rng.normal(size=(width, 2))
        pairs = scan.Pairs(image, text, np.arange(height) % width, "cosine")
        relevance = scan.Relevance(width, pairs.owner)
        sides = (pairs.owner, np.arange(width)), (np.arange(width), pairs.owner)
        lists = [
            screening.Shortlist(scan.TopTen(*side, relevance, 0.0), screening.Rounding(1e-9, 0.0))
            for side in sides
        ]
        screening.find_newcomers(lists, scores, slice(0, height), slice(0, width))
        for one, own in zip(lists, (scores, scores.T), strict=True):
            best = -np.sort(-own, axis=1)[:, : screening.PLACES]
            known = min(own.shape[1], scan.TOP)
            kept = screening.from_keys(one.kept)[0]
            np.testing.assert_array_equal(kept[:, :known], best[:, :known])


def clusters(rng, size, count=40, dim=64):
    """Images in clusters of `size`, 1e-7 apart; captions, each of which sees its cluster first."""
    centre = unit(rng.normal(size=(count, dim)))
    near = np.repeat(centre, size, axis=0)
    image = unit(near + 1e-8 * rng.normal(size=near.shape))
    text = unit(near + 0.2 * rng.normal(size=near.shape))
    return image, text, rng.random((len(image), 5)) ** 4


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("size", [5, 9, 10, 11, 13, 15, 16, 17, 40])
def test_clusters_around_the_tenth(size, similarity):
    """Fewer than are kept, all of them, and more, cannot be told apart by float32 scores."""
    image, text, concepts = clusters(np.random.default_rng(size), size)
    compare(image, text, np.arange(len(image)), concepts, similarity=similarity)
    compare(image, text, np.arange(len(image)), concepts, 4 * 150**2, similarity=similarity)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_ten_are_settled_part_by_part(similarity, monkeypatch):
    monkeypatch.setattr(screening, "CHUNK", 2)  # 128 queries a part; 16 candidates read again
    for size in (13, 40):
        image, text, concepts = clusters(np.random.default_rng(size), size)
        compare(image, text, np.arange(len(image)), concepts, similarity=similarity)


def test_keys_rise_as_scores_fall():
    score = np.array([np.inf, 3e38, 1, 1e-45, 0, -0.0, -1e-45, -1, -3e38, -np.inf], np.float32)
    candidate = np.array([0, 2**31 - 1, 70_000, 5, 1, 1, 7, 40_000, 2**24 + 1, 3])
    keys = screening.to_keys(score, candidate)
    assert (np.diff(keys.astype(object)) > 0).all() and keys[-1] < screening.EMPTY
    back = screening.from_keys(keys)
    np.testing.assert_array_equal(back[0].view(np.uint32), score.view(np.uint32))
    np.testing.assert_array_equal(back[1], candidate)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_an_ordinary_gallery_is_not_read_again(similarity, monkeypatch):
    rng = np.random.default_rng(3)
    image = unit(rng.normal(size=(600, 128)))
    text = unit(image + rng.normal(size=(600, 128)) / 20)
    again, merged = [], []
    read, merge = screening.Shortlist._read_again, screening.Shortlist.merge

    def reading(one, pairs, queries, axis):
        again.append(len(queries))
        read(one, pairs, queries, axis)

    def merging(one, query, candidate, score):
        merged.append(len(query))
        merge(one, query, candidate, score)

    monkeypatch.setattr(screening.Shortlist, "_read_again", reading)
    monkeypatch.setattr(screening.Shortlist, "merge", merging)
    compare(image, text, np.arange(600), None, 4 * 100**2, similarity)
    assert sum(again) < 12 and sum(merged) < 0.25 * 2 * 600 * 600


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("spread", [0.0, 1e-7, 0.01])
def test_rows_too_much_alike_are_ranked_in_float64(spread, similarity, monkeypatch):
    """As those of a model that has collapsed: most cells would be decided twice."""
    rng, asked, exactly = np.random.default_rng(4), [], scan.rank_exactly
    base = unit(rng.normal(size=(1, 64)))
    image, text = (unit(base + spread * rng.normal(size=(300, 64))) for _ in range(2))

    def watch(*given):
        asked.append(given)
        return exactly(*given)

    monkeypatch.setattr(scan, "rank_exactly", watch)
    pairs = scan.Pairs(
        image.astype(np.float32), text.astype(np.float32), np.arange(300), similarity
    )
    screening.rank_screened(pairs, 4 * 100**2)
    assert len(asked) == (spread < 0.01)
    compare(image, text, np.arange(300), rng.random((300, 5)), 4 * 100**2, similarity)


def test_the_bound_covers_a_product_of_any_order():
    """Forward, backward and pairwise sums of float32 products, against exact rational ones."""
    rng = np.random.default_rng(8)
    for dim in (1, 7, 100, 1000):
        c, i = (rng.normal(size=dim) * 10 ** rng.uniform(-3, 3, dim) for _ in range(2))
        pairs = scan.Pairs(i[None], c[None], np.zeros(1, int), "cosine")
        exact = np.dot(c.astype(np.longdouble), i.astype(np.longdouble))
        products = c.astype(np.float32) * i.astype(np.float32)
        for order in (products, products[::-1], np.sort(products)):
            total = np.float32(0)
            for one in order:
                total = np.float32(total + one)
            assert abs(total - exact) <= allowed(pairs, total)
