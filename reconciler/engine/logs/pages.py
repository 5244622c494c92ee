"""Reading a log: one step by line numbers, or all of it by tokens that say where to go on."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.api.types import LogLine, StepStatus
from reconciler.engine.logs.lines import StepLog
from reconciler.engine.store import Claim

__all__ = [
    "LARGEST_PAGE_BYTES",
    "STREAM_LINES",
    "BadTokenError",
    "KeptLog",
    "LogPage",
    "LogStore",
    "StepState",
    "parse_token",
    "tokens_after",
]

# What one answer carries: enough that following costs few calls, little enough to hold.
STREAM_LINES = 1000
LARGEST_PAGE_BYTES = 2 * 1024 * 1024

# More than a token can name.
MOST_STEPS = 10_000

_TOKEN = re.compile(r"0\.(\d{1,4})\.(\d{1,12})\Z")


class BadTokenError(Exception):
    """A token that this engine never gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """What following needs to know of a step; `header` begins its part of the log."""

    header: str
    status: StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Lines, and where to go on; None where there is and will be nothing more."""

    lines: tuple[LogLine, ...]
    next_token: str | None = None
    next_offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLog:
    """How large a deployment's log is, and when it was last written to."""

    deployment_id: str
    written: datetime
    size_bytes: int


class LogStore(ABC):
    """All logs of an engine: in files, or in the database that it shares."""

    @abstractmethod
    def open(self, claim: Claim, step: int) -> StepLog:
        """Open the log of a step, counted from 0, to append to it, as whoever runs it."""

    @abstractmethod
    def page(
        self, deployment_id: str, step: int, offset: int, count: int
    ) -> tuple[tuple[LogLine, ...], bool]:
        """Return up to `count` lines of a step from line `offset` on, both counted from 0.

        And whether there are more of them: it stops early where the page grows too large.
        """

    @abstractmethod
    def kept(self) -> tuple[KeptLog, ...]:
        """Return what there is, deployment by deployment."""

    @abstractmethod
    def forget(self, deployment_ids: Collection[str]) -> None:
        """Delete the logs of these deployments, of which nothing is written any more."""

    def step_page(
        self, deployment_id: str, step: int, window: tuple[int, int], *, ended: bool
    ) -> LogPage:
        """Return a step's lines by `window` (offset, count); `ended`: it writes no more.

        `ended` must have been so before this call, or its last lines could be missed.
        """
        offset, count = window
        lines, more = self.page(deployment_id, step, offset, count)
        go_on = more or not ended
        return LogPage(lines=lines, next_offset=offset + len(lines) if go_on else None)

    def follow(
        self, deployment_id: str, steps: Sequence[StepState], token: str, *, ended: bool
    ) -> LogPage:
        """Return what comes after `token` (empty: from the beginning) over all steps.

        `steps` and `ended` (the deployment's) must have been so before this call. While more
        may come there is a next token, the same one when nothing is new.
        """
        step, offset = parse_token(token, len(steps)) if token else (0, 0)
        started = sum(1 for s in steps if s.status is not StepStatus.NOT_STARTED)
        lines: list[LogLine] = []
        full = False
        while step < started and not full:
            if len(lines) >= STREAM_LINES:
                full = True
                break
            if offset == 0:
                lines.append(LogLine(header=steps[step].header))
                offset = 1
            room = max(STREAM_LINES - len(lines), 0)
            found, full = self.page(deployment_id, step, offset - 1, room)
            lines += found
            offset += len(found)
            if full or step + 1 >= started:
                break
            step, offset = step + 1, 0
        if ended and not full:
            return LogPage(lines=tuple(lines))
        return LogPage(lines=tuple(lines), next_token=f"0.{step}.{offset}")


def parse_token(token: str, steps: int) -> tuple[int, int]:
    """Read `job.step.offset`: the step from 0, and the offset that counts the header as one."""
    match = _TOKEN.match(token)
    if match is None or int(match[1]) >= max(steps, 1):
        raise BadTokenError(f"{token[:40]!r} is no token of this log")
    return int(match[1]), int(match[2])


def tokens_after(token: str, lines: Sequence[LogLine]) -> Iterator[str]:
    """Yield, for each line that follows `token` in `LogStore.follow`, the token that goes on there.

    A header begins the next step, but where the token stands before a step's own.
    """
    step, offset = parse_token(token, MOST_STEPS) if token else (0, 0)
    for line in lines:
        if line.header:
            step, offset = (step + 1 if offset else step), 1
        else:
            offset += 1
        yield f"0.{step}.{offset}"
