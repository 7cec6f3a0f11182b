"""A table of grades: a line for each submission, whatever it is.

    grades = Grader(key, by="rsum", reference=("exp/baseline", path), criteria=read_criteria(text))
    rows = grades.grade(find_submissions("submissions"))

Each submission is compared with the reference by the test of `comparison.paired`, on its own:
a grade does not depend on how many others there are, so no correction is made for their number.
"""

import csv
import io
import operator
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import metrics
from data.vision.decoding import progress
from grading import chance, intervals
from grading.assignment import copies
from grading.assignment.key import Key
from grading.assignment.submissions import Refused, Submission, read_submission
from grading.comparison import paired, standings, tables
from run import files
from run.console import printable

SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
CRITERION = re.compile(r"\s*([a-z_@0-9]+)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*")
NAMES = ("rsum", *metrics.METRICS)
SPANS = ("value", "low", "high")


class Criterion(NamedTuple):
    """One condition of `--pass`."""

    metric: str
    sign: str
    bound: float


def read_criteria(text: str | None) -> list[Criterion]:
    """The conditions of `rsum>=280,recall@10>=50`, text to image where a metric has directions.

    Raises:
      ValueError: it is no such list.
    """
    found = []
    for part in (text or "").split(",") if text is not None else ():
        match = CRITERION.fullmatch(part)
        if not match or match[1] not in NAMES:
            raise ValueError(
                f"--pass {part!r}: expected a metric, >=, <=, > or <, and a number, such as "
                f"rsum>=280; metrics: {', '.join(NAMES)}"
            )
        found.append(Criterion(match[1], match[2], float(match[3])))
    return found


class Grader:
    """Grades submissions, one at a time, by one key.

    Args:
      key: which caption belongs to which image.
      by: metric of the comparison, beside rsum in the table.
      reference: name and path of the submission that all are compared with, or None.
      criteria: what passes.

    Raises:
      ValueError: the reference cannot be graded; or `by` is no mean over queries.
    """

    def __init__(
        self,
        key: Key,
        by: str = "rsum",
        reference: tuple[str, Path] | None = None,
        criteria: Sequence[Criterion] = (),
    ):
        if by not in NAMES or by == "median_rank":
            raise ValueError(f"--by {by}: choose one of {', '.join(set(NAMES) - {'median_rank'})}")
        self.key, self.by, self.criteria = key, by, criteria
        by_chance = chance.chance(key.num_images, key.caption_image)
        self.floor = intervals.with_intervals([by_chance], 1)["rsum"]["value"]
        self.names, self.marks, self.reference = [], [], None
        if reference:
            name, path = reference
            try:
                own = read_submission(path, key)
            except Refused as error:
                raise ValueError(
                    f"--reference {name}: {error.status} {f'({error})' if str(error) else ''}"
                ) from None
            if own.problem:
                raise ValueError(f"--reference {name}: {own.problem} ({own.note})")
            self.names.append(name)
            self.marks.append(copies.mark_of(own.image, own.text))
            self.reference = self._ranks(own)

    def grade(self, found: Iterable[tuple[str, Path]]) -> list[dict[str, Any]]:
        """Rows of the table, in the order of the submissions.

        Returns:
          For each {"name", "status", "rsum": {"value", "low", "high"} or None, ...}.
        """
        rows = [self._grade_one(name, path) for name, path in progress(found, "submissions")]
        marked = {row["name"]: row for row in rows}
        same: dict[str, list[str]] = {}
        for first, second in copies.same_pairs(self.marks):
            for one, other in ((first, second), (second, first)):
                same.setdefault(self.names[one], []).append(self.names[other])
        for name, others in same.items():
            if name in marked:
                told = f"same as {others[0]}"
                row = marked[name]
                row["status"] = told if row["status"] == "ok" else f"{row['status']}; {told}"
                row["note"] += f"; also as {', '.join(others[1:])}" if others[1:] else ""
        for row in rows:
            row["note"] = row["note"].removeprefix("; ")
            if self.criteria:
                row["pass"] = "yes" if row["status"] == "ok" and self._passes(row) else "no"
            row["note"] = row.pop("note")  # the last column
            row.pop("score")
        return rows

    def _grade_one(self, name: str, path: Path) -> dict[str, Any]:
        row: dict[str, Any] = {"name": printable(name), "status": "ok", "rsum": None}
        row |= {self.by: None, "against": "", "difference": None, "p": None, "note": ""}
        row["score"] = None
        try:
            own = read_submission(path, self.key)
        except Refused as error:
            return row | {"status": printable(error.status), "note": printable(str(error))}
        row |= {"status": own.problem or "ok", "note": printable(own.note)}
        self.names.append(row["name"])
        self.marks.append(copies.mark_of(own.image, own.text))
        return row if own.problem == "not unit rows" else row | self._score(own, row["note"])

    def _ranks(self, own: Submission) -> paired.Ranks:
        found = metrics.evaluate(
            own.image, own.text, self.key.caption_image, similarity=own.similarity
        )
        return paired.Ranks({}, found)

    def _score(self, own: Submission, note: str) -> dict[str, Any]:
        ranks = self._ranks(own)
        score = intervals.with_intervals(ranks.found)
        row = {"rsum": score["rsum"], "score": score}
        if self.by != "rsum":
            row[self.by] = score["text_to_image"][self.by]
        if score["rsum"]["low"] <= self.floor:
            row["note"] = f"{note}; no better than chance: rows in another order?"
        if self.reference:
            found = paired.compare_pair(ranks, self.reference)
            one = found["rsum"] if self.by == "rsum" else found["text_to_image"][self.by]
            better = (one["value"] > 0) != (self.by in standings.SMALL_IS_GOOD)
            told = "cannot be told" if one["p"] >= 0.05 else "ahead" if better else "behind"
            row |= {"against": told, "difference": {n: one[n] for n in SPANS}, "p": one["p"]}
        return row

    def _passes(self, row: dict[str, Any]) -> bool:
        score = row["score"]
        sides = {"rsum": score["rsum"], **score["text_to_image"]}
        return all(SIGNS[sign](sides[name]["value"], bound) for name, sign, bound in self.criteria)


def grades_table(rows: Sequence[dict[str, Any]], markdown: bool = False) -> str:
    """The rows as a table for a terminal, or in Markdown; columns that are empty go."""
    kept = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    cells = [{name: row[name] for name in kept} for row in rows]
    for row in cells:
        if row.get("p") is not None:
            row["p"] = f"{row['p']:.2g}"
    return tables.as_markdown(cells) if markdown else tables.as_text(cells)


def write_grades(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes a .csv (each figure with its interval in three columns), .json or .md."""
    if Path(path).suffix == ".json":
        files.write_json(path, list(rows))
    elif Path(path).suffix == ".md":
        files.write_text(path, grades_table(rows, markdown=True) + "\n")
    else:
        text, spans = io.StringIO(), ["rsum", "difference"]
        spans += [name for name in rows[0] if name in metrics.METRICS]
        flat = [_flat(row, spans) for row in rows]
        table = csv.DictWriter(text, flat[0], lineterminator="\n")
        table.writeheader()
        table.writerows(flat)
        files.write_text(path, text.getvalue())


def _flat(row: dict[str, Any], spans: Sequence[str]) -> dict[str, Any]:
    """A row of a spreadsheet: intervals in columns; no text that it would take for a formula."""
    flat = {}
    for name, cell in row.items():
        if name in spans:
            numbers = cell or dict.fromkeys(SPANS)
            flat |= {name: numbers["value"], f"{name} low": numbers["low"]}
            flat[f"{name} high"] = numbers["high"]
        else:
            risky = isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@")
            flat[name] = f"'{cell}" if risky else cell
    return flat
