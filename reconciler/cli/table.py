"""How specs stand, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from reconciler.cli.look import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Look, cut, printable
from reconciler.cli.rows import Row
from reconciler.jsonform import time_text
from reconciler.model import State

__all__ = ["COLOURS", "as_brief_lines", "as_json", "as_lines", "as_text", "in_order", "object_of"]

HEADINGS: Final = ("NAME", "STACK", "STATE", "VERSION", "COMMIT", "NEXT RUN", "WHY")
# Where a terminal is narrow, these go first, one after the other.
LEAST_NEEDED: Final = ("COMMIT", "NEXT RUN", "VERSION", "STACK")
# A reason that is cut to less says nothing.
SHORTEST_WHY: Final = 40
SHORT_COMMIT: Final = 12
_STATE: Final = HEADINGS.index("STATE")

_ORDER: Final = {
    State.FAILED: 1,
    State.PROGRESSING: 2,
    State.WAITING: 3,
    State.UNKNOWN: 4,
    State.READY: 5,
    State.SUSPENDED: 6,
}
COLOURS: Final[dict[State, tuple[str, ...]]] = {
    State.INVALID: (RED, BOLD),
    State.CONFLICT: (RED, BOLD),
    State.STALLED: (RED, BOLD),
    State.FAILED: (RED,),
    State.PROGRESSING: (CYAN,),
    State.WAITING: (YELLOW,),
    State.UNKNOWN: (YELLOW,),
    State.READY: (GREEN,),
    State.SUSPENDED: (DIM,),
}


def in_order(found: Iterable[Row]) -> list[Row]:
    """Sort rows: what needs a person first, what is as it should be last."""
    return sorted(found, key=lambda row: (_rank(row), row.name))


def _rank(row: Row) -> int:
    return 0 if row.needs_person else _ORDER[row.state]


def as_text(found: Iterable[Row], how: Look = Look()) -> str:  # noqa: B008 - it is frozen
    """Return a table with a line for each row."""
    return "\n".join(as_lines(in_order(found), how))


def as_lines(found: Sequence[Row], how: Look, height: int = 0) -> list[str]:
    """Return a table's lines, at most `height` of them; on a terminal the last one counts."""
    return _lines(found, how, height, LEAST_NEEDED)


def as_brief_lines(found: Sequence[Row], how: Look, height: int) -> list[str]:
    """Return the same with nothing but names, states and reasons: what a pass changes."""
    return _lines(found, how, height, ())


def _lines(found: Sequence[Row], how: Look, height: int, beside: Sequence[str]) -> list[str]:
    """Make a table's lines; `beside` are the columns beside name, state and reason."""
    room = len(found) if not height else max(height - 2, 1)
    shown = found[: room if len(found) <= room else room - 1]
    cells = [_cells(row) for row in shown]
    columns = _columns([HEADINGS, *cells], how, beside)
    widths = [max(len(line[n]) for line in (HEADINGS, *cells)) for n in columns[:-1]]
    if how.width:
        # A state that changes must not move the others.
        widths[columns.index(_STATE)] = max(map(len, State))
    lines = [how.paint(_line(HEADINGS, columns, widths, how), DIM)]
    for row, line in zip(shown, cells, strict=True):
        text = _line(line, columns, widths, how)
        state = line[_STATE]
        lines.append(text.replace(f"  {state} ", f"  {how.paint(state, *COLOURS[row.state])} ", 1))
    if len(shown) < len(found):
        more = cut(f"… and {len(found) - len(shown):,} more", how.width)
        lines.append(how.paint(more, DIM))
    if how.width:
        lines.append(_summary(found, how))
    return lines


def _columns(lines: Sequence[Sequence[str]], how: Look, beside: Sequence[str]) -> list[int]:
    """Return which columns are shown: those there is room for."""
    hidden = set(LEAST_NEEDED) - set(beside)
    columns = [n for n, heading in enumerate(HEADINGS) if heading not in hidden]
    for heading in beside:
        taken = sum(max(len(line[n]) for line in lines) + 2 for n in columns[:-1])
        if not how.width or taken + SHORTEST_WHY <= how.width:
            break
        columns.remove(HEADINGS.index(heading))
    return columns


def _line(cells: Sequence[str], columns: Sequence[int], widths: Sequence[int], how: Look) -> str:
    padded = [cells[n].ljust(width) for n, width in zip(columns, widths, strict=False)]
    return cut("  ".join([*padded, cells[-1]]), how.width)


def _cells(row: Row) -> tuple[str, ...]:
    run, following = row.seen.run, row.next_run
    return (
        printable(row.name),
        printable(row.seen.stack) or "-",
        str(row.state),
        str(run.version) if run else "-",
        printable(run.commit[:SHORT_COMMIT]) if run else "-",
        f"{following:%Y-%m-%d %H:%M}Z" if following else "-",
        printable(f"{row.timing}: {row.message}" if row.timing else row.message),
    )


def _summary(found: Sequence[Row], how: Look) -> str:
    """Count them: those that need a person, and the others by their state."""
    people = sum(1 for row in found if row.needs_person)
    counted = Counter(row.state for row in found if not row.needs_person)
    told = f"{people:,} need{'s' if people == 1 else ''} a person"
    parts: list[tuple[str, tuple[str, ...]]] = [(told, (RED, BOLD))] if people else []
    parts += [(f"{counted[s]:,} {s}", COLOURS[s]) for s in _ORDER if counted[s]]
    room, shown = how.width, list[str]()
    for text, colours in parts or [("no specs", ())]:
        room -= len(text) + (2 if shown else 0)
        if room >= 0:
            shown.append(how.paint(text, *colours))
    return ", ".join(shown)


def as_json(
    found: Iterable[Row],
    directory: Mapping[str, object] | None = None,
    reconciler: str = "",
) -> str:
    """Return a list of objects, one for each row, by name; `reconciler` is who runs, if any.

    Where the specs are a branch's, `directory` says how that stands; then both are in an object.
    """
    rows = [object_of(row, reconciler) for row in found]
    body = rows if directory is None else {"directory": directory, "specs": rows}
    return json.dumps(body, indent=2, ensure_ascii=False)


def object_of(row: Row, reconciler: str = "") -> dict[str, object]:
    """Return a row as JSON, with who reconciles its directory now."""
    run, following, usually = row.seen.run, row.next_run, row.usually
    return {
        "name": row.name,
        "stack": row.seen.stack,
        "state": str(row.state),
        "reason": str(row.code),
        "message": row.message,
        "operation": run.operation if run else None,
        "deployment": {"id": run.id, "version": run.version, "status": run.status} if run else None,
        "commit": run.commit if run else None,
        "nextRun": time_text(following) if following else None,
        "runningSince": time_text(row.began) if row.began else None,
        "usualSeconds": round(usually.total_seconds()) if usually else None,
        "reconciledBy": reconciler or None,
    }
