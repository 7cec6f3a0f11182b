"""The table of studies: name, what it trains, the table it prints, its own flags."""

from lab.options import explain
from lab.studies import gru, losses, pairs, stages

STUDIES = {**losses.STUDIES, **gru.STUDIES, **stages.STUDIES, **pairs.STUDIES}


def explain_studies():
    """What each study trains and prints, and its flags, for --help."""
    lines = []
    for name, study in STUDIES.items():
        lines += ["", f"{name}: trains {study.trains}", f"  prints {study.prints}"]
        lines += [explain(study.own)]
    return "\n".join(lines)
