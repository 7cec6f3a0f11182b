r"""Experiments of the papers, each a table: many trainings, graded and summarised.

    python -m lab.studies finding --train "--relevance concepts --epochs 4"
    python -m lab.studies recipes --keep --train "--data precomp --data_dir f8k_precomp --epochs 15"
    python -m lab.studies moe --keep --train "--data precomp --data_dir f8k_precomp --epochs 10"
    python -m lab.studies features --exp_root exp/fne --train "--data flickr8k --data_dir Flickr8k"
    python -m lab.studies pairs --train "--data flickr30k --data_dir Flickr30k" --occurrences FOLDER
    python -m lab.studies regimes --keep --pairs red_circle,sit_star --train "--recipe joint_scenes"
    python -m lab.studies stages --keep --train "--data flickr8k --data_dir Flickr8k --cnn MobileNetV2"
    python -m lab.studies losses --keep --train "--recipe gru_best --data_dir f8k_precomp --epochs 2"

    study      what it trains                                      the table
    finding    both pairwise losses over alpha and c               best validation MRR
    recipes    those of --recipes, each graded by test.py          recalls, rsum, minutes, pace
    moe        the maximum of hinges with order similarity, three  how many of --seeds runs start to
               settings (Vilalta et al. 2019, Table 5)             learn, and how many collapse
    features   --recipe with the image vectors of both --kinds,    the difference of rsum and mean
               --seeds times, each graded by test.py               recall, with its interval
    stages     system 3 with one loss or both, in stages I and     recalls and rsum beside those of
               II; and with pseudo classes, in stage I             the paper's Tables 4 and 5
    pairs      nothing: counts the images of --pairs of words in   images by the exact number of
               all captions; --occurrences writes the files        their captions that say a pair
    regimes    system 5 with --pairs held out: ranking, writing,   recall of the pairs by ranking
               both, one after the other; and with none held out   and in written captions, BLEU-4
    losses     every loss of system 4 and its kin, --seeds times,  rsum and what each is behind the
               one tower and one budget, graded by test.py         first, beside the document's

--train holds flags of train.py for every run: data, epochs, sizes. The table goes to standard
output in Markdown, the epochs to standard error. The runs lie in a temporary folder, unless --keep
or --exp_root keeps them: then the same command goes on where the study was stopped. Finished runs
are read, not trained anew; a run of other flags is refused.
"""

import contextlib
import shlex
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from absl import app, flags

import metrics
from data.pairs import finding
from gallery import scan
from lab.studies import league, regimes, stages, trials
from run import console, files, options, recipes
from training import phases

FLAGS = flags.FLAGS
flags.DEFINE_string("train", "", "More flags of train.py for all runs, in quotes: data, epochs...")
flags.DEFINE_string("exp_root", None, "Folder that keeps the runs.")
flags.DEFINE_bool("keep", False, "Keep the runs in exp/study-NAME (or in --exp_root).")
flags.DEFINE_integer("jobs", 1, "Runs at the same time.", 1)
options.define_measuring_flags()
flags.adopt_module_key_flags(options)
flags.DEFINE_list("grid", ["0.25", "0.5", "0.75"], "finding: values of alpha and of margin.")
flags.DEFINE_list("recipes", ["sh", "mh", "soe", "moe", "ph", "poe"], "recipes: which.")
flags.DEFINE_string("recipe", "gru_best", "features: the recipe of all runs.")
flags.DEFINE_list(
    "kinds",
    None,
    "Image vectors, as of train.py --features. moe: default the data's own; features: two of them, "
    "default last,fne.",
)
flags.DEFINE_string("stage1", "", "stages: flags of stage I, besides --train.")
flags.DEFINE_string("stage2", "", "stages: flags of stage II, besides --train.")
flags.DEFINE_list("classes", ["500", "1500"], "stages: numbers of pseudo classes.")
flags.DEFINE_string(
    "pairs", "paper", "pairs, regimes: such as brown_dog,sit_cat; paper: the document's."
)
flags.DEFINE_string("occurrences", None, "pairs: folder for the original's occurrence files.")
flags.DEFINE_list("losses", list(league.LEAGUE), "losses: which. sum_hinge, max_hinge: by name.")
flags.DEFINE_multi_string(
    "loss_flags",
    [],
    "losses: 'NAME: --flag value', flags of train.py for one loss, besides --train and the numbers "
    "of its publication, which they win over. May be given again.",
)
flags.DEFINE_integer("seeds", None, "Seeds 0, 1, ... moe: default 5; features, losses: 3.", 1)

ROOT = Path(__file__).resolve().parents[2]
STARTED = 10.0  # validation rsum above which a run has started to learn (Vilalta et al., section 6)
OWN = ("exp", "exp_root", "resume", "overwrite")  # flags that a study gives itself
MOE = {  # learning rate, margin, absolute values; successes of five with FC7 and with FNE
    "MOE-bl": ("0.0002", "0.2", False, {"last": "5/5", "fne": "0/5"}),
    "MOE-bl-abs": ("0.0002", "0.2", True, {"last": "0/5", "fne": "0/5"}),
    "MOE-abs": ("0.0001", "0.05", True, {"last": "0/5", "fne": "4/5"}),
}


def train(root, name, *words, **own):
    """Trains a run with the flags of --train and the study's own, which win; returns the run."""
    own |= {"threads": FLAGS.threads} if FLAGS.threads else {}
    given = [*shlex.split(FLAGS.train), *words]
    given += [f"--{flag}={value}" for flag, value in own.items()]
    return trials.train(root, name, given, show=FLAGS.jobs == 1)


def for_each(function, items):
    """The function's results for all items, in order, --jobs at a time, up to a first failure."""
    failed = threading.Event()

    def attempt(item):
        if failed.is_set():  # else the next training would begin before the failure is told
            raise ValueError("not begun, for a run before it failed")
        try:
            return function(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(FLAGS.jobs) as pool:
        return list(pool.map(attempt, items))


def print_table(title, head, rows):
    """A title and a Markdown table of texts."""
    print(f"{title}\n\n| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def train_cell(root, cell):
    """Trains one cell of the grid; returns its best validation MRR and the epoch of that."""
    loss, alpha, margin = cell
    run = train(root, f"{loss}_{alpha}_{margin}", loss=loss, alpha=alpha, margin=margin)
    return trials.best_epoch(run, "val_mrr")[:2]


def print_finding(root):
    """Assignment against modified, side by side, as a Markdown table; returns its numbers."""
    names, grid = ("assignment", "modified"), [(a, c) for a in FLAGS.grid for c in FLAGS.grid]
    cells = [(name, *values) for values in grid for name in names]
    found = dict(zip(cells, for_each(partial(train_cell, root), cells), strict=True))
    rows = []
    for values in grid:
        best = [found[(name, *values)] for name in names]
        rows.append([*values, *(f"{mrr:.4f} ({epoch})" for mrr, epoch in best)])
    title = f"Best validation MRR (its epoch), train.py {FLAGS.train}:"
    print_table(title, ("alpha", "c", *names), rows)
    keys = ("loss", "alpha", "margin", "val_mrr", "epoch")
    return [dict(zip(keys, (*cell, *best), strict=True)) for cell, best in found.items()]


def measure_recipe(root, recipe):
    """Trains and grades one recipe; returns its numbers."""
    run = train(root, recipe, recipe=recipe)
    score = trials.grade(run, FLAGS.threads)
    best, epoch, done = trials.best_epoch(run, "val_rsum")
    runs, logs = [run], [trials.read_log(run)]
    if recipes.load_settings(run.config).first_phase:  # a run of its own, with its own log
        runs.insert(0, phases.first_run(run))
        logs.insert(0, trials.read_log(runs[0]))
    recalls = {
        direction: [score[direction][f"recall@{cutoff}"]["value"] for cutoff in metrics.CUTOFFS]
        for direction in scan.DIRECTIONS
    }
    return {
        "recipe": recipe,
        "epochs": [*(trials.best_epoch(first, "val_rsum")[2] for first in runs[:-1]), done],
        "best_epoch": epoch,
        "val_rsum": best,
        **recalls,
        "rsum": score["rsum"],
        "minutes": sum(log["seconds"] for log in logs) / 60,
        "parted": any(log["parted"] for log in logs),
        "pace": logs[-1]["pace"],
        "started": best > STARTED,
    }


def print_recipes(root):
    """One line for each recipe, as a Markdown table; returns its numbers."""
    found, rows = for_each(partial(measure_recipe, root), FLAGS.recipes), []
    for one in found:
        sides = [one[side] for side in ("image_to_text", "text_to_image")]
        epochs = " + ".join(map(str, one["epochs"]))
        rows.append([
            one["recipe"],
            f"{epochs} ({one['best_epoch']})",
            f"{one['val_rsum']:.1f}",
            *(" / ".join(f"{recall:.1f}" for recall in side) for side in sides),
            f"{one['rsum']['value']:.1f} ({one['rsum']['low']:.1f} to {one['rsum']['high']:.1f})",
            f"{'> ' if one['parted'] else ''}{one['minutes']:.1f}",
            f"{one['pace']:,.0f}" if one["pace"] else "-",
            "yes" if one["started"] else "NO",
        ])  # fmt: skip
    head = "recipe", "epochs (best)", "val rsum", "test i2t R@1/5/10", "test t2i R@1/5/10"
    head += "test rsum (95 % interval)", "minutes", "captions/s", "started"
    title = f"train.py --recipe NAME {FLAGS.train} (started: best validation rsum > {STARTED:g}):"
    print_table(title, head, rows)
    if any(one["parted"] for one in found):
        print("\n>: a part of the training was killed; its minutes are not in the log.")
    return found


def train_moe(root, case):
    """Trains one configuration of the paper's Table 5 with one seed; returns its numbers."""
    model, kind, seed = case
    rate, margin, absolute, _ = MOE[model]
    own = {"learning_rate": rate, "margin": margin, "absolute": absolute, "seed": seed}
    own |= {"features": kind} if kind else {}
    run = train(root, f"{f'{kind}-' if kind else ''}{model}_{seed}", recipe="moe_bl", **own)
    best, epoch, _ = trials.best_epoch(run, "val_rsum")
    log = trials.read_log(run)
    found = {"model": model, "kind": kind, "seed": seed, "val_rsum": best, "epoch": epoch}
    return found | {"collapsed": log["collapsed"], "apart": log["apart"], "started": best > STARTED}


def moe_row(model, kind, runs):
    """The table's line for one configuration: its runs, one a seed."""
    rate, margin, absolute, paper = MOE[model]
    steps = sorted(run["collapsed"][0] for run in runs if run["collapsed"])
    said = f"{len(steps)}/{len(runs)}"
    if steps:
        first = f"{steps[0]:,}" if steps[0] == steps[-1] else f"{steps[0]:,} to {steps[-1]:,}"
        said += f", step {first}"
    if apart := sum(bool(run["apart"]) for run in runs):
        said += f"; {apart} came apart again"
    known = paper.get(kind) or ", ".join(f"{name} {count}" for name, count in paper.items())
    success = f"{sum(run['started'] for run in runs)}/{len(runs)}"
    rsums = ", ".join(f"{run['val_rsum']:.1f}" for run in runs)
    name = f"{kind}-{model}" if kind else model
    return [name, rate, margin, "yes" if absolute else "no", success, known, said, rsums]


def print_moe(root):
    """The paper's Table 5: how many runs start to learn; returns what became of each.

    Reference: Vilalta et al., Studying the impact of the full-network embedding on multimodal
      pipelines, 2019, section 6 and Table 5. Its FC7 is `last` here.
    Differs from the paper: success is judged on validation alone.
    """
    kinds, seeds = FLAGS.kinds or [None], range(FLAGS.seeds or 5)
    cases = [(model, kind, seed) for kind in kinds for model in MOE for seed in seeds]
    found = dict(zip(cases, for_each(partial(train_moe, root), cases), strict=True))
    rows = [
        moe_row(model, kind, [found[model, kind, seed] for seed in seeds])
        for kind in kinds
        for model in MOE
    ]
    head = "Model", "L.rate", "Margin", "Abs. val.", "Success", "paper's"
    head += "collapse watch spoke, first at", "best val rsum by seed"
    title = f"Success: best validation rsum > {STARTED:g}; train.py --recipe moe_bl {FLAGS.train}:"
    print_table(title, head, rows)
    return list(found.values())


def train_kind(root, case):
    """Trains and grades one kind of image vectors with one seed; returns the run and its rsum."""
    kind, seed = case
    run = train(root, f"{kind}_{seed}", recipe=FLAGS.recipe, features=kind, seed=seed)
    trials.best_epoch(run, "val_rsum")
    return run, trials.grade(run, FLAGS.threads)["rsum"]["value"]


def difference_row(one, kinds):
    """A line of the table of differences: rsum, and mean recall, a sixth of it."""
    values = [f"{one[kind] / share:.1f}" for share in (1, 6) for kind in kinds]
    for share in (1, 6):
        value, low, high = (one["difference"][key] / share for key in ("value", "low", "high"))
        values.append(f"{value:+.2f} ({low:+.2f} to {high:+.2f})")
    return [str(one["seed"]), *values]


def print_features(root):
    """Two kinds of image vectors, seed by seed and over all seeds; returns the table's numbers."""
    kinds, seeds = FLAGS.kinds or ["last", "fne"], range(FLAGS.seeds or 3)
    if len(kinds) != 2:
        raise ValueError(f"--kinds has {len(kinds)} names; expected two to compare: last,fne")
    cases = [(kind, seed) for seed in seeds for kind in kinds]
    graded = dict(zip(cases, for_each(partial(train_kind, root), cases), strict=True))
    pairs = [[graded[kind, seed][0] for kind in kinds[::-1]] for seed in seeds]
    found = [{"seed": seed, **{kind: graded[kind, seed][1] for kind in kinds}} for seed in seeds]
    found.append({"seed": "mean", **{k: float(np.mean([o[k] for o in found])) for k in kinds}})
    for one, of in zip(found, [*([pair] for pair in pairs), pairs], strict=True):
        one["difference"] = trials.rsum_difference(of)
    rows = [difference_row(one, kinds) for one in found]
    what, between = ("test rsum", "mean recall"), " - ".join(kinds[::-1])
    head = "seed", *(f"{name}, {kind}" for name in what for kind in kinds)
    head += tuple(f"{name}, {between}" for name in what)
    print_table(f"train.py --recipe {FLAGS.recipe} {FLAGS.train}:", head, rows)
    print(
        "\nDifferences with 95 % intervals: paired bootstrap over the test images. In the last row "
        "each query's difference is averaged over the seeds first, so the interval is about other "
        "images, not other seeds."
    )
    if len(pairs) > 1:
        spread = np.std([one["difference"]["value"] for one in found[:-1]], ddof=1)
        print(f"Standard deviation of the rsum's difference among the seeds: {spread:.2f}.")
    return found


def print_stages(root):
    """Tables 4 and 5 of the paper; returns their numbers (see `stages`)."""
    found = []
    for name, stage, own, published in stages.plan(root, FLAGS.classes):
        given = [f"--recipe={stages.RECIPES[stage]}", *shlex.split(FLAGS.train)]
        given += [*shlex.split(FLAGS.stage2 if stage == "II" else FLAGS.stage1), *own]
        given += [f"--threads={FLAGS.threads}"] if FLAGS.threads else []
        run = trials.train(root, name, given, show=FLAGS.jobs == 1)
        numbers = stages.measure(run, FLAGS.threads)
        found.append({"run": name, "published": published, **numbers})
    title = f"train.py {FLAGS.train}; stage I {FLAGS.stage1}; stage II {FLAGS.stage2}:"
    print_table(title, stages.HEAD, list(map(stages.row, found)))
    return found


def print_pairs(root):
    """Images of each pair by the exact number of their captions that say it; returns the counts.

    Reference: the counts of "Bottom-up ranking generation", in its code's data folder.
    """
    from data import datasets

    settings = recipes.settings_from_flags(trials.parse(shlex.split(FLAGS.train)))
    chosen = finding.parse_pairs(FLAGS.pairs, settings.data)
    if FLAGS.occurrences and settings.data == "scenes":
        raise ValueError("--occurrences: such files are of real captions, not of scenes")
    splits = datasets.open_run_data(settings)
    began = time.perf_counter()
    scans, tables = finding.scan_splits(chosen, splits.values(), settings.pair_finder)
    took = time.perf_counter() - began
    found, most = {}, 0
    for name, (counts, said) in scans.items():
        most = max(most, int(counts.max(initial=0)), 5)
        found[name] = {"captions": said.sum(axis=0).tolist(), "counts": counts}
    rows = []
    for name, own in found.items():
        bins = (own.pop("counts")[:, :, None] == np.arange(1, most + 1)).sum(axis=0)  # (P, L)
        own["images"] = bins.tolist()
        for pair, captions, images in zip(chosen, own["captions"], bins.tolist(), strict=True):
            rows.append([pair.name, name, *(f"{count:,}" for count in images), f"{captions:,}"])
    total = sum(split.num_captions for split in splits.values())
    title = f"Images by how many of their captions say the pair, {total:,} captions of "
    title += f"{settings.data}, {took:.1f} s:"
    rows.sort(key=lambda row: [pair.name for pair in chosen].index(row[0]))
    print_table(title, ("pair", "split", *map(str, range(1, most + 1)), "captions"), rows)
    for pair in chosen if FLAGS.occurrences else []:
        print(finding.write_occurrences(FLAGS.occurrences, pair, tables[pair.name]))
    return {"pairs": [pair.name for pair in chosen], "seconds": took, **found}


def print_regimes(root):
    """System 5's ways to train, with --pairs held out; returns their numbers.

    Reference: "Bottom-up ranking generation", its tables of ranking and generation.
    """
    regimes.check_train(shlex.split(FLAGS.train))
    settings = recipes.settings_from_flags(trials.parse(shlex.split(FLAGS.train)))
    asked = ",".join(pair.name for pair in finding.parse_pairs(FLAGS.pairs, settings.data))
    found = {}
    for name in regimes.REGIMES:  # the first one first: others start from it
        given = [*shlex.split(FLAGS.train), *regimes.flags_of(name, asked, root)]
        given += [f"--threads={FLAGS.threads}"] if FLAGS.threads else []
        run = trials.train(root, regimes.folder_of(name), given, show=FLAGS.jobs == 1)
        found[name] = regimes.measure(run, asked, FLAGS.threads)
    title = f"train.py {FLAGS.train}, held out: {asked}:"
    print_table(title, regimes.HEAD, [regimes.row(name, one) for name, one in found.items()])
    print("\n" + "\n".join(regimes.details(root, found)))
    return found


def train_loss(root, case, own):
    """Trains and grades one loss of the league with one seed; returns the run."""
    name, seed = case
    run = train(root, f"{name}_{seed}", *league.flags_of(name, own), seed=seed)
    trials.grade(run, FLAGS.threads)
    return run


def print_losses(root):
    """The league of losses, best first; returns its numbers.

    Reference: Timofeev et al., Multi-modal retrieval with smooth weighting of negatives, 2021, the
      table of its results.
    """
    names, seeds = FLAGS.losses, range(FLAGS.seeds or 3)
    league.check_train(shlex.split(FLAGS.train))
    own = league.read_own(FLAGS.loss_flags, names)
    for name in names:  # refused now, not when its turn comes
        trials.parse([*shlex.split(FLAGS.train), *league.flags_of(name, own)])
    cases = [(name, seed) for seed in seeds for name in names]  # an early end has every loss
    runs = dict(zip(cases, for_each(partial(train_loss, root, own=own), cases), strict=True))
    found = league.standings({name: [runs[name, seed] for seed in seeds] for name in names})
    title = f"train.py {FLAGS.train}, {len(seeds)} seeds:"
    print_table(title, league.HEAD, [league.row(one) for one in found])
    print(league.NOTES.format(f"{league.RESAMPLES:,}"))
    for name in names:
        print(f"- {name}: {' '.join(league.flags_of(name, own))}")
    return found


STUDIES = {
    "finding": print_finding,
    "recipes": print_recipes,
    "moe": print_moe,
    "features": print_features,
    "stages": print_stages,
    "pairs": print_pairs,
    "regimes": print_regimes,
    "losses": print_losses,
}


def main(argv):
    """A study's name -> runs -> a table, and JSON."""
    name = argv[1] if len(argv) == 2 else " ".join(argv[1:])
    if name not in STUDIES:
        raise ValueError(f"unknown study {name!r}: choose one of {', '.join(STUDIES)}")
    asked = trials.parse(shlex.split(FLAGS.train))
    for own in OWN if name in ("finding", "losses", "regimes") else (*OWN, "recipe"):
        if asked[own].present:
            raise ValueError(f"--train holds --{own}, which the study gives itself: leave it out")
    root = FLAGS.exp_root or (FLAGS.keep and str(Path("exp") / f"study-{name}"))
    folder = contextlib.nullcontext(root)
    if not root and name != "pairs":
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        print("the runs are not kept; --keep keeps them in exp/", file=sys.stderr)
    with folder as place:
        found = {"train": FLAGS.train, name: STUDIES[name](place)}
    if FLAGS.output:
        files.write_json(FLAGS.output, found)


def run():
    """The script: python -m."""
    console.run_script(lambda: app.run(main))
