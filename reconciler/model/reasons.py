"""Why a stack stands as it does, and how: the codes and the states. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from reconciler.mistakes import Mistake

__all__ = ["Problem", "Reason", "ReasonCode", "State"]


class ReasonCode(StrEnum):
    """Why a stack stands as it does; each is a heading in docs/status.md."""

    UP_TO_DATE = "UpToDate"
    DESTROYED = "Destroyed"
    SPEC_CHANGED = "SpecChanged"
    SOURCE_CHANGED = "SourceChanged"
    NEW = "New"
    SCHEDULE_DUE = "ScheduleDue"
    TRIGGERED = "Triggered"
    RETRYING = "Retrying"
    DEPENDENCY_CHANGED = "DependencyChanged"
    EXPIRED = "Expired"
    ADOPTED = "Adopted"
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
    LOCKED = "Locked"
    HISTORY_LOST = "HistoryLost"
    HISTORY_UNKNOWN = "HistoryUnknown"
    FOREIGN_RUNNING = "ForeignRunning"
    FOREIGN_CHANGE = "ForeignChange"
    DRIFTED = "Drifted"
    DEPENDENCY = "Dependency"
    WINDOW = "Window"
    APPROVAL = "Approval"
    PAUSED = "Paused"
    LIMIT = "Limit"
    MASS_CHANGE = "MassChange"
    MASS_REMOVAL = "MassRemoval"
    REMOVED = "Removed"
    SUSPENDED = "Suspended"
    INVALID = "Invalid"
    BEING_WRITTEN = "BeingWritten"
    CONFLICT = "Conflict"
    CLOCK_BEHIND = "ClockBehind"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A user's mistake: where it is, what is wrong and what would be right.

    `line` and `column` count from 1; 0 where the file as a whole is meant. `pointer` is a
    JSON pointer, empty where there is none; `kind` is what programs tell it by.
    """

    path: Path
    line: int = 0
    column: int = 0
    pointer: str = ""
    message: str
    kind: Mistake = Mistake.WRONG_VALUE

    def __str__(self) -> str:
        at = f"{self.path}:{max(self.line, 1)}:{max(self.column, 1)}: "
        return at + (f"{self.pointer}: " if self.pointer else "") + self.message
