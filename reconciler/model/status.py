"""What is remembered of one spec: the whole last-run state, in one file beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from reconciler.api.types import JobStatus, Operation
from reconciler.model.reasons import Reason, State

__all__ = [
    "Approval",
    "Attempt",
    "CancelRecord",
    "Cause",
    "CauseKind",
    "Condition",
    "Drift",
    "ForeignRun",
    "HistoryEntry",
    "Intent",
    "Removal",
    "Run",
    "RunEnd",
    "ScheduleStatus",
    "Status",
]


class CauseKind(StrEnum):
    """What a run is for."""

    NEW = "new"
    CHANGE = "change"
    SOURCE = "source"
    RETRY = "retry"
    SCHEDULE = "schedule"
    TRIGGER = "trigger"
    DEPENDENCY = "dependency"
    DRIFT = "drift"
    FOREIGN = "foreign"
    APPROVAL = "approval"  # the preview that a person is asked to approve
    EXPIRY = "expiry"
    REMOVAL = "removal"


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
    """What a run was asked to bring the stack to; `source` as in `Desired`."""

    digest: str
    commit: str
    source: str = ""
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
    upstream: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    upstream_stacks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class RunEnd(StrEnum):
    """How a run of ours ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed-out"
    INTERRUPTED = "interrupted"
    LOCKED = "locked"
    SKIPPED = "skipped"
    REFUSED = "refused"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A deployment of ours. `end` is None while it is in flight.

    `visible` says whether the API has shown it to us since it acknowledged it; `step` is the
    failed step and `log` the last lines of its log. `digest` and `source` are those it was
    asked to bring the stack to, so that a change while it runs is seen. `started` and `finished`
    are what the API says; `seen_running` and `seen_ended` when we saw that, by our own clock,
    as the two may differ by hours.
    """

    run_id: str
    cause: Cause
    operation: Operation
    commit: str
    id: str
    version: int
    url: str
    submitted: datetime
    digest: str = ""
    source: str = ""
    marker: str = ""
    status: JobStatus = JobStatus.NOT_STARTED
    visible: bool = False
    started: datetime | None = None
    finished: datetime | None = None
    seen_running: datetime | None = None
    seen_ended: datetime | None = None
    end: RunEnd | None = None
    step: str = ""
    message: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRecord:
    """That we cancelled the run in flight.

    `by` is who asked for it. `timed_out`: it took too long; `superseded`: what it was asked
    for is no longer wanted.
    """

    by: str
    at: datetime
    timed_out: bool = False
    superseded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatus:
    """What we remember of a schedule: no slot at or before `last` will be taken (again).

    `due` is a slot that was taken up in time and waits for a window, an approval or a limit:
    its deadline no longer counts.
    """

    name: str
    definition: str
    last: datetime
    next: datetime | None = None
    due: datetime | None = None
    outcome: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a person is asked to approve, or has approved.

    It binds what is wanted (`digest`, `source`, `operation`) and the preview (`version`) that
    was shown. `asked` is when that preview was ready; `granted` is when `by` approved it.
    """

    digest: str
    source: str
    operation: Operation
    version: int
    asked: datetime
    summary: str = ""
    by: str = ""
    granted: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """The newest deployment of somebody else's that we know of.

    `owner` is whose marker it carries, empty where it has none. `changes` says whether it is
    an operation that changes the stack; `ended` whether it is over.
    """

    version: int
    by: str
    operation: Operation | None
    owner: str = ""
    changes: bool = True
    ended: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """That version `version` found the stack other than its state says; `summary` says how.

    `unsaved`: the look has left Pulumi's state as it was. An update compares the program with that
    state, and so undoes such drift only where it refreshes first.
    """

    version: int
    found: datetime
    summary: str = ""
    unsaved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """That the file is gone: since when, and once it is acted on, `begun`.

    `confirmed`: a commit that descends from the last applied one has removed it. `spec` is what
    a destroy is made of: the last good spec as JSON, empty where the stack is kept.
    """

    since: datetime
    confirmed: bool = False
    begun: datetime | None = None


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

    `generation` grows by one with each write, so of two copies the newer one is known;
    `written` is when that was. `attempt` is what the last desired run was for, `last` how it
    ended, `run` what is in flight, `latest` the last run of any kind that ended. `applied` is
    the version of the last desired run that succeeded, `first_applied` when the first did.
    `made`: a run that may have made something has ended, well or not.
    `failures` counts failed runs since wanted last changed, `locked_since` when the stack was
    first found locked. `stalled` says why nothing more is tried by itself, `hold` why nothing
    is before `next_attempt`. `last_version` is the stack's highest known version; `upstream`
    is what each dependency had applied when the last desired run began, and `upstream_stacks` on
    which stack. `last_good_spec` is
    what a removed spec is destroyed by: JSON, with references where secrets belong.
    `clock_behind_since` is when the clock was first seen before `written`.
    `handled` are the last requests by hand that have been dealt with.
    """

    name: str
    stack: str = ""
    generation: int = 0
    written: datetime | None = None
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
    locked_since: datetime | None = None
    next_attempt: datetime | None = None
    stalled: Reason | None = None
    hold: Reason | None = None
    last_version: int = 0
    applied: int = 0
    first_applied: datetime | None = None
    destroyed: bool = False
    made: bool = False
    upstream: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    upstream_stacks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    approval: Approval | None = None
    foreign: ForeignRun | None = None
    adopted_version: int = 0
    drift: Drift | None = None
    removal: Removal | None = None
    last_good_spec: str = ""
    clock_behind_since: datetime | None = None
    schedules: tuple[ScheduleStatus, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    handled: tuple[str, ...] = ()
