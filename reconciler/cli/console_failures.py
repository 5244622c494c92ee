"""Why deployments of an engine failed, for its console: from their steps and logs.

A deployment that has ended stays as it is, so each is looked at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.api.types import Deployment, JobStatus, StackRef, StepStatus
from reconciler.console.runs import Failure, bare, telling
from reconciler.engine.service import AnswerError, Service
from reconciler.engine.service.logs import StepWindow
from reconciler.engine.store import Newest
from reconciler.engine.tokens import Caller

__all__ = ["NOTHING", "Failed", "Failures"]

# A page of many stacks that failed does not wait for all of their logs.
LOOKS: Final = 25
MOST_KEPT: Final = 20_000

# How much of a step's log is read, and what of its end is shown.
PAGE_LINES: Final = 1000
MOST_PAGES: Final = 40
TAIL_LINES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The step that failed, the line that says most of it, and the end of its log."""

    step: str = ""
    text: str = ""
    tail: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The same in a sentence."""
        return Failure(step=self.step, text=self.text).told


NOTHING: Final = Failed()


class Failures:
    """Looks at what failed. Any thread may ask."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._found: dict[tuple[StackRef, int, datetime], Failed] = {}

    def of(self, caller: Caller, newest: Sequence[Newest]) -> Mapping[StackRef, str]:
        """Say why each that failed did, as far as it was looked at: a few more each time."""
        found: dict[StackRef, str] = {}
        looks = LOOKS
        for each in newest:
            if each.status is not JobStatus.FAILED or each.ending_message:
                continue
            # A stack that was deleted and made again counts from 1 once more.
            key = (each.stack, each.version, each.modified)
            known = self._found.get(key)
            if known is None and looks:
                looks -= 1
                known = self.look(caller, each.stack, each.version)
                if len(self._found) >= MOST_KEPT:
                    self._found.clear()
                self._found[key] = known
            if known is not None:
                found[each.stack] = known.told
        return found

    def look(self, caller: Caller, stack: StackRef, version: int) -> Failed:
        """Look at one deployment; nothing of one that did not fail, or is forgotten."""
        with suppress(AnswerError):
            deployment = self._service.deployments.get_version(caller, stack, version)
            if deployment.status is JobStatus.FAILED:
                return self._look(caller, stack, deployment)
        return NOTHING

    def _look(self, caller: Caller, stack: StackRef, deployment: Deployment) -> Failed:
        steps = list(enumerate(deployment.steps))
        failed = [(n, step.name) for n, step in steps if step.status is StepStatus.FAILED]
        if not failed:
            return NOTHING
        number, name = failed[-1]
        lines: list[str] = []
        offset: int | None = 0
        for _ in range(MOST_PAGES):
            window = StepWindow(step=number, offset=offset or 0, count=PAGE_LINES)
            page = self._service.logs.of_step(caller, stack, deployment.id, window)
            lines = [*lines, *(line.line for line in page.lines)][-PAGE_LINES:]
            offset = page.next_offset
            if offset is None or not page.lines:
                break
        tail = tuple(bare(line) for line in lines if line.strip())[-TAIL_LINES:]
        return Failed(step=name, text=telling(lines)[1], tail=tail)
