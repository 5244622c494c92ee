"""What an engine reads from its database for a scrape, and what it takes down of events."""

from __future__ import annotations

from datetime import timedelta

from reconciler.api.types import (
    Ending,
    EndingKind,
    GitSource,
    JobStatus,
    Operation,
    StackRef,
    Step,
)
from reconciler.engine.measuring import readings, told
from reconciler.engine.model import Begun, Record, Requeued, StepFailed, StepSucceeded, Withdrawn
from reconciler.engine.store import Store
from reconciler.metrics import of_engine
from reconciler.metrics.prometheus import Registry
from tests.factories import NOW
from tests.fakes.scrape import Scrape
from tests.fakes.world import SimClock

STEPS = ("Download deployment executor", "Get source", "Pre-run command 1", "Pulumi operation")


def create(store: Store, number: int) -> None:
    stack = StackRef("acme", "web", f"s{number}")

    def make(version: int) -> tuple[Record, bytes]:
        record = Record(
            id=f"d{number}",
            stack=stack,
            version=version,
            operation=Operation.UPDATE,
            created=NOW + timedelta(seconds=number),
            modified=NOW,
            source=GitSource(repo_url="https://example.com/a.git"),
            steps=tuple(Step(name=name) for name in STEPS),
        )
        return record, b"request"

    store.deployments.create(stack, "", make)


def measured(store: Store, clock: SimClock) -> Registry:
    registry = Registry(of_engine.MEASURES, "1.0")
    store.deployments.told = lambda record, event: told(registry, record, event)
    registry.ask(lambda: readings(store, clock, 4, lambda: 2))
    return registry


def read(registry: Registry) -> Scrape:
    return Scrape(registry.text().decode())


def test_the_queue_is_told(store: Store) -> None:
    """How many wait, for how long the oldest has, and what runs; of either database."""
    clock = SimClock(time=NOW + timedelta(seconds=61))
    registry = measured(store, clock)
    empty = read(registry)
    for number in (1, 2, 3):
        create(store, number)
    store.deployments.apply("d1", Begun(NOW + timedelta(seconds=11)))
    found = read(registry)
    name = "reconciler_engine_"
    assert empty.get(name + "queue_age_seconds") == 0
    assert found.get(name + "deployments_queued") == 2
    assert found.get(name + "queue_age_seconds") == 59
    assert found.get(name + "deployments_running") == 1
    assert (found.get(name + "deployments_running_here"), found.get(name + "places")) == (2, 4)
    # A shared database has no worker yet; an engine alone is one.
    assert found.get(name + "workers") == (0 if store.shared else 1)
    assert found.get(name + "queue_wait_seconds_sum") == 10


def test_events_are_taken_down(store: Store) -> None:
    """Each step's time under its kind, each end once, and what went back to the queue."""
    registry = measured(store, SimClock(time=NOW))
    at = NOW + timedelta(seconds=20)
    for number in (1, 2, 3):
        create(store, number)
    store.deployments.apply("d1", Begun(at))
    store.deployments.apply("d1", Requeued(at + timedelta(seconds=1)))
    store.deployments.apply("d1", Begun(at + timedelta(seconds=2)))
    for second in (4, 7, 11, 16):
        store.deployments.apply("d1", StepSucceeded(at + timedelta(seconds=second)))
    store.deployments.apply("d2", Begun(at))
    ending = Ending(kind=EndingKind.INTERRUPTED, message="cut off")
    store.deployments.apply("d2", StepFailed(at + timedelta(seconds=3), ending))
    gone = Ending(kind=EndingKind.CANCELED, message="by ada")
    record = store.deployments.apply("d3", Withdrawn(at, gone))
    assert record.status is JobStatus.FAILED
    found = read(registry)
    steps = "reconciler_engine_step_duration_seconds"
    total = "reconciler_engine_deployments_ended_total"
    kinds = ("executor", "source", "pre-run", "operation")
    assert [found.get(f"{steps}_sum", step=k, status="succeeded") for k in kinds] == [2, 3, 4, 5]
    assert found.get(f"{steps}_count", step="executor", status="failed") == 1
    assert found.get(total, operation="update", status="succeeded", ending="none") == 1
    assert found.get(total, operation="update", status="failed", ending="interrupted") == 1
    assert found.get(total, operation="update", status="failed", ending="canceled") == 1
    assert found.total(total) == 3
    assert found.get("reconciler_engine_deployments_requeued_total") == 1
    duration = "reconciler_engine_deployment_duration_seconds"
    # What never ran has no duration.
    assert found.get(f"{duration}_count", operation="update") == 2
    assert found.get(f"{duration}_sum", operation="update") == 14 + 3
