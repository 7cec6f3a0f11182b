"""The assignment's losses and its relevance: by eye, against the misprint, which negatives."""

import itertools
from typing import Any

import numpy as np
import pytest
import reference
from keras import ops
from loss_cases import batch, build, slopes, value

import losses


def test_modified_loss_by_eye():
    # Two pairs on two axes: own pairs at D = 0, foreign ones at D^2 = 2.
    rows = np.eye(2)
    own = {"alpha": 0.5, "margin": 1.0}
    assert value("modified", np.eye(2), rows, rows, **own) == pytest.approx(0)
    # Swapped: own pairs at D^2 = 2 (attraction 1/2 * 2 each), foreign at D = 0 (1/2 * 1 each).
    got = value("modified", np.eye(2), rows, rows[::-1], **own)
    assert got == pytest.approx(2 * (0.5 * 2) + 2 * 0.5, abs=2e-6)


def test_assignment_loss_by_eye():
    rows, own = np.eye(2), {"alpha": 0.25, "margin": 3.0}
    graded = np.array([[1.0, 0.25], [0.25, 1.0]])
    # 3/4 * (1/4 * 2) from each foreign pair, no repulsion because s is not 0.
    assert value("assignment", graded, rows, rows, **own) == pytest.approx(0.75)
    # s = 0: 1/4 * max(0, 3 - 2) each.
    assert value("assignment", np.eye(2), rows, rows, **own) == pytest.approx(0.5)


def test_the_misprinted_form_is_another_function():
    made = batch(1)
    wrong, _ = reference.modified_loss_as_printed(*made, 0.5, 0.5)
    assert abs(value("modified", *made, alpha=0.5, margin=0.5) - wrong) > 0.1


def test_triplets_by_eye():
    # Image 0 is at D^2 = 2 from both texts that are not its own, image 1 at 4 from text 2.
    east, north, west = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
    image, text = np.array([east, east, west]), np.array([east, north, west])
    # Next ones. Images: 3+0-2, 3+2-4, 3+0-4 < 0; texts: 3+0-0, 3+2-2, 3+0-4 < 0.
    assert value("random_triplet", np.eye(3), image, text, margin=3) == pytest.approx(8)
    # Nearest ones. Images: 3+0-2, 3+2-0, 3+0-2; texts: 3+0-0, 3+2-2, 3+0-4 < 0.
    assert value("hardest_triplet", np.eye(3), image, text, margin=3) == pytest.approx(13)


def test_random_negatives_are_uniform_over_shuffled_batches():
    counts, loss = np.zeros(6), build("random_triplet", margin=9.0)
    for order in map(np.array, itertools.permutations(range(6))):
        relevance = losses.relevance_matrix(np.array([0, 0, 1, 2, 3, 4], np.int32)[order])
        anchors = losses.Anchors(relevance, relevance, ops.arange(6))
        chosen = np.array(loss.chosen(anchors, relevance))
        counts[order[chosen[list(order).index(2)]]] += 1  # the negatives of item 2
    np.testing.assert_array_equal(counts, [144, 144, 0, 144, 144, 144])


def test_foreign_pairs_at_one_point_have_no_direction_to_part_in():
    rows = np.array([[1.0, 0.0], [1.0, 0.0]])
    total, found = slopes(build("modified", alpha=1.0, margin=1.0), np.eye(2), rows, rows)
    assert total == pytest.approx(2.0, abs=1e-5)  # c^2 of each
    assert not any(g.any() for g in found)


# ---- Relevance ----------------------------------------------------------------------------------


def test_relevance_equals_the_loop_reference():
    image_id = np.array([3, 1, 3, 2, 0, 4])
    concepts = np.random.default_rng(0).integers(0, 2, (5, 6)).astype(float)
    concepts[2] = 0  # an image without any concept
    given = concepts[image_id]
    for own, literal in ((None, False), (given, False), (given, True)):
        expected = reference.relevance(image_id, own, literal=literal)
        single = None if own is None else own.astype("float32")
        got = losses.relevance_matrix(image_id.astype("int32"), single, literal=literal)
        np.testing.assert_allclose(ops.convert_to_numpy(got), expected, atol=1e-6)


def test_exchanged_texts_belong_to_their_own_images():
    got = losses.relevance_matrix(np.array([4, 5, 6, 7]), text_id=np.array([4, 5, 4, 9]))
    np.testing.assert_array_equal(got, [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_relevance_takes_similarity_but_keeps_own_pairs():
    similarity = np.array([[0.2, 0.5], [0.5, 1.2]], np.float32)
    got = losses.relevance_matrix(np.array([0, 1], np.int32), similarity=similarity)
    np.testing.assert_allclose(ops.convert_to_numpy(got), [[1, 0.5], [0.5, 1]])


def test_cells_of_the_relevance_are_rows_and_columns_of_it():
    rng = np.random.default_rng(0)
    rows, columns = np.array([4, 0]), np.array([1, 2, 4])
    ids, concepts = rng.integers(0, 3, 6), rng.integers(0, 2, (6, 4)).astype(np.float32)
    alike = rng.random((6, 6)).astype(np.float32)
    kinds: list[dict[str, Any]] = [{}, {"concepts": concepts}, {"similarity": alike}]
    for given in kinds:
        whole = np.array(losses.relevance_matrix(ids, **given))
        for cells in ((rows, columns), (rows, None), (None, columns)):
            part = np.array(losses.relevance_matrix(ids, **given, cells=cells))
            wanted = whole[rows] if cells[0] is not None else whole
            wanted = wanted[:, columns] if cells[1] is not None else wanted
            np.testing.assert_allclose(part, wanted, atol=1e-7)
