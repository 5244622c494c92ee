"""The real loop in a simulated world: faults and crashes never make or lose a deployment.

`SIMULATION_SEEDS` sets how many histories are run, of `SIMULATION_DAYS` each; a failing one
prints its seed, and `SIMULATION_FIRST=<seed> SIMULATION_SEEDS=1` plays it again: with
`PYTHONHASHSEED=0`, as the Makefile has it, since the order of a set is the process's own.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta

import pytest

from tests.simulation.checks import check
from tests.simulation.simulation import Simulation

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "300"))
FIRST = int(os.environ.get("SIMULATION_FIRST", "0"))
DAYS = float(os.environ.get("SIMULATION_DAYS", "2"))
BATCH = 10
# How many there are of each kind in which one thing goes wrong again and again.
SPECIAL = max(SEEDS // 30, 1)

# What has to have happened often in thirty histories, or they prove little.
REACHED = {
    "Settling": 100,
    "Retrying": 100,
    "ApiUnavailable": 100,
    "NotDurable": 20,
    "ScheduleDue": 100,
    "Dependency": 20,
    "DependencyChanged": 20,
    "Canceling": 10,
    "Canceled": 5,
    "Interrupted": 5,
    "ForeignRunning": 3,
    "ForeignChange": 3,
    "Approval": 30,
    "Window": 20,
    "Suspended": 5,
    "Removed": 10,
    "MassRemoval": 3,
    "MassChange": 3,
    "Adopted": 0,
}


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, BATCH))
def test_histories(first: int) -> None:
    """Whatever is lost, doubled, late or crashed, each cause has exactly one deployment."""
    for seed in range(first, min(first + BATCH, FIRST + SEEDS)):
        history = Simulation(seed, DAYS)
        try:
            history.run()
            check(history)
        except Exception as error:
            error.add_note(f"SIMULATION_FIRST={seed} SIMULATION_SEEDS=1")
            error.add_note("\n".join(history.trace[-20:]))
            raise


@pytest.mark.parametrize("first", range(FIRST, FIRST + SPECIAL, BATCH))
def test_a_clock_that_is_set_again_and_again(first: int) -> None:
    """Hours that did not pass end no wait that keeps a second deployment away."""
    jumps = 0
    for seed in range(first, first + BATCH):
        history = Simulation(seed, DAYS, clock_is_set=60)
        history.run()
        check(history)
        jumps += history.jumps
    assert jumps > 3 * BATCH * DAYS


@pytest.mark.parametrize("first", range(FIRST, FIRST + SPECIAL, BATCH))
def test_what_a_wire_doubles_while_lists_lag(first: int) -> None:
    """A second deployment that no list shows yet has nothing of ours started beside it."""
    doubled = 0
    for seed in range(first, first + BATCH):
        history = Simulation(seed, DAYS, doubles=0.4)
        history.world.api.lag = timedelta(seconds=45)
        history.run()
        check(history)
        doubled += history.world.api.doubled.total()
    assert doubled > 4 * BATCH * DAYS


@pytest.mark.parametrize("first", range(FIRST, FIRST + SPECIAL, BATCH))
def test_memories_that_are_lost_or_old(first: int) -> None:
    """Whoever has lost a status, or has one of a backup, starts nothing beside what runs."""
    lost = 0
    for seed in range(first, first + BATCH):
        history = Simulation(seed, DAYS, mishaps=4)
        history.run()
        check(history)
        lost += history.done["lost"]
    assert lost > BATCH


def test_faults_are_reached() -> None:
    """The histories really have crashes, lost answers, failures and holds in them, and often."""
    seen: Counter[str] = Counter()
    for seed in range(1000, 1030):
        history = Simulation(seed)
        world = history.run()
        seen["crashes"] += history.crashes
        seen["jumps"] += history.jumps
        seen["deployments"] += sum(len(r) for r in world.api.records.values())
        seen.update(str(reason.code) for _, _, reason in world.said)
    assert seen["crashes"] > 100, seen
    assert seen["jumps"] > 3, seen
    assert {code: n for code, n in REACHED.items() if seen[code] < n} == {}, seen


def test_the_same_seed_gives_the_same_trace() -> None:
    """A history that failed can be played again."""
    one, other = Simulation(7), Simulation(7)
    first, second = one.run().said, other.run().said
    assert first == second
