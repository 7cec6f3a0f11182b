"""The training stages of system 3, with one loss or both, as one table.

    plan("exp/stages", ["500"])      # each run's name, flags of train.py, published figures
    measure(run)                     # test.py's recalls, best validation rsum, minutes
    row(found)                       # a line of Markdown's cells

Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
  Tables 4 (Flickr30k, validation) and 5 (COCO).
Differs from the paper: graded on the test split; stage II of a single loss starts from stage I of
  the same loss; both losses start from stage I of the instance loss.
"""

from pathlib import Path

import metrics
from gallery import scan
from lab.studies import trials

RECIPES = {"I": "dual_path_stage1", "II": "dual_path_stage2"}
STAGES = {  # method and stage: weights, the run of stage I that it starts from, and Table 4
    ("ranking", "I"): ("1:0:0", "", "6.1 / 27.3, 4.9 / 27.8"),
    ("instance", "I"): ("0:1:1", "", "39.9 / 79.1, 28.2 / 67.9"),
    ("both", "I"): ("1:1:1", "", "37.6 / 75.1, 24.1 / 65.6"),
    ("instance", "II"): ("0:1:1", "instance", "50.5 / 86.0, 34.9 / 75.7"),
    ("ranking", "II"): ("1:0:0", "ranking", "47.5 / 85.4, 29.0 / 68.7"),
    ("both", "II"): ("1:1:1", "instance", "55.4 / 89.3, 39.7 / 80.8"),
}
CLASSES = ("38.0, 26.1", "44.7, 31.3")  # Table 5: R@1 with few and with more pseudo classes
HEAD = (
    "run", "test i2t R@1/5/10", "test t2i R@1/5/10", "test rsum (95 % interval)",
    "val rsum (epoch)", "minutes", "paper: i2t R@1 / R@10, t2i",
)  # fmt: skip


def plan(root, classes):
    """The runs, in an order in which each one's start is there.

    Args:
      root: folder of the runs; classes: numbers of pseudo classes, the first of `CLASSES` first.

    Returns:
      A list of (name, stage "I" or "II", flags of train.py, published figures).
    """
    found = []
    for (method, stage), (lambdas, first, published) in STAGES.items():
        given = [f"--lambdas={lambdas}"]
        given += [f"--init_from={Path(root) / f'{first}-I'}"] if first else []
        found.append((f"{method}-{stage}", stage, given, published))
    for number, published in zip(classes, CLASSES, strict=False):
        given = ["--lambdas=0:1:1", f"--num_classes={number}"]
        found.append((f"kclass-{number}", "I", given, f"{published} (R@1)"))
    return found


def measure(run, threads=0):
    """A run's numbers: test recalls of both directions, rsum, best validation rsum, minutes."""
    best, epoch, done = trials.best_epoch(run, "val_rsum")
    score, log = trials.grade(run, threads), trials.read_log(run)
    recalls = {
        side: [score[side][f"recall@{cutoff}"]["value"] for cutoff in metrics.CUTOFFS]
        for side in scan.DIRECTIONS
    }
    found = {"val_rsum": best, "epoch": epoch, "epochs": done, **recalls}
    return {**found, "rsum": score["rsum"], "minutes": log["seconds"] / 60}


def row(one):
    """A run's line of the table, the cells of `HEAD`."""
    sides = [one[side] for side in ("image_to_text", "text_to_image")]
    return [
        one["run"],
        *(" / ".join(f"{recall:.1f}" for recall in side) for side in sides),
        trials.with_interval(one["rsum"]),
        f"{one['val_rsum']:.1f} ({one['epoch']} of {one['epochs']})",
        f"{one['minutes']:.1f}",
        one["published"],
    ]
