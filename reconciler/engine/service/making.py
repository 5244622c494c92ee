"""How a deployment's record is made, whoever asks for it: a caller, or a schedule."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from reconciler.api.types import StackRef, User
from reconciler.engine import steps, validation
from reconciler.engine.model import Record
from reconciler.engine.tools import Tools
from reconciler.engine.validation import Accepted

__all__ = ["Asker", "maker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and by what."""

    user: str
    email: str
    initiator: str


def maker(
    tools: Tools, stack: StackRef, accepted: Accepted, asker: Asker
) -> Callable[[int], tuple[Record, bytes]]:
    """Return what makes the record of one new deployment, and its encrypted request.

    It is given the version, and is called in the transaction that adds the deployment.
    """
    deployment_id = str(uuid.uuid4())
    request = accepted.request
    now = tools.clock.now()

    def make(version: int) -> tuple[Record, bytes]:
        tools.store.audit.detail(f"{stack} version {version}")
        reserved = tools.reserved(stack, deployment_id, version)
        record = Record(
            id=deployment_id,
            stack=stack,
            version=version,
            operation=request.operation,
            created=now,
            modified=now,
            requested_by=User(name=asker.user, github_login=asker.user, email=asker.email),
            initiator=asker.initiator,
            marker=accepted.marker,
            environment=validation.shown_environment(request, reserved),
            source=replace(request.source, auth=None),
            skip_intermediate=request.options.skip_intermediate,
            steps=steps.initial_steps(request),
        )
        return record, tools.seal(request, deployment_id)

    return make
