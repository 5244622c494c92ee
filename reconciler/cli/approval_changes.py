"""What is approved, field by field: how the preview's request differs from what is deployed.

With its preview a new request is what was asked for last, and the one before is not remembered.
The API tells of both: where their source is, and their variables; of secrets no value, and nothing
of commands and options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from reconciler.api.types import MARKER_PREFIX, Deployment, StackRef
from reconciler.clock import Clock
from reconciler.console.keeping import Fetched
from reconciler.errors import ReconcilerError
from reconciler.model import Plan, ReasonCode, Status
from reconciler.planning.digest import SECRET_PREFIX, changes
from reconciler.planning.situation import source_change
from reconciler.ports import ApiSource
from reconciler.values import replace

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient

__all__ = ["UNTOLD", "ApprovalChanges", "approved_changes", "between", "with_approvals"]

UNTOLD: Final = "secrets, commands and options are not compared, as the API does not tell them"

# What each run has of its own, from us or from whoever runs it.
_OF_RUNS: Final = (MARKER_PREFIX, "PULUMI_CI_", "PULUMI_DEPLOY_")

# Of more than these nobody reads the differences, and each is two questions to the API.
MOST: Final = 25

# Of two versions it stays the same; it is got again for an API that did not answer.
KEEP: Final = timedelta(minutes=1)
WAIT: Final = timedelta(seconds=1)


def between(deployed: Deployment, shown: Deployment) -> tuple[str, ...]:
    """Say how what a preview has shown differs from what is deployed, as sentences."""
    found = changes(_form(deployed), _form(shown))
    before, after = (each.source.commit if each.source else "" for each in (deployed, shown))
    if before and after and before != after:
        found += (source_change(before, after),)
    same = f"neither the source nor a variable differs from version {deployed.version}"
    return (*(found or (same,)), UNTOLD)


def _form(of: Deployment) -> dict[str, str]:
    """Return what is told of a request: field → text, with no value of any secret."""
    source = of.source
    form = {} if source is None else {"sourceContext.git.repoUrl": source.repo_url}
    if source is not None and source.repo_dir:
        form["sourceContext.git.repoDir"] = source.repo_dir
    for variable in of.environment:
        if not variable.name.startswith(_OF_RUNS):
            value = SECRET_PREFIX if variable.secret else variable.value
            form[f"operationContext.environmentVariables.{variable.name}"] = value
    return form


def approved_changes(api: ApiClient, status: Status) -> tuple[str, ...]:
    """Return the differences that a person is asked to approve; ReconcilerError.

    None of what was never deployed, and of a destroy, which no preview shows.
    """
    approval = status.approval
    if not _comparable(status) or approval is None:
        return ()
    stack = StackRef.parse(status.stack)
    deployed = api.by_version(stack, status.applied)
    shown = api.by_version(stack, approval.version)
    return () if deployed is None or shown is None else between(deployed, shown)


def _comparable(status: Status) -> bool:
    approval = status.approval
    waits = approval is not None and approval.granted is None and approval.version > 0
    return waits and status.applied > 0 and bool(status.stack)


def _asks(plan: Plan) -> bool:
    return plan.verdict.code is ReasonCode.APPROVAL and not plan.changes


def with_approvals(
    plans: Sequence[Plan], status: Callable[[str], Status], api: ApiSource
) -> tuple[Plan, ...]:
    """Return plans, those that wait for an approval with what differs, as far as the API tells."""
    asking = [known for known in (status(p.name) for p in plans if _asks(p)) if _comparable(known)]
    told = _all(asking[:MOST], api)
    return tuple(
        replace(plan, changes=told[plan.name]) if told.get(plan.name) else plan for plan in plans
    )


def _all(asking: Sequence[Status], api: ApiSource) -> Mapping[str, tuple[str, ...]]:
    """Return the differences by name, up to where the API does not answer."""
    told: dict[str, tuple[str, ...]] = {}
    with suppress(ReconcilerError):
        for status in asking:
            told[status.name] = approved_changes(api(), status)
    return told


class ApprovalChanges:
    """The same for pages that many look at: got beside them, and kept for a moment."""

    def __init__(self, api: ApiSource, clock: Clock) -> None:
        self._api = api
        self._fetched: Fetched[Mapping[str, tuple[str, ...]]] = Fetched(
            clock, KEEP, WAIT, MappingProxyType({})
        )

    def of(self, statuses: Iterable[Status]) -> Mapping[str, tuple[str, ...]]:
        """Return the differences by name; of some nothing while the API has not answered."""
        asking = [status for status in statuses if _comparable(status)][:MOST]
        if not asking:
            return {}

        return self._fetched.get(" ".join(map(_key, asking)), lambda: _all(asking, self._api))


def _key(status: Status) -> str:
    approval = status.approval
    return f"{status.stack}#{status.applied}#{approval.version if approval is not None else 0}"
