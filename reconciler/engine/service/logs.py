"""Reading the logs of deployments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.api.types import StackRef, StepStatus
from reconciler.engine import steps
from reconciler.engine.logs import BadTokenError, LogPage, StepState
from reconciler.engine.service.deployments import Deployments
from reconciler.engine.service.errors import AnswerError
from reconciler.engine.store import Signal, Topic
from reconciler.engine.tokens import Caller
from reconciler.engine.tools import Tools

__all__ = ["Logs", "StepWindow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWindow:
    """Which lines of which step, all counted from 0."""

    step: int
    offset: int = 0
    count: int = 100


class Logs:
    """The logs of those deployments that a caller sees."""

    def __init__(self, tools: Tools, deployments: Deployments) -> None:
        self._tools = tools
        self._deployments = deployments

    def follow(self, caller: Caller, stack: StackRef, deployment_id: str, token: str) -> LogPage:
        """Return the next part of a deployment's whole log."""
        record = self._deployments.find(caller, stack, deployment_id)
        states = [StepState(header=steps.header(s.name), status=s.status) for s in record.steps]
        try:
            return self._tools.logs.follow(deployment_id, states, token, ended=record.status.ended)
        except BadTokenError as error:
            raise AnswerError(400, str(error)) from None

    def hear(self, deployment_id: str, tell: Callable[[], None]) -> Callable[[], None]:
        """Have `tell` called, quickly and from any thread, when a log may have something new.

        Returns what ends it. It is a hint that may be lost.
        """

        def hear(signal: Signal) -> None:
            of_it = signal.topic == Topic.LOG and signal.about == deployment_id
            if of_it or signal.topic == Topic.LOOK:
                tell()

        return self._tools.store.signals.subscribe(hear)

    def of_step(
        self, caller: Caller, stack: StackRef, deployment_id: str, window: StepWindow
    ) -> LogPage:
        """Return lines of one step's log."""
        record = self._deployments.find(caller, stack, deployment_id)
        if window.step >= len(record.steps):
            raise AnswerError(404, f"step: this deployment has {len(record.steps)} steps")
        status = record.steps[window.step].status
        ended = record.status.ended or status in {StepStatus.SUCCEEDED, StepStatus.FAILED}
        where = (window.offset, window.count)
        return self._tools.logs.step_page(deployment_id, window.step, where, ended=ended)
