"""Holding deployments back, of a stack or of a whole organization, and saying how it stands.

What is paused does not start; what runs goes on, and new ones queue. A pause outlives the
engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.api.types import JobStatus, StackRef
from reconciler.engine.queue import Queue
from reconciler.engine.service.drift import Drift, DriftStatus
from reconciler.engine.service.errors import AnswerError, may_administer, may_deploy, may_see
from reconciler.engine.tokens import Caller
from reconciler.engine.tools import Tools

__all__ = ["OrganizationState", "Pauses", "StackState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """Whether a stack's deployments start, by whose pause they do not, and what starts more."""

    stack_paused: bool
    organization_paused: bool
    has_schedules: bool
    drift: DriftStatus

    @property
    def paused(self) -> bool:
        """Whether a new deployment would wait for a resume."""
        return self.stack_paused or self.organization_paused


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationState:
    """How an organization's deployments stand; `concurrency` is how many run at once."""

    paused: bool
    paused_stacks: tuple[StackRef, ...]
    concurrency: int
    counts: Mapping[JobStatus, int]


class Pauses:
    """Pausing and resuming."""

    def __init__(self, tools: Tools, queue: Queue, drift: Drift) -> None:
        self._tools = tools
        self._queue = queue
        self._drift = drift

    def pause_stack(self, caller: Caller, stack: StackRef) -> None:
        """Let no deployment of a stack start; 404 for an unknown stack."""
        self._check_stack(caller, stack)
        self._tools.store.pauses.pause(stack.organization, stack)

    def resume_stack(self, caller: Caller, stack: StackRef) -> None:
        """Let a stack's deployments start again; 404 for an unknown stack."""
        self._check_stack(caller, stack)
        self._tools.store.pauses.resume(stack.organization, stack)
        self._queue.wake()

    def pause_organization(self, caller: Caller, organization: str) -> None:
        """Let no deployment of an organization start."""
        may_administer(caller, organization)
        self._tools.store.pauses.pause(organization)

    def resume_organization(self, caller: Caller, organization: str) -> None:
        """Let an organization's deployments start again, but for stacks paused themselves."""
        may_administer(caller, organization)
        self._tools.store.pauses.resume(organization)
        self._queue.wake()

    def stack_state(self, caller: Caller, stack: StackRef) -> StackState:
        """Say how a stack's deployments stand; 404 for an unknown stack."""
        may_see(caller, stack.organization)
        self._known(stack)
        paused = self._tools.store.pauses.all()
        return StackState(
            stack_paused=stack in paused.stacks,
            organization_paused=stack.organization in paused.organizations,
            has_schedules=bool(self._tools.store.schedules.of_stack(stack)),
            drift=self._drift.status(caller, stack),
        )

    def organization_state(self, caller: Caller, organization: str) -> OrganizationState:
        """Say how an organization's deployments stand."""
        may_see(caller, organization)
        paused = self._tools.store.pauses.all()
        return OrganizationState(
            paused=organization in paused.organizations,
            paused_stacks=tuple(sorted(s for s in paused.stacks if s.organization == organization)),
            concurrency=self._tools.config.most_per_organization or self._tools.config.workers,
            counts=self._tools.store.deployments.counts(organization),
        )

    def _check_stack(self, caller: Caller, stack: StackRef) -> None:
        may_deploy(caller, stack.organization)
        self._known(stack)

    def _known(self, stack: StackRef) -> None:
        if self._tools.store.stacks.get(stack) is None:
            raise AnswerError(404, f"stack {stack} not found")
