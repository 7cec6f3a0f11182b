"""Studies of pairs of words: how often captions say them, and system 5 with them held out.

All regimes have the same towers, data and flags; they differ in which loss is trained, where they
start and what is frozen. "generation" writes and never ranks: the baseline. "pairs seen" trains
jointly with no pair held out: what there is to reach.

Reference: "Bottom-up ranking generation", the system 5 paper, and its authors' code of April 2019:
  its tables of ranking and generation, the counts in its code's data folder.
"""

import time
from typing import Any

from data import datasets
from data.pairs import finding
from grading import pair_recall
from grading.verify import AGAIN, read_score
from lab.options import Option
from lab.settings import settings_of
from lab.studies import trials
from run import files

RANK = "--rank_weight=1 --write_weight=0 --select=image_to_text_rsum --freeze=none"
WRITE = "--rank_weight=0 --write_weight=1 --select=bleu4"
BOTH = "--rank_weight=1 --write_weight=1 --select=bleu4 --freeze=none"
LATER, SEEN = ", then ", "pairs seen"  # starts from the weights of ranking; holds no pair out
REGIMES = {  # flags; the paper's macro average over nine pairs, from its tables and counts:
    # ranking recall@5, then written with beams 1 and 5
    "ranking": (RANK, "0.445, -, -"),
    "generation": (f"{WRITE} --freeze=none", "-, -, -"),
    "joint": (BOTH, "-, 0.042, 0.095"),
    "ranking, then generation": (f"{WRITE} --freeze=none", "-, 0.062, 0.116"),
    "ranking, then generation, frozen": (
        f"{WRITE} --freeze=image,caption,words", "-, 0.052, 0.081"
    ),
    "ranking, then joint": (BOTH, "-, 0.060, 0.119"),
    SEEN: (BOTH, "-, -, -"),
}  # fmt: skip
WRITTEN = {1: "written captions, beam 1", 5: "written captions, beam 5"}
TITLES = ("ranking recall@5", *WRITTEN.values())
PAIRS = Option(
    "pairs", "paper", "Pairs such as brown_dog,sit_cat; paper: the nine of the system 5 paper."
)


def count_pairs(work):
    """Images of each pair by the exact number of their captions that say it."""
    settings, folder = settings_of(*work.words), work.own.occurrences
    chosen = finding.parse_pairs(work.own.pairs, settings.data)
    if folder and settings.data == "scenes":
        raise ValueError("--occurrences: such files are of real captions, not of scenes")
    splits = datasets.open_run_data(settings)
    began = time.perf_counter()
    scans, tables = finding.scan_splits(chosen, splits.values(), settings.pair_finder)
    took, found = time.perf_counter() - began, []
    most = max(5, *(int(counts.max(initial=0)) for counts, _ in scans.values()))
    for place, pair in enumerate(chosen):
        for name, (counts, said) in scans.items():
            images = [int((counts[:, place] == times).sum()) for times in range(1, most + 1)]
            one = {"pair": pair.name, "split": name, "images": images}
            found.append(one | {"captions": int(said[:, place].sum())})
    total = sum(split.num_captions for split in splits.values())
    title = f"Images by how many of their captions say the pair, {total:,} captions of "
    notes = [finding.write_occurrences(folder, p, tables[p.name]) for p in chosen if folder]
    title += f"{settings.data}, {took:.1f} s:"
    return trials.Report(title, found, "\n".join(map(str, notes)), count_columns(most))


def count_columns(most):
    """Columns of the counts: how many images have 1, 2, ... captions that say the pair."""
    columns = {"pair": lambda one: one["pair"], "split": lambda one: one["split"]}
    for times in range(1, most + 1):
        columns[str(times)] = lambda one, place=times - 1: f"{one['images'][place]:,}"
    return columns | {"captions": lambda one: f"{one['captions']:,}"}


# ---- Regimes ------------------------------------------------------------------------------------


def folder_of(name):
    """The name of a regime's folder."""
    return name.replace(",", "").replace(" ", "_").replace("@", "_")


def regime_flags(name, heldout, root):
    """The flags of train.py that make a regime: pairs with commas held out, runs below root."""
    held = [] if name == SEEN else [f"--heldout={heldout}"]
    start = [f"--init_from={root / 'ranking'}"] if LATER in name else []
    return [*REGIMES[name][0].split(), *held, *start]


def compare_regimes(work):
    """System 5's ways to train, with pairs of words held out; ranking first: others need it."""
    data = settings_of(*work.words).data
    asked = ",".join(pair.name for pair in finding.parse_pairs(work.own.pairs, data))
    found = []
    for name in REGIMES:
        run = work.train(folder_of(name), *regime_flags(name, asked, work.root))
        found.append({"regime": name} | grade_regime(work, run, asked))
    title = f"{work.title}, held out: {asked}:"
    return trials.Report(title, found, "\n".join(details(work.root, REGIMES)))


def grade_regime(work, run, pairs) -> dict[str, Any]:
    """A regime's grades on the test split, from test.py unless they are there.

    Returns:
      {"recall": {title of `TITLES`: macro average, or None}, "bleu4": {beam: 0 to 1}, "rsum",
      "epoch" of the best weights, "epochs", "minutes"...}.
    """
    if not knows_pairs(run, pairs.split(",")):
        work.test(run, f"--pairs={pairs}")
    stored = files.read_json(run.require(run / "pairs.json", AGAIN))
    captions = run / "captions.json"
    macro = {t: stored[t]["macro"]["n>=1"] if t in stored else None for t in TITLES}
    found = files.read_json(run.require(captions, AGAIN)) if captions.is_file() else {}
    scores = found.get("scores", {})
    bleu4 = {width: scores.get(f"beam {width}", {}).get("bleu4") for width in WRITTEN}
    metric = "val_image_to_text_rsum" if bleu4[1] is None else "val_bleu4"
    _, epoch, epochs = trials.best_epoch(run, metric)
    rsum = read_score(run)["rsum"]
    grades: dict[str, Any] = {"recall": macro, "bleu4": bleu4, "rsum": rsum}
    return grades | {"epoch": epoch, "epochs": epochs} | trials.read_log(run)


def knows_pairs(run, names):
    """Whether test.py left the grades of these pairs, of these weights, on the test split."""
    report = run / "pairs.json"
    if not report.is_file() or not trials.is_graded(run):
        return False
    asked = files.read_json(report)["protocol"]
    return (asked["pairs"], asked["split"]) == (names, "test")


def details(root, names):
    """Every regime's own tables, by pair and by number of captions, and the bars beside each other.

    Returns:
      Lines of Markdown; `comparison_*.png` are drawn into the folder of the runs, by n, and
      `recall_comparison.png`, all regimes beside each other, by pair.
    """
    places = {name: root / folder_of(name) for name in names}
    shown = TITLES[0], TITLES[-1]
    every = {name: place / "pairs.json" for name, place in places.items()}
    pair_recall.compare_runs(every, shown, root / "recall_comparison.png")
    for title in TITLES:
        known = {n: path for n, path in every.items() if title in files.read_json(path)}
        if known:
            path = root / f"comparison_{folder_of(title)}.png"
            pair_recall.compare(known, title, path, list(names))
    tables = {name: (place / "pairs.md").read_text("utf-8") for name, place in places.items()}
    return [line for name in names for line in (f"## {name}", "", tables[name])]


def rounded(key, place):
    """A column: a number of a dict with three decimals, or a dash."""
    return lambda one: "-" if one[key][place] is None else f"{one[key][place]:.3f}"


STUDIES = {
    "pairs": trials.Study(
        "nothing: counts images by --pairs of words in all captions",
        "images by the exact number of their captions that say a pair",
        count_columns(5),
        count_pairs,
        (PAIRS, Option("occurrences", None, "Folder for occurrence files as the original has.")),
        baselines=False,
    ),
    "regimes": trials.Study(
        "system 5 with --pairs held out: ranking, writing, both, in turn or at once; none held",
        "recall of the pairs by ranking and in written captions, BLEU-4",
        {
            "regime": lambda one: one["regime"],
            "ranking recall@5": rounded("recall", TITLES[0]),
            "written, beam 1": rounded("recall", WRITTEN[1]),
            "written, beam 5": rounded("recall", WRITTEN[5]),
            "BLEU-4, beam 1": rounded("bleu4", 1),
            "BLEU-4, beam 5": rounded("bleu4", 5),
            "test rsum": lambda one: trials.with_interval(one["rsum"]),
            "best epoch": lambda one: "{epoch} of {epochs}".format(**one),
            "minutes": trials.minutes,
            "paper: ranking, beam 1, beam 5": lambda one: REGIMES[one["regime"]][1],
        },
        compare_regimes,
        (PAIRS,),
        gives=(
            "rank_weight", "write_weight", "select", "freeze", "init_from", "first_phase",
            "heldout", "heldout_file",
        ),
        instead="leave it out, and name pairs by --pairs",
    ),
}  # fmt: skip
