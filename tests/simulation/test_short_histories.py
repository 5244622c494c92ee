"""Every history of up to five steps of one spec: what no dice may happen to choose.

A step is what a person, the network or the disk does next; between two of them the loop does
one pass, and time goes on a little. Each history then runs on without faults, and is held
against the same few truths.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from reconciler.daemon import Daemon
from reconciler.model import RunEnd, State
from tests.factories import spec
from tests.fakes.deployments_api import Fault, Outcome
from tests.fakes.world import Crash, World

LONGEST = int(os.environ.get("SHORT_HISTORIES", "5"))


@dataclass
class Short:
    """One spec, and a world in which one thing goes wrong at a time."""

    world: World = field(default_factory=lambda: World(specs={"web": spec("web")}))
    next_fault: Fault = Fault.NONE
    crash_in: int = 0
    edits: int = 0

    def __post_init__(self) -> None:
        self.world.api.knows_markers = False
        self.world.api.faults = self._fault
        self.world.api.late_by = lambda: timedelta(seconds=20)
        self.world.crash_at = self._crash
        self.daemon: Daemon = self.world.daemon()

    def _fault(self, method: str, _: str) -> Fault:
        if method != "POST":
            return Fault.NONE
        fault, self.next_fault = self.next_fault, Fault.NONE
        return fault

    def _crash(self, _: str) -> bool:
        self.crash_in -= 1
        return self.crash_in == 0

    def step(self) -> None:
        try:
            self.daemon.tick()
        except Crash:
            self.daemon = self.world.daemon()
        self.world.clock.time += timedelta(seconds=7)

    def edit(self) -> None:
        self.edits += 1
        self.world.digests["web"] = f"{self.edits:08x}".ljust(64, "0")
        one = self.world.specs["web"]
        self.world.specs["web"] = replace(one, labels={"edit": str(self.edits)})
        self.daemon.wake()

    def lose_before(self) -> None:
        self.next_fault = Fault.LOST_BEFORE

    def lose_after(self) -> None:
        self.next_fault = Fault.LOST_AFTER

    def delay(self) -> None:
        self.next_fault = Fault.LATE

    def crash_soon(self) -> None:
        self.crash_in = 2

    def crash_late(self) -> None:
        self.crash_in = 4

    def wait(self) -> None:
        self.world.clock.time += timedelta(seconds=40)


STEPS: tuple[Callable[[Short], None], ...] = (
    Short.edit,
    Short.lose_before,
    Short.lose_after,
    Short.delay,
    Short.crash_soon,
    Short.crash_late,
    Short.wait,
)


def histories(
    first: Callable[[Short], None], longest: int
) -> Iterator[tuple[Callable[[Short], None], ...]]:
    for length in range(longest):
        for rest in itertools.product(STEPS, repeat=length):
            yield (first, *rest)


def play(steps: tuple[Callable[[Short], None], ...]) -> Short:
    history = Short()
    for step in steps:
        step(history)
        history.step()
    history.next_fault, history.crash_in = Fault.NONE, 0
    for _ in range(60):
        history.step()
        found = history.world.disk.get("web")
        if found is not None and found.state is State.READY and not found.intent:
            break
        history.world.clock.time += timedelta(seconds=20)
    history.daemon.wake()
    history.step()
    return history


def check(history: Short) -> None:
    records = history.world.api.records[spec("web").stack]
    markers = Counter(r.shown.marker for r in records)
    assert max(markers.values()) == 1, "a request was sent twice"
    wanted = [r.shown.marker[-8:] for r in records]
    assert all(one != other for one, other in itertools.pairwise(wanted)), "it ran what was there"
    status = history.world.disk["web"]
    assert status.state is State.READY, status.reason
    assert status.last is not None
    assert status.last.end is RunEnd.SUCCEEDED
    assert wanted[-1] == history.world.digests.get("web", "d" * 64)[:8], "what is wanted never ran"
    assert all(r.outcome is Outcome.SUCCEED for r in records)


@pytest.mark.parametrize("first", STEPS, ids=lambda step: step.__name__)
def test_every_short_history(first: Callable[[Short], None]) -> None:
    """Whatever up to five things happen in whatever order, each wish is carried out once."""
    played = 0
    for steps in histories(first, LONGEST):
        history = play(steps)
        try:
            check(history)
        except AssertionError as error:
            error.add_note(" → ".join(step.__name__ for step in steps))
            raise
        played += 1
    assert played == sum(len(STEPS) ** n for n in range(LONGEST))


def test_nothing_happens_to_one_that_is_left_alone() -> None:
    """The shortest history has no step."""
    check(play(()))
