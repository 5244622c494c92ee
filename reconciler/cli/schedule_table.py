"""What will run, as a table that is read on a terminal: a part for each day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

from reconciler.api.types import Operation
from reconciler.cli.look import BOLD, DIM, RED, YELLOW, Look, cut, printable
from reconciler.planning.agenda import Agenda, Entry, Fate

__all__ = ["as_text"]

HEADINGS: Final = ("UTC", "THERE", "NAME", "RUNS", "SCHEDULE")

_GAP: Final = "  "
# Where a note has no room on its line, it stands below.
_BELOW: Final = "       "


@dataclass(frozen=True, slots=True)
class _Row:
    cells: tuple[str, ...]
    note: str
    entry: Entry


def as_text(found: Agenda, how: Look) -> str:
    """Return the table, and a sentence that sums it up."""
    if not found.entries:
        return f"nothing is due until {_utc(found.end)}"
    rows = [_row(entry) for entry in found.entries]
    # A column that says nothing is not there: that of other zones where all is in UTC.
    columns = [n for n in range(len(HEADINGS)) if any(row.cells[n] for row in rows)]
    widths = {n: max(len(HEADINGS[n]), *(len(row.cells[n]) for row in rows)) for n in columns}
    heading = _GAP.join(HEADINGS[n].ljust(width) for n, width in widths.items())
    lines = [how.paint(cut(heading.rstrip(), how.width), DIM)]
    for day, of_day in groupby(rows, key=lambda row: row.entry.due.date()):
        lines.append(how.paint(f"{day:%a %d %b %Y}", BOLD))
        lines += [_line(row, widths, how) for row in of_day]
    return "\n".join([*lines, "", _summary(found)])


def _row(entry: Entry) -> _Row:
    return _Row(
        cells=(
            f"{entry.due:%H:%M}",
            _there(entry.due, entry.time_zone),
            printable(entry.name),
            str(entry.operation),
            entry.schedule or "destroyAfter",
        ),
        note=_note(entry),
        entry=entry,
    )


def _line(row: _Row, widths: Mapping[int, int], how: Look) -> str:
    cells = {n: row.cells[n].ljust(width) for n, width in widths.items()}
    plain = _GAP.join(cells.values())
    below = bool(how.width) and len(plain) + len(_GAP) + len(row.note) > how.width
    text = cut(plain if row.note and not below else plain.rstrip(), how.width)
    painted, start = [], 0
    for n, cell in cells.items():
        # What was cut off stays off.
        painted.append(how.paint(text[start : start + len(cell)], *_colours(n, row.entry)))
        start += len(cell) + len(_GAP)
    note = how.paint(cut(_BELOW + row.note, how.width) if below else row.note, YELLOW)
    line = _GAP.join(filter(None, painted))
    if not row.note:
        return line
    return f"{line}\n{note}" if below else f"{line}{_GAP}{note}"


def _colours(number: int, entry: Entry) -> tuple[str, ...]:
    if entry.fate not in {Fate.RUNS, Fate.WAITS}:
        return (DIM,)
    match HEADINGS[number]:
        case "THERE":
            return (DIM,)
        case "NAME":
            return (BOLD,)
        case "RUNS" if entry.operation is Operation.DESTROY:
            return (RED, BOLD)
    return ()


def _note(entry: Entry) -> str:
    match entry.fate:
        case Fate.SUSPENDED:
            return "does not run: suspended"
        case Fate.NEVER:
            return "does not run: its windows never open"
        case Fate.DESTROYED:
            return "does not run: the stack is destroyed by then"
        case Fate.PASSED_OVER if entry.starts is not None:
            return f"passed over: a newer one is due before {_start(entry, entry.starts)}"
        case Fate.WAITS if entry.starts is not None:
            return f"waits for its window: {_start(entry, entry.starts)}"
    return "its time is skipped: the clocks are set on" if entry.skipped_time else ""


def _start(entry: Entry, starts: datetime) -> str:
    there = starts.astimezone(ZoneInfo(entry.time_zone))
    if entry.time_zone == "UTC":
        return f"{there:%a %d %b %H:%M} UTC"
    return f"{there:%a %d %b %H:%M} there, {starts:%a %H:%M} UTC"


def _summary(found: Agenda) -> str:
    count = {fate: sum(1 for e in found.entries if e.fate is fate) for fate in Fate}
    starting = count[Fate.RUNS] + count[Fate.WAITS]
    parts = []
    if starting:
        parts.append(f"{starting} runs" if starting > 1 else "1 run")
    if count[Fate.WAITS]:
        parts.append(f"{count[Fate.WAITS]} of them after a wait for a window")
    not_run = len(found.entries) - starting
    if not_run:
        more = " more" if starting else ""
        parts.append(f"{not_run}{more} that {'do' if not_run > 1 else 'does'} not run")
    text = ", ".join(parts)
    if not found.left_out:
        return f"{text}, until {_utc(found.end)}"
    many = f"{found.left_out:,}" if found.counted else f"more than {found.left_out:,}"
    return (
        f"{text}; {many} later ones until {_utc(found.end)} are left out: "
        "--limit shows more, --for less"
    )


def _there(moment: datetime, time_zone: str) -> str:
    if time_zone == "UTC":
        return ""
    there = moment.astimezone(ZoneInfo(time_zone))
    offset = there.isoformat()[-6:]
    return f"{there:%a %H:%M}{offset} {time_zone}"


def _utc(moment: datetime) -> str:
    return f"{moment:%a %d %b %Y %H:%M} UTC"
