"""The table of benches, assembled from the files that measure, and what --list says of it."""

import inspect
import textwrap

from lab.bench import asking, captions, files, scoring, training, vision
from lab.bench.timing import BENCHES

__all__ = ["BENCHES", "asking", "captions", "files", "scoring", "training", "vision"]


def explain_benches():
    """What each bench measures, beside which floor, within which bounds."""
    lines = []
    for name, case in BENCHES.items():
        sizes = {key: f"{value:,}" for key, value in vars(case.at(1)).items() if key in case.sizes}
        said = inspect.cleandoc(case.lines.__doc__ or "").partition("\n\n")[0].rstrip(".")
        said += f"; floor: {case.floor}" if case.floor else ""
        bounds = case.bounds.replace(" >= ", ">=").replace(" <= ", "<=")
        said = said.format(**sizes) + (f" [{bounds}]" if bounds else "")
        if case.unasked:
            said += " *" if case.unasked == 1 else f" * (scale {case.unasked:g})"
        lines += textwrap.wrap(said, 98, initial_indent=f"{name:18}", subsequent_indent=18 * " ")
    return "\n".join([*lines, "* runs where no bench is named"])
