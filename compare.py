r"""Compares runs: a table of all, or paired tests of some.

    python compare.py                                # all scored runs in exp/, the best first
    python compare.py --by mrr --filter loss=simclr
    python compare.py A B                            # is A ahead of B, and is it luck?
    python compare.py A B --queries                  # also which queries one answers, not the other
    python compare.py A B C --output report.html     # or .md, .csv, .json, .tex
    python compare.py A B --curves curves.png
    python compare.py --grade submissions --key key.npz --reference exp/baseline
    python compare.py --make_assignment DATA_DIR --data precomp --out assignment
    python compare.py --verify A                     # do the weights give the score?

A and B are names of runs in exp/, paths of run folders, folders that hold score.json and
ranks_*.csv alone, .npz files as of test.py --embeddings, or patterns such as 'simclr_*'. Runs of
other data, splits or protocols stand apart and are never ranked together. Runs that differ only in
the seed are put together; --noseeds leaves each alone.

Two entries are compared query by query on the same images: the difference with its 95 % interval, a
test, and Holm's correction where there are several pairs. Only --verify imports TensorFlow.
docs/assignment.md is about the last three.
"""

import run.quiet  # noqa: F401 - first, so that Ctrl-C is one line from here on

import sys
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from grading.assignment import tasks
from grading.comparison import differences, sources, standings, tables, writing
from run import console, files
from settings import options
from settings.options import Options, option

FLAGS = flags.FLAGS
DETAILED = 5  # pairs whose queries are told


@dataclass(frozen=True)
class CompareOptions(Options):
    """Which runs are compared, and how that is shown."""

    title = "Compare"
    exp_root: str = option("exp", "Folder that holds the runs.")
    by: str = option("rsum", "Metric by which runs are sorted and compared (text to image).")
    filter: str | None = option(None, "Only runs with these settings, such as loss=simclr,seed=1.")
    seeds: bool = option(True, "Put runs that differ only in the seed together.")
    queries: bool = option(False, "Also tell in which queries, groups and words two runs differ.")
    examples: int = option(4, "Queries in each list of --queries.", least=1, most=50)
    curves: str | None = option(None, "Also draw the learning curves of all into this .png file.")
    output: str | None = option(
        None, "Also write what is found: a .md, .csv, .json, .tex or .html file."
    )


SECTIONS = (CompareOptions, tasks.AssignmentOptions)
for _section in SECTIONS:
    options.define(_section, FLAGS)


def list_groups(entries):
    """Prints a table for each data set and protocol; returns (data, rows) of each."""
    groups = []
    for data, group in standings.by_data(entries):
        groups.append((data, standings.table_rows(group, FLAGS.by)))
        print(f"{data}\n\n{tables.as_text(groups[-1][1])}\n")
    return groups


def compare_pairs(entries):
    """Prints which of each two entries is ahead; returns what was found."""
    found = differences.compare_all(entries, FLAGS.by)
    if len(found) == 1:
        print(tables.as_text(differences.metric_rows(found[0])), end="\n\n")
    else:
        print(f"{len(found)} pairs; p-values with Holm's correction:\n")
    for one in found:
        print(one.verdict)
    return found


def tell_queries(entries, found):
    """Details of the pairs with the best entry; prints them if --queries asks for that."""
    from grading.comparison import details

    best = standings.ranked(entries, FLAGS.by)[0].name
    chosen = [one for one in found if best in one.names][:DETAILED]
    told = [details.details_of(one, entries, FLAGS.examples) for one in chosen]
    for title, rows in [part for of in told for part in of.tabled()] if FLAGS.queries else ():
        print(f"\n{title}\n\n{tables.as_text(rows)}")
    return told


def main(argv):
    """Runs -> a table, or tests of each two."""
    for path, suffixes in ((FLAGS.output, writing.SUFFIXES), (FLAGS.curves, (".png",))):
        files.check_output(path)
        if path and Path(path).suffix not in suffixes:
            raise ValueError(f"{path}: expected a file that ends in {', '.join(suffixes)}")
    named = argv[1:]
    if (status := tasks.do_asked(FLAGS, named)) is not None:
        return status
    rows, left = sources.read_sources(sources.find_paths(FLAGS.exp_root, named), FLAGS.by)
    rows = standings.keep(sources.align(rows), FLAGS.filter)
    for line in left:
        print(f"left out: {line}", file=sys.stderr)
    if not rows:
        raise ValueError(f"no scored run in {FLAGS.exp_root}/: python train.py, python test.py")
    entries = standings.join_seeds(rows, FLAGS.seeds)
    groups, found, told = list_groups(entries), [], []
    if named and len(entries) > 1:
        found = compare_pairs(entries)
    page = Path(FLAGS.output or "").suffix == ".html"
    if found and (FLAGS.queries or page):
        told = tell_queries(entries, found)
    if FLAGS.curves:
        from grading.comparison import curves  # and with it matplotlib

        curves.draw_curves(entries, FLAGS.by, Path(FLAGS.curves))
        print(f"written: {FLAGS.curves}")
    if FLAGS.output:
        all_of_it = writing.Findings(FLAGS.by, groups, found, told, entries)
        writing.write_findings(Path(FLAGS.output), all_of_it)
        print(f"written: {FLAGS.output}")
    return int(bool(named and left))


if __name__ == "__main__":
    console.run_script(
        lambda: options.start_script(main, str(__doc__), SECTIONS, tasks.plain_names(sys.argv))
    )
