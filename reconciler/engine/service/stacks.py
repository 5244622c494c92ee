"""The stacks and organizations that callers see."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime

from reconciler.api.types import StackRef
from reconciler.engine import removal
from reconciler.engine.service.errors import AnswerError, may_deploy, may_see
from reconciler.engine.store import ListedStack, Newest, StackInfo
from reconciler.engine.tokens import EVERY_ORGANIZATION, Caller
from reconciler.engine.tools import Tools

__all__ = ["StackStanding", "Stacks"]

# More than people have in one organization, and an answer of some hundred kilobytes.
PAGE_SIZE = 1000

_PARTS = ("organization", "project", "stack")

# Each runs a pulumi, and holds one of the threads that answer all calls, up to a minute.
MOST_REMOVALS = 4
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStanding:
    """How a stack stands: its newest deployment, whether more may start, and the next due one."""

    newest: Newest
    paused: bool
    next_run: datetime | None


class Stacks:
    """Stacks by their names."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._removals = threading.BoundedSemaphore(MOST_REMOVALS)

    def get(self, caller: Caller, stack: StackRef) -> StackInfo:
        """Return what the engine knows of a stack."""
        may_see(caller, stack.organization)
        info = self._tools.store.stacks.get(stack)
        if info is None:
            raise AnswerError(404, f"stack {stack} not found")
        return info

    def make(self, caller: Caller, stack: StackRef) -> None:
        """Make a stack known before its first deployment."""
        may_deploy(caller, stack.organization)
        if not self._tools.store.stacks.make(stack):
            raise AnswerError(409, f"stack {stack} already exists")

    def page(
        self, caller: Caller, organization: str, project: str, token: str
    ) -> tuple[tuple[ListedStack, ...], str]:
        """Return the next stacks that the caller sees, and the token to go on with or ""."""
        if caller.organization != EVERY_ORGANIZATION:
            if organization not in {"", caller.organization}:
                return (), ""
            organization = caller.organization
        after = tuple(token.split("/")) if token else ()
        if after and (len(after) != len(_PARTS) or not all(map(StackRef.is_name, after))):
            raise AnswerError(400, "continuationToken: is none that this engine gave")
        if any(name and not StackRef.is_name(name) for name in (organization, project)):
            return (), ""
        found = self._tools.store.stacks.page(organization, project, after, PAGE_SIZE)
        return found, str(found[-1].stack) if len(found) == PAGE_SIZE else ""

    def standing(self, caller: Caller) -> tuple[StackStanding, ...]:
        """Return how each stack stands that the caller sees and that was ever deployed."""
        every = caller.organization == EVERY_ORGANIZATION
        organization = "" if every else caller.organization
        store = self._tools.store
        paused, due = store.pauses.all(), store.schedules.upcoming(organization)
        return tuple(
            StackStanding(
                newest=newest,
                paused=newest.stack in paused.stacks
                or newest.stack.organization in paused.organizations,
                next_run=due.get(newest.stack),
            )
            for newest in store.deployments.newest(organization)
        )

    def delete(self, caller: Caller, stack: StackRef, *, force: bool) -> None:
        """Delete a stack, its state and what belongs to it; with resources only by `force`."""
        may_deploy(caller, stack.organization)
        info = self._tools.store.stacks.get(stack)
        if info is None:
            raise AnswerError(404, f"stack {stack} not found")
        if self._tools.store.deployments.unended(stack):
            raise AnswerError(409, f"deployments of {stack} wait or run: cancel them first")
        if not self._removals.acquire(blocking=False):
            message = f"{MOST_REMOVALS} stacks are being deleted, the most at once; try again"
            raise AnswerError(503, message, RETRY_AFTER_S)
        try:
            done = removal.remove(self._tools, stack, force=force)
        except removal.RemovalError as error:
            raise AnswerError(409, f"the state of {stack} cannot be deleted: {error}") from error
        finally:
            self._removals.release()
        if done is removal.Removal.HAS_RESOURCES:
            # The CLI knows these words, and explains what to do.
            raise AnswerError(400, "Bad Request: Stack still contains resources.")
        # A deployment that came meanwhile is of a new stack of this name.
        self._tools.store.forget_stack(stack, info.latest_version)

    def organizations(self, caller: Caller) -> tuple[str, ...]:
        """Return the organizations a caller sees."""
        if caller.organization != EVERY_ORGANIZATION:
            return (caller.organization,)
        return self._tools.store.stacks.organizations()
