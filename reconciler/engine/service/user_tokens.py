"""What people do with their tokens, and admins with those of their organization."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.engine.service.errors import AnswerError, may
from reconciler.engine.store import StoredToken
from reconciler.engine.tokens import Caller, NewToken, Role, Tokens, is_good
from reconciler.engine.tools import Tools

__all__ = ["UserTokens"]

# More than a person can tell apart; who has them all is told to revoke one.
MOST_GOOD_TOKENS = 100

# What one list shows, the newest.
LONGEST_LIST = 1000


class UserTokens:
    """Tokens, made, listed and revoked by those whose they are."""

    def __init__(self, tools: Tools, tokens: Tokens) -> None:
        self._tools = tools
        self._tokens = tokens

    def mine(self, caller: Caller, *, past: bool) -> tuple[StoredToken, ...]:
        """Return the caller's tokens, the newest first; with `past` those without use too."""
        return self._list(caller.organization, caller.user, past=past)

    def make_mine(self, caller: Caller, name: str, expires_s: int) -> NewToken:
        """Make one more for the caller: of their role, and no longer of use than theirs.

        `expires_s`: seconds since 1970; 0: never.
        """
        self._bound(caller)
        return self._tokens.make(caller, _end(expires_s, caller), name)

    def revoke_mine(self, caller: Caller, token_id: str) -> None:
        """Revoke a token of the caller's, the one in use too."""
        self._revoke(token_id, caller.organization, caller.user)

    def of(self, caller: Caller, organization: str, *, past: bool) -> tuple[StoredToken, ...]:
        """Return the tokens of everybody in the organization, for its admins."""
        may(caller, organization, Role.ADMIN)
        return self._list(organization, "", past=past)

    def make_for(self, caller: Caller, owner: Caller, name: str, expires_s: int) -> NewToken:
        """Make a token for somebody of an admin's organization."""
        may(caller, owner.organization, Role.ADMIN)
        self._bound(owner)
        return self._tokens.make(owner, _end(expires_s, caller), name, caller.user)

    def revoke_of(self, caller: Caller, organization: str, token_id: str) -> None:
        """Revoke anybody's token of an admin's organization."""
        may(caller, organization, Role.ADMIN)
        self._revoke(token_id, organization, "")

    # ------------------------------------------------------------ inside

    def _list(self, organization: str, user: str, *, past: bool) -> tuple[StoredToken, ...]:
        now = self._tools.clock.now()
        found = self._tools.store.tokens.all(organization, user)
        return tuple(t for t in reversed(found) if past or is_good(t, now))[:LONGEST_LIST]

    def _bound(self, owner: Caller) -> None:
        if len(self._list(owner.organization, owner.user, past=False)) >= MOST_GOOD_TOKENS:
            message = f"{owner.user} has {MOST_GOOD_TOKENS} tokens: revoke one first"
            raise AnswerError(409, message)

    def _revoke(self, token_id: str, organization: str, user: str) -> None:
        found = self._tools.store.tokens.by_id(token_id) if token_id.isprintable() else None
        of_theirs = (
            found is not None
            and found.organization == organization
            and (not user or found.user == user)
        )
        if not of_theirs or not self._tools.store.tokens.revoke(token_id):
            raise AnswerError(404, "there is no such token to revoke")


def _end(expires_s: int, maker: Caller) -> datetime | None:
    """Return when a new token ends: never after the one that it is made with."""
    end = datetime.fromtimestamp(expires_s, UTC) if expires_s else None
    if maker.expires is None:
        return end
    return maker.expires if end is None else min(end, maker.expires)
