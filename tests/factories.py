"""Values for tests: good defaults, and what a test wants to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.api.types import (
    UNSET_TIME,
    Deployment,
    DeploymentRequest,
    Ending,
    EndingKind,
    GitSource,
    Job,
    JobStatus,
    Operation,
    ShownVariable,
    StackRef,
    Step,
    StepStatus,
)
from reconciler.model import (
    Attempt,
    Cause,
    CauseKind,
    Desired,
    HandRequest,
    History,
    Intent,
    Observed,
    RequestKind,
    Retry,
    Run,
    RunEnd,
    Schedule,
    ScheduleStatus,
    SecretReference,
    Spec,
    State,
    Status,
    Upstream,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
STACK = StackRef("acme", "web", "dev")
COMMIT = "a" * 40
DIGEST = "d" * 64
FIELDS = {"operation": "update", "operationContext.environmentVariables.REGION": "eu"}


def request(operation: Operation = Operation.UPDATE) -> DeploymentRequest[SecretReference]:
    return DeploymentRequest(
        operation=operation,
        source=GitSource(repo_url="https://example.com/infra.git", branch="main"),
    )


def spec(name: str = "web", **changes: object) -> Spec:
    base = Spec(
        name=name,
        path=Path(f"/specs/{name}.yaml"),
        stack=StackRef("acme", name.replace("/", "-"), "dev"),
        request=request(),
        retry=Retry(limit=2, backoff=timedelta(seconds=30)),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def desired(of: Spec | None = None, **changes: object) -> Desired:
    base = Desired(
        spec=of or spec(),
        fields=FIELDS,
        digest=DIGEST,
        commit=COMMIT,
        source_again_at=NOW + timedelta(seconds=60),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def cause(kind: CauseKind = CauseKind.CHANGE, **changes: object) -> Cause:
    return replace(Cause(kind=kind, desired=kind is not CauseKind.SCHEDULE), **changes)  # type: ignore[arg-type]


def attempt(digest: str = DIGEST, commit: str = COMMIT) -> Attempt:
    return Attempt(digest=digest, commit=commit, fields=FIELDS)


def intent(**changes: object) -> Intent:
    base = Intent(
        run_id="r1",
        marker="RECONCILER_RUN_owner_r1_dddddddd",
        cause=cause(),
        operation=Operation.UPDATE,
        attempt=attempt(),
        after_version=0,
        at=NOW,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def run(**changes: object) -> Run:
    base = Run(
        run_id="r1",
        cause=cause(),
        operation=Operation.UPDATE,
        commit=COMMIT,
        id="id-1",
        version=1,
        url="",
        submitted=NOW,
        visible=True,
        status=JobStatus.RUNNING,
        started=NOW,
        seen_running=NOW,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def ended(end: RunEnd = RunEnd.SUCCEEDED, **changes: object) -> Run:
    return run(end=end, status=JobStatus.SUCCEEDED, finished=NOW, message=str(end), **changes)


def status(**changes: object) -> Status:
    return replace(Status(name="web", stack=str(STACK)), **changes)  # type: ignore[arg-type]


def settled(**changes: object) -> Status:
    """A status after one successful run of what is wanted."""
    base = status(attempt=attempt(), last=ended(), last_version=1)
    return replace(base, **changes)  # type: ignore[arg-type]


def deployment(
    state: JobStatus = JobStatus.RUNNING,
    failed_step: str = "",
    ending: EndingKind | None = None,
    marker: str = "",
    **changes: object,
) -> Deployment:
    names = ("Get source", "Pulumi operation")
    steps = tuple(
        Step(
            name=n,
            status=StepStatus.FAILED if n == failed_step else StepStatus.SUCCEEDED,
            started=NOW,
            last_updated=NOW,
        )
        for n in names
    )
    base = Deployment(
        id="id-1",
        version=1,
        status=state,
        created=NOW,
        modified=NOW,
        stack=STACK,
        jobs=(
            Job(
                status=state,
                started=NOW,
                last_updated=NOW,
                steps=steps if state is not JobStatus.NOT_STARTED else (Step(name="Get source"),),
            ),
        ),
        ending=Ending(kind=ending, message=f"was {ending}") if ending else None,
        environment=(ShownVariable(name=marker, value="1"),) if marker else (),
    )
    assert base.jobs[0].steps[0].started in {NOW, UNSET_TIME}
    return replace(base, **changes)  # type: ignore[arg-type]


def observed(of: Status | None = None, **changes: object) -> Observed:
    """What is known after a look at the history too, which has nothing but our own runs."""
    known = of or status()
    history = History(latest=known.last_version)
    return replace(Observed(status=known, history=history), **changes)  # type: ignore[arg-type]


def trigger(operation: Operation | None = None, request_id: str = "q1") -> HandRequest:
    return HandRequest(
        id=request_id,
        kind=RequestKind.TRIGGER,
        name="web",
        by="ada",
        at=NOW,
        operation=operation,
    )


def cancel_request(request_id: str = "q2") -> HandRequest:
    return HandRequest(id=request_id, kind=RequestKind.CANCEL, name="web", by="ada", at=NOW)


def upstream(state: State, name: str = "network", *, missing: bool = False) -> Upstream:
    return Upstream(name, state, missing=missing)


NIGHTLY = Schedule(name="nightly", cron="0 3 * * *", operation=Operation.REFRESH)


def scheduled(last: datetime, schedule: Schedule = NIGHTLY) -> Mapping[str, object]:
    """The part of a status that remembers a schedule."""
    return {
        "schedules": (
            ScheduleStatus(name=schedule.name, definition=schedule.definition, last=last),
        )
    }
