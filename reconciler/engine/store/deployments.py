"""Deployments, a row each: their steps have no life of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
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
from reconciler.engine.model import Begun, CancelAsked, Event, Record, Requeued, advance
from reconciler.engine.store.claims import Claim, check_claim, claim_of, take_claim
from reconciler.engine.store.columns import (
    METADATA,
    is_named,
    is_stack,
    microseconds,
    moment,
    stack_columns,
    stack_values,
)
from reconciler.engine.store.database import Database, StoreError
from reconciler.engine.store.prepared import Prepared
from reconciler.engine.store.signals import Signal, Topic
from reconciler.engine.store.stacks import STACKS, count_deployments, lock_stack, next_version

__all__ = [
    "DEPLOYMENTS",
    "MOST_WAITING",
    "SORTS",
    "Deployments",
    "Newest",
    "PageQuery",
    "QueueFullError",
    "add_deployment",
    "status_of",
]

# Of one organization: a deployment of each of its stacks twice over, where it has 10,000. To
# choose from so many takes a dispatcher a tenth of a second.
MOST_WAITING = 20_000

# SQLite counts by itself only in a column that is called INTEGER.
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

DEPLOYMENTS = sa.Table(
    "deployments",
    METADATA,
    sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    *stack_columns(),
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
    sa.Column("skip_intermediate", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("organization", "project", "stack", "version"),
    # NULLs differ from one another: only deployments with a marker are bound by it.
    sa.UniqueConstraint("organization", "project", "stack", "marker"),
    sa.Index("deployments_by_status", "status", "sequence"),
    sa.Index("deployments_by_organization", "organization", "sequence"),
    sqlite_autoincrement=True,
)


def _select() -> sa.Select[Any]:
    """Select records; the request is large and read by itself."""
    return sa.select(*(c for c in DEPLOYMENTS.c if c.name != "request"))


_BY_ID = Prepared(_select().where(DEPLOYMENTS.c.id == sa.bindparam("id")))
_BY_VERSION = Prepared(
    _select().where(is_named(DEPLOYMENTS), DEPLOYMENTS.c.version == sa.bindparam("version"))
)

# Is given the queue and the stacks of what runs, and says what happens to which of the queue.
Choose = Callable[[Sequence[Queued], Sequence[StackRef]], Iterable[tuple[str, Event]]]

# What lists can be sorted by.
SORTS = {
    "created": DEPLOYMENTS.c.sequence,
    "version": DEPLOYMENTS.c.version,
    "modified": DEPLOYMENTS.c.modified,
    "status": DEPLOYMENTS.c.status,
}


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
class Newest:
    """The newest deployment of a stack, as a list of stacks shows it."""

    stack: StackRef
    version: int
    operation: Operation
    status: JobStatus
    modified: datetime
    ending_kind: str
    ending_message: str


class QueueFullError(StoreError):
    """As many deployments of an organization wait as may; nothing was added."""


class Deployments:
    """Deployments by their ids, and by their stacks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Hears of each event once it is on disk, with the record after it.
        self.told: Callable[[Record, Event], None] = lambda _, __: None

    def create(
        self, stack: StackRef, marker: str, make: Callable[[int], tuple[Record, bytes]]
    ) -> tuple[Record, bool]:
        """Add a deployment and return it and True.

        `make` is given its version and returns it and its encrypted request. Where the stack
        has one with this marker already, that one and False are returned. QueueFullError.
        """
        with self._database.write_rows() as connection:
            made = add_deployment(connection, stack, marker, make)
            self._database.send(connection, Signal(Topic.QUEUE))
            return made

    def get(self, deployment_id: str) -> Record | None:
        """Return a deployment by its id."""
        row = self._database.first(_BY_ID, id=deployment_id)
        return None if row is None else _record(row)

    def get_version(self, stack: StackRef, version: int) -> Record | None:
        """Return a stack's deployment by its version."""
        row = self._database.first(_BY_VERSION, version=version, **stack_values(stack))
        return None if row is None else _record(row)

    def newest(self, organization: str) -> tuple[Newest, ...]:
        """Return the newest deployment of each stack of an organization, or with "" of all."""
        c, s = DEPLOYMENTS.c, STACKS.c
        parts = ("organization", "project", "stack")
        same = sa.and_(*(c[part] == s[part] for part in parts), c.version == s.latest_version)
        select = sa.select(
            *(c[part] for part in parts),
            *(c.version, c.operation, c.status, c.modified, c.ending_kind, c.ending_message),
        ).select_from(sa.join(STACKS, DEPLOYMENTS, same))
        where = [s.deleted.is_(False)] + ([s.organization == organization] if organization else [])
        with self._database.read() as connection:
            rows = connection.execute(select.where(*where)).all()
        return tuple(
            Newest(
                stack=StackRef(row.organization, row.project, row.stack),
                version=row.version,
                operation=Operation(row.operation),
                status=JobStatus(row.status),
                modified=moment(row.modified),
                ending_kind=row.ending_kind,
                ending_message=row.ending_message,
            )
            for row in rows
        )

    def change(
        self,
        deployment_id: str,
        decide: Callable[[Record], Event | None],
        claim: Claim | None = None,
    ) -> tuple[Record, Event | None]:
        """Let `decide` look at a deployment and say what happens to it; LookupError if unknown.

        Nobody else changes it in between. Returns the record afterwards, and the event. Whoever
        runs it gives its claim: FencedError where that is not the newest. All others take turns
        with `dispatch`: what is cancelled there must not stand for those that are skipped.
        """
        database = self._database
        with database.write() if claim is None else database.write_rows() as connection:
            record = _one(connection, DEPLOYMENTS.c.id == deployment_id, lock=True)
            if record is None:
                raise LookupError(deployment_id)
            if claim is not None:
                check_claim(connection, claim)
            event = decide(record)
            if event is None:
                return record, None
            record = self._keep(connection, record, event)
        self.told(record, event)
        return record, event

    def apply(self, deployment_id: str, event: Event, claim: Claim | None = None) -> Record:
        """Record what happened to a deployment and return it as it is now."""
        return self.change(deployment_id, lambda _: event, claim)[0]

    def dispatch(self, worker: int, choose: Choose) -> tuple[tuple[Record, Claim], ...]:
        """Let `choose` look at the whole queue and say what happens to it; one at a time.

        It is given what is queued, in the order of the creates, and the stacks of what runs, on
        all workers. What begins is this worker's, and returned with its claim.
        """
        begun: list[tuple[Record, Claim]] = []
        kept: list[tuple[Record, Event]] = []
        with self._database.write() as connection:
            # In this order: what goes back to the queue in between is in both, and its stack waits.
            running = _running_stacks(connection)
            queued = _queued(connection)
            for deployment_id, event in choose(queued, running):
                record = _one(connection, DEPLOYMENTS.c.id == deployment_id, lock=True)
                if record is None or record.status is not JobStatus.NOT_STARTED:
                    continue
                record = self._keep(connection, record, event)
                kept.append((record, event))
                if isinstance(event, Begun):
                    begun.append((record, take_claim(connection, deployment_id, worker)))
        for record, event in kept:
            self.told(record, event)
        return tuple(begun)

    def take_over(self, claim: Claim, worker: int) -> tuple[Record, Claim] | None:
        """Take a running deployment from a lost worker; None where somebody else has, or it ended.

        From now on whoever held `claim` can write nothing more of it.
        """
        with self._database.write_rows() as connection:
            record = _one(connection, DEPLOYMENTS.c.id == claim.deployment_id, lock=True)
            if record is None or record.status is not JobStatus.RUNNING:
                return None
            if claim_of(connection, claim.deployment_id) != claim:
                return None
            return record, take_claim(connection, claim.deployment_id, worker)

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is the newest: nobody has taken its deployment over."""
        with self._database.read() as connection:
            return claim_of(connection, claim.deployment_id) == claim

    def claims(self) -> tuple[Claim, ...]:
        """Return the claims of all running deployments."""
        with self._database.read() as connection:
            ids = connection.execute(
                sa.select(DEPLOYMENTS.c.id)
                .where(DEPLOYMENTS.c.status == str(JobStatus.RUNNING))
                .order_by(DEPLOYMENTS.c.sequence)
            ).scalars()
            return tuple(claim_of(connection, str(found)) for found in ids.all())

    def canceled(self, deployment_ids: Collection[str]) -> tuple[str, ...]:
        """Return those of these running deployments whose cancel was asked for."""
        with self._database.read() as connection:
            ids = connection.execute(
                sa.select(DEPLOYMENTS.c.id).where(
                    DEPLOYMENTS.c.id.in_(deployment_ids), DEPLOYMENTS.c.cancel_asked
                )
            ).scalars()
            return tuple(str(found) for found in ids)

    def request(self, deployment_id: str) -> bytes:
        """Return the encrypted request; LookupError for an unknown deployment."""
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(DEPLOYMENTS.c.request).where(DEPLOYMENTS.c.id == deployment_id)
            ).scalar_one_or_none()
        if found is None:
            raise LookupError(deployment_id)
        return bytes(found)

    def queued(self) -> tuple[Queued, ...]:
        """Return all queued deployments, in the order of their creates."""
        with self._database.read() as connection:
            return _queued(connection)

    def waiting(self) -> datetime | None:
        """Return when the longest waiting of all queued deployments was made; None for none."""
        c = DEPLOYMENTS.c
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(c.created)
                .where(c.status == str(JobStatus.NOT_STARTED))
                .order_by(c.sequence)
                .limit(1)
            ).scalar_one_or_none()
        return None if found is None else moment(int(found))

    def tally(self) -> tuple[Mapping[JobStatus, int], datetime | None]:
        """Return how many wait and how many run, and when the longest waiting one was made."""
        going_on = (JobStatus.NOT_STARTED, JobStatus.RUNNING)
        status = DEPLOYMENTS.c.status
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(status, sa.func.count())
                .where(status.in_([str(s) for s in going_on]))
                .group_by(status)
            ).all()
        counts = {JobStatus(name): int(count) for name, count in rows}
        return dict.fromkeys(going_on, 0) | counts, self.waiting()

    def unended(self, stack: StackRef) -> bool:
        """Whether a deployment of a stack waits or runs."""
        status, going_on = DEPLOYMENTS.c.status, (JobStatus.NOT_STARTED, JobStatus.RUNNING)
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(DEPLOYMENTS.c.id)
                .where(is_stack(DEPLOYMENTS, stack), status.in_([str(s) for s in going_on]))
                .limit(1)
            ).one_or_none()
        return found is not None

    def running(self) -> tuple[Record, ...]:
        """Return all deployments that run, as far as the database knows."""
        with self._database.read() as connection:
            rows = connection.execute(
                _select().where(DEPLOYMENTS.c.status == str(JobStatus.RUNNING))
            ).all()
        return tuple(map(_record, rows))

    def counts(self, organization: str) -> dict[JobStatus, int]:
        """Return how many deployments of an organization have which status."""
        status = DEPLOYMENTS.c.status
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(status, sa.func.count())
                .where(DEPLOYMENTS.c.organization == organization)
                .group_by(status)
            ).all()
        return {JobStatus(name): int(count) for name, count in rows}

    def page(self, query: PageQuery) -> tuple[tuple[Record, ...], int]:
        """Return a page of a list, and how many there are in all."""
        where = (
            DEPLOYMENTS.c.organization == query.organization
            if query.stack is None
            else is_stack(DEPLOYMENTS, query.stack)
        )
        column, tie = SORTS[query.sort], DEPLOYMENTS.c.sequence
        if query.stack is not None and column is tie:
            # Of one stack it is the same order, and there is an index of it.
            column = tie = DEPLOYMENTS.c.version
        order = (column, tie) if query.ascending else (column.desc(), tie.desc())
        with self._database.read() as connection:
            total = count_deployments(connection, query.organization, query.stack)
            rows = connection.execute(
                _select()
                .where(where)
                .order_by(*order)
                .limit(query.page_size)
                .offset((query.page - 1) * query.page_size)
            ).all()
        return tuple(map(_record, rows)), total

    def _keep(self, connection: sa.Connection, record: Record, event: Event) -> Record:
        """Record an event, within the caller's transaction, and tell those who wait for it."""
        record = advance(record, event)
        connection.execute(
            sa.update(DEPLOYMENTS)
            .where(DEPLOYMENTS.c.id == record.id)
            .values(_changing_values(record))
        )
        self._database.send(connection, Signal(Topic.LOG, record.id))
        if isinstance(event, CancelAsked):
            self._database.send(connection, Signal(Topic.CANCEL, record.id))
        elif record.status.ended or isinstance(event, Requeued):
            self._database.send(connection, Signal(Topic.QUEUE))
        return record


def _queued(connection: sa.Connection) -> tuple[Queued, ...]:
    c = DEPLOYMENTS.c
    columns = (
        *(c.id, c.sequence, c.organization, c.project, c.stack),
        *(c.created, c.operation, c.skip_intermediate),
    )
    rows = connection.execute(
        sa.select(*columns).where(c.status == str(JobStatus.NOT_STARTED)).order_by(c.sequence)
    ).all()
    return tuple(
        Queued(
            id=row.id,
            sequence=row.sequence,
            stack=StackRef(row.organization, row.project, row.stack),
            created=moment(row.created),
            operation=Operation(row.operation),
            skip_intermediate=row.skip_intermediate,
        )
        for row in rows
    )


def _running_stacks(connection: sa.Connection) -> tuple[StackRef, ...]:
    c = DEPLOYMENTS.c
    rows = connection.execute(
        sa.select(c.organization, c.project, c.stack).where(c.status == str(JobStatus.RUNNING))
    ).all()
    return tuple(StackRef(row.organization, row.project, row.stack) for row in rows)


def add_deployment(
    connection: sa.Connection,
    stack: StackRef,
    marker: str,
    make: Callable[[int], tuple[Record, bytes]],
) -> tuple[Record, bool]:
    """Add a deployment as `Deployments.create` does, within the caller's transaction."""
    lock_stack(connection, stack)
    if marker:
        known = _one(connection, is_stack(DEPLOYMENTS, stack), DEPLOYMENTS.c.marker == marker)
        if known is not None:
            return known, False
    _check_queue(connection, stack.organization)
    version = next_version(connection, stack)
    record, request = make(version)
    values = _values(record) | {"request": request}
    key = connection.execute(sa.insert(DEPLOYMENTS).values(values)).inserted_primary_key
    return replace(record, sequence=0 if key is None else int(key[0])), True


def _check_queue(connection: sa.Connection, organization: str) -> None:
    """QueueFullError where no more may wait. Creates at the same time may go over it by a few."""
    if connection.execute(_count_waiting(organization)).scalar_one() < MOST_WAITING:
        return
    raise QueueFullError(
        f"{MOST_WAITING} deployments of {organization} wait in the queue, and no more may: "
        "cancel some, or try again later"
    )


def _count_waiting(organization: str) -> sa.Select[int]:
    """Count what waits of an organization, up to the most that may."""
    c = DEPLOYMENTS.c
    # As an expression, so that no index of all that an organization ever had is taken for it:
    # few wait beside very many that have ended.
    whose = sa.func.coalesce(c.organization, "")
    waiting = sa.select(c.id).where(c.status == str(JobStatus.NOT_STARTED), whose == organization)
    return sa.select(sa.func.count()).select_from(waiting.limit(MOST_WAITING).subquery())


def status_of(connection: sa.Connection, deployment_id: str) -> JobStatus | None:
    """Return how a deployment stands, within the caller's transaction; None if unknown."""
    found = connection.execute(
        sa.select(DEPLOYMENTS.c.status).where(DEPLOYMENTS.c.id == deployment_id)
    ).scalar_one_or_none()
    return None if found is None else JobStatus(found)


def _one(
    connection: sa.Connection, *where: sa.ColumnElement[bool], lock: bool = False
) -> Record | None:
    query = _select().where(*where)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _record(row)


def _values(record: Record) -> dict[str, object]:
    user, source = record.requested_by, record.source
    return (
        stack_values(record.stack)
        | {
            "id": record.id,
            "version": record.version,
            "operation": str(record.operation),
            "created": microseconds(record.created),
            "initiator": record.initiator,
            "marker": record.marker or None,
            "skip_intermediate": record.skip_intermediate,
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
        }
        | _changing_values(record)
    )


def _changing_values(record: Record) -> dict[str, object]:
    ending = record.ending
    return {
        "status": str(record.status),
        "modified": microseconds(record.modified),
        "started": microseconds(record.started),
        "last_updated": microseconds(record.last_updated),
        "cancel_asked": record.cancel_asked,
        "steps": json.dumps(
            [
                [s.name, str(s.status), microseconds(s.started), microseconds(s.last_updated)]
                for s in record.steps
            ]
        ),
        "ending_kind": "" if ending is None else str(ending.kind),
        "ending_message": "" if ending is None else ending.message,
    }


def _record(row: Any) -> Record:
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
        created=moment(row.created),
        modified=moment(row.modified),
        requested_by=User(name=name, github_login=login, avatar_url=avatar, email=email),
        initiator=row.initiator,
        marker=row.marker or "",
        environment=tuple(
            ShownVariable(name=name, value=value, secret=secret)
            for name, value, secret in shown["environment"]
        ),
        source=GitSource(repo_url=url, branch=branch, commit=commit, tag=tag, repo_dir=repo_dir),
        skip_intermediate=bool(row.skip_intermediate),
        started=moment(row.started),
        last_updated=moment(row.last_updated),
        steps=tuple(
            Step(
                name=name,
                status=StepStatus(status),
                started=moment(started),
                last_updated=moment(updated),
            )
            for name, status, started, updated in json.loads(row.steps)
        ),
        cancel_asked=bool(row.cancel_asked),
        ending=Ending(kind=EndingKind(row.ending_kind), message=row.ending_message)
        if row.ending_kind
        else None,
    )
