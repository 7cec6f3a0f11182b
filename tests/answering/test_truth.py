"""Which pictures of the scenes fit a query."""

import numpy as np
import pytest
from tiny_run import NAMES, gallery_arrays, make_run

from answering import search, truth
from data.scenes import world
from gallery.stored import Gallery
from run import files

REFERENCES = [f"scenes:3:test:{index}" for index in range(len(NAMES))]
SCENES = [world.make_scene("test", index, 3) for index in range(len(NAMES))]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("exp") / "scenes")
    arrays = gallery_arrays(pictures=REFERENCES) | truth.pack_truth(REFERENCES)
    files.write_arrays(run.projections, arrays)
    return run


def asked(*wanted, unwanted=()):
    return search.Asked("", np.zeros((1, 7)), True, wanted=wanted, unwanted=unwanted)


def test_it_is_what_a_caption_is_judged_by(run):
    gallery = Gallery(run)
    _, captions = world.make_scenes("test", len(NAMES), 3)
    for sentence in [caption for own in captions for caption in own]:
        expected = [world.fits(sentence, scene) for scene in SCENES]
        found = truth.fitting(gallery, asked(sentence.text))
        assert found is not None and found.tolist() == expected and any(expected)


def test_several_sentences_are_all_to_fit_and_none_that_is_unwanted(run):
    first, second = SCENES[0].objects[0], SCENES[1].objects[0]
    a, b = (f"a {one.colour} {one.shape}" for one in (first, second))
    single = [[world.is_true(text, scene) for scene in SCENES] for text in (a, b)]
    gallery = Gallery(run)
    both = truth.fitting(gallery, asked(a, b))
    np.testing.assert_array_equal(both, np.all(single, axis=0))
    less = truth.fitting(gallery, asked(a, unwanted=(b,)))
    np.testing.assert_array_equal(less, np.array(single[0]) & ~np.array(single[1]))
    assert np.any(less)


@pytest.mark.parametrize(
    "text", ["a dog", "not a red circle", "red", "above", "\ud800", "", "7 a ring", "é a ring"]
)
def test_what_the_scenes_have_no_words_for_is_not_judged(run, text):
    assert truth.fitting(Gallery(run), asked(text)) is None
    assert truth.fitting(Gallery(run), asked("a red circle", unwanted=(text,))) is None


def test_runs_without_tables_or_with_others_are_not_judged(tmp_path):
    run = make_run(tmp_path / "run")
    assert truth.fitting(Gallery(run), asked("a red circle")) is None
    arrays = gallery_arrays() | truth.pack_truth(REFERENCES)
    for wrong in ({"truth": arrays["truth"][:-1]}, {"facts_data": arrays["facts_data"][::-1]}):
        files.write_arrays(run.projections, arrays | wrong)
        assert truth.fitting(Gallery(run), asked("a red circle")) is None
    del arrays["facts_offsets"]
    files.write_arrays(run.projections, arrays)
    assert truth.fitting(Gallery(run), asked("a red circle")) is None
    assert truth.fitting(Gallery(run), asked()) is None


def test_answers_are_marked_and_counted(run):
    gallery, thing = Gallery(run), SCENES[2].objects[0]
    question = asked(f"a {thing.colour} {thing.shape}")
    answers = [search.make_answer(gallery, i + 1, 0.5, i, "c") for i in range(4)]
    marked, fits = search.judge(gallery, question, answers)
    expected = [world.is_true(question.wanted[0], scene) for scene in SCENES]
    assert [one.fits for one in marked] == expected[:4] and expected[2]
    lines = search.answer_table(marked, 80).splitlines()
    assert [line[4:5] == "*" for line in lines[1:5]] == expected[:4]
    assert lines[-1] == "* fits the query"
    assert search.count_fits(marked, np.array([True, False])) == (
        f" · 1 of 2 fits, {sum(expected[:4])} among these 4"
    )
    assert search.count_fits(marked, fits).startswith(f" · {sum(expected)} of 5 fit")
    unknown, nobody = search.judge(gallery, asked("a dog"), answers)
    assert unknown == answers and nobody is None and search.count_fits(answers, None) == ""
