"""How specs stand, as rows for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.adapters.statusfile import StatusFiles
from reconciler.cli.wiring import Place
from reconciler.jsonform import time_text
from reconciler.model import Catalog, Reason, ReasonCode, State, Status

__all__ = ["Row", "as_json", "as_text", "rows", "rows_of"]

HEADINGS = ("NAME", "STACK", "STATE", "VERSION", "COMMIT", "NEXT RUN", "WHY")
SHORT_COMMIT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one spec stands."""

    name: str
    status: Status
    state: State
    reason: Reason

    @property
    def settled_well(self) -> bool:
        """Whether nothing is left to wish for."""
        return self.state in {State.READY, State.SUSPENDED}

    @property
    def next_run(self) -> datetime | None:
        """When the next schedule is due."""
        return min((s.next for s in self.status.schedules if s.next), default=None)


def rows(catalog: Catalog, statuses: StatusFiles) -> tuple[Row, ...]:
    """Return a row for every file, from its status file; a broken file is Invalid at once."""
    found = []
    for spec in catalog.specs:
        status = statuses.read(spec.name)
        unseen = Reason(ReasonCode.NEW, "no run has looked at it yet")
        found.append(
            Row(
                name=spec.name,
                status=status,
                state=status.state,
                reason=status.reason or unseen,
            )
        )
    for name, broken in catalog.broken.items():
        reason = Reason(ReasonCode.INVALID, str(broken.problem))
        status = statuses.read(name)
        found.append(Row(name=name, status=status, state=State.INVALID, reason=reason))
    return tuple(sorted(found, key=lambda row: row.name))


def rows_of(where: Place, names: Iterable[str]) -> tuple[Row, ...]:
    """Return a row for each of these names, but for those that were forgotten."""
    wanted = set(names)
    catalog = where.specs.scan()
    found = [row for row in rows(catalog, where.statuses) if row.name in wanted]
    for name in wanted - {row.name for row in found}:
        status = where.statuses.read(name)
        if status.reason is not None:
            found.append(Row(name=name, status=status, state=status.state, reason=status.reason))
    return tuple(sorted(found, key=lambda row: row.name))


def as_text(found: Iterable[Row]) -> str:
    """Return a table with a line for each row."""
    lines: list[Sequence[str]] = [HEADINGS]
    for row in found:
        run = row.status.run or row.status.latest or row.status.last
        following = row.next_run
        lines.append(
            (
                row.name,
                row.status.stack or "-",
                str(row.state),
                str(run.version) if run else "-",
                run.commit[:SHORT_COMMIT] if run else "-",
                f"{following:%Y-%m-%d %H:%M}Z" if following else "-",
                row.reason.message,
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )


def as_json(found: Iterable[Row]) -> str:
    """Return a list of objects, one for each row."""
    return json.dumps([_object(row) for row in found], indent=2, ensure_ascii=False)


def _object(row: Row) -> dict[str, object]:
    run = row.status.run or row.status.latest or row.status.last
    following = row.next_run
    return {
        "name": row.name,
        "stack": row.status.stack,
        "state": str(row.state),
        "reason": str(row.reason.code),
        "message": row.reason.message,
        "operation": str(run.operation) if run else None,
        "deployment": {
            "id": run.id,
            "version": run.version,
            "status": str(run.end or run.status),
        }
        if run
        else None,
        "commit": run.commit if run else None,
        "nextRun": time_text(following) if following else None,
    }
