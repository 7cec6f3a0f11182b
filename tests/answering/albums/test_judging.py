"""Which answers are weak, in numbers that can be reckoned by hand."""

import json
from typing import Any

import numpy as np
import pytest
from tiny_run import CAPTIONS, WORDS, make_run

from answering import search
from answering.albums import judging
from gallery.stored import Gallery
from run import files


@pytest.fixture
def run(tmp_path):
    run = make_run(tmp_path / "run")
    with files.atomic_path(run.best_weights) as temporary:
        temporary.write_bytes(b"weights")
    return run


def write(run, **changed):
    fit = {
        "weights": files.file_hash(run.best_weights),
        "weak_below": 0.9,
        "rare_below": -2.0,
        "words": {"red": 60, "circle": 30, "star": 2, "blue": 6},
    }
    files.write_json(run.fit, fit | changed)


def judge(run, query) -> tuple[Any, list[str]]:
    gallery, told = Gallery(run), []
    asked = search.ask_sentence(search.QueryEncoder(run), query)
    answers, _ = asked.nearest(gallery, 3)
    return judging.Judge(run, gallery, told.append).judge(asked, answers), told


def test_usual_words_are_the_mean_of_log_probabilities():
    counts = {"a": 3, "b": 0}  # 3 + 1, 0 + 1 and 1 for all else, of 6
    expected = (np.log(4 / 6) + np.log(1 / 6) + np.log(1 / 6)) / 3
    assert judging.usualness(["a", "b", "zebra"], counts) == pytest.approx(expected)
    assert judging.usualness([], counts) == -np.inf


def test_low_scores_are_weak(run):
    write(run)
    verdict, told = judge(run, "red circle")  # scores 1 with the first picture
    assert [one.weak for one in verdict.answers] == [one.score < 0.9 for one in verdict.answers]
    assert not verdict.answers[0].weak and verdict.answers[-1].weak and told == []
    assert verdict.told() == "best 1.000, of the run's own pictures 1.000"
    write(run, weak_below=1.5)
    verdict, _ = judge(run, "red circle")
    assert all(one.weak for one in verdict.answers)
    assert verdict.told().endswith("; nothing here fits: below 1.500")
    json.dumps(verdict.facts())


def test_words_that_were_seldom_seen_make_all_answers_weak(run):
    write(run, weak_below=-1.0)
    assert not judge(run, "red circle")[0].rare
    verdict, _ = judge(run, "blue star")
    assert verdict.rare and all(one.weak for one in verdict.answers)
    assert verdict.told().endswith("; weak: the run has seldom seen these words")
    assert set(CAPTIONS[1][0].split()) < set(WORDS)  # they are known


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (None, "has no fit.json: python test.py writes it"),
        ({"weights": "others"}, "is of other weights than"),
        ({"weak_below": "x"}, "weak_below is 'x'; expected float"),
        ({"words": {"red": -1}}, "words are no counts"),
    ],
)
def test_what_cannot_be_judged_is_said_once(run, changed, message):
    if changed is not None:
        write(run, **changed)
    verdict, told = judge(run, "red circle")
    assert verdict is None and len(told) == 1 and message in told[0]
