"""Schedules of stacks, and which of their slots were taken.

A slot is taken in the transaction that makes its deployment, so that a crash leaves both or
neither; whoever else looks at the same schedule, in this process or another, finds it gone.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from reconciler.api.types import JobStatus, Operation, StackRef
from reconciler.engine.model import Record
from reconciler.engine.store.columns import (
    METADATA,
    is_stack,
    microseconds,
    moment,
    stack_columns,
    stack_values,
)
from reconciler.engine.store.database import Database
from reconciler.engine.store.deployments import QueueFullError, add_deployment, status_of
from reconciler.engine.timing import Schedule, Timing, Turn

__all__ = [
    "MakeDeployment",
    "ScheduleKind",
    "Schedules",
    "StoredSchedule",
    "TakenSlot",
    "forget_schedules",
]

# Of one schedule; a person looks at the last ones.
MOST_HISTORY = 100

_schedules = sa.Table(
    "schedules",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    *stack_columns(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("cron", sa.Text, nullable=False),
    # Times are whole microseconds since 1970.
    sa.Column("once", sa.BigInteger),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("modified", sa.BigInteger, nullable=False),
    sa.Column("counted_from", sa.BigInteger, nullable=False),
    sa.Column("next", sa.BigInteger),
    sa.Column("last_executed", sa.BigInteger),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Index("schedules_by_next", "next"),
    sa.Index("schedules_by_stack", "organization", "project", "stack"),
)
_slots = sa.Table(
    "schedule_slots",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("schedule", sa.Text, nullable=False),
    sa.Column("slot", sa.BigInteger, nullable=False),
    sa.Column("executed", sa.BigInteger, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.UniqueConstraint("schedule", "slot"),
)

# Makes a deployment and its encrypted request, given its version.
MakeDeployment = Callable[[int], tuple[Record, bytes]]


class ScheduleKind(StrEnum):
    """By which of the API's paths a schedule was made."""

    RAW = "raw"
    DRIFT = "drift"
    TTL = "ttl"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSchedule:
    """A schedule as it is kept; `version` counts its edits from 1, `request` is encrypted.

    `user` and `email` are of whoever made it: its deployments are theirs.
    """

    id: str
    stack: StackRef
    kind: ScheduleKind
    operation: Operation
    timing: Timing
    paused: bool = False
    version: int = 1
    created: datetime
    modified: datetime
    counted_from: datetime
    next: datetime | None
    last_executed: datetime | None = None
    user: str
    email: str
    request: bytes

    @property
    def decides(self) -> Schedule:
        """What its turns follow from."""
        return Schedule(
            id=self.id,
            timing=self.timing,
            operation=self.operation,
            counted_from=self.counted_from,
            next=self.next,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenSlot:
    """A slot that was taken: when, and what came of it, empty where `deployment` says it."""

    id: str
    slot: datetime
    executed: datetime
    version: int
    deployment: str
    result: str


class Schedules:
    """Schedules by their stacks and ids."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, schedule: StoredSchedule, most: int) -> bool:
        """Keep a new schedule; False where its stack has `most` of them already."""
        with self._database.write() as connection:
            count = connection.execute(
                sa.select(sa.func.count())
                .select_from(_schedules)
                .where(is_stack(_schedules, schedule.stack))
            ).scalar_one()
            if count >= most:
                return False
            connection.execute(sa.insert(_schedules).values(_values(schedule)))
            return True

    def get(self, schedule_id: str) -> StoredSchedule | None:
        """Return a schedule by its id."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(_schedules).where(_schedules.c.id == schedule_id)
            ).one_or_none()
        return None if row is None else _schedule(row)

    def of_stack(self, stack: StackRef) -> tuple[StoredSchedule, ...]:
        """Return a stack's schedules, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(_schedules)
                .where(is_stack(_schedules, stack))
                .order_by(_schedules.c.created, _schedules.c.id)
            ).all()
        return tuple(map(_schedule, rows))

    def upcoming(self, organization: str) -> Mapping[StackRef, datetime]:
        """Return when each stack's next slot is due, of an organization or with "" of all."""
        c = _schedules.c
        parts = (c.organization, c.project, c.stack)
        where: list[sa.ColumnElement[bool]] = [c.paused.is_(False), c.next.is_not(None)]
        where += [c.organization == organization] if organization else []
        select = sa.select(*parts, sa.func.min(c.next).label("due")).where(*where).group_by(*parts)
        with self._database.read() as connection:
            rows = connection.execute(select).all()
        return {StackRef(row.organization, row.project, row.stack): moment(row.due) for row in rows}

    def change(
        self, schedule_id: str, decide: Callable[[StoredSchedule], StoredSchedule]
    ) -> StoredSchedule | None:
        """Let `decide` look at a schedule and say what it is from now on; None where it is gone.

        Nobody edits it, and no slot of it is taken, in between.
        """
        with self._database.write() as connection:
            row = connection.execute(
                sa.select(_schedules).where(_schedules.c.id == schedule_id)
            ).one_or_none()
            if row is None:
                return None
            new = decide(_schedule(row))
            connection.execute(
                sa.update(_schedules).where(_schedules.c.id == schedule_id).values(_values(new))
            )
            return new

    def delete(self, stack: StackRef, schedule_id: str) -> None:
        """Forget a stack's schedule and its history; nothing changes where it is gone."""
        with self._database.write() as connection:
            _forget(connection, is_stack(_schedules, stack), _schedules.c.id == schedule_id)

    def due(self, now: datetime, went_back: datetime, limit: int) -> tuple[StoredSchedule, ...]:
        """Return schedules whose turn may have come: due at `now`, or counted from a later time.

        `went_back` is the time from which on a `counted_from` is one of a clock that was wrong.
        """
        c = _schedules.c
        turn = sa.or_(c.next <= microseconds(now), c.counted_from > microseconds(went_back))
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(_schedules)
                .where(c.paused.is_(False), c.next.is_not(None), turn)
                .order_by(c.next)
                .limit(limit)
            ).all()
        return tuple(map(_schedule, rows))

    def next_slot(self) -> datetime | None:
        """Return when the first schedule is due; None where none is."""
        c = _schedules.c
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(sa.func.min(c.next)).where(c.paused.is_(False), c.next.is_not(None))
            ).scalar_one_or_none()
        return None if found is None else moment(int(found))

    def take(
        self, schedule: StoredSchedule, turn: Turn, now: datetime, make: MakeDeployment | str
    ) -> Record | None:
        """Take a turn: its slot, its deployment and what comes next, all or nothing.

        `make` makes the deployment, or is the reason for which there is none. Returns the
        deployment; None where there is none, or where somebody else was first.
        """
        c = _schedules.c
        with self._database.write() as connection:
            goes_on = {
                "next": None if turn.next is None else microseconds(turn.next),
                "counted_from": microseconds(turn.counted_from),
            }
            changed = connection.execute(
                sa.update(_schedules)
                .where(c.id == schedule.id, c.paused.is_(False), c.version == schedule.version)
                .where(c.next == _optional(schedule.next))
                .where(c.counted_from == microseconds(schedule.counted_from))
                .values(goes_on)
            )
            if changed.rowcount == 0 or turn.slot is None:
                return None
            return _take(connection, schedule, (turn.slot, now), make)

    def history(self, schedule_id: str) -> tuple[TakenSlot, ...]:
        """Return the slots that were taken, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(_slots)
                .where(_slots.c.schedule == schedule_id)
                .order_by(_slots.c.slot.desc())
            ).all()
            return tuple(
                TakenSlot(
                    id=row.id,
                    slot=moment(row.slot),
                    executed=moment(row.executed),
                    version=row.version,
                    deployment=row.deployment,
                    result=row.result or str(status_of(connection, row.deployment) or ""),
                )
                for row in rows
            )


def forget_schedules(connection: sa.Connection, stack: StackRef) -> None:
    """Forget all schedules of a stack, within the caller's transaction."""
    _forget(connection, is_stack(_schedules, stack))


def _take(
    connection: sa.Connection,
    schedule: StoredSchedule,
    when: tuple[datetime, datetime],
    make: MakeDeployment | str,
) -> Record | None:
    slot, now = when
    known = connection.execute(
        sa.select(_slots.c.id).where(
            _slots.c.schedule == schedule.id, _slots.c.slot == microseconds(slot)
        )
    ).one_or_none()
    if known is not None:  # taken before the clock went back
        return None
    record = None
    if not isinstance(make, str) and _still_waits(connection, schedule.id):
        make = "skipped: the deployment of the slot before this one still waits"
    if not isinstance(make, str):
        try:
            record, _ = add_deployment(connection, schedule.stack, "", make)
        except QueueFullError as error:
            make = f"skipped: {error}"
    connection.execute(
        sa.insert(_slots).values(
            id=str(uuid.uuid4()),
            schedule=schedule.id,
            slot=microseconds(slot),
            executed=microseconds(now),
            version=schedule.version,
            deployment="" if record is None else record.id,
            result=make if isinstance(make, str) else "",
        )
    )
    if schedule.kind is ScheduleKind.TTL and record is not None:
        _forget(connection, _schedules.c.id == schedule.id)
        return record
    if record is not None:
        connection.execute(
            sa.update(_schedules)
            .where(_schedules.c.id == schedule.id)
            .values(last_executed=microseconds(now))
        )
    _prune(connection, schedule.id)
    return record


def _still_waits(connection: sa.Connection, schedule_id: str) -> bool:
    """Whether the last deployment of a schedule is in the queue: one there is enough."""
    last = connection.execute(
        sa.select(_slots.c.deployment)
        .where(_slots.c.schedule == schedule_id, _slots.c.deployment != "")
        .order_by(_slots.c.slot.desc())
        .limit(1)
    ).scalar_one_or_none()
    return last is not None and status_of(connection, last) is JobStatus.NOT_STARTED


def _prune(connection: sa.Connection, schedule_id: str) -> None:
    kept = (
        sa.select(_slots.c.slot)
        .where(_slots.c.schedule == schedule_id)
        .order_by(_slots.c.slot.desc())
        .offset(MOST_HISTORY)
        .limit(1)
    )
    oldest = connection.execute(kept).scalar_one_or_none()
    if oldest is not None:
        connection.execute(
            sa.delete(_slots).where(_slots.c.schedule == schedule_id, _slots.c.slot <= oldest)
        )


def _forget(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> None:
    gone = sa.select(_schedules.c.id).where(*where)
    connection.execute(sa.delete(_slots).where(_slots.c.schedule.in_(gone)))
    connection.execute(sa.delete(_schedules).where(*where))


def _optional(value: datetime | None) -> int | None:
    return None if value is None else microseconds(value)


def _values(schedule: StoredSchedule) -> dict[str, object]:
    return stack_values(schedule.stack) | {
        "id": schedule.id,
        "kind": str(schedule.kind),
        "operation": str(schedule.operation),
        "cron": schedule.timing.cron,
        "once": _optional(schedule.timing.once),
        "paused": schedule.paused,
        "version": schedule.version,
        "created": microseconds(schedule.created),
        "modified": microseconds(schedule.modified),
        "counted_from": microseconds(schedule.counted_from),
        "next": _optional(schedule.next),
        "last_executed": _optional(schedule.last_executed),
        "user": schedule.user,
        "email": schedule.email,
        "request": schedule.request,
    }


def _schedule(row: sa.Row[Any]) -> StoredSchedule:
    once = None if row.once is None else moment(row.once)
    return StoredSchedule(
        id=row.id,
        stack=StackRef(row.organization, row.project, row.stack),
        kind=ScheduleKind(row.kind),
        operation=Operation(row.operation),
        timing=Timing(cron=row.cron, once=once),
        paused=row.paused,
        version=row.version,
        created=moment(row.created),
        modified=moment(row.modified),
        counted_from=moment(row.counted_from),
        next=None if row.next is None else moment(row.next),
        last_executed=None if row.last_executed is None else moment(row.last_executed),
        user=row.user,
        email=row.email,
        request=bytes(row.request),
    )
