"""What callers are refused with."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.api.wire import Fault, pointer_text
from reconciler.engine.tokens import Caller, Role
from reconciler.errors import ReconcilerError

__all__ = ["AnswerError", "may", "may_administer", "may_deploy", "may_see", "refused"]

# Faults beyond these say nothing new.
MOST_FAULTS_TOLD = 10


class AnswerError(ReconcilerError):
    """What was asked is not done: a status of 400 to 499, or 503, and why, for a person.

    `retry_after_s`: when it may be asked again; 0 says nothing about that.
    """

    def __init__(self, status: int, message: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


def may_see(caller: Caller, organization: str) -> None:
    """Refuse those who may not read what the organization has."""
    # The same words as for a thing that does not exist: nobody learns what others have.
    if not caller.sees(organization):
        raise AnswerError(404, "not found")


def may(caller: Caller, organization: str, needed: Role) -> None:
    """Refuse those whose role in the organization is not enough."""
    may_see(caller, organization)
    if not caller.role.covers(needed):
        message = f"this token's role is {caller.role}; one with role {needed} can do this"
        raise AnswerError(403, message)


def may_deploy(caller: Caller, organization: str) -> None:
    """Refuse those who may not start and cancel what the organization has."""
    may(caller, organization, Role.DEPLOY)


def may_administer(caller: Caller, organization: str) -> None:
    """Refuse those who may not decide for the whole organization."""
    may(caller, organization, Role.ADMIN)


def refused(faults: Sequence[Fault]) -> AnswerError:
    """Return the refusal of a body with these faults, each with its field's path."""
    told = [
        f"{pointer_text(fault.pointer)}: {fault.message}" if fault.pointer else fault.message
        for fault in faults[:MOST_FAULTS_TOLD]
    ]
    if len(faults) > MOST_FAULTS_TOLD:
        told.append(f"and {len(faults) - MOST_FAULTS_TOLD} more")
    return AnswerError(400, "; ".join(told))
