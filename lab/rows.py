"""The table of systems in README, from run folders.

    python -m lab.rows --exp_root exp          # writes docs/systems.json and README's block

Each row of `ROWS` names its run, a folder below --exp_root that train.py and test.py have left. A
row without that folder is "not run"; one that is not trained to its end, or not graded, is refused.
"""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from lab.options import Option, parse
from lab.published import PUBLISHED
from lab.settings import settings_of
from lab.studies.trials import is_graded, read_log
from run import console, files
from run.folder import Run
from systems import sheets

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- systems:begin -->", "<!-- systems:end -->"
HEAD = "#", "system", "data", "command", "published", "here", "minutes"
OPTIONS = (
    Option("exp_root", "exp", "Folder that holds the runs."),
    Option("json", str(ROOT / "docs" / "systems.json"), "File for the rows as data."),
    Option("readme", str(ROOT / "README.md"), "File with the block that is replaced."),
)


class Row(NamedTuple):
    """A row of the table: its run's folder, and the flags of train.py that make such a run."""

    system: int
    name: str
    data: str
    run: str
    flags: str


ROWS = (
    Row(1, "projection", "scenes", "projection_scenes", ""),
    Row(
        1, "projection, our setting", "Flickr8k vectors", "projection_f8k",
        "--recipe=f8k_modified --data_dir=f8k_precomp",
    ),
    Row(
        1, "projection, as published", "NUS-WIDE-Lite", "projection_nuswide",
        "--recipe=irse_modified --data_dir=NUS-WIDE-Lite",
    ),
    Row(
        2, "GRU, our setting", "Flickr8k vectors", "gru_f8k",
        "--recipe=gru_best --data_dir=f8k_precomp",
    ),
    Row(
        2, "GRU, full-network vectors, as published", "Flickr8k", "gru_flickr8k",
        "--recipe=ph --features=fne --data_dir=Flickr8k",
    ),
    Row(3, "dual path", "scenes", "dual_path_scenes", "--model=dual_path"),
    Row(
        3, "dual path, as published", "Flickr30k", "dual_path_flickr30k",
        "--recipe=dual_path --data_dir=Flickr30k",
    ),
    Row(4, "transformer", "scenes", "transformer_scenes", "--model=transformer --loss=simclr"),
    Row(4, "transformer, as published", "COCO", "simclr_coco", "--recipe=simclr --data_dir=COCO"),
    Row(5, "joint", "scenes", "joint_scenes", "--model=joint"),
    Row(
        5, "joint, as published", "COCO", "joint_coco", "--recipe=rank_then_joint --data_dir=COCO"
    ),
)  # fmt: skip


def read_row(row, exp_root):
    """A row as data: command, settings that are no default, scores and minutes of its run.

    Raises:
      ValueError: its run is not trained to its end, not graded, or no command line would make it.
    """
    run, found = Run(Path(exp_root) / row.run), {"scores": None, "minutes": None}
    words = shlex.split(row.flags)
    if run.config.is_file():
        stored, _ = sheets.load(run)
        words = command_of(stored)
        log, first = read_log(run), read_log(Run(f"{run}-first"))
        if not log["finished"]:
            raise ValueError(f"{run} is not trained to its end: python train.py --resume")
        if not is_graded(run):
            raise ValueError(f"{run} is not graded as it is: python test.py --exp {row.run}")
        minutes = log["minutes"] + (first["minutes"] if stored.first_phase else 0)
        found = {"scores": read_scores(run), "minutes": round(minutes, 1)}
    settings = settings_of(*words)
    figure = PUBLISHED.get(str(settings.recipe))
    return {
        "system": row.system, "name": row.name, "data": row.data,
        "command": shlex.join(["python", "train.py", *words]),
        "settings": sheets.differences(settings), "published": figure and figure._asdict(), **found,
    }  # fmt: skip


def command_of(settings):
    """The flags of train.py that make such a run, as few as do; folders by their last part."""
    if settings.data_dir:
        settings = dataclasses.replace(settings, data_dir=Path(settings.data_dir).name)
    return sheets.command(settings)[1:]


def read_scores(run):
    """What the table shows of score.json: figures with intervals, and the oracle's rsum."""
    score = files.read_json(run.score)
    text = score["text_to_image"]
    found = {"rsum": score["rsum"], "mrr": text["mrr"]}
    found |= {f"recall@{cutoff}": text[f"recall@{cutoff}"] for cutoff in (1, 5, 10)}
    gallery, oracle = score["protocol"]["gallery"]["text_to_image"], score.get("oracle_rsum")
    return found | {"images": gallery, "oracle": oracle and oracle["value"]}


def show_scores(found):
    """A run's scores as a cell of the table."""
    if found is None:
        return "not run"
    rsum = "rsum **{value:.1f}** ({low:.1f} to {high:.1f})".format(**found["rsum"])
    if found["oracle"]:
        rsum += f", {100 * found['rsum']['value'] / found['oracle']:.1f} % of the oracle's"
    mrr = "t2i MRR {value:.3f} ({low:.3f} to {high:.3f})".format(**found["mrr"])
    recalls = " / ".join(f"{found[f'recall@{cutoff}']['value']:.1f}" for cutoff in (1, 5, 10))
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
    values, left = parse(argv, OPTIONS)
    if left:
        raise ValueError(f"unexpected {left[0]!r}: the rows are those of lab/rows.py")
    rows = [read_row(row, values.exp_root) for row in ROWS]
    readme = Path(values.readme)
    text = replace_block(readme.read_text(encoding="utf-8"), render(rows))
    files.write_json(values.json, rows)
    files.write_text(readme, text)
    print(f"{sum(row['scores'] is not None for row in rows)} of {len(rows)} rows were run")


if __name__ == "__main__":
    console.run_script(lambda: main(sys.argv))
