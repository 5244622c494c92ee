"""Rules for schedules: which slot runs, which are passed over, and why. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler.api.types import Operation
from reconciler.model import (
    Cause,
    CauseKind,
    MarkClock,
    MissedRuns,
    Overlap,
    Plan,
    Reason,
    ReasonCode,
    Schedule,
    ScheduleStatus,
    SkipSlots,
    State,
    Submit,
)
from reconciler.patience import CLOCK_TOLERANCE
from reconciler.planning import slots
from reconciler.planning.gates import start
from reconciler.planning.situation import Situation

__all__ = ["believe_clock", "skip_overlapped", "submit_due_slot"]

# A destroy is never caught up. A slot this young is not missed, only taken up a little late.
DESTROY_DEADLINE = timedelta(minutes=5)

# A clock that stays behind what was written down is believed after this long.
BELIEVE_AFTER = timedelta(minutes=10)


def skip_overlapped(at: Situation) -> Plan | None:
    """With `overlap: skip`, slots that came while something ran pass, and are recorded."""
    latest = at.status.latest
    if latest is None or latest.seen_ended is None:
        return None
    for schedule in at.spec.schedules:
        known = at.remembered(schedule)
        if schedule.overlap is not Overlap.SKIP or known is None:
            continue
        until = min(latest.seen_ended, at.now)
        due = _due(at, schedule, known.last, until) if until > known.last else ()
        # Its own slot is the one that started the run, and is taken up already.
        during = tuple(slot for slot in due if slot > latest.submitted)
        before = due[: len(due) - len(during)]
        if during and before:
            note = f"{_slots(schedule, before)} passed over: a newer one came"
            return _skip(at, schedule, before[-1], note)
        if during:
            note = (
                f"{_slots(schedule, during)} came while version {latest.version} ran "
                "(overlap: skip)"
            )
            return _skip(at, schedule, during[-1], note)
    return None


def believe_clock(at: Situation) -> Plan | None:
    """A clock before the last written time holds slots for a while, then is believed."""
    if not at.spec.schedules:
        return None
    known = [s.last for s in at.status.schedules]
    latest = max([at.status.written or at.now, *known])
    if at.now >= latest - CLOCK_TOLERANCE:
        return None
    behind = f"the clock says {at.now:%Y-%m-%d %H:%M} UTC, and {latest:%Y-%m-%d %H:%M} was written"
    since = at.status.clock_behind_since
    if since is None or since > at.now:
        reason = Reason(ReasonCode.CLOCK_BEHIND, f"{behind}: schedules wait")
        return at.plan(State.READY, reason, MarkClock(rebase=False))
    if at.now < since + BELIEVE_AFTER:
        until = since + BELIEVE_AFTER
        message = f"{behind}: schedules wait until {until:%H:%M} UTC at most, then count from now"
        return at.wait(State.READY, Reason(ReasonCode.CLOCK_BEHIND, message), until)
    reason = Reason(ReasonCode.CLOCK_BEHIND, f"{behind}: schedules count from now on")
    return at.plan(State.READY, reason, MarkClock(rebase=True))


def submit_due_slot(at: Situation) -> Plan | None:
    """A schedule's newest due slot starts one run; those it passes over are recorded."""
    waiting: Plan | None = None
    for schedule in at.spec.schedules:
        known = at.remembered(schedule)
        due = _due(at, schedule, known.last, at.now) if known is not None else ()
        if known is None or not due:
            continue
        answer = _take_up(at, schedule, known, due)
        if answer.actions or answer.needs_history:
            return answer
        waiting = waiting or answer
    return waiting


def _take_up(
    at: Situation, schedule: Schedule, known: ScheduleStatus, due: tuple[datetime, ...]
) -> Plan:
    slot = due[-1]
    missed = _missed(at, schedule, known, slot)
    if missed:
        return _skip(at, schedule, slot, f"{_slots(schedule, due)} {missed}")
    if len(due) > 1:
        note = f"{_slots(schedule, due[:-1])} passed over: a newer one is due"
        return _skip(at, schedule, due[-2], note)
    cause = Cause(kind=CauseKind.SCHEDULE, desired=False, schedule=schedule.name, slot=slot)
    reason = Reason(
        ReasonCode.SCHEDULE_DUE, f"schedule {schedule.name} due {slot:%Y-%m-%d %H:%M} UTC"
    )
    if at.status.destroyed and schedule.operation is not Operation.UPDATE:
        note = f"{_slots(schedule, due)} passed over: the stack is destroyed"
        return _skip(at, schedule, slot, note)
    if at.expired and schedule.operation is Operation.UPDATE:
        note = f"{_slots(schedule, due)} passed over: the time of reconcile.destroyAfter has come"
        return _skip(at, schedule, slot, note)
    return start(at, Submit(cause=cause, operation=schedule.operation), reason)


def _missed(at: Situation, schedule: Schedule, known: ScheduleStatus, slot: datetime) -> str:
    """Return why a slot is too late to run, or an empty text."""
    if known.due == slot:
        return ""  # taken up in time: what held it since does not count
    late = at.now - slot
    if at.spec.missed_runs is MissedRuns.SKIP and late > DESTROY_DEADLINE:
        return "was missed (missedRuns: skip)"
    if schedule.operation is Operation.DESTROY and late > DESTROY_DEADLINE:
        return "was missed, and a destroy is not caught up"
    deadline = schedule.starting_deadline
    if schedule.operation is Operation.UPDATE and late > deadline:
        return f"was missed by more than its startingDeadline ({deadline})"
    return ""


def _due(
    at: Situation, schedule: Schedule, since: datetime, until: datetime
) -> tuple[datetime, ...]:
    return slots.due(schedule, since, until, slots.slot_key(at.spec, schedule))


def _slots(schedule: Schedule, due: tuple[datetime, ...]) -> str:
    first = f"schedule {schedule.name} due {due[0]:%Y-%m-%d %H:%M}"
    if len(due) == 1:
        return f"{first} UTC"
    return f"{len(due)} slots of {first} to {due[-1]:%Y-%m-%d %H:%M} UTC"


def _skip(at: Situation, schedule: Schedule, until: datetime, note: str) -> Plan:
    skip = SkipSlots(schedule=schedule.name, until=until, note=note)
    return at.plan(State.READY, Reason(ReasonCode.SCHEDULE_DUE, note), skip)
