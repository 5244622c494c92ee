"""`reconciler logs`: a deployment's log, live."""

from __future__ import annotations

import argparse
import sys
import threading
from datetime import datetime, timedelta

from reconciler.api.types import StackRef
from reconciler.cli import names, wiring
from reconciler.clock import SystemClock
from reconciler.errors import UsageError
from reconciler.model import Status
from reconciler.planning.usual import so_far, usual_of
from reconciler.ports import ApiSource

__all__ = ["run", "tell_time"]

# The API answers the same token while nothing is new; it is asked again after this long.
LOOK_EVERY = timedelta(milliseconds=300)


def run(options: argparse.Namespace) -> int:
    """Print the log of the run in flight, or of the latest known version."""
    where = wiring.place(options)
    status = names.known(options.name, where, broken=True).status
    version = options.version or status.last_version
    if not version or not status.stack:
        raise UsageError(f"{options.name} has no deployment yet")
    stack = StackRef.parse(status.stack)
    with wiring.api_source(options, where.root, look_only=True) as source:
        found = source().by_version(stack, version)
        if found is None:
            raise UsageError(f"the API knows no version {version} of {stack}")
        if options.follow and not found.status.ended:
            tell_time(status, version, SystemClock().now())
        return _print(options, source, stack, found.id)


def tell_time(status: Status, version: int, now: datetime) -> None:
    """Say beside the log for how long it has run, and how long it usually does."""
    run = status.run
    if run is None or run.version != version or run.started is None:
        return
    told = so_far(now - run.started, usual_of(status, run.operation))
    sys.stderr.write(f"{run.operation} (version {version}) has run {told}\n")


def _print(
    options: argparse.Namespace, source: ApiSource, stack: StackRef, deployment_id: str
) -> int:
    clock, never, token = SystemClock(), threading.Event(), ""
    while True:
        page = source().logs(stack, deployment_id, token)
        for line in page.lines:
            sys.stdout.write(f"=== {line.header}\n" if line.header else line.line)
        sys.stdout.flush()
        same = page.next_token == token
        token = page.next_token
        if not token or (same and not page.lines and not options.follow):
            return 0
        if same:
            clock.wait_until(clock.now() + LOOK_EVERY, never)
