"""Workers of one training, each a process: they find each other, agree, and end together.

Worker 0 listens, before TensorFlow does, where TF_CONFIG says; the others connect. The connections
stay, so that all know at once when one ends: TensorFlow would wait, or end in pages of its own.
Each says every few seconds that it is alive: one that is stopped, or hangs whole, falls silent.

    with join_team() as team:
        team.agree({"learning_rate": 0.1}, "--{name} {value}")
        team.watch()
"""

import contextlib
import json
import socket
import threading
import time
from typing import Any, NoReturn, Self

from run import console, tf_config

START_SECONDS = 50  # that all must have come within
SILENT_SECONDS = 55  # more: worker 0 is silent until all have come
BEAT_SECONDS = 5
ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # a machine that is gone: 30 s


def join_team() -> "Team":
    """The team of TF_CONFIG that this process is one of.

    Raises:
      ValueError: TF_CONFIG is none; or some did not come, they are named.
    """
    team = Team(tf_config.worker_addresses(), tf_config.worker_index())
    team.lead() if team.index == 0 else team.follow()
    threading.Thread(target=team.beat, daemon=True).start()
    return team


class Team:
    """The workers, as one of them sees them: worker 0 all others, the others worker 0.

    Attributes:
      addresses: of all; index: of this one; others: {index: connection}.
    """

    def __init__(self, addresses: list[str], index: int):
        self.addresses, self.index = addresses, index
        self.others: dict[int, Connection] = {}
        self.heard: dict[int, float] = {}  # when last
        self.ended = self.watching = False

    def name(self, index: int) -> str:
        return f"worker {index} ({self.addresses[index]})"

    def lead(self) -> None:
        """Waits for all others. Raises ValueError: names those that did not come."""
        host, port = split_address(self.addresses[0])
        deadline, wanted = time.monotonic() + START_SECONDS, set(range(1, len(self.addresses)))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server(("", port), family=family) as server:
            while missing := wanted - set(self.others):
                server.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    connection = Connection(server.accept()[0])
                except TimeoutError:
                    names = ", ".join(map(self.name, sorted(missing)))
                    self.refuse(
                        f"{names} did not come within {START_SECONDS} s: is it started, with the "
                        "same TF_CONFIG but for its index?"
                    )
                hello = {}
                with contextlib.suppress(TimeoutError):
                    hello = connection.receive(2.0) or {}
                if hello.get("workers") == self.addresses and hello.get("index") in missing:
                    self.others[hello["index"]] = connection

    def follow(self) -> None:
        """Finds worker 0. Raises ValueError: it did not answer."""
        deadline = time.monotonic() + START_SECONDS
        while not self.others:
            try:
                found = socket.create_connection(split_address(self.addresses[0]), 5)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ValueError(
                        f"{self.name(0)} did not answer within {START_SECONDS} s ({error}): is it "
                        "started, with the same TF_CONFIG but for its index?"
                    ) from None
                time.sleep(0.2)
                continue
            self.others[0] = Connection(found)
        self.others[0].send({"index": self.index, "workers": self.addresses})

    def agree(self, facts: dict[str, Any], shown: str) -> None:
        """Compares facts of all.

        Args:
          facts: {name: value} of JSON; shown: how one is told, of {name} and {value}.

        Raises:
          ValueError: some differ: names the first; or a worker has ended.
        """
        facts = json.loads(json.dumps(facts))
        if self.index:
            self.others[0].send({"facts": facts})
            said = self.hear(0).get("error")
            if said is not None:
                raise ValueError(said)
            return
        for index in self.others:
            other = self.hear(index).get("facts") or {}
            for name in sorted({*facts, *other}):
                ours, theirs = facts.get(name), other.get(name)
                if ours != theirs:
                    ours, theirs = (shown.format(name=name, value=one) for one in (ours, theirs))
                    self.refuse(
                        f"{self.name(index)} has {theirs}, {self.name(0)} {ours}: start all "
                        "workers with the same flags and the same data"
                    )
        for connection in self.others.values():
            connection.send({"agreed": True})

    def beat(self) -> None:
        """Says until the end that this worker is alive."""
        while not self.ended:
            for connection in self.others.values():
                connection.send({})
            time.sleep(BEAT_SECONDS)

    def hear(self, index: int) -> dict[str, Any]:
        """What a worker says, but for that it is alive. Raises ValueError: it is not."""
        said: dict[str, Any] | None = {}
        try:
            while said == {}:
                said = self.others[index].receive(SILENT_SECONDS)
                self.heard[index] = time.monotonic()
        except TimeoutError:
            self.refuse(self.silent(index))
        if said is None:
            self.refuse(f"{self.name(index)} has ended, so all do: see what it told")
        return said

    def silent(self, index: int) -> str:
        return f"{self.name(index)} is silent, so all end: was it stopped?"

    def refuse(self, line: str) -> NoReturn:
        """Tells all others, and raises a ValueError."""
        for connection in self.others.values():
            connection.send({"error": line})
        raise ValueError(line)

    def watch(self) -> None:
        """From now on ends this process, in one line, when another one ends before `__exit__`."""
        self.watching = True
        for index in self.others:
            threading.Thread(target=self._watch, args=(index,), daemon=True).start()

    def _watch(self, index: int) -> None:
        try:
            said = self.hear(index)
            if not said.get("done"):
                self.refuse(said.get("error") or f"{self.name(index)} said {said}")
        except ValueError as error:
            if not self.ended:
                console.end_now(f"error: {error}", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        ours = kind is None or issubclass(kind, ValueError | OSError | MemoryError)
        began, lost = time.monotonic(), []
        if self.watching and not ours and kind and issubclass(kind, Exception):
            # TensorFlow's own error of a lost worker: we tell it better, worker 0 first.
            time.sleep((4 if self.index else 2) * BEAT_SECONDS)
            lost = [index for index in self.others if self.heard.get(index, 0.0) < began]
        self.ended = True
        for connection in self.others.values():
            if kind is None:
                connection.send({"done": True})
            if lost:
                connection.send({"error": self.silent(lost[0])})
            connection.close()
        if lost:
            raise ValueError(self.silent(lost[0]))


class Connection:
    """JSON objects by lines, both ways."""

    def __init__(self, own: socket.socket):
        own.settimeout(None)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in ALIVE.items():
            if hasattr(socket, name):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.socket, self.lines = own, own.makefile("r", encoding="utf-8")
        self.turn = threading.Lock()

    def send(self, said: dict[str, Any]) -> None:
        """Says something; whether it arrives shows when the other one is heard."""
        with contextlib.suppress(OSError), self.turn:
            self.socket.sendall(json.dumps(said).encode() + b"\n")

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """What the other one says next; None where it has ended, or speaks another language.

        Raises:
          TimeoutError: it says nothing for so long.
        """
        self.socket.settimeout(seconds)
        try:
            found = json.loads(self.lines.readline(1 << 20))
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def close(self) -> None:
        """Gives the connection up."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)


def split_address(address: str) -> tuple[str, int]:
    """("host", 2222) of "host:2222". Raises ValueError: it is no such address."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"TF_CONFIG: {address!r} is no address; expected such as host0:2222")
    return host.strip("[]"), int(port)
