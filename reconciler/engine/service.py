"""What callers can do with an engine, one method each; no HTTP and no SQL.

Whoever asks has been recognised; what they may not see does not exist for them. An
`AnswerError` carries the status and the words that they are answered with.
"""

from __future__ import annotations

import uuid
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
    StepStatus,
    User,
)
from reconciler.engine import steps, validation
from reconciler.engine.logs import BadTokenError, LogPage, StepState
from reconciler.engine.model import CancelAsked, Event, Record, Withdrawn, deployment
from reconciler.engine.queue import Queue
from reconciler.engine.store import PageQuery, StackInfo
from reconciler.engine.tokens import Caller, Role, Tokens
from reconciler.engine.tools import Tools
from reconciler.engine.validation import Policy, Refusal
from reconciler.errors import ReconcilerError

__all__ = ["AnswerError", "ListedPage", "Service", "StepWindow"]


class AnswerError(ReconcilerError):
    """What was asked is not done: a status of 400 to 499, and why, for a person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """A page of deployments, and how many there are in all."""

    deployments: tuple[Deployment, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWindow:
    """Which lines of which step, all counted from 0."""

    step: int
    offset: int = 0
    count: int = 100


class Service:
    """The use cases of one engine. Any thread may call any method."""

    def __init__(self, tools: Tools, queue: Queue, tokens: Tokens) -> None:
        self._tools = tools
        self._queue = queue
        self._tokens = tokens
        self._policy = Policy(local_repositories=tools.config.local_repositories)

    @property
    def base_url(self) -> str:
        """Where this engine answers."""
        return self._tools.base_url

    def recognise(self, token: str) -> Caller | None:
        """Return whose token it is, or None."""
        return self._tokens.verify(token)

    def create(
        self, caller: Caller, stack: StackRef, request: DeploymentRequest[Secret], initiator: str
    ) -> Created:
        """Queue a deployment; one that carries a marker which the stack has is not made twice."""
        self._may_deploy(caller, stack.organization)
        accepted = validation.check(request, self._policy)
        if isinstance(accepted, Refusal):
            raise AnswerError(400, accepted.message)
        deployment_id = str(uuid.uuid4())
        now = self._tools.clock.now()

        def make(version: int) -> tuple[Record, bytes]:
            reserved = self._tools.reserved(stack, deployment_id, version)
            record = Record(
                id=deployment_id,
                stack=stack,
                version=version,
                operation=accepted.request.operation,
                created=now,
                modified=now,
                requested_by=User(name=caller.user, github_login=caller.user, email=caller.email),
                initiator=initiator,
                marker=accepted.marker,
                environment=validation.shown_environment(accepted.request, reserved),
                source=replace(accepted.request.source, auth=None),
                steps=steps.initial_steps(accepted.request),
            )
            return record, self._tools.seal(accepted.request, deployment_id)

        record, new = self._tools.store.create(stack, accepted.marker, make)
        if new:
            self._queue.wake()
        url = self._tools.reserved(stack, record.id, record.version).build_url
        return Created(id=record.id, version=record.version, console_url=url)

    def get(self, caller: Caller, stack: StackRef, deployment_id: str) -> Deployment:
        """Return a deployment by its id."""
        return self._deployment(self._find(caller, stack, deployment_id))

    def get_version(self, caller: Caller, stack: StackRef, version: int) -> Deployment:
        """Return a deployment by its version."""
        self._may_see(caller, stack.organization)
        record = self._tools.store.get_version(stack, version)
        if record is None:
            raise AnswerError(404, f"deployment #{version} of {stack} not found")
        return self._deployment(record)

    def page(self, caller: Caller, query: PageQuery) -> ListedPage:
        """Return a page of a stack's or an organization's deployments."""
        self._may_see(caller, query.organization)
        records, total = self._tools.store.page(query)
        return ListedPage(
            deployments=tuple(deployment(record, 0) for record in records), total=total
        )

    def cancel(self, caller: Caller, stack: StackRef, deployment_id: str) -> None:
        """Cancel a queued or running deployment; for an ended one there is nothing to cancel."""
        self._may_deploy(caller, stack.organization)
        self._find(caller, stack, deployment_id)
        now = self._tools.clock.now()

        def decide(record: Record) -> Event | None:
            if record.status is JobStatus.NOT_STARTED:
                message = "the deployment was canceled before it started"
                return Withdrawn(now, Ending(kind=EndingKind.CANCELED, message=message))
            return None if record.status.ended else CancelAsked(now)

        _, event = self._tools.store.change(deployment_id, decide)
        if event is None:
            raise AnswerError(404, f"deployment {deployment_id} has ended: nothing to cancel")
        if isinstance(event, CancelAsked):
            self._queue.cancel(deployment_id)
        self._queue.wake()

    def follow_log(
        self, caller: Caller, stack: StackRef, deployment_id: str, token: str
    ) -> LogPage:
        """Return the next part of a deployment's whole log."""
        record = self._find(caller, stack, deployment_id)
        states = [StepState(header=steps.header(s.name), status=s.status) for s in record.steps]
        try:
            return self._tools.logs.follow(deployment_id, states, token, ended=record.status.ended)
        except BadTokenError as error:
            raise AnswerError(400, str(error)) from None

    def step_log(
        self, caller: Caller, stack: StackRef, deployment_id: str, window: StepWindow
    ) -> LogPage:
        """Return lines of one step's log."""
        record = self._find(caller, stack, deployment_id)
        if window.step >= len(record.steps):
            raise AnswerError(400, f"step: this deployment has {len(record.steps)} steps")
        status = record.steps[window.step].status
        ended = record.status.ended or status in {StepStatus.SUCCEEDED, StepStatus.FAILED}
        where = (window.offset, window.count)
        return self._tools.logs.step_page(deployment_id, window.step, where, ended=ended)

    def stack(self, caller: Caller, stack: StackRef) -> StackInfo:
        """Return what the engine knows of a stack."""
        self._may_see(caller, stack.organization)
        info = self._tools.store.stack(stack)
        if info is None:
            raise AnswerError(404, f"stack {stack} not found")
        return info

    def make_stack(self, caller: Caller, stack: StackRef) -> None:
        """Make a stack known before its first deployment."""
        self._may_deploy(caller, stack.organization)
        if not self._tools.store.make_stack(stack):
            raise AnswerError(409, f"stack {stack} already exists")

    def organizations(self, caller: Caller) -> tuple[str, ...]:
        """Return the organizations a caller sees."""
        if caller.sees(caller.organization) and caller.organization != "*":
            return (caller.organization,)
        return self._tools.store.organizations()

    # ------------------------------------------------------------ inside

    def _deployment(self, record: Record) -> Deployment:
        info = self._tools.store.stack(record.stack)
        return deployment(record, record.version if info is None else info.latest_version)

    def _find(self, caller: Caller, stack: StackRef, deployment_id: str) -> Record:
        self._may_see(caller, stack.organization)
        record = self._tools.store.get(deployment_id)
        if record is None or record.stack != stack:
            raise AnswerError(404, f"deployment {deployment_id[:100]!r} of {stack} not found")
        return record

    def _may_see(self, caller: Caller, organization: str) -> None:
        # The same words as for a thing that does not exist: nobody learns what others have.
        if not caller.sees(organization):
            raise AnswerError(404, "not found")

    def _may_deploy(self, caller: Caller, organization: str) -> None:
        self._may_see(caller, organization)
        if caller.role is Role.READ:
            raise AnswerError(403, "this token may only read; one with role deploy can do this")
