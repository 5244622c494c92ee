"""The keys that identity tokens are signed with, and when each signs and is shown. Pure.

A key is shown for a while before it signs, since relying parties keep what they have fetched;
and it is shown after it has signed for the last time, until its tokens have expired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

__all__ = [
    "LONGEST_LIFETIME",
    "PUBLISHED_AHEAD",
    "KeyRing",
    "SigningKey",
    "published",
    "rotated",
    "signing",
    "withdrawn",
]

# As long as AWS and Google let the longest session live; a token is not needed for longer.
LONGEST_LIFETIME = timedelta(hours=12)

# Relying parties may keep a key set for five minutes, as its answer says; twice that, for
# clocks that differ.
PUBLISHED_AHEAD = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One RSA key: `private` is PEM, `modulus` and `exponent` are base64url as in a JWK."""

    id: str
    private: str = field(repr=False)
    modulus: str
    exponent: str
    signs_from: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """All keys that still matter, in the order in which they sign."""

    keys: tuple[SigningKey, ...] = ()


def signing(ring: KeyRing, now: datetime) -> SigningKey | None:
    """Return the key that signs now: the newest whose time has come; None in an empty ring.

    The clock of one host may be a little behind that of the host which made the first key.
    """
    ready = [key for key in ring.keys if key.signs_from <= now] or [*ring.keys[:1]]
    return ready[-1] if ready else None


def published(ring: KeyRing, now: datetime) -> tuple[SigningKey, ...]:
    """Return the keys to show: those that will sign, the one that does, and those before it
    whose tokens may still be valid.
    """  # noqa: D205 - one sentence
    shown = [
        key
        for key, after in pairwise(ring.keys)
        if now < after.signs_from + LONGEST_LIFETIME + PUBLISHED_AHEAD
    ]
    return (*shown, *ring.keys[-1:])


def rotated(ring: KeyRing, new: SigningKey, now: datetime) -> KeyRing:
    """Return the ring with a new key at its end, and without those that are not shown any more."""
    return KeyRing(keys=(*published(ring, now), new))


def withdrawn(ring: KeyRing, key_id: str) -> KeyRing:
    """Return the ring without one key: what it has signed is refused from now on."""
    return KeyRing(keys=tuple(key for key in ring.keys if key.id != key_id))
