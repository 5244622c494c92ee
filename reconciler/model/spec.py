"""What a spec file says, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from reconciler.api.types import DeploymentRequest, Operation, StackRef
from reconciler.mistakes import Mistake
from reconciler.model.reasons import Problem

__all__ = [
    "ANY_PATH",
    "Broken",
    "Catalog",
    "MissedRuns",
    "OnDelete",
    "OnDependency",
    "OnRotate",
    "Overlap",
    "Response",
    "Retry",
    "Schedule",
    "SecretReference",
    "Spec",
    "WhileRunning",
    "Window",
]

ANY_PATH = ("**",)

_LINE_END = "\n"


class OnRotate(StrEnum):
    """What a new value of a secret does: it counts as a change, or waits for the next run."""

    RUN = "run"
    IGNORE = "ignore"


class Overlap(StrEnum):
    """What becomes of a slot while something runs on its stack."""

    QUEUE = "queue"
    SKIP = "skip"


class MissedRuns(StrEnum):
    """What becomes of slots that passed while nobody looked: the latest runs, or none."""

    LATEST = "latest"
    SKIP = "skip"


class WhileRunning(StrEnum):
    """What a change does to a run in progress: wait for its end, or cancel it first."""

    WAIT = "wait"
    CANCEL = "cancel"


class OnDelete(StrEnum):
    """What becomes of the stack of a removed spec."""

    KEEP = "keep"
    DESTROY = "destroy"


class OnDependency(StrEnum):
    """Whether a dependency that deployed something new starts a run."""

    NONE = "none"
    RUN = "run"


class Response(StrEnum):
    """What drift, or an update of somebody else's, starts."""

    REPORT = "report"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret comes from.

    `kind` is the key it has in a spec: fromEnv, fromFile, fromCredential, fromCommand, or
    sops. `name` is the variable, path, credential, command's name; of sops the place, a line
    end and the encrypted file.
    """

    kind: str
    name: str
    on_rotate: OnRotate = OnRotate.RUN

    def __str__(self) -> str:
        return f"{self.kind} {self.name.partition(_LINE_END)[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When to run an operation, in a time zone of the IANA's.

    Either `cron` is five fields (`H` spreads), or `at` is the one time. `starting_deadline`
    is how late a missed update may still start.
    """

    name: str
    cron: str = ""
    at: datetime | None = None
    time_zone: str = "UTC"
    operation: Operation = Operation.UPDATE
    overlap: Overlap = Overlap.QUEUE
    starting_deadline: timedelta = timedelta(hours=1)

    @property
    def definition(self) -> str:
        """What makes it another schedule when it is edited."""
        when = self.cron if self.at is None else self.at.isoformat()
        return f"{when} {self.time_zone} {self.operation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When runs may start: from `start` up to `end` (minutes after midnight) on `days`.

    `days` count from 0 for Monday. Where `end` is not after `start`, the window ends on the
    next day.
    """

    days: frozenset[int] = frozenset(range(7))
    start: int
    end: int
    time_zone: str = "UTC"


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
    the directory that a relative URL is relative to. `destroy_after` is a time, or how long
    after its first deployment. `places` maps the JSON pointers that are told of later, when
    specs are held against one another, to (line, column).
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
    on_dependency: OnDependency = OnDependency.NONE
    on_spec_change: bool = True
    on_source_change: bool = True
    source_paths: tuple[str, ...] = ANY_PATH
    pin: bool = True
    while_running: WhileRunning = WhileRunning.WAIT
    on_delete: OnDelete = OnDelete.KEEP
    destroy_after: datetime | timedelta | None = None
    on_drift: Response = Response.REPORT
    on_foreign: Response = Response.REPORT
    needs_approval: bool = False
    dry_run: bool = False
    timeout: timedelta = timedelta(hours=1)
    retry: Retry = Retry()
    missed_runs: MissedRuns = MissedRuns.LATEST
    windows: tuple[Window, ...] = ()
    places: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: MappingProxyType({}), repr=False, compare=False
    )

    @property
    def base(self) -> Path:
        """The directory a relative `repoUrl` is relative to."""
        return self.path.parent

    @property
    def wants_destroyed(self) -> bool:
        """Whether a destroy is what the spec itself asks for."""
        return self.request.operation is Operation.DESTROY

    @property
    def pinned(self) -> bool:
        """Whether the commit that was found is asked for: what a person approves always is."""
        return self.pin or self.needs_approval

    def run_for(self, operation: Operation) -> Operation:
        """Return what is run where an operation is asked for: with `dryRun` no more than a look."""
        return Operation.PREVIEW if self.dry_run and not operation.changes_nothing else operation

    def problem(self, pointer: str, message: str, kind: Mistake) -> Problem:
        """Return a problem at that place of this file."""
        line, column = self.places.get(pointer, (0, 0))
        return Problem(
            path=self.path, line=line, column=column, pointer=pointer, message=message, kind=kind
        )


class Broken(NamedTuple):
    """A file that is no valid spec; the stack it names, where that could be read, stays its."""

    problem: Problem
    stack: StackRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """A file that somebody may still be writing, so that it is not read before `until`.

    `since` is when it was last written, None as long as it is not written for long.
    """

    path: Path
    until: datetime
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What a directory says: specs sorted by name, all problems, and the broken by name.

    `writing` are the names whose files have changed and are not read yet; what they said before
    is in `specs` still.
    Where `complete` is False something could not be looked at, so what is not in here is not
    known to be gone.
    """

    specs: tuple[Spec, ...] = ()
    problems: tuple[Problem, ...] = ()
    broken: Mapping[str, Broken] = field(default_factory=lambda: MappingProxyType({}))
    writing: Mapping[str, Writing] = field(default_factory=lambda: MappingProxyType({}))
    complete: bool = True
