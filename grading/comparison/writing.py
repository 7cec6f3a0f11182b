"""The file of `compare.py --output`: a table for a text, figures for a program, or a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from grading.comparison import tables
from grading.comparison.details import Details
from grading.comparison.differences import Difference, all_rows, pair_rows
from grading.comparison.standings import Entry
from run import files

SUFFIXES = (".md", ".csv", ".json", ".tex", ".html")


class Findings(NamedTuple):
    """What is written.

    Attributes:
      by: the metric that decides; groups: (data, rows of the table) of each data set.
      differences: of each two entries; details: the queries of some pairs.
      entries: those that are compared, of whose runs a page draws the learning curves.
    """

    by: str
    groups: Sequence[tuple[str, list[dict[str, Any]]]]
    differences: Sequence[Difference]
    details: Sequence[Details]
    entries: Sequence[Entry]


def write_findings(path: Path, found: Findings) -> None:
    """Writes a file of the kind that its suffix says.

    A .csv is one table: the differences in every metric if there are any, else the runs.
    """
    runs = [{"data": data} | row for data, rows in found.groups for row in rows]
    every = all_rows(found.differences)
    if path.suffix == ".json":
        files.write_json(path, {"runs": runs, "differences": every})
    elif path.suffix == ".csv":
        files.write_text(path, tables.as_csv(every or runs))
    elif path.suffix == ".html":
        from grading.comparison import page

        files.write_text(path, page.report_page(found))
    else:
        parts = list(found.groups)
        if found.differences:
            parts.append(("Differences, 95 % intervals", pair_rows(found.differences, found.by)))
        parts += [part for one in found.details for part in one.tabled()]
        files.write_text(path, tables.document(parts, path.suffix))
