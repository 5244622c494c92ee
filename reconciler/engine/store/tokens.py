"""Tokens, as their hashes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from reconciler.engine.store.columns import METADATA, microseconds, moment
from reconciler.engine.store.database import Database
from reconciler.engine.store.prepared import Prepared

__all__ = ["StoredToken", "Tokens"]

_tokens = sa.Table(
    "tokens",
    METADATA,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("organization", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger),
    sa.Column("last_used", sa.BigInteger),
    sa.Column("revoked", sa.Boolean, nullable=False),
    sa.Column("id", sa.Text, nullable=False, server_default=""),
    sa.Column("name", sa.Text, nullable=False, server_default=""),
    sa.Column("created_by", sa.Text, nullable=False, server_default=""),
    sa.Index("tokens_by_id", "id", unique=True),
)

_TIMES = ("created", "expires", "last_used")

_BY_HASH = Prepared(sa.select(_tokens).where(_tokens.c.hash == sa.bindparam("hash")))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """A token as it is kept: its hash, whose it is, and what people call it.

    `id` says which one is meant and tells nothing about the token; `created_by` is who made it.
    """

    hash: str
    id: str
    organization: str
    role: str
    user: str
    email: str
    created: datetime
    name: str = ""
    created_by: str = ""
    expires: datetime | None = None
    last_used: datetime | None = None
    revoked: bool = False


class Tokens:
    """Tokens by their hashes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: StoredToken) -> None:
        """Keep a new token."""
        values = {field.name: getattr(token, field.name) for field in fields(StoredToken)}
        for name in _TIMES:
            values[name] = None if values[name] is None else microseconds(values[name])
        with self._database.write() as connection:
            connection.execute(sa.insert(_tokens).values(values))

    def get(self, token_hash: str) -> StoredToken | None:
        """Return a token by its hash."""
        row = self._database.first(_BY_HASH, hash=token_hash)
        return None if row is None else _token(row)

    def by_id(self, token_id: str) -> StoredToken | None:
        """Return a token by its id."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(_tokens).where(_tokens.c.id == token_id)
            ).one_or_none()
        return None if row is None else _token(row)

    def all(self, organization: str = "", user: str = "") -> tuple[StoredToken, ...]:
        """Return the tokens of an organization and of a user in it, or of all; oldest first."""
        query = sa.select(_tokens).order_by(_tokens.c.created, _tokens.c.id)
        if organization:
            query = query.where(_tokens.c.organization == organization)
        if user:
            query = query.where(_tokens.c.user == user)
        with self._database.read() as connection:
            return tuple(map(_token, connection.execute(query).all()))

    def revoke(self, token_id: str) -> bool:
        """Make a token worthless, for ever; False where there is none or it was revoked."""
        with self._database.write() as connection:
            done = connection.execute(
                sa.update(_tokens)
                .where(_tokens.c.id == token_id, _tokens.c.revoked.is_(False))
                .values(revoked=True)
            )
            return done.rowcount == 1

    def touch(self, token_hash: str, at: datetime) -> None:
        """Remember when a token was last used."""
        with self._database.write() as connection:
            connection.execute(
                sa.update(_tokens)
                .where(_tokens.c.hash == token_hash)
                .values(last_used=microseconds(at))
            )


def _token(row: Any) -> StoredToken:
    return StoredToken(
        hash=row.hash,
        id=row.id,
        organization=row.organization,
        role=row.role,
        user=row.user,
        email=row.email,
        created=moment(row.created),
        name=row.name,
        created_by=row.created_by,
        expires=None if row.expires is None else moment(row.expires),
        last_used=None if row.last_used is None else moment(row.last_used),
        revoked=bool(row.revoked),
    )
