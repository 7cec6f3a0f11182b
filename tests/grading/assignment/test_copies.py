"""Copies in every disguise are found; honest runs of one system are not."""

import assigned
import numpy as np
import pytest

from grading.assignment import copies

RNG = np.random.default_rng(4)
HONEST = [assigned.system(seed) for seed in range(20)]


def turned(rows):
    return rows @ np.linalg.qr(RNG.standard_normal((assigned.WIDTH, assigned.WIDTH)))[0]


def noisy(rows):
    return rows + 0.01 * assigned.unit(RNG.standard_normal(rows.shape))


def both(change):
    """The same change of both sides, as one matrix would make it."""

    def apply(image, text):
        rows = change(np.concatenate([image, text]))
        return rows[: len(image)], rows[len(image) :]

    return apply


DISGUISES = {
    "none": lambda image, text: (image, text),
    "rotated": both(turned),
    "dimensions in another order": both(lambda rows: rows[:, RNG.permutation(assigned.WIDTH)]),
    "scaled": lambda image, text: (3 * image, 0.1 * text),
    "each row scaled": both(lambda rows: rows * RNG.uniform(0.5, 2, (len(rows), 1))),
    "float16": both(lambda rows: rows.astype(np.float16)),
    "1 % noise": both(noisy),
    "rows in another order": lambda image, text: (RNG.permutation(image), RNG.permutation(text)),
    "more dimensions": both(lambda rows: np.pad(rows, ((0, 0), (0, 16)))),
    "all": lambda image, text: tuple(
        (2 * noisy(turned(RNG.permutation(rows)))).astype(np.float16) for rows in (image, text)
    ),
}


@pytest.mark.parametrize("how", DISGUISES)
def test_a_copy_is_found_among_twenty_honest_runs_and_nobody_else(how):
    marks = [copies.mark_of(*rows) for rows in HONEST]
    marks.append(copies.mark_of(*DISGUISES[how](*HONEST[7])))
    assert copies.same_pairs(marks) == [(7, 20)]


def test_a_frozen_text_tower_in_common_is_no_copy():
    image, text = HONEST[0]
    other = turned(image) @ np.diag(RNG.uniform(0.2, 2, assigned.WIDTH))
    marks = [copies.mark_of(*rows) for rows in ((image, text), (other, text))]
    assert not copies.same_pairs(marks)


def test_embeddings_that_say_nothing_are_like_no_others():
    flat = np.ones((60, 8)), np.ones((120, 8))
    marks = [copies.mark_of(*rows) for rows in (flat, HONEST[0])]
    assert not copies.same_pairs(marks)
    assert copies.same_pairs([marks[0], marks[0]]) == [(0, 1)]
