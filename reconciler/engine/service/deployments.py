"""Deployments, as callers make, see and end them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.api.types import (
    Created,
    Deployment,
    DeploymentRequest,
    Ending,
    EndingKind,
    JobStatus,
    Secret,
    StackRef,
)
from reconciler.engine import validation
from reconciler.engine.model import CancelAsked, Event, Record, Withdrawn, deployment
from reconciler.engine.queue import Queue
from reconciler.engine.service.errors import AnswerError, may_deploy, may_see
from reconciler.engine.service.making import Asker, maker
from reconciler.engine.store import PageQuery, QueueFullError
from reconciler.engine.tokens import Caller
from reconciler.engine.tools import Tools
from reconciler.engine.validation import Policy, Refusal
from reconciler.git.urls import Reach

__all__ = ["Deployments", "ListedPage"]

# What a full queue asks for: some have ended by then.
QUEUE_FULL_RETRY_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """A page of deployments, and how many there are in all."""

    deployments: tuple[Deployment, ...]
    total: int


class Deployments:
    """Deployments, made, looked at and ended."""

    def __init__(self, tools: Tools, queue: Queue) -> None:
        self._tools = tools
        self._queue = queue
        self.policy = Policy(
            reach=Reach(local=tools.config.local_repositories, hosts=tools.config.sources.hosts),
            issues_tokens=tools.oidc is not None,
        )

    def create(
        self, caller: Caller, stack: StackRef, request: DeploymentRequest[Secret], initiator: str
    ) -> Created:
        """Queue a deployment; one that carries a marker which the stack has is not made twice."""
        may_deploy(caller, stack.organization)
        policy = self.policy
        if request.executor_image:
            policy = replace(policy, refuse_images=self._tools.runners.refuse_image())
        accepted = validation.check(request, policy)
        if isinstance(accepted, Refusal):
            raise AnswerError(400, accepted.message)
        asker = Asker(user=caller.user, email=caller.email, initiator=initiator)
        make = maker(self._tools, stack, accepted, asker)
        try:
            record, new = self._tools.store.deployments.create(stack, accepted.marker, make)
        except QueueFullError as error:
            raise AnswerError(429, str(error), QUEUE_FULL_RETRY_S) from error
        if new:
            self._queue.wake()
        url = self._tools.reserved(stack, record.id, record.version).build_url
        return Created(id=record.id, version=record.version, console_url=url)

    def find(self, caller: Caller, stack: StackRef, deployment_id: str) -> Record:
        """Return the record of a deployment that the caller sees; 404 where there is none."""
        may_see(caller, stack.organization)
        record = self._tools.store.deployments.get(deployment_id)
        if record is None or record.stack != stack:
            raise AnswerError(404, f"deployment {deployment_id[:100]!r} of {stack} not found")
        return record

    def get(self, caller: Caller, stack: StackRef, deployment_id: str) -> Deployment:
        """Return a deployment by its id."""
        return self._deployment(self.find(caller, stack, deployment_id))

    def get_version(self, caller: Caller, stack: StackRef, version: int) -> Deployment:
        """Return a deployment by its version."""
        may_see(caller, stack.organization)
        record = self._tools.store.deployments.get_version(stack, version)
        if record is None:
            raise AnswerError(404, f"deployment #{version} of {stack} not found")
        return self._deployment(record)

    def page(self, caller: Caller, query: PageQuery) -> ListedPage:
        """Return a page of a stack's or an organization's deployments."""
        may_see(caller, query.organization)
        records, total = self._tools.store.deployments.page(query)
        return ListedPage(
            deployments=tuple(deployment(record, 0) for record in records), total=total
        )

    def cancel(self, caller: Caller, stack: StackRef, deployment_id: str) -> None:
        """Cancel a queued or running deployment; for an ended one there is nothing to cancel."""
        may_deploy(caller, stack.organization)
        self.find(caller, stack, deployment_id)
        now = self._tools.clock.now()

        def decide(record: Record) -> Event | None:
            if record.status is JobStatus.NOT_STARTED:
                message = "the deployment was canceled before it started"
                return Withdrawn(now, Ending(kind=EndingKind.CANCELED, message=message))
            return None if record.status.ended else CancelAsked(now)

        _, event = self._tools.store.deployments.change(deployment_id, decide)
        if event is None:
            raise AnswerError(404, f"deployment {deployment_id} has ended: nothing to cancel")
        if isinstance(event, CancelAsked):
            self._queue.cancel(deployment_id)
        self._queue.wake()

    # ------------------------------------------------------------ inside

    def _deployment(self, record: Record) -> Deployment:
        info = self._tools.store.stacks.get(record.stack)
        return deployment(record, record.version if info is None else info.latest_version)
