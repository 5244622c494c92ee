from __future__ import annotations

import os
import threading

import pytest

from reconciler.engine import guard
from reconciler.engine.store.session import uptime_s
from tests.waiting import eventually


class Watched:
    """The watching loop in a thread, with a pipe to tell it things."""

    def __init__(self) -> None:
        self._source, self._tell = os.pipe()
        self.killed = threading.Event()
        self.left: list[frozenset[str]] = []
        self._thread = threading.Thread(
            target=lambda: self.left.append(guard.watch(self._source, self.killed.set))
        )
        self._thread.start()

    def tell(self, line: str) -> None:
        os.write(self._tell, f"{line}\n".encode())

    def end(self) -> frozenset[str]:
        """Close the pipe, as the end of the worker does, and return what was left."""
        os.close(self._tell)
        self._thread.join(60)
        os.close(self._source)
        return self.left[0]


def test_a_worker_that_ends_leaves_what_it_had() -> None:
    """When the pipe closes, what had begun and not ended is left, and nobody is killed."""
    watched = Watched()
    watched.tell(f"proof {uptime_s()}")
    for line in ("begins a", "begins b", "ended a"):
        watched.tell(line)
    assert watched.end() == {"b"}
    assert not watched.killed.is_set()


def test_proofs_that_stop_kill_a_worker_that_runs_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a proof for so long the worker is killed; one that runs nothing is left alone."""
    monkeypatch.setattr(guard, "KILL_AFTER_S", 0.3)
    idle, busy = Watched(), Watched()
    for watched in (idle, busy):
        watched.tell(f"proof {uptime_s()}")
    busy.tell("begins a")
    eventually(busy.killed.is_set, "it is killed")
    assert not idle.killed.is_set()
    assert busy.end() == {"a"}
    assert idle.end() == frozenset()


def test_proofs_that_come_keep_it_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that proves itself in time is not killed, however long it runs something."""
    monkeypatch.setattr(guard, "KILL_AFTER_S", 30.0)
    watched = Watched()
    watched.tell("begins a")
    for _ in range(20):
        watched.tell(f"proof {uptime_s()}")
    watched.tell("ended a")
    assert watched.end() == frozenset()
    assert not watched.killed.is_set()
