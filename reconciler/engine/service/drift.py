"""Drift of stacks: what was looked for, found and remediated."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.api.types import StackRef
from reconciler.engine.service.errors import AnswerError, may_see
from reconciler.engine.store import DriftRun
from reconciler.engine.tokens import Caller
from reconciler.engine.tools import Tools

__all__ = ["Drift", "DriftStatus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftStatus:
    """Whether a stack has drifted, as far as is known; `latest` is empty where nobody looked."""

    detected: bool
    latest: str
    running: bool


class Drift:
    """The drift of those stacks that a caller sees."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def page(
        self, caller: Caller, stack: StackRef, page: int, page_size: int
    ) -> tuple[tuple[DriftRun, ...], int]:
        """Return a page of a stack's runs, the newest first, and how many there are."""
        self._see(caller, stack)
        return self._tools.store.drift.page(stack, page, page_size)

    def get(self, caller: Caller, stack: StackRef, run: str) -> DriftRun:
        """Return one run, by its deployment's id."""
        self._see(caller, stack)
        found = self._tools.store.drift.get(stack, run)
        if found is None:
            raise AnswerError(404, f"drift run {run[:100]!r} of {stack} not found")
        return found

    def status(self, caller: Caller, stack: StackRef) -> DriftStatus:
        """Say whether drift is known that was not remediated."""
        self._see(caller, stack)
        drift = self._tools.store.drift
        ended = drift.latest_ended(stack)
        newest, _ = drift.page(stack, 1, 1)
        return DriftStatus(
            detected=ended is not None and ended.stands,
            latest=newest[0].deployment if newest else "",
            running=drift.running(stack),
        )

    def _see(self, caller: Caller, stack: StackRef) -> None:
        may_see(caller, stack.organization)
        if self._tools.store.stacks.get(stack) is None:
            raise AnswerError(404, f"stack {stack} not found")
