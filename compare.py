r"""Compares runs: a table of all, or paired tests of some.

    python compare.py                                # all scored runs in exp/, the best first
    python compare.py --by mrr --filter loss=simclr
    python compare.py A B                            # is A ahead of B, and is it luck?
    python compare.py A B C --output table.md        # or .csv, .json
    python compare.py --grade submissions --key key.npz --reference exp/baseline
    python compare.py --make_assignment DATA_DIR --data precomp --out assignment
    python compare.py --verify A                     # do the weights give the score?

A and B are names of runs in exp/, paths of run folders, or patterns such as 'simclr_*'. Runs of
other data, splits or protocols stand apart and are never ranked together.

Two runs are compared query by query on the same images: the difference with its 95 % interval, a
permutation test, and Holm's correction where there are several pairs. Only --verify imports
TensorFlow. docs/assignment.md is about the last three.
"""

import run.quiet  # noqa: F401 - first, so that Ctrl-C is one line from here on

import csv
import io
import itertools
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from grading import paired, standings
from grading.assignment import tasks
from run import console, files, folder
from settings import options
from settings.options import Options, option

FLAGS = flags.FLAGS


@dataclass(frozen=True)
class CompareOptions(Options):
    """Which runs are compared, and how that is shown."""

    title = "Compare"
    exp_root: str = option("exp", "Folder that holds the runs.")
    by: str = option("rsum", "Metric by which runs are sorted and compared (text to image).")
    filter: str | None = option(None, "Only runs with these settings, such as loss=simclr,seed=1.")
    output: str | None = option(None, "Also write the table: a .md, .csv or .json file.")


SECTIONS = (CompareOptions, tasks.AssignmentOptions)
for _section in SECTIONS:
    options.define(_section, FLAGS)


def find_runs(asked):
    """Folders of the runs that are named, each once; all of --exp_root where none is.

    Of these the first phases are left out: what they led to stands for them.
    """
    if not asked:
        names = {path.name: path for path in folder.list_runs(FLAGS.exp_root)}
        return [p for n, p in names.items() if n.removesuffix("-first") not in names.keys() - {n}]
    found = {}
    for word in asked:
        pattern = any(sign in word for sign in "*?[")
        folders = sorted(Path(FLAGS.exp_root).glob(word)) if pattern else []
        if pattern and not folders:
            raise ValueError(f"no run in {FLAGS.exp_root}/ is called like {word!r}")
        for path in folders or [folder.find(FLAGS.exp_root, word).folder]:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def list_groups(rows):
    """Prints a table for each data set and protocol; returns all of its rows."""
    cells = []
    for data, group in standings.by_data(rows):
        own = standings.table_rows(group, FLAGS.by)
        print(f"{data}\n\n{standings.table(own)}\n")
        cells += [{"data": data} | one for one in own]
    return cells


def compare_pairs(rows):
    """Prints which of each two runs is ahead; returns the rows of the table."""
    if len({row.data for row in rows}) > 1:
        groups = "; ".join(f"{row.name}: {row.data}" for row in rows)
        raise ValueError(f"these runs are of different data, so no test compares them: {groups}")
    known = Counter(row.name for row in rows)
    names = [row.name if known[row.name] == 1 else str(row.run) for row in rows]
    ranks = dict(zip(names, (paired.read_ranks(row.run) for row in rows), strict=True))
    pairs = list(itertools.combinations(names, 2))
    found = [paired.compare_pair(ranks[first], ranks[second]) for first, second in pairs]
    if len(pairs) == 1:
        print(standings.table(all_metrics(found[0])), end="\n\n")
    by = FLAGS.by
    ones = [one["rsum"] if by == "rsum" else one["text_to_image"].get(by) for one in found]
    if None in ones:
        raise ValueError(f"--by {by} is no mean over queries, which a paired test needs")
    adjusted = paired.holm([one["p"] for one in ones])
    if len(pairs) > 1:
        print(f"{len(pairs)} pairs; p-values with Holm's correction:\n")
    for pair, one, p in zip(pairs, ones, adjusted, strict=True):
        print(paired.verdict(pair, one, p, by))
    return [
        {"first": pair[0], "second": pair[1], "metric": by, "difference": one["value"],
         "low": one["low"], "high": one["high"], "p": one["p"], "p (Holm)": p}
        for pair, one, p in zip(pairs, ones, adjusted, strict=True)
    ]  # fmt: skip


def all_metrics(found):
    """Rows of the differences in every metric, both ways."""
    sides = {side: of for side, of in found.items() if side != "rsum"}
    flat = [("", "rsum", found["rsum"])]
    flat += [(side, name, one) for side, of in sides.items() for name, one in of.items()]
    return [
        {"direction": side.replace("_", " "), "metric": name, "difference": f"{one['value']:+.4g}",
         "95 % interval": f"{one['low']:+.4g} to {one['high']:+.4g}", "p": f"{one['p']:.2g}"}
        for side, name, one in flat
    ]  # fmt: skip


def write(cells):
    """Writes the rows to --output, by its suffix."""
    path = Path(FLAGS.output)
    if path.suffix == ".json":
        files.write_json(path, cells)
    elif path.suffix == ".csv":
        text = io.StringIO()
        flat = [
            {name: standings.cell_text(name, cell) for name, cell in row.items()} for row in cells
        ]
        table = csv.DictWriter(text, flat[0], lineterminator="\n")
        table.writeheader()
        table.writerows(flat)
        files.write_text(path, text.getvalue())
    else:
        files.write_text(path, standings.table(cells, markdown=True) + "\n")


def main(argv):
    """Runs -> a table, or tests of each two."""
    if FLAGS.output:
        files.check_output(FLAGS.output)
        if Path(FLAGS.output).suffix not in (".md", ".csv", ".json"):
            raise ValueError(f"--output {FLAGS.output}: expected a .md, .csv or .json file")
    named = argv[1:]
    if (status := tasks.do_asked(FLAGS, named)) is not None:
        return status
    rows, left = standings.read_runs(find_runs(named))
    rows = standings.keep(rows, FLAGS.filter)
    for line in left:
        print(f"left out: {line}", file=sys.stderr)
    if not rows:
        raise ValueError(f"no scored run in {FLAGS.exp_root}/: python train.py, python test.py")
    cells = list_groups(rows)
    if named and len(rows) > 1:
        cells = compare_pairs(rows)
    if FLAGS.output:
        write(cells)
        print(f"written: {FLAGS.output}")
    return int(bool(named and left))


if __name__ == "__main__":
    console.run_script(
        lambda: options.start_script(main, str(__doc__), SECTIONS, tasks.plain_names(sys.argv))
    )
