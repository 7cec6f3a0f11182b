"""What `log.txt` of a run says of its training."""

import re
from typing import Any

from run.folder import Run

BEGAN = re.compile(r"epochs done$", re.MULTILINE)
ENDED = re.compile(r"^(\d+) s(?:, ([\d,]+) captions/s[^;]*)?; best epoch (\d+)", re.MULTILINE)
COLLAPSED = re.compile(r"^the embeddings have collapsed \(step ([\d,]+)\)", re.MULTILINE)
APART = re.compile(r"^the embeddings have come apart again", re.MULTILINE)


def read_log(run: Run) -> dict[str, Any]:
    """What log.txt says.

    Returns:
      {"finished": bool, "minutes": of training, "parted": whether a part of it was killed, so that
      its minutes are not told, "pace": captions/s or None, "best_epoch": or None,
      "collapsed": steps at which the collapse watch spoke, "apart": how often it took that back}.
    """
    path = run / "log.txt"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    ends = ENDED.findall(text)
    paces = [float(pace.replace(",", "")) for _, pace, _ in ends if pace]
    return {
        "finished": bool(ends) and bool(ENDED.match(text.strip().splitlines()[-1])),
        "minutes": sum(int(seconds) for seconds, *_ in ends) / 60,
        "parted": len(BEGAN.findall(text)) > len(ends),
        "pace": paces[-1] if paces else None,
        "best_epoch": int(ends[-1][2]) if ends else None,
        "collapsed": [int(step.replace(",", "")) for step in COLLAPSED.findall(text)],
        "apart": len(APART.findall(text)),
    }
