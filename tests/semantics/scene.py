"""What the tests of the semantics share: a world, time that passes, people and others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from reconciler.api.types import (
    Created,
    DeploymentRequest,
    EnvironmentVariable,
    GitSource,
    Operation,
    Secret,
    StackRef,
)
from reconciler.daemon import Daemon
from reconciler.model import (
    HandRequest,
    ReasonCode,
    RequestKind,
    Schedule,
    Spec,
    State,
    Status,
)
from tests.fakes.deployments_api import Fault, Record
from tests.fakes.world import World

__all__ = [
    "DAY",
    "HOUR",
    "LONG",
    "MINUTE",
    "SECOND",
    "ask",
    "beside",
    "code",
    "every",
    "go",
    "notes",
    "operations",
    "others",
    "posts",
    "ready",
    "records",
    "slots_run",
    "states",
    "world",
]

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LONG = 3 * HOUR


def world(*specs: Spec) -> World:
    return World(specs={one.name: one for one in specs})


def go(it: World, daemon: Daemon, during: timedelta, step: timedelta = 5 * SECOND) -> None:
    """Let time pass, with a pass at each step."""
    end = it.clock.time + during
    while it.clock.time < end:
        daemon.tick()
        it.clock.time = min(it.clock.time + step, end)
    daemon.tick()


def records(it: World, name: str = "web") -> list[Record]:
    """Return the deployments of a stack that has its spec's name, oldest first."""
    return it.api.records.get(StackRef("acme", name, "dev"), [])


def operations(it: World, name: str = "web") -> list[str]:
    return [str(record.request.operation) for record in records(it, name)]


def posts(it: World) -> list[datetime]:
    """Return a list that gets the time of each create that is sent from now on."""
    found: list[datetime] = []
    faults = it.api.faults

    def count(method: str, path: str) -> Fault:
        if method == "POST" and path.endswith("/deployments"):
            found.append(it.clock.time)
        return faults(method, path)

    it.api.faults = count
    return found


def calls(it: World) -> list[str]:
    """Return a list that gets each call that is sent from now on."""
    found: list[str] = []
    faults = it.api.faults

    def note(method: str, path: str) -> Fault:
        found.append(f"{method} {path}")
        return faults(method, path)

    it.api.faults = note
    return found


def beside(it: World, name: str = "web") -> list[tuple[int, ...]]:
    """Return a list that gets what is not over whenever a create is sent from now on."""
    found: list[tuple[int, ...]] = []
    faults = it.api.faults

    def look(method: str, path: str) -> Fault:
        if method == "POST" and path.endswith("/deployments"):
            it.api.settle()
            alive = [r.shown.version for r in records(it, name) if not r.shown.status.ended]
            if alive:
                found.append(tuple(alive))
        return faults(method, path)

    it.api.faults = look
    return found


def others(
    it: World, operation: Operation, name: str = "web", marker: str = "MANUAL", commit: str = "b"
) -> Created:
    """Let somebody else deploy a stack."""
    request: DeploymentRequest[Secret] = DeploymentRequest(
        operation=operation,
        source=GitSource(repo_url="https://example.com/infra.git", commit=commit * 40),
        environment=(EnvironmentVariable(name=marker, value="1"),),
    )
    return it.client.create(StackRef("acme", name, "dev"), request)


def ask(
    it: World, kind: RequestKind, name: str = "web", binds: str = "", request_id: str = ""
) -> None:
    """Let a person ask for something by hand."""
    made = request_id or f"{kind}-{name}-{len(it.journal)}"
    it.requests[made] = HandRequest(
        id=made, kind=kind, name=name, by="ada", at=it.clock.time, binds=binds
    )


def states(it: World) -> dict[str, State]:
    return {name: status.state for name, status in it.disk.items()}


def code(it: World, name: str = "web") -> ReasonCode:
    reason = it.disk[name].reason
    assert reason is not None
    return reason.code


def ready(status: Status) -> bool:
    """Return what the condition `Ready` says."""
    return next(c.status for c in status.conditions if c.type == "Ready")


def notes(it: World, name: str = "web") -> str:
    return "\n".join(entry.text for entry in it.disk[name].history)


def every(
    cron: str, operation: Operation = Operation.REFRESH, zone: str = "UTC", name: str = "often"
) -> Schedule:
    return Schedule(name=name, cron=cron, operation=operation, time_zone=zone)


def slots_run(it: World, name: str = "web") -> list[datetime]:
    """Return the slots that runs were asked for, in their order."""
    return list(dict.fromkeys(_slots(it, name)))


def _slots(it: World, name: str) -> Iterator[datetime]:
    for status in it.journal:
        if status.name == name and status.intent is not None:
            slot = status.intent.cause.slot
            if slot is not None:
                yield slot
