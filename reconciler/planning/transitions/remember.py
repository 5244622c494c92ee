"""The next status after an action that only has to be remembered: one function for each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from reconciler.model import (
    Abandon,
    Action,
    Adopt,
    Ask,
    Conclude,
    Desired,
    DropRequest,
    Follow,
    Grant,
    MarkClock,
    MarkRemoved,
    Notice,
    Recall,
    SkipSlots,
    Status,
    TakeOver,
    TakeUpSlot,
)
from reconciler.planning.transitions import creates, events, runs
from reconciler.planning.transitions.notes import handled

__all__ = ["remembered"]

_Next = Callable[[Status, Any, Desired, datetime], Status]

_NEXT: Final[Mapping[type, _Next]] = {
    Adopt: lambda status, action, _, now: creates.adopted(status, action.deployment, now),
    Recall: creates.recalled,
    Abandon: lambda status, action, _, now: creates.abandoned(status, action, now),
    Follow: lambda status, action, _, now: runs.followed(status, action.deployment, now),
    Conclude: lambda status, action, desired, now: runs.concluded(
        status, action, desired.spec.retry, now
    ),
    DropRequest: lambda status, action, _, now: handled(
        status, action.request_id, action.note, now
    ),
    SkipSlots: lambda status, action, _, now: events.skipped(status, action, now),
    TakeUpSlot: lambda status, action, _, __: events.slot_taken_up(status, action),
    MarkClock: lambda status, action, _, now: events.clock_marked(status, action, now),
    MarkRemoved: lambda status, action, _, now: events.removal_marked(status, action, now),
    Notice: lambda status, action, _, now: events.noticed(status, action, now),
    TakeOver: events.taken_over,
    Ask: events.asked,
    Grant: lambda status, action, _, now: events.granted(status, action, now),
}


def remembered(status: Status, action: Action, desired: Desired, now: datetime) -> Status:
    """Return what is remembered once the action is; KeyError for one that calls the API."""
    return _NEXT[type(action)](status, action, desired, now)
