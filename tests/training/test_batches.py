"""Training batches: a function of (seed, epoch, position), cut for replicas without a loss."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import tiny_settings
from sklearn.feature_extraction.text import TfidfVectorizer

from data.language.words import Tokens, Vocabulary
from systems.system import Targets
from training.batches import TrainingBatches
from training.relevance import tfidf_rows

CAPTIONS = ["red star", "red circle star", "blue", "blue star", "green cross", "red"]
OWNER = np.array([0, 0, 2, 2, 2, 3], np.int32)  # image 1 has no caption
VECTORS = np.arange(12, dtype=np.float16).reshape(4, 3)


def batches(tfidf=False, **changes):
    settings = tiny_settings.make(**{"batch_size": 2, **changes})
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
    assert (made.items, made.steps_per_epoch) == (3, 1)  # the third joins the batch of two
    seen = set()
    for epoch in range(30):
        order = made.order.units_of(epoch)
        assert sorted(OWNER[order]) == [0, 2, 3]
        seen |= set(order.tolist())
    assert seen == set(range(6))  # every caption has its turn
    assert len({tuple(OWNER[made.order.units_of(e)]) for e in range(30)}) > 3  # in ever other order


def test_all_captions_in_an_epoch():
    made = batches(captions="all")
    assert made.steps_per_epoch == 3
    assert sorted(made.order.units_of(0)) == list(range(6))


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


def test_a_worker_reads_the_shares_of_its_replicas():
    made = batches(captions="all", batch_size=4, tfidf=True)
    parts = first_batches(made, 6, replicas=(0, 3, 3))
    second = first_batches(made, 2, replicas=(1, 1, 3))  # the worker that has replica 1
    for own, batch in zip(second, (parts[1], parts[4]), strict=True):
        for key, value in own.items():
            np.testing.assert_array_equal(value, batch[key])


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


# ---- System 3: classes, shifts, captions together, hard texts --------------------------------


CLASSES = np.array([5, 6, 7, 8], np.int32)  # of the four images


def classed(vectors: Any = VECTORS, **changes):
    changes = {"captions": "all", "batch_size": 4, **changes}
    settings = tiny_settings.make(**{"model": "dual_path", **changes})
    tokens = Tokens(CAPTIONS, Vocabulary.from_captions(CAPTIONS, 100, "lower_split"))
    made = Targets(CLASSES, 4, settings.hard_texts)
    return TrainingBatches(vectors, tokens, OWNER, settings, targets=made)


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
    assert (made.order.size, made.steps_per_epoch, made.items) == (2, 1, 6)
    for epoch in range(4):
        batch = made.share(epoch, 0, 1)
        pictures = batch["image"]
        assert len(pictures) == 3  # images, the third of which joins the batch of two
        np.testing.assert_array_equal(
            pictures[batch["image_row"]], VECTORS[batch["image_id"]].astype(np.float32)
        )
        for image in set(batch["image_id"].tolist()):  # all its captions
            own = batch["caption_id"][batch["image_id"] == image].tolist()
            assert own == [caption for caption in range(6) if OWNER[caption] == image]
        assert sorted(batch["caption_id"].tolist()) == list(range(6))
    orders = {tuple(made.order.units_of(epoch)) for epoch in range(20)}
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


class Pictures:
    """Stands in for `pictures.Pictures`: windows are drawn numbers, and reading adds them up."""

    def windows(self, images, rng):
        return rng.random((len(images), 4)).astype(np.float32), rng.random(len(images)) < 0.5

    def read(self, images, windows, mirrored):
        import tensorflow as tf

        rows = tf.cast(images, tf.float32)[:, None] + windows
        return tf.where(mirrored[:, None], -rows, rows)


@pytest.mark.parametrize("captions", ["all", "together"])
def test_windows_of_pictures_are_drawn_in_every_epoch(captions):
    made = classed(Pictures(), captions=captions, hard_texts=3)
    for step in range(4):
        window = made.share(step, 0, 1)["window"]
        assert len(np.unique(window)) == window.size  # each its own
    epochs = [made.share(step, 0, 1)["window"][0] for step in (0, made.steps_per_epoch)]
    assert np.abs(epochs[0] - epochs[1]).max() > 0.01  # fresh in every epoch


def random_batches(rng, kind):
    """A split of random size in batches of random size, of some kind of training."""
    counts = rng.integers(1, 5, rng.integers(1, 40))
    owner = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    captions = [" ".join(rng.choice(["red", "blue", "star"], rng.integers(1, 9))) for _ in owner]
    changes: dict[str, Any] = {
        "batch_size": int(rng.integers(1, 30)),
        "bucket": int(rng.integers(0, 3)),
    }
    changes["captions"] = str(rng.choice(["all", "one", "together"]))
    if kind == "pictures":
        changes |= {"hard_texts": int(rng.integers(0, 9)), "model": "dual_path"}
        changes |= {"features": "pixels", "views_weight": 1.0}
    settings = tiny_settings.make(**changes)
    tokens = Tokens(captions, Vocabulary.from_captions(captions, 100, "lower_split"))
    numbers = np.arange(len(counts), dtype=np.int32)
    if kind == "pictures":
        made = Targets(numbers, len(numbers), settings.hard_texts)
        return TrainingBatches(Pictures(), tokens, owner, settings, targets=made)
    given = numbers[:, None].astype(np.float32), tfidf_rows(captions)
    return TrainingBatches(numbers[:, None], tokens, owner, settings, *given)


@pytest.mark.parametrize("kind", ["vectors", "pictures"])
def test_no_share_is_empty_and_all_are_the_batch_of_one_device(kind):
    rng, shared, refused = np.random.default_rng(1), 0, 0
    for _ in range(60):
        made = random_batches(rng, kind)
        steps = range(made.steps_per_epoch)
        whole = [made.share(step, 0, 1) for step in steps]
        units = "image" if made.order.together else "image_id"
        fewest = min(len(batch[units]) for batch in whole)
        fewest = min(fewest, made.candidates or fewest)
        for total in (2, 3, 4, 8):
            if fewest < total:
                with pytest.raises(ValueError, match=f"{total} replicas.*need .* use fewer dev"):
                    made.check_replicas(total)
                refused += 1
                continue
            made.check_replicas(total)
            shared += 1
            for step, batch in zip(steps, whole, strict=True):
                parts = [made.share(step, replica, total) for replica in range(total)]
                assert all(len(value) for part in parts for value in part.values())
                for key in set(batch) - {"image_row"}:
                    joined = np.concatenate([part[key] for part in parts])
                    np.testing.assert_array_equal(joined, batch[key])
                for part in parts:  # each looks its pictures up among its own
                    own = part["image"].ravel()[part.get("image_row", slice(None))]
                    np.testing.assert_array_equal(own, part["image_id"])
    assert min(shared, refused) > 40


def test_images_may_have_shares_of_several_classes():
    share = np.random.default_rng(0).dirichlet(np.ones(4), 7).astype(np.float32)
    made = classed(captions="together")
    made.classes = scipy.sparse.csr_matrix(share)
    for batch in (made.share(0, 1, 2), next(iter(made.dataset()))):
        assert batch["label"].dtype == np.float32
        np.testing.assert_array_equal(batch["label"], share[batch["image_id"]])


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
        for key in ("tokens", "tokens_view", "label"):
            np.testing.assert_array_equal(batch[key], share[key])
    # Vectors have no crops.
    assert added & set(classed(**views).share(0, 0, 1)) == {"tokens_view"}
