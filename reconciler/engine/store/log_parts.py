"""The logs of a shared database: parts of a step's log, a row each, appended and never changed."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from reconciler.engine.store.claims import Claim, FencedError, is_newest
from reconciler.engine.store.columns import METADATA, moment
from reconciler.engine.store.database import Database
from reconciler.engine.store.signals import Signal, Topic

__all__ = ["LogPart", "LogParts"]

_log = logging.getLogger(__name__)

_parts = sa.Table(
    "log_parts",
    METADATA,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    # Counted from 0 over the whole step.
    sa.Column("first_line", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("lines", sa.Integer, nullable=False),
    sa.Column("entries", sa.LargeBinary, nullable=False),
)

# What one read takes: more than a page holds.
MOST_PARTS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """Lines of a step's log, in the form of `engine/logs`, and where they begin."""

    first_line: int
    lines: int
    entries: bytes


class LogParts:
    """Parts of logs by deployment, step and line."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, claim: Claim, step: int, part: LogPart) -> None:
        """Append a part, and tell those who follow; FencedError for a claim that is not the newest.

        A part that is there is as good as appended: the answer was lost when it was given the
        first time. A log is for people: it may lose its last part with the database's machine.
        """
        literals = (claim.deployment_id, step, part.first_line, part.lines, part.entries)
        values = sa.select(*map(sa.literal, literals)).where(is_newest(claim))
        try:
            with self._database.write_rows() as connection:
                self._database.hurry(connection)
                done = connection.execute(sa.insert(_parts).from_select(list(_parts.c), values))
                if done.rowcount == 0:
                    raise FencedError(f"deployment {claim.deployment_id} was taken over")
                self._database.send(connection, Signal(Topic.LOG, claim.deployment_id))
        except sa.exc.IntegrityError:
            _log.info("a part of the log of %s was written before", claim.deployment_id)

    def lines(self, deployment_id: str, step: int) -> int:
        """Return how many lines a step has."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(_parts.c.first_line, _parts.c.lines)
                .where(_parts.c.deployment == deployment_id, _parts.c.step == step)
                .order_by(_parts.c.first_line.desc())
                .limit(1)
            ).one_or_none()
        return 0 if row is None else int(row.first_line + row.lines)

    def read(self, deployment_id: str, step: int, line: int) -> tuple[LogPart, ...]:
        """Return some parts in order, from the one that holds `line`; none where none does."""
        of_step = sa.and_(_parts.c.deployment == deployment_id, _parts.c.step == step)
        first = (
            sa.select(sa.func.max(_parts.c.first_line))
            .where(of_step, _parts.c.first_line <= line)
            .scalar_subquery()
        )
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(_parts)
                .where(of_step, _parts.c.first_line >= first)
                .order_by(_parts.c.first_line)
                .limit(MOST_PARTS)
            ).all()
        found = (
            LogPart(first_line=row.first_line, lines=row.lines, entries=bytes(row.entries))
            for row in rows
        )
        return tuple(part for part in found if part.first_line + part.lines > line)

    def sizes(self) -> tuple[tuple[str, datetime, int], ...]:
        """Return, for each deployment that has a log, its id, its last change, and the bytes."""
        deployments = sa.table("deployments", sa.column("id"), sa.column("modified"))
        size = sa.func.sum(sa.func.octet_length(_parts.c.entries))
        # Of as many as are kept at most: that takes longer than a caller would be let wait.
        with self._database.read(long=True) as connection:
            rows = connection.execute(
                sa.select(deployments.c.id, deployments.c.modified, size)
                .join(_parts, _parts.c.deployment == deployments.c.id)
                .group_by(deployments.c.id, deployments.c.modified)
            ).all()
        return tuple((found, moment(modified), int(total)) for found, modified, total in rows)

    def forget(self, deployment_ids: Collection[str]) -> None:
        """Delete the logs of these deployments."""
        with self._database.write_rows(long=True) as connection:
            connection.execute(sa.delete(_parts).where(_parts.c.deployment.in_(deployment_ids)))
