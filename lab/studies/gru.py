"""Studies of system 2: its recipes, which runs start to learn, and two kinds of image vectors.

Reference: Vilalta et al., Studying the impact of the full-network embedding on multimodal
  pipelines, 2019, Tables 1 and 5, section 6. Its FC7 is `last` here.
Differs from the paper: success is judged on validation alone.
"""

import itertools

import numpy as np

from lab.options import Option
from lab.settings import compare_settings, settings_of
from lab.studies import draws, trials
from lab.studies.trials import GRADED, Report, Study
from systems import config
from training import phases

STARTED = 10.0  # validation rsum above which a run has started to learn (section 6)
MOE = {  # learning rate, margin, absolute values; successes of five with FC7 and with FNE
    "MOE-bl": ("0.0002", "0.2", False, {"last": "5/5", "fne": "0/5"}),
    "MOE-bl-abs": ("0.0002", "0.2", True, {"last": "0/5", "fne": "0/5"}),
    "MOE-abs": ("0.0001", "0.05", True, {"last": "0/5", "fne": "4/5"}),
}
PIPELINES = {  # recipe -> rsum with FC7 and with FNE on Flickr8k, the paper's Table 2
    "sh_bl": (225.5, 245.7), "sh": (247.2, 261.6), "mh_bl": (248.4, 262.4), "mh": (253.1, 281.4),
    "soe_bl": (230.9, 241.4), "soe": (248.9, 260.9), "moe_bl": (245.7, 2.4), "moe": (234.1, 270.3),
    "ph": (247.6, 274.9), "poe": (245.2, 269.3),
}  # fmt: skip
PARTED = ">: a part of the training was killed; its minutes are not in the log."
MEAN_GAIN = 3.46  # of the paper's mean recall on Flickr8k, without MOE-bl, which did not start
PIPELINE_NOTES = (
    "Differences with 95 % intervals: paired bootstrap over the test images, each query's "
    "difference averaged over seeds (and pipelines) first: about other images, not other seeds. "
    f"Started: best validation rsum above {STARTED:g}, all seeds, both kinds."
)
PAIRED = (
    "Differences with 95 % intervals: paired bootstrap over the test images. In the last row each "
    "query's difference is averaged over the seeds first, so the interval is about other images, "
    "not other seeds."
)


def compare_recipes(work):
    """Trains and grades recipes, each with its first phase where it has one."""

    def measure(recipe):
        run = work.train(recipe, recipe=recipe)
        one = {"recipe": recipe} | work.numbers(run)
        one |= {"epochs": [one["epochs"]], "started": one["top_val_rsum"] > STARTED}
        if config.load(run)[0].first_phase:  # a run of its own, with its own log
            first = phases.first_run(run)
            log, done = trials.read_log(first), trials.best_epoch(first, "val_rsum")[2]
            one |= {"epochs": [done, *one["epochs"]], "parted": one["parted"] or log["parted"]}
            one["minutes"] += log["minutes"]
        return one

    found = work.each(measure, work.own.recipes)
    title = f"{work.title} --recipe NAME (started: best validation rsum > {STARTED:g}):"
    return Report(title, found, PARTED if any(one["parted"] for one in found) else "")


def count_starts(work):
    """The paper's Table 5: how many runs start to learn, and what became of each.

    Raises:
      ValueError: --train names features, and so does --kinds.
    """
    found = []
    if work.own.kinds and settings_of(*work.words).features != "auto":
        raise ValueError("--train holds --features, which --kinds gives: leave one of them out")

    def measure(case):
        (kind, model), seed = case
        rate, margin, absolute, _ = MOE[model]
        own = {"learning_rate": rate, "margin": margin, "absolute": absolute, "seed": seed}
        own |= {"features": kind} if kind else {}
        name = f"{kind}-{model}" if kind else model
        run = work.train(f"{name}_{seed}", recipe="moe_bl", **own)
        best, epoch, _ = trials.best_epoch(run, "val_rsum")
        one = {"seed": seed, "val_rsum": best, "epoch": epoch, "started": best > STARTED}
        return one | trials.read_log(run)

    settings = list(itertools.product(work.own.kinds or [""], MOE))
    seeds = range(work.own.seeds)
    runs = iter(work.each(measure, list(itertools.product(settings, seeds))))
    for kind, model in settings:
        own = list(itertools.islice(runs, len(seeds)))
        found.append({"model": model, "kind": kind, "runs": own})
    title = f"Success: best validation rsum > {STARTED:g}; {work.title} --recipe moe_bl:"
    return Report(title, found)


def published_starts(one):
    """The paper's successes of five, of this kind of vectors or of both."""
    paper = MOE[one["model"]][3]
    return paper.get(one["kind"]) or ", ".join(f"{name} {of}" for name, of in paper.items())


def what_the_watch_said(one):
    """In how many runs the collapse watch spoke, when first, and how often it took that back."""
    runs = one["runs"]
    steps = sorted(run["collapsed"][0] for run in runs if run["collapsed"])
    said = f"{len(steps)}/{len(runs)}"
    if steps:
        first = f"{steps[0]:,}" if steps[0] == steps[-1] else f"{steps[0]:,} to {steps[-1]:,}"
        said += f", step {first}"
    apart = sum(bool(run["apart"]) for run in runs)
    return f"{said}; {apart} came apart again" if apart else said


def compare_vectors(work):
    """Two kinds of image vectors, seed by seed and over all seeds."""
    recipe, seeds = work.own.recipe, range(work.own.seeds)
    kinds = trials.two_of(work.own.kinds)

    def measure(case):
        seed, kind = case
        run = work.train(f"{kind}_{seed}", recipe=recipe, features=kind, seed=seed)
        return run, work.numbers(run)["rsum"]["value"]

    graded = work.each(measure, list(itertools.product(seeds, kinds)))
    pairs = [(b[0], a[0]) for a, b in zip(graded[::2], graded[1::2], strict=True)]
    rsums = np.array([value for _, value in graded]).reshape(-1, 2)
    found = []
    for seed, of, own in [
        *zip(seeds, rsums, ([pair] for pair in pairs), strict=True),
        ("mean", rsums.mean(axis=0), pairs),
    ]:
        one = {"seed": seed, "difference": draws.rsum_difference(own)}
        found.append(one | dict(zip(kinds, of.tolist(), strict=True)))
    notes = PAIRED
    if len(pairs) > 1:
        spread = np.std([one["difference"]["value"] for one in found[:-1]], ddof=1)
        notes += f"\nStandard deviation of the rsum's difference among the seeds: {spread:.2f}."
    return Report(f"{work.title} --recipe {recipe}:", found, notes, vector_columns(*kinds))


def distinct_recipes(work):
    """The recipes that differ under the flags of all runs; and {name: the equal one before it}."""
    kept, same = {}, {}
    for recipe in work.own.recipes:
        settings = settings_of(*work.words, recipe=recipe)
        for name, of in kept.items():
            if set(compare_settings(of, settings)) <= {"recipe"}:
                same[recipe] = name
                break
        else:
            kept[recipe] = settings
    return list(kept), same


def compare_pipelines(work):
    """The paper's comparison: every pipeline with two kinds of image vectors, all seeds.

    Recipes that --train makes equal, such as `sh_bl` and `sh` by one size, are trained once.
    """
    (first, second), seeds = trials.two_of(work.own.kinds), range(work.own.seeds)
    recipes, same = distinct_recipes(work)
    cases = list(itertools.product(recipes, seeds, (first, second)))

    def measure(case):
        recipe, seed, kind = case
        run = work.train(f"{recipe}_{kind}_{seed}", recipe=recipe, features=kind, seed=seed)
        return run, work.numbers(run)

    graded, found = iter(work.each(measure, cases)), []
    for recipe in recipes:
        own = np.array([(next(graded), next(graded)) for _ in seeds], object)  # (S, 2, 2)
        rsums = [np.mean([one["rsum"]["value"] for one in own[:, k, 1]]) for k in (0, 1)]
        pairs = [(b, a) for a, b in own[:, :, 0]]
        started = all(one["top_val_rsum"] > STARTED for one in own[:, :, 1].ravel())
        found.append({"recipe": recipe, "pairs": pairs, "started": started} | dict(
            zip((first, second), rsums, strict=True)
        ))  # fmt: skip
    learned = [one for one in found if one["started"]]
    if len(learned) > 1:
        means = {kind: np.mean([one[kind] for one in learned]) for kind in (first, second)}
        pairs = [pair for one in learned for pair in one["pairs"]]
        found.append({"recipe": f"mean of {len(learned)} that started", "pairs": pairs} | means)
    for one in found:
        one["difference"] = draws.rsum_difference(one.pop("pairs"))
    notes = [PIPELINE_NOTES, *(f"{one} is {of} under these flags." for one, of in same.items())]
    return Report(work.title, found, "\n".join(notes), pipeline_columns(first, second))


def pipeline_columns(first, second):
    """Columns of the pipelines' table, the paper's differences of mean recall beside ours."""
    columns = {"pipeline": lambda one: one["recipe"], **vector_columns(first, second)}
    del columns["seed"]

    def published(one):
        known = PIPELINES.get(one["recipe"])
        if known is None:
            return f"{MEAN_GAIN:+.2f}" if one["recipe"].startswith("mean") else "-"
        return f"{(known[1] - known[0]) / 6:+.2f}"

    return columns | {"mean recall, the paper's (Flickr8k, VGG16)": published}


def vector_columns(first, second):
    """Columns of two kinds of image vectors: rsum, and mean recall, a sixth of it."""

    def apart(one, share):
        value, low, high = (one["difference"][key] / share for key in ("value", "low", "high"))
        return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"

    columns, shares = {"seed": lambda one: str(one["seed"])}, {"test rsum": 1, "mean recall": 6}
    for (what, share), kind in itertools.product(shares.items(), (first, second)):
        columns[f"{what}, {kind}"] = lambda one, s=share, k=kind: f"{one[k] / s:.1f}"
    for what, share in shares.items():
        columns[f"{what}, {second} - {first}"] = lambda one, s=share: apart(one, s)
    return columns


STUDIES = {
    "recipes": Study(
        "each of --recipes, graded by test.py",
        "recalls, rsum, minutes, pace",
        {
            "recipe": lambda one: one["recipe"],
            "epochs (best)": lambda one: f"{' + '.join(map(str, one['epochs']))} ({one['epoch']})",
            "val rsum": lambda one: f"{one['val_rsum']:.1f}",
            **GRADED,
            "minutes": trials.minutes,
            "captions/s": lambda one: f"{one['pace']:,.0f}" if one["pace"] else "-",
            "started": lambda one: "yes" if one["started"] else "NO",
        },
        compare_recipes,
        (Option("recipes", ["sh", "mh", "soe", "moe", "ph", "poe"], "Recipes to train."),),
    ),
    "moe": Study(
        "the maximum of hinges with order similarity, three settings, each --seeds times",
        "how many runs start to learn, and how many collapse",
        {
            "Model": lambda one: "-".join(filter(None, (one["kind"], one["model"]))),
            "L.rate": lambda one: MOE[one["model"]][0],
            "Margin": lambda one: MOE[one["model"]][1],
            "Abs. val.": lambda one: "yes" if MOE[one["model"]][2] else "no",
            "Success": lambda one: f"{sum(r['started'] for r in one['runs'])}/{len(one['runs'])}",
            "paper's": published_starts,
            "collapse watch spoke, first at": what_the_watch_said,
            "best val rsum by seed": lambda one: ", ".join(
                f"{run['val_rsum']:.1f}" for run in one["runs"]
            ),
        },
        count_starts,
        (
            Option("kinds", [], "Image vectors, as of train.py --features; else the data's own."),
            Option("seeds", 5, "Runs of each setting.", 1),
        ),
        gives=("recipe", "learning_rate", "margin", "absolute", "seed"),
        instead="leave it out; --seeds says how many there are",
    ),
    "pipelines": Study(
        "each of --recipes with the image vectors of both --kinds, --seeds times, graded",
        "the paper's Tables 2 to 4: differences of the kinds, by pipeline and in the mean",
        pipeline_columns("last", "fne"),
        compare_pipelines,
        (
            Option("recipes", list(PIPELINES), "Recipes of the pipelines."),
            Option("kinds", ["last", "fne"], "Two kinds of image vectors."),
            Option("seeds", 2, "Runs of each kind.", 1),
        ),
        gives=("recipe", "features", "seed"),
        instead="choose by --recipes, --kinds and --seeds",
    ),
    "features": Study(
        "--recipe with the image vectors of both --kinds, --seeds times, graded by test.py",
        "the difference of rsum and mean recall, with its interval",
        vector_columns("last", "fne"),
        compare_vectors,
        (
            Option("recipe", "gru_best", "Recipe of all runs."),
            Option("kinds", ["last", "fne"], "Two kinds of image vectors."),
            Option("seeds", 3, "Runs of each kind.", 1),
        ),
        gives=("recipe", "features", "seed"),
        instead="choose by --recipe, --kinds and --seeds",
    ),
}
