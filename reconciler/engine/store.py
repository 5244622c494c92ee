"""The engine's memory: SQLite, written durably before anything else happens.

The only module that knows SQL. Every write is one transaction that is on disk when the call
returns; NotDurableError where it could not be. Any thread, and `engine token create` beside a
running engine, may call any method. A deployment is one row: its steps have no life of their
own.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from reconciler.api.types import (
    Ending,
    EndingKind,
    GitSource,
    JobStatus,
    Operation,
    ShownVariable,
    StackRef,
    Step,
    StepStatus,
    User,
)
from reconciler.engine.dispatch import Queued
from reconciler.engine.model import Event, Record, advance
from reconciler.errors import NotDurableError, ReconcilerError

__all__ = ["SORTS", "PageQuery", "StackInfo", "Store", "StoreError", "StoredToken"]

# How long a write waits for another process's (a token being made) before it gives up.
BUSY_TIMEOUT_MS = 10_000

# More than all request threads and workers together, so that none waits for a connection.
CONNECTIONS = 64

_SCHEMA_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_metadata = sa.MetaData()

_facts = sa.Table(
    "facts",
    _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
_stacks = sa.Table(
    "stacks",
    _metadata,
    sa.Column("organization", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("stack", sa.Text, primary_key=True),
    sa.Column("latest_version", sa.Integer, nullable=False),
    sa.Column("initialized", sa.Boolean, nullable=False),
)
_deployments = sa.Table(
    "deployments",
    _metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("organization", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("stack", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    # Times are whole microseconds since 1970.
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("modified", sa.BigInteger, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("last_updated", sa.BigInteger, nullable=False),
    sa.Column("initiator", sa.Text, nullable=False),
    sa.Column("marker", sa.Text),
    sa.Column("cancel_asked", sa.Boolean, nullable=False),
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("steps", sa.Text, nullable=False),
    sa.Column("ending_kind", sa.Text, nullable=False),
    sa.Column("ending_message", sa.Text, nullable=False),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("organization", "project", "stack", "version"),
    # NULLs differ from one another: only deployments with a marker are bound by it.
    sa.UniqueConstraint("organization", "project", "stack", "marker"),
    sa.Index("deployments_by_status", "status", "sequence"),
    sa.Index("deployments_by_organization", "organization", "sequence"),
    sqlite_autoincrement=True,
)
_tokens = sa.Table(
    "tokens",
    _metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("organization", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger),
    sa.Column("last_used", sa.BigInteger),
    sa.Column("revoked", sa.Boolean, nullable=False),
)

# What lists can be sorted by.
SORTS = {
    "created": _deployments.c.sequence,
    "version": _deployments.c.version,
    "modified": _deployments.c.modified,
    "status": _deployments.c.status,
}


class StoreError(ReconcilerError):
    """The database is of another version, or not one of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackInfo:
    """What the engine knows of a stack. `initialized`: its backend was seen to have it."""

    latest_version: int
    initialized: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Which page of which list, sorted by one of SORTS; `stack` None: the organization's."""

    organization: str
    stack: StackRef | None = None
    page: int = 1
    page_size: int = 10
    sort: str = "created"
    ascending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """A token as it is kept: its hash, and whose it is."""

    hash: str
    organization: str
    role: str
    user: str
    email: str
    created: datetime
    expires: datetime | None = None
    last_used: datetime | None = None
    revoked: bool = False


class Store:
    """One database file. `close` when done."""

    def __init__(self, path: Path) -> None:
        """Open the database, making it where there is none; StoreError, NotDurableError."""
        self._lock = threading.Lock()
        _make_private(path)
        self._reader = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            pool_size=CONNECTIONS,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        )
        sa.event.listen(self._reader, "connect", _prepare_connection)
        sa.event.listen(self._reader, "begin", _begin)
        self._writer = self._reader.execution_options(immediate=True)
        try:
            self._make_schema()
        except sa.exc.DatabaseError as error:
            self.close()
            raise StoreError(f"{path} cannot be used: {error.orig}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._reader.dispose()

    # ------------------------------------------------------------ deployments

    def create(
        self, stack: StackRef, marker: str, make: Callable[[int], tuple[Record, bytes]]
    ) -> tuple[Record, bool]:
        """Add a deployment and return it and True.

        `make` is given its version and returns it and its encrypted request. Where the stack
        has one with this marker already, that one and False are returned.
        """
        with self._write() as connection:
            if marker:
                known = _one(connection, _of_stack(stack), _deployments.c.marker == marker)
                if known is not None:
                    return known, False
            version = _next_version(connection, stack)
            record, request = make(version)
            values = _values(record) | {"request": request}
            key = connection.execute(sa.insert(_deployments).values(values)).inserted_primary_key
            return replace(record, sequence=0 if key is None else int(key[0])), True

    def get(self, deployment_id: str) -> Record | None:
        """Return a deployment by its id."""
        with self._read() as connection:
            return _one(connection, _deployments.c.id == deployment_id)

    def get_version(self, stack: StackRef, version: int) -> Record | None:
        """Return a stack's deployment by its version."""
        with self._read() as connection:
            return _one(connection, _of_stack(stack), _deployments.c.version == version)

    def change(
        self, deployment_id: str, decide: Callable[[Record], Event | None]
    ) -> tuple[Record, Event | None]:
        """Let `decide` look at a deployment and say what happens to it; LookupError if unknown.

        Nobody else changes it in between. Returns the record afterwards, and the event.
        """
        with self._write() as connection:
            record = _one(connection, _deployments.c.id == deployment_id)
            if record is None:
                raise LookupError(deployment_id)
            event = decide(record)
            if event is None:
                return record, None
            record = advance(record, event)
            connection.execute(
                sa.update(_deployments)
                .where(_deployments.c.id == deployment_id)
                .values(_changing_values(record))
            )
            return record, event

    def apply(self, deployment_id: str, event: Event) -> Record:
        """Record what happened to a deployment and return it as it is now."""
        return self.change(deployment_id, lambda _: event)[0]

    def request(self, deployment_id: str) -> bytes:
        """Return the encrypted request; LookupError for an unknown deployment."""
        with self._read() as connection:
            found = connection.execute(
                sa.select(_deployments.c.request).where(_deployments.c.id == deployment_id)
            ).scalar_one_or_none()
        if found is None:
            raise LookupError(deployment_id)
        return bytes(found)

    def queued(self) -> tuple[Queued, ...]:
        """Return all queued deployments, in the order of their creates."""
        c = _deployments.c
        columns = (c.id, c.sequence, c.organization, c.project, c.stack, c.created)
        with self._read() as connection:
            rows = connection.execute(
                sa.select(*columns)
                .where(c.status == str(JobStatus.NOT_STARTED))
                .order_by(c.sequence)
            ).all()
        return tuple(
            Queued(
                id=row.id,
                sequence=row.sequence,
                stack=StackRef(row.organization, row.project, row.stack),
                created=_moment(row.created),
            )
            for row in rows
        )

    def running(self) -> tuple[Record, ...]:
        """Return all deployments that run, as far as the database knows."""
        with self._read() as connection:
            rows = connection.execute(
                _select().where(_deployments.c.status == str(JobStatus.RUNNING))
            ).all()
        return tuple(map(_record, rows))

    def page(self, query: PageQuery) -> tuple[tuple[Record, ...], int]:
        """Return a page of a list, and how many there are in all."""
        where = (
            _deployments.c.organization == query.organization
            if query.stack is None
            else _of_stack(query.stack)
        )
        column = SORTS[query.sort]
        tie = _deployments.c.sequence
        order = (column, tie) if query.ascending else (column.desc(), tie.desc())
        with self._read() as connection:
            total = connection.execute(
                sa.select(sa.func.count()).select_from(_deployments).where(where)
            ).scalar_one()
            rows = connection.execute(
                _select()
                .where(where)
                .order_by(*order)
                .limit(query.page_size)
                .offset((query.page - 1) * query.page_size)
            ).all()
        return tuple(map(_record, rows)), int(total)

    # ------------------------------------------------------------ stacks, organizations, facts

    def stack(self, stack: StackRef) -> StackInfo | None:
        """Return what is known of a stack."""
        with self._read() as connection:
            row = connection.execute(sa.select(_stacks).where(_is_stack(stack))).one_or_none()
        if row is None:
            return None
        return StackInfo(latest_version=row.latest_version, initialized=row.initialized)

    def make_stack(self, stack: StackRef) -> bool:
        """Make a stack known; False where it was."""
        with self._write() as connection:
            if connection.execute(sa.select(_stacks).where(_is_stack(stack))).one_or_none():
                return False
            _insert_stack(connection, stack, version=0)
            return True

    def mark_initialized(self, stack: StackRef) -> None:
        """Remember that the backend has the stack: from now on it must."""
        with self._write() as connection:
            connection.execute(sa.update(_stacks).where(_is_stack(stack)).values(initialized=True))

    def organizations(self) -> tuple[str, ...]:
        """Return the names of all organizations that have a stack."""
        with self._read() as connection:
            names = connection.execute(
                sa.select(_stacks.c.organization).distinct().order_by(_stacks.c.organization)
            ).scalars()
            return tuple(str(name) for name in names)

    def fact(self, name: str) -> bytes | None:
        """Return a value by its name."""
        with self._read() as connection:
            return _fact(connection, name)

    def fact_once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return a value by its name; where there is none, the one that `make` makes, kept."""
        with self._write() as connection:
            known = _fact(connection, name)
            if known is not None:
                return known
            value = make()
            connection.execute(sa.insert(_facts).values(name=name, value=value))
            return value

    # ------------------------------------------------------------ tokens

    def add_token(self, token: StoredToken) -> None:
        """Keep a new token."""
        values = {field.name: getattr(token, field.name) for field in fields(StoredToken)}
        for name in ("created", "expires", "last_used"):
            values[name] = None if values[name] is None else _microseconds(values[name])
        with self._write() as connection:
            connection.execute(sa.insert(_tokens).values(values))

    def token(self, token_hash: str) -> StoredToken | None:
        """Return a token by its hash."""
        with self._read() as connection:
            row = connection.execute(
                sa.select(_tokens).where(_tokens.c.hash == token_hash)
            ).one_or_none()
        if row is None:
            return None
        return StoredToken(
            hash=row.hash,
            organization=row.organization,
            role=row.role,
            user=row.user,
            email=row.email,
            created=_moment(row.created),
            expires=None if row.expires is None else _moment(row.expires),
            last_used=None if row.last_used is None else _moment(row.last_used),
            revoked=row.revoked,
        )

    def touch_token(self, token_hash: str, at: datetime) -> None:
        """Remember when a token was last used."""
        with self._write() as connection:
            connection.execute(
                sa.update(_tokens)
                .where(_tokens.c.hash == token_hash)
                .values(last_used=_microseconds(at))
            )

    # ------------------------------------------------------------ inside

    def _make_schema(self) -> None:
        with self._write() as connection:
            found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if found not in {0, _SCHEMA_VERSION}:
                raise StoreError(
                    f"the database has version {found}, this engine knows {_SCHEMA_VERSION}: "
                    "it was used by a newer engine"
                )
            if found == 0:
                _metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """Give a transaction that is durable at its end; one at a time in this process."""
        try:
            with self._lock, self._writer.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            message = f"the engine's database could not be written: {error.orig}"
            raise NotDurableError(message) from error


def _make_private(path: Path) -> None:
    """Make the file before SQLite does, so that nobody else can read it or its companions."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _prepare_connection(connection: Any, _: object) -> None:
    # Transactions begin where `_begin` says, and not where the driver guesses.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _begin(connection: sa.Connection) -> None:
    # A write takes its lock at once: one that was upgraded from a read could not wait for it.
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _is_stack(stack: StackRef) -> sa.ColumnElement[bool]:
    c = _stacks.c
    return sa.and_(
        c.organization == stack.organization, c.project == stack.project, c.stack == stack.stack
    )


def _of_stack(stack: StackRef) -> sa.ColumnElement[bool]:
    c = _deployments.c
    return sa.and_(
        c.organization == stack.organization, c.project == stack.project, c.stack == stack.stack
    )


def _insert_stack(connection: sa.Connection, stack: StackRef, version: int) -> None:
    connection.execute(
        sa.insert(_stacks).values(
            organization=stack.organization,
            project=stack.project,
            stack=stack.stack,
            latest_version=version,
            initialized=False,
        )
    )


def _next_version(connection: sa.Connection, stack: StackRef) -> int:
    known = connection.execute(
        sa.select(_stacks.c.latest_version).where(_is_stack(stack))
    ).scalar_one_or_none()
    version = 1 + (known or 0)
    if known is None:
        _insert_stack(connection, stack, version)
    else:
        connection.execute(
            sa.update(_stacks).where(_is_stack(stack)).values(latest_version=version)
        )
    return version


def _fact(connection: sa.Connection, name: str) -> bytes | None:
    return connection.execute(
        sa.select(_facts.c.value).where(_facts.c.name == name)
    ).scalar_one_or_none()


def _select() -> sa.Select[Any]:
    """Select records; the request is large and read by itself."""
    return sa.select(*(c for c in _deployments.c if c.name != "request"))


def _one(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Record | None:
    row = connection.execute(_select().where(*where)).one_or_none()
    return None if row is None else _record(row)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _values(record: Record) -> dict[str, object]:
    user, source = record.requested_by, record.source
    return {
        "id": record.id,
        "organization": record.stack.organization,
        "project": record.stack.project,
        "stack": record.stack.stack,
        "version": record.version,
        "operation": str(record.operation),
        "created": _microseconds(record.created),
        "initiator": record.initiator,
        "marker": record.marker or None,
        "shown": json.dumps(
            {
                "user": [user.name, user.github_login, user.avatar_url, user.email],
                "source": [
                    source.repo_url,
                    source.branch,
                    source.commit,
                    source.tag,
                    source.repo_dir,
                ],
                "environment": [[v.name, v.value, v.secret] for v in record.environment],
            }
        ),
    } | _changing_values(record)


def _changing_values(record: Record) -> dict[str, object]:
    ending = record.ending
    return {
        "status": str(record.status),
        "modified": _microseconds(record.modified),
        "started": _microseconds(record.started),
        "last_updated": _microseconds(record.last_updated),
        "cancel_asked": record.cancel_asked,
        "steps": json.dumps(
            [
                [s.name, str(s.status), _microseconds(s.started), _microseconds(s.last_updated)]
                for s in record.steps
            ]
        ),
        "ending_kind": "" if ending is None else str(ending.kind),
        "ending_message": "" if ending is None else ending.message,
    }


def _record(row: sa.Row[Any]) -> Record:
    shown = json.loads(row.shown)
    name, login, avatar, email = shown["user"]
    url, branch, commit, tag, repo_dir = shown["source"]
    return Record(
        id=row.id,
        sequence=row.sequence,
        stack=StackRef(row.organization, row.project, row.stack),
        version=row.version,
        operation=Operation(row.operation),
        status=JobStatus(row.status),
        created=_moment(row.created),
        modified=_moment(row.modified),
        requested_by=User(name=name, github_login=login, avatar_url=avatar, email=email),
        initiator=row.initiator,
        marker=row.marker or "",
        environment=tuple(
            ShownVariable(name=name, value=value, secret=secret)
            for name, value, secret in shown["environment"]
        ),
        source=GitSource(repo_url=url, branch=branch, commit=commit, tag=tag, repo_dir=repo_dir),
        started=_moment(row.started),
        last_updated=_moment(row.last_updated),
        steps=tuple(
            Step(
                name=name,
                status=StepStatus(status),
                started=_moment(started),
                last_updated=_moment(updated),
            )
            for name, status, started, updated in json.loads(row.steps)
        ),
        cancel_asked=row.cancel_asked,
        ending=Ending(kind=EndingKind(row.ending_kind), message=row.ending_message)
        if row.ending_kind
        else None,
    )
