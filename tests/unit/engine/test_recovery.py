from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from reconciler.api.types import (
    EndingKind,
    GitSource,
    JobStatus,
    Operation,
    StackRef,
    Step,
    StepStatus,
)
from reconciler.clock import SystemClock
from reconciler.engine.config import Layout
from reconciler.engine.model import (
    Begun,
    CancelAsked,
    IllegalTransitionError,
    Record,
    Requeued,
    StepFailed,
    StepSucceeded,
    advance,
)
from reconciler.engine.recovery import LAST_FENCE, remove_workspaces, settlement
from reconciler.engine.tools import Tools

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NEW = Record(
    id="d1",
    stack=StackRef("acme", "web", "prod"),
    version=3,
    operation=Operation.UPDATE,
    created=NOW,
    modified=NOW,
    source=GitSource(repo_url="https://example.com/r.git", branch="main"),
    steps=(Step(name="Get source"), Step(name="Pulumi operation")),
)
CLONING = advance(NEW, Begun(NOW))
OPERATING = advance(CLONING, StepSucceeded(NOW))


def test_before_the_operation_it_goes_back_to_the_queue() -> None:
    """What was lost while it cloned waits again as if it had never begun."""
    event, message = settlement(CLONING, 2, NOW)
    assert event == Requeued(NOW)
    assert "back to the queue" in message
    again = advance(CLONING, event)
    assert again == replace(NEW, modified=NOW)
    assert advance(again, Begun(NOW)).status is JobStatus.RUNNING


def test_in_the_operation_it_is_interrupted() -> None:
    """What was lost while Pulumi ran fails, says what to look at, and is never queued again."""
    event, message = settlement(OPERATING, 2, NOW)
    assert isinstance(event, StepFailed)
    assert event.ending is not None
    assert event.ending.kind is EndingKind.INTERRUPTED
    assert "pending operations may exist" in message
    with pytest.raises(IllegalTransitionError):
        advance(OPERATING, Requeued(NOW))


@pytest.mark.parametrize("record", [CLONING, OPERATING])
def test_one_that_was_to_be_cancelled_is(record: Record) -> None:
    """A cancel holds over the loss of a worker, in every step."""
    asked = advance(record, CancelAsked(NOW))
    event, _ = settlement(asked, 2, NOW)
    assert isinstance(event, StepFailed)
    assert event.ending is not None
    assert event.ending.kind is EndingKind.CANCELED
    with pytest.raises(IllegalTransitionError):
        advance(asked, Requeued(NOW))


def test_one_that_ends_its_workers_is_not_tried_for_ever() -> None:
    """After ten losses a deployment fails, and takes no more workers along."""
    assert isinstance(settlement(CLONING, LAST_FENCE - 1, NOW)[0], Requeued)
    event, message = settlement(CLONING, LAST_FENCE, NOW)
    assert isinstance(event, StepFailed)
    assert event.ending is not None
    assert event.ending.kind is EndingKind.LOST
    assert "again and again" in message


def test_a_step_that_runs_again_is_new() -> None:
    """No step of a deployment in the queue has a status or a time of its run before."""
    again = advance(CLONING, Requeued(NOW))
    assert {step.status for step in again.steps} == {StepStatus.NOT_STARTED}
    assert again.started == NEW.started


def test_workspaces_of_commands_beside_an_engine_stay(tmp_path: Path) -> None:
    """A start deletes what deployments have left, and not the folder of a stack's import."""
    layout = Layout(tmp_path)
    tools = cast("Tools", SimpleNamespace(layout=layout, clock=SystemClock()))
    remove_workspaces(tools, frozenset)
    for name in ("d1", "worker-1", "worker-2", "adoption-1", "removal-1", "removal-2"):
        (layout.work / name).mkdir(parents=True)
    os.utime(layout.work / "removal-2", (0, 0))
    remove_workspaces(tools, lambda: {2})
    left = {path.name for path in layout.work.iterdir()}
    assert left == {"worker-2", "adoption-1", "removal-1"}
