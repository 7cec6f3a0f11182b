"""Ctrl-C while a script is still importing: one line. Scripts import this before all else."""

import os
import sys
from types import TracebackType


def _end_quietly(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(f"{os.path.basename(sys.argv[0])}: stopped; nothing was begun yet", file=sys.stderr)
        os._exit(130)
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _end_quietly
