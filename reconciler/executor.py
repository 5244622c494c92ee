"""Carries out what a plan says: write, act, write again. Decides nothing.

Whatever happens between two lines here, the status file on disk is enough to go on: an
intent is durable before the create it stands for, and stays until its answer is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.api.types import DeploymentRequest, Secret, map_secrets
from reconciler.clock import Clock
from reconciler.errors import (
    EngineUnavailableError,
    LostError,
    RefusedError,
    SecretUnavailableError,
)
from reconciler.masking import Redactor
from reconciler.model import (
    Abandon,
    Action,
    Adopt,
    Cancel,
    Conclude,
    Desired,
    DropRequest,
    Follow,
    SkipSlots,
    Status,
    Submit,
)
from reconciler.planning import transitions
from reconciler.ports import ApiSource, Requests, Resolves, Statuses

__all__ = ["Executor", "Tools"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What carrying out needs: `new_run_id` makes an id of letters and digits, never the same."""

    api: ApiSource
    statuses: Statuses
    requests: Requests
    resolver: Resolves
    clock: Clock
    owner: str
    new_run_id: Callable[[], str]


class Executor:
    """Carries out actions, one stack at a time."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def carry_out(self, action: Action, desired: Desired, status: Status) -> Status:
        """Do it, and return the status that was written.

        Raises NotDurableError where the status could not be written: then the world was
        not touched, or (after a create) the intent on disk finds it again.
        """
        now = self._tools.clock.now()
        match action:
            case Submit():
                return self._submit(action, desired, status)
            case Cancel():
                return self._cancel(action, desired, status)
            case Adopt(deployment=deployment):
                return self._write(transitions.adopted(status, deployment, now))
            case Follow(deployment=deployment):
                return self._write(transitions.followed(status, deployment))
            case Conclude():
                retry = desired.spec.retry
                return self._write(transitions.concluded(status, action, retry, now))
            case Abandon(note=note):
                return self._write(transitions.abandoned(status, note, now))
            case SkipSlots():
                return self._write(transitions.skipped(status, action, now))
            case DropRequest(request_id=request_id, note=note):
                status = self._write(transitions.handled(status, request_id, note, now))
                self._tools.requests.remove(request_id)
                return status

    def _submit(self, submit: Submit, desired: Desired, status: Status) -> Status:
        tools = self._tools
        name = transitions.RunName(tools.owner, tools.new_run_id())
        begun = transitions.begun(status, submit, desired, name, tools.clock.now())
        intent = begun.intent
        assert intent is not None  # noqa: S101 - it has just begun
        try:
            request = tools.resolver.request(
                desired.spec, intent.operation, intent.attempt.commit, intent.marker
            )
        except SecretUnavailableError:
            return status  # the next look finds the same, and says so
        status = self._write(begun)
        try:
            created = tools.api().create(desired.spec.stack, request)
        except RefusedError as error:
            masked = RefusedError(error.status, _mask(request, error.message), error.retry_after_s)
            status = self._write(transitions.refused(status, masked, tools.clock.now()))
        except (LostError, EngineUnavailableError):
            return self._write(transitions.lost(status, tools.clock.now()))
        else:
            status = self._write(transitions.accepted(status, created, tools.clock.now()))
        if intent.cause.request_id in status.handled:
            tools.requests.remove(intent.cause.request_id)
        return status

    def _cancel(self, cancel: Cancel, desired: Desired, status: Status) -> Status:
        """Cancel the run; whether it was in time, its end tells."""
        tools = self._tools
        status = self._write(transitions.canceling(status, cancel, tools.clock.now()))
        try:
            tools.api().cancel(desired.spec.stack, cancel.deployment_id)
        except (LostError, RefusedError, EngineUnavailableError):
            # Not known to have arrived: the record goes, so the next look cancels again.
            status = self._write(transitions.cancel_unanswered(status, cancel))
        else:
            if cancel.request_id:
                tools.requests.remove(cancel.request_id)
        return status

    def _write(self, status: Status) -> Status:
        return self._tools.statuses.write(status)


def _mask(request: DeploymentRequest[Secret], text: str) -> str:
    """Take the request's secrets out of the server's words."""
    values: list[str] = []
    map_secrets(request, lambda secret: values.append(secret.value))
    return Redactor(values).mask_text(text)
