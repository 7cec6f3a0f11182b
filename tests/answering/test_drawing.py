"""The pages of answers and of explanations."""

import warnings

import numpy as np
import pytest
from PIL import Image, ImageColor

from answering import drawing
from answering.explain import Explanation, Word
from answering.explanation_page import draw_explanation
from figures import heat
from figures.letters import text_width


def cards(number):
    pictures = [None, Image.new("RGB", (64, 64), "red"), Image.new("RGB", (3, 500), "blue")]
    odd = ["", "word", "many words " * 50, "x" * 9999, "漢字" * 99, "مرحبا 😀 $\\frac{x$ \\$"]
    return [
        drawing.Card(1 / (i + 1), odd[i % 6], pictures[i % 3], own=i % 2 == 0)
        for i in range(number)
    ]


@pytest.mark.parametrize("number", [1, 3, 8, 51])
def test_pages_of_any_number_of_answers(tmp_path, number, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.picture_grid("漢字 $x " * 40, "note", cards(number), tmp_path / "grid.png")
        drawing.caption_list("title", "note", None, cards(number), tmp_path / "list.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "list.png"]
    for path in tmp_path.iterdir():
        with Image.open(path) as page:
            assert page.mode == "RGB" and page.getpixel((0, 0)) == (255, 255, 255)
            margin = np.asarray(page)[:, -15:]
            assert (margin == 255).all()  # nothing runs over the right edge
    assert capfd.readouterr().err == ""


def explanation(words, places=None, picture=None):
    return Explanation("a.png", "漢字 $x " * 40, 0.5, words, len(words), places, picture)


@pytest.mark.parametrize("number", [1, 12, 80])
def test_pages_of_any_explanation(tmp_path, number):
    odd = ["word", "x" * 999, "漢字", "مرحبا", "$\\frac{x$", ""]
    words = [
        Word(odd[i % 6], (None if i % 4 == 3 else 0.01 * (-1) ** i * i), "the only known word")
        for i in range(number)
    ]
    wide, places = Image.new("RGB", (300, 20), "red"), np.linspace(-1, 0.5, 49).reshape(7, 7)
    pages = [(wide, places), (wide, 0 * places), (wide, None), (None, None), (None, places)]
    for i, (picture, found) in enumerate(pages):
        path = tmp_path / f"{i}.png"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            draw_explanation(explanation(words, found, picture), "note", path)
        with Image.open(path) as page:
            assert page.width == 480 + 2 * drawing.EDGE + 20 + (616 if i < 2 else 308)
            margin = np.asarray(page.convert("RGB"))
            assert (margin[:, -15:] == 255).all() and (margin[-15:] == 255).all()


def test_bars_go_left_and_blue_for_words_that_support(tmp_path):
    words = [Word("one", -0.2), Word("two", 0.1), Word("three", None, "unknown")]
    draw_explanation(explanation(words), "note", tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as page:
        pixels = np.asarray(page).astype(int)
    spans = {}
    for colour in (heat.BELOW, heat.ABOVE):
        found = np.flatnonzero((pixels == ImageColor.getrgb(colour)).all(axis=2).any(axis=0))
        spans[colour] = (found.min(), found.max())
    support, against = spans[heat.BELOW], spans[heat.ABOVE]
    assert support[1] <= against[0] + 1
    assert support[1] - support[0] == pytest.approx(2 * (against[1] - against[0]), abs=3)


def test_all_answers_look_alike_and_a_page_is_the_same_again(tmp_path):
    """A frame round the first would say that it is right, which nobody knows."""
    picture = Image.new("RGB", (64, 64), "#102030")
    paths = [tmp_path / "page.png", tmp_path / "again.png"]
    for path in paths:
        drawing.picture_grid("t", "n", [drawing.Card(0.5, "c", picture)] * 4, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as page:
        pixels = np.asarray(page).astype(int)
    inside = (pixels == [0x10, 0x20, 0x30]).all(axis=2)
    assert not (pixels == [0x26, 0x67, 0xFF]).all(axis=2).any()
    counts = [inside[:, i * 212 + 28 : i * 212 + 220].sum() for i in range(4)]
    assert len(set(counts)) == 1 and counts[0] > 0.98 * 192 * 192


def test_what_is_known_to_fit_has_a_frame(tmp_path):
    picture = Image.new("RGB", (64, 64), "#102030")
    shown = [drawing.Card(0.5, "c", picture, fits=number == 1) for number in range(4)]
    drawing.picture_grid("t", "n", shown, tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as page:
        pixels = np.asarray(page).astype(int)
    blue = (pixels == ImageColor.getrgb(drawing.COLOURS[0])[:3]).all(axis=2)
    found = np.flatnonzero(blue.any(axis=0))
    assert found.min() >= 235 and found.max() <= 438 and blue.sum() > 4 * 192 * 3


def test_fit_wraps_by_the_width_of_the_letters():
    for card in cards(6):
        for width, lines in ((150, 3), (560, 1), (40, 8)):
            rows = drawing.fit(card.caption, width, 8, lines)
            assert len(rows) <= lines
            assert max(text_width(row, 8) for row in rows) <= width
    assert drawing.fit("one two three", 1000, 8, 2) == ["one two three"]
    narrow = text_width("one two", 8) + 0.1
    assert drawing.fit("one two three", narrow, 8, 2) == ["one two", "three"]
    assert drawing.fit("one two three four five", narrow, 8, 2) == ["one two", "three…"]
    assert text_width("iiii", 8) < text_width("MM", 8)
