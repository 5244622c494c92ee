"""Tokens, as their hashes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

import sqlalchemy as sa

from reconciler.engine.store.columns import METADATA, microseconds, moment
from reconciler.engine.store.database import Database

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
)


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


class Tokens:
    """Tokens by their hashes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: StoredToken) -> None:
        """Keep a new token."""
        values = {field.name: getattr(token, field.name) for field in fields(StoredToken)}
        for name in ("created", "expires", "last_used"):
            values[name] = None if values[name] is None else microseconds(values[name])
        with self._database.write() as connection:
            connection.execute(sa.insert(_tokens).values(values))

    def get(self, token_hash: str) -> StoredToken | None:
        """Return a token by its hash."""
        with self._database.read() as connection:
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
            created=moment(row.created),
            expires=None if row.expires is None else moment(row.expires),
            last_used=None if row.last_used is None else moment(row.last_used),
            revoked=row.revoked,
        )

    def touch(self, token_hash: str, at: datetime) -> None:
        """Remember when a token was last used."""
        with self._database.write() as connection:
            connection.execute(
                sa.update(_tokens)
                .where(_tokens.c.hash == token_hash)
                .values(last_used=microseconds(at))
            )
