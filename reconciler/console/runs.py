"""A deployment as a page shows it: its steps with their lengths, and the lines of its log. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from reconciler.api.types import UNSET_TIME, Deployment, JobStatus, LogLine, Step, StepStatus
from reconciler.console.text import Piece, pieces, visible
from reconciler.console.values import Past, Tone
from reconciler.planning.usual import so_far, usual
from reconciler.pulumi_output import failing_line

__all__ = [
    "Failure",
    "Line",
    "RunView",
    "StepView",
    "bare",
    "failure_of",
    "length",
    "lines_of",
    "past_of",
    "run_view",
    "running_for",
    "telling",
    "usual_time",
]

_TONES: Final = {
    StepStatus.NOT_STARTED: Tone.WAITS,
    StepStatus.RUNNING: Tone.BUSY,
    StepStatus.FAILED: Tone.BAD,
    StepStatus.SUCCEEDED: Tone.GOOD,
}
_SECONDS: Final = 1_000_000_000

# A line in a sentence: enough to know what to look for in the log.
LONGEST_TELLING: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """A step: how long it took or has run so far, and its share (0 to 100) of the longest one."""

    name: str
    status: str
    tone: Tone
    took: str
    share: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A deployment; `waited` is how long it stood in the queue. Empty where nobody knows."""

    status: str
    tone: Tone
    created: datetime
    started: datetime | None
    ended: datetime | None
    waited: str
    took: str
    steps: tuple[StepView, ...]
    live: bool
    ending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a log, or with `header` the beginning of a step's."""

    time: str
    header: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run failed: its step, and the line of its log that says most, from 1; 0: none."""

    step: str = ""
    text: str = ""
    line: int = 0

    @property
    def told(self) -> str:
        """The same in a sentence; empty where nothing is known."""
        where = f"step '{self.step}' failed" if self.step else ""
        return ": ".join(part for part in (where, self.text) if part)


def failure_of(deployment: Deployment, log: Sequence[LogLine]) -> Failure:
    """Say why a deployment failed, by its steps and its whole log; nothing of one that did not."""
    if deployment.status is not JobStatus.FAILED:
        return Failure()
    failed = [step.name for step in deployment.steps if step.status is StepStatus.FAILED]
    step = failed[-1] if failed else ""
    mine: list[tuple[int, str]] = []
    every: list[tuple[int, str]] = []
    header = ""
    for number, line in enumerate(log, 1):
        header = line.header or header
        if not line.header:
            every.append((number, line.line))
            if header.casefold() == step.casefold():
                mine.append((number, line.line))
    lines = mine or every
    at, text = telling([line for _, line in lines])
    return Failure(step=step, text=text, line=lines[at][0] if at >= 0 else 0)


def telling(lines: Sequence[str]) -> tuple[int, str]:
    """Return which line of a failed step's log says most, from 0, and its text; -1: none does."""
    read = [bare(line).strip() for line in lines]
    at = failing_line(read)
    text = read[at] if at >= 0 else ""
    return at, text if len(text) <= LONGEST_TELLING else f"{text[:LONGEST_TELLING]}…"


def bare(line: str) -> str:
    """Return a line's text as it is read: what it was overwritten with, without colours."""
    text = line.rstrip("\r\n").rsplit("\r", 1)[-1]
    return "".join(piece.text for piece in pieces(text))


def run_view(deployment: Deployment, now: datetime) -> RunView:
    """Return how a deployment is shown."""
    begun, ended = _times(deployment)
    live = not deployment.status.ended
    lengths = [_length(step, now) for step in deployment.steps]
    longest = max((found for found in lengths if found is not None), default=timedelta(0))
    return RunView(
        status=str(deployment.status),
        tone=Tone.of_run(deployment.status),
        created=deployment.created,
        started=begun,
        ended=ended,
        waited=length((begun or now) - deployment.created) if begun or live else "",
        took=length((ended or now) - begun) if begun is not None else "",
        steps=tuple(
            StepView(
                name=step.name,
                status=str(step.status),
                tone=_TONES[step.status],
                took="" if found is None else length(found),
                share=0 if found is None or not longest else round(100 * (found / longest)),
            )
            for step, found in zip(deployment.steps, lengths, strict=True)
        ),
        live=live,
        ending=deployment.ending.message if deployment.ending is not None else "",
    )


def past_of(deployment: Deployment) -> Past:
    """Return a deployment as the timeline has it."""
    begun, ended = _times(deployment)
    operation = str(deployment.operation) if deployment.operation is not None else "deployment"
    return Past(
        version=deployment.version,
        operation=operation,
        status=str(deployment.status),
        tone=Tone.of_run(deployment.status),
        begun=begun or deployment.created,
        ended=ended,
    )


def usual_time(past: Sequence[Past], operation: str) -> timedelta | None:
    """Return how long an operation usually takes; None where none went well before."""
    return usual(
        run.ended - run.begun
        for run in past
        if run.ended is not None and run.tone is Tone.GOOD and run.operation == operation
    )


def running_for(past: Sequence[Past], now: datetime) -> str:
    """Say what runs, for how long, and how long it usually does; empty where nothing runs."""
    runs = [run for run in past if run.tone is Tone.BUSY and run.ended is None]
    if not runs:
        return ""
    newest = max(runs, key=lambda run: run.version)
    told = so_far(now - newest.begun, usual_time(past, newest.operation))
    return f"{newest.operation} #{newest.version} runs {told}"


def _times(deployment: Deployment) -> tuple[datetime | None, datetime | None]:
    """Return when it began and when it ended, where it has."""
    starts = [job.started for job in deployment.jobs if job.started != UNSET_TIME]
    begun = min(starts, default=None)
    if not deployment.status.ended:
        return begun, None
    ends = [job.last_updated for job in deployment.jobs if job.last_updated != UNSET_TIME]
    return begun, max(ends, default=deployment.modified)


def _length(step: Step, now: datetime) -> timedelta | None:
    if step.started == UNSET_TIME:
        return None
    ended = now if step.status is StepStatus.RUNNING else step.last_updated
    return max(ended - step.started, timedelta(0))


def length(found: timedelta) -> str:
    """Write how long something took, as a clock that was stopped: 0.4 s, 12 s, 3:05, 1:02:03."""
    seconds = max(found.total_seconds(), 0.0)
    if seconds < 10:  # noqa: PLR2004 - of few seconds the tenths tell
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, whole = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


def lines_of(found: Sequence[LogLine]) -> Iterator[Line]:
    """Yield lines as they are shown, in colours, with nothing in them that acts."""
    for line in found:
        if line.header:
            yield Line(time="", header=visible(line.header), pieces=())
        else:
            yield Line(time=_time(line.timestamp_ns), header="", pieces=pieces(line.line))


def _time(nanoseconds: int | None) -> str:
    if nanoseconds is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(nanoseconds // _SECONDS, UTC):%H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return ""
