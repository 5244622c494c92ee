"""What an engine tells of itself to a meter: of each change of a deployment, and when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reconciler.api.types import JobStatus, StepStatus
from reconciler.clock import Clock
from reconciler.engine.model import Begun, Event, Record, Requeued, StepFailed, StepSucceeded
from reconciler.engine.steps import kind_of
from reconciler.engine.store import Store
from reconciler.metrics import Meter, Reading, of_engine

__all__ = ["measure_step_output", "readings", "told"]


def told(meter: Meter, record: Record, event: Event) -> None:
    """Take down what an event that was recorded means for a deployment, as it is now."""
    if isinstance(event, Begun):
        meter.observe(of_engine.QUEUE_WAIT, (event.at - record.created).total_seconds())
    elif isinstance(event, Requeued):
        meter.count(of_engine.REQUEUED)
    elif isinstance(event, StepSucceeded | StepFailed):
        _tell_step(meter, record, event)
    if record.status.ended:
        _tell_end(meter, record, event)


def _tell_step(meter: Meter, record: Record, event: StepSucceeded | StepFailed) -> None:
    ended = {StepStatus.SUCCEEDED, StepStatus.FAILED}
    step = next((s for s in reversed(record.steps) if s.status in ended), None)
    if step is not None:
        took_s = (event.at - step.started).total_seconds()
        meter.observe(of_engine.STEP, took_s, str(kind_of(step.name)), str(step.status))


def _tell_end(meter: Meter, record: Record, event: Event) -> None:
    operation, status = str(record.operation), str(record.status)
    ending = "none" if record.ending is None else str(record.ending.kind)
    meter.count(of_engine.ENDED, operation, status, ending)
    if isinstance(event, StepSucceeded | StepFailed):
        took_s = (event.at - record.started).total_seconds()
        meter.observe(of_engine.DURATION, took_s, operation)


def measure_step_output(meter: Meter, size: int, masked: int) -> None:
    """Take down what a step has written into its log, and how often a secret was in it."""
    meter.count(of_engine.LOG_BYTES, by=size)
    meter.count(of_engine.MASKED, by=masked)


def readings(
    store: Store, clock: Clock, places: int, running: Callable[[], int]
) -> Iterable[Reading]:
    """Tell how full it is, for a scrape; `running` is how many deployments this process runs.

    StoreError and the like where the database cannot be asked; `running` is told before.
    """
    yield Reading(of_engine.PLACES, places)
    yield Reading(of_engine.RUNNING_HERE, running())
    counts, oldest = store.deployments.tally()
    yield Reading(of_engine.QUEUED, counts[JobStatus.NOT_STARTED])
    yield Reading(of_engine.RUNNING, counts[JobStatus.RUNNING])
    age = (clock.now() - oldest).total_seconds() if oldest is not None else 0.0
    yield Reading(of_engine.QUEUE_AGE, max(age, 0.0))
    alive = len(store.workers.numbers()) - len(store.workers.lost()) if store.shared else 1
    yield Reading(of_engine.WORKERS, max(alive, 0))
