"""Forms of a table escape what strangers wrote; the page's colours have contrast."""

import csv
import io
import re

import pytest

from grading.comparison import page, tables

FIGURES = {"value": 280.0, "low": 269.0, "high": 291.8}, {"value": 1.0, "spread": 0.25}
ROWS = [
    {"run": "a_*|b", "rsum": FIGURES[0], "empty": None, "flags": "--x=50% <b>&\\"},
    {"run": "two\nlines", "rsum": FIGURES[1], "empty": "", "flags": '"q", $~^#{}'},
]


def test_every_form_escapes():
    assert tables.as_text(ROWS).splitlines()[0].split() == ["run", "rsum", "flags"]
    assert "two lines  1.0 (sd 0.2)" in tables.as_text(ROWS)
    assert r"| a\_\*\|b | 280.0 (269.0 to 291.8) | --x=50% \<b>&\\ |" in tables.as_markdown(ROWS)
    assert list(csv.reader(io.StringIO(tables.as_csv(ROWS))))[2][2] == '"q", $~^#{}'
    latex = tables.as_latex(ROWS)
    assert r"-{}-x=50\% \textless{}b\textgreater{}\&\textbackslash{} \\" in latex
    assert r"''q'', \$\textasciitilde{}\textasciicircum{}\#\{\} \\" in latex
    assert "--x=50% &lt;b&gt;&amp;\\</td>" in tables.as_html(ROWS, "<i>")
    assert "<caption>&lt;i&gt;</caption>" in tables.as_html(ROWS, "<i>")


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_contrast_in_every_theme(theme):
    text = page.TEMPLATE.read_text(encoding="utf-8")
    themes = [dict(re.findall(r"--(\w+): (#\w{6});", block))
              for block in re.findall(r":root \{([^}]*)\}", text)]  # fmt: skip
    colours = {**themes[0], **themes[theme]}
    for ink in ("ink", "soft"):
        for paper in ("page", "panel"):
            low, high = sorted(luminance(colours[name]) for name in (ink, paper))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
