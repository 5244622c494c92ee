"""The updates of a deployment, as today's dialect tells of them. Pure.

Pulumi Cloud counts a stack's updates apart from its deployments. Here a deployment has one, of
its own id and version, from when its Pulumi operation begins.
"""

from __future__ import annotations

from datetime import datetime

from reconciler.api.types import UNSET_TIME, Deployment, Operation, StepStatus, User

__all__ = ["nested_updates_to_json", "updates_to_json", "user_to_json"]

_KINDS = {
    Operation.DETECT_DRIFT: "Prefresh",
    Operation.REMEDIATE_DRIFT: "update",
}
_RESULTS = {
    StepStatus.NOT_STARTED: "not-started",
    StepStatus.RUNNING: "in-progress",
    StepStatus.SUCCEEDED: "succeeded",
    StepStatus.FAILED: "failed",
}


def user_to_json(user: User) -> dict[str, object]:
    """Write who asked for something."""
    return {
        "name": user.name,
        "githubLogin": user.github_login,
        "avatarUrl": user.avatar_url,
        "email": user.email,
    }


def nested_updates_to_json(deployment: Deployment) -> list[dict[str, object]]:
    """Write a deployment's updates as they stand inside it."""
    return [info | {"id": deployment.id, "updateID": deployment.id} for info in _infos(deployment)]


def updates_to_json(deployment: Deployment) -> list[dict[str, object]]:
    """Write the answer to a GET of a deployment's updates."""
    return [
        {
            "info": info | {"config": {}},
            "updateID": deployment.id,
            "version": deployment.version,
            "latestVersion": deployment.latest_version,
            "requestedBy": user_to_json(deployment.requested_by),
        }
        for info in _infos(deployment)
    ]


def _infos(deployment: Deployment) -> list[dict[str, object]]:
    """Return what there is to say of the Pulumi operation, always the last step, once it runs."""
    step = deployment.steps[-1] if deployment.steps else None
    if step is None or step.status is StepStatus.NOT_STARTED or deployment.operation is None:
        return []
    ended = step.status is not StepStatus.RUNNING
    return [
        {
            "kind": _KINDS.get(deployment.operation, str(deployment.operation)),
            "result": _RESULTS[step.status],
            "startTime": _seconds(step.started),
            "endTime": _seconds(step.last_updated) if ended else 0,
            "version": deployment.version,
            "message": deployment.ending.message if deployment.ending is not None else "",
            "environment": {},
        }
    ]


def _seconds(moment: datetime) -> int:
    return 0 if moment == UNSET_TIME else int(moment.timestamp())
