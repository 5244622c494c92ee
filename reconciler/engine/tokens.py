"""The tokens that callers present: made, kept as hashes, recognised and revoked.

A token is of one organization and one user; the embedded engine's is of all (`*`). It is
shown once, when it is made: what is kept tells nobody what it was. People speak of it by its
id or its name.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from reconciler.api.types import StackRef
from reconciler.clock import Clock, SystemClock
from reconciler.engine.config import Layout
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.store import AuditEntry, AuditNote, Store, StoredToken
from reconciler.errors import UsageError

__all__ = ["EVERY_ORGANIZATION", "Caller", "NewToken", "Role", "Tokens", "create", "is_good"]

EVERY_ORGANIZATION = "*"

# A person who finds one in a log or a repository, and a scanner, can tell what it is.
PREFIX = "rct_"
# 256 bits: it cannot be guessed, so that one round of SHA-256 is enough to keep it.
_RANDOM_BYTES = 32

# "Last used" is for people who ask whether a token can be revoked; writing it down at every
# request would cost each one a wait for the disk.
_TOUCH_EVERY = timedelta(minutes=1)

# What a person writes about a token fits a line of a list.
LONGEST_NAME = 100


class Role(StrEnum):
    """What a token's owner may do; each may also do what the ones below may."""

    ADMIN = "admin"  # see and revoke the organization's tokens, read its audit log
    DEPLOY = "deploy"  # start and cancel deployments
    READ = "read"

    def covers(self, needed: Role) -> bool:
        """Whether this role is enough where that one is needed."""
        order = tuple(Role)
        return order.index(self) <= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who presents a valid token, and which: its id, and when it ends."""

    organization: str
    user: str
    email: str
    role: Role
    token_id: str = field(default="", compare=False)
    token_name: str = field(default="", compare=False)
    expires: datetime | None = field(default=None, compare=False)

    def sees(self, organization: str) -> bool:
        """Whether this organization is theirs; to everybody else it does not exist."""
        return self.organization in {organization, EVERY_ORGANIZATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that was just made: itself, shown this once, and how it is kept."""

    token: str = field(repr=False)
    stored: StoredToken


class Tokens:
    """Makes tokens and recognises them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def create(self, caller: Caller, expires: timedelta | None) -> str:
        """Make a token, keep its hash and return it."""
        end = None if expires is None else self._clock.now() + expires
        return self.make(caller, end).token

    def make(
        self, owner: Caller, expires: datetime | None, name: str = "", created_by: str = ""
    ) -> NewToken:
        """Make a token for its owner, keep its hash and return it."""
        token = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        stored = StoredToken(
            hash=_hash(token),
            id=str(uuid.uuid4()),
            name=name,
            organization=owner.organization,
            role=str(owner.role),
            user=owner.user,
            email=owner.email,
            created=self._clock.now(),
            created_by=created_by or owner.user,
            expires=expires,
        )
        self._store.audit.detail(f"token {stored.id}, role {stored.role}")
        self._store.tokens.add(stored)
        return NewToken(token=token, stored=stored)

    def find(self, token: str) -> StoredToken | None:
        """Return a token as it is kept, good or not; None for an unknown one."""
        return self._store.tokens.get(_hash(token))

    def verify(self, token: str) -> Caller | None:
        """Return whose token it is; None for an unknown, revoked or expired one."""
        found = self.find(token)
        return None if found is None else self.use(found)

    def use(self, found: StoredToken) -> Caller | None:
        """Return who presents a token that is kept; None for a revoked or expired one."""
        now = self._clock.now()
        if not is_good(found, now):
            return None
        if _is_to_be_touched(found, now):
            self._store.tokens.touch(found.hash, now)
        return _caller(found)

    def use_at_once(self, found: StoredToken) -> Caller | None:
        """Do as `use`, but without a write: None as well where there is one to be done."""
        now = self._clock.now()
        return _caller(found) if is_good(found, now) and not _is_to_be_touched(found, now) else None


def create(  # noqa: PLR0913 - what a person says of a new token
    data: Path,
    *,
    organization: str,
    user: str,
    email: str,
    role: str,
    expires: timedelta | None,
    name: str = "",
    by: str = "",
    database: DatabaseUrl | None = None,
) -> str:
    """Make a token in an engine's data directory or database, whether or not the engine runs.

    `by` is who makes it, for the audit log. UsageError for an unknown role, an impossible
    organization or a name that is too long.
    """
    if role not in set(Role):
        raise UsageError(f"{role!r} is no role; one of {', '.join(Role)} is")
    if organization != EVERY_ORGANIZATION and not StackRef.is_name(organization):
        raise UsageError(f"{organization!r} cannot be an organization's name")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a token's name is one line of at most {LONGEST_NAME} characters")
    if database is None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(Layout(data.absolute()).database if database is None else database)
    try:
        clock = SystemClock()
        owner = Caller(organization=organization, user=user, email=email, role=Role(role))
        end = None if expires is None else clock.now() + expires
        entry = AuditEntry(
            at=clock.now(),
            organization=organization,
            user=by,
            token="",
            address="local",
            action="token create",
            target=f"{organization}/{user}",
            result="done",
        )
        with store.audit.noting(AuditNote(entry)):
            return Tokens(store, clock).make(owner, end, name, by).token
    finally:
        store.close()


def is_good(token: StoredToken, now: datetime) -> bool:
    """Whether a token lets its owner in."""
    return not token.revoked and (token.expires is None or now < token.expires)


def _is_to_be_touched(token: StoredToken, now: datetime) -> bool:
    return token.last_used is None or now - token.last_used >= _TOUCH_EVERY


def _caller(found: StoredToken) -> Caller:
    return Caller(
        organization=found.organization,
        user=found.user,
        email=found.email,
        role=Role(found.role),
        token_id=found.id,
        token_name=found.name,
        expires=found.expires,
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
