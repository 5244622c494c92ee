"""The real loop in a simulated world: faults and crashes never make or lose a deployment.

`SIMULATION_SEEDS` sets how many histories are run; a failing one prints its seed, and
`SIMULATION_FIRST=<seed> SIMULATION_SEEDS=1` plays it again.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

import pytest

from reconciler import cron
from reconciler.api.types import Operation
from reconciler.daemon import Daemon
from reconciler.model import HandRequest, RequestKind, Schedule, Spec, State
from reconciler.planning.slots import slot_key
from tests.factories import NOW, spec
from tests.fakes.deployments_api import Fault, Outcome, Record
from tests.fakes.world import Crash, World

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "100"))
FIRST = int(os.environ.get("SIMULATION_FIRST", "0"))

HOURS = 2
# A preview tells a slot's run from the others, as a refresh tells a trigger's.
EVERY_20 = Schedule(name="often", cron="*/20 * * * *", operation=Operation.PREVIEW)


@dataclass
class History:
    """One seeded history: what was done to the world, to be held against what came of it."""

    seed: int
    faulty: bool = True
    triggers: Counter[str] = field(default_factory=Counter)
    wanted: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    crashes: int = 0
    overlaps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        specs = {n: spec(n) for n in ("network", "web", "db")}
        specs["web"] = replace(specs["web"], depends_on=("network",))
        specs["db"] = replace(specs["db"], schedules=(EVERY_20,))
        # Without an API that knows its markers, a settle window has to outlast any late answer.
        self.world = World(specs=specs, dice=self.dice)
        self.world.api.knows_markers = self.dice.random() < 0.5
        self.world.api.lag = timedelta(seconds=self.dice.choice((0, 0, 5, 45)))
        self.world.api.outcome = self._outcome
        self.world.api.faults = self._fault
        self.world.crash_at = lambda _: self._chance(0.01)
        self.world.disk_fails = lambda: self._chance(0.005)
        self.wanted = {n: [("d" * 64, "a" * 40)] for n in specs}

    def _chance(self, probability: float) -> bool:
        return self.faulty and self.dice.random() < probability

    def _outcome(self, _: Record) -> Outcome:
        return Outcome.FAIL if self._chance(0.1) else Outcome.SUCCEED

    def _fault(self, method: str, _: str) -> Fault:
        if method == "POST" and self.faulty:
            live = [
                str(stack)
                for stack, records in self.world.api.records.items()
                if sum(not r.shown.status.ended for r in records) > 1
            ]
            self.overlaps += live
        if self._chance(0.1):
            return self.dice.choice((Fault.LOST_BEFORE, Fault.LOST_AFTER))
        if self._chance(0.05):
            return Fault.SERVER_ERROR
        return Fault.TOO_MANY if self._chance(0.02) else Fault.NONE

    def run(self) -> World:
        world = self.world
        daemon = world.daemon()
        until = NOW + timedelta(hours=HOURS)
        while world.clock.time < until:
            daemon = self._tick(daemon)
            if self.dice.random() < 0.02:
                self._event()
        self.faulty = False
        world.run_once()
        return world

    def _tick(self, daemon: Daemon) -> Daemon:
        try:
            daemon.run_once(timedelta(0))
        except Crash:
            self.crashes += 1
            daemon = self.world.daemon()
        jump = self.dice.choice((0.3, 1, 5, 20))
        self.world.clock.time += timedelta(seconds=jump)
        return daemon

    def _event(self) -> None:
        world = self.world
        name = self.dice.choice(sorted(world.specs))
        match self.dice.randrange(3):
            case 0:
                world.heads[name] = f"{self.dice.getrandbits(160):040x}"
            case 1:
                world.digests[name] = f"{self.dice.getrandbits(256):064x}"
                # An edited file is another spec to the loop.
                labels = {"edit": world.digests[name][:6]}
                world.specs[name] = replace(world.specs[name], labels=labels)
            case _:
                number = len(world.requests) + sum(self.triggers.values())
                request = HandRequest(
                    id=f"q{number}-{self.dice.random()}",
                    kind=RequestKind.TRIGGER,
                    name=name,
                    by="ada",
                    at=world.clock.time,
                    operation=Operation.REFRESH,
                )
                world.requests[request.id] = request
                self.triggers[name] += 1
        wanted = (world.digests.get(name, "d" * 64), world.heads.get(name, "a" * 40))
        self.wanted[name].append(wanted)


def records(world: World, of: Spec) -> list[Record]:
    return world.api.records.get(of.stack, [])


def check(history: History, world: World) -> None:
    """Hold what came of it against what was done."""
    assert not history.overlaps, "two deployments of ours were alive on one stack"
    assert not world.requests, "a request by hand was lost in the folder"
    for name, one in world.specs.items():
        found = records(world, one)
        markers = [r.shown.marker for r in found]
        assert len(markers) == len(set(markers)), f"{name}: a run was sent twice"
        assert all(r.shown.status.ended for r in found)
        by_operation = Counter(r.shown.operation for r in found)
        assert by_operation[Operation.REFRESH] == history.triggers[name], f"{name}: triggers"
        updates = [r for r in found if r.shown.operation is Operation.UPDATE]
        for before, after in pairwise(updates):
            same = wanted_of(before) == wanted_of(after)
            assert not (same and before.outcome is Outcome.SUCCEED), f"{name}: ran twice"
        assert wanted_of(updates[-1]) == (
            world.digests.get(name, "d" * 64)[:8],
            world.heads.get(name, "a" * 40),
        ), f"{name}: what is wanted never ran"
        assert world.disk[name].state is State.READY, world.disk[name].reason
    check_slots(world)


def wanted_of(record: Record) -> tuple[str, str]:
    return record.shown.marker[-8:], record.request.source.commit


def check_slots(world: World) -> None:
    """Every preview belongs to a slot of its own, and none but passed-over slots lack one."""
    db = world.specs["db"]
    slots = cron.due_slots(EVERY_20, NOW, world.clock.time, slot_key(db, EVERY_20))
    taken = [
        max((s for s in slots if s <= r.shown.created), default=None)
        for r in records(world, db)
        if r.shown.operation is Operation.PREVIEW
    ]
    assert None not in taken, "a preview ran before its slot"
    (remembered,) = world.disk["db"].schedules
    assert remembered.last == slots[-1], "the last slot was never taken up"
    assert len(taken) <= len(slots), "a slot fired twice"
    # In two hours of faults some slots pass while something else runs; most do not.
    assert len(taken) >= len(slots) // 2


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_history(seed: int) -> None:
    """Whatever is lost, doubled or crashed, each cause has exactly one deployment."""
    history = History(seed)
    world = history.run()
    check(history, world)


def test_faults_are_reached() -> None:
    """The histories really have crashes, lost answers, failures and retries in them."""
    seen: Counter[str] = Counter()
    for seed in range(1000, 1030):
        history = History(seed)
        world = history.run()
        seen["crashes"] += history.crashes
        seen["deployments"] += sum(len(r) for r in world.api.records.values())
        seen["failures"] += sum(
            r.outcome is Outcome.FAIL for rs in world.api.records.values() for r in rs
        )
        seen.update(reason.code for _, _, reason in world.said)
    assert seen["crashes"] > 20, seen
    assert seen["failures"] > 20, seen
    for code in (
        "Settling",
        "Retrying",
        "ApiUnavailable",
        "Dependency",
        "ScheduleDue",
        "NotDurable",
    ):
        assert seen[code] > 0, (code, seen)
