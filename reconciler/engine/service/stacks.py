"""The stacks and organizations that callers see."""

from __future__ import annotations

from reconciler.api.types import StackRef
from reconciler.engine.service.errors import AnswerError, may_deploy, may_see
from reconciler.engine.store import StackInfo
from reconciler.engine.tokens import EVERY_ORGANIZATION, Caller
from reconciler.engine.tools import Tools

__all__ = ["Stacks"]


class Stacks:
    """Stacks by their names."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

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

    def organizations(self, caller: Caller) -> tuple[str, ...]:
        """Return the organizations a caller sees."""
        if caller.organization != EVERY_ORGANIZATION:
            return (caller.organization,)
        return self._tools.store.stacks.organizations()
