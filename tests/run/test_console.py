"""What a person sees in a terminal: one line of printable text, cut to its columns; errors."""

import contextlib
import sys

import pytest
from tiny_run import ODD

from data.vision.decoding import progress
from run import console
from training.records import Pace
from training.waiting import Clock


def test_printable_text_is_one_harmless_line():
    for text in ODD:
        shown = console.printable(text)
        assert shown.isprintable() and shown == shown.strip()
        assert shown.encode("utf-8").decode("utf-8") == shown
    assert console.printable("lone \ud800 half") == "lone \ufffd half"
    assert console.printable(" two\n\twords ") == "two words"


def test_cut_keeps_to_the_columns():
    assert [console.columns(text) for text in ("abc", "漢字", "e\u0301", "😀")] == [3, 4, 1, 2]
    assert console.cut("a name.png", 10) == "a name.png"
    assert console.cut("a longer name.png", 9) == "a longer…"
    assert console.cut("a longer name.png", 9, keep_end=True) == "…name.png"
    assert console.cut("漢字漢字", 6) == "漢字…"
    for text in map(console.printable, ODD):
        for width in (1, 2, 7, 40):
            assert console.columns(console.cut(text, width)) <= width
            assert console.columns(console.cut(text, width, keep_end=True)) <= width


def test_script_errors_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["/somewhere/train.py"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as if no python -m

    def fails():
        raise ValueError("first line\nsecond line")

    with pytest.raises(SystemExit) as caught:
        console.run_script(fails)
    assert caught.value.code == "train.py: error: first line"
    monkeypatch.setenv("MATCHBOX_TRACEBACK", "1")
    with pytest.raises(ValueError, match="second line"):
        console.run_script(fails)


def test_a_signal_whose_exception_was_lost_still_ends_the_loop(monkeypatch):
    monkeypatch.setattr(console, "_asked", [])
    console.heed_signals()
    with contextlib.suppress(KeyboardInterrupt):  # as a library does in a callback
        console._stop(15, None)
    pace = Pace(10, 5, Clock())
    with pytest.raises(console.Stopped) as stopped:
        pace.on_train_batch_end(0)
    assert stopped.value.number == 15
    with pytest.raises(console.Stopped):
        list(progress(range(3), "pictures"))
