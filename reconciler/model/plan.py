"""What to do about one stack, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from reconciler.api.types import Deployment, Operation
from reconciler.model.reasons import Reason, State
from reconciler.model.status import Cause, ForeignRun, Intent

__all__ = [
    "Abandon",
    "Action",
    "Adopt",
    "Ask",
    "BindRequest",
    "Cancel",
    "CancelDouble",
    "Conclude",
    "DropRequest",
    "Follow",
    "Forget",
    "Grant",
    "MarkClock",
    "MarkRemoved",
    "Notice",
    "Plan",
    "Recall",
    "SkipSlots",
    "Submit",
    "TakeOver",
    "TakeUpSlot",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Ask for a deployment; `again` is the intent to repeat, with the same run id."""

    cause: Cause
    operation: Operation
    again: Intent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """The intent in hand was not carried out, and is no longer wanted.

    `by` and `request_id` are of who cancelled it, where somebody did.
    """

    note: str
    by: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """The intent in hand was carried out: this deployment is it."""

    deployment: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A deployment with our marker that no status tells of is what would be started: it is ours."""

    cause: Cause
    operation: Operation
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
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancel the run in flight; `superseded`: what it was asked for is no longer wanted."""

    deployment_id: str
    by: str
    timed_out: bool = False
    superseded: bool = False
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDouble:
    """Cancel one of two deployments that one request of ours has made."""

    deployment_id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The stack has newer versions: remember the newest of others, or what `note` says of them."""

    latest: int
    foreign: ForeignRun | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """This stack is ours from here on; nothing up to `latest` is held against it.

    `deployment` is one of ours, found by its marker, which brought the stack to what is wanted;
    None: a person (`by`) says that the stack is to be taken as it is. `running` is the oldest that
    has not ended: nothing starts before it has.
    """

    latest: int
    by: str
    deployment: Deployment | None = None
    request_id: str = ""
    running: ForeignRun | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A person is asked to approve an operation that no preview can show."""

    operation: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A person approved what they were asked for."""

    by: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BindRequest:
    """A request by hand is for what is wanted at this moment, and for nothing that comes later."""

    request_id: str
    binds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRequest:
    """A request by hand that has been dealt with, or cannot be."""

    request_id: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeUpSlot:
    """A slot is taken up, and waits for what holds it back: its deadline no longer counts."""

    schedule: str
    slot: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipSlots:
    """Slots of a schedule up to `until` pass without a run; `note` says why."""

    schedule: str
    until: datetime
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkClock:
    """The clock is behind what was last written; with `rebase` it is believed from now on."""

    rebase: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRemoved:
    """The file is gone (or, with `back`, is there again)."""

    confirmed: bool = False
    begun: bool = False
    back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Nothing more is to be done for a removed spec: its status file goes."""

    note: str


Action = (
    Submit
    | Abandon
    | Adopt
    | Recall
    | Follow
    | Conclude
    | Cancel
    | CancelDouble
    | Notice
    | TakeOver
    | Ask
    | Grant
    | BindRequest
    | DropRequest
    | TakeUpSlot
    | SkipSlots
    | MarkClock
    | MarkRemoved
    | Forget
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do about one stack, and why.

    `state` and `verdict` say how it stands, also when nothing is done. `changes` are the
    fields that differ, as sentences. `look_again_at` is when time alone may change the plan;
    None: only an event can. `needs_history`: what the API tells of the stack may change it, so
    it is to be made again with that.
    """

    name: str
    state: State
    verdict: Reason
    actions: tuple[Action, ...] = ()
    changes: tuple[str, ...] = ()
    look_again_at: datetime | None = None
    needs_history: bool = False

    @property
    def starts(self) -> Submit | None:
        """The create this plan would send, where it sends one."""
        return next((a for a in self.actions if isinstance(a, Submit)), None)
