from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.types import (
    UNSET_TIME,
    Ending,
    EndingKind,
    GitSource,
    JobStatus,
    Operation,
    StackRef,
    Step,
    StepStatus,
)
from reconciler.engine.model import (
    Begun,
    CancelAsked,
    Event,
    Expired,
    IllegalTransitionError,
    Record,
    StepFailed,
    StepSucceeded,
    Withdrawn,
    advance,
    deployment,
    running_step,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
ENDING = Ending(kind=EndingKind.CANCELED, message="the deployment was canceled")


def make_record(steps: int = 3) -> Record:
    return Record(
        id="d1",
        stack=StackRef("acme", "web", "prod"),
        version=1,
        operation=Operation.UPDATE,
        created=START,
        modified=START,
        source=GitSource(repo_url="https://example.com/r.git", branch="main"),
        steps=tuple(Step(name=f"step {n}") for n in range(steps)),
    )


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def test_begun_runs_the_first_step() -> None:
    """A deployment that has begun runs, and so does its first step, from that moment."""
    record = advance(make_record(), Begun(at(1)))
    assert record.status is JobStatus.RUNNING
    assert record.steps[0] == Step(
        name="step 0", status=StepStatus.RUNNING, started=at(1), last_updated=at(1)
    )
    assert record.steps[1].started == UNSET_TIME
    assert (record.started, record.modified) == (at(1), at(1))


def test_a_succeeded_step_starts_the_next_one() -> None:
    """The end of a step is the beginning of the next: there is no moment in between."""
    record = advance(advance(make_record(), Begun(at(1))), StepSucceeded(at(2)))
    assert [s.status for s in record.steps] == ["succeeded", "running", "not-started"]
    assert record.steps[0].started == at(1)
    assert record.steps[0].last_updated == at(2)
    assert record.started == at(1)
    assert running_step(record) == 1


def test_the_last_succeeded_step_ends_the_deployment() -> None:
    """A deployment whose every step succeeded has succeeded."""
    record = advance(make_record(), Begun(at(1)))
    for minute in (2, 3):
        assert not record.in_operation or minute == 3
        record = advance(record, StepSucceeded(at(minute)))
    assert record.in_operation
    record = advance(record, StepSucceeded(at(4)))
    assert record.status is JobStatus.SUCCEEDED
    assert not record.in_operation


def test_a_failed_step_leaves_the_rest_not_started() -> None:
    """A failed step fails the deployment, keeps why, and the later steps never start."""
    record = advance(advance(make_record(), Begun(at(1))), StepFailed(at(2), ENDING))
    assert record.status is JobStatus.FAILED
    assert [s.status for s in record.steps] == ["failed", "not-started", "not-started"]
    assert record.ending == ENDING


def test_a_withdrawn_deployment_has_no_started_step() -> None:
    """A deployment that was cancelled in the queue reads failed, and nothing of it ran."""
    record = advance(make_record(), Withdrawn(at(1), ENDING))
    assert record.status is JobStatus.FAILED
    assert {s.status for s in record.steps} == {StepStatus.NOT_STARTED}
    assert record.cancel_asked


def test_an_expired_deployment_is_skipped() -> None:
    """A deployment that waited too long reads skipped."""
    record = advance(make_record(), Expired(at(1), ENDING))
    assert record.status is JobStatus.SKIPPED


def test_a_cancel_of_a_running_one_is_a_wish() -> None:
    """Asking for a cancel does not end a running deployment by itself."""
    record = advance(advance(make_record(), Begun(at(1))), CancelAsked(at(2)))
    assert record.status is JobStatus.RUNNING
    assert record.cancel_asked


LEGAL = {
    JobStatus.NOT_STARTED: {Begun, Withdrawn, Expired},
    JobStatus.RUNNING: {StepSucceeded, StepFailed, CancelAsked},
    JobStatus.FAILED: set(),
    JobStatus.SUCCEEDED: set(),
    JobStatus.SKIPPED: set(),
}
EVENTS: tuple[Event, ...] = (
    Begun(START),
    StepSucceeded(START),
    StepFailed(START),
    CancelAsked(START),
    Withdrawn(START, ENDING),
    Expired(START, ENDING),
)


@pytest.mark.parametrize("status", LEGAL)
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_only_the_table_s_transitions_can_happen(status: JobStatus, event: Event) -> None:
    """An event that the diagram does not show for a status is refused."""
    record = replace(make_record(), status=status)
    if status is JobStatus.RUNNING:
        record = advance(make_record(), Begun(START))
    if type(event) in LEGAL[status]:
        advance(record, event)
    else:
        with pytest.raises(IllegalTransitionError):
            advance(record, event)


@given(st.integers(1, 5), st.lists(st.sampled_from(EVENTS), max_size=12))
def test_exactly_one_step_runs_while_a_deployment_does(steps: int, events: list[Event]) -> None:
    """Whatever happens: one step runs in a running deployment and none otherwise."""
    record = make_record(steps)
    for event in events:
        try:
            record = advance(record, event)
        except IllegalTransitionError:
            continue
        statuses = [s.status for s in record.steps]
        running = statuses.count(StepStatus.RUNNING)
        assert running == (1 if record.status is JobStatus.RUNNING else 0)
        order = [StepStatus.SUCCEEDED, StepStatus.RUNNING, StepStatus.FAILED]
        order.append(StepStatus.NOT_STARTED)
        assert [order.index(s) for s in statuses] == sorted(order.index(s) for s in statuses)


def test_running_step_of_a_queued_one_is_a_broken_promise() -> None:
    """Asking which step of a queued deployment runs is an error of our own."""
    with pytest.raises(IllegalTransitionError):
        running_step(make_record())


def test_the_api_s_deployment_has_one_job() -> None:
    """The API is told of one job with all steps, and of the stack's latest version."""
    told = deployment(advance(make_record(), Begun(at(1))), 7)
    assert told.latest_version == 7
    assert len(told.jobs) == 1
    assert told.jobs[0].status is JobStatus.RUNNING
    assert [s.name for s in told.steps] == ["step 0", "step 1", "step 2"]
