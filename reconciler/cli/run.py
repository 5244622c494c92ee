"""`reconciler run`: the daemon; with --once, passes until nothing is left to do."""

from __future__ import annotations

import argparse
import signal
import sys

from reconciler.adapters.spec_together import check_together
from reconciler.adapters.watcher import Watcher
from reconciler.cli import table, wiring
from reconciler.clock import SystemClock
from reconciler.daemon import Daemon
from reconciler.model import Reason, State

__all__ = ["run", "say"]


def run(options: argparse.Namespace) -> int:
    """Reconcile; 0 where all are Ready or Suspended in the end, else 1."""
    where = wiring.place(options)
    with (
        where.root.lock(where.directory, SystemClock()),
        wiring.api_source(options, where.root) as api,
    ):
        daemon = wiring.build(options, where, api, say, look_only=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop())
        catalog = where.specs.scan()
        for problem in catalog.problems + check_together(catalog.specs):
            sys.stderr.write(f"{problem}\n")
        if options.once:
            return _once(options, where, daemon)
        watcher = Watcher(where.directory, daemon.wake)
        watcher.start()
        where.repositories.watch(daemon.mark)
        try:
            daemon.run()
        finally:
            where.repositories.close()
            watcher.stop()
    return 0


def _once(options: argparse.Namespace, where: wiring.Place, daemon: Daemon) -> int:
    settled = daemon.run_once(options.timeout)
    found = table.rows(where.specs.scan(), where.statuses)
    print(table.as_text(found))
    if not settled:
        print(f"gave up waiting after {options.timeout} (--timeout); what runs goes on")
    elif not daemon.started:
        ready = sum(1 for row in found if row.settled_well)
        what = "nothing to do" if ready == len(found) else "nothing was started"
        print(f"{what}: {ready} of {len(found)} are as they should be")
    return 0 if settled and all(row.settled_well for row in found) else 1


def say(name: str, state: State, reason: Reason) -> None:
    """Print a line when a stack's standing changes."""
    print(f"{SystemClock().now():%H:%M:%S}Z  {name}  {state}: {reason.message}", flush=True)
