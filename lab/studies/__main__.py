r"""Experiments of the papers, each a table: many trainings, graded and summarised.

    python -m lab.studies finding --train "--relevance concepts --epochs 4"
    python -m lab.studies recipes --keep --train "--data_dir f8k_precomp --epochs 15"
    python -m lab.studies losses --keep --seeds 3 --train "--recipe gru_best --data_dir f8k_precomp"
    python -m lab.studies --help                    # all studies, with their flags

--train holds flags of train.py for every run: data, epochs, sizes. The table goes to standard
output in Markdown, the epochs to standard error. The runs lie in a temporary folder, unless --keep
or --exp_root keeps them: then the same command goes on where the study was stopped. Finished runs
are read, not trained anew; a run of other flags is refused.
"""

import contextlib
import shlex
import sys
import tempfile
from pathlib import Path

from lab.options import MEASURING, Option, explain, read_command
from lab.scripts import modules_of
from lab.settings import settings_of
from lab.studies.trials import Trials
from run import console, files
from settings.options import with_role

STUDIES = {
    name: study
    for module in modules_of("lab.studies")
    for name, study in getattr(module, "STUDIES", {}).items()
}
COMMON = (
    Option("train", "", "More flags of train.py for all runs, in quotes: data, epochs..."),
    Option("exp_root", None, "Folder that keeps the runs."),
    Option("keep", False, "Keep the runs in exp/study-NAME (or in --exp_root)."),
    Option("jobs", 1, "Runs at the same time.", 1),
    Option("baselines", True, "Print linear baselines on the same image vectors under the table."),
    *MEASURING,
)
GIVEN = ("exp", "exp_root", "resume", "overwrite")  # flags of train.py that every study gives


def explain_studies():
    """What each study trains and prints, and its flags, for --help."""
    lines = []
    for name, study in STUDIES.items():
        lines += ["", f"{name}: trains {study.trains}", f"  prints {study.prints}"]
        lines += [explain(study.own)]
    return "\n".join(lines)


def refuse_given(words, study):
    """Refuses flags of train.py that a study gives itself. Raises ValueError."""
    for word in words:
        name = word.lstrip("-").partition("=")[0] if word.startswith("-") else ""
        for given in (*GIVEN, *study.gives):
            if name in (given, f"no{given}"):
                raise ValueError(
                    f"--train holds --{name}, which the study gives itself: {study.instead}"
                )


def print_table(report, columns):
    """A title and a Markdown table of texts, and what stands behind it."""
    print(f"{report.title}\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for one in report.found:
        print(f"| {' | '.join(cell(one) for cell in columns.values())} |")
    if report.notes:
        print(f"\n{report.notes}")


def print_baselines(commands):
    """What the learned rows above must beat, on each kind of images; or why nothing can be said.

    Args:
      commands: flags of train.py of each run.
    """
    from lab.studies import baselines

    for words in on_each_kind(commands):
        try:
            report = baselines.compare_baselines(Trials(None, words))
        except ValueError as error:
            print(f"\nNo baseline: {error}")
            continue
        print()
        print_table(report, STUDIES["baselines"].columns)


def on_each_kind(commands):
    """The first command of each kind of images: other data, or other features of them."""
    kinds = {}
    for words in commands:
        settings = settings_of(*words)
        names = ("data", "data_dir", *with_role(type(settings), "pictures"))
        kinds.setdefault(tuple(str(getattr(settings, name)) for name in names), words)
    return kinds.values()


def main(argv):
    """A study's name -> runs -> a table, and JSON."""
    if {"--help", "-h"} & set(argv[1:]):
        print(__doc__, explain(COMMON), explain_studies(), sep="\n")
        return
    name = argv[1] if len(argv) > 1 else ""
    if name not in STUDIES:
        raise ValueError(f"unknown study {name!r}: choose one of {', '.join(STUDIES)}")
    study = STUDIES[name]
    values, left = read_command(argv[1:], [*COMMON, *study.own])
    if left:
        raise ValueError(f"unexpected {left[0]!r}: one study at a time, then flags")
    files.check_output(values.output)
    words = shlex.split(values.train)
    refuse_given(words, study)
    settings_of(*words)
    root = values.exp_root or (values.keep and str(Path("exp") / f"study-{name}"))
    folder = contextlib.nullcontext(root)
    if not root and name != "pairs":
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        print("the runs are not kept; --keep keeps them in exp/", file=sys.stderr)
    with folder as place:
        work = Trials(place, words, values, values.threads, values.jobs)
        report = study.make(work)
    print_table(report, report.columns or study.columns)
    if values.baselines and study.baselines:
        print_baselines(work.asked)
    if values.output:
        files.write_json(values.output, {"train": values.train, name: report.found})


if __name__ == "__main__":
    console.run_script(lambda: main(sys.argv))
