"""Workers before TensorFlow: who does not come, what differs and who has ended is named."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trying

from run import cluster, workers
from run.cluster import Team


def teams(count, action) -> list:
    """What `action` of each of some workers gives or raises."""
    addresses = trying.free_addresses(count)

    def work(index):
        try:
            with Team(addresses, index) as team:
                (team.follow if index else team.lead)()
                return action(team)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_workers_that_are_alike_agree():
    assert teams(3, lambda team: team.agree({"rate": (0.1, None)}, "{name}")) == [None] * 3
    with workers.find_team("none") as team:
        team.agree({"rate": 0.1}, "--{name} {value}")
        team.watch()
        assert team.index == 0


def test_what_differs_is_named_by_all():
    def ask(team):
        team.agree({"same": 1, "rate": 0.2 if team.index == 2 else 0.1}, "--{name} {value}")

    for said in teams(3, ask):
        assert (
            "worker 2 (" in said and "has --rate 0.2, worker 0 (" in said and "--rate 0.1" in said
        )


def test_one_that_ends_before_it_agrees_is_named():
    def ask(team):
        if team.index == 1:
            raise ValueError("its own")
        team.agree({}, "")

    said = teams(3, ask)
    assert said[1] == "its own"
    assert all(
        "worker 1 (" in said[index] and "has ended, so all do" in said[index] for index in (0, 2)
    )


def test_one_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "START_SECONDS", 0.3)
    addresses = trying.free_addresses(3)
    with pytest.raises(ValueError, match=rf"worker 1 \({addresses[1]}\), worker 2 .* did not come"):
        Team(addresses, 0).lead()
    with pytest.raises(ValueError, match=rf"worker 0 \({addresses[0]}\) did not answer within 0.3"):
        Team(addresses, 1).follow()
    with pytest.raises(ValueError, match="'a' is no address"):
        Team(["a", "b:1"], 1).follow()


class Other:
    """A connection on which some things are heard."""

    def __init__(self, heard):
        self.heard = iter(heard)

    def receive(self, seconds):
        return next(self.heard)

    def send(self, said):
        pass

    def close(self):
        pass


@pytest.mark.parametrize(("last", "ends"), [(None, True), ({"done": True}, False)])
def test_the_end_of_another_ends_this_one_unless_it_is_done(monkeypatch, last, ends):
    told: list[tuple] = []
    monkeypatch.setattr(cluster.console, "end_now", lambda *said: told.append(said))
    team: Any = Team(["a:1", "b:2"], 0)
    team.others[1] = Other([{}, {}, last])
    team._watch(1)
    line = "error: worker 1 (b:2) has ended, so all do: see what it told"
    assert told == ([(line, 1)] if ends else [])


def test_one_that_is_stopped_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "SILENT_SECONDS", 0.2)
    heard = threading.Event()

    def ask(team):
        if team.index == 1:
            heard.wait(60)  # as if stopped
        try:
            team.agree({}, "")
        finally:
            heard.set()

    said = teams(2, ask)
    assert all("worker 1 (" in line and "is silent, so all end: was it" in line for line in said)


def test_that_another_is_alive_is_no_answer(monkeypatch):
    monkeypatch.setattr(cluster, "BEAT_SECONDS", 0.01)

    def ask(team):
        threading.Thread(target=team.beat, daemon=True).start()
        time.sleep(0.1)  # some beats go before
        team.agree({"rate": 1}, "{name} {value}")

    assert teams(2, ask) == [None, None]


def test_what_tensorflow_says_of_one_that_is_silent_is_said_by_its_name(monkeypatch):
    monkeypatch.setattr(cluster, "BEAT_SECONDS", 0.01)
    team: Any = Team(["a:1", "b:2"], 0)
    team.others[1], team.watching = Other([]), True
    with pytest.raises(ValueError, match=r"worker 1 \(b:2\) is silent, so all end"), team:
        raise RuntimeError("pages")
    team.heard[1] = time.monotonic() + 9  # while that was waited for
    with pytest.raises(RuntimeError, match="pages"), team:
        raise RuntimeError("pages")
