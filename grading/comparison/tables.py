"""Rows of cells as a table: for a terminal, in Markdown, CSV, LaTeX and HTML.

A row is {title: cell}; a cell is text, a number, or a figure as of `standings.value_of`. What is
shown may have come from strangers: each form escapes it.
"""

import csv
import html
import io
import re
from collections.abc import Sequence
from typing import Any

from run.console import printable

Rows = Sequence[dict[str, Any]]
LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
})  # fmt: skip
DASHES = re.compile("-(?=-)")  # two of a flag are no dash of LaTeX


def cell_text(name: str, cell: Any) -> str:
    """A cell as text; a figure with its interval or spread: ranks and percent to a tenth."""
    if isinstance(cell, dict):
        digits = 3 if name.startswith(("mrr", "map", "ndcg")) else 1
        if "spread" in cell:
            return "{value:.{d}f} (sd {spread:.{d}f})".format(d=digits, **cell)
        return "{value:.{d}f} ({low:.{d}f} to {high:.{d}f})".format(d=digits, **cell)
    return "" if cell is None else printable(str(cell))


def lines_of(rows: Rows) -> list[list[str]]:
    """The titles and each row's cells as text; columns without any are left out."""
    lines = [list(rows[0]), *([cell_text(*one) for one in row.items()] for row in rows)]
    told = [any(column[1:]) for column in zip(*lines, strict=True)]
    return [[text for text, kept in zip(line, told, strict=True) if kept] for line in lines]


def as_text(rows: Rows) -> str:
    """For a terminal."""
    lines = lines_of(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_markdown(rows: Rows) -> str:
    """In Markdown."""
    shown = [[_markdown(text) for text in line] for line in lines_of(rows)]
    head, *rest = [f"| {' | '.join(line)} |" for line in shown]
    return "\n".join([head, "|---" * len(shown[0]) + "|", *rest])


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*\[|<]|\b_\B|\B_\b)", r"\\\1", text)


def as_csv(rows: Rows) -> str:
    """CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines_of(rows))
    return text.getvalue()


def as_latex(rows: Rows) -> str:
    """A tabular that needs the package booktabs."""
    head, *rest = [[_latex(text) for text in line] for line in lines_of(rows)]
    lines = [r"\begin{tabular}{" + "l" * len(head) + "}", r"\toprule"]
    lines += [" & ".join(head) + r" \\", r"\midrule"]
    lines += [" & ".join(line) + r" \\" for line in rest]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex(text: str) -> str:
    return DASHES.sub("-{}", text.translate(LATEX))


def document(parts: Sequence[tuple[str, Rows]], suffix: str) -> str:
    """Tables with their titles, as a .md or .tex file."""
    if suffix == ".md":
        texts = [
            f"**{_markdown(printable(title))}**\n\n{as_markdown(rows)}" for title, rows in parts
        ]
    else:
        texts = [f"% {printable(title)}\n{as_latex(rows)}" for title, rows in parts]
    return "\n\n".join(texts) + "\n"


def as_html(rows: Rows, caption: str) -> str:
    """HTML, in a frame that scrolls where the page is narrow; the first column names the rows."""
    head, *rest = [[html.escape(text) for text in line] for line in lines_of(rows)]
    told = html.escape(printable(caption))
    names = "".join(f'<th scope="col">{text}</th>' for text in head)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{text}</td>" for text in others)}</tr>'
        for first, *others in rest
    )
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{told}">\n<table>'
        f"<caption>{told}</caption>\n<thead><tr>{names}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
