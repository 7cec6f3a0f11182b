"""Study of system 4: which part of the model is trained.

    python -m lab.studies branches --keep --train "--recipe best --nostandardize --data flickr8k
        --data_dir Flickr8k --cnn efficientnet_lite2 --image_size 260 --crops 1
        --text_weights FOLDER --image_dropout 0.4" --pixels "--backbone_rate 0.066"

A network that is not trained is read once: the image network's rows, or the text network's, are
then the same in every epoch, without crops. The linear heads are always trained. Pixels cannot be
standardised without a first phase, so no run here is.

Reference: Timofeev, Majkowska, Mlyniec, Blinova, Multi-modal retrieval with smooth weighting of
  negatives, EE-608 project, 2021: "Training the whole model is better than training only
  projections or only one branch". It gives no figures.
"""

import itertools
import shlex

from lab.options import Option
from lab.settings import settings_of
from lab.studies import standing
from lab.studies.trials import Report, Study

FROZEN_IMAGE, FROZEN_TEXT = "--features=last", "--text_rate=0"
BRANCHES = {  # what is trained -> flags
    "heads": f"{FROZEN_IMAGE} {FROZEN_TEXT}",
    "text": FROZEN_IMAGE,
    "image": f"--features=pixels {FROZEN_TEXT}",
    "all": "--features=pixels",
}


def compare_branches(work):
    """The four ways of training, best first.

    Raises:
      ValueError: --branches names one that there is not.
    """
    names, numbers, own = work.own.branches, range(work.own.seeds), {}
    for name in names:
        if name not in BRANCHES:
            raise ValueError(f"--branches: no {name!r}; there are {', '.join(BRANCHES)}")
        pixels = FROZEN_IMAGE not in BRANCHES[name]
        own[name] = shlex.split(BRANCHES[name]) + shlex.split(work.own.pixels if pixels else "")
        settings_of(*work.words, *own[name])  # refused now, not when its turn comes

    def measure(case):
        seed, name = case
        run = work.train(f"{name}_{seed}", *own[name], seed=seed)
        return run, work.numbers(run)

    graded = work.each(measure, list(itertools.product(numbers, names)))
    found = standing.rank_runs(
        {name: graded[place :: len(names)] for place, name in enumerate(names)}
    )
    notes = "\n".join(f"- {name}: {shlex.join(of)}" for name, of in own.items())
    return Report(f"{work.title}, {len(numbers)} seeds:", found, notes)


STUDIES = {
    "branches": Study(
        "system 4's heads alone, with the text network, with the image network, and with both",
        "rsum and how far each is behind the first",
        {"trained": standing.named, **standing.COLUMNS},
        compare_branches,
        (
            Option("branches", [*BRANCHES], "What is trained."),
            Option("pixels", "", "Flags of train.py where the image network is trained."),
            Option("seeds", 3, "Runs of each.", 1),
        ),
        gives=("features", "text_rate", "seed"),
        instead="choose by --branches and --seeds",
    ),
}
