"""The due times of a schedule, whether it comes again and again or once. Pure.

A slot is one due time of one schedule. All that asks when something is due asks here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from reconciler import cron
from reconciler.model import Schedule, Spec

__all__ = ["coming", "due", "following", "slot_key"]


def slot_key(spec: Spec, schedule: Schedule) -> str:
    """Return what spreads a schedule's `H`: the stack and the schedule's name."""
    return f"{spec.stack} {schedule.name}"


def due(schedule: Schedule, since: datetime, now: datetime, key: str) -> tuple[datetime, ...]:
    """Return the slots after `since` and up to `now`, in UTC, oldest first.

    `key` is the schedule's `slot_key`. Of more than `cron.MAX_DUE` the newest are kept.
    """
    if schedule.at is None:
        return cron.due_slots(schedule, since, now, key)
    return (schedule.at.astimezone(UTC),) if since < schedule.at <= now else ()


def following(schedule: Schedule, after: datetime, key: str) -> datetime | None:
    """Return the first slot after `after`, in UTC; None where none comes any more."""
    if schedule.at is None:
        return cron.next_slot(schedule, after, key)
    return schedule.at.astimezone(UTC) if schedule.at > after else None


def coming(schedule: Schedule, after: datetime, key: str) -> Iterator[datetime]:
    """Yield the slots after `after`, in UTC, one after another; there may be no end to them."""
    if schedule.at is None:
        yield from cron.slots_after(schedule, after, key)
    elif schedule.at > after:
        yield schedule.at.astimezone(UTC)
