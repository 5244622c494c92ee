"""`reconciler status`: how every spec stands, from the status files; asks nobody."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from reconciler.adapters.checkout import load, state_body, status_line
from reconciler.cli import checkouts, names, table, wiring
from reconciler.cli.following import tell
from reconciler.cli.look import cut, look, printable
from reconciler.cli.rows import Row, Rows
from reconciler.cli.screen import Screen
from reconciler.clock import SystemClock

__all__ = ["run"]

WATCH_EVERY = timedelta(seconds=1)


def run(options: argparse.Namespace) -> int:
    """Print a table or JSON; with --exit-code 1 unless all are Ready or Suspended."""
    chosen = frozenset(options.names)
    where = wiring.place(options)
    rows = Rows(where)

    def read() -> tuple[Row, ...]:
        return rows.of(chosen) if chosen else rows.read()

    for name in chosen - {row.name for row in read()} if chosen else ():
        names.known(name, where, broken=True)  # or it says that there is none, and what is near
    branch = _Branch(checkouts.home(options, where.root) if where.checkout is not None else None)
    if options.watch:
        try:
            return _watch(read, branch, json_lines=options.output == "json")
        except KeyboardInterrupt:
            return 0
    found = read()
    if options.output == "json":
        print(table.as_json(found, branch.body()))
    else:
        print("\n".join([*branch.lines(), table.as_text(found, look(sys.stdout, os.environ))]))
    return 1 if options.exit_code and not all(row.settled_well for row in found) else 0


@dataclass(frozen=True, slots=True)
class _Branch:
    """How the branch stands that the specs are from, read anew each time; None: from none."""

    home: Path | None

    def lines(self) -> list[str]:
        """Return the lines above a table."""
        return [status_line(load(self.home)), ""] if self.home is not None else []

    def body(self) -> dict[str, object] | None:
        """Return it for programs."""
        return state_body(load(self.home)) if self.home is not None else None


def _watch(read: Callable[[], Sequence[Row]], branch: _Branch, *, json_lines: bool) -> int:
    """Show it again each second: on a terminal in place, else a line for each that changed."""
    clock, never = SystemClock(), threading.Event()
    screen = Screen(sys.stdout) if sys.stdout.isatty() and not json_lines else None
    before: dict[str, Row] = {}
    stood: object = None
    while True:
        found, heading = read(), branch.lines()
        if screen is not None:
            how = look(sys.stdout, os.environ, narrowest=1)
            height = screen.height - len(heading)
            screen.draw(
                [
                    *(cut(line, how.width) for line in heading),
                    *table.as_lines(table.in_order(found), how, height),
                ]
            )
        else:
            stands = branch.body()
            if stands != stood:
                _tell_branch(stands, heading, clock, json_lines=json_lines)
                stood = stands
            tell(found, before, clock.now(), json_lines=json_lines)
            before = {row.name: row for row in found}
        clock.wait_until(clock.now() + WATCH_EVERY, never)


def _tell_branch(
    stands: object, heading: Sequence[str], clock: SystemClock, *, json_lines: bool
) -> None:
    """Print a line for the branch."""
    if json_lines:
        print(json.dumps({"directory": stands}, ensure_ascii=False), flush=True)
    else:
        print(f"{clock.now():%H:%M:%S}Z  {printable(heading[0])}", flush=True)
