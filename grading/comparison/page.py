"""The page that `compare.py --output report.html` writes: one file that asks for nothing else.

No script, no request: pictures are data: URIs, and the page's own policy forbids all else. Names,
captions and flags are escaped.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

from grading.comparison import queries, tables
from grading.comparison.curves import picture_of
from grading.comparison.details import Answered, Details
from grading.comparison.differences import Difference, metric_rows
from grading.comparison.writing import Findings
from run.console import printable

TEMPLATE = Path(__file__).with_name("page.html")
HOW = (
    "Differences are paired by query. Intervals are of 95 %. Those of two runs are by a bootstrap "
    "over images, and the p-value is that of a permutation test, which exchanges the runs image by "
    "image. Those of settings are over images and seeds, by Student's law. One is ahead where p is "
    "below 0.05 in the metric that sorts the runs, after Holm's correction for all pairs; other "
    "p-values have no correction. A query is answered if its right answer is among the first "
    f"{queries.WITHIN}. Of several seeds its median rank counts."
)


def report_page(found: Findings) -> str:
    """The page as HTML."""
    count = sum(len(rows) for _, rows in found.groups)
    parts = _verdicts(found.differences)
    parts.append("<h2>Scores</h2>")
    parts.append(_paragraph(
        "Text to image, and rsum of both directions; recalls are in percent. In brackets: the 95 % "
        "interval over images, or the standard deviation (sd) over seeds.", "note"
    ))  # fmt: skip
    parts += [tables.as_html(rows, data) for data, rows in found.groups]
    if found.differences:
        parts.append("<h2>Differences</h2>")
    for one in found.differences:
        caption = f"{one.names[0]} minus {one.names[1]}, metrics of ranks"
        parts.append(tables.as_html(metric_rows(one), caption))
    if curves := picture_of(found.entries, found.by):
        picture, told = curves
        source = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
        frame = '<div class="scroll" tabindex="0" role="group" aria-label="Learning curves">'
        parts.append(f"<h2>Learning curves</h2>\n{frame}{_image(source, told)}</div>")
    for details in found.details:
        parts += _queries(details)
    parts += ["<h2>How it was counted</h2>", _paragraph(HOW, "note")]
    title = f"Comparison of {count} {'run or setting' if count == 1 else 'runs or settings'}"
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(title=title, body="\n".join(parts))


def _verdicts(differences: Sequence[Difference]) -> list[str]:
    lines = "\n".join(f"<li>{_text(one.verdict)}</li>" for one in differences)
    return [f"<ul>\n{lines}\n</ul>"] if lines else []


def _queries(details: Details) -> list[str]:
    """The part of a page about one pair's queries."""
    names = details.names
    parts = [f"<h2>Queries: {_text(names[0])} and {_text(names[1])}</h2>"]
    for title, examples in details.examples:
        parts.append(f"<h3>{_text(title)}</h3>")
        cards = "\n".join(_card(details, one) for one in examples)
        parts.append(f'<ul class="cards">\n{cards}\n</ul>' if cards else _paragraph("None."))
    parts.append("<h3>Changes, groups and words</h3>")
    parts += [tables.as_html(rows, title) for title, rows in details.tables]
    if not any(title.startswith("Words") for title, _ in details.tables):
        parts.append(_paragraph("No word's captions change hands more than all captions do."))
    return parts


def _card(details: Details, one: Answered) -> str:
    """A query, its picture, and what each run puts first."""
    names = details.names
    ranks = [f"{_text(n)}: rank {rank:,}" for n, rank in zip(names, one.ranks, strict=True)]
    figures = [_captioned(one.picture, "the right image")] if one.picture else []
    told = []
    for name, (answer, picture) in zip(details.runs, one.firsts, strict=True):
        if picture:
            figures.append(_captioned(picture, f"first of {name}"))
        elif answer:
            told.append(f"<p>First of {_text(name)}: {_text(answer)}</p>")
    pictures = f'<div class="three">{"".join(figures)}</div>' if figures else ""
    query = f"<p><strong>{_text(one.query)}</strong></p><p>{'; '.join(ranks)}</p>"
    return f"<li>{query}{''.join(told)}{pictures}</li>"


def _captioned(source: str, told: str) -> str:
    return f"<figure>{_image(source, told)}<figcaption>{_text(told)}</figcaption></figure>"


def _image(source: str, told: str) -> str:
    return f'<img src="{html.escape(source)}" alt="{_text(told)}">'


def _paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{_text(text)}</p>' if kind else f"<p>{_text(text)}</p>"


def _text(text: str) -> str:
    return html.escape(printable(text))
