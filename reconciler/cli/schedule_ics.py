"""What will run, as a calendar: RFC 5545, for the calendars of people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Final

from reconciler.planning.agenda import Agenda, Entry, Fate

__all__ = ["as_ics"]

# RFC 5545, 3.1: lines of at most 75 octets, the rest folded onto lines that begin with a space.
_LINE_OCTETS: Final = 75
_BREAK: Final = "\r\n"


def as_ics(found: Agenda) -> str:
    """Return a calendar with an event for each run that starts, at the time when it may start.

    An event's UID is the same each time, so a calendar that reads it again adds nothing twice.
    """
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//reconciler//schedule//EN",
        "CALSCALE:GREGORIAN",
    ]
    for entry in found.entries:
        if entry.starts is not None and entry.fate in {Fate.RUNS, Fate.WAITS}:
            lines += _event(entry, entry.starts, found.begin)
    if found.left_out:
        more = "" if found.counted else "at least "
        lines.append(f"X-WR-CALDESC:{more}{found.left_out} more are left out")
    lines.append("END:VCALENDAR")
    return "".join(part + _BREAK for line in lines for part in _folded(line))


def _event(entry: Entry, starts: datetime, made: datetime) -> list[str]:
    what = entry.schedule or "destroyAfter"
    identity = f"{entry.stack}\n{entry.name}\n{what}\n{_time(entry.due)}"
    text = f"{what} of {entry.name}, due {entry.due:%Y-%m-%d %H:%M} UTC"
    if starts != entry.due:
        text += "; it waits for a window until then"
    return [
        "BEGIN:VEVENT",
        f"UID:{sha256(identity.encode()).hexdigest()[:32]}@reconciler",
        f"DTSTAMP:{_time(made)}",
        f"DTSTART:{_time(starts)}",
        f"SUMMARY:{_escaped(f'{entry.operation} {entry.stack}')}",
        f"DESCRIPTION:{_escaped(text)}",
        "TRANSP:TRANSPARENT",
        "END:VEVENT",
    ]


def _time(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    for special in ("\\", ";", ","):
        text = text.replace(special, f"\\{special}")
    return "".join(c if c.isprintable() else " " for c in text)


def _folded(line: str) -> Iterator[str]:
    room, part, size = _LINE_OCTETS, "", 0
    for character in line:
        octets = len(character.encode())
        if size + octets > room:
            yield part
            part, size = " ", 1
        part += character
        size += octets
    yield part
