"""The audit log: who did what, when, from where, and what came of it.

A chain: each entry holds the hash of the one before, and the ends of the chain are kept
beside it. What is changed, taken out or cut off in between is found by `verify`. Whoever can
write the whole database can write a whole new chain, so `verify` can also be given an end
that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import sqlalchemy as sa

from reconciler.engine.store.columns import METADATA, microseconds, moment
from reconciler.engine.store.database import Database

__all__ = ["AuditEntry", "AuditLog", "AuditNote", "AuditQuery", "ChainEnd", "Link"]

_audit = sa.Table(
    "audit",
    METADATA,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("organization", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Index("audit_by_organization", "organization", "sequence"),
)
# `start`: the entry before the oldest that is kept; `end`: the newest.
_ends = sa.Table(
    "audit_ends",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

# How many old entries one new entry lets go of: more than one, so that a shorter retention
# is reached in time, and few enough that no call waits for it.
OLD_AT_ONCE = 50

# How much of a chain that is checked is in memory at once.
CHECKED_AT_ONCE = 1000

# A damaged chain has as many faults as entries; the first ones say where it begins.
MOST_FAULTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that was done or refused.

    `token` is the id of the token, `address` where the caller was or `local`, `target` what
    it was done to, `result` one of `done`, `refused N`, `failed N`.
    """

    at: datetime
    organization: str
    user: str
    token: str
    address: str
    action: str
    target: str
    result: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """An entry's number and hash; number 0 is before the first."""

    sequence: int = 0
    hash: str = "0" * 64

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An entry in its place in the chain."""

    sequence: int
    entry: AuditEntry
    previous: str
    hash: str


@dataclass(slots=True)
class AuditNote:
    """An entry that waits for the change which it tells of."""

    entry: AuditEntry
    written: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which entries, newest first; empty and None: all. `before` and the times exclude."""

    organization: str = ""
    user: str = ""
    action: str = ""
    before: int | None = None
    older_than: datetime | None = None
    count: int = 100


_current: ContextVar[AuditNote | None] = ContextVar("audit_note", default=None)


class AuditLog:
    """The audit log of one database."""

    def __init__(self, database: Database, keep: timedelta | None) -> None:
        """`keep`: how long entries are kept; None: for ever."""
        self._database = database
        self._keep = keep
        database.before_commit = self._write_current

    def append(self, entry: AuditEntry) -> None:
        """Add an entry, durably."""
        with self._database.write() as connection:
            self._append(connection, entry)

    @contextmanager
    def noting(self, note: AuditNote) -> Iterator[None]:
        """Have the first transaction within that changes something write the note as well."""
        token = _current.set(note)
        try:
            yield
        finally:
            _current.reset(token)

    @staticmethod
    def detail(text: str) -> None:
        """Say more about what is done, where that is noted and not yet written."""
        note = _current.get()
        if note is not None:
            note.entry = replace(note.entry, detail=text)

    def entries(self, query: AuditQuery) -> tuple[Link, ...]:
        """Return entries, newest first."""
        c = _audit.c
        select = sa.select(_audit).order_by(c.sequence.desc()).limit(query.count)
        for column, wanted in (
            (c.organization, query.organization),
            (c.user, query.user),
            (c.action, query.action),
        ):
            if wanted:
                # No text that is kept has a NUL, and PostgreSQL takes none.
                select = select.where(column == wanted.replace("\0", "�"))
        if query.before is not None:
            select = select.where(c.sequence < query.before)
        if query.older_than is not None:
            select = select.where(c.at < microseconds(query.older_than))
        with self._database.read() as connection:
            return tuple(map(_link, connection.execute(select).all()))

    def links(self) -> Iterator[Link]:
        """Yield the whole chain, oldest first."""
        select = sa.select(_audit).order_by(_audit.c.sequence)
        with self._database.read() as connection:
            rows = connection.execution_options(yield_per=CHECKED_AT_ONCE).execute(select)
            yield from map(_link, rows)

    def verify(self, noted: ChainEnd | None = None) -> tuple[ChainEnd, tuple[str, ...]]:
        """Check the chain; return its end, and what is wrong with it: nothing, or at most 20.

        `noted`: an end that the chain had once, which must still be in it or before it.
        """
        with self._database.read() as connection:
            start, end = _end(connection, "start"), _end(connection, "end")
            rows = connection.execute(sa.select(_audit).order_by(_audit.c.sequence))
            links = map(_link, rows.yield_per(CHECKED_AT_ONCE))
            return end, tuple(islice(_faults(start, links, end, noted), MOST_FAULTS))

    # ------------------------------------------------------------ inside

    def _write_current(self, connection: sa.Connection) -> None:
        note = _current.get()
        if note is not None and not note.written:
            note.written = True
            self._append(connection, note.entry)

    def _append(self, connection: sa.Connection, entry: AuditEntry) -> None:
        if connection.dialect.name == "postgresql":
            # One at a time over all processes; on SQLite every write is.
            connection.execute(sa.text("LOCK TABLE audit_ends IN EXCLUSIVE MODE"))
        last = _end(connection, "end")
        sequence = last.sequence + 1
        found = _hash(sequence, entry, last.hash)
        values = asdict(entry) | {
            "sequence": sequence,
            "at": microseconds(entry.at),
            "previous": last.hash,
            "hash": found,
        }
        connection.execute(sa.insert(_audit).values(values))
        _set_end(connection, "end", ChainEnd(sequence=sequence, hash=found))
        if self._keep is not None:
            _forget_old(connection, entry.at - self._keep, sequence)


def _forget_old(connection: sa.Connection, limit: datetime, newest: int) -> None:
    """Delete the oldest entries from before the limit, and move the start of the chain."""
    oldest = (
        sa.select(_audit.c.sequence, _audit.c.hash, _audit.c.at)
        .where(_audit.c.sequence < newest)
        .order_by(_audit.c.sequence)
        .limit(OLD_AT_ONCE)
    )
    last: ChainEnd | None = None
    for row in connection.execute(oldest).all():
        if row.at >= microseconds(limit):
            break
        last = ChainEnd(sequence=row.sequence, hash=row.hash)
    if last is not None:
        connection.execute(sa.delete(_audit).where(_audit.c.sequence <= last.sequence))
        _set_end(connection, "start", last)


def _faults(
    start: ChainEnd, links: Iterator[Link], end: ChainEnd, noted: ChainEnd | None
) -> Iterator[str]:
    """Walk along a chain and yield what is wrong with it."""
    last = start
    seen = noted is None or noted.sequence <= start.sequence
    for link in links:
        missing = f"{last.sequence + 1}"
        if link.sequence - 1 > last.sequence + 1:
            missing += f" to {link.sequence - 1}"
        if link.sequence != last.sequence + 1:
            yield f"entry {missing} is missing"
        elif link.previous != last.hash:
            yield f"entry {link.sequence} does not follow the one before it"
        if _hash(link.sequence, link.entry, link.previous) != link.hash:
            yield f"entry {link.sequence} was changed"
        last = ChainEnd(sequence=link.sequence, hash=link.hash)
        if noted == last:
            seen = True
    if last != end:
        yield f"the chain ends at entry {last.sequence}, and its end was {end.sequence}"
    if not seen and noted is not None:
        yield f"entry {noted.sequence} is not the one that was noted"


def _hash(sequence: int, entry: AuditEntry, previous: str) -> str:
    """Return the hash of an entry in its place: of all its fields, each in its own place."""
    fields = [
        sequence,
        microseconds(entry.at),
        entry.organization,
        entry.user,
        entry.token,
        entry.address,
        entry.action,
        entry.target,
        entry.result,
        entry.detail,
        previous,
    ]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _link(row: sa.Row[Any]) -> Link:
    entry = AuditEntry(
        at=moment(row.at),
        organization=row.organization,
        user=row.user,
        token=row.token,
        address=row.address,
        action=row.action,
        target=row.target,
        result=row.result,
        detail=row.detail,
    )
    return Link(sequence=row.sequence, entry=entry, previous=row.previous, hash=row.hash)


def _end(connection: sa.Connection, name: str) -> ChainEnd:
    row = connection.execute(sa.select(_ends).where(_ends.c.name == name)).one_or_none()
    return ChainEnd() if row is None else ChainEnd(sequence=row.sequence, hash=row.hash)


def _set_end(connection: sa.Connection, name: str, end: ChainEnd) -> None:
    values = {"sequence": end.sequence, "hash": end.hash}
    done = connection.execute(sa.update(_ends).where(_ends.c.name == name).values(values))
    if done.rowcount == 0:
        connection.execute(sa.insert(_ends).values(name=name, **values))
