"""What the looks for drift have found, a row a deployment that has looked or remediated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from reconciler.api.types import JobStatus, Operation, StackRef
from reconciler.engine.store.columns import METADATA, is_stack, microseconds, moment
from reconciler.engine.store.database import Database
from reconciler.engine.store.deployments import DEPLOYMENTS

__all__ = ["Drift", "DriftRun", "Phase", "forget_drift"]

# A deployment has two phases at most: one that looks, and one that remediates.
_phases = sa.Table(
    "drift_phases",
    METADATA,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("remediates", sa.Boolean, primary_key=True),
    sa.Column("detected", sa.Boolean, nullable=False),
    sa.Column("succeeded", sa.Boolean, nullable=False),
    sa.Column("changes", sa.Text, nullable=False),
    sa.Column("modified", sa.BigInteger, nullable=False),
)
_OPERATIONS = (str(Operation.DETECT_DRIFT), str(Operation.REMEDIATE_DRIFT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What one phase of a run came to; `changes` counts resources by what was done to them."""

    succeeded: bool
    detected: bool = False
    changes: Mapping[str, int] = field(default_factory=dict)
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRun:
    """A deployment that is about drift: how it stands, and its phases that have ended."""

    deployment: str
    version: int
    operation: Operation
    status: JobStatus
    created: datetime
    modified: datetime
    detection: Phase | None = None
    remediation: Phase | None = None

    @property
    def detected(self) -> bool:
        """Whether drift was found."""
        return self.detection is not None and self.detection.detected

    @property
    def stands(self) -> bool:
        """Whether there still was drift when the run had ended."""
        undone = self.remediation is not None and self.remediation.succeeded
        return self.detected and not undone


class Drift:
    """Drift runs by their stacks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, deployment: str, phase: Phase, *, remediates: bool) -> None:
        """Keep what a phase of a deployment came to; one that is repeated counts last."""
        p = _phases.c
        values = {
            "deployment": deployment,
            "remediates": remediates,
            "detected": phase.detected,
            "succeeded": phase.succeeded,
            "changes": json.dumps(dict(phase.changes)),
            "modified": microseconds(phase.at),
        }
        with self._database.write() as connection:
            which = sa.and_(p.deployment == deployment, p.remediates.is_(remediates))
            connection.execute(sa.delete(_phases).where(which))
            connection.execute(sa.insert(_phases).values(values))

    def page(self, stack: StackRef, page: int, page_size: int) -> tuple[tuple[DriftRun, ...], int]:
        """Return a page of a stack's runs, the newest first, and how many there are."""
        where = _runs_of(stack)
        with self._database.read() as connection:
            total = connection.execute(
                sa.select(sa.func.count()).select_from(DEPLOYMENTS).where(where)
            ).scalar_one()
            rows = connection.execute(
                _select()
                .where(where)
                .order_by(DEPLOYMENTS.c.sequence.desc())
                .limit(page_size)
                .offset((page - 1) * page_size)
            ).all()
            return _runs(connection, rows), int(total)

    def get(self, stack: StackRef, deployment: str) -> DriftRun | None:
        """Return one of a stack's runs."""
        with self._database.read() as connection:
            rows = connection.execute(
                _select().where(_runs_of(stack), DEPLOYMENTS.c.id == deployment)
            ).all()
            found = _runs(connection, rows)
        return found[0] if found else None

    def latest_ended(self, stack: StackRef) -> DriftRun | None:
        """Return the newest run that has looked or remediated, whatever came after it."""
        with self._database.read() as connection:
            rows = connection.execute(
                _select()
                .where(
                    _runs_of(stack),
                    DEPLOYMENTS.c.id.in_(sa.select(_phases.c.deployment)),
                    DEPLOYMENTS.c.status != str(JobStatus.RUNNING),
                )
                .order_by(DEPLOYMENTS.c.sequence.desc())
                .limit(1)
            ).all()
            found = _runs(connection, rows)
        return found[0] if found else None

    def running(self, stack: StackRef) -> bool:
        """Whether a run is in progress."""
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(DEPLOYMENTS.c.id)
                .where(_runs_of(stack), DEPLOYMENTS.c.status == str(JobStatus.RUNNING))
                .limit(1)
            ).one_or_none()
        return found is not None


def forget_drift(connection: sa.Connection, stack: StackRef) -> None:
    """Forget what was found of a stack, within the caller's transaction."""
    of_stack = sa.select(DEPLOYMENTS.c.id).where(is_stack(DEPLOYMENTS, stack))
    connection.execute(sa.delete(_phases).where(_phases.c.deployment.in_(of_stack)))


def _runs_of(stack: StackRef) -> sa.ColumnElement[bool]:
    return sa.and_(is_stack(DEPLOYMENTS, stack), DEPLOYMENTS.c.operation.in_(_OPERATIONS))


def _select() -> sa.Select[Any]:
    c = DEPLOYMENTS.c
    return sa.select(c.id, c.version, c.operation, c.status, c.created, c.modified)


def _runs(connection: sa.Connection, rows: Any) -> tuple[DriftRun, ...]:
    ids = [row.id for row in rows]
    phases: dict[tuple[str, bool], Phase] = {
        (row.deployment, row.remediates): Phase(
            succeeded=row.succeeded,
            detected=row.detected,
            changes=json.loads(row.changes),
            at=moment(row.modified),
        )
        for row in connection.execute(sa.select(_phases).where(_phases.c.deployment.in_(ids)))
    }
    return tuple(
        DriftRun(
            deployment=row.id,
            version=row.version,
            operation=Operation(row.operation),
            status=JobStatus(row.status),
            created=moment(row.created),
            modified=moment(row.modified),
            detection=phases.get((row.id, False)),
            remediation=phases.get((row.id, True)),
        )
        for row in rows
    )
