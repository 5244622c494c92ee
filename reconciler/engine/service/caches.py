"""What deployments have downloaded and left for the next ones."""

from __future__ import annotations

import shutil
import uuid

from reconciler.api.types import StackRef
from reconciler.engine.service.errors import AnswerError, may_deploy
from reconciler.engine.tokens import Caller
from reconciler.engine.tools import Tools

__all__ = ["Caches"]


class Caches:
    """The Pulumi plugins that an organization's deployments have downloaded on this host."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def clear(self, caller: Caller, stack: StackRef) -> None:
        """Delete the plugins of the stack's organization; 409 while a deployment may use them."""
        may_deploy(caller, stack.organization)
        if self._tools.store.stacks.get(stack) is None:
            raise AnswerError(404, f"stack {stack} not found")
        running = self._tools.store.deployments.running()
        if any(record.stack.organization == stack.organization for record in running):
            raise AnswerError(409, f"a deployment of {stack.organization} runs: try again after it")
        plugins = self._tools.layout.plugins(stack.organization)
        if not plugins.exists():
            return
        # Renamed at once: a deployment that starts now finds a new directory, and not half of one.
        old = plugins.with_name(f".{plugins.name}.{uuid.uuid4()}")
        plugins.rename(old)
        plugins.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(old, ignore_errors=True)
