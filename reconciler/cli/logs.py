"""`reconciler logs`: a deployment's log, live."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from datetime import datetime, timedelta

from reconciler.api.types import StackRef
from reconciler.cli import names, wiring
from reconciler.cli.commands_here import in_sentence
from reconciler.cli.escapes import shown
from reconciler.cli.look import look
from reconciler.clock import SystemClock
from reconciler.errors import UsageError
from reconciler.model import Status
from reconciler.planning.usual import so_far, usual_of
from reconciler.ports import ApiSource

__all__ = ["run", "tell_time", "unknown"]

# The API answers the same token while nothing is new; it is asked again after this long.
LOOK_EVERY = timedelta(milliseconds=300)


def run(options: argparse.Namespace) -> int:
    """Print the log of the run in flight, or of the latest known version."""
    where = wiring.place(options)
    found = names.known(options.name, where, broken=True)
    status = found.status
    version = options.version or status.last_version
    if not version or not status.stack:
        told = f"{found.name} has no deployment yet; `reconciler why {found.name}` says why"
        raise UsageError(in_sentence(told, where))
    stack = StackRef.parse(status.stack)
    with wiring.api_source(options, where.root, look_only=True) as source:
        deployment = source().by_version(stack, version)
        if deployment is None:
            raise UsageError(unknown(version, stack, status.last_version))
        if options.follow and not deployment.status.ended:
            tell_time(status, version, SystemClock().now())
        return _print(options, source, stack, deployment.id)


def unknown(version: int, stack: StackRef, latest: int) -> str:
    """Say that there is no such version, and which is the latest that we know."""
    known = f"; the latest is {latest}" if latest and latest != version else ""
    return f"the API knows no version {version} of {stack}{known}"


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
    colours = look(sys.stdout, os.environ).colour
    while True:
        page = source().logs(stack, deployment_id, token)
        for line in page.lines:
            text = f"=== {line.header}\n" if line.header else line.line
            sys.stdout.write(shown(text, colours=colours))
        sys.stdout.flush()
        same = page.next_token == token
        token = page.next_token
        if not token or (same and not page.lines and not options.follow):
            return 0
        if same:
            clock.wait_until(clock.now() + LOOK_EVERY, never)
