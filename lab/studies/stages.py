"""Study of system 3: its stages, with one loss or both, and with pseudo classes.

Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
  Tables 4 (Flickr30k, validation) and 5 (COCO).
Differs from the paper: graded on the test split; stage II of a single loss starts from stage I of
  the same loss; both losses start from stage I of the instance loss, or from --start. A --recipe in
  --stage1 or --stage2 takes the place of the paper's.
"""

import shlex

from lab.options import Option
from lab.studies import trials

STAGES = {  # run: weights, the run of stage I that it starts from, and Table 4
    "ranking-I": ("1:0:0", "", "6.1 / 27.3, 4.9 / 27.8"),
    "instance-I": ("0:1:1", "", "39.9 / 79.1, 28.2 / 67.9"),
    "both-I": ("1:1:1", "", "37.6 / 75.1, 24.1 / 65.6"),
    "instance-II": ("0:1:1", "instance-I", "50.5 / 86.0, 34.9 / 75.7"),
    "ranking-II": ("1:0:0", "ranking-I", "47.5 / 85.4, 29.0 / 68.7"),
    "both-II": ("1:1:1", "instance-I", "55.4 / 89.3, 39.7 / 80.8"),
}
CLASSES = ("38.0, 26.1 (R@1)", "44.7, 31.3 (R@1)")  # Table 5: few and more pseudo classes


def compare_stages(work):
    """Tables 4 and 5 of the paper, in an order in which each run's start is there.

    Raises:
      ValueError: --runs or --start names a run that there is not, or one whose start is left out.
    """
    own, found = work.own, []
    starts = {name: first for name, (_, first, _) in STAGES.items()} | {"both-II": own.start}
    if own.start.endswith("-II"):
        raise ValueError(f"--start {own.start}: expected a run of stage I, such as both-I")
    for name in own.runs:
        if name not in STAGES:
            raise ValueError(f"--runs: no run {name!r}; there are {', '.join(STAGES)}")
        if starts[name] and starts[name] not in own.runs:
            raise ValueError(f"--runs holds {name}, which starts from {starts[name]}, but not that")

    def measure(name, published, given, first=""):
        words = shlex.split(own.stage2 if first else own.stage1)
        words += [f"--init_from={work.root / first}"] if first else []
        run = work.train(name, f"--recipe=dual_path_stage{2 if first else 1}", *words, *given)
        found.append({"run": name, "published": published, **work.numbers(run)})

    for name, (lambdas, _, published) in STAGES.items():
        if name in own.runs:
            weights = own.both if name.startswith("both") else lambdas
            measure(name, published, [f"--lambdas={weights}"], starts[name])
    for number, published in zip(own.classes, CLASSES, strict=False):
        measure(f"kclass-{number}", published, ["--lambdas=0:1:1", f"--num_classes={number}"])
    title = f"{work.title}; stage I {own.stage1}; stage II {own.stage2}:"
    return trials.Report(title, found)


STUDIES = {
    "stages": trials.Study(
        "system 3 with one loss or both, in stages I and II; pseudo classes in stage I",
        "recalls and rsum beside those of the paper's Tables 4 and 5",
        {
            "run": lambda one: one["run"],
            **trials.GRADED,
            "val rsum (epoch)": lambda one: "{val_rsum:.1f} ({epoch} of {epochs})".format(**one),
            "minutes": trials.minutes,
            "paper: i2t R@1 / R@10, t2i": lambda one: one["published"],
        },
        compare_stages,
        (
            Option("stage1", "", "Flags of train.py for stage I, besides --train."),
            Option("stage2", "", "Flags of train.py for stage II, besides --train."),
            Option("both", "1:1:1", "--lambdas of the runs with both losses."),
            Option("runs", [*STAGES], "Rows of Table 4."),
            Option("start", "instance-I", "Run of stage I that both-II starts from."),
            Option("classes", ["500", "1500"], "Numbers of pseudo classes."),
        ),
        gives=("recipe", "lambdas", "init_from", "num_classes"),
        instead="choose by --stage1, --stage2, --both, --start and --classes",
    ),
}
