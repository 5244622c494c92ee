"""Who gets in, from where, and what is written down about it."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address

from reconciler.engine.service.errors import AnswerError
from reconciler.engine.store import AuditEntry, AuditNote, StoredToken
from reconciler.engine.throttle import Throttle, neighbourhood
from reconciler.engine.tokens import EVERY_ORGANIZATION, PREFIX, Caller, Tokens, is_good
from reconciler.engine.tools import Tools
from reconciler.errors import NotDurableError

__all__ = ["Access", "Asked", "Refused"]

_log = logging.getLogger(__name__)

# Tokens in use are let in while others fail from the same address.
MOST_GOOD_REMEMBERED = 1000

# Of the refusals of one address so many a minute are written down one by one; the rest is
# counted in the next one. Nobody fills a disk by being refused.
NOTED_PER_MINUTE = 20

# What a path may hold is a caller's to choose; what is kept of it is bounded.
LONGEST_TARGET = 300

_TOKEN = re.compile(re.escape(PREFIX) + r"[\w-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call: by what route, for what, of which organization, from where."""

    action: str
    target: str
    organization: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Who presents no good token. `known`: it was one, or is another's."""

    status: int
    message: str
    retry_after_s: int = 0
    known: StoredToken | None = None


class Access:
    """Recognises callers, and writes down what they do. Any thread may call any method."""

    def __init__(self, tools: Tools, tokens: Tokens) -> None:
        self._tools = tools
        self._tokens = tokens
        self._lock = threading.Lock()
        # All guarded by _lock.
        self._failed = Throttle(tools.config.failed_logins)
        self._noted = Throttle(NOTED_PER_MINUTE)
        self._not_noted = 0
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def admit(self, presented: str, address: str) -> Caller | Refused:
        """Return who presents a token; 401 where it is none, 429 after too many of those."""
        unknown = Refused(status=401, message="give a valid token: `Authorization: token {token}`")
        if not presented:
            return unknown
        digest, place, now = _digest(presented), neighbourhood(address), self._tools.clock.now()
        wait_s = self._wait_s(digest, place, now)
        if wait_s > 0:
            message = f"too many invalid tokens from here; try again in {wait_s} s"
            return Refused(status=429, message=message, retry_after_s=wait_s)
        found = self._tokens.find(presented)
        caller = None if found is None else self._tokens.use(found)
        if caller is not None:
            self._remember(digest)
            return caller
        with self._lock:
            self._failed.failed(place, now)
            self._good.pop(digest, None)
        return replace(unknown, known=found)

    def admit_at_once(self, presented: str, address: str) -> Caller | None:
        """Do as `admit`, with no more than a look into the database.

        None where anything is to be written down, and where `admit` would refuse.
        """
        digest, place = _digest(presented), neighbourhood(address)
        if not presented or self._wait_s(digest, place, self._tools.clock.now()) > 0:
            return None
        found = self._tokens.find(presented)
        caller = None if found is None else self._tokens.use_at_once(found)
        if caller is not None:
            self._remember(digest)
        return caller

    def _wait_s(self, digest: bytes, place: str, now: datetime) -> int:
        """Return how long a token that is not known as good has to wait."""
        with self._lock:
            if digest in self._good:
                return 0
            return math.ceil(self._failed.wait(place, now).total_seconds())

    def _remember(self, digest: bytes) -> None:
        """Let this token in while others fail."""
        with self._lock:
            self._good[digest] = None
            self._good.move_to_end(digest)
            if len(self._good) > MOST_GOOD_REMEMBERED:
                self._good.popitem(last=False)

    def look_again(self, caller: Caller) -> None:
        """Refuse with 401 who was let in by a token that is no longer good."""
        found = self._tools.store.tokens.by_id(caller.token_id)
        if found is None or not is_good(found, self._tools.clock.now()):
            raise AnswerError(401, "this token was revoked or has expired")

    def address(self, peer: str, forwarded: str) -> str:
        """Return where a call comes from: what trusted proxies say of it, else the peer."""
        return client_address(peer, forwarded, self._tools.config.trusted_proxies)

    # ------------------------------------------------------------ the audit log

    def note(self, asked: Asked, caller: Caller) -> AuditNote:
        """Return the entry of what is about to be done, for the change to take along."""
        return AuditNote(self._entry(asked, caller, "done"))

    def noting(self, note: AuditNote) -> AbstractContextManager[None]:
        """Have the first change that is made within take the note along."""
        return self._tools.store.audit.noting(note)

    def record(self, asked: Asked, caller: Caller, result: str) -> None:
        """Write down what came of a call."""
        self._tools.store.audit.append(self._entry(asked, caller, result))

    def record_refused(self, asked: Asked, refused: Refused) -> None:
        """Write down who was not let in, or count it where that comes too often."""
        now = self._tools.clock.now()
        place = neighbourhood(asked.address)
        with self._lock:
            if self._noted.wait(place, now).total_seconds() > 0:
                self._not_noted += 1
                return
            self._noted.failed(place, now)
            skipped, self._not_noted = self._not_noted, 0
        known = refused.known
        detail = f"{skipped} more were refused before this one" if skipped else ""
        entry = AuditEntry(
            at=now,
            organization="" if known is None else known.organization,
            user="" if known is None else known.user,
            token="" if known is None else known.id,
            address=asked.address,
            action=asked.action,
            target=shown(asked.target),
            result=f"refused {refused.status}",
            detail=detail,
        )
        try:
            self._tools.store.audit.append(entry)
        except NotDurableError as error:
            _log.error("a refused call is not in the audit log: %s", error)

    def _entry(self, asked: Asked, caller: Caller, result: str) -> AuditEntry:
        # The embedded engine's token is of all; what it does is the path's organization's.
        every = caller.organization == EVERY_ORGANIZATION
        return AuditEntry(
            at=self._tools.clock.now(),
            organization=(asked.organization if every else "") or caller.organization,
            user=caller.user,
            token=caller.token_id,
            address=asked.address,
            action=asked.action,
            target=shown(asked.target),
            result=result,
        )


def _digest(presented: str) -> bytes:
    return hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()


def shown(target: str) -> str:
    """Return a path as it is kept: no token, nothing that a terminal obeys, bounded."""
    text = _TOKEN.sub(f"{PREFIX}…", target[: 2 * LONGEST_TARGET])
    return "".join(c if c.isprintable() else "�" for c in text)[:LONGEST_TARGET]


def client_address(
    peer: str, forwarded: str, trusted: tuple[IPv4Network | IPv6Network, ...]
) -> str:
    """Return the last address that no trusted proxy has: what is before it anybody can write."""
    address = peer
    if not trusted or not forwarded:
        return address
    for said in reversed(forwarded.split(",")):
        if not _is_in(address, trusted):
            break
        text = said.strip().strip("[]")
        try:
            address = str(ip_address(text))
        except ValueError:
            break
    return address


def _is_in(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in networks)
