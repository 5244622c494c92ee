"""Carries out what a plan says: write, act, write again. Decides nothing.

Whatever happens between two lines here, the status file on disk is enough to go on: an
intent is durable before the create it stands for, and stays until its answer is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.api.types import Created, DeploymentRequest, Secret, StackRef, map_secrets
from reconciler.breaker import Breaker, NotKnownError
from reconciler.clock import Clock
from reconciler.errors import (
    EngineUnavailableError,
    LostError,
    RefusedError,
    SecretUnavailableError,
)
from reconciler.masking import SHORTEST_MASKED, Redactor
from reconciler.metrics import OFF, Meter, of_loop
from reconciler.model import (
    Abandon,
    Action,
    BindRequest,
    Cancel,
    CancelDouble,
    Cause,
    CauseKind,
    Conclude,
    Desired,
    DropRequest,
    Forget,
    Grant,
    Observed,
    Run,
    Status,
    Submit,
    TakeOver,
)
from reconciler.planning import transitions
from reconciler.ports import Requests, Resolves, Statuses
from reconciler.values import replace

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient

__all__ = ["Executor", "Job", "Tools"]

# Whose runs answer a change; all others have a moment of their own, or none.
_CHANGES = frozenset({CauseKind.NEW, CauseKind.CHANGE, CauseKind.SOURCE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What carrying out needs: `new_run_id` makes an id of letters and digits, never the same."""

    breaker: Breaker
    statuses: Statuses
    requests: Requests
    resolver: Resolves
    clock: Clock
    owner: str
    new_run_id: Callable[[], str]
    meter: Meter = OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an action is carried out for: what was wanted and known when it was planned.

    `noticed` is when a change was that has not led to a create yet; None: there was none.
    """

    desired: Desired
    observed: Observed
    noticed: datetime | None = None


class Executor:
    """Carries out actions; of one stack one at a time, of several from several threads."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def carry_out(self, action: Action, job: Job, status: Status) -> Status:
        """Do it, and return the status that was written.

        Raises NotDurableError where the status could not be written: then the world was
        not touched, or (after a create) the intent on disk finds it again.
        """
        match action:
            case Submit():
                return self._submit(action, job, status)
            case Cancel():
                return self._cancel(action, job.desired, status)
            case CancelDouble():
                return self._cancel_double(action, job.desired, status)
            case BindRequest():
                return self._bind(action, job, status)
            case Forget():
                # Or they would be about the next spec of this name.
                for request in job.observed.requests:
                    self._tools.requests.remove(request.id)
                self._tools.statuses.forget(status.name)
                return Status(name=status.name)
            case _:
                now = self._tools.clock.now()
                status = self._write(transitions.remembered(status, action, job.desired, now))
        if isinstance(action, Conclude) and status.latest is not None:
            self._measure_run(status.latest)
        if isinstance(action, DropRequest | Grant | TakeOver) and action.request_id:
            self._tools.requests.remove(action.request_id)
        return status

    def _bind(self, bind: BindRequest, job: Job, status: Status) -> Status:
        asked = (r for r in job.observed.requests if r.id == bind.request_id)
        for request in asked:
            self._tools.requests.put(replace(request, binds=bind.binds))
        return self._write(status)

    def _submit(self, submit: Submit, job: Job, status: Status) -> Status:
        tools, desired = self._tools, job.desired
        name = transitions.RunName(tools.owner, tools.new_run_id())
        wanted = transitions.Wanted(desired, job.observed.upstream)
        begun = transitions.begun(status, submit, wanted, name, tools.clock.now())
        intent = begun.intent
        assert intent is not None  # noqa: S101 - it has just begun
        try:
            request = tools.resolver.request(
                desired.spec, intent.operation, intent.attempt.commit, intent.marker
            )
        except SecretUnavailableError:
            return status  # the next look finds the same, and says so
        self._measure_wait(intent.cause, job.noticed)
        status = self._write(begun)
        stack = desired.spec.stack
        try:
            created = tools.breaker.send(stack, lambda api: _create(api, stack, request))
        except NotKnownError:
            # It was not sent, as the API is left alone; without the intent nothing is doubted.
            self._count(intent.cause, "not-sent")
            if submit.again is not None:
                return self._write(status)  # what was sent before is doubted as it was
            note = "the create was not sent: the API is left alone for a while"
            return self._write(transitions.abandoned(status, Abandon(note=note), tools.clock.now()))
        except RefusedError as error:
            self._count(intent.cause, "refused")
            again = submit.again is not None
            status = self._write(transitions.refused(status, error, tools.clock.now(), again=again))
        except (LostError, EngineUnavailableError):
            self._count(intent.cause, "lost")
            return self._write(transitions.lost(status, tools.clock.now()))
        else:
            self._count(intent.cause, "accepted")
            status = transitions.accepted(status, created, tools.clock.now())
            status = self._write(transitions.asked_by(status, intent, desired.spec))
        if intent.cause.request_id in status.handled:
            tools.requests.remove(intent.cause.request_id)
        return status

    def _cancel(self, cancel: Cancel, desired: Desired, status: Status) -> Status:
        """Cancel the run; whether it was in time, its end tells."""
        tools, stack = self._tools, desired.spec.stack
        status = self._write(transitions.canceling(status, cancel, tools.clock.now()))
        try:
            tools.breaker.send(stack, lambda api: api.cancel(stack, cancel.deployment_id))
        except (NotKnownError, LostError, RefusedError, EngineUnavailableError):
            tools.meter.count(of_loop.CANCELS, _why(cancel), "failed")
            # Not known to have arrived: the record goes, so the next look cancels again.
            status = self._write(transitions.cancel_unanswered(status, cancel))
        else:
            tools.meter.count(of_loop.CANCELS, _why(cancel), "accepted")
            if cancel.request_id:
                tools.requests.remove(cancel.request_id)
        return status

    def _cancel_double(self, cancel: CancelDouble, desired: Desired, status: Status) -> Status:
        """Cancel the second of two deployments of one request; another look sees its end."""
        tools, stack = self._tools, desired.spec.stack
        status = self._write(transitions.double_canceled(status, cancel, tools.clock.now()))
        try:
            tools.breaker.send(stack, lambda api: api.cancel(stack, cancel.deployment_id))
        except RefusedError:
            tools.meter.count(of_loop.CANCELS, "double", "failed")
        except (NotKnownError, LostError, EngineUnavailableError):
            tools.meter.count(of_loop.CANCELS, "double", "failed")
            status = self._write(transitions.double_not_canceled(status, cancel))
        else:
            tools.meter.count(of_loop.CANCELS, "double", "accepted")
        return status

    # ------------------------------------------------------------ measuring

    def _count(self, cause: Cause, outcome: str) -> None:
        self._tools.meter.count(of_loop.CREATES, str(cause.kind), outcome)

    def _measure_wait(self, cause: Cause, noticed: datetime | None) -> None:
        """Take down how late a create is, which is about to be sent."""
        now, meter = self._tools.clock.now(), self._tools.meter
        if noticed is not None and cause.kind in _CHANGES:
            meter.observe(of_loop.CHANGE_TO_CREATE, (now - noticed).total_seconds())
        if cause.slot is not None:
            meter.observe(of_loop.SLOT_TO_CREATE, (now - cause.slot).total_seconds())

    def _measure_run(self, run: Run) -> None:
        """Take down how a run ended, and after how long."""
        operation, meter = str(run.operation), self._tools.meter
        meter.count(of_loop.RUNS, operation, str(run.end))
        if run.seen_ended is not None:
            took = run.seen_ended - run.submitted
            meter.observe(of_loop.RUN_DURATION, took.total_seconds(), operation)

    def _write(self, status: Status) -> Status:
        return self._tools.statuses.write(transitions.stamped(status, self._tools.clock.now()))


def _why(cancel: Cancel) -> str:
    return "timeout" if cancel.timed_out else "superseded" if cancel.superseded else "request"


def _create(api: ApiClient, stack: StackRef, request: DeploymentRequest[Secret]) -> Created:
    """Send a create; what it raises holds none of its secrets, for whoever keeps those words."""
    try:
        return api.create(stack, request)
    except RefusedError as error:
        told = _mask(request, error.message)
        raise RefusedError(error.status, told, error.retry_after_s) from None
    except LostError as error:
        raise LostError(_mask(request, error.message), error.retry_after_s) from None


def _mask(request: DeploymentRequest[Secret], text: str) -> str:
    """Take the request's secrets out of the server's words.

    These were cut to a length, and have single spaces: so may have a secret that stands in them.
    """
    values: list[str] = []
    map_secrets(
        request, lambda secret: values.extend((secret.value, " ".join(secret.value.split())))
    )
    redactor = Redactor(values)
    shown = redactor.feed(redactor.mask_text(text).encode("utf-8", "surrogatepass"))
    rest = redactor.flush()
    # What is held back is the beginning of a secret; a letter or two tell nothing.
    whole = shown + rest if len(rest) < SHORTEST_MASKED else shown
    return whole.decode("utf-8", "surrogatepass")
