"""What is known of one stack when it is planned. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from reconciler.api.types import Deployment, Operation
from reconciler.model.reasons import Reason, State
from reconciler.model.spec import Window
from reconciler.model.status import ForeignRun, Status

__all__ = [
    "Downstream",
    "HandRequest",
    "History",
    "Hold",
    "Holds",
    "Observed",
    "Passage",
    "RequestKind",
    "Unknown",
    "Upstream",
]


class RequestKind(StrEnum):
    """What a person can ask for by hand."""

    TRIGGER = "trigger"
    CANCEL = "cancel"
    APPROVE = "approve"
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandRequest:
    """What a person asked for.

    `operation` None means the spec's own. `binds` is what it is for, and for nothing else: of an
    approval the key of what was wanted when it was given, of an adoption that of what was wanted
    when it was first looked at, of a cancel the id of the run. Empty: whatever there is.
    """

    id: str
    kind: RequestKind
    name: str
    by: str
    at: datetime
    operation: Operation | None = None
    binds: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """That a person has suspended a spec, or all of them, over what the file says."""

    by: str
    at: datetime
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """That a person, at a moment, let one name pass what held it with very many others, once.

    `code` is why those were held, `digest` what the name wanted, or was at where its file is gone.
    """

    code: str
    name: str
    digest: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """What people hold by hand: all specs, or some by name; and which mass changes may pass.

    `approved` is what may pass, however long ago that was said; `used` what has passed so.
    """

    everything: Hold | None = None
    names: Mapping[str, Hold] = field(default_factory=lambda: MappingProxyType({}))
    approved: frozenset[Passage] = frozenset()
    used: frozenset[Passage] = frozenset()

    def of(self, name: str) -> Hold | None:
        """Return what holds a name."""
        return self.everything or self.names.get(name)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something could not be looked up; never to be taken for "there is none"."""

    reason: Reason
    again_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the API tells of a stack beyond our own run.

    `latest` is its highest version, 0 where it has none. `foreign` is the newest deployment of
    somebody else's after the last version we know of, `running` the oldest of theirs that has
    not ended. `ours` is the newest that carries this owner's marker, where others of them did more
    than look the newest of those. `stray` is the oldest of ours that is to be dealt with, as no
    status tells of it, or as it is one more that carries the marker of a run that we know; `double`
    is the oldest of the latter that is queued. Where several are to be dealt with, they are so in
    their order: up to `told_to` there is nothing but `foreign`.
    """

    latest: int = 0
    foreign: ForeignRun | None = None
    running: ForeignRun | None = None
    ours: Deployment | None = None
    stray: Deployment | None = None
    double: Deployment | None = None
    told_to: int = 0


@dataclass(frozen=True, slots=True)
class Upstream:
    """How a dependency stands in this pass.

    `applied` is the version it has applied, on `stack` (as text), `since` when it was seen to.
    """

    name: str
    state: State
    missing: bool = False
    applied: int = 0
    stack: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Downstream:
    """A spec that depends on this one; `gone` once its stack is destroyed."""

    name: str
    gone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What we know of one stack.

    `seen` is the run in flight as the API shows it, or with an intent in hand the deployment that
    carries its marker; None where the API has none. `log` is the end of the last step's log,
    `found` what its own words say the run has changed or would change. `paused` says that the API
    starts nothing on this stack. `history` is None where it was not asked for: a plan that would
    start something is made again with it. `settles_in` is how long an unanswered create may still
    come through, `missing_for` how long the run in flight has been nowhere, `running_for` how long
    it has run, each by time that nobody can set; `gone_in` how long this process has to see a
    missing file missing yet, and `ends_in` the time of `destroyAfter` come. `hold` is a person's
    suspension, `windows` those of the host for all specs.
    """

    status: Status
    seen: Deployment | Unknown | None = None
    log: tuple[str, ...] = ()
    found: str = ""
    paused: bool = False
    history: History | Unknown | None = None
    upstream: tuple[Upstream, ...] = ()
    downstream: tuple[Downstream, ...] = ()
    requests: tuple[HandRequest, ...] = ()
    hold: Hold | None = None
    windows: tuple[Window, ...] = ()
    settles_in: timedelta = timedelta(0)
    missing_for: timedelta = timedelta(0)
    running_for: timedelta = timedelta(0)
    gone_in: timedelta = timedelta(0)
    ends_in: timedelta = timedelta(0)
