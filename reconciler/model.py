"""The words of the reconciler, as values. Pure; nothing here does anything.

A `Spec` is what a file says. `Desired` adds what had to be looked up. `Observed` is what we
know of the stack. A `Plan` says what to do and why; `Status` is what we shall remember.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from reconciler.api.types import Deployment, DeploymentRequest, JobStatus, Operation, StackRef

__all__ = [
    "Abandon",
    "Action",
    "Adopt",
    "Attempt",
    "Broken",
    "Cancel",
    "CancelRecord",
    "Catalog",
    "Cause",
    "CauseKind",
    "Conclude",
    "Condition",
    "Desired",
    "DropRequest",
    "Follow",
    "HandRequest",
    "HistoryEntry",
    "Intent",
    "Observed",
    "Plan",
    "Problem",
    "Reason",
    "ReasonCode",
    "RequestKind",
    "Retry",
    "Run",
    "RunEnd",
    "Schedule",
    "ScheduleStatus",
    "SecretReference",
    "SkipSlots",
    "Spec",
    "State",
    "Status",
    "Submit",
    "Unknown",
    "Upstream",
]

# ---------------------------------------------------------------- what a file says


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret comes from: `kind` is fromEnv or fromFile, `name` the variable or path."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A user's mistake: where it is, what is wrong and what would be right.

    `line` and `column` count from 1; 0 where the file as a whole is meant. `pointer` is a
    JSON pointer, empty where there is none.
    """

    path: Path
    line: int = 0
    column: int = 0
    pointer: str = ""
    message: str

    def __str__(self) -> str:
        at = f"{self.path}:{max(self.line, 1)}:{max(self.column, 1)}: "
        return at + (f"{self.pointer}: " if self.pointer else "") + self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When to run an operation: five cron fields (`H` spreads), in a time zone of the IANA's."""

    name: str
    cron: str
    time_zone: str = "UTC"
    operation: Operation = Operation.UPDATE

    @property
    def definition(self) -> str:
        """What makes it another schedule when it is edited."""
        return f"{self.cron} {self.time_zone} {self.operation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a failed run is tried again: `limit` times, the backoff doubling from one to the next."""

    limit: int = 3
    backoff: timedelta = timedelta(seconds=30)
    max_backoff: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One spec file, valid and with its defaults. `name` is its path below the directory.

    `request` has references where secrets belong and the URL as it was written; `base` is
    the directory that a relative URL is relative to. `places` maps JSON pointers to
    (line, column).
    """

    name: str
    path: Path
    stack: StackRef
    request: DeploymentRequest[SecretReference]
    not_secret: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    schedules: tuple[Schedule, ...] = ()
    suspended: bool = False
    depends_on: tuple[str, ...] = ()
    on_spec_change: bool = True
    on_source_change: bool = True
    timeout: timedelta = timedelta(hours=1)
    retry: Retry = Retry()
    places: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: MappingProxyType({}), repr=False, compare=False
    )

    @property
    def base(self) -> Path:
        """The directory a relative `repoUrl` is relative to."""
        return self.path.parent

    def problem(self, pointer: str, message: str) -> Problem:
        """Return a problem at that place of this file."""
        line, column = self.places.get(pointer, (0, 0))
        return Problem(path=self.path, line=line, column=column, pointer=pointer, message=message)


class Broken(NamedTuple):
    """A file that is no valid spec; the stack it names, where that could be read, stays its."""

    problem: Problem
    stack: StackRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What a directory says: specs sorted by name, all problems, and the broken by name.

    Where `complete` is False something could not be looked at, so what is not in here is not
    known to be gone.
    """

    specs: tuple[Spec, ...] = ()
    problems: tuple[Problem, ...] = ()
    broken: Mapping[str, Broken] = field(default_factory=lambda: MappingProxyType({}))
    complete: bool = True


# ---------------------------------------------------------------- why


class ReasonCode(StrEnum):
    """Why a stack stands as it does; each is a heading in docs/status.md."""

    UP_TO_DATE = "UpToDate"
    SPEC_CHANGED = "SpecChanged"
    SOURCE_CHANGED = "SourceChanged"
    NEW = "New"
    SCHEDULE_DUE = "ScheduleDue"
    TRIGGERED = "Triggered"
    RETRYING = "Retrying"
    QUEUED = "Queued"
    RUNNING = "Running"
    NOT_YET_VISIBLE = "NotYetVisible"
    SETTLING = "Settling"
    CANCELING = "Canceling"
    FAILED = "Failed"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    INTERRUPTED = "Interrupted"
    CANCELED = "Canceled"
    TIMED_OUT = "TimedOut"
    REFUSED = "Refused"
    HISTORY_LOST = "HistoryLost"
    HISTORY_UNKNOWN = "HistoryUnknown"
    DEPENDENCY = "Dependency"
    LIMIT = "Limit"
    SUSPENDED = "Suspended"
    INVALID = "Invalid"
    CONFLICT = "Conflict"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SECRET_UNAVAILABLE = "SecretUnavailable"  # noqa: S105 - the name of a reason
    API_UNAVAILABLE = "ApiUnavailable"
    ACCESS_DENIED = "AccessDenied"
    NOT_DURABLE = "NotDurable"


@dataclass(frozen=True, slots=True)
class Reason:
    """One of the codes, and a sentence for a person. Never holds a secret."""

    code: ReasonCode
    message: str


class State(StrEnum):
    """How a spec stands, in one word."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    WAITING = "Waiting"
    FAILED = "Failed"
    STALLED = "Stalled"
    INVALID = "Invalid"
    SUSPENDED = "Suspended"
    CONFLICT = "Conflict"
    UNKNOWN = "Unknown"


# ---------------------------------------------------------------- what should be


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """A spec and what had to be looked up for it.

    `fields` is the canonical form of the request: field → text, secrets as keyed hashes.
    `digest` is its hash. `commit` is what the source points to now. Where one of them could
    not be had, `blocked` says why, and nothing new may be started.
    `source_again_at` is when the source is to be looked at again; None: it cannot move.
    """

    spec: Spec
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    digest: str = ""
    commit: str = ""
    blocked: Reason | None = None
    source_again_at: datetime | None = None

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name


# ---------------------------------------------------------------- what we remember


class CauseKind(StrEnum):
    """What a run is for."""

    CHANGE = "change"
    RETRY = "retry"
    SCHEDULE = "schedule"
    TRIGGER = "trigger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What a run is for: `schedule` and `slot` of a schedule, `request_id` and `by` of a trigger.

    `desired` says whether it brings the stack to what the spec wants; the others (a scheduled
    refresh, say) do not count for Ready and spend no retries.
    """

    kind: CauseKind
    desired: bool
    schedule: str = ""
    slot: datetime | None = None
    request_id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What a run was asked to bring the stack to."""

    digest: str
    commit: str
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A deployment we are about to ask for, or have asked for without an answer.

    `marker` is the variable's name that says it is ours; `after_version` the stack's last
    version known before; `at` when we last asked.
    """

    run_id: str
    marker: str
    cause: Cause
    operation: Operation
    attempt: Attempt
    after_version: int
    at: datetime
    reason: str = ""


class RunEnd(StrEnum):
    """How a run of ours ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed-out"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"
    REFUSED = "refused"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A deployment of ours. `end` is None while it is in flight.

    `visible` says whether the API has shown it to us since it acknowledged it; `step` is the
    failed step and `log` the last lines of its log.
    """

    run_id: str
    cause: Cause
    operation: Operation
    commit: str
    id: str
    version: int
    url: str
    submitted: datetime
    status: JobStatus = JobStatus.NOT_STARTED
    visible: bool = False
    started: datetime | None = None
    finished: datetime | None = None
    end: RunEnd | None = None
    step: str = ""
    message: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRecord:
    """That we cancelled the run in flight: who asked for it, or that it took too long."""

    by: str
    at: datetime
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatus:
    """What we remember of a schedule: no slot at or before `last` will be taken (again)."""

    name: str
    definition: str
    last: datetime
    next: datetime | None = None
    outcome: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A line of the short history: what ended, or was skipped, and why."""

    at: datetime
    text: str
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition in kstatus shape; `status` is True or False."""

    type: str
    status: bool
    reason: str
    message: str
    last_transition: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that is remembered of one spec, in one file beside it.

    `generation` grows by one with each write, so of two copies the newer one is known.
    `attempt` is what the last desired run was for, `last` how it ended, `run` what is in
    flight, `latest` the last run of any kind that ended. `failures` counts failed runs since
    wanted last changed. `stalled` says why nothing more is tried by itself, `hold` why
    nothing is before `next_attempt`.
    `last_version` is the stack's highest known version.
    `handled` are the last requests by hand that have been dealt with.
    """

    name: str
    stack: str = ""
    generation: int = 0
    state: State = State.UNKNOWN
    reason: Reason | None = None
    conditions: tuple[Condition, ...] = ()
    attempt: Attempt | None = None
    intent: Intent | None = None
    run: Run | None = None
    last: Run | None = None
    latest: Run | None = None
    canceling: CancelRecord | None = None
    failures: int = 0
    next_attempt: datetime | None = None
    stalled: Reason | None = None
    hold: Reason | None = None
    last_version: int = 0
    schedules: tuple[ScheduleStatus, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    handled: tuple[str, ...] = ()


# ---------------------------------------------------------------- what is


class RequestKind(StrEnum):
    """What a person can ask for by hand."""

    TRIGGER = "trigger"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandRequest:
    """What a person asked for; `operation` None means the spec's own."""

    id: str
    kind: RequestKind
    name: str
    by: str
    at: datetime
    operation: Operation | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something could not be looked up; never to be taken for "there is none"."""

    reason: Reason
    again_at: datetime


@dataclass(frozen=True, slots=True)
class Upstream:
    """How a dependency stands in this pass."""

    name: str
    state: State
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What we know of one stack.

    `seen` is the run in flight as the API shows it, or with an intent in hand the deployment
    that carries its marker; None where the API has none. `walked_to` is the highest version
    that was looked at. `log` is the end of the failed step's log. `settle` is how long an
    unanswered create may still come through.
    """

    status: Status
    seen: Deployment | Unknown | None = None
    walked_to: int = 0
    log: tuple[str, ...] = ()
    upstream: tuple[Upstream, ...] = ()
    requests: tuple[HandRequest, ...] = ()
    settle: timedelta = timedelta(seconds=30)


# ---------------------------------------------------------------- what to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Ask for a deployment; `again` is the intent to repeat, with the same run id."""

    cause: Cause
    operation: Operation
    again: Intent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """The intent in hand was not carried out, and is no longer wanted."""

    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """The intent in hand was carried out: this deployment is it."""

    deployment: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """The run in flight was seen in another state."""

    deployment: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclude:
    """The run in flight has ended, or (None) is nowhere to be found."""

    deployment: Deployment | None
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancel the run in flight."""

    deployment_id: str
    by: str
    timed_out: bool = False
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRequest:
    """A request by hand that has been dealt with, or cannot be."""

    request_id: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipSlots:
    """Slots of a schedule up to `until` pass without a run; `note` says why."""

    schedule: str
    until: datetime
    note: str


Action = Submit | Abandon | Adopt | Follow | Conclude | Cancel | DropRequest | SkipSlots


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do about one stack, and why.

    `state` and `verdict` say how it stands, also when nothing is done. `changes` are the
    fields that differ, as sentences. `look_again_at` is when time alone may change the plan;
    None: only an event can.
    """

    name: str
    state: State
    verdict: Reason
    actions: tuple[Action, ...] = ()
    changes: tuple[str, ...] = ()
    look_again_at: datetime | None = None
