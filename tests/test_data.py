"""Training batches: a function of (seed, epoch, position), cut for replicas without a loss."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

import config
import data
from text import Tokens, Vocabulary

CAPTIONS = ["red star", "red circle star", "blue", "blue star", "green cross", "red"]
OWNER = np.array([0, 0, 2, 2, 2, 3], np.int32)  # image 1 has no caption
VECTORS = np.arange(12, dtype=np.float16).reshape(4, 3)


def batches(tfidf=False, **changes):
    settings = config.Settings(**{**config.default_settings(), "batch_size": 2, **changes})
    tokens = Tokens(CAPTIONS, Vocabulary.from_captions(CAPTIONS, 100))
    concepts = np.eye(4, dtype=np.float32)
    rows = data.tfidf_rows(CAPTIONS) if tfidf else None
    return data.TrainingBatches(VECTORS, tokens, OWNER, settings, concepts, rows)


def first_batches(made, count, epoch=0, replicas=(0, 1, 1)):
    """The first `count` slices that the process with these replicas reads."""
    first, here, total = replicas
    start = epoch * made.steps_per_epoch * here
    numbers = range(start, start + count)
    return [made.share(n // here, first + n % here, total) for n in numbers]


def test_one_caption_per_image_and_epoch():
    made = batches(captions="one")
    assert (made.items, made.steps_per_epoch) == (3, 2)
    seen = set()
    for epoch in range(30):
        order = made.order(epoch)
        assert sorted(OWNER[order]) == [0, 2, 3]
        seen |= set(order.tolist())
    assert seen == set(range(6))  # every caption has its turn
    assert len({tuple(OWNER[made.order(e)]) for e in range(30)}) > 3  # in ever other order


def test_all_captions_in_an_epoch():
    made = batches(captions="all")
    assert made.steps_per_epoch == 3
    assert sorted(made.order(0)) == list(range(6))


def test_rows_of_a_batch_belong_together():
    for batch in first_batches(batches(captions="all"), 9):
        np.testing.assert_array_equal(batch["image"], VECTORS[batch["image_id"]])
        np.testing.assert_array_equal(batch["image_id"], OWNER[batch["caption_id"]])
        np.testing.assert_array_equal(batch["concepts"], np.eye(4)[batch["image_id"]])
        vocabulary = Vocabulary.from_captions(CAPTIONS, 100)
        for ids, caption in zip(batch["tokens"], batch["caption_id"], strict=True):
            assert ids[ids > 0].tolist() == vocabulary.encode(CAPTIONS[caption])
        assert batch["image"].dtype == np.float32


def test_batches_depend_on_seed_epoch_and_position_only():
    through = first_batches(batches(captions="all"), 9)
    resumed = first_batches(batches(captions="all"), 3, epoch=2)
    for a, b in zip(through[6:], resumed, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    other = first_batches(batches(captions="all", seed=1), 9)
    assert any(
        (a["caption_id"] != b["caption_id"]).any() for a, b in zip(through, other, strict=True)
    )


@pytest.mark.parametrize("total", [2, 3, 4])
def test_replicas_share_the_batch_of_one_device(total):
    whole = first_batches(batches(captions="all", batch_size=4, tfidf=True), 2)
    made = batches(captions="all", batch_size=4, tfidf=True)
    parts = first_batches(made, 2 * total, replicas=(0, total, total))
    for step, batch in enumerate(whole):
        own = parts[step * total : (step + 1) * total]
        for key in batch:
            np.testing.assert_array_equal(np.concatenate([p[key] for p in own]), batch[key])
    second = first_batches(made, 2, replicas=(1, 1, total))  # the worker that has replica 1
    for key in second[0]:
        np.testing.assert_array_equal(second[0][key], parts[1][key])


def test_tfidf_similarity_is_scikit_learns():
    matrix = TfidfVectorizer(strip_accents="ascii").fit_transform(CAPTIONS)
    expected = (matrix @ matrix.T).toarray()
    for batch in first_batches(batches(captions="all", tfidf=True), 3):
        rows = batch["caption_id"]
        np.testing.assert_allclose(batch["similarity"], expected[np.ix_(rows, rows)], atol=1e-6)


def test_the_dataset_gives_the_stream():
    made = batches(captions="all", tfidf=True)
    expected = first_batches(made, 4, epoch=1)
    for batch, wanted in zip(made.dataset(None, 1).take(4), expected, strict=True):
        for key, value in wanted.items():
            np.testing.assert_array_equal(batch[key].numpy(), value)


def test_what_relevance_means():
    settings = config.Settings(**config.default_settings())
    concepts = np.eye(2)
    settings.relevance = "auto"
    assert data.choose_relevance(settings, concepts) == "concepts"
    assert data.choose_relevance(settings, None) == "identity"
    settings.loss = "soft_margin_triplet"
    assert data.choose_relevance(settings, concepts) == "concepts"
    with pytest.raises(ValueError, match="is 0 where negatives have relevance 0"):
        data.choose_relevance(settings, None)
    settings.relevance = "identity"
    with pytest.raises(ValueError, match="is 0 where negatives have relevance 0"):
        data.choose_relevance(settings, None)
    settings.relevance = "concepts"
    with pytest.raises(ValueError, match="has no concepts"):
        data.choose_relevance(settings, None)
    settings.literal_relevance = True
    for loss in ("soft_margin_triplet", "max_hinge", "cross_entropy"):
        settings.loss = loss
        with pytest.raises(ValueError, match="means nothing with"):
            data.choose_relevance(settings, concepts)
    settings.loss = "modified"
    assert data.choose_relevance(settings, concepts) == "concepts"
