"""Schedules of other tools → schedules of a spec. Pure."""

from __future__ import annotations

from typing import Final

from reconciler.api.wire import Pointer
from reconciler.importing.draft import Draft
from reconciler.importing.fields import Fields

__all__ = ["every", "is_schedule", "put_schedule", "read_schedule"]

_MINUTES_OF_AN_HOUR: Final = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)
_HOURS_OF_A_DAY: Final = (1, 2, 3, 4, 6, 8, 12, 24)
_HOUR_S: Final = 3600


def every(seconds: int) -> tuple[str, int]:
    """Return a cron expression for an interval, and the interval in seconds that it has.

    cron divides hours and days evenly, so an interval that does not becomes the next shorter one
    that does.
    """
    if seconds < _HOUR_S:
        minutes = max(m for m in _MINUTES_OF_AN_HOUR if m * 60 <= max(seconds, 60))
        return ("* * * * *" if minutes == 1 else f"H/{minutes} * * * *"), minutes * 60
    hours = max(h for h in _HOURS_OF_A_DAY if h * _HOUR_S <= seconds)
    if hours == 1:
        return "H * * * *", _HOUR_S
    cron = "H H * * *" if hours == _HOURS_OF_A_DAY[-1] else f"H H/{hours} * * *"
    return cron, hours * _HOUR_S


def put_schedule(draft: Draft, name: str, fields: dict[str, str]) -> Pointer:
    """Add a schedule to the spec, under a name of its own; returns where it stands."""
    schedules = draft.tree.setdefault("schedules", [])
    taken = {schedule["name"] for schedule in schedules}
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    schedules.append({"name": free, **fields})
    return ("schedules", len(schedules) - 1)


def is_schedule(tree: object) -> bool:
    """Whether an object is a schedule of the API, or the body that makes one."""
    keys = {"scheduleCron", "scheduleOnce", "timestamp"}
    return isinstance(tree, dict) and bool(tree.keys() & keys)


def read_schedule(draft: Draft, value: object, at: Pointer, *, drift: bool = False) -> None:
    """Read a schedule of the API: its cron is in UTC."""
    root = Fields(draft, value, at)
    end = root.text("timestamp")
    if end:  # a stack's last day
        draft.put(("reconcile", "destroyAfter"), end)
        root.close({"deleteAfterDestroy": "the stack itself stays, empty"})
        return
    cron, once = root.text("scheduleCron"), root.text("scheduleOnce")
    repair = root.flag("autoRemediate")
    if root.flag("paused"):
        draft.note(root.place("paused"), "it is paused, and left out of the spec")
        return
    request = root.below("request").left or root.below("definition").below("request").left
    operation = request.get("operation") or request.get("pulumiOperation")
    if drift or root.take("kind") == "drift":
        operation = "detect-drift"
        if repair:
            draft.put(("reconcile", "onDrift"), "update")
    if not isinstance(operation, str) or not (cron or once):
        draft.lose(at, "says no time, or no operation")
        return
    time = {"cron": cron, "timeZone": "UTC"} if cron else {"at": once}
    put_schedule(draft, operation, {**time, "operation": operation})
