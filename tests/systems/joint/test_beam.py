"""Beam search: by eye, greedy, exhaustive, one image at a time, and what is made of it."""

import itertools

import numpy as np
import pytest
import reference_joint
from PIL import Image

from data.language.words import Vocabulary
from figures import heat
from grading import caption_grades
from systems.joint import beam

START, END, IDS = 4, 3, (1, 2, 3)


class Table:
    """log p by the ids so far, drawn once for each image and prefix; counts its rows and calls.

    The state is the number of a prefix, the memory the number of an image.
    """

    def __init__(self, seed=0, ids=5):
        self.seed, self.ids, self.calls, self.rows = seed, ids, 0, 0

    def scores(self, image, prefix):
        draw = np.random.default_rng((self.seed, image, *prefix, len(prefix)))
        raw = draw.normal(size=self.ids) * 2
        return raw - np.log(np.exp(raw).sum())

    def begin(self, images):
        return [np.asarray(images)], [np.zeros((len(images), 0), np.int64)]

    def step(self, ids, rows, memory, states):
        self.calls, self.rows = self.calls + 1, self.rows + len(ids)
        prefix = np.concatenate([states[0], ids[:, None]], axis=1)
        scores = [
            self.scores(int(memory[0][row]), tuple(own.tolist()[1:]))
            for row, own in zip(rows, prefix, strict=True)
        ]
        return np.array(scores, np.float32), np.ones((len(ids), 1)), [prefix]

    def scorer(self, image):
        return lambda prefix: np.float32(self.scores(image, prefix)).astype(float)


def search(table, images, width, most=4, **options):
    return beam.beam_search(
        table, np.array(images), width, (START, END), most, (0, START), **options
    )


def as_pairs(found):
    return [[(one.ids, pytest.approx(one.score, abs=1e-9)) for one in own] for own in found]


def test_two_steps_by_eye():
    class Fixed(Table):
        def scores(self, image, prefix):
            rows = {(): [0, 0.6, 0.3, 0.1, 0], (1,): [0, 0.5, 0.1, 0.4, 0], (2,): [0, 0, 0, 1, 0]}
            return np.log(np.array(rows[prefix]) + 1e-30)

    one, two = search(Fixed(), [0], 2, most=2)[0]
    # 0.6 * 0.5 and 0.3 * 1 are equal: the finished one of the second hypothesis, and the first's.
    assert {one.ids, two.ids} == {(1, 1), (2, 3)}
    assert np.exp(one.score) == pytest.approx(0.3) == np.exp(two.score)
    assert {one.ids: one.finished, two.ids: two.finished} == {(1, 1): False, (2, 3): True}


def test_width_one_is_greedy():
    table = Table()
    for image, found in enumerate(search(table, range(6), 1)):
        prefix, total = (), 0.0
        while len(prefix) < 4 and prefix[-1:] != (END,):
            scores = table.scorer(image)(prefix)
            best = max(IDS, key=lambda i: scores[i])
            prefix, total = (*prefix, best), total + scores[best]
        assert [one.ids for one in found] == [prefix]
        assert found[0].score == pytest.approx(total)


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_a_wide_beam_is_exhaustive_search(most):
    table = Table(seed=1)
    # Captions without an end: 2^1..2^most prefixes are the widest that any step needs.
    for image, found in enumerate(search(table, range(3), 200, most)):
        every = reference_joint.every_caption(table.scorer(image), IDS, END, most)
        assert as_pairs([found]) == [every] and len(every) == len(found)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_many_images_are_searched_as_one_by_loops(width):
    table = Table(seed=2)
    found = search(table, range(7), width, most=5)
    for image, own in enumerate(found):
        assert as_pairs([own]) == [reference_joint.beam(table.scorer(image), IDS, width, END, 5)]
        assert len(own) == width and [h.finished for h in own] == [h.ids[-1] == END for h in own]
    alone = [search(table, [image], width, most=5)[0] for image in range(7)]
    assert alone == found
    backwards = search(table, range(6, -1, -1), width, most=5)
    assert backwards[::-1] == found


def test_all_images_are_one_call_and_ends_are_not_read_again():
    table = Table(seed=3)
    found = search(table, range(50), 3, most=6)
    assert table.calls <= 6
    words = sum(len(one.ids) for own in found for one in own)
    assert table.rows <= words + 50  # a beam's hypotheses that went nowhere are the rest
    assert search(table, [], 3) == []


def test_ends_make_the_beam_narrower():
    class Ends(Table):
        def scores(self, image, prefix):
            return np.log(np.array([1e-9, 0.3, 0.2, 0.5, 1e-9]))

    table = Ends()
    found = search(table, [0], 2, most=3)[0]
    # <end> 0.5 leaves at once; from 0.3 on one hypothesis goes on, and its end leaves next.
    assert [one.ids for one in found] == [(3,), (1, 3)]
    assert table.rows == 2


def test_lengths_are_normalised_on_demand():
    table = Table(seed=5)
    plain, mean = (search(table, range(9), 4, normalise=n) for n in (False, True))
    for a, b in zip(plain, mean, strict=True):
        assert {one.ids for one in a} == {one.ids for one in b}
        scores = {one.ids: one.score / len(one.ids) for one in a}
        assert [one.score for one in b] == sorted(scores.values(), reverse=True)
        assert all(one.score == pytest.approx(scores[one.ids]) for one in b)


def test_the_best_ids_fall_and_equal_ones_stand_in_order():
    scores = np.array([[1.0, 3, 3, 0, 2], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(beam.best_ids(scores, 3)[0], [1, 2, 4])
    np.testing.assert_array_equal(beam.best_ids(scores, 1), [[1], [0]])
    np.testing.assert_array_equal(beam.best_ids(scores, 9)[0], [1, 2, 4, 0, 3])


def test_a_spotlight_falls_on_what_is_looked_at():
    frames = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]])
    lit = np.asarray(
        heat.spotlight(Image.new("RGB", (8, 4), "white"), frames, np.array([0.25, 0.5]))
    )
    assert set(lit[:, :4].ravel()) == {round(255 * 0.6)} and set(lit[:, 4:].ravel()) == {255}


# ---- Words --------------------------------------------------------------------------------------


VOCABULARY = Vocabulary(["red", "circle"], "plain_words")  # unknown 3, end 4, start 5


class Words(Table):
    """As `Table`, of boxes (B, R, F) whose first number is the image's."""

    def begin(self, images):
        return super().begin(images[:, 0, 0].astype(int))


def test_captions_are_words_without_the_unknown_one():
    boxes = np.arange(30.0)[:, None, None] * np.ones((1, 2, 3))
    found = beam.write_beam(Words(ids=6), boxes, VOCABULARY, width=3, most=4)
    assert len(found) == 30 and all(len(own) == 3 for own in found)
    for own in found:
        for caption in own:
            assert set(caption.ids) <= {1, 2} and len(caption.ids) <= 4
            assert caption.text == " ".join(VOCABULARY.words[i - 1] for i in caption.ids)
    assert beam.write_beam(Words(ids=6), boxes[:0], VOCABULARY) == []
    with pytest.raises(ValueError, match="have no end"):
        beam.write_beam(Words(), boxes, Vocabulary(["red"], "bag"))


def test_parts_give_what_all_give(monkeypatch):
    boxes = np.arange(11.0)[:, None, None] * np.ones((1, 2, 3))
    whole = beam.write_beam(Words(ids=6), boxes, VOCABULARY, 2)
    monkeypatch.setattr(beam, "MEMORY", 64)
    assert beam.write_beam(Words(ids=6), boxes, VOCABULARY, 2) == whole


def test_captions_are_ranked_anew_by_the_cosine():
    captions = [
        [beam.WrittenCaption(text, 0.0, ()) for text in own]
        for own in (["a", "b", ""], [""], ["b"])
    ]
    rows = {"a": [0.6, 0.8], "b": [1.0, 0.0]}
    found = beam.rerank(
        captions, np.array([[1.0, 0], [1, 0], [0, 1]]), lambda t: np.array([rows[x] for x in t]), 2
    )
    told = [[(one.text, one.score) for one in own] for own in found]
    assert told == [[("b", 1.0), ("a", 0.6)], [], [("b", 0.0)]]


def test_validation_scores_greedy_captions(monkeypatch):
    seen = {}
    split = type("Split", (), {"captions": ["a", "b", "c"], "caption_image": [0, 0, 1]})

    def bleu4(hypotheses, references):
        seen.update(hypotheses=hypotheses, references=references)
        return 0.25

    from grading import caption_metrics

    monkeypatch.setattr(caption_metrics, "bleu4", bleu4)
    boxes = np.arange(2.0)[:, None, None] * np.ones((1, 2, 3))
    assert caption_grades.score_captions(Words(ids=6), boxes, split, VOCABULARY, 4) == {
        "bleu4": 0.25
    }
    assert seen["references"] == [["a", "b"], ["c"]] and len(seen["hypotheses"]) == 2


def test_every_width_and_length_is_within_what_was_asked():
    table = Table(seed=9)
    for width, most in itertools.product((1, 2, 7), (1, 3)):
        for own in search(table, range(4), width, most):
            assert 1 <= len(own) <= width
            assert all(1 <= len(one.ids) <= most for one in own)
            assert len({one.ids for one in own}) == len(own)
