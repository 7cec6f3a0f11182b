"""What `compare.py` does for graders: its flags, and which task they ask for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import datasets
from grading.assignment import grades, handing_out, submissions
from grading.assignment import key as keys
from run import folder
from settings.options import Options, option


@dataclass(frozen=True)
class AssignmentOptions(Options):
    """Assignments: made, graded; and a run encoded anew."""

    title = "Grade submissions"
    grade: str | None = option(
        None, "Folder of submissions: .npz files with image and text, or run folders."
    )
    key: str | None = option(
        None,
        "Key of --grade, which --make_assignment wrote. Without the flag: the test captions of "
        "--reference.",
    )
    reference: str | None = option(
        None, "Run or .npz that each submission is compared with; by --by."
    )
    pass_: str | None = option(
        None,
        "Condition to pass, such as rsum>=280 or recall@10>=50,mrr>=0.3. The exit status is 1 "
        "where one fails.",
    )
    make_assignment: str | None = option(
        None, "Data folder of which an assignment is made: its test split is handed out shuffled."
    )
    data: str | None = option(None, "Format of --make_assignment: docs/data.md lists them.")
    out: str | None = option(None, "Folder that --make_assignment writes; a new one.")
    validation_images: int = option(
        256, "--make_assignment of data without validation images: so many are drawn.", least=1
    )
    limit: int = option(0, "--make_assignment: at most this many images of each split.", least=0)
    verify: str | None = option(
        None, "Run to encode anew: do its weights give what it was graded by?"
    )
    data_dir: str | None = option(None, "--verify: folder of the data, if it has moved.")


def plain_names(argv: Sequence[str]) -> list[str]:
    """A command line with flags as they are defined: --make_assignment for --make-assignment."""
    dashed = re.compile(r"--[a-z]+(?:-[a-z]+)+(?==|$)")
    return [dashed.sub(lambda name: "--" + name[0][2:].replace("-", "_"), one) for one in argv]


def do_asked(asked: Any, named: Sequence[str]) -> int | None:
    """Does what the flags ask for: the exit status, or None where they ask for no such task.

    Raises:
      ValueError: flags that mean nothing together; or the task cannot be done.
    """
    tasks = {"grade": _grade, "make_assignment": _make_assignment, "verify": _verify}
    given = [name for name in tasks if getattr(asked, name) is not None]
    owner = {"key": "grade", "reference": "grade", "pass": "grade", "data": "make_assignment"}
    owner |= {"out": "make_assignment", "data_dir": "verify"}
    for name, task in owner.items():
        if asked[name].value is not None and task not in given:
            raise ValueError(f"--{name} is read with --{task} only")
    if not given:
        return None
    if len(given) > 1 or named or asked.filter:
        told = " ".join([*(f"--{name}" for name in given), *named])
        raise ValueError(f"{told}: expected one of --grade, --make_assignment, --verify, alone")
    return tasks[given[0]](asked)


def _grade(asked: Any) -> int:
    """Submissions -> a line for each; 1 where one does not pass."""
    criteria = grades.read_criteria(asked["pass"].value)
    reference = None
    if asked.reference is not None:
        path = Path(asked.reference)
        if path.suffix != ".npz":
            path = folder.find(asked.exp_root, asked.reference).folder
        reference = asked.reference, path
    if asked.key is not None:
        key = keys.read_key(asked.key)
    elif reference and reference[1].suffix != ".npz":
        key = keys.key_of_run(folder.Run(reference[1]))
    else:
        raise ValueError("--grade needs --key, or a run as --reference whose test split is graded")
    grader = grades.Grader(key, asked.by, reference, criteria)
    rows = grader.grade(submissions.find_submissions(asked.grade))
    print(grades.grades_table(rows))
    whole = sum(row["status"] == "ok" for row in rows)
    told = f"\n{len(rows)} submissions, {whole} ok; {key.num_images:,} images"
    if criteria:
        told += f"; {sum(row['pass'] == 'yes' for row in rows)} pass {asked['pass'].value}"
    print(told)
    if asked.output:
        grades.write_grades(asked.output, rows)
        print(f"written: {asked.output}")
    return int(any(row.get("pass") == "no" for row in rows))


def _make_assignment(asked: Any) -> int:
    """Data -> what students get, and the key."""
    if asked.data is None or asked.out is None:
        raise ValueError("--make_assignment needs --data, the format, and --out, a new folder")
    if not asked.out.isprintable() or not asked.out:
        raise ValueError(f"--out {asked.out!r} is no usable name")
    splits = datasets.open_dataset(
        asked.data,
        asked.make_assignment,
        validation_images=asked.validation_images,
        limit=asked.limit or None,
    )
    out = Path(asked.out)
    handing_out.make_assignment(splits, out)
    print(
        f"hand out: {out / handing_out.STUDENTS}/; keep: {out / handing_out.KEY}; "
        f"how to grade: {out / 'README.md'}"
    )
    return 0


def _verify(asked: Any) -> int:
    """A run, encoded anew."""
    from grading.assignment import reencoding

    reencoding.verify_weights(folder.find(asked.exp_root, asked.verify), asked.data_dir)
    return 0
