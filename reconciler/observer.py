"""What is known of a stack right now: its status, and what the API shows of it.

What cannot be looked up becomes `Unknown`, never "there is none". Today's dialect is asked
once per organization and pass, however many stacks are in flight; the preview dialect has
no such list and is asked for each stack's version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from reconciler.api.dialects import Dialect
from reconciler.api.types import Deployment, JobStatus, StackRef, StepStatus
from reconciler.clock import Clock
from reconciler.errors import ApiError, EngineUnavailableError, LostError, RefusedError
from reconciler.model import (
    HandRequest,
    Intent,
    Observed,
    Reason,
    ReasonCode,
    Run,
    Spec,
    Status,
    Unknown,
    Upstream,
)
from reconciler.planning.transitions import ACCESS_REFUSED, LONGEST_RETRY_AFTER, PROBE_AFTER
from reconciler.ports import ApiSource

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient

__all__ = ["Observer"]

R = TypeVar("R")

# While the API is down it is asked again after 1, 2, 4 … seconds.
BACKOFF_SHORTEST = timedelta(seconds=1)
BACKOFF_LONGEST = timedelta(seconds=30)

# A page of an organization's list, and how many are read for the runs in flight. What is
# not among the newest 2,000 deployments is asked for by its id.
PAGE_SIZE = 100
MOST_PAGES = 20

# Versions of other people between ours, walked one by one to find a marker.
MOST_VERSIONS_WALKED = 1000

# What a status file shows of a failed step's log, and how much of it is read for that.
TAIL_LINES = 20
TAIL_LINE_LENGTH = 300
MOST_LOG_PAGES = 40

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)")
# What a terminal obeys, and halves of characters, which no file can hold.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Observer:
    """Looks at the API for the planner."""

    def __init__(self, api: ApiSource, clock: Clock, settle: timedelta) -> None:
        self._api = api
        self._clock = clock
        self._settle = settle
        self._down: Unknown | None = None
        self._backoff = BACKOFF_SHORTEST
        self._listed: dict[str, dict[str, Deployment]] = {}
        self._wanted: dict[str, set[str]] = {}

    def start_pass(self, in_flight: Iterable[tuple[StackRef, str]]) -> None:
        """Forget what was listed; `in_flight` are the runs (stack, id) that will be asked for."""
        self._listed = {}
        self._wanted = {}
        for stack, deployment_id in in_flight:
            self._wanted.setdefault(stack.organization, set()).add(deployment_id)

    def look(
        self,
        spec: Spec,
        status: Status,
        upstream: tuple[Upstream, ...],
        requests: tuple[HandRequest, ...],
    ) -> Observed:
        """Return what is known of the spec's stack."""
        seen: Deployment | Unknown | None = None
        walked_to = status.last_version
        log: tuple[str, ...] = ()
        intent, run = status.intent, status.run
        try:
            if intent is not None:
                seen, walked_to = self._ask(lambda api: _walk(api, spec.stack, intent))
            elif run is not None:
                seen, log = self._ask(lambda api: self._follow(api, spec.stack, run))
            elif status.attempt is None and not status.last_version:
                walked_to = self._ask(lambda api: api.latest_version(spec.stack))
        except _NotKnownError as error:
            seen = error.unknown
        return Observed(
            status=status,
            seen=seen,
            walked_to=walked_to,
            log=log,
            upstream=upstream,
            requests=requests,
            settle=self._settle,
        )

    def _ask(self, question: Callable[[ApiClient], R]) -> R:
        """Ask the API; while it is down, it is left alone and nothing is known."""
        now = self._clock.now()
        if self._down is not None and now < self._down.again_at:
            raise _NotKnownError(self._down)
        try:
            answer = question(self._api())
        except (ApiError, EngineUnavailableError) as error:
            self._down = self._unknown(error, self._clock.now())
            raise _NotKnownError(self._down) from error
        self._down = None
        self._backoff = BACKOFF_SHORTEST
        return answer

    def _unknown(self, error: Exception, now: datetime) -> Unknown:
        if isinstance(error, RefusedError) and error.status in ACCESS_REFUSED:
            reason = Reason(ReasonCode.ACCESS_DENIED, f"the API answered {error}")
            return Unknown(reason, now + PROBE_AFTER)
        wait = self._backoff
        self._backoff = min(self._backoff * 2, BACKOFF_LONGEST)
        if isinstance(error, LostError | RefusedError) and error.retry_after_s is not None:
            wait = max(wait, min(timedelta(seconds=error.retry_after_s), LONGEST_RETRY_AFTER))
        return Unknown(Reason(ReasonCode.API_UNAVAILABLE, str(error)), now + wait)

    def _follow(
        self, api: ApiClient, stack: StackRef, run: Run
    ) -> tuple[Deployment | None, tuple[str, ...]]:
        if api.dialect is Dialect.PREVIEW:
            seen = api.by_version(stack, run.version) if run.version else api.get(stack, run.id)
        else:
            seen = self._list(api, stack.organization).get(run.id) or api.get(stack, run.id)
        if seen is None or not seen.status.ended:
            return seen, ()
        # A list need not tell why it ended, nor the steps: this answer does.
        whole = api.get(stack, run.id) or seen
        try:
            return whole, _failed_tail(api, stack, whole)
        except RefusedError as error:
            return whole, (f"(its log cannot be read: {error})",)

    def _list(self, api: ApiClient, organization: str) -> Mapping[str, Deployment]:
        """Return the organization's deployments by id, as far back as those in flight."""
        if organization not in self._listed:
            found: dict[str, Deployment] = {}
            wanted = self._wanted.get(organization, set())
            for page in range(1, MOST_PAGES + 1):
                items = api.list_organization(organization, page, PAGE_SIZE)
                found |= {d.id: d for d in items}
                if len(items) < PAGE_SIZE or wanted <= found.keys():
                    break
            self._listed[organization] = found
        return self._listed[organization]


class _NotKnownError(Exception):
    def __init__(self, unknown: Unknown) -> None:
        super().__init__(unknown.reason.message)
        self.unknown = unknown


def _walk(api: ApiClient, stack: StackRef, intent: Intent) -> tuple[Deployment | None, int]:
    """Walk the versions after the last known one for the intent's marker.

    A list may lag behind; a version that is asked for by its number is there or is not.
    """
    version = intent.after_version
    for _ in range(MOST_VERSIONS_WALKED):
        deployment = api.by_version(stack, version + 1)
        if deployment is None:
            break
        version += 1
        if deployment.marker == intent.marker:
            return deployment, version
    return None, version


def _failed_tail(api: ApiClient, stack: StackRef, deployment: Deployment) -> tuple[str, ...]:
    """Return the last lines of the failed step's log, without escapes; none is no failure."""
    if deployment.status is JobStatus.SUCCEEDED:
        return ()
    steps = deployment.steps
    failed = next((i for i, s in enumerate(steps) if s.status is StepStatus.FAILED), None)
    if failed is None:
        return ()
    lines: list[str] = []
    offset: int | None = 0
    for _ in range(MOST_LOG_PAGES):
        page = api.step_logs(stack, deployment.id, failed, offset or 0)
        lines = (lines + [_clean(line.line) for line in page.lines])[-TAIL_LINES:]
        offset = page.next_offset
        if offset is None or not page.lines:
            break
    return tuple(line for line in lines if line)


def _clean(line: str) -> str:
    plain = _CONTROLS.sub("", _ESCAPES.sub("", line.rstrip().rsplit("\r", 1)[-1]))
    return plain[:TAIL_LINE_LENGTH]
