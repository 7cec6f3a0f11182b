"""Studies of losses: assignment against modified, and the league, where each loss has its numbers.

What else a publication trains with (rate, optimiser, batch) belongs to its towers, and the league's
tower is the same for all: it is no part of a loss here, unless --loss_flags says so.

Under Adam the length of a gradient says little, so losses that differ by a factor are nearly one:
`sum_hinge` is `sum_triplet`, and `max_hinge` is `max_triplet`, summed and not averaged. These two
are not in the league unless named. `mean_triplet` is in it because its paper ran it: where its
small gradients sink below Adam's epsilon it is slower than `sum_triplet`, else the same. The soft
triplets are nothing where relevance is 0 or 1.

Reference: [Smooth] Timofeev, Majkowska, Mlyniec, Blinova, Multi-modal retrieval with smooth
  weighting of negatives, EE-608 project, 2021, the table of its results.
"""

import itertools
import shlex

from lab.options import Option
from lab.settings import settings_of
from lab.studies import standing, trials
from lab.studies.trials import Report, Study
from losses import LOSSES, hyperparameters

SMOOTH = "--temperature=0.07 --reduction=mean"
LEAGUE = {  # name: flags of its publication beside --learn=none; other losses have their defaults
    "simclr": f"--loss=simclr --noinclude_positive {SMOOTH}",  # [Smooth]
    "simclr_positive": f"--loss=simclr --include_positive {SMOOTH}",  # InfoNCE, both directions
    "cross_entropy": f"--loss=cross_entropy {SMOOTH} --learn=temperature",  # CLIP, 2021
    "sigmoid": "--loss=sigmoid --temperature=0.1 --logit_bias=-10 --learn=temperature,bias "
    "--reduction=mean",  # SigLIP, 2023
    "sum_triplet": "--loss=sum_triplet --margin=0.2 --reduction=mean",  # [Smooth]
    "max_triplet": "--loss=max_triplet --margin=0.2 --reduction=mean",  # [Smooth]
    "mean_triplet": "--loss=mean_triplet --margin=0.2 --reduction=mean",  # [Smooth], its code
    "barlow": "--loss=barlow --barlow_lambda=5e-3",  # [Smooth]
    "paired_hinge": "--loss=paired_hinge --margin=1 --reduction=mean",  # recipe dual_path
    "modified": "--loss=modified --alpha=0.5 --margin=0.5 --reduction=sum",  # recipe irse_...
    "assignment": "--loss=assignment --alpha=0.5 --margin=0.5 --reduction=sum",
    "random_triplet": "--loss=random_triplet --nosquared --margin=0.5 --reduction=sum",
    "hardest_triplet": "--loss=hardest_triplet --nosquared --margin=0.5 --reduction=sum",
    "sum_hinge": "--loss=sum_hinge --margin=0.2 --reduction=sum",  # recipe sh
    "max_hinge": "--loss=max_hinge --margin=0.2 --reduction=sum",  # recipe mh
}
UNLESS_NAMED = ("sum_hinge", "max_hinge")  # left out
OF_A_LOSS = (  # flags that every loss has for itself; how rows are compared is the tower's
    "loss", "learn", "seed",
    *dict.fromkeys(n for name in LOSSES for n in hyperparameters(name) if n != "similarity"),
)  # fmt: skip
DOCUMENT = {  # rsum; R@1, R@5, R@10 and median rank, image to text, then text to image
    "sum_triplet": ("207.5", "16.5 / 39.0 / 52.5, 9; 13.2 / 36.0 / 50.3, 10"),
    "max_triplet": ("204.0", "15.9 / 39.4 / 52.4, 9; 12.8 / 34.5 / 49.0, 11"),
    "simclr": ("229.5", "19.7 / 43.7 / 56.4, 7; 15.7 / 39.8 / 54.2, 9"),
    "barlow": ("45.0", "2.0 / 7.6 / 12.0, 111; 1.9 / 7.9 / 13.6, 62"),
}
NOTES = """\
Means over the seeds, with intervals about other test images and other seeds (Student's law, as in
compare.py); the difference from the first is paired by image. Of few seeds an interval is wide.
The paper of system 4: 5,000 images and 25,000 captions of COCO, ResNet-34 and DistilBERT; its two
rows of triplets are two runs of what is mean_triplet here.
"""


def compare_two(work):
    """Assignment against modified, side by side, over a grid of alpha and c."""

    def measure(case):
        alpha, margin, loss = case
        run = work.train(f"{loss}_{alpha}_{margin}", loss=loss, alpha=alpha, margin=margin)
        return {"alpha": alpha, "c": margin, loss: trials.best_epoch(run, "val_mrr")[:2]}

    grid, losses = work.own.grid, ("assignment", "modified")
    cells = work.each(measure, list(itertools.product(grid, grid, losses)))
    found = [a | b for a, b in zip(cells[::2], cells[1::2], strict=True)]
    return Report(f"Best validation MRR (its epoch), {work.title}:", found)


# ---- The league ---------------------------------------------------------------------------------


def flags_of(name, own):
    """The flags of train.py that make a loss of the league, or any other loss with its defaults.

    Args:
      name: of `LEAGUE` or `losses.LOSSES`.
      own: {name: flags that win}, of `read_own`.

    Raises:
      ValueError: there is no such loss; the names are listed.
    """
    if name not in LEAGUE and name not in LOSSES:
        names = dict.fromkeys([*LEAGUE, *LOSSES])
        raise ValueError(f"unknown loss {name!r}: choose from {', '.join(names)}")
    return ["--learn=none", *LEAGUE.get(name, f"--loss={name}").split(), *own.get(name, [])]


def read_own(given, names):
    """--loss_flags, "NAME: --flag value ...", as {name: flags}.

    Raises:
      ValueError: one begins with none of the names of the losses that are trained.
    """
    own = {}
    for text in given:
        name, colon, words = text.partition(":")
        if not colon or name.strip() not in names:
            raise ValueError(
                f"--loss_flags {text!r}: expected the name of a loss, a colon and flags of "
                f"train.py, such as '{names[0]}: --temperature 0.1'; the losses are "
                f"{', '.join(names)}"
            )
        own.setdefault(name.strip(), []).extend(shlex.split(words))
    return own


def hold_league(work):
    """The league of losses, best first."""
    names, numbers = work.own.losses, range(work.own.seeds)
    own = read_own(work.own.loss_flags, names)
    words = {name: flags_of(name, own) for name in names}
    for of in words.values():  # refused now, not when its turn comes
        settings_of(*work.words, *of)

    def measure(case):
        seed, name = case
        run = work.train(f"{name}_{seed}", *words[name], seed=seed)
        return run, work.numbers(run)

    graded = work.each(measure, list(itertools.product(numbers, names)))  # early, each has one
    found = standing.rank_runs(
        {name: graded[place :: len(names)] for place, name in enumerate(names)}
    )
    notes = NOTES
    notes += "\n".join(f"- {name}: {' '.join(of)}" for name, of in words.items())
    return Report(f"{work.title}, {len(numbers)} seeds:", found, notes)


STUDIES = {
    "finding": Study(
        "both pairwise losses over alpha and c",
        "best validation MRR",
        {
            "alpha": lambda one: one["alpha"],
            "c": lambda one: one["c"],
            "assignment": lambda one: "{:.4f} ({})".format(*one["assignment"]),
            "modified": lambda one: "{:.4f} ({})".format(*one["modified"]),
        },
        compare_two,
        (Option("grid", ["0.25", "0.5", "0.75"], "Values of alpha and of margin."),),
        gives=("loss", "alpha", "margin"),
    ),
    "losses": Study(
        "every loss of system 4 and its kin, --seeds times, one tower and one budget",
        "rsum and how far each is behind the first, beside the figures of the system 4 paper",
        {
            "loss": standing.named,
            **standing.COLUMNS,
            "paper: rsum": lambda one: DOCUMENT.get(one["name"], "-")[0],
            "i2t R@1/5/10, med r; t2i": lambda one: DOCUMENT.get(one["name"], "--")[1],
        },
        hold_league,
        (
            Option(
                "losses",
                [name for name in LEAGUE if name not in UNLESS_NAMED],
                "Losses to train, of any.",
            ),
            Option(
                "loss_flags",
                (),
                "'NAME: --flag value', flags of train.py for one loss, besides --train and the "
                "numbers of its publication, which they win over. May be given again.",
            ),
            Option("seeds", 3, "Runs of each loss.", 1),
        ),
        gives=OF_A_LOSS,
        instead="choose by --losses and --seeds; give numbers by --loss_flags 'NAME: --flag value'",
    ),
}
