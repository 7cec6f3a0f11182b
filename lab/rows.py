"""The table of systems in README, from run folders.

    python -m lab.rows --exp_root exp          # writes docs/systems.json and README's block

Each row of `ROWS` has its run, a folder below --exp_root that train.py and test.py have left. One
of another system or recipe, not trained to its end, or not graded, is refused; of one that was
killed in between, no minutes are told. Without that folder a row stays as docs/systems.json has it,
while its command still means its settings; else it is "not run".
"""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import metrics
from grading.verify import read_score
from lab.options import Option, read_command
from lab.published import PUBLISHED
from lab.settings import settings_of
from lab.studies.trials import is_graded, read_log
from run import caches, console, files
from run.folder import FIRST_PHASE, Run
from systems import config

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- systems:begin -->", "<!-- systems:end -->"
HEAD = "#", "system", "data", "command", "published", "here", "minutes"
STORED, README = "docs/systems.json", "README.md"
PATHS = ("data_dir", "text_weights", "cnn", "word_vectors")  # settings that name files or folders
OPTIONS = (Option("exp_root", "exp", "Folder that holds the runs."),)


class SystemRow(NamedTuple):
    """A row of the table; its run lies in the folder of its recipe's name, or in "projection"."""

    system: int
    name: str
    recipe: str = ""
    more: str = ""  # flags of train.py, for a run that is not there


ROWS = (
    SystemRow(1, "projection"),
    SystemRow(1, "projection, our setting", "f8k_modified", "--data_dir=f8k_precomp"),
    SystemRow(1, "projection, as published", "irse_modified", "--data_dir=NUS-WIDE-Lite"),
    SystemRow(2, "GRU, our setting", "gru_best", "--data_dir=f8k_precomp"),
    SystemRow(2, "GRU, as published", "ph", "--features=fne --data_dir=Flickr8k"),
    SystemRow(3, "dual path", "dual_path_scenes"),
    SystemRow(
        3,
        "dual path, words from a text encoder pretrained on caption pairs, Flickr30k among them",
        "dual_path_photos",
        "--data_dir=flickr8k --cnn=efficientnet_lite2 --image_size=260 --crops=1 "
        "--word_vectors=minilm_words.128d.txt",
    ),
    SystemRow(3, "dual path, as published", "dual_path", "--data_dir=Flickr30k"),
    SystemRow(4, "transformer", "transformer_scenes", "--loss=simclr"),
    SystemRow(
        4,
        "transformer, text pretrained on caption pairs, Flickr30k among them",
        "best",
        "--data_dir=f8k_precomp,f8k_eff --text_weights=minilm_l6_h384",
    ),
    SystemRow(
        4,
        "transformer, from pixels, text pretrained on caption pairs, Flickr30k among them",
        "simclr_photos",
        "--data_dir=flickr8k --cnn=efficientnet_lite2 --text_weights=minilm_l6_h384",
    ),
    SystemRow(4, "transformer, as published", "simclr", "--data_dir=COCO"),
    SystemRow(5, "joint", "joint_scenes"),
    SystemRow(
        5,
        "joint, words from a text encoder pretrained on caption pairs, Flickr30k among them",
        "joint_photos",
        "--data_dir=flickr8k --cnn=efficientnet_lite2 --word_vectors=minilm_words.128d.txt",
    ),
    SystemRow(5, "joint, as published", "rank_then_joint", "--data_dir=COCO"),
)


def read_row(row, exp_root, earlier=()):
    """A row as data: command, settings that are no default, scores and minutes of its run.

    Args:
      earlier: rows of such data, of which one stands for a run that is not there.

    Raises:
      ValueError: its run is another one, is not trained to its end, not graded, or no command line
        would make it.
    """
    run, found = (
        Run(Path(exp_root) / (row.recipe or "projection")),
        {"scores": None, "minutes": None},
    )
    words = [*([f"--recipe={row.recipe}"] if row.recipe else []), *row.more.split()]
    if run.config.is_file():
        stored, _ = config.load(run)
        check_row(row, run, stored, words)
        words = command_of(stored)
        log, first = read_log(run), read_log(Run(f"{run}{FIRST_PHASE}"))
        if not log["finished"]:
            raise ValueError(f"{run} is not trained to its end: python train.py --resume")
        if not is_graded(run):
            raise ValueError(
                f"{run} is not graded as it is: python test.py --exp {run.folder.name}"
            )
        parts = [log, first] if stored.first_phase else [log]
        told = not any(part["parted"] for part in parts)
        minutes = round(sum(part["minutes"] for part in parts), 1) if told else None
        found = {"scores": read_scores(run), "minutes": minutes}
    else:
        kept = [one for one in earlier if one["name"] == row.name and one["scores"]]
        if kept and means_its_settings(kept[0]):
            return kept[0]
    settings = settings_of(*words)
    figure = PUBLISHED.get(str(settings.recipe))
    return {
        "system": row.system, "name": row.name, "data": settings.data_dir or settings.data,
        "command": shlex.join(["python", "train.py", *words]),
        "settings": config.differences(settings), "published": figure and figure._asdict(), **found,
    }  # fmt: skip


def check_row(row, run, stored, words):
    """Refuses a run of another system or recipe than the row's. Raises ValueError.

    Args:
      stored: the run's settings; words: the row's flags of train.py.
    """
    wanted = settings_of(*words)
    for name in ("model", "recipe"):
        was, expected = getattr(stored, name), getattr(wanted, name)
        if was != expected:
            raise ValueError(
                f"{run} was trained with --{name} {was}, the row {row.name!r} is of {expected}: "
                f"train it by {shlex.join(['python', 'train.py', *words])}, or give another "
                "--exp_root"
            )


def means_its_settings(found):
    """Whether a row's command, on this tree, means the settings beside it."""
    _, _, *words = shlex.split(found["command"])
    return config.differences(settings_of(*words)) == found["settings"]


def command_of(settings):
    """The flags of train.py that make such a run, as few as do; folders by their last part."""
    paths = {name: getattr(settings, name, None) for name in PATHS}
    last = {
        name: ",".join(Path(path).name for path in given.split(","))
        for name, given in paths.items()
        if given
    }
    settings = dataclasses.replace(settings, **last, cache_dir=caches.USUAL)
    return config.command(settings)[1:]


def read_scores(run):
    """What the table shows of score.json: figures with intervals, and the oracle's rsum."""
    score = read_score(run)
    text, oracle = score["text_to_image"], score.get("oracle_rsum")
    recalls = [text[f"recall@{cutoff}"]["value"] for cutoff in metrics.CUTOFFS]
    return {
        "rsum": score["rsum"], "mrr": text["mrr"], "recalls": recalls,
        "images": score["protocol"]["gallery"]["text_to_image"],
        "oracle": oracle and oracle["value"],
    }  # fmt: skip


def show_scores(found):
    """A run's scores as a cell of the table."""
    if found is None:
        return "not run"
    rsum = "rsum **{value:.1f}** ({low:.1f} to {high:.1f})".format(**found["rsum"])
    if found["oracle"]:
        rsum += f", {100 * found['rsum']['value'] / found['oracle']:.1f} % of the oracle's"
    mrr = "t2i MRR {value:.3f} ({low:.3f} to {high:.3f})".format(**found["mrr"])
    recalls = " / ".join(f"{recall:.1f}" for recall in found["recalls"])
    return f"{rsum}; {mrr} and R@1/5/10 {recalls} of {found['images']:,}"


def render(rows):
    """README's block: a Markdown table of rows as `read_row` gives them, between its marks."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for row in rows:
        figure, minutes = row["published"], row["minutes"]
        cells = [
            str(row["system"]), row["name"], row["data"], f"`{row['command']}`",
            f"{figure['text']}: {figure['source']}" if figure else "",
            show_scores(row["scores"]), "" if minutes is None else f"{minutes:g}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([BEGIN, *lines, END])


def replace_block(text, block):
    """A text with the block between the marks replaced. Raises ValueError: it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no block to replace: expected the lines {BEGIN} and {END}")
    return before + block + after


def main(argv):
    """Run folders -> rows -> docs/systems.json, README."""
    values, left = read_command(argv, OPTIONS)
    if left:
        raise ValueError(f"unexpected {left[0]!r}: the rows are those of lab/rows.py")
    stored = ROOT / STORED
    earlier = files.read_json(stored) if stored.is_file() else []
    rows = [read_row(row, values.exp_root, earlier) for row in ROWS]
    text = replace_block((ROOT / README).read_text(encoding="utf-8"), render(rows))
    files.write_json(stored, rows)
    files.write_text(ROOT / README, text)
    print(f"{sum(row['scores'] is not None for row in rows)} of {len(rows)} rows were run")


if __name__ == "__main__":
    console.run_script(lambda: main(sys.argv))
