"""What will run when, as far as it is known now: slots, windows, and ends of stacks. Pure.

What nobody knows beforehand is not in it: how long runs take, changes, and what people do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Final
from zoneinfo import ZoneInfo

from reconciler import zones
from reconciler.api.types import Operation
from reconciler.cron_expression import parse
from reconciler.model import Schedule, Spec, Status, Window
from reconciler.planning import slots, windows
from reconciler.planning.situation import expiry

__all__ = ["Agenda", "Entry", "Fate", "Subject", "agenda"]

# What is left out is counted up to here: a fleet's slots of a year would take minutes.
_COUNTED: Final = 20_000

_A_MOMENT: Final = timedelta(microseconds=1)


class Fate(StrEnum):
    """What becomes of an entry."""

    RUNS = "runs"
    WAITS = "waits"
    PASSED_OVER = "passedOver"
    NEVER = "never"
    SUSPENDED = "suspended"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A spec, what is remembered of it, and whether a person has suspended it (`held`)."""

    spec: Spec
    status: Status
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One due time of one spec; `schedule` is empty where `destroyAfter` is due.

    `starts` is when its run may start at the earliest, None where it never does; `due` where
    nothing holds it. `skipped_time`: its own time is one that a change of the clocks skips, so
    that it is due right after.
    """

    name: str
    stack: str
    schedule: str
    operation: Operation
    due: datetime
    time_zone: str
    fate: Fate
    starts: datetime | None
    skipped_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """The entries from `begin` up to but not including `end`, by time and name.

    `left_out` is how many more there are; where not `counted`, at least that many.
    """

    begin: datetime
    end: datetime
    entries: tuple[Entry, ...]
    left_out: int = 0
    counted: bool = True


# When, and what: (moment, spec's name, schedule's name), the subject, the schedule.
_Due = tuple[tuple[datetime, str, str], Subject, Schedule | None]


def agenda(
    subjects: Iterable[Subject],
    host: Sequence[Window],
    span: tuple[datetime, datetime],
    limit: int,
) -> Agenda:
    """Say what will run from the span's first moment up to its last; `limit` entries of it.

    `host` are the host's windows, which count beside each spec's own.
    """
    begin, end = (moment.astimezone(UTC) for moment in span)
    found = merge(*_streams(subjects, begin, end), key=itemgetter(0))
    entries = tuple(_entry(due, host) for due in islice(found, limit))
    left_out = sum(1 for _ in islice(found, _COUNTED))
    return Agenda(
        begin=begin,
        end=end,
        entries=entries,
        left_out=left_out,
        counted=left_out < _COUNTED,
    )


def _streams(
    subjects: Iterable[Subject], begin: datetime, end: datetime
) -> Iterator[Iterator[_Due]]:
    for subject in subjects:
        for schedule in subject.spec.schedules:
            yield _scheduled(subject, schedule, begin, end)
        ends = expiry(subject.spec, subject.status)
        if ends is not None and begin <= ends < end and not subject.status.destroyed:
            yield iter([((ends.astimezone(UTC), subject.spec.name, ""), subject, None)])


def _scheduled(
    subject: Subject, schedule: Schedule, begin: datetime, end: datetime
) -> Iterator[_Due]:
    key = slots.slot_key(subject.spec, schedule)
    for slot in slots.coming(schedule, begin - _A_MOMENT, key):
        if slot >= end:
            return
        yield (slot, subject.spec.name, schedule.name), subject, schedule


def _entry(found: _Due, host: Sequence[Window]) -> Entry:
    (due, name, _), subject, schedule = found
    spec = subject.spec
    operation = Operation.DESTROY if schedule is None else schedule.operation
    operation = spec.run_for(operation)
    starts = windows.next_opening_of_all((spec.windows, host), due)
    fate = _fate(subject, schedule, due, starts)
    return Entry(
        name=name,
        stack=str(spec.stack),
        schedule="" if schedule is None else schedule.name,
        operation=operation,
        due=due,
        time_zone="UTC" if schedule is None else schedule.time_zone,
        fate=fate,
        starts=starts if fate in {Fate.RUNS, Fate.WAITS, Fate.PASSED_OVER} else None,
        skipped_time=schedule is not None and _skipped_time(spec, schedule, due),
    )


def _fate(
    subject: Subject, schedule: Schedule | None, due: datetime, starts: datetime | None
) -> Fate:
    spec = subject.spec
    if spec.suspended or subject.held:
        return Fate.SUSPENDED
    if starts is None:
        return Fate.NEVER
    if schedule is not None:
        if _is_gone(subject, schedule, due):
            return Fate.DESTROYED
        newer = slots.following(schedule, due, slots.slot_key(spec, schedule))
        if newer is not None and newer <= starts:
            return Fate.PASSED_OVER
    return Fate.RUNS if starts == due else Fate.WAITS


def _is_gone(subject: Subject, schedule: Schedule, moment: datetime) -> bool:
    """Whether there is no stack by then for it; an update makes one, but for `destroyAfter`."""
    ends = expiry(subject.spec, subject.status)
    if ends is not None and ends <= moment:
        return True
    return subject.status.destroyed and schedule.operation is not Operation.UPDATE


def _skipped_time(spec: Spec, schedule: Schedule, due: datetime) -> bool:
    if schedule.at is not None:
        return False
    shown = zones.wall(due, ZoneInfo(schedule.time_zone))
    return not parse(schedule.cron, slots.slot_key(spec, schedule)).names(shown)
