"""What is approved, field by field, from what the API tells of two deployments."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from reconciler.api.types import Deployment, GitSource, Secret, ShownVariable
from reconciler.cli.approval_changes import UNTOLD, approved_changes, between, with_approvals
from reconciler.errors import EngineUnavailableError
from reconciler.model import Approval, Plan, Reason, ReasonCode, State, Status
from tests.factories import deployment, spec
from tests.fakes.world import World

INFRA: GitSource[Secret] = GitSource(repo_url="https://example.com/infra.git", commit="a" * 40)


def asked(commit: str = "a" * 40, **variables: str | None) -> Deployment:
    """A deployment with these variables, None for a secret one, and what each run has itself."""
    environment = tuple(
        ShownVariable(name=name, secret=True)
        if value is None
        else ShownVariable(name=name, value=value)
        for name, value in variables.items()
    )
    names = (f"RECONCILER_RUN_owner_{len(variables)}_dddddddd", "PULUMI_CI_BUILD_NUMBER")
    own = (ShownVariable(name=name, value=str(len(variables))) for name in names)
    return replace(
        deployment(),
        version=3,
        source=replace(INFRA, commit=commit),
        environment=(*environment, *own),
    )


def test_each_variable_and_the_commit_are_told() -> None:
    """Changed, added and removed ones with their values, secret ones without; then the commit."""
    deployed = asked(GREETING="hello", GONE="1", TOKEN=None, OPEN="x", SAME="s")
    shown = asked("b" * 40, GREETING="bye", NEW="2", TOKEN=None, OPEN=None, SAME="s")
    at = "operationContext.environmentVariables"
    assert between(deployed, shown) == (
        f"{at}.GONE: removed 1",
        f"{at}.GREETING: hello → bye",
        f"{at}.NEW: added 2",
        f"{at}.OPEN: changed (secret)",
        f"source commit: {'a' * 12} → {'b' * 12}",
        UNTOLD,
    )


def test_what_cannot_be_seen_is_not_called_the_same() -> None:
    """Where nothing that is told differs, that is said, with what is not told."""
    assert between(asked(A="1"), asked(A="1")) == (
        "neither the source nor a variable differs from version 3",
        UNTOLD,
    )


def waiting(of: World) -> Status:
    of.run_once()
    of.specs["web"] = spec("web", needs_approval=True)
    of.heads["web"] = "b" * 40
    of.clock.time += timedelta(seconds=61)
    of.run_once()
    return of.disk["web"]


def test_a_plan_that_waits_for_approval_has_them() -> None:
    """Only such a plan, and none where the API does not answer: then it stands as it was."""
    of = World(specs={"web": spec("web")})
    status = waiting(of)
    asks = Plan(name="web", state=State.WAITING, verdict=Reason(ReasonCode.APPROVAL, "?"))
    rests = Plan(name="db", state=State.READY, verdict=Reason(ReasonCode.UP_TO_DATE, "?"))
    found = with_approvals([asks, rests], lambda _: status, of.source)
    assert found[0].changes[0] == f"source commit: {'a' * 12} → {'b' * 12}"
    assert found[1] is rests

    def nobody() -> object:
        raise EngineUnavailableError("nobody answers")

    assert with_approvals([asks], lambda _: status, nobody) == (asks,)  # type: ignore[arg-type]


def test_what_has_no_before_has_no_differences() -> None:
    """What was never deployed is all new, and of a destroy there is no preview."""
    of = World(specs={"web": spec("web")})
    status = waiting(of)
    assert isinstance(status.approval, Approval)
    new = replace(status, applied=0)
    destroys = replace(status, approval=replace(status.approval, version=0))
    assert [approved_changes(of.client, each) for each in (new, destroys)] == [(), ()]
