"""What is worth telling in the step from one status to the next. Pure.

Each has an id of what happened and not of when it was seen: a step that is made again after a
crash gives the same, and whoever keeps them tells it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from reconciler.model import (
    CauseKind,
    News,
    NewsKind,
    Reason,
    ReasonCode,
    Run,
    RunEnd,
    State,
    Status,
)
from reconciler.planning.admission import Mass

__all__ = ["news", "news_of_masses"]

# An id is compared and shown; 96 bits do not meet by chance.
_ID_LENGTH: Final = 24
# A message for a chat or a mail's subject line; the status file has the whole.
_LONGEST_MESSAGE: Final = 1000

# Ends that say a run went wrong. A lock and a skip are waited out, a cancel was wanted.
_BAD: Final = frozenset(
    {RunEnd.FAILED, RunEnd.TIMED_OUT, RunEnd.INTERRUPTED, RunEnd.REFUSED, RunEnd.MISSING}
)
# States in which nothing goes on without a person; of these some are about the file alone.
_NEEDS_SOMEONE: Final = frozenset({State.STALLED, State.INVALID, State.CONFLICT})
_OF_THE_FILE: Final = frozenset({State.INVALID, State.CONFLICT})


def news(old: Status, new: Status, now: datetime, repository: str = "") -> tuple[News, ...]:
    """Return what is worth telling when `new` takes the place of `old`."""
    if not old.generation and (new.latest is not None or new.last is not None):
        return ()  # a renamed file brings its story along, which was told
    teller = _Teller(new, now, repository)
    return (
        *_of_the_run(old, new, teller),
        *_of_the_state(old, new, teller),
        *_of_drift(old, new, teller),
        *_of_approval(old, new, teller),
    )


def news_of_masses(old: Iterable[Mass], new: Iterable[Mass], now: datetime) -> tuple[News, ...]:
    """Return what is worth telling of changes and removals of very many specs at once.

    While one of a kind waits, others of its kind that take its place are not told of again.
    """
    waiting = {mass.code for mass in old}
    return tuple(
        News(
            id=_id("mass", mass.id),
            kind=NewsKind.APPROVAL,
            name="",
            stack="",
            at=now,
            state=str(State.WAITING),
            reason=str(mass.code),
            message=mass.message[:_LONGEST_MESSAGE],
        )
        for mass in new
        if mass.code not in waiting
    )


def _of_the_run(old: Status, new: Status, teller: _Teller) -> Iterator[News]:
    """Tell how a run ended."""
    run = new.latest
    if run is None or (old.latest is not None and _same(run, old.latest)):
        return
    if run.end in _BAD and (not run.cause.desired or new.failures <= 1):
        yield teller.of_run(NewsKind.FAILED, run, run.message)
    elif run.end is RunEnd.SUCCEEDED:
        undone = old.drift is not None and new.drift is None
        if _was_bad(old, run) or undone or run.cause.kind is CauseKind.DRIFT:
            yield teller.of_run(NewsKind.RECOVERED, run, f"{run.operation} {run.message}")
        elif run.cause.desired and run.cause.kind is not CauseKind.APPROVAL:
            yield teller.of_run(NewsKind.SUCCEEDED, run, f"{run.operation} {run.message}")


def _of_the_state(old: Status, new: Status, teller: _Teller) -> Iterator[News]:
    """Tell that a person is needed, or that a file is right again."""
    needs, before = _need(new), _need(old)
    if needs is not None:
        if before is None or before.code is not needs.code:
            what = f"{needs.code}/{old.generation}"
            yield teller.of_state(NewsKind.STALLED, what, needs.message, needs.code)
    elif old.state in _OF_THE_FILE and new.state is not State.UNKNOWN and new.reason is not None:
        message = f"the spec is right again; {new.reason.message}"
        yield teller.of_state(NewsKind.RECOVERED, f"recovered/{old.generation}", message)


def _of_drift(old: Status, new: Status, teller: _Teller) -> Iterator[News]:
    drift = new.drift
    if drift is not None and (old.drift is None or old.drift.summary != drift.summary):
        message = f"version {drift.version} found {drift.summary or 'changes'}"
        what = f"drift/{drift.version}"
        yield teller.of_state(NewsKind.DRIFT, what, message, ReasonCode.DRIFTED)


def _of_approval(old: Status, new: Status, teller: _Teller) -> Iterator[News]:
    approval = new.approval
    if approval is None or approval.granted is not None:
        return
    if old.approval is not None and old.approval.asked == approval.asked:
        return
    shown = f": {approval.summary}" if approval.summary else ""
    message = f"{approval.operation} waits for `reconciler approve {new.name}`{shown}"
    what = f"approval/{approval.asked.isoformat()}"
    yield teller.of_state(NewsKind.APPROVAL, what, message, ReasonCode.APPROVAL)


class _Teller:
    """Makes news of one status."""

    def __init__(self, status: Status, now: datetime, repository: str) -> None:
        self._status = status
        self._now = now
        self._repository = repository

    def of_run(self, kind: NewsKind, run: Run, message: str) -> News:
        """Return news of a run."""
        status = self._status
        return News(
            id=_id(status.stack or status.name, f"{kind}/{run.run_id}/{run.version}"),
            kind=kind,
            name=status.name,
            stack=status.stack,
            at=self._now,
            state=str(status.state),
            reason=str(run.end or ""),
            message=message[:_LONGEST_MESSAGE],
            version=run.version,
            operation=str(run.operation),
            commit=run.commit,
            url=run.url,
            repository=self._repository,
        )

    def of_state(
        self, kind: NewsKind, what: str, message: str, code: ReasonCode | None = None
    ) -> News:
        """Return news of how the spec stands; for the status' own reason, or a code."""
        status = self._status
        run = status.latest or status.last
        if code is None and status.reason is not None:
            code = status.reason.code
        return News(
            id=_id(status.stack or status.name, what),
            kind=kind,
            name=status.name,
            stack=status.stack,
            at=self._now,
            state=str(status.state),
            reason=str(code or ""),
            message=message[:_LONGEST_MESSAGE],
            version=run.version if run is not None else 0,
            operation=str(run.operation) if run is not None else "",
            commit=run.commit if run is not None else "",
            url=run.url if run is not None else "",
            repository=self._repository,
        )


def _was_bad(old: Status, run: Run) -> bool:
    """Whether what this run is for had gone wrong before."""
    if run.cause.desired:
        ended_badly = old.last is not None and old.last.end in _BAD
        return bool(old.failures) or old.stalled is not None or ended_badly
    before = old.latest
    of_the_same = before is not None and before.cause.schedule == run.cause.schedule != ""
    return of_the_same and before is not None and before.end in _BAD


def _need(status: Status) -> Reason | None:
    """Return why a person is needed.

    What is stalled stays so beneath a suspension, or while the API is not there: it is not told
    again when that ends, and is told at once where it comes about meanwhile.
    """
    reason = status.reason
    refused = reason is not None and reason.code is ReasonCode.REFUSED
    return reason if status.state in _NEEDS_SOMEONE or refused else status.stalled


def _same(one: Run, other: Run) -> bool:
    return (one.run_id, one.version, one.end) == (other.run_id, other.version, other.end)


def _id(whose: str, what: str) -> str:
    return hashlib.sha256(f"{whose}\n{what}".encode()).hexdigest()[:_ID_LENGTH]
