"""Rows 13, 16 and 33 where a stack's history begins anew: its versions count from 1 again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.api.types import Operation, StackRef
from reconciler.model import OnDependency, ReasonCode, RequestKind, State
from tests.factories import request, spec
from tests.fakes.world import World
from tests.semantics.scene import (
    MINUTE,
    SECOND,
    ask,
    code,
    go,
    others,
    records,
    states,
    world,
)

OTHER_OWNER = "RECONCILER_RUN_other_r9_dddddddd"


def two() -> World:
    return world(spec("net"), spec("app", depends_on=("net",), on_dependency=OnDependency.RUN))


@pytest.mark.parametrize("before", [1, 4])
def test_row_33_a_dependency_on_another_stack_has_deployed(before: int) -> None:
    """Each deployment of a dependency starts a run, whatever it had applied on another stack."""
    it = two()
    daemon = it.daemon()
    for number in range(before):
        it.heads["net"] = f"{number:040x}"
        daemon.mark({"net"})
        go(it, daemon, 2 * MINUTE)
    assert len(records(it, "app")) == before
    it.specs["net"] = replace(it.specs["net"], stack=StackRef("acme", "net", "prod"))
    daemon.wake()
    go(it, daemon, 4 * MINUTE)
    for number in range(3):
        assert len(records(it, "app")) == before + 1 + number
        it.heads["net"] = f"{number + 10:040x}"
        daemon.mark({"net"})
        go(it, it.daemon() if number == 1 else daemon, 3 * MINUTE)
    assert set(states(it).values()) == {State.READY}


def test_row_33_a_dependency_whose_history_was_lost_has_deployed() -> None:
    """After the API has lost what a dependency had deployed, the next of it starts a run."""
    it = two()
    daemon = it.daemon()
    for number in range(3):
        it.heads["net"] = f"{number:040x}"
        daemon.mark({"net"})
        go(it, daemon, 2 * MINUTE)
    del records(it, "net")[1:]
    ask(it, RequestKind.ADOPT, "net")
    go(it, daemon, 2 * MINUTE)
    before = len(records(it, "app"))
    it.heads["net"] = "c" * 40
    daemon.mark({"net"})
    go(it, daemon, 3 * MINUTE)
    assert it.disk["net"].applied == 2
    assert len(records(it, "app")) == before + 1


def test_row_33_a_status_of_long_ago_starts_nothing() -> None:
    """A dependency's status from a backup tells a lower version, and nothing new."""
    it = two()
    daemon = it.daemon()
    go(it, daemon, 2 * MINUTE)
    old = it.disk["net"]
    it.heads["net"] = "c" * 40
    daemon.mark({"net"})
    go(it, daemon, 3 * MINUTE)
    before = len(records(it, "app"))
    it.disk["net"] = old
    it.heads["net"] = "a" * 40
    go(it, it.daemon(), 3 * MINUTE)
    assert (it.disk["net"].applied, len(records(it, "app"))) == (1, before)


def test_row_13_an_adopt_of_before_counts_no_more() -> None:
    """Where the history went with its stack, another owner's low version is a conflict."""
    it = world(spec("web"))
    for _ in range(5):
        others(it, Operation.UPDATE)
        it.clock.time += MINUTE
    daemon = it.daemon()
    go(it, daemon, 10 * SECOND)
    ask(it, RequestKind.ADOPT)
    go(it, daemon, MINUTE)
    assert it.disk["web"].adopted_version == 5
    it.specs["web"], it.digests["web"] = spec("web", request=request(Operation.DESTROY)), "e" * 64
    daemon.wake()
    go(it, daemon, MINUTE)
    assert it.disk["web"].destroyed
    records(it).clear()
    it.specs["web"], it.digests["web"] = spec("web"), "f" * 64
    daemon.wake()
    go(it, daemon, MINUTE)
    assert (states(it), it.disk["web"].adopted_version) == ({"web": State.READY}, 0)
    others(it, Operation.UPDATE, marker=OTHER_OWNER)
    go(it, daemon, 3 * MINUTE)
    it.heads["web"] = "c" * 40
    daemon.mark({"web"})
    go(it, daemon, 2 * MINUTE)
    assert code(it) is ReasonCode.CONFLICT
    assert len(records(it)) == 2
