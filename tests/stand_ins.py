"""What the tests of studies share: scripts that train nothing, graded runs, tables read back."""

import numpy as np

import metrics
from grading import intervals
from lab import scripts, settings
from lab.studies import __main__ as studies
from run import files, folder
from settings.training import Facts
from systems import config

END = "{} s, 1,234 captions/s; best epoch {} of {}: val_rsum 1; curves in x; next: y"
RANKS = {"text_to_image": [1, 6, 11, 1], "image_to_text": [5, 1]}  # rsum 425
WORSE = {"text_to_image": [11, 11, 11, 1], "image_to_text": [5, 1]}  # rsum 325
DATA = "--data precomp --data_dir nowhere --epochs 3"


class Scripts:
    """Stands for train.py and test.py: leaves their files, keeps their arguments.

    Args:
      rsums: {run: validation rsum of each epoch}.
      ranks: {run: {direction: ranks}} for two images of two captions each.
      notes: {run: lines of log.txt}.
    """

    def __init__(self, monkeypatch, rsums, ranks=None, notes=None):
        self.rsums, self.ranks, self.notes, self.calls = rsums, ranks or {}, notes or {}, []
        monkeypatch.setattr(scripts, "run_apart", self)

    def __call__(self, script, *given, shown=None, said=""):
        self.calls.append((script, *given))
        own = dict(word[2:].split("=", 1) for word in given if word.startswith("--exp"))
        run = folder.Run(f"{own['exp_root']}/{own['exp']}")
        if script == "test.py":
            grade(run, self.ranks[run.folder.name])
            return
        made = settings.settings_of(*given)
        self.train(run, made)
        if made.first_phase:
            self.train(folder.Run(f"{run}-first"), made)

    def train(self, run, made):
        name = run.folder.name
        config.save(run, made, Facts())
        rows = [f"{i},{rsum},0.5" for i, rsum in enumerate(self.rsums[name], 1)]
        run.history.write_text("\n".join(["epoch,val_rsum,val_mrr", *rows]))
        run.best_weights.write_text(name)
        lines = [f"{name}: gru; 0 of 3 epochs done", *self.notes.get(name, [])]
        (run / "log.txt").write_text("\n".join([*lines, END.format(60, 1, 3)]) + "\n")

    def trained(self):
        """{run: its arguments}, in the order of the trainings."""
        made = [call for call in self.calls if call[0] == "train.py"]
        return {next(w for w in call if w.startswith("--exp="))[6:]: call for call in made}


def grade(run, ranks):
    """Leaves what test.py does, for two images with two captions each."""
    found, images = {}, {"text_to_image": "aabb", "image_to_text": "ab"}
    for direction, own in ranks.items():
        owner = np.array([ord(image) for image in images[direction]])
        found[direction] = metrics.Retrieval(np.array(own), owner, 100)
        write_ranks(run, direction, images[direction], own)
    score = intervals.with_intervals(found, 10)
    hashes = {
        "weights": files.file_hash(run.best_weights),
        "config": config.config_hash(*config.load(run)),
    }
    protocol = {"split": "test", "gallery": {"text_to_image": 2}, "folds": 1}
    files.write_json(run.score, {"protocol": protocol, "hashes": hashes, **score})


def write_ranks(run, direction, images, ranks):
    """Writes ranks_DIRECTION.csv of a run."""
    run.folder.mkdir(exist_ok=True)
    lines = [f"{image},{rank}" for image, rank in zip(images, ranks, strict=True)]
    (run / f"ranks_{direction}.csv").write_text("\n".join(["image,rank", *lines]))


def study(capsys, *words):
    """Runs the script of studies in this process: (head, rows) of its table, all that it told."""
    studies.main(["lab.studies", *map(str, words), "--nobaselines"])
    told = capsys.readouterr().out
    lines = [line.strip("| ").split(" | ") for line in told.splitlines() if line.startswith("|")]
    return lines[0], lines[2:], told
