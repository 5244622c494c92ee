"""What a plan's actions are, in words for a person. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from reconciler.model import (
    Abandon,
    Action,
    Adopt,
    Ask,
    BindRequest,
    Cancel,
    CancelDouble,
    Conclude,
    DropRequest,
    Follow,
    Forget,
    Grant,
    MarkClock,
    MarkRemoved,
    Notice,
    Recall,
    SkipSlots,
    Submit,
    TakeOver,
    TakeUpSlot,
)

__all__ = ["does", "few"]

_WORDS: Final[Mapping[type, Callable[[Any], str]]] = {
    Submit: lambda a: f"start {a.operation}",
    Cancel: lambda _: "cancel what runs",
    CancelDouble: lambda a: f"cancel version {a.version}, a request that arrived twice",
    Adopt: lambda a: f"take version {a.deployment.version} up again",
    Recall: lambda a: f"take up version {a.deployment.version}, which carries our marker",
    Follow: lambda _: "take down how the deployment stands",
    Conclude: lambda _: "take down how the deployment ended",
    Abandon: lambda _: "forget a create that did not come through",
    BindRequest: lambda _: "take a request by hand as it is meant now",
    DropRequest: lambda _: "take away a request by hand",
    TakeUpSlot: lambda a: f"take up a slot of {a.schedule}",
    SkipSlots: lambda a: f"skip a slot of {a.schedule}",
    MarkClock: lambda a: "believe the clock" if a.rebase else "take down that the clock is behind",
    MarkRemoved: lambda a: "act on the removal" if a.begun else "take down that the file is gone",
    Forget: lambda _: "forget the spec",
    Notice: lambda a: f"take down what was deployed up to version {a.latest}",
    TakeOver: lambda a: f"take the stack over at version {a.latest}",
    Ask: lambda a: f"ask for approval to {a.operation}",
    Grant: lambda a: f"go on with what {a.by} has approved",
}


def few(names: Iterable[str], most: int) -> str:
    """Write names for a person: at most so many, sorted, and how many more there are."""
    found = sorted(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def does(action: Action) -> str:
    """Say what an action does, in a few words."""
    return _WORDS[type(action)](action)
