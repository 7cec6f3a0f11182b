"""The training regimes of system 5, with pairs of words held out, as one table.

    flags_of("joint", "brown_dog,sit_cat")      # the flags of train.py that make it so
    grade(run, "brown_dog,sit_cat")             # by test.py: recall of the pairs, BLEU-4
    table({"joint": grades, ...})               # Markdown

All regimes have the same towers, data and flags; they differ in which loss is trained, where they
start and what is frozen. "pairs seen" trains jointly with no pair held out: what there is to reach.

Reference: "Bottom-up ranking generation", the document and its authors' code of April 2019.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from grading import pair_recall
from lab.studies import trials
from run import files

FIRST = "ranking"
SEEN = "pairs seen"


class Regime(NamedTuple):
    """One way to train.

    Attributes:
      flags: of train.py, besides the study's own.
      later: whether it starts from the weights of `FIRST`.
      document: macro average over nine pairs: ranking recall@5, then written with beams 1 and 5.
    """

    flags: str
    later: bool
    document: tuple[str, str, str]


RANK = "--rank_weight=1 --write_weight=0 --select=image_to_text_rsum --freeze=none"
WRITE = "--rank_weight=0 --write_weight=1 --select=bleu4"
BOTH = "--rank_weight=1 --write_weight=1 --select=bleu4 --freeze=none"
FROZEN = "--freeze=image,caption,words"
REGIMES = {  # the figures of the document are worked out from its tables and counts
    FIRST: Regime(RANK, False, ("0.445", "-", "-")),
    "joint": Regime(BOTH, False, ("-", "0.042", "0.095")),
    "ranking, then generation": Regime(f"{WRITE} --freeze=none", True, ("-", "0.062", "0.116")),
    "ranking, then generation, frozen": Regime(f"{WRITE} {FROZEN}", True, ("-", "0.052", "0.081")),
    "ranking, then joint": Regime(BOTH, True, ("-", "0.060", "0.119")),
    SEEN: Regime(BOTH, False, ("-", "-", "-")),
}
OF_A_REGIME = (  # flags that --train may not hold
    "rank_weight", "write_weight", "select", "freeze", "init_from", "first_phase", "heldout",
    "heldout_file",
)  # fmt: skip
WRITTEN = {1: "written captions, beam 1", 5: "written captions, beam 5"}
TITLES = ("ranking recall@5", *WRITTEN.values())
HEAD = (
    "regime", "ranking recall@5", "written, beam 1", "beam 5", "BLEU-4, beam 1", "beam 5",
    "test rsum", "best epoch", "minutes", "document: ranking, beam 1, beam 5",
)  # fmt: skip


def folder_of(name):
    """The name of a regime's folder."""
    return name.replace(",", "").replace(" ", "_")


def flags_of(name, heldout, root):
    """The flags of train.py that make a regime.

    Args:
      name: of `REGIMES`; heldout: pairs of words, separated by commas; root: folder of the runs.
    """
    regime = REGIMES[name]
    given = regime.flags.split()
    if name != SEEN:
        given.append(f"--heldout={heldout}")
    if regime.later:
        given.append(f"--init_from={Path(root) / folder_of(FIRST)}")
    return given


def check_train(words):
    """Refuses flags of --train that each regime has for itself. Raises ValueError."""
    way = "leave it out, and name pairs by --pairs"
    trials.refuse(words, OF_A_REGIME, f"which every regime has for itself: {way}")


def grade(run, pairs, threads=0):
    """A regime's grades on the test split, from test.py unless they are there.

    Returns:
      {"recall": {title of `TITLES`: macro average, or None}, "bleu4": {beam: 0 to 1}, "rsum": ...}.
    """
    report = run / "pairs.json"
    if not is_graded(run, pairs.split(",")):
        command = [sys.executable, str(trials.ROOT / "test.py"), f"--exp={run.folder.name}"]
        command += [f"--exp_root={run.folder.parent}", f"--pairs={pairs}"]
        command += [f"--threads={threads}"] if threads else []
        trials.run_quietly(run.folder.name, command)
    stored = files.read_json(report)
    recall = {
        title: stored[title]["macro"]["n>=1"] if title in stored else None for title in TITLES
    }
    captions = run / "captions.json"
    scores = files.read_json(captions)["scores"] if captions.is_file() else {}
    bleu4 = {width: scores.get(f"beam {width}", {}).get("bleu4") for width in WRITTEN}
    return {"recall": recall, "bleu4": bleu4, "rsum": files.read_json(run.score)["rsum"]}


def is_graded(run, names):
    """Whether test.py left the grades of these pairs, of these weights, on the test split."""
    report = run / "pairs.json"
    if not report.is_file() or not run.score.is_file():
        return False
    asked, score = files.read_json(report)["protocol"], files.read_json(run.score)
    found = asked["pairs"], asked["split"], score["protocol"]["split"], score["hashes"]["weights"]
    return found == (names, "test", "test", files.file_hash(run.best_weights))


def measure(run, pairs, threads=0):
    """`grade`, and what the training took: "epoch" of the best weights, "epochs", "minutes"."""
    found = grade(run, pairs, threads)
    metric = "val_bleu4" if found["bleu4"][1] is not None else "val_image_to_text_rsum"
    _, epoch, epochs = trials.best_epoch(run, metric)
    minutes = trials.read_log(run)["seconds"] / 60
    return {**found, "epoch": epoch, "epochs": epochs, "minutes": minutes}


def row(name, one):
    """A regime's line of the table, the cells of `HEAD`."""
    numbers = [*one["recall"].values(), *one["bleu4"].values()]
    return [
        name,
        *("-" if value is None else f"{value:.3f}" for value in numbers),
        trials.with_interval(one["rsum"]),
        f"{one['epoch']} of {one['epochs']}",
        f"{one['minutes']:.1f}",
        ", ".join(REGIMES[name].document),
    ]


def details(root, names):
    """Every regime's own tables, by pair and by number of captions, and the bars beside each other.

    Returns:
      Lines of Markdown; `comparison_*.png` are drawn into the folder of the runs.
    """
    root, lines = Path(root), []
    for name in names:
        tables = (root / folder_of(name) / "pairs.md").read_text(encoding="utf-8")
        lines += [f"## {name}", "", tables]
    reports = {name: root / folder_of(name) / "pairs.json" for name in names}
    for title in TITLES:
        known = {n: path for n, path in reports.items() if title in files.read_json(path)}
        if known:
            kind = title.replace(",", "").replace(" ", "_").replace("@", "_")
            pair_recall.compare(known, title, root / f"comparison_{kind}.png", names)
    return lines
