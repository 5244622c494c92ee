"""Looks at what is: the run in flight, an unanswered create's marker, what others did.

What could not be looked up is `Unknown`, never "there is none". For the runs in flight one
list of an organization answers for all its stacks, so a thousand of them cost a request a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from reconciler import pulumi_output
from reconciler.api.dialects import Dialect
from reconciler.api.types import (
    MARKER_PREFIX,
    UNSET_TIME,
    Deployment,
    JobStatus,
    Operation,
    StackRef,
    StepStatus,
)
from reconciler.breaker import Breaker, NotKnownError
from reconciler.clock import Clock, Lasting
from reconciler.errors import RefusedError
from reconciler.model import (
    CauseKind,
    ForeignRun,
    History,
    Intent,
    Observed,
    Run,
    RunEnd,
    Spec,
    Status,
)
from reconciler.values import replace

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient, Paused

__all__ = ["Known", "News", "Observer"]

# A page of an organization's list, and how many are read for the runs in flight. What is
# not among the newest 2,000 deployments is asked for by its id.
PAGE_SIZE = 100
SMALLEST_PAGE = 10
NEWS_PAGE = 25
MOST_PAGES = 20

# Versions of other people between ours, walked one by one to find a marker.
MOST_VERSIONS_WALKED = 1000

# How many of a stack's newest deployments are looked at for whose they are.
HISTORY_PAGE = 20

# A run that is queued for longer may be so because somebody paused its stack.
PAUSED_AFTER = timedelta(seconds=10)

# How much a run may have been nowhere before this process began, of the ten minutes after which it
# counts as lost: the rest of them it is looked for here.
MISSING_BEFORE = timedelta(minutes=7)

# What a status file shows of a failed step's log, and how much of it is read for that.
TAIL_LINES = 20
TAIL_LINE_LENGTH = 300
MOST_LOG_PAGES = 40

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)")
# What a terminal obeys, and halves of characters, which no file can hold.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Known(NamedTuple):
    """What we know of a stack's newest deployment: its version, and its begin by the API's clock.

    `began` is None where the newest is not a run of ours, or did not begin.
    """

    version: int
    began: datetime | None = None


class News(NamedTuple):
    """The stacks (as text) that have newer versions than known, and those whose known one lacks.

    What lacks in a list may be late: whether it is lost, asking for its number tells.
    """

    newer: frozenset[str] = frozenset()
    lacking: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Listed:
    """What an organization's list shows, as far as it was read.

    That is the newest version of each known stack, and when the first and the last one that was
    read were created, by the API's clock.
    """

    versions: Mapping[str, int] = field(default_factory=dict)
    newest: datetime = UNSET_TIME
    oldest: datetime = UNSET_TIME
    whole: bool = False


class Observer:
    """Looks at the API for the planner. `owner` is who we are in markers.

    `look` and `history` may be called by several threads at once between two `start_pass`.
    """

    def __init__(self, breaker: Breaker, clock: Clock, settle: timedelta, owner: str) -> None:
        self._breaker = breaker
        self._clock = clock
        self._settle = settle
        self._owner = owner
        self._lists = Lock()
        self._listed: dict[str, Mapping[str, Deployment]] = {}
        self._paused: dict[str, Paused] = {}
        self._wanted: dict[str, set[str]] = {}
        # Of each stack (as text) how long a create that had no answer is looked for.
        self._looking = Lasting(clock)
        self._began = clock.now()
        # Of each stack how long its run in flight has been nowhere, and has run.
        self._missing = Lasting(clock)
        self._running = Lasting(clock)
        # Of each stack how long the time of its `destroyAfter` has been seen to have come.
        self._ending = Lasting(clock)
        # When the newest of a stack that was seen was created, by the API's clock.
        self._created: dict[str, tuple[int, datetime]] = {}

    def start_pass(self, in_flight: Iterable[tuple[StackRef, str]]) -> None:
        """Forget what was listed; `in_flight` are the runs (stack, id) that will be asked for."""
        self._listed = {}
        self._paused = {}
        self._wanted = {}
        for stack, deployment_id in in_flight:
            self._wanted.setdefault(stack.organization, set()).add(deployment_id)

    def look(self, spec: Spec, known: Observed) -> Observed:
        """Return what is known of the spec's stack, with how its run or its intent stands."""
        status = known.status
        intent, run = status.intent, status.run
        try:
            if intent is not None:
                known = replace(known, settles_in=self._settles_in(spec.stack, intent))
                seen = self._breaker.ask(spec.stack, lambda api: _walk(api, spec.stack, intent))
                return replace(known, seen=seen)
            if run is not None:
                return self._breaker.ask(
                    spec.stack, lambda api: self._follow(api, spec.stack, run, known)
                )
        except NotKnownError as error:
            return replace(known, seen=error.unknown)
        return known

    def _settles_in(self, stack: StackRef, intent: Intent) -> timedelta:
        """Return how long a create without an answer may still come through, at most.

        That is counted from when this process first looked for it, and by what nobody can set:
        a clock that jumps ahead would end it at once, and the create be sent while it arrives.
        """
        return max(self._settle - self._looking.lasts(str(stack), intent), timedelta(0))

    def ends_in(self, spec: Spec, moment: datetime | None, looks: timedelta) -> timedelta:
        """Return how long it has to be seen yet that the time of `destroyAfter` has come.

        Of `looks` in all, by what nobody can set: a clock that is set ahead ends no stack at once.
        None: its time has not come.
        """
        if moment is None:
            self._ending.end(str(spec.stack))
            return timedelta(0)
        return max(looks - self._ending.lasts(str(spec.stack), moment), timedelta(0))

    def history(self, spec: Spec, known: Observed) -> Observed:
        """Return what is known, with what the API tells of the stack beyond our own run."""
        try:
            found = self._breaker.ask(
                spec.stack, lambda api: _history(api, spec.stack, known.status, self._owner)
            )
        except NotKnownError as error:
            return replace(known, history=error.unknown)
        latest = known.status.latest
        if found.stray is not None and latest is not None and found.stray.id == latest.id:
            self._missing.end(str(spec.stack))  # it counted as lost, and is there again
        return replace(known, history=found)

    def news(self, organization: str, known: Mapping[str, Known]) -> News:
        """Return of which stacks (as text) an organization's list tells otherwise than we know.

        In today's dialect alone: the other one has no list of an organization.
        """
        try:
            found = self._breaker.ask(organization, lambda api: _listed(api, organization, known))
        except NotKnownError:
            return News()
        newer = {s for s, version in found.versions.items() if version > known[s].version}
        lacking = {s for s, ours in known.items() if self._lacks(s, ours, found)}
        return News(frozenset(newer), frozenset(lacking))

    def _lacks(self, stack: str, ours: Known, found: _Listed) -> bool:
        """Whether a list should show the version that we know, and does not."""
        if ours.version <= found.versions.get(stack, 0):
            return False
        if found.whole or stack in found.versions:
            return True
        # What is older than all that was read is not to be expected there.
        version, created = self._created.get(stack, (0, found.oldest))
        if version == ours.version:
            return created > found.oldest
        return ours.began is not None and ours.began > found.newest

    def _follow(self, api: ApiClient, stack: StackRef, run: Run, known: Observed) -> Observed:
        seen = self._run(api, stack, run)
        if seen is None:
            return replace(known, seen=None, missing_for=self._missing_for(stack, run))
        self._missing.end(str(stack))
        self._created[str(stack)] = (seen.version, seen.created)
        if not seen.status.ended:
            known = replace(known, running_for=self._running_for(stack, run, seen))
            return replace(known, seen=seen, paused=self._is_paused(api, stack, run, seen))
        self._running.end(str(stack))
        # A list need not tell why it ended, nor the steps: this answer does.
        whole = api.get(stack, run.id) or seen
        try:
            log = _tail(api, stack, whole, run)
        except RefusedError as error:
            return replace(known, seen=whole, log=(f"(its log cannot be read: {error})",))
        return replace(known, seen=whole, log=log, found=_found(run, log))

    def _missing_for(self, stack: StackRef, run: Run) -> timedelta:
        """Return for how long it has been nowhere, by what nobody can set.

        A process that comes to a run of before counts from when that was asked for, by the wall
        clock, up to a limit: one that cron starts anew would never come to an end by itself.
        """
        key, before = str(stack), timedelta(0)
        seen_here = key in self._created and self._created[key][0] == run.version
        if run.submitted < self._began and not seen_here:
            before = min(self._clock.now() - run.submitted, MISSING_BEFORE)
        return self._missing.lasts(key, run.id, already=before)

    def _running_for(self, stack: StackRef, run: Run, seen: Deployment) -> timedelta:
        """Return for how long it has run, since it was first seen to.

        That is by what nobody can set, for as long as this process has seen it; a clock that
        jumps ahead would have it cancelled. What it ran before, the wall clock has to tell.
        """
        if run.seen_running is None and seen.status is not JobStatus.RUNNING:
            return timedelta(0)
        now = self._clock.now()
        return self._running.lasts(str(stack), run.id, already=now - (run.seen_running or now))

    def _run(self, api: ApiClient, stack: StackRef, run: Run) -> Deployment | None:
        if api.dialect is Dialect.PREVIEW:
            return api.by_version(stack, run.version) if run.version else api.get(stack, run.id)
        if len(self._wanted.get(stack.organization, ())) <= 1:
            return api.get(stack, run.id)
        return self._list(api, stack.organization).get(run.id) or api.get(stack, run.id)

    def _list(self, api: ApiClient, organization: str) -> Mapping[str, Deployment]:
        """Return the organization's deployments by id, as far back as those in flight."""
        with self._lists:
            if organization not in self._listed:
                found: dict[str, Deployment] = {}
                wanted = self._wanted.get(organization, set())
                # Those in flight are among the newest; a page costs both sides what it holds.
                size = min(max(2 * len(wanted), SMALLEST_PAGE), PAGE_SIZE)
                for page in range(1, MOST_PAGES + 1):
                    items = api.list_organization(organization, page, size)
                    found |= {d.id: d for d in items}
                    if len(items) < size or wanted <= found.keys():
                        break
                self._listed[organization] = found
            return self._listed[organization]

    def _is_paused(self, api: ApiClient, stack: StackRef, run: Run, seen: Deployment) -> bool:
        """Whether a run that stays in the queue does so because somebody paused its stack."""
        if not seen.status.queued or self._clock.now() < run.submitted + PAUSED_AFTER:
            return False
        if api.dialect is Dialect.PREVIEW:
            return False
        with self._lists:
            if stack.organization not in self._paused:
                try:
                    self._paused[stack.organization] = api.paused(stack.organization)
                except RefusedError:  # may be asked by its administrators alone
                    return False
            return self._paused[stack.organization].holds(stack)


def _walk(api: ApiClient, stack: StackRef, intent: Intent) -> Deployment | None:
    """Walk the versions after the last known one for the intent's marker.

    A list may lag behind; a version that is asked for by its number is there or is not.
    """
    found = _after(api, stack, intent.after_version)
    return next((one for one in found if one.marker == intent.marker), None)


def _listed(api: ApiClient, organization: str, known: Mapping[str, Known]) -> _Listed:
    """Read an organization's list, as far as it tells of newer versions of known stacks.

    Newest first, so the first page on which nothing is new is the last that is read.
    """
    found = _Listed()
    if api.dialect is Dialect.PREVIEW:
        return replace(found, versions={s: ours.version for s, ours in known.items()})
    versions: dict[str, int] = {}
    for page in range(1, MOST_PAGES + 1):
        items = api.list_organization(organization, page, NEWS_PAGE)
        news = False
        for item in items:
            stack = str(item.stack)
            if stack in known and item.version > versions.get(stack, 0):
                versions[stack] = item.version
                news = news or item.version > known[stack].version
        if items:
            newest = items[0].created if page == 1 else found.newest
            found = replace(found, newest=newest, oldest=items[-1].created)
        found = replace(found, versions=versions, whole=len(items) < NEWS_PAGE)
        if found.whole or not news:
            break
    return found


# ---------------------------------------------------------------- whose deployments they are


def _history(api: ApiClient, stack: StackRef, status: Status, owner: str) -> History:
    newest = _newest_of(api, stack)
    latest = max((d.version for d in newest), default=0)
    since = status.last_version
    if status.foreign is not None and not status.foreign.ended:
        since = min(since, status.foreign.version - 1)
    if since - latest > HISTORY_PAGE and api.by_version(stack, since) is not None:
        latest = since  # a list that shows nothing is not walked from its beginning on
    # A list lags behind; what is asked for by its number does not. What is not listed yet may be
    # our own request, arrived twice, or others': it runs, and nothing must start beside it.
    newest = (*newest, *_after(api, stack, latest))
    latest = max((latest, *(d.version for d in newest)))
    fresh = status.attempt is None and not status.last_version
    oldest = min((d.version for d in newest), default=0)
    if since + 1 < oldest and not fresh:
        # More are new than a page shows: among those before it somebody may have changed the stack.
        between = takewhile(lambda d: d.version < oldest, _after(api, stack, since))
        newest = (*between, *newest)
    found, whose = History(latest=latest), _Whose(status, owner, since)
    for listed in sorted(newest, key=lambda d: d.version):
        if not whose.is_past(listed):
            found = _counted(api, stack, listed, found, whose)
    return found


def _after(api: ApiClient, stack: StackRef, version: int) -> Iterator[Deployment]:
    """Yield the deployments after a version, one by one, up to the first that is not there."""
    for number in range(version + 1, version + 1 + MOST_VERSIONS_WALKED):
        found = api.by_version(stack, number)
        if found is None:
            return
        yield found


def _newest_of(api: ApiClient, stack: StackRef) -> tuple[Deployment, ...]:
    if api.dialect is Dialect.TODAY:
        return api.list_stack(stack, HISTORY_PAGE)
    latest = api.latest_version(stack)
    first = max(1, latest - HISTORY_PAGE + 1)
    found = [api.by_version(stack, version) for version in range(first, latest + 1)]
    return tuple(d for d in found if d is not None)


class _Whose:
    """Says whose a deployment is, by its marker. What ended up to `since` is known of."""

    def __init__(self, status: Status, owner: str, since: int) -> None:
        self._since = since
        self._followed = status.run.id if status.run is not None else ""
        latest = status.latest if status.run is None else None
        self._lost = latest if latest is not None and latest.end is RunEnd.MISSING else None
        self._runs = tuple(r for r in (status.run, status.last, status.latest) if r is not None)
        self._last_version = status.last_version
        self._fresh = status.attempt is None and not status.last_version
        self._ours = f"{MARKER_PREFIX}{owner}_"

    def owner(self, marker: str) -> str:
        """Return the owner a marker names, empty where there is none."""
        return marker.removeprefix(MARKER_PREFIX).partition("_")[0] if marker else ""

    def is_ours(self, marker: str) -> bool:
        """Whether this owner asked for it."""
        return marker.startswith(self._ours)

    def is_the_run(self, deployment: Deployment) -> bool:
        """Whether it is the very deployment that we follow, or followed."""
        known = {(run.version, run.marker) for run in self._runs}
        return (deployment.version, deployment.marker) in known

    def is_known(self, marker: str) -> bool:
        """Whether it is a request that we know the run of."""
        return any(run.marker == marker for run in self._runs)

    def is_lost(self, deployment: Deployment) -> bool:
        """Whether it is the run that was nowhere for so long that it counts as lost."""
        lost = self._lost
        if lost is None or not lost.id or deployment.id != lost.id:
            return False
        return deployment.marker in {"", lost.marker}

    def is_past(self, deployment: Deployment) -> bool:
        """Whether there is nothing to tell of it: it is followed, or known to have ended."""
        if deployment.id == self._followed:
            return True
        known = deployment.version <= self._since and deployment.status.ended
        return known and not self.is_lost(deployment)

    def is_dealt_with(self, deployment: Deployment) -> bool:
        """Whether it is one of ours that nothing more is to be done about: it has ended."""
        if self._fresh or not deployment.status.ended:
            return deployment.status.ended
        if self.is_lost(deployment):
            return False
        return self.is_the_run(deployment) or deployment.version <= self._last_version


def _counted(
    api: ApiClient, stack: StackRef, listed: Deployment, found: History, whose: _Whose
) -> History:
    """Add one deployment to the history. A list tells no markers, so it is asked for alone.

    They come in their order: what comes after one that is to be dealt with first, as it runs or
    is our own, is not told of before that, so that nothing is passed over.
    """
    whole = listed if listed.environment else api.by_version(stack, listed.version) or listed
    marker = whole.marker
    if whose.is_past(whole) or (not marker and whose.is_lost(whole) and whole.status.ended):
        return found  # what a list alone shows of one that was lost is not that it is there
    first = found.running is None and found.stray is None
    if marker and (whose.is_ours(marker) or whose.is_known(marker)):
        return _counted_ours(whole, found, whose, first=first)
    operation = whole.operation or listed.operation
    foreign = ForeignRun(
        version=whole.version,
        by=whole.requested_by.name or whole.requested_by.github_login,
        operation=operation,
        owner=whose.owner(marker),
        changes=(operation is None or not operation.changes_nothing)
        and whole.status is not JobStatus.SKIPPED,
        ended=whole.status.ended,
    )
    before = found.foreign
    # One that changes nothing, or has not ended, does not hide one that did.
    hides = foreign.ended and (foreign.changes or bool(foreign.owner))
    hides = hides or before is None or not (before.changes or before.owner)
    if first and hides:
        found = replace(found, foreign=foreign)
    if first and (hides or foreign.ended):
        found = replace(found, told_to=foreign.version)
    if not foreign.ended and found.running is None:
        found = replace(found, running=foreign)
    return found


def _looked(deployment: Deployment) -> bool:
    """Whether it has ended, and what was deployed before it is so still.

    A refresh of ours takes down what is there, as each night by its schedule.
    """
    operation, status = deployment.operation, deployment.status
    looks = operation is Operation.REFRESH or (operation is not None and operation.changes_nothing)
    return status.ended and (looks or status is JobStatus.SKIPPED)


def _counted_ours(whole: Deployment, found: History, whose: _Whose, *, first: bool) -> History:
    """Add one of ours; `first`: nothing that is before it is to be dealt with."""
    if not whose.is_known(whole.marker):
        # One that only looked does not hide one that deployed.
        hidden = found.ours is not None and _looked(whole) and not _looked(found.ours)
        found = found if hidden else replace(found, ours=whole)
    if whose.is_dealt_with(whole):
        return replace(found, told_to=whole.version) if first else found
    double = whose.is_known(whole.marker) and not whose.is_the_run(whole)
    if double and whole.status.queued and found.double is None:
        found = replace(found, double=whole)
    return replace(found, stray=whole) if first else found


# ---------------------------------------------------------------- logs


def _tail(api: ApiClient, stack: StackRef, deployment: Deployment, run: Run) -> tuple[str, ...]:
    """Return the last lines of the step that tells how it ended, without escapes.

    That is the failed one; of a success the last, where what it found is of interest.
    """
    steps = deployment.steps
    telling = next((i for i, s in enumerate(steps) if s.status is StepStatus.FAILED), None)
    if telling is None and deployment.status is JobStatus.SUCCEEDED and _interests(run):
        telling = len(steps) - 1 if steps else None
    if telling is None:
        return ()
    lines: list[str] = []
    offset: int | None = 0
    for _ in range(MOST_LOG_PAGES):
        page = api.step_logs(stack, deployment.id, telling, offset or 0)
        lines = (lines + [_clean(line.line) for line in page.lines])[-TAIL_LINES:]
        offset = page.next_offset
        if offset is None or not page.lines:
            break
    return tuple(line for line in lines if line)


def _interests(run: Run) -> bool:
    return run.operation.looks_for_drift or run.cause.kind is CauseKind.APPROVAL


def _found(run: Run, log: tuple[str, ...]) -> str:
    """Return what Pulumi's own summary says of a run that looks; empty where it found nothing."""
    if not _interests(run):
        return ""
    return pulumi_output.told(pulumi_output.summary("\n".join(log)))


def _clean(line: str) -> str:
    plain = _CONTROLS.sub("", _ESCAPES.sub("", line.rstrip().rsplit("\r", 1)[-1]))
    return plain[:TAIL_LINE_LENGTH]
