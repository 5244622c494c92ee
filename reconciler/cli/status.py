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
from reconciler.cli.last_look import nobody
from reconciler.cli.look import DIM, Look, cut, look, printable
from reconciler.cli.rows import Row, Rows
from reconciler.cli.screen import Screen
from reconciler.clock import SystemClock

__all__ = ["run"]

WATCH_EVERY = timedelta(seconds=1)


def run(options: argparse.Namespace) -> int:
    """Print a table or JSON; with --exit-code 1 unless all are Ready or Suspended."""
    where = wiring.place(options)
    rows = Rows(where)
    chosen = _chosen(options.names, where, rows)

    def read() -> tuple[Row, ...]:
        return rows.of(chosen) if chosen else rows.read()

    home = checkouts.home(options, where.root) if where.checkout is not None else None
    around = _Around(home=home, where=where)
    if options.watch:
        try:
            return _watch(read, around, json_lines=options.output == "json")
        except KeyboardInterrupt:
            return 0
    found = read()
    if options.output == "json":
        print(table.as_json(found, around.body(), around.reconciler()))
    else:
        how = look(sys.stdout, os.environ)
        under = around.under(how) if sys.stdout.isatty() else []
        print("\n".join([*around.lines(), table.as_text(found, how), *under]))
    return 1 if options.exit_code and not all(row.settled_well for row in found) else 0


def _chosen(given: Sequence[str], where: wiring.Place, rows: Rows) -> frozenset[str]:
    """Return the names that are told of; none of them means all. UsageError for an unknown one."""
    if not given:
        return frozenset()
    there = {row.name for row in rows.read()}
    return frozenset(n if n in there else names.known(n, where, broken=True).name for n in given)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Around:
    """What stands around the table, read anew each time.

    `home` is where it is kept how the branch stands that the specs are from; None: from none.
    """

    home: Path | None
    where: wiring.Place

    def lines(self) -> list[str]:
        """Return the lines above a table."""
        return [status_line(load(self.home)), ""] if self.home is not None else []

    def body(self) -> dict[str, object] | None:
        """Return them for programs."""
        return state_body(load(self.home)) if self.home is not None else None

    def reconciler(self) -> str:
        """Return who reconciles the directory now, empty where nobody does."""
        return self.where.state.reconciled_by()

    def under(self, how: Look) -> list[str]:
        """Return the line below a table where nobody reconciles: its times may not come."""
        told = printable(nobody(self.where.state, self.where.clock.now()))
        return [how.paint(cut(told, how.width), DIM)] if told else []


def _watch(read: Callable[[], Sequence[Row]], around: _Around, *, json_lines: bool) -> int:
    """Show it again each second: on a terminal in place, else a line for each that changed."""
    clock, never = SystemClock(), threading.Event()
    screen = Screen(sys.stdout) if sys.stdout.isatty() and not json_lines else None
    before: dict[str, Row] = {}
    stood: object = None
    reconciler = around.reconciler()
    while True:
        found, heading = read(), around.lines()
        if screen is not None:
            _draw(screen, found, around)
        else:
            stands, earlier, reconciler = around.body(), reconciler, around.reconciler()
            if stands != stood:
                _tell_branch(stands, heading, clock, json_lines=json_lines)
                stood = stands
            if reconciler != earlier:
                before = _changed_hands(before, around, clock, json_lines=json_lines)
            tell(found, before, clock.now(), json_lines=json_lines, reconciler=reconciler)
            before = {row.name: row for row in found}
        clock.wait_until(clock.now() + WATCH_EVERY, never)


def _draw(screen: Screen, found: Sequence[Row], around: _Around) -> None:
    """Show the table with what stands around it, as high and wide as the terminal is."""
    how = look(sys.stdout, os.environ, narrowest=1)
    heading = [cut(line, how.width) for line in around.lines()]
    under = around.under(how)
    height = screen.height - len(heading) - len(under)
    screen.draw([*heading, *table.as_lines(table.in_order(found), how, height), *under])


def _changed_hands(
    before: dict[str, Row], around: _Around, clock: SystemClock, *, json_lines: bool
) -> dict[str, Row]:
    """Tell that another one reconciles, or nobody; return the rows that need not be told again."""
    if json_lines:
        return {}
    who = around.reconciler()
    told = f"reconciled by {who}" if who else nobody(around.where.state, clock.now())
    print(f"{clock.now():%H:%M:%S}Z  {told}", flush=True)
    return before


def _tell_branch(
    stands: object, heading: Sequence[str], clock: SystemClock, *, json_lines: bool
) -> None:
    """Print a line for the branch."""
    if json_lines:
        print(json.dumps({"directory": stands}, ensure_ascii=False), flush=True)
    else:
        print(f"{clock.now():%H:%M:%S}Z  {printable(heading[0])}", flush=True)
