"""The timeline as a picture: where each run, each due time and each closed window lies. Pure.

A lane is a line of its own; time goes from left to right. From the left everything is in percent
of the drawing, which is as wide as the screen lets it be; from the top in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from reconciler.console.values import Coming, Lane, Past, Tone
from reconciler.planning.moments import span

__all__ = ["SPANS", "Bar", "Mark", "Picture", "Row", "Shade", "Tick", "picture", "span_of"]

WIDTH: Final = 100.0
LANE_HEIGHT: Final = 28.0
HEAD_HEIGHT: Final = 22.0

# A run of a second in a week is still to be seen, and to be hit.
LEAST_WIDTH: Final = 0.4

# A label that begins further right would be cut off.
_LAST_LABEL: Final = 94.0
# One that is so near to where the present is named would run into it: before it, and after.
_NEAR_NOW: Final = (8.0, 5.0)

# How much is behind now and how much ahead, by the name it has in addresses: what is ahead is
# what it is called, so that what runs once a day is always on that of a day.
SPANS: Final = {
    "6h": (timedelta(hours=3), timedelta(hours=6)),
    "24h": (timedelta(hours=12), timedelta(hours=24)),
    "7d": (timedelta(days=3), timedelta(days=7)),
    "30d": (timedelta(days=10), timedelta(days=30)),
}

_STEPS: Final = (
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=2),
    timedelta(days=7),
)
# More labels than these run into one another.
_MOST_TICKS: Final = 9
_MIDNIGHT: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A run, from where it began to where it ended; `title` says it in words."""

    x: float
    width: float
    tone: Tone
    version: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A run to come; `runs` is false where it is known that it will not."""

    x: float
    runs: bool
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shade:
    """A stretch in which no run may start."""

    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A lane as it is drawn, `y` from the top."""

    name: str
    state: str
    tone: Tone
    y: float
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    shades: tuple[Shade, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A line of the scale, and what stands at it."""

    x: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The whole drawing; `now` is where the present lies."""

    height: float
    now: float
    ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]


def span_of(name: str, now: datetime) -> tuple[datetime, datetime]:
    """Return from when to when a timeline goes; an unknown name is a day."""
    behind, ahead = SPANS.get(name, SPANS["24h"])
    return now - behind, now + ahead


def picture(lanes: Sequence[Lane], begin: datetime, end: datetime, now: datetime) -> Picture:
    """Lay out lanes over the time from `begin` to `end`."""
    scale = _Scale(begin, end, now)
    rows = tuple(
        Row(
            name=lane.name,
            state=lane.state,
            tone=lane.tone,
            y=HEAD_HEIGHT + number * LANE_HEIGHT,
            bars=tuple(scale.bars(lane.past)),
            marks=tuple(scale.marks(lane.coming)),
            shades=tuple(scale.shades(lane.closed)),
        )
        for number, lane in enumerate(lanes)
    )
    return Picture(
        height=HEAD_HEIGHT + len(rows) * LANE_HEIGHT,
        now=scale.x(now),
        ticks=tuple(_ticks(scale)),
        rows=rows,
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Turns moments into places."""

    begin: datetime
    end: datetime
    now: datetime

    def x(self, moment: datetime) -> float:
        """Return the place of a moment, at the edge where it lies beyond it."""
        share = (moment - self.begin) / (self.end - self.begin)
        return round(WIDTH * min(max(share, 0.0), 1.0), 3)

    def bars(self, past: Sequence[Past]) -> Iterator[Bar]:
        """Yield the runs that lie in the span, the oldest first."""
        for run in sorted(past, key=lambda run: run.begun):
            ended = run.ended or self.now
            if ended < self.begin or run.begun > self.end:
                continue
            left, right = self.x(run.begun), self.x(ended)
            width = max(right - left, LEAST_WIDTH)
            # What has begun stands left of now, however short it was.
            edge = self.x(self.now) if run.begun <= self.now else WIDTH
            yield Bar(
                x=round(max(min(left, edge - width), 0.0), 3),
                width=round(width, 3),
                tone=run.tone,
                version=run.version,
                title=_told(run, self.now),
            )

    def marks(self, coming: Sequence[Coming]) -> Iterator[Mark]:
        """Yield what is due in the span."""
        for due in coming:
            if self.begin <= due.at <= self.end:
                note = f"; {due.note}" if due.note else ""
                title = f"{due.operation}, {due.schedule}: {_at(due.at)}{note}"
                yield Mark(x=self.x(due.at), runs=due.runs, title=title)

    def shades(self, closed: Sequence[tuple[datetime, datetime]]) -> Iterator[Shade]:
        """Yield the stretches in which nothing may start."""
        for begin, end in closed:
            left, right = self.x(begin), self.x(end)
            if right > left:
                yield Shade(x=left, width=round(right - left, 3))


def _told(run: Past, now: datetime) -> str:
    what = f"{run.operation}, version {run.version}: {run.status}"
    if run.ended is None:
        return f"{what}, since {_at(run.begun)} ({span(now - run.begun)})"
    return f"{what}, {_at(run.begun)}, took {span(run.ended - run.begun)}"


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%a %d %b %H:%M} UTC"


def _ticks(scale: _Scale) -> Iterator[Tick]:
    """Yield the scale's lines, at round times in UTC."""
    length = scale.end - scale.begin
    step = next((s for s in _STEPS if length / s <= _MOST_TICKS), _STEPS[-1])
    # Ceiling: the first round time that is not before the beginning.
    moment = scale.begin + (_MIDNIGHT - scale.begin) % step
    while moment <= scale.end:
        at = moment.astimezone(UTC)
        day = step >= timedelta(days=1) or at.hour == at.minute == 0
        x = scale.x(moment)
        label = f"{at:%a %d}" if day else f"{at:%H:%M}"
        clear = not -_NEAR_NOW[0] < x - scale.x(scale.now) < _NEAR_NOW[1]
        yield Tick(x=x, label=label if x <= _LAST_LABEL and clear else "")
        moment += step
