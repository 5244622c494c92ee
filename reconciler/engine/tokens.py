"""The tokens that callers present: made, kept as hashes, and recognised.

A token is of one organization and one user; the embedded engine's is of all (`*`). It is
shown once, when it is made: what is kept tells nobody what it was.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from reconciler.api.types import StackRef
from reconciler.clock import Clock, SystemClock
from reconciler.engine.config import Layout
from reconciler.engine.store import Store, StoredToken
from reconciler.errors import UsageError

__all__ = ["EVERY_ORGANIZATION", "Caller", "Role", "Tokens", "create"]

EVERY_ORGANIZATION = "*"

# A person who finds one in a log or a repository, and a scanner, can tell what it is.
_PREFIX = "rct_"
# 256 bits: it cannot be guessed, so that one round of SHA-256 is enough to keep it.
_RANDOM_BYTES = 32

# "Last used" is for people who ask whether a token can be revoked; writing it down at every
# request would cost each one a wait for the disk.
_TOUCH_EVERY = timedelta(minutes=1)


class Role(StrEnum):
    """What a token's owner may do."""

    ADMIN = "admin"
    DEPLOY = "deploy"  # start and cancel deployments, and read
    READ = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who presents a valid token."""

    organization: str
    user: str
    email: str
    role: Role

    def sees(self, organization: str) -> bool:
        """Whether this organization is theirs; to everybody else it does not exist."""
        return self.organization in {organization, EVERY_ORGANIZATION}


class Tokens:
    """Makes tokens and recognises them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def create(self, caller: Caller, expires: timedelta | None) -> str:
        """Make a token, keep its hash and return it."""
        token = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        now = self._clock.now()
        self._store.tokens.add(
            StoredToken(
                hash=_hash(token),
                organization=caller.organization,
                role=str(caller.role),
                user=caller.user,
                email=caller.email,
                created=now,
                expires=None if expires is None else now + expires,
            )
        )
        return token

    def verify(self, token: str) -> Caller | None:
        """Return whose token it is; None for an unknown, revoked or expired one."""
        found = self._store.tokens.get(_hash(token))
        now = self._clock.now()
        if found is None or found.revoked or _has_expired(found, now):
            return None
        if found.last_used is None or now - found.last_used >= _TOUCH_EVERY:
            self._store.tokens.touch(found.hash, now)
        return Caller(
            organization=found.organization,
            user=found.user,
            email=found.email,
            role=Role(found.role),
        )


def create(  # noqa: PLR0913 - what a person says of a new token
    data: Path,
    *,
    organization: str,
    user: str,
    email: str,
    role: str,
    expires: timedelta | None,
) -> str:
    """Make a token in an engine's data directory, whether or not the engine runs.

    UsageError for an unknown role or an impossible organization.
    """
    if role not in set(Role):
        raise UsageError(f"{role!r} is no role; one of {', '.join(Role)} is")
    if organization != EVERY_ORGANIZATION and not StackRef.is_name(organization):
        raise UsageError(f"{organization!r} cannot be an organization's name")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(Layout(data.absolute()).database)
    try:
        owner = Caller(organization=organization, user=user, email=email, role=Role(role))
        return Tokens(store, SystemClock()).create(owner, expires)
    finally:
        store.close()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _has_expired(token: StoredToken, now: datetime) -> bool:
    return token.expires is not None and now >= token.expires
