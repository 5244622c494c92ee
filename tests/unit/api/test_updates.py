from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.api.types import (
    Deployment,
    Ending,
    EndingKind,
    Job,
    JobStatus,
    Operation,
    Step,
    StepStatus,
    User,
)
from reconciler.api.updates import nested_updates_to_json, updates_to_json

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def deployment(status: StepStatus, operation: Operation = Operation.UPDATE) -> Deployment:
    """Return a deployment whose Pulumi operation stands so."""
    steps = (
        Step(name="Get source", status=StepStatus.SUCCEEDED, started=BEGUN, last_updated=BEGUN),
        Step(name="Pulumi operation", status=status, started=BEGUN, last_updated=ENDED),
    )
    return Deployment(
        id="d1",
        version=7,
        latest_version=9,
        status=JobStatus.RUNNING,
        created=BEGUN,
        modified=BEGUN,
        requested_by=User(name="Ann", github_login="ann"),
        operation=operation,
        jobs=(Job(steps=steps),),
    )


def test_there_is_none_before_the_operation() -> None:
    """A deployment that has not come to its Pulumi operation has no update."""
    for found in (
        deployment(StepStatus.NOT_STARTED),
        replace(deployment(StepStatus.RUNNING), jobs=()),
        replace(deployment(StepStatus.RUNNING), operation=None),
    ):
        assert updates_to_json(found) == []
        assert nested_updates_to_json(found) == []


def test_there_is_one_from_when_it_begins() -> None:
    """It has the deployment's id and version, and ends when the operation does."""
    [running] = nested_updates_to_json(deployment(StepStatus.RUNNING))
    assert running == {
        "id": "d1",
        "updateID": "d1",
        "version": 7,
        "kind": "update",
        "result": "in-progress",
        "startTime": 1767225600,
        "endTime": 0,
        "message": "",
        "environment": {},
    }
    [found] = updates_to_json(deployment(StepStatus.SUCCEEDED))
    assert (found["updateID"], found["version"], found["latestVersion"]) == ("d1", 7, 9)
    assert found["requestedBy"] == {
        "name": "Ann",
        "githubLogin": "ann",
        "avatarUrl": "",
        "email": "",
    }
    info = found["info"]
    assert isinstance(info, dict)
    assert (info["result"], info["endTime"], info["config"]) == ("succeeded", 1767225660, {})


def test_one_that_ended_otherwise_says_why() -> None:
    """Its message is that of the deployment's ending."""
    ending = Ending(kind=EndingKind.CANCELED, message="the deployment was canceled")
    [found] = nested_updates_to_json(replace(deployment(StepStatus.FAILED), ending=ending))
    assert (found["result"], found["message"]) == ("failed", "the deployment was canceled")


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (Operation.PREVIEW, "preview"),
        (Operation.DESTROY, "destroy"),
        (Operation.DETECT_DRIFT, "Prefresh"),
        (Operation.REMEDIATE_DRIFT, "update"),
    ],
)
def test_each_operation_has_its_kind(operation: Operation, kind: str) -> None:
    """Drift is looked for by a refresh that is only previewed, and undone by an update."""
    [found] = nested_updates_to_json(deployment(StepStatus.RUNNING, operation))
    assert found["kind"] == kind
