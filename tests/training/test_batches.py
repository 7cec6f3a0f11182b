"""Training batches: a function of (seed, epoch, position), cut for replicas without a loss."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from data.language.words import Tokens, Vocabulary
from run import recipes
from training.batches import TrainingBatches, choose_relevance, instance_classes, tfidf_rows

CAPTIONS = ["red star", "red circle star", "blue", "blue star", "green cross", "red"]
OWNER = np.array([0, 0, 2, 2, 2, 3], np.int32)  # image 1 has no caption
VECTORS = np.arange(12, dtype=np.float16).reshape(4, 3)


def batches(tfidf=False, **changes):
    settings = recipes.Settings(**{**recipes.default_settings(), "batch_size": 2, **changes})
    tokens = Tokens(CAPTIONS, Vocabulary.from_captions(CAPTIONS, 100))
    concepts = np.eye(4, dtype=np.float32)
    rows = tfidf_rows(CAPTIONS) if tfidf else None
    return TrainingBatches(VECTORS, tokens, OWNER, settings, concepts, rows)


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
    settings = recipes.Settings(**recipes.default_settings())
    concepts = np.eye(2)
    settings.relevance = "auto"
    assert choose_relevance(settings, concepts) == "concepts"
    assert choose_relevance(settings, None) == "identity"
    settings.loss = "soft_margin_triplet"
    assert choose_relevance(settings, concepts) == "concepts"
    with pytest.raises(ValueError, match="is 0 where negatives have relevance 0"):
        choose_relevance(settings, None)
    settings.relevance = "identity"
    with pytest.raises(ValueError, match="is 0 where negatives have relevance 0"):
        choose_relevance(settings, None)
    settings.relevance = "concepts"
    with pytest.raises(ValueError, match="has no concepts"):
        choose_relevance(settings, None)
    settings.literal_relevance = True
    for loss in ("soft_margin_triplet", "max_hinge", "cross_entropy"):
        settings.loss = loss
        with pytest.raises(ValueError, match="means nothing with"):
            choose_relevance(settings, concepts)
    settings.loss = "modified"
    assert choose_relevance(settings, concepts) == "concepts"


# ---- System 3: classes, shifts, captions together, hard texts --------------------------------


CLASSES = np.array([5, 6, 7, 8], np.int32)  # of the four images


def classed(vectors: Any = VECTORS, **changes):
    changes = {"captions": "all", "batch_size": 4, **changes}
    settings = recipes.Settings(**{**recipes.default_settings(), **changes})
    tokens = Tokens(CAPTIONS, Vocabulary.from_captions(CAPTIONS, 100, "lower_split"))
    return TrainingBatches(vectors, tokens, OWNER, settings, classes=CLASSES)


def test_images_have_their_classes_and_captions_a_place_in_a_row_of_32():
    made, again = classed(), classed()
    found = {}
    for step in range(60):
        batch = made.share(step, 0, 1)
        np.testing.assert_array_equal(batch["label"], CLASSES[batch["image_id"]])
        assert batch["tokens"].shape == (len(batch["label"]), 32) and "pool" not in batch
        assert batch["tokens"].dtype == batch["label"].dtype == np.int32
        for ids, caption in zip(batch["tokens"], batch["caption_id"], strict=True):
            start = int(np.flatnonzero(ids)[0])
            own = made.tokens[caption]
            np.testing.assert_array_equal(ids[start : start + len(own)], own)
            assert (np.delete(ids, range(start, start + len(own))) == 0).all()
            found.setdefault(int(caption), []).append(start)
        for key, value in again.share(step, 0, 1).items():
            np.testing.assert_array_equal(batch[key], value)
    assert all(len(set(starts)) > 8 for starts in found.values())  # other places in each epoch
    assert max(map(max, found.values())) > 25
    assert "label" not in batches().share(0, 0, 1)  # of the other systems


def test_captions_together_share_one_reading_of_their_picture():
    made = classed(captions="together", batch_size=4)
    assert (made.size, made.steps_per_epoch, made.items) == (2, 2, 6)
    for epoch in range(4):
        seen = []
        for position in range(2):
            batch = made.share(2 * epoch + position, 0, 1)
            pictures = batch["image"]
            assert len(pictures) == (2, 1)[position]
            np.testing.assert_array_equal(
                pictures[batch["image_row"]], VECTORS[batch["image_id"]].astype(np.float32)
            )
            for image in set(batch["image_id"].tolist()):  # all its captions
                own = batch["caption_id"][batch["image_id"] == image].tolist()
                assert own == [caption for caption in range(6) if OWNER[caption] == image]
            seen += batch["caption_id"].tolist()
        assert sorted(seen) == list(range(6))
    orders = {tuple(made.order(epoch)) for epoch in range(20)}
    assert len(orders) == 6  # three images have six orders


def test_hard_texts_are_chosen_from_captions_of_the_training_split():
    made, counted = classed(hard_texts=5), np.zeros(6)
    for step in range(40):
        batch = made.share(step, 0, 1)
        assert batch["pool"].shape == (5, 32) and batch["pool"].dtype == np.int32
        np.testing.assert_array_equal(batch["row"], np.arange(len(batch["image_id"])))
        np.testing.assert_array_equal(batch["pool_label"], CLASSES[batch["pool_id"]])
        for ids, image in zip(batch["pool"], batch["pool_id"], strict=True):
            captions = [c for c in range(6) if made.tokens[c].tolist() == ids[ids > 0].tolist()]
            owners = OWNER[captions]
            assert image in owners
            counted[captions[owners.tolist().index(image)]] += 1
    assert counted.sum() == 200 and counted.min() > 15  # each of six about 33 times
    assert "pool" not in batches(hard_texts=5).share(0, 0, 1)


@pytest.mark.parametrize("total", [2, 3, 4])
@pytest.mark.parametrize("captions", ["all", "one", "together"])
def test_replicas_share_pool_and_pictures_of_one_device(total, captions):
    changes = {"captions": captions, "hard_texts": 6, "batch_size": 5}
    whole, made = classed(**changes), classed(**changes)
    for step in range(2 * made.steps_per_epoch):
        batch = whole.share(step, 0, 1)
        parts = [made.share(step, replica, total) for replica in range(total)]
        for key, value in batch.items():
            if key == "image_row":
                continue
            np.testing.assert_array_equal(np.concatenate([p[key] for p in parts]), value)
        for part in parts:  # each looks its pictures up among its own
            if captions == "together" and len(part["image_id"]):
                own = part["image"][part["image_row"]]
                np.testing.assert_array_equal(own, VECTORS[part["image_id"]].astype(np.float32))
        assert {len(part["pool"]) for part in parts} <= {6 // total, -(-6 // total)}


class Pictures:
    """Stands in for `pictures.Pictures`: windows are drawn numbers, and reading adds them up."""

    def windows(self, images, rng):
        return rng.random((len(images), 4)).astype(np.float32), rng.random(len(images)) < 0.5

    def read(self, images, windows, mirrored):
        import tensorflow as tf

        rows = tf.cast(images, tf.float32)[:, None] + windows
        return tf.where(mirrored[:, None], -rows, rows)


@pytest.mark.parametrize("captions", ["all", "together"])
def test_windows_of_pictures_are_drawn_for_the_whole_batch(captions):
    made = classed(Pictures(), captions=captions, hard_texts=3)
    assert made.reads_pictures
    for step in range(4):
        batch = made.share(step, 0, 1)
        parts = [made.share(step, replica, 3) for replica in range(3)]
        for key in ("image", "window", "mirrored", "tokens", "pool"):
            np.testing.assert_array_equal(np.concatenate([p[key] for p in parts]), batch[key])
        assert len(np.unique(batch["window"])) == batch["window"].size  # each its own
    epochs = [made.share(step, 0, 1)["window"][0] for step in (0, made.steps_per_epoch)]
    assert np.abs(epochs[0] - epochs[1]).max() > 0.01  # fresh in every epoch
    stream = classed(Pictures(), captions=captions, hard_texts=3).dataset(None, 1).take(3)
    for step, batch in enumerate(stream, start=made.steps_per_epoch):
        share = made.share(step, 0, 1)
        assert set(batch) == set(share) - {"window", "mirrored"}
        sign = np.where(share["mirrored"], -1, 1)[:, None]
        expected = sign * (share["image"][:, None] + share["window"])
        np.testing.assert_allclose(batch["image"], expected, rtol=1e-6)
        for key in ("tokens", "label", "pool", "row"):
            np.testing.assert_array_equal(batch[key], share[key])


def test_images_may_have_shares_of_several_classes():
    share = np.random.default_rng(0).dirichlet(np.ones(4), 7).astype(np.float32)
    made = classed(captions="together")
    made.classes = scipy.sparse.csr_matrix(share)
    for replica in range(2):
        batch = made.share(0, replica, 2)
        assert batch["label"].dtype == np.float32
        expected = made.classes.toarray()[batch["image_id"]]
        np.testing.assert_array_equal(batch["label"], expected)
    for batch in made.dataset().take(1):
        np.testing.assert_array_equal(batch["label"], made.share(0, 0, 1)["label"])


@pytest.mark.parametrize("captions", ["all", "together"])
def test_second_views_are_drawn_anew_and_leave_the_rest_of_the_batch(captions):
    views = {"views_weight": 1.0, "model": "dual_path", "features": "pixels"}
    made = classed(Pictures(), captions=captions, **views)
    plain = classed(Pictures(), captions=captions)
    added = {"window_view", "mirrored_view", "tokens_view"}
    for step in range(3):
        batch, without = made.share(step, 0, 1), plain.share(step, 0, 1)
        assert set(batch) == set(without) | added
        for key, value in without.items():
            np.testing.assert_array_equal(batch[key], value)
        assert np.abs(batch["window_view"] - batch["window"]).min() > 0
        assert (batch["tokens_view"] != batch["tokens"]).any()
        for one, other in zip(batch["tokens_view"], batch["tokens"], strict=True):
            assert list(one[one > 0]) == list(other[other > 0])  # the same words elsewhere
        parts = [made.share(step, replica, 3) for replica in range(3)]
        for key in added:
            np.testing.assert_array_equal(np.concatenate([p[key] for p in parts]), batch[key])
    stream = classed(Pictures(), captions=captions, **views).dataset().take(2)
    for step, batch in enumerate(stream):
        share = made.share(step, 0, 1)
        assert set(batch) == set(plain.share(step, 0, 1)) - {"window", "mirrored"} | {
            "image_view", "tokens_view"
        }  # fmt: skip
        for end in ("", "_view"):
            sign = np.where(share[f"mirrored{end}"], -1, 1)[:, None]
            expected = sign * (share["image"][:, None] + share[f"window{end}"])
            np.testing.assert_allclose(batch[f"image{end}"], expected, rtol=1e-6)
        np.testing.assert_array_equal(batch["tokens_view"], share["tokens_view"])
    # Vectors have no crops.
    assert added & set(classed(**views).share(0, 0, 1)) == {"tokens_view"}


def test_each_image_is_a_class_or_pseudo_classes_are_clusters():
    settings = recipes.Settings(**recipes.default_settings())
    own = instance_classes(settings, None, 5)
    assert own.dtype == np.int32 and own.tolist() == [0, 1, 2, 3, 4]
    rng = np.random.default_rng(0)
    centres = np.eye(3)[rng.integers(0, 3, 60)]
    # Direction, not length, tells them apart.
    vectors = (centres + 0.02 * rng.standard_normal((60, 3))) * rng.uniform(1, 50, (60, 1))
    settings.num_classes = 3
    found = instance_classes(settings, vectors, 60)
    assert found.dtype == np.int32 and set(found) == {0, 1, 2}
    pairs = set(zip(centres.argmax(1).tolist(), found.tolist(), strict=True))
    assert len(pairs) == 3
    np.testing.assert_array_equal(instance_classes(settings, vectors, 60), found)
    for odd in (1, 61):
        settings.num_classes = odd
        with pytest.raises(ValueError, match=f"--num_classes {odd}: expected 2 to 60"):
            instance_classes(settings, vectors, 60)
