"""`run.md`: what a person wants to know of a run a week later."""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("tensorflow", "keras", "numpy")


def describe_run(
    title: str,
    argv: Sequence[str],
    changed: Mapping[str, Any],
    facts: Mapping[str, Any],
    remark: str = "",
) -> str:
    """Markdown: the command, the settings that differ from the defaults, data, versions, commit.

    Args:
      title: the run's name and system.
      argv: the command line, the script's name first.
      changed: {flag: value} of the settings that differ from the defaults.
      facts: {what: value} of the data.
      remark: of the person who made the run.
    """
    command = shlex.join(["python", Path(argv[0]).name, *argv[1:]])
    flags = [f"| `--{name}` | `{value}` |" for name, value in changed.items()]
    data = [f"| {name} | {value} |" for name, value in facts.items()]
    made = {"python": sys.version.split()[0], **versions()}
    return "\n".join(
        [
            f"# {title}",
            "",
            *([remark, ""] if remark else []),
            "```",
            command,
            "```",
            "",
            "| setting that differs from the default | value |",
            "|---|---|",
            *flags,
            "",
            "| data | |",
            "|---|---|",
            *data,
            "",
            f"Made by {', '.join(f'{name} {number}' for name, number in made.items())}; "
            f"this toolkit at {commit() or 'an unknown commit'}.",
            "",
            "`history.csv` has a row for each epoch, `score.json` what `python test.py` measured.",
            "",
        ]
    )


def versions() -> dict[str, str]:
    """{package: version} of what the numbers depend on most."""
    return {name: metadata.version(name) for name in PACKAGES}


def commit() -> str:
    """The commit of this toolkit, "+ changes" where files differ from it; "" outside of git."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    found = git("rev-parse", "--short=12", "HEAD")
    return f"{found} + changes" if found and git("status", "--porcelain", "-uno") else found
