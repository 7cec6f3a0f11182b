"""A training's team of workers: this process alone, or the workers of TF_CONFIG.

with workers.find_team(strategy) as team:
    team.agree({"learning_rate": 0.1}, "--{name} {value}")
    team.watch()
"""

from typing import Any, Self


class Alone:
    """A team of one, which agrees with itself."""

    index = 0

    def agree(self, facts: dict[str, Any], shown: str) -> None:
        """Nobody differs."""

    def watch(self) -> None:
        """Nobody else can end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody waits."""


def find_team(strategy: str) -> Any:
    """The team that this process is one of: `Alone`, or a `cluster.Team` of multi_worker.

    Raises:
      ValueError: TF_CONFIG is none; or some workers did not come, they are named.
    """
    if strategy != "multi_worker":
        return Alone()
    from run import cluster  # sockets and threads, of no other strategy

    return cluster.join_team()
