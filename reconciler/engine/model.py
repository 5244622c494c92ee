"""The engine's own record of a deployment, and the only ways it can change. Pure.

    not-started ──Begun──▶ running ──StepSucceeded (of the last step)──▶ succeeded
         │    ◀──Requeued──── ├──────StepFailed──▶ failed
         ├──Withdrawn──▶ failed   (cancelled in the queue)
         ├──Expired────▶ skipped  (waited for too long)
         └──Superseded─▶ skipped  (a newer one of its kind waits)

While a deployment runs, exactly one of its steps does; the steps before it have succeeded and
those after it have not started. A cancel of a running one is a wish first (`CancelAsked`): the
end comes from whoever runs it. One whose worker was lost goes back to the queue, from where
it begins anew, but never when its Pulumi operation had begun: that is not run twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.api.types import (
    UNSET_TIME,
    Deployment,
    Ending,
    GitSource,
    Job,
    JobStatus,
    Operation,
    Secret,
    ShownVariable,
    StackRef,
    Step,
    StepStatus,
    User,
)

__all__ = [
    "Begun",
    "CancelAsked",
    "Event",
    "Expired",
    "IllegalTransitionError",
    "Record",
    "Requeued",
    "StepFailed",
    "StepSucceeded",
    "Superseded",
    "Withdrawn",
    "advance",
    "deployment",
    "running_step",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One deployment, as the engine keeps it.

    `sequence` counts all creates of the engine: the order in which they may start. `marker` is
    empty where the request carries none. `source` is without credentials. `skip_intermediate`:
    older ones of its stack and operation in the queue are skipped for it. `started` and
    `last_updated` are the job's.
    """

    id: str
    sequence: int = 0
    stack: StackRef
    version: int
    operation: Operation
    status: JobStatus = JobStatus.NOT_STARTED
    created: datetime
    modified: datetime
    requested_by: User = User()  # noqa: RUF009 - a frozen value
    initiator: str = ""
    marker: str = ""
    environment: tuple[ShownVariable, ...] = ()
    source: GitSource[Secret]
    skip_intermediate: bool = False
    started: datetime = UNSET_TIME
    last_updated: datetime = UNSET_TIME
    steps: tuple[Step, ...] = ()
    cancel_asked: bool = False
    ending: Ending | None = None

    @property
    def in_operation(self) -> bool:
        """Whether the Pulumi operation, always the last step, has begun and not ended."""
        return bool(self.steps) and self.steps[-1].status is StepStatus.RUNNING


@dataclass(frozen=True, slots=True)
class Begun:
    """A worker has taken it; its first step runs."""

    at: datetime


@dataclass(frozen=True, slots=True)
class StepSucceeded:
    """The running step succeeded: the next one runs, or the deployment has."""

    at: datetime


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The running step failed, and so the deployment; `ending` where it was not by itself."""

    at: datetime
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Requeued:
    """Whoever ran it is gone, before the Pulumi operation: it waits again, in its old place."""

    at: datetime


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Someone wants a running one to end."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A queued one was cancelled: none of its steps will start."""

    at: datetime
    ending: Ending


@dataclass(frozen=True, slots=True)
class Expired:
    """A queued one waited for too long."""

    at: datetime
    ending: Ending


@dataclass(frozen=True, slots=True)
class Superseded:
    """A queued one is needless: a newer one of its stack and operation waits, and says so."""

    at: datetime
    ending: Ending


Event = (
    Begun | StepSucceeded | StepFailed | Requeued | CancelAsked | Withdrawn | Expired | Superseded
)


class IllegalTransitionError(Exception):
    """An event that cannot happen to a record as it is: a broken promise of our own."""


# In which status each event may come; the diagram above, as data.
_LEGAL: dict[type[Event], JobStatus] = {
    Begun: JobStatus.NOT_STARTED,
    Withdrawn: JobStatus.NOT_STARTED,
    Expired: JobStatus.NOT_STARTED,
    Superseded: JobStatus.NOT_STARTED,
    StepSucceeded: JobStatus.RUNNING,
    StepFailed: JobStatus.RUNNING,
    Requeued: JobStatus.RUNNING,
    CancelAsked: JobStatus.RUNNING,
}


def advance(record: Record, event: Event) -> Record:
    """Return the record after `event`; IllegalTransitionError where it cannot happen."""
    if record.status is not _LEGAL[type(event)]:
        name = type(event).__name__
        raise IllegalTransitionError(f"{name} cannot happen to a {record.status} deployment")
    if isinstance(event, Requeued) and (record.in_operation or record.cancel_asked):
        raise IllegalTransitionError("one in its operation, or cancelled, cannot be queued again")
    record = replace(record, modified=event.at)
    match event:
        case Begun(at=at):
            return _running(record, 0, at, started=at)
        case StepSucceeded(at=at):
            return _succeeded(record, at)
        case StepFailed(at=at, ending=ending):
            record = _with_step(record, running_step(record), StepStatus.FAILED, at)
            return replace(record, status=JobStatus.FAILED, last_updated=at, ending=ending)
        case Requeued():
            steps = tuple(Step(name=step.name) for step in record.steps)
            record = replace(record, status=JobStatus.NOT_STARTED, steps=steps)
            return replace(record, started=UNSET_TIME, last_updated=UNSET_TIME)
        case CancelAsked():
            return replace(record, cancel_asked=True)
        case Withdrawn(ending=ending):
            return replace(record, status=JobStatus.FAILED, cancel_asked=True, ending=ending)
        case Expired(ending=ending) | Superseded(ending=ending):
            return replace(record, status=JobStatus.SKIPPED, ending=ending)


def running_step(record: Record) -> int:
    """Return the position of the step that runs; IllegalTransitionError where none does."""
    for position, step in enumerate(record.steps):
        if step.status is StepStatus.RUNNING:
            return position
    raise IllegalTransitionError(f"no step of deployment {record.id} runs")


def _succeeded(record: Record, at: datetime) -> Record:
    position = running_step(record)
    record = _with_step(record, position, StepStatus.SUCCEEDED, at)
    if position + 1 < len(record.steps):
        return _running(record, position + 1, at, started=record.started)
    return replace(record, status=JobStatus.SUCCEEDED, last_updated=at)


def _running(record: Record, position: int, at: datetime, started: datetime) -> Record:
    record = _with_step(record, position, StepStatus.RUNNING, at)
    return replace(record, status=JobStatus.RUNNING, started=started, last_updated=at)


def _with_step(record: Record, position: int, status: StepStatus, at: datetime) -> Record:
    old = record.steps[position]
    started = at if old.started == UNSET_TIME else old.started
    new = replace(old, status=status, started=started, last_updated=at)
    return replace(record, steps=(*record.steps[:position], new, *record.steps[position + 1 :]))


def deployment(record: Record, latest_version: int) -> Deployment:
    """Return the record as the API tells of it; `latest_version` is its stack's."""
    return Deployment(
        id=record.id,
        version=record.version,
        status=record.status,
        created=record.created,
        modified=record.modified,
        requested_by=record.requested_by,
        operation=record.operation,
        stack=record.stack,
        jobs=(
            Job(
                status=record.status,
                started=record.started,
                last_updated=record.last_updated,
                steps=record.steps,
            ),
        ),
        latest_version=latest_version,
        environment=record.environment,
        source=record.source,
        initiator=record.initiator,
        ending=record.ending,
    )
