"""When a schedule of the engine is due, and what becomes of slots that were missed. Pure.

A slot is one due time of one schedule. A schedule counts from a moment (`counted_from`): no
slot at or before it is taken, so a clock that jumps takes none twice. After an absence the
latest slot alone is made up for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler import cron
from reconciler.api.types import Operation

__all__ = ["LATEST_START", "WENT_BACK", "Schedule", "Timing", "Turn", "first", "turn"]

# A change that was due longer ago was due in other circumstances: it waits for its next slot.
# Looking (preview, refresh, drift detection) does no harm whenever it is made up for.
LATEST_START = timedelta(hours=1)
_CHANGES = frozenset({Operation.UPDATE, Operation.DESTROY, Operation.REMEDIATE_DRIFT})

# A clock that is set back further than clocks are corrected was wrong before: waiting until it
# is there again could take years.
WENT_BACK = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When: five cron fields, read in UTC, or once at a moment; exactly one of the two."""

    cron: str = ""
    once: datetime | None = None

    @property
    def time_zone(self) -> str:
        """The API's schedules know no other."""
        return "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What decides about a schedule; `id` is also what `H` in its cron is made from."""

    id: str
    timing: Timing
    operation: Operation
    counted_from: datetime
    next: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a look at a schedule leads to.

    `slot` is taken, unless it is None; where `missed` says why, it is taken without a
    deployment. The schedule goes on with `counted_from` and `next`.
    """

    slot: datetime | None = None
    missed: str = ""
    counted_from: datetime
    next: datetime | None


def first(timing: Timing, schedule_id: str, now: datetime) -> datetime | None:
    """Return the first slot after `now`; None where there is none."""
    if timing.once is not None:
        return timing.once if timing.once > now else None
    return cron.next_slot(timing, now, schedule_id)


def turn(schedule: Schedule, now: datetime) -> Turn | None:
    """Say what is to be done about a schedule; None: nothing before its `next`."""
    timing = schedule.timing
    if schedule.counted_from - now > WENT_BACK and schedule.next is not None:
        upcoming = timing.once or first(timing, schedule.id, now)
        return Turn(counted_from=now, next=upcoming)
    if schedule.next is None or schedule.next > now:
        return None
    if timing.once is not None:
        return Turn(slot=timing.once, counted_from=timing.once, next=None)
    due = cron.due_slots(timing, schedule.counted_from, now, schedule.id)
    upcoming = cron.next_slot(timing, now, schedule.id)
    if not due:
        return Turn(counted_from=schedule.counted_from, next=upcoming)
    latest = due[-1]
    missed = ""
    if schedule.operation in _CHANGES and now - latest > LATEST_START:
        missed = f"skipped: the engine did not run at {latest:%Y-%m-%d %H:%M} UTC"
    return Turn(slot=latest, missed=missed, counted_from=latest, next=upcoming)
